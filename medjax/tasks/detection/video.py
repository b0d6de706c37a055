"""What is found in a video: drawn on its frames, in a table, and judged by lesion."""

import contextlib
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.data.io import video_frames as videos
from medjax.data.io.geometry import Image
from medjax.errors import InputError
from medjax.tasks.detection.box_columns import drawn, read_row
from medjax.tasks.detection.tracking import NONE, Shown, Tracker, judged, summary, tracks

CLOCK = 90000  # ticks of a second, as MPEG counts
COLUMNS = ('frame', 'time', 'track', 'label', 'score', 'x1', 'y1', 'x2', 'y2')
BITS = {'preset': 'veryfast', 'crf': '20'}  # of H.264: good pictures, encoded faster than frames come

# `(image) -> boxes [N, 4] in its grid, class numbers [N], scores [N]` of a picture.
Find = Callable[[Image], tuple[np.ndarray, np.ndarray, np.ndarray]]


def follow(path: pathlib.Path, folder: pathlib.Path, find: Find, classes: Sequence[str], score: float) -> str:
    """Finds objects in the frames of a video and follows them.

    Writes NAME.mp4, with boxes, tracks' numbers and scores drawn, and NAME.csv, a row for each box: `frame`, `time`
    in s, `track` (see `tracks.Tracker`; empty where it is none yet), `label`, `score`, and corners in pixels as
    `data.sources.video` reads them. One frame at a time is in memory.

    Args:
      path: of the video.
      folder: gets both.
      find: finds objects in a frame.
      classes: names.
      score: from which a found box counts.

    Returns:
      A line on what was found, and how many frames a second were decoded, searched, drawn and written; the first one,
      for which the network may have to be compiled, does not count.

    Raises:
      InputError: not a video that can be read; or one of the files cannot be written.
    """
    video, tracker = videos.frames(path), Tracker()
    film, table = folder / f'{path.stem}.mp4', folder / f'{path.stem}.csv'
    if film.exists() and film.samefile(path):
        raise InputError(f'--output={folder}: the video would be written over; expected another folder than its own')
    rows, count, began, seen = [], 0, 0.0, set()
    with _film(film, video.rate) as write:
        for number, at, array in video:
            image = Image(array.swapaxes(0, 1)[:, :, None], np.eye(4), f'{path}, frame {number}')
            boxes, labels, scores = find(image)
            sure = scores >= score
            boxes, labels, scores = boxes[sure], labels[sure], scores[sure]
            ids = tracker(number, boxes, labels)
            names = [classes[label] for label in labels]
            rows += [dict(zip(COLUMNS, (number, round(at, 3), track or '', name, float(sure), *corners)))
                     for track, name, sure, corners in zip(
                         ids.tolist(), names, scores, np.round(boxes[:, [1, 0, 3, 2]].astype(float), 2).tolist())]
            texts = [f'{track} {name} {sure:.2f}' if track else f'{name} {sure:.2f}'
                     for track, name, sure in zip(ids, names, scores)]
            write(np.asarray(drawn(image, boxes, texts, labels)), at)
            seen |= set(ids.tolist()) - {NONE}
            count, began = count + 1, began or time.monotonic()
    speed = (count - 1) / max(time.monotonic() - began, 1e-9)
    if rows:
        atomic_files.write_table(table, rows)
    else:  # nothing found is a result too
        atomic_files.write_text(table, ','.join(COLUMNS) + '\n')
    lost = f', {len(video.skipped)} that cannot be read left out' if video.skipped else ''
    return (f'{path} → {film}, {table}   {count} frames{lost}, {len(rows)} boxes, {len(seen)} tracks, '
            f'{speed:.1f} frames/s')


def scored(rows: Sequence[Mapping[str, Any]], classes: Sequence[str], score: float) -> Mapping[str, float]:
    """Judges an evaluation of videos by lesion.

    A lesion is what the tracker makes of the true boxes, each of which begins or goes on with one: where it is out of
    sight for longer than the tracker waits, it comes back as another. Of frames that are every n-th of a video the
    tracker sees those alone.

    Args:
      rows: of the evaluation of the cases of `data.sources.video`, of one split.
      classes: names.
      score: from which a found box counts.

    Returns:
      See `tracks.summary`; nothing where the cases are no frames.
    """
    films: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get('video'):
            films.setdefault(row['video'], []).append(row)
    worth = []
    for film in films.values():
        film = sorted(film, key=lambda row: int(row['frame']))
        seen = [read_row(row, classes, 2) for row in film]
        there = [(of.true_boxes, of.true_labels) for of in seen]
        found = [(of.pred_boxes[of.scores >= score], of.pred_labels[of.scores >= score]) for of in seen]
        shown = [[Shown(*of, ids) for of, ids in zip(parts, tracks(
            ((place, *of) for place, of in enumerate(parts)), **options))]
            for parts, options in ((there, {'hits': 1}), (found, {}))]
        worth.append(judged([float(row['time']) for row in film], *shown))
    return summary(worth) if worth else {}


@contextlib.contextmanager
def _film(path: pathlib.Path, rate: float) -> Iterator[Callable[[np.ndarray, float], None]]:
    """What writes frames `[rows, columns, 3]` uint8 at times in s; the file appears whole or not at all."""
    av, part = videos.library(), path.with_name(f'.{path.name[-100:]}.{os.getpid()}.part')
    stream: Any = None

    def write(array: np.ndarray, at: float) -> None:
        nonlocal stream
        # Colours are kept for two by two pixels.
        array = np.pad(array, [(0, array.shape[0] % 2), (0, array.shape[1] % 2), (0, 0)], 'edge')
        if stream is None:
            stream = container.add_stream('libx264', rate=Fraction(rate).limit_denominator(1001), options=BITS)
            stream.height, stream.width, stream.pix_fmt = *array.shape[:2], 'yuv420p'
            stream.codec_context.time_base = Fraction(1, CLOCK)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), 'rgb24')
        frame.pts, frame.time_base = round(at * CLOCK), Fraction(1, CLOCK)
        container.mux(stream.encode(frame))

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(part), 'w', format='mp4') as container:
            yield write
            container.mux(stream.encode(None))
        os.replace(part, path)
    except OSError as error:  # PyAV's are some as well
        raise InputError(f'{path}: cannot be written: {error.strerror}; expected room in a folder that can be written '
                         'to') from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
