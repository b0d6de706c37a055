"""Frames of videos, one after the other: MP4 and AVI by PyAV, DICOM of many frames by pydicom.

A video is never in memory as a whole. What a camera says of being turned is not applied, as with pictures.
"""

import contextlib
import dataclasses
import pathlib
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.machine import cores

CONTAINERS = ('.mp4', '.avi')
DICOM = ('.dcm', '.dicom')
SUFFIXES = CONTAINERS + DICOM
RATES = ('CineRate', 'RecommendedDisplayFrameRate')  # elements of DICOM that give frames a second

Frame = tuple[int, float, np.ndarray]  # number from 0, time in seconds from the first, `[rows, columns, 3]` uint8


def is_video(path: pathlib.Path) -> bool:
    """Whether a path is a file with a video's suffix; of DICOM that is every file."""
    return path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith('.')


def moves(path: pathlib.Path) -> bool:
    """Whether a path is a video indeed: of DICOM a file with several frames, which takes pydicom to tell."""
    try:
        return path.suffix.lower() in CONTAINERS or is_video(path) and (frames(path).count or 1) > 1
    except InputError:
        return False  # whatever it is, the reader of pictures says what is wrong with it


@dataclasses.dataclass
class Frames:
    """A video, to be iterated: each time it is decoded from its beginning.

    Numbers are those that frames have in the video: they go on behind one that cannot be read. Only where damage hides
    from an AVI's reader that there was a frame at all do those behind it count one less.

    Attributes:
      path: of the file.
      rate: frames a second, on average.
      count: frames that the file says it has; 0 where it does not say.
      decode: gives those that can be read.
      skipped: numbers of those that could not be read, of the last iteration up to where it is.
    """

    path: pathlib.Path
    rate: float
    count: int
    decode: Callable[[], Iterator[Frame]]
    skipped: list[int] = dataclasses.field(default_factory=list)

    def __iter__(self) -> Iterator[Frame]:
        self.skipped, due = [], 0
        for frame in self.decode():
            self.skipped += range(due, frame[0])
            due = frame[0] + 1
            yield frame
        self.skipped += range(due, self.count)
        if not due:
            raise InputError(f'{self.path}: no frame that can be read; expected a video: damaged or cut short?')


def frames(path: str | pathlib.Path) -> Frames:
    """Opens a video.

    Args:
      path: MP4, AVI, or one DICOM file.

    Returns:
      What gives `(number, time in seconds, [rows, columns, 3] uint8)` of each frame that can be read, in their order;
      grey is repeated in three channels.

    Raises:
      InputError: no such file; not a video; PyAV or pydicom is missing; later, when no frame can be read.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f'{path}: no such file; expected a video')
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f'{path}: not a video file; expected one of {", ".join(SUFFIXES)}')
    return _dicom(path) if path.suffix.lower() in DICOM else _container(path)


def library() -> Any:
    """PyAV.

    Raises:
      InputError: where it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError("videos need PyAV, which is not installed; expected `pip install 'medjax[video]'`") from error
    return av


def _container(path: pathlib.Path) -> Frames:
    av = library()
    av.logging.set_level(av.logging.PANIC)  # what matters of damage is counted
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f'{path}: no video in it; expected frames: damaged or cut short?')
            stream = container.streams.video[0]
            rate, declared = float(stream.average_rate or 0), stream.frames
            # MP4 lists all its frames, so that one's number is the place of its time among theirs. AVI has no times but
            # what their order gives.
            times = [] if container.format.name == 'avi' else [
                packet.pts for packet in container.demux(stream) if packet.pts is not None and not packet.is_discard]
    except av.FFmpegError as error:
        raise InputError(f'{path}: cannot be read as a video: {error.strerror}; expected a whole file: damaged or cut '
                         'short?') from error
    if rate <= 0:
        raise InputError(f'{path}: no rate of frames; expected a video')
    places = {time: number for number, time in enumerate(sorted(set(times)))}

    def decode() -> Iterator[Frame]:
        with contextlib.suppress(av.FFmpegError), av.open(str(path)) as container:  # what is behind damage is skipped
            stream, due = container.streams.video[0], 0
            for packet in container.demux(stream):
                try:
                    decoded = packet.decode()
                except av.FFmpegError:
                    due += not places
                    continue
                for frame in decoded:
                    number = places.get(frame.pts, due)
                    due = number + 1
                    if not frame.is_corrupt:  # else the decoder made parts of it up
                        time = number / rate if not places else float((frame.pts - min(places)) * frame.time_base)
                        yield number, time, frame.to_ndarray(format='rgb24')

    return Frames(path, rate, max(declared, len(places)), decode)


