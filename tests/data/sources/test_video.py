"""Videos: frames by their numbers and times, whatever the file; damage; boxes of frames; cases by video."""

import builtins
import io
import pathlib

import numpy as np
import pytest

from medjax.data.datasets import detection
from medjax.data.io import video_frames as frames_of
from medjax.data.io.video_frames import SequentialReader, frames
from medjax.data.simulated import video as simulated_video
from medjax.data.sources.video import source
from medjax.data.splits import Splitting
from medjax.errors import InputError
from tests.data import samples

av = pytest.importorskip('av')
SHAPE = (32, 48)
MARKS = 'frame,x1,y1,x2,y2,label\n0,3,4,10,12.5,polyp\n2,5,6,7,8,clip\n2,1,2,3,4,polyp\n'


def still(number, shape=SHAPE):
    """A grey frame whose brightness tells its number."""
    return np.full((*shape, 3), 20 + 16 * number, np.uint8)


def film(path, count=12, codec='libx264', rate=10, times=None, apart=6, **options):
    with av.open(str(path), 'w', format=path.suffix[1:], options=options) as container:
        stream = container.add_stream(codec, rate=rate, options={'g': str(apart)})
        stream.height, stream.width = SHAPE
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(still(number), 'rgb24')
            if times:
                frame.pts = times[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def dicom(path, count=4, shape=(6, 8), **more):
    """An uncompressed video of grey frames, 40 ms apart."""
    plain = samples.dicom(dict(
        MediaStorageSOPClassUID='1.2.840.10008.5.1.4.1.1.3.1', MediaStorageSOPInstanceUID=f'{samples.UIDS}1',
        TransferSyntaxUID='1.2.840.10008.1.2.1', SOPClassUID='1.2.840.10008.5.1.4.1.1.3.1', Modality='US',
        SOPInstanceUID=f'{samples.UIDS}1', SeriesInstanceUID=f'{samples.UIDS}2'))
    pydicom = pytest.importorskip('pydicom')
    data = pydicom.dcmread(io.BytesIO(plain))
    array = np.stack([still(number, shape)[..., 0] for number in range(count)])
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = *shape, 1, 'MONOCHROME2'
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.NumberOfFrames, data.FrameTime, data.PixelData = count, 40, array.tobytes()
    data['PixelData'].VR = 'OB'
    for name, value in more.items():
        setattr(data, name, value)
    data.save_as(path)
    return path


def numbers_in(video):
    """Each frame's number and time; its content must say the same number."""
    out = []
    for number, time, array in video:
        assert array.dtype == np.uint8 and abs(array.astype(float).mean() - (20 + 16 * number)) < 7
        out.append((number, round(time, 4)))
    return out


@pytest.mark.parametrize('name, codec', [('a.mp4', 'libx264'), ('a.avi', 'mpeg4'), ('b.avi', 'mjpeg')])
def test_frames_have_their_number_and_time(tmp_path, name, codec):
    video = frames(film(tmp_path / name, codec=codec))
    assert numbers_in(video) == numbers_in(video) == [(n, n / 10) for n in range(12)]  # again from the beginning
    assert (video.rate, video.count, video.skipped) == (10, 12, [])


def test_uneven_times_are_kept_and_do_not_change_numbers(tmp_path):
    ticks = [0, 1, 2, 7, 8, 9]
    found = numbers_in(frames(film(tmp_path / 'a.mp4', count=6, times=ticks)))
    assert found == [(n, tick / 10) for n, tick in enumerate(ticks)]


def test_dicom_has_the_times_that_it_says(tmp_path):
    assert numbers_in(frames(dicom(tmp_path / 'a.dcm'))) == [(n, 0.04 * n) for n in range(4)]
    vector = dicom(tmp_path / 'b.dcm', FrameTimeVector=[0, 10, 20, 10])
    assert [time for _, time in numbers_in(frames(vector))] == [0, 0.01, 0.03, 0.04]
    assert frames(vector).rate == pytest.approx(75)


def test_the_echo_video_of_pydicom():
    examples = pytest.importorskip('pydicom.data')
    video = frames(examples.get_testdata_file('examples_ybr_color.dcm'))
    found = list(video)
    assert [number for number, _, _ in found] == list(range(30)) and video.skipped == []
    assert found[0][2].shape == (240, 320, 3) and found[29][1] == pytest.approx(29 / 30, abs=1e-4)
    # The sector's tissue is about grey: colours were brought from YBR to RGB.
    assert np.abs(found[0][2].astype(float).mean((0, 1)) - found[0][2].mean()).max() < 3


@pytest.mark.parametrize('name, codec', [('a.mp4', 'libx264'), ('a.avi', 'mjpeg')])
def test_frames_of_damaged_bytes_are_skipped_and_those_behind_keep_their_numbers(tmp_path, name, codec):
    path = film(tmp_path / name, codec=codec, apart=1)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    raw = bytearray(path.read_bytes())
    for number in (3, 7):
        at, size = packets[number]
        raw[at:at + size] = bytes(size)
    path.write_bytes(raw)
    video = frames(path)
    assert [number for number, _ in numbers_in(video)] == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
    assert video.skipped == [3, 7]


def test_a_video_cut_short_gives_what_is_there(tmp_path):
    path = film(tmp_path / 'a.mp4', movflags='faststart')
    path.write_bytes(path.read_bytes()[:-60])
    video = frames(path)
    found = [number for number, _ in numbers_in(video)]
    assert 0 < len(found) < 12 and video.count == 12
    assert sorted(found + video.skipped) == list(range(12))


def refused(make, *words):
    with pytest.raises(InputError) as caught:
        make()
    assert '\n' not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_what_is_no_video_is_refused_in_a_line(tmp_path):
    whole = film(tmp_path / 'a.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(whole[:len(whole) // 2])  # its table of frames is at the end
    (tmp_path / 'empty.mp4').write_bytes(b'')
    (tmp_path / 'text.avi').write_text('no video')
    (tmp_path / 'text.dcm').write_text('no video')
    for name in ('cut.mp4', 'empty.mp4', 'text.avi', 'text.dcm'):
        refused(lambda name=name: list(frames(tmp_path / name)), name, 'cut short?')
    refused(lambda: frames(tmp_path / 'none.mp4'), 'no such file')
    refused(lambda: frames(tmp_path / 'a.gif'), 'no such file')
    (tmp_path / 'a.gif').write_bytes(whole)
    refused(lambda: frames(tmp_path / 'a.gif'), 'expected one of .mp4')
    refused(lambda: frames(dicom(tmp_path / 'one.dcm', count=1)), '1 frame ', 'expected a video')
    refused(lambda: frames(dicom(tmp_path / 'still.dcm', FrameTime=0)), 'FrameTime')
    short = dicom(tmp_path / 'short.dcm')
    short.write_bytes(short.read_bytes()[:-190])
    refused(lambda: list(frames(short)), 'no frame that can be read')


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / 'a.mp4'), 'w') as container:
        stream = container.add_stream('aac', rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), 'fltp', 'mono')
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    refused(lambda: frames(tmp_path / 'a.mp4'), 'no video in it')


