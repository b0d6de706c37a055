"""Metrics of tracked detections in videos, by lesion: sensitivity, latency and false alarms."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from medjax.metrics import box_matching
from medjax.metrics.box_matching import box_iou
from medjax.tasks.detection.table import read_boxes
from medjax.tasks.detection.tracking import NO_TRACK, track_ids

MIN_IOU = 0.3  # of a track and the lesion that it is on


class FrameBoxes(NamedTuple):
    """The boxes of a frame.

    Attributes:
      boxes: `[N, 2D]`.
      labels: `[N]` class numbers.
      ids: `[N]`, numbers of tracks or lesions.
    """

    boxes: np.ndarray
    labels: np.ndarray
    ids: np.ndarray


@dataclasses.dataclass(frozen=True)
class VideoResult:
    """Tracks of a video compared with its lesions.

    Attributes:
      latencies: for each lesion the seconds from the first frame that shows it to the first with a track on it; NaN
        where no track is ever on it.
      false_alarms: number of tracks that are never on a lesion.
      minutes: duration of the frames; each lasts as long as the mean of all.
    """

    latencies: tuple[float, ...]
    false_alarms: int
    minutes: float


def compare_tracks(times: Sequence[float], truth: Sequence[FrameBoxes], found: Sequence[FrameBoxes], *,
                   min_iou: float = MIN_IOU) -> VideoResult:
    """Compares the tracks of a video with its lesions.

    A track is on a lesion in a frame if their boxes are of one class and overlap by at least `min_iou`. In each frame a
    track is on one lesion and a lesion has one track, in as many pairs as possible with the largest overlap; a second
    track that is always on a lesion beside another one is a false alarm.

    Args:
      times: of the frames, in s. The duration of a single frame is unknown and counts as 0.
      truth: for each frame the true boxes; ids are the lesions'.
      found: for each frame the found boxes; those of NO_TRACK do not count.
      min_iou: minimum IoU.
    """
    first: dict[int, float] = {}
    hit: dict[int, float] = {}
    right: set[int] = set()
    every: set[int] = set()
    for time, lesions, tracks in zip(times, truth, found, strict=True):
        iou = box_iou(lesions.boxes, tracks.boxes)
        on = (iou >= min_iou) & (lesions.labels[:, None] == tracks.labels) & (tracks.ids != NO_TRACK)
        worth = on * (1 + iou / (1 + min(on.shape)))  # a pair more counts more than all overlaps
        chosen = linear_sum_assignment(worth, maximize=True)
        pairs = np.zeros_like(on)
        pairs[chosen] = on[chosen]
        for row, lesion in enumerate(lesions.ids.tolist()):
            first.setdefault(lesion, time)
            if pairs[row].any():
                hit.setdefault(lesion, time)
        every |= set(tracks.ids.tolist())
        right |= set(tracks.ids[pairs.any(0)].tolist())
    minutes = (times[-1] - times[0]) * len(times) / max(len(times) - 1, 1) / 60
    latencies = tuple(hit.get(lesion, np.nan) - time for lesion, time in first.items())
    return VideoResult(latencies, len(every - right - {NO_TRACK}), minutes)


def pool_videos(videos: Sequence[VideoResult]) -> dict[str, float]:
    """Metrics over all lesions of several videos.

    Args:
      videos: the results of each.

    Returns:
      `lesions`, their number; `lesion_sensitivity`, the fraction with a track on them in any frame; `latency`, the
      median latency of these in s; `alarms_per_minute`; `minutes`. NaN where there is nothing to count.
    """
    latencies = np.array([value for video in videos for value in video.latencies])
    minutes, found = sum(video.minutes for video in videos), latencies[np.isfinite(latencies)]
    return {'lesions': float(len(latencies)),
            'lesion_sensitivity': len(found) / len(latencies) if len(latencies) else np.nan,
            'latency': float(np.median(found)) if len(found) else np.nan,
            'alarms_per_minute': sum(video.false_alarms for video in videos) / minutes if minutes else np.nan,
            'minutes': minutes}


def video_metrics(rows: Sequence[Mapping[str, Any]], classes: Sequence[str], score: float) -> dict[str, float]:
    """Metrics by lesion of an evaluation whose cases are frames of videos.

    The lesions are the tracks of the true boxes, where each box starts or continues one: a lesion that is out of sight
    for longer than the tracker waits counts as another one when it returns. If the frames are every n-th of a video,
    the tracker uses only these.

    Args:
      rows: the rows of one split of cases from `data.sources.video`.
      classes: names of the classes.
      score: found boxes with at least this score count.

    Returns:
      See `pool_videos`; empty where the cases are not frames of videos.
    """
    videos: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get('video'):
            videos.setdefault(row['video'], []).append(row)
    return pool_videos([_video_result(frames, classes, score) for frames in videos.values()]) if videos else {}


def _video_result(rows: Sequence[Mapping[str, Any]], classes: Sequence[str], score: float) -> VideoResult:
    """The tracks of one video's found boxes compared with those of its true boxes."""
    rows = sorted(rows, key=lambda row: int(row['frame']))
    frames = [read_boxes(row, classes, 2) for row in rows]
    true = [(frame.true_boxes, frame.true_labels) for frame in frames]
    # Boxes on ignored regions are no false alarms.
    counted_boxes = [(frame.scores >= score) & ~box_matching.found_on_ignored(frame, MIN_IOU) for frame in frames]
    found = [(frame.pred_boxes[counted], frame.pred_labels[counted]) for frame, counted in zip(frames, counted_boxes)]
    return compare_tracks([float(row['time']) for row in rows], _tracked(true, hits=1), _tracked(found))


def _tracked(frames: Sequence[tuple[np.ndarray, np.ndarray]], **options: int) -> list[FrameBoxes]:
    """The boxes and labels of successive frames with the numbers of their tracks."""
    ids = track_ids(((number, *boxes) for number, boxes in enumerate(frames)), **options)
    return [FrameBoxes(*boxes, tracks) for boxes, tracks in zip(frames, ids)]
