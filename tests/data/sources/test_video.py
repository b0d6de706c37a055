"""Videos with boxes: cases by video and frame, frames that cannot be decoded, and what is refused."""

import numpy as np
import pytest

from medjax.data.datasets import detection
from medjax.data.io.video_frames import frames
from medjax.data.sources.video import source
from medjax.data.splits import Splitting
from medjax.errors import InputError
from tests.data import samples

av = pytest.importorskip('av')
BOXES = 'frame,x1,y1,x2,y2,label\n0,3,4,10,12.5,polyp\n2,5,6,7,8,clip\n2,1,2,3,4,polyp\n'


def refused(make, *words):
    with pytest.raises(InputError) as caught:
        make()
    assert '\n' not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.fixture
def folder(tmp_path):
    """Three videos of twelve frames: boxes in a table with a header, in one without, and in files."""
    root = tmp_path / 'set'
    root.mkdir()
    for name in ('p1_a.mp4', 'p1_b.mp4', 'p2_a.mp4'):
        samples.video(root / name)
    (root / 'p1_a.csv').write_text(BOXES)
    (root / 'p1_b.txt').write_text('11, 0, 0, 48, 32, polyp\n')
    (root / 'p2_a').mkdir()
    for number in (2, 4, 7):
        (root / 'p2_a' / f'p2_{number:04}.xml').write_text(
            '<annotation><size><width>48</width><height>32</height></size><object><name>polyp</name><bndbox>'
            f'<xmin>{number}</xmin><ymin>1</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object></annotation>')
    return root


def made(root, splits=None, **options):
    return source(dir=str(root), cache=str(root.parent / 'kept'), splitting=Splitting(0.34, 0.34, splits=splits),
                  **options)


def test_cases_are_frames_with_their_boxes(folder):
    found = made(folder)
    cases = {case.id: case for case in found.cases}
    assert found.classes == ('clip', 'polyp') and len(cases) == 12 + 12 + 3
    assert 'Each video counts as a patient of its own' in found.notice and found.analysis_unit == 'video'
    first = cases['p1_a_000000']
    assert (first.patient, first.columns) == ('p1_a', {'video': 'p1_a', 'frame': '0', 'time': '0.000'})
    np.testing.assert_array_equal(first.target.boxes, [[4, 3, 12.5, 10]])  # rows before columns
    np.testing.assert_array_equal(cases['p1_a_000002'].target.labels, [0, 1])
    assert cases['p1_a_000001'].target.boxes.shape == (0, 4)
    np.testing.assert_array_equal(cases['p2_a_000004'].target.boxes, [[0, 3, 30, 20]])  # of VOC, from 1, the last in it
    image, label = cases['p2_a_000007'].read()
    assert image.array.shape == (48, 32, 1, 3) and label is None
    assert abs(image.array.mean() - (20 + 16 * 7)) < 7
    for split in ('train', 'val', 'test'):
        assert len({case.columns['video'] for case in found.cases if case.split == split}) == 1


def test_every_nth_frame_and_patients_of_several_videos(folder):
    cases = made(folder, frame_step=5, patient_regex=r'^(p\d)', splits={'p1': 'train', 'p2': 'val'}).cases
    assert [case.id[-6:] for case in cases if case.id.startswith('p1_a')] == ['000000', '000005', '000010']
    assert [case.id[-6:] for case in cases if case.id.startswith('p2_a')] == ['000002']  # of those looked at
    assert {(case.columns['video'], case.split) for case in cases} == {
        ('p1_a', 'train'), ('p1_b', 'train'), ('p2_a', 'val')}


def test_a_data_set_of_frames_has_each_in_its_place(folder):
    data = detection.dataset(made(folder), size=(16, 24), intensity={'name': 'unit'}, cache=str(folder / 'prepared'))
    for number, case in enumerate(data.source.cases):
        assert abs(data.arrays[number].mean() - (20 + 16 * int(case.columns['frame']))) < 7
    where = [case.id for case in data.source.cases].index('p1_a_000000')
    np.testing.assert_allclose(data.truth(where)[0], [[2, 1.5, 6.25, 5]])


