"""Tracks of what is found in the frames of a video, and how soon and how often they are right.

A tracker as SORT (Bewley 2016, Simple online and realtime tracking): a Kalman filter of constant velocity predicts
each track's box (Kalman 1960), and the boxes of a frame are assigned to the predicted ones so that the sum of IoU is
largest (Kuhn 1955). It looks at no later frame.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from medjax.metrics.box_matching import box_iou

NONE = 0  # the number of what belongs to no track yet
AGILE = 0.2  # change of velocity in a frame, standard deviation, in units of that of a found box's corners
UNKNOWN = 1e3  # variance of a velocity of which nothing is known, in the same units


class Shown(NamedTuple):
    """What a frame shows: boxes `[N, 2D]`, class numbers `[N]`, and the numbers `[N]` of tracks or lesions."""

    boxes: np.ndarray
    labels: np.ndarray
    ids: np.ndarray


@dataclasses.dataclass
class _Track:
    """A Kalman filter of a box's corners; their errors are alike, so that all have one covariance.

    Attributes:
      state: `[2, 2D]`: corners, and what they move by in a frame.
      spread: `[2, 2]`: its covariance, in units of a found box's variance.
      label: class number.
      frame: of the last box.
      hits: boxes so far.
      id: NONE until there are enough.
    """

    state: np.ndarray
    spread: np.ndarray
    label: int
    frame: int
    hits: int = 1
    id: int = NONE

    def predicted(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """State and covariance some frames later."""
        step = frame - self.frame
        move = np.array([[1.0, step], [0.0, 1.0]])
        noise = AGILE**2 * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])  # velocity's random walk
        return move @ self.state, move @ self.spread @ move.T + noise

    def update(self, frame: int, box: np.ndarray) -> None:
        """Takes the box that was found in a frame."""
        state, spread = self.predicted(frame)
        gain = spread[:, :1] / (spread[0, 0] + 1)
        self.state, self.spread = state + gain * (box - state[0]), spread - gain * spread[:1]
        self.frame, self.hits = frame, self.hits + 1


class Tracker:
    """Numbers what is found in frame after frame.

    Args:
      overlap: least IoU of a box and the predicted one of its track; classes are tracked apart.
      hits: boxes in successive frames from which a track has a number: a box before that belongs to NONE, and a track
        that misses a frame before that is forgotten.
      age: frames for which a numbered track is looked for, after its last box.
    """

    def __init__(self, overlap: float = 0.3, hits: int = 3, age: int = 10):
        self._overlap, self._hits, self._age, self._count = overlap, hits, age, 0
        self._tracks: list[_Track] = []

    def __call__(self, frame: int, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Tells the tracks of a frame's boxes.

        Args:
          frame: its number, larger than the last one's.
          boxes: `[N, 2D]`.
          labels: `[N]` class numbers.

        Returns:
          `[N]` int: the track of each, from 1; NONE for one that may yet become a track.
        """
        boxes, tracks = np.asarray(boxes, np.float64), [t for t in self._tracks if frame - t.frame <= self._age + 1]
        ids, free = np.full(len(boxes), NONE), set(range(len(boxes)))
        if tracks and free:
            guess = np.stack([track.predicted(frame)[0][0] for track in tracks])
            shared = box_iou(guess, boxes) * (np.array([t.label for t in tracks])[:, None] == np.asarray(labels))
            shared[shared < self._overlap] = 0  # else one that is too far away could take the place of another
            for row, column in zip(*linear_sum_assignment(-shared)):
                if shared[row, column] > 0:
                    tracks[row].update(frame, boxes[column])
                    ids[column] = self._numbered(tracks[row])
                    free.remove(column)
        for place in sorted(free):
            made = _Track(np.stack([boxes[place], np.zeros_like(boxes[place])]), np.diag([1.0, UNKNOWN]),
                          int(labels[place]), frame)
            ids[place] = self._numbered(made)
            tracks.append(made)
        self._tracks = [track for track in tracks if track.id or track.frame == frame]
        return ids

    def _numbered(self, track: _Track) -> int:
        if not track.id and track.hits >= self._hits:
            self._count += 1
            track.id = self._count
        return track.id


def tracks(found: Iterable[tuple[int, np.ndarray, np.ndarray]], *, overlap: float = 0.3, hits: int = 3,
           age: int = 10) -> list[np.ndarray]:
    """Tells the tracks of what is found in a video.

    Args:
      found: of each frame its number, boxes `[N, 2D]` and class numbers `[N]`.
      overlap: see `Tracker`, as for hits and age.
      hits: …
      age: …

    Returns:
      Of each frame `[N]` int: the track of each box, from 1; NONE where it is in none, or not yet.
    """
    tracker = Tracker(overlap, hits, age)
    return [tracker(frame, boxes, labels) for frame, boxes, labels in found]


@dataclasses.dataclass(frozen=True)
class Judged:
    """What tracks of a video are worth.

    Attributes:
      latencies: of each lesion, in s from the first frame that shows it to the first in which a track is on it; NaN
        where none ever is.
      alarms: tracks that are never on a lesion.
      minutes: that the frames last, each as long as the mean of all.
    """

    latencies: tuple[float, ...]
    alarms: int
    minutes: float


def judged(times: Sequence[float], truth: Sequence[Shown], found: Sequence[Shown], *, least: float = 0.3) -> Judged:
    """Compares tracks with lesions: a track is on a lesion in a frame by an IoU of their boxes, of one class.

    Args:
      times: of the frames, in s; what one frame alone lasts is not known and counts as 0.
      truth: of each frame what is there; ids are the lesions'.
      found: of each frame what is found; boxes of the track NONE do not count.
      least: the IoU from which it is.
    """
    first: dict[int, float] = {}
    hit: dict[int, float] = {}
    right: set[int] = set()
    every: set[int] = set()
    for time, there, seen in zip(times, truth, found, strict=True):
        on = (box_iou(there.boxes, seen.boxes) >= least) & (there.labels[:, None] == seen.labels) & (seen.ids != NONE)
        for row, lesion in enumerate(there.ids.tolist()):
            first.setdefault(lesion, time)
            if on[row].any():
                hit.setdefault(lesion, time)
        every |= set(seen.ids.tolist())
        right |= set(seen.ids[on.any(0)].tolist())
    lasting = (times[-1] - times[0]) * len(times) / max(len(times) - 1, 1) / 60
    return Judged(tuple(hit.get(lesion, np.nan) - time for lesion, time in first.items()), len(every - right - {NONE}),
                  lasting)


def summary(videos: Sequence[Judged]) -> Mapping[str, float]:
    """Pools videos.

    Returns:
      `lesions`, their number; `lesion_sensitivity`, the share of them that a track is ever on; `latency`, the median
      of the seconds until then, of those; `alarms_per_minute`; `minutes`. NaN where there is nothing to count.
    """
    latencies = np.array([value for video in videos for value in video.latencies])
    minutes, reached = sum(video.minutes for video in videos), latencies[np.isfinite(latencies)]
    return {'lesions': float(len(latencies)),
            'lesion_sensitivity': len(reached) / len(latencies) if len(latencies) else np.nan,
            'latency': float(np.median(reached)) if len(reached) else np.nan,
            'alarms_per_minute': sum(video.alarms for video in videos) / minutes if minutes else np.nan,
            'minutes': minutes}
