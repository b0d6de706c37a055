"""Videos: frames with their numbers and times in all formats, damaged files, and what is refused."""

import builtins
import io
import struct

import numpy as np
import pydicom
import pytest

from medjax.data.io import video_frames
from medjax.data.io.video_frames import SequentialReader, frames
from medjax.errors import InputError
from tests.data import samples

av = pytest.importorskip('av')


def dicom(path, count=4, shape=(6, 8), **more):
    """An uncompressed video of grey frames, 40 ms apart."""
    plain = samples.dicom(dict(
        MediaStorageSOPClassUID='1.2.840.10008.5.1.4.1.1.3.1', MediaStorageSOPInstanceUID=f'{samples.UIDS}1',
        TransferSyntaxUID='1.2.840.10008.1.2.1', SOPClassUID='1.2.840.10008.5.1.4.1.1.3.1', Modality='US',
        SOPInstanceUID=f'{samples.UIDS}1', SeriesInstanceUID=f'{samples.UIDS}2'))
    data = pydicom.dcmread(io.BytesIO(plain))
    array = np.stack([samples.video_frame(number, shape)[..., 0] for number in range(count)])
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
    video = frames(samples.video(tmp_path / name, codec=codec))
    assert numbers_in(video) == numbers_in(video) == [(n, n / 10) for n in range(12)]  # again from the beginning
    assert (video.rate, video.count, video.skipped) == (10, 12, [])


def test_uneven_times_are_kept_and_do_not_change_numbers(tmp_path):
    ticks = [0, 1, 2, 7, 8, 9]
    found = numbers_in(frames(samples.video(tmp_path / 'a.mp4', count=6, times=ticks)))
    assert found == [(n, tick / 10) for n, tick in enumerate(ticks)]


def test_dicom_has_the_times_that_it_says(tmp_path):
    assert numbers_in(frames(dicom(tmp_path / 'a.dcm'))) == [(n, 0.04 * n) for n in range(4)]
    vector = dicom(tmp_path / 'b.dcm', FrameTimeVector=[0, 10, 20, 10])
    assert [time for _, time in numbers_in(frames(vector))] == [0, 0.01, 0.03, 0.04]
    assert frames(vector).rate == pytest.approx(75)
    assert numbers_in(frames(samples.deflate(vector))) == numbers_in(frames(dicom(
        tmp_path / 'c.dcm', FrameTimeVector=[0, 10, 20, 10])))


def test_the_echo_video_of_pydicom():
    video = frames(pydicom.data.get_testdata_file('examples_ybr_color.dcm'))
    found = list(video)
    assert [number for number, _, _ in found] == list(range(30)) and video.skipped == []
    assert found[0][2].shape == (240, 320, 3) and found[29][1] == pytest.approx(29 / 30, abs=1e-4)
    # The sector's tissue is about grey: colours were converted from YBR to RGB.
    assert np.abs(found[0][2].astype(float).mean((0, 1)) - found[0][2].mean()).max() < 3


def test_dicom_videos_show_palettes_and_invert_low_white(tmp_path):
    white = dicom(tmp_path / 'a.dcm', PhotometricInterpretation='MONOCHROME1')
    assert [array[0, 0].tolist() for _, _, array in frames(white)] == [[235 - 16 * n] * 3 for n in range(4)]
    tables = np.random.default_rng(0).integers(0, 256, (3, 256))
    for bits in (8, 16):
        colours = dicom(tmp_path / 'b.dcm')
        samples.add_palette(colours, tables * (1 if bits == 8 else 257), bits)
        assert [array[2, 3].tolist() for _, _, array in frames(colours)] == [
            tables[:, 20 + 16 * n].tolist() for n in range(4)]


def test_dicom_videos_that_would_be_misread_are_refused(tmp_path):
    refused(lambda: frames(dicom(tmp_path / 'a.dcm', RescaleSlope=2, RescaleIntercept=0)), 'rescaled values')
    path = dicom(tmp_path / 'b.dcm')
    data = pydicom.dcmread(path)
    data.PixelData = pydicom.encaps.encapsulate([bytes(48)] * 4)
    data.file_meta.TransferSyntaxUID = pydicom.uid.MPEG4HP41
    data.save_as(path)
    refused(lambda: frames(path), 'encoded as MPEG-4 AVC/H.264 High Profile', 'expected JPEG')


@pytest.mark.parametrize('name, codec', [('a.mp4', 'libx264'), ('a.avi', 'mjpeg')])
def test_frames_of_damaged_bytes_are_skipped_and_those_behind_keep_their_numbers(tmp_path, name, codec):
    path = samples.video(tmp_path / name, codec=codec, key_frames=1)
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


def test_a_truncated_video_gives_its_readable_frames(tmp_path):
    path = samples.video(tmp_path / 'a.mp4', movflags='faststart')
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


def test_a_file_that_is_no_video_is_refused(tmp_path):
    whole = samples.video(tmp_path / 'a.mp4').read_bytes()
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
    path, load = samples.video(tmp_path / 'a.mp4'), builtins.__import__

    def lacks(name, *rest):
        if name == 'av':
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, '__import__', lacks)
    refused(lambda: frames(path), 'PyAV', 'medjax[video]')


def test_frames_asked_for_in_about_their_order_are_decoded_once(tmp_path, monkeypatch):
    path, opened = samples.video(tmp_path / 'a.mp4'), []
    monkeypatch.setattr(video_frames, 'frames', lambda path: opened.append(path) or frames(path))
    give = SequentialReader(path, range(0, 12, 2))
    for number in (0, 4, 2, 8, 6, 10):  # as threads ask
        assert abs(give(number).mean() - (20 + 16 * number)) < 7
    assert len(opened) == 1
    give(0)
    assert len(opened) == 2
    refused(lambda: give(40), 'frame 40 cannot be read')


@pytest.mark.parametrize('matrix, turned', [
    ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)), ((-1, 0, 0, -1), lambda frame: np.rot90(frame, 2)),
    ((0, -1, 1, 0), np.rot90), ((1, 0, 0, 1), lambda frame: frame)], ids=['clockwise', 'half', 'counter', 'none'])
def test_a_declared_rotation_is_applied(tmp_path, matrix, turned):
    """The matrix of the track header (ISO 14496-12, 8.3.2): x' = ax + cy, y' = bx + dy, y grows downwards."""
    path = tmp_path / 'a.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, 'yuv420p'
        ramp = np.broadcast_to(np.arange(0, 256, 8, dtype=np.uint8)[:, None, None], (32, 48, 3)).copy()
        ramp[:, 40:] = 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(ramp, 'rgb24')))
        container.mux(stream.encode(None))
    stored = [frame for _, _, frame in frames(path)]
    raw = path.read_bytes()
    at = raw.index(b'tkhd') + 4 + 40
    a, b, c, d = (value * 2**16 for value in matrix)
    path.write_bytes(raw[:at] + struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 2**30) + raw[at + 36:])
    for (_, _, frame), wanted in zip(frames(path), stored, strict=True):
        np.testing.assert_array_equal(frame, turned(wanted))
        assert not np.array_equal(wanted[::-1], wanted) and not np.array_equal(wanted[:, ::-1], wanted)