def test_without_pyav_one_line_says_what_to_install(tmp_path, monkeypatch):
    path, load = film(tmp_path / 'a.mp4'), builtins.__import__

    def lacks(name, *rest):
        if name == 'av':
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, '__import__', lacks)
    refused(lambda: frames(path), 'PyAV', 'medjax[video]')


def test_frames_asked_for_in_about_their_order_are_decoded_once(tmp_path, monkeypatch):
    path, opened = film(tmp_path / 'a.mp4'), []
    monkeypatch.setattr(frames_of, 'frames', lambda path: opened.append(path) or frames(path))
    give = SequentialReader(path, range(0, 12, 2))
    for number in (0, 4, 2, 8, 6, 10):  # as threads ask
        assert abs(give(number).mean() - (20 + 16 * number)) < 7
    assert len(opened) == 1
    give(0)
    assert len(opened) == 2
    refused(lambda: give(40), 'frame 40 cannot be read')


@pytest.fixture
def folder(tmp_path):
    """Three videos of twelve frames: boxes in a table with a header, in one without, and in files."""
    root = tmp_path / 'set'
    root.mkdir()
    for name in ('p1_a.mp4', 'p1_b.mp4', 'p2_a.mp4'):
        film(root / name)
    (root / 'p1_a.csv').write_text(MARKS)
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
    assert 'Each video counts as a patient of its own' in found.notice
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
    cases = made(folder, every=5, patient=r'^(p\d)', splits={'p1': 'train', 'p2': 'val'}).cases
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


