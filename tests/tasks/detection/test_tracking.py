"""Tracks: the filter against least squares, association by hand, and lesions and alarms by hand."""

import numpy as np
import pytest

from medjax.tasks.detection import tracking as module
from medjax.tasks.detection.tracking import NONE, Judged, Shown, Tracker, judged, summary, tracks

NOTHING = np.zeros((0, 4))


def box(row, column, size=10):
    return [row, column, row + size, column + size]


def film(*frames):
    """Frames of boxes of class 0."""
    return [(number, np.reshape(boxes, (-1, 4)), np.zeros(len(boxes), int)) for number, boxes in enumerate(frames)]


def test_without_noise_the_filter_is_the_line_of_least_squares(monkeypatch):
    monkeypatch.setattr(module, 'AGILE', 0.0)
    monkeypatch.setattr(module, 'UNKNOWN', 1e9)
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
    np.testing.assert_allclose(track.spread, np.linalg.inv(design.T @ design), atol=1e-6)
    np.testing.assert_allclose(track.predicted(12)[0][0], line[0] + 3 * line[1], atol=1e-4)


def test_noise_of_the_velocity_adds_up_the_same_in_one_step_or_in_two():
    track = module._Track(np.zeros((2, 4)), np.diag([1.0, 2.0]), 0, 0)
    _, one = track.predicted(2)
    half = module._Track(np.zeros((2, 4)), track.predicted(1)[1], 0, 1)
    np.testing.assert_allclose(half.predicted(2)[1], one)


def test_two_that_cross_keep_their_numbers():
    there = [box(0, 6 * n, 20) for n in range(20)]
    back = [box(3, 114 - 6 * n, 20) for n in range(20)]
    found = tracks(film(*([a, b] if n % 2 else [b, a] for n, (a, b) in enumerate(zip(there, back)))), hits=1)
    first = [ids[0 if n % 2 else 1] for n, ids in enumerate(found)]
    assert len(set(first)) == 1 and {tuple(sorted(ids)) for ids in found} == {(1, 2)}


def test_a_track_has_a_number_from_its_third_box_in_a_row():
    a = box(0, 0)
    assert [ids.tolist() for ids in tracks(film([a], [a], [a], [a]))] == [[NONE], [NONE], [1], [1]]
    assert [ids.tolist() for ids in tracks(film([a], [a], [], [a], [a], [a]))] == [
        [NONE], [NONE], [], [NONE], [NONE], [1]]


@pytest.mark.parametrize('gap, number', [(4, 1), (5, 2)])
def test_a_track_is_looked_for_as_many_frames_as_it_says_and_where_it_went(gap, number):
    step = 3
    frames = [(n, np.array([box(step * n, 0)]), np.zeros(1, int)) for n in (0, 1, 2, 3, 4 + gap)]
    assert [ids.tolist() for ids in tracks(frames, hits=1, age=4)] == [[1]] * 4 + [[number]]
    # At rest it would be elsewhere: box 4 + gap does not overlap the last one seen.
    assert step * (1 + gap) > 10


def test_classes_are_tracked_apart_and_the_sum_of_overlap_decides():
    frames = [(n, np.array([box(0, 0)]), np.array([n])) for n in range(2)]
    assert [ids.tolist() for ids in tracks(frames, hits=1)] == [[1], [2]]
    # The first box alone would take track 2, which it overlaps most, and leave the second box without.
    before, after = [box(0, 0), box(0, 4)], [box(0, 3), box(0, 7)]
    shared = module.overlap(np.array(before, float), np.array(after, float))
    assert shared[1, 0] > shared[0, 0] > 0.3 > shared[0, 1]
    assert tracks(film(before, after), hits=1)[1].tolist() == [1, 2]


def test_frames_that_show_nothing():
    assert [ids.tolist() for ids in tracks(film([], [box(0, 0)], []), hits=1)] == [[], [1], []]


def shown(*of):
    """Of each: box, class, number."""
    return Shown(np.reshape([b for b, _, _ in of], (-1, 4)).astype(float), np.array([c for _, c, _ in of], int),
                 np.array([i for _, _, i in of], int))


def test_lesions_and_alarms_by_hand():
    a, b, far = box(0, 0), box(50, 50), box(90, 0)
    times = [0.0, 0.5, 1.0, 1.5]
    truth = [shown((a, 0, 1)), shown((a, 0, 1), (b, 0, 2)), shown((a, 0, 1), (b, 0, 2)), shown((b, 0, 2))]
    found = [shown((a, 0, NONE)),  # no track yet
             shown((a, 1, 1), (far, 0, 4)),  # of another class: an alarm, and one elsewhere
             shown((a, 0, 2), (far, 0, 4)),
             shown((box(50, 58), 0, 3))]  # on b by an IoU of 1/9: an alarm
    of = judged(times, truth, found)
    np.testing.assert_equal(of.latencies, (1.0, np.nan))
    assert (of.alarms, of.minutes) == (3, pytest.approx(2.0 / 60))
    assert judged(times, truth, found, least=0.1).latencies == (1.0, 1.0)
    assert summary([of, Judged((0.2,), 0, 1.0)]) == {
        'lesions': 3, 'lesion_sensitivity': pytest.approx(2 / 3), 'latency': pytest.approx(0.6),
        'alarms_per_minute': pytest.approx(3 / (1 + 2 / 60)), 'minutes': pytest.approx(1 + 2 / 60)}


def test_a_track_that_was_right_once_is_no_alarm_later():
    a, far = box(0, 0), box(90, 0)
    of = judged([0, 1], [shown((a, 0, 1)), shown()], [shown((a, 0, 5)), shown((far, 0, 5))])
    assert (of.latencies, of.alarms) == ((0.0,), 0)


def test_nothing_there_and_nothing_found():
    empty = judged([0.0, 1.0], [shown()] * 2, [shown()] * 2)
    assert (empty.latencies, empty.alarms) == ((), 0)
    np.testing.assert_equal(summary([empty]), {'lesions': 0, 'lesion_sensitivity': np.nan, 'latency': np.nan,
                                               'alarms_per_minute': 0, 'minutes': 2 / 60})
    assert np.isnan(summary([judged([0.0], [shown()], [shown()])])['alarms_per_minute'])  # one frame lasts nobody knows
