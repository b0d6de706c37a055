"""Tracking: the filter against least squares, and assignment to tracks by hand."""

import numpy as np
import pytest

from medjax.metrics.box_matching import box_iou
from medjax.tasks.detection import tracking
from medjax.tasks.detection.tracking import NO_TRACK, Tracker, track_ids


def box(row, column, size=10):
    return [row, column, row + size, column + size]


def frames_of(*frames):
    """Frames of boxes of class 0."""
    return [(number, np.reshape(boxes, (-1, 4)), np.zeros(len(boxes), int)) for number, boxes in enumerate(frames)]


def test_without_noise_the_filter_equals_least_squares(monkeypatch):
    monkeypatch.setattr(tracking, 'ACCELERATION', 0.0)
    monkeypatch.setattr(tracking, 'INITIAL_VARIANCE', 1e9)
    frames = np.array([0, 1, 2, 5, 6, 9])
    rng = np.random.default_rng(0)
    boxes = np.array([0.0, 0, 40, 50]) + frames[:, None] * [1.0, -2.0, 1.5, -2.0] + rng.normal(0, 0.5, (6, 4))
    tracker = Tracker(hits=1, age=10)
    for frame, its in zip(frames, boxes):
        assert tracker(frame, its[None], np.zeros(1, int)).tolist() == [1]
    (track,) = tracker._tracks
    design = np.stack([np.ones(6), frames - 9], -1)
    line, *_ = np.linalg.lstsq(design, boxes)
    np.testing.assert_allclose(track.state, line, atol=1e-5)
    np.testing.assert_allclose(track.covariance, np.linalg.inv(design.T @ design), atol=1e-6)
    np.testing.assert_allclose(track.predict(12)[0][0], line[0] + 3 * line[1], atol=1e-4)


def test_velocity_noise_is_additive_over_steps():
    track = tracking._Track(np.zeros((2, 4)), np.diag([1.0, 2.0]), 0, 0)
    _, one = track.predict(2)
    half = tracking._Track(np.zeros((2, 4)), track.predict(1)[1], 0, 1)
    np.testing.assert_allclose(half.predict(2)[1], one)


def test_crossing_tracks_keep_their_numbers():
    there = [box(0, 6 * n, 20) for n in range(20)]
    back = [box(3, 114 - 6 * n, 20) for n in range(20)]
    found = track_ids(frames_of(*([a, b] if n % 2 else [b, a] for n, (a, b) in enumerate(zip(there, back)))), hits=1)
    first = [ids[0 if n % 2 else 1] for n, ids in enumerate(found)]
    assert len(set(first)) == 1 and {tuple(sorted(ids)) for ids in found} == {(1, 2)}


def test_a_track_has_a_number_from_its_third_box_in_a_row():
    a = box(0, 0)
    assert [ids.tolist() for ids in track_ids(frames_of([a], [a], [a], [a]))] == [[NO_TRACK], [NO_TRACK], [1], [1]]
    assert [ids.tolist() for ids in track_ids(frames_of([a], [a], [], [a], [a], [a]))] == [
        [NO_TRACK], [NO_TRACK], [], [NO_TRACK], [NO_TRACK], [1]]


@pytest.mark.parametrize('gap, number', [(4, 1), (5, 2)])
def test_a_lost_track_is_predicted_for_a_number_of_frames(gap, number):
    step = 3
    frames = [(n, np.array([box(step * n, 0)]), np.zeros(1, int)) for n in (0, 1, 2, 3, 4 + gap)]
    assert [ids.tolist() for ids in track_ids(frames, hits=1, age=4)] == [[1]] * 4 + [[number]]
    # At rest it would be elsewhere: box 4 + gap does not overlap the last one seen.
    assert step * (1 + gap) > 10


def test_classes_are_tracked_separately_and_the_total_overlap_is_maximised():
    frames = [(n, np.array([box(0, 0)]), np.array([n])) for n in range(2)]
    assert [ids.tolist() for ids in track_ids(frames, hits=1)] == [[1], [2]]
    # The first box alone would take track 2, which it overlaps most, and leave the second box without.
    before, after = [box(0, 0), box(0, 4)], [box(0, 3), box(0, 7)]
    shared = box_iou(np.array(before, float), np.array(after, float))
    assert shared[1, 0] > shared[0, 0] > 0.3 > shared[0, 1]
    assert track_ids(frames_of(before, after), hits=1)[1].tolist() == [1, 2]


def test_frames_without_boxes():
    assert [ids.tolist() for ids in track_ids(frames_of([], [box(0, 0)], []), hits=1)] == [[], [1], []]
