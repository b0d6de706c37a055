"""Video frames in sequence: MP4 and AVI by PyAV, multi-frame DICOM by pydicom.

A video is never held in memory as a whole. A rotation by a multiple of 90 degrees that a container declares is applied,
as players do.
"""

import contextlib
import dataclasses
import pathlib
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.pixels import apply_color_lut, iter_pixels

from medjax.data.io import dicom_pixels
from medjax.errors import InputError
from medjax.machine import cores

CONTAINERS = ('.mp4', '.avi')
DICOM = ('.dcm', '.dicom')
SUFFIXES = CONTAINERS + DICOM
RATES = ('CineRate', 'RecommendedDisplayFrameRate')  # DICOM elements with the frame rate, frames a second

Frame = tuple[int, float, np.ndarray]  # number from 0, time in seconds from the first, `[rows, columns, 3]` uint8


def is_video(path: pathlib.Path) -> bool:
    """Whether a path is a file with a video's suffix; every DICOM file has one.

    A link to a file that does not exist counts as a file, so that it is not passed over.
    """
    return path.suffix.lower() in SUFFIXES and not path.is_dir() and not path.name.startswith('.')


def has_several_frames(path: pathlib.Path) -> bool:
    """Whether a path is a video: MP4, AVI, or a DICOM file with several frames of 8 bits."""
    if path.suffix.lower() in CONTAINERS:
        return True
    try:
        return is_video(path) and (frames(path).count or 1) > 1
    except InputError:
        return False  # the reader of 2D images reports the problem


@dataclasses.dataclass
class Frames:
    """An iterable over the frames of a video; each iteration decodes it from the beginning.

    Frames are numbered as in the video: a frame that cannot be read keeps its number. Only where damage hides a frame
    from the reader of an AVI are the numbers after it one lower.

    Attributes:
      path: of the file.
      rate: frames a second, on average.
      count: frames that the file declares; 0 where it does not.
      decode: returns an iterator over the frames that can be read.
      skipped: numbers of the frames that could not be read so far, in the latest iteration.
    """

    path: pathlib.Path
    rate: float
    count: int
    decode: Callable[[], Iterator[Frame]]
    skipped: list[int] = dataclasses.field(default_factory=list)

    def __iter__(self) -> Iterator[Frame]:
        self.skipped, expected = [], 0
        for frame in self.decode():
            self.skipped += range(expected, frame[0])
            expected = frame[0] + 1
            yield frame
        self.skipped += range(expected, self.count)
        if not expected:
            raise InputError(f'{self.path}: no frame that can be read; expected a video: damaged or cut short?')


def frames(path: str | pathlib.Path) -> Frames:
    """The frames of a video.

    Args:
      path: MP4, AVI, or one DICOM file.

    Returns:
      An iterable of `(number, time in seconds, [rows, columns, 3] uint8)` for each frame that can be read, in order;
      grey is repeated in three channels.

    Raises:
      InputError: no such file; not a video; PyAV is not installed; while iterating, no frame can be read.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f'{path}: no such file; expected a video')
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f'{path}: not a video file; expected one of {", ".join(SUFFIXES)}')
    return _dicom(path) if path.suffix.lower() in DICOM else _container(path)


def import_pyav() -> Any:
    """The module PyAV.

    Raises:
      InputError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError("videos need PyAV, which is not installed; expected `pip install 'medjax[video]'`") from error
    return av


