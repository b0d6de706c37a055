"""Detection in a video: the annotated video, the table of boxes, damaged files and refusals."""

import csv

import numpy as np
import pytest

from medjax.data.io.video_frames import frames
from medjax.data.sources import video
from medjax.errors import InputError
from medjax.tasks.detection.inference import Detections
from medjax.tasks.detection.video import track_video
from tests.data import samples

SHAPE = (32, 48)


def find(image):
    """A box that moves by a pixel a frame, as the frame's brightness says, and one with a low score."""
    assert image.array.shape == (48, 32, 1, 3)
    number = round((image.array.mean() - 20) / 16)
    boxes = np.array([[4, number, 16, number + 12], [20, 30, 30, 40]], np.float32)
    return Detections(boxes, np.array([1, 0]), np.array([0.9, 0.3]))


def track(path, folder, score=0.5):
    return track_video(path, folder, find, ['clip', 'polyp'], score)


def table(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_the_video_shows_boxes_and_the_table_has_their_tracks(tmp_path):
    line = track(samples.video(tmp_path / 'a.avi', codec='mjpeg'), tmp_path / 'out')
    rows = table(tmp_path / 'out' / 'a.csv')
    assert rows[0] == {'frame': '0', 'time': '0.0', 'track': '', 'label': 'polyp', 'score': '0.9', 'x1': '0.0',
                       'y1': '4.0', 'x2': '12.0', 'y2': '16.0'}
    assert [row['track'] for row in rows] == ['', ''] + ['1'] * 10
    assert [float(row['x1']) for row in rows] == list(range(12))
    drawn = list(frames(tmp_path / 'out' / 'a.mp4'))
    assert [(number, round(time, 3)) for number, time, _ in drawn] == [(n, n / 10) for n in range(12)]
    for number, _, array in drawn:
        assert array.shape == (*SHAPE, 3)
        assert abs(array[-1].mean() - (20 + 16 * number)) < 8  # what was there is there, but for the box
        edge = array[10:16, number].astype(float)  # the box's left border is in colour
        assert np.ptp(edge.mean(0)) > 15
    assert '12 frames, 12 boxes, 1 tracks' in line and 'frames/s' in line
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['a.csv', 'a.mp4']


def test_the_table_can_be_read_as_annotations(tmp_path):
    track(samples.video(tmp_path / 'a.mp4'), tmp_path / 'out', score=0.2)
    found = video._read_table(tmp_path / 'out' / 'a.csv')
    assert sorted(found) == list(range(12)) and found[3].names == ['polyp', 'clip']
    np.testing.assert_array_equal(found[3].boxes[0], [4, 3, 16, 15])


def test_frames_keep_their_times_where_some_cannot_be_read(tmp_path):
    path = samples.video(tmp_path / 'a.mp4', times=[0, 1, 2, 9, 10, 11, 12, 13, 14, 15, 16, 17], movflags='faststart')
    path.write_bytes(path.read_bytes()[:-60])
    there = [(number, round(time, 3)) for number, time, _ in frames(path)]
    line = track(path, tmp_path / 'out')
    assert f'{len(there)} frames, {12 - len(there)} unreadable ones left out' in line
    assert [(int(row['frame']), float(row['time'])) for row in table(tmp_path / 'out' / 'a.csv')] == there
    assert [round(time, 3) for _, time, _ in frames(tmp_path / 'out' / 'a.mp4')] == [time for _, time in there]


def test_odd_extents_and_no_detections(tmp_path, monkeypatch):
    path = samples.video(tmp_path / 'a.mp4', count=3)
    whole = frames(path)
    monkeypatch.setattr('medjax.data.io.video_frames.frames', lambda path: Cut(whole))
    nothing = Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    track_video(path, tmp_path / 'out', lambda image: nothing, ['polyp'], 0.5)
    assert (tmp_path / 'out' / 'a.csv').read_text() == 'frame,time,track,label,score,x1,y1,x2,y2\n'
    monkeypatch.undo()
    assert [array.shape for _, _, array in frames(tmp_path / 'out' / 'a.mp4')] == [(32, 48, 3)] * 3


class Cut:
    """A video without its last row and column."""

    def __init__(self, of):
        self.rate, self.skipped, self._of = of.rate, [], of

    def __iter__(self):
        return ((number, time, array[:-1, :-1]) for number, time, array in self._of)


def refused(make, *words):
    with pytest.raises(InputError) as caught:
        make()
    assert '\n' not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_refused_video_leaves_no_files(tmp_path):
    path = samples.video(tmp_path / 'a.mp4', count=3)
    before = path.read_bytes()
    assert path.read_bytes() == before
    cut = tmp_path / 'cut.mp4'
    cut.write_bytes(before[:len(before) // 2])
    refused(lambda: track(cut, tmp_path / 'out'), 'cut.mp4', 'cut short?')
    (tmp_path / 'file').write_text('')
    refused(lambda: track(path, tmp_path / 'file'), 'cannot be written')

    def fails(image):
        raise InputError('no such image')

    refused(lambda: track_video(path, tmp_path / 'out', fails, ['polyp'], 0.5), 'no such image')
    assert not list((tmp_path / 'out').iterdir())
