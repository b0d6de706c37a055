"""Tracking of detections over the frames of a video.

The tracker is SORT (Bewley 2016, Simple online and realtime tracking): a Kalman filter with constant velocity predicts
the box of each track (Kalman 1960), and the boxes of a frame are assigned to predicted ones so that the sum of their
IoU is largest (Kuhn 1955). It is online: it uses no later frame.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
from scipy.optimize import linear_sum_assignment

from medjax.metrics.box_matching import box_iou

NO_TRACK = 0  # number of boxes that belong to no track yet
ACCELERATION = 0.2  # standard deviation of the change of velocity per frame, in units of that of a found box's corners
INITIAL_VARIANCE = 1e3  # variance of a velocity of which nothing is known, in the same units


@dataclasses.dataclass
class _Track:
    """A Kalman filter of a box's corners; all corners have the same errors and share one covariance.

    Attributes:
      state: `[2, 2D]`, corners and their velocities per frame.
      covariance: `[2, 2]`, of the state, in units of a found box's variance.
      label: class number.
      frame: number of the frame of the last box.
      hits: number of boxes so far.
      id: number of the track; NO_TRACK until it has enough boxes.
    """

    state: np.ndarray
    covariance: np.ndarray
    label: int
    frame: int
    hits: int = 1
    id: int = NO_TRACK

    def predict(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """State and covariance predicted for a later frame."""
        step = frame - self.frame
        move = np.array([[1.0, step], [0.0, 1.0]])
        noise = ACCELERATION**2 * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])  # velocity's random walk
        return move @ self.state, move @ self.covariance @ move.T + noise

    def update(self, frame: int, box: np.ndarray) -> None:
        """Updates the filter with the box `[2D]` of a frame."""
        state, covariance = self.predict(frame)
        gain = covariance[:, :1] / (covariance[0, 0] + 1)
        self.state, self.covariance = state + gain * (box - state[0]), covariance - gain * covariance[:1]
        self.frame, self.hits = frame, self.hits + 1


class Tracker:
    """Assigns the boxes of successive frames to tracks.

    Args:
      overlap: minimum IoU of a box and the predicted box of its track; classes are tracked separately.
      hits: number of boxes in successive frames from which a track has a number. Earlier boxes belong to NO_TRACK, and
        a track that misses a frame before that is dropped.
      age: number of frames after its last box for which a numbered track is continued.
    """

    def __init__(self, overlap: float = 0.3, hits: int = 3, age: int = 10):
        self._overlap, self._hits, self._age, self._count = overlap, hits, age, 0
        self._tracks: list[_Track] = []

    def __call__(self, frame: int, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Assigns the boxes of the next frame to tracks.

        Args:
          frame: number of the frame, larger than that of the previous call.
          boxes: `[N, 2D]`.
          labels: `[N]` class numbers.

        Returns:
          `[N]` int, the track of each box, from 1; NO_TRACK for a box that may still become a track.
        """
        boxes, tracks = np.asarray(boxes, np.float64), [t for t in self._tracks if frame - t.frame <= self._age + 1]
        ids, free = np.full(len(boxes), NO_TRACK), set(range(len(boxes)))
        if tracks and free:
            predicted = np.stack([track.predict(frame)[0][0] for track in tracks])
            same_class = np.array([track.label for track in tracks])[:, None] == np.asarray(labels)
            iou = box_iou(predicted, boxes) * same_class
            iou[iou < self._overlap] = 0  # otherwise a box that is too far away could take another one's place
            for row, column in zip(*linear_sum_assignment(-iou)):
                if iou[row, column] > 0:
                    tracks[row].update(frame, boxes[column])
                    ids[column] = self._numbered(tracks[row])
                    free.remove(column)
        for place in sorted(free):
            state = np.stack([boxes[place], np.zeros_like(boxes[place])])
            track = _Track(state, np.diag([1.0, INITIAL_VARIANCE]), int(labels[place]), frame)
            ids[place] = self._numbered(track)
            tracks.append(track)
        self._tracks = [track for track in tracks if track.id or track.frame == frame]
        return ids

    def _numbered(self, track: _Track) -> int:
        """The number of a track, which it is given once it has enough boxes."""
        if not track.id and track.hits >= self._hits:
            self._count += 1
            track.id = self._count
        return track.id


def track_ids(frames: Iterable[tuple[int, np.ndarray, np.ndarray]], *, overlap: float = 0.3, hits: int = 3,
              age: int = 10) -> list[np.ndarray]:
    """The tracks of the boxes in a video.

    Args:
      frames: for each frame its number, boxes `[N, 2D]` and class numbers `[N]`.
      overlap: see `Tracker`, also for hits and age.
      hits: …
      age: …

    Returns:
      For each frame `[N]` int: the track of each box, from 1; NO_TRACK for none.
    """
    tracker = Tracker(overlap, hits, age)
    return [tracker(frame, boxes, labels) for frame, boxes, labels in frames]