def test_unreadable_frames_are_left_out_and_counted(folder):
    path = samples.video(folder / 'p3.mp4', movflags='faststart')
    path.write_bytes(path.read_bytes()[:-60])
    (folder / 'p3.txt').write_text('11,1,1,5,5,polyp\n')  # a frame that is there, but cannot be read
    found, video = made(folder), frames(path)
    lost = 12 - len(list(video))
    assert f'cannot be decoded, left out: {lost} (p3: {lost})' in found.notice
    assert sum(case.columns['video'] == 'p3' for case in found.cases) == 12 - lost
    assert made(folder).notice == found.notice  # as kept


@pytest.mark.parametrize('name, content, words', [
    ('p1_b.txt', '12,1,1,5,5,polyp\n', ['p1_b.txt, frame 12', 'expected frames 0 to 11']),
    ('p1_b.txt', '-1,1,1,5,5,polyp\n', ["'-1,1,1,5,5,polyp'", 'frame,x1,y1,x2,y2,label']),
    ('p1_b.txt', '1.5,1,1,5,5,polyp\n', ['1.5', 'a number from 0']),
    ('p1_b.txt', '1,1,1,5,polyp\n', ['row 1 has 5 fields', 'frame,x1,y1,x2,y2,label']),
    ('p1_b.txt', '1,1,1,5,five,polyp\n', ['five', 'four numbers']),
    ('p1_a.csv', 'frame,x1,y1,x2,label\n1,1,1,5,polyp\n', ["no column 'y2'"]),
    ('p1_b.csv', '1,1,1,5,5,polyp\n', ['p1_b.txt and p1_b.csv', 'expected them in one of']),
    ('p1_b.txt', '1,1,1,5,5,worm\n', ["p1_b.txt, frame 1: class 'worm'", 'expected one of: clip, polyp']),
    ('p1_b.txt', b'\xff\xfe\x00', ['p1_b.txt: UTF-16']),
    ('p1_b.txt', '1,nan,1,5,5,polyp\n', ["'1,nan,1,5,5,polyp'", 'four numbers']),
    ('p1_b.txt', '1,1,1,5,5,NA\n', ['a class']),
    ('p1_b.txt', '1;1;1;5;5;polyp\n', ['semicolons between the columns']),
    ('p2_a/0004.xml', '<annotation/>', ['0004.xml', 'which no other has']),
    ('p2_a/last.xml', '<annotation/>', ['last.xml', 'the number of a frame']),
    ('p1_a.avi', b'', ['p1_a.mp4', 'has the same name']),
    ('p9.mp4', b'', ['p9.mp4', 'boxes in no file']),
])
def test_invalid_annotations_are_refused(folder, name, content, words):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(lambda: made(folder, classes=('clip', 'polyp')), *words)


def test_a_folder_without_videos_and_marks_of_another_size(folder, tmp_path):
    refused(lambda: source(dir=str(folder / 'p2_a')), 'no video', 'NAME.mp4')
    refused(lambda: made(folder, frame_step=0), 'config.data.source.frame_step: 0')
    path = folder / 'p2_a' / 'p2_0004.xml'
    path.write_text(path.read_text().replace('48', '64'))
    case = next(case for case in made(folder).cases if case.id == 'p2_a_000004')
    refused(case.read, 'p2_0004.xml', '64×32', '48×32')


def test_what_is_no_video_is_counted_and_links_to_nothing_are_refused(folder):
    (folder / 'notes.txt').write_text('')
    (folder / 'c.mov').write_bytes(b'')
    for path in (folder / 'p2_a').iterdir():
        path.rename(path.with_suffix('.XML'))
    found = made(folder)
    assert found.warnings == ('Left out of set, not videos or their annotations: 2 (c.mov, notes.txt).',)
    assert len([case for case in found.cases if case.patient == 'p2_a']) == 3
    (folder / 'd.mp4').symlink_to('gone')
    refused(lambda: made(folder), 'set: 1 link to a file that does not exist (d.mp4)')