def _container(path: pathlib.Path) -> Frames:
    av = import_pyav()
    av.logging.set_level(av.logging.PANIC)  # damaged frames are counted instead
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f'{path}: no video in it; expected frames: damaged or cut short?')
            stream = container.streams.video[0]
            rate, declared = float(stream.average_rate or 0), stream.frames
            # MP4 lists the times of all frames, whose order gives the numbers. AVI has no times; numbers are counted.
            times = []
            if container.format.name != 'avi':
                times = [packet.pts for packet in container.demux(stream)
                         if packet.pts is not None and not packet.is_discard]
    except av.FFmpegError as error:
        raise InputError(f'{path}: cannot be read as a video: {error.strerror}; expected a whole file: damaged or cut '
                         'short?') from error
    if rate <= 0:
        raise InputError(f'{path}: no frame rate; expected a video')
    numbers = {time: number for number, time in enumerate(sorted(set(times)))}

    def decode() -> Iterator[Frame]:
        with contextlib.suppress(av.FFmpegError), av.open(str(path)) as container:  # what follows damage is skipped
            stream, expected = container.streams.video[0], 0
            for packet in container.demux(stream):
                try:
                    decoded = packet.decode()
                except av.FFmpegError:
                    if not numbers:
                        expected += 1
                    continue
                for frame in decoded:
                    number = numbers.get(frame.pts, expected)
                    expected = number + 1
                    if frame.is_corrupt:  # the decoder filled in missing parts
                        continue
                    time = float((frame.pts - min(numbers)) * frame.time_base) if numbers else number / rate
                    if frame.rotation % 90:
                        raise InputError(f'{path}: rotated by {frame.rotation} degrees; expected a multiple of 90')
                    upright = np.rot90(frame.to_ndarray(format='rgb24'), frame.rotation // 90)
                    yield number, time, np.ascontiguousarray(upright)

    return Frames(path, rate, max(declared, len(numbers)), decode)


def _dicom(path: pathlib.Path) -> Frames:
    try:
        head = dicom_pixels.read_header(path)
        count, bits = dicom_pixels.frame_count(path, head), int(head.BitsAllocated)
        steps = [float(ms) / 1000 for ms in head.get('FrameTimeVector') or ()]
        rate = next((float(head[name].value) for name in RATES if head.get(name)), 0.0)
        step = float(head.get('FrameTime') or 0) / 1000 or (1 / rate if rate > 0 else 0.0)
    except InputError:
        raise
    except Exception as error:  # on damaged files pydicom raises exceptions of any type
        raise InputError(f'{path}: cannot be read as DICOM; expected a whole file: damaged or cut short? '
                         f'({" ".join(str(error).split())[-160:]})') from error
    if count < 2 or bits != 8:
        raise InputError(f'{path}: {count} frame{"" if count == 1 else "s"} of {bits} bits; expected a video: several, '
                         'of 8 bits')
    # The vector's first number is 0, the time before the first frame (PS3.3, C.7.6.5).
    times = np.cumsum(steps) if len(steps) == count else np.arange(count) * step
    if not 0 < times[-1] < np.inf:
        raise InputError(f'{path}: no FrameTime (0018,1063); expected the time between frames')
    to_rgb = _rgb_conversion(path, head)
    deflated = head.file_meta.TransferSyntaxUID == uid.DeflatedExplicitVRLittleEndian  # has no frames to seek

    def decode() -> Iterator[Frame]:
        number, source = 0, pydicom.dcmread(path) if deflated else path
        while number < count:
            try:
                for array in iter_pixels(source, indices=range(number, count)):
                    yield number, float(times[number]), to_rgb(array)
                    number += 1
                return
            except Exception:  # as above
                number += 1

    return Frames(path, float((count - 1) / times[-1]), count, decode)


def _rgb_conversion(path: pathlib.Path, header: pydicom.Dataset) -> Callable[[np.ndarray], np.ndarray]:
    """The function from a decoded frame to `[rows, columns, 3]` uint8: palettes are applied, low white is inverted."""
    dicom_pixels.check_decodable(path, header)
    if header.PhotometricInterpretation == 'PALETTE COLOR':
        shift = int(header.RedPaletteColorLookupTableDescriptor[2]) - 8
        return lambda array: (apply_color_lut(array, header) >> shift).astype(np.uint8)
    scaling, = set(dicom_pixels.scalings(path, [(header, 0)]))
    if header.get('ModalityLUTSequence') or scaling not in ((1, 0), (-1, sum(dicom_pixels.stored_range(header)))):
        raise InputError(f'{path}: rescaled values; expected a video, whose values are brightness or colours')

    def convert(array: np.ndarray) -> np.ndarray:
        values = dicom_pixels.values(path, array, scaling, np.dtype(np.uint8))
        return values if values.ndim == 3 else values[..., None].repeat(3, -1)

    return convert


class SequentialReader:
    """Random access to some frames of a video; requests in approximately ascending order share one decoding.

    Args:
      path: of the video.
      wanted: numbers that will be requested.
    """

    def __init__(self, path: pathlib.Path, wanted: Collection[int]):
        self._path, self._wanted, self._last = path, frozenset(wanted), max(wanted, default=0)
        self._lock = threading.Lock()
        self._steps: Iterator[Frame] | None = None
        self._kept: dict[int, np.ndarray] = {}  # decoded before a later one that another thread requested

    def __call__(self, number: int) -> np.ndarray:
        """A frame, `[rows, columns, 3]` uint8.

        Raises:
          InputError: it cannot be read.
        """
        with self._lock:
            if number in self._kept:
                return self._kept.pop(number)
            found = self._advance(number) if self._steps is not None else None
            if found is None:  # not requested in order
                self._steps = iter(frames(self._path))
                found = self._advance(number)
            if number == self._last:
                self._steps = None
        if found is None:
            raise InputError(f'{self._path}: frame {number} cannot be read; expected the video as it was before')
        return found

    def _advance(self, number: int) -> np.ndarray | None:
        """Decodes on to a frame; None where it is not found."""
        for current, _, array in self._steps:
            if current == number:
                return array
            if current in self._wanted and current < number:
                self._kept[current] = array
                if len(self._kept) > 4 * cores():
                    del self._kept[min(self._kept)]
            if current > number:
                return None
        return None