def test_unreadable_frames_are_left_out_and_told(folder):
    path = film(folder / 'p3.mp4', movflags='faststart')
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
    ('p1_b.txt', '1,1,1,5,polyp\n', ['frame,x1,y1,x2,y2,label']),
    ('p1_b.txt', '1,1,1,5,five,polyp\n', ['five', 'four numbers']),
    ('p1_a.csv', 'frame,x1,y1,x2,label\n1,1,1,5,polyp\n', ['frame,x1,y1,x2,y2,label']),
    ('p1_b.csv', '1,1,1,5,5,polyp\n', ['p1_b.txt and p1_b.csv', 'expected them in one of']),
    ('p1_b.txt', '1,1,1,5,5,worm\n', ["p1_b.txt, frame 1: class 'worm'", 'expected one of: clip, polyp']),
    ('p1_b.txt', b'\xff\xfe\x00', ['p1_b.txt: cannot be read']),
    ('p2_a/0004.xml', '<annotation/>', ['0004.xml', 'which no other has']),
    ('p2_a/last.xml', '<annotation/>', ['last.xml', 'the number of a frame']),
    ('p1_a.avi', b'', ['p1_a.mp4', 'has the same name']),
    ('p9.mp4', b'', ['p9.mp4', 'boxes in no file']),
])
def test_marks_that_make_no_sense_are_refused_in_a_line(folder, name, content, words):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(lambda: made(folder, classes=('clip', 'polyp')), *words)


def test_a_folder_without_videos_and_marks_of_another_size(folder, tmp_path):
    refused(lambda: source(dir=str(folder / 'p2_a')), 'no video', 'NAME.mp4')
    refused(lambda: made(folder, every=0), 'config.data.source.every: 0')
    path = folder / 'p2_a' / 'p2_0004.xml'
    path.write_text(path.read_text().replace('48', '64'))
    case = next(case for case in made(folder).cases if case.id == 'p2_a_000004')
    refused(case.read, 'p2_0004.xml', '64×32', '48×32')


def test_the_phantom_is_the_same_each_time_and_its_boxes_hold_what_is_red(tmp_path):
    options = dict(cases=(1, 1, 1), length=10, shape=(64, 64), every=3)
    one = simulated_video.source(**options, cache=str(tmp_path / 'a'))
    other = simulated_video.source(**options, cache=str(tmp_path / 'b'))
    assert one.classes == ('polyp',) and 'simulated' in one.notice.lower()
    assert [case.split for case in one.cases] == [case.id[:-9] for case in one.cases]
    inside, outside = [], []
    for case, twin in zip(one.cases, other.cases):
        image, _ = case.read()
        np.testing.assert_array_equal(image.array, twin.read()[0].array)
        np.testing.assert_array_equal(case.target.boxes, twin.target.boxes)
        array = image.array[:, :, 0].swapaxes(0, 1).astype(float)
        red, mask = array[..., 0] / array[..., 1].clip(1), np.zeros((64, 64), bool)
        for low_0, low_1, high_0, high_1 in case.target.boxes.astype(int):
            mask[low_0:high_0, low_1:high_1] = True
        inside += red[mask].tolist()
        outside += red[~mask].tolist()
    assert len(inside) > 100 and np.mean(inside) > np.mean(outside) + 0.1
    assert list(pathlib.Path(tmp_path / 'a').glob('*/*.txt'))
