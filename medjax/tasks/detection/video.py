"""Detection in a new video: objects are tracked over the frames, drawn on them, and written to a table."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.data.io import video_frames
from medjax.data.io.geometry import Image
from medjax.errors import InputError
from medjax.tasks.detection.inference import Detections
from medjax.tasks.detection.output import draw_boxes
from medjax.tasks.detection.table import DIGITS
from medjax.tasks.detection.tracking import NO_TRACK, Tracker

TICKS_PER_SECOND = 90000  # of MPEG's clock
COLUMNS = ('frame', 'time', 'track', 'label', 'score', 'x1', 'y1', 'x2', 'y2')
H264_OPTIONS = {'preset': 'veryfast', 'crf': '20'}  # good quality, encoded faster than frames are decoded

Detect = Callable[[Image], Detections]  # the detections of a 2D image, in its own voxels


def track_video(path: pathlib.Path, folder: pathlib.Path, detect: Detect, classes: Sequence[str], score: float) -> str:
    """Detects objects in the frames of a video and tracks them.

    Writes NAME.mp4, with boxes, track numbers and scores drawn on the frames, and NAME.csv with a row for each box:
    `frame`, `time` in s, `track` (see `tracking.Tracker`; empty for a box that is in none yet), `label`, `score`, and
    corners in pixels as `data.sources.video` reads them. One frame at a time is in memory.

    Args:
      path: of the video.
      folder: the output folder.
      detect: detects objects in a frame.
      classes: names of the classes.
      score: minimum score of a detection.

    Returns:
      A line about the result with the number of frames per second that were decoded, searched, drawn and written. The
      first frame is not counted, since the network may have to be compiled.

    Raises:
      InputError: the video cannot be read, or a file cannot be written.
    """
    video, tracker = video_frames.frames(path), Tracker()
    annotated, table = folder / f'{path.stem}.mp4', folder / f'{path.stem}.csv'
    rows, count, start = [], 0, 0.0
    with _writer(annotated, video.rate) as write:
        for number, seconds, array in video:
            image = Image(array.swapaxes(0, 1)[:, :, None], np.eye(4), f'{path}, frame {number}')
            found = detect(image).above(score)
            tracks = tracker(number, found.boxes, found.labels).tolist()
            names = [classes[label] for label in found.labels]
            rows += _rows(number, seconds, tracks, names, found)
            write(np.asarray(draw_boxes(image, found.boxes, _texts(tracks, names, found), found.labels)), seconds)
            count, start = count + 1, start or time.monotonic()
    speed = (count - 1) / max(time.monotonic() - start, 1e-9)
    if rows:
        atomic_files.write_table(table, rows)
    else:
        atomic_files.write_text(table, ','.join(COLUMNS) + '\n')
    tracked = len({row['track'] for row in rows} - {''})
    skipped = f', {len(video.skipped)} unreadable ones left out' if video.skipped else ''
    return (f'{path} → {annotated}, {table}   {count} frames{skipped}, {len(rows)} boxes, {tracked} tracks, '
            f'{speed:.1f} frames/s')


def _rows(number: int, seconds: float, tracks: Sequence[int], names: Sequence[str],
          found: Detections) -> list[dict[str, Any]]:
    """The rows of a frame's boxes."""
    corners = np.round(found.boxes[:, [1, 0, 3, 2]].astype(float), DIGITS).tolist()
    tracks = ['' if track == NO_TRACK else track for track in tracks]
    return [dict(zip(COLUMNS, (number, round(seconds, 3), track, name, float(score), *box)))
            for track, name, score, box in zip(tracks, names, found.scores, corners)]


def _texts(tracks: Sequence[int], names: Sequence[str], found: Detections) -> list[str]:
    """The texts that are drawn at a frame's boxes."""
    texts = [f'{name} {score:.2f}' for name, score in zip(names, found.scores)]
    return [text if track == NO_TRACK else f'{track} {text}' for track, text in zip(tracks, texts)]


@contextlib.contextmanager
def _writer(path: pathlib.Path, rate: float) -> Iterator[Callable[[np.ndarray, float], None]]:
    """A function that writes frames `[rows, columns, 3]` uint8 at times in s; the file appears when it is complete."""
    av = video_frames.import_pyav()
    stream: Any = None

    def write(array: np.ndarray, seconds: float) -> None:
        nonlocal stream
        # Colours are stored for blocks of two by two pixels.
        array = np.pad(array, [(0, array.shape[0] % 2), (0, array.shape[1] % 2), (0, 0)], 'edge')
        if stream is None:
            stream = container.add_stream('libx264', rate=Fraction(rate).limit_denominator(1001), options=H264_OPTIONS)
            stream.height, stream.width, stream.pix_fmt = *array.shape[:2], 'yuv420p'
            stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), 'rgb24')
        frame.pts, frame.time_base = round(seconds * TICKS_PER_SECOND), Fraction(1, TICKS_PER_SECOND)
        container.mux(stream.encode(frame))

    try:
        with atomic_files.replacing(path) as file, av.open(file, 'w', format='mp4') as container:
            yield write
            container.mux(stream.encode(None))
    except OSError as error:  # includes PyAV's errors
        raise InputError(f'{path}: cannot be written: {error.strerror}; expected a writable folder with free '
                         'space') from error