def _dicom(path: pathlib.Path) -> Frames:
    try:
        import pydicom
        from pydicom.pixels import iter_pixels
    except ImportError as error:
        raise InputError("DICOM videos need pydicom, which is not installed; expected `pip install 'medjax[video]'`"
                         ) from error
    try:
        head = pydicom.dcmread(path, stop_before_pixels=True)
        count, bits = int(head.get('NumberOfFrames') or 1), head.get('BitsAllocated')
        steps = [float(ms) / 1000 for ms in head.get('FrameTimeVector') or ()]
        rate = next((float(head[name].value) for name in RATES if head.get(name)), 0.0)
        step = float(head.get('FrameTime') or 0) / 1000 or (1 / rate if rate > 0 else 0.0)
    except Exception as error:  # pydicom raises whatever a damaged byte leads it to
        raise InputError(f'{path}: cannot be read as DICOM; expected a whole file: damaged or cut short? '
                         f'({" ".join(str(error).split())[-160:]})') from error
    if count < 2 or bits != 8:
        raise InputError(f'{path}: {count} frame{"s" * (count != 1)} of {bits} bits; expected a video: several, of 8 '
                         'bits')
    # The vector's first number is 0: that before the first frame (PS3.3, C.7.6.5).
    times = np.cumsum(steps) if len(steps) == count else np.arange(count) * step
    if not 0 < times[-1] < np.inf:
        raise InputError(f'{path}: no FrameTime (0018,1063); expected what time there is between frames')

    def decode() -> Iterator[Frame]:
        number = 0
        while number < count:
            try:
                for array in iter_pixels(path, indices=range(number, count)):
                    yield number, float(times[number]), array if array.ndim == 3 else array[..., None].repeat(3, -1)
                    number += 1
                return
            except Exception:  # as above
                number += 1

    return Frames(path, float((count - 1) / times[-1]), count, decode)


class Sequential:
    """Gives some frames of a video by their numbers; while they are asked for in about their order, by one decoding.

    Args:
      path: of the video.
      wanted: numbers that will be asked for.
    """

    def __init__(self, path: pathlib.Path, wanted: Collection[int]):
        self._path, self._wanted, self._last = path, frozenset(wanted), max(wanted, default=0)
        self._lock = threading.Lock()
        self._steps: Iterator[Frame] | None = None
        self._kept: dict[int, np.ndarray] = {}  # passed on the way to a later one: several threads ask

    def __call__(self, number: int) -> np.ndarray:
        """A frame, `[rows, columns, 3]` uint8.

        Raises:
          InputError: where it cannot be read.
        """
        with self._lock:
            if number in self._kept:
                return self._kept.pop(number)
            found = self._on(number) if self._steps is not None else None
            if found is None:  # not asked for in order
                self._steps = iter(frames(self._path))
                found = self._on(number)
            if number == self._last:
                self._steps = None
        if found is None:
            raise InputError(f'{self._path}: frame {number} cannot be read; expected the video as it was before')
        return found

    def _on(self, number: int) -> np.ndarray | None:
        for at, _, array in self._steps:
            if at == number:
                return array
            if at in self._wanted and at < number:
                self._kept[at] = array
                if len(self._kept) > 4 * cores():
                    del self._kept[min(self._kept)]
            if at > number:
                return None
        return None
