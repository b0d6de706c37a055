"""Metrics of tracks by lesion, by hand."""

import json

import numpy as np
import pytest

from medjax.tasks.detection.tracking import NO_TRACK
from medjax.tasks.detection.video_metrics import (
    FrameBoxes,
    VideoResult,
    compare_tracks,
    pool_videos,
    video_metrics,
)


def box(row, column, size=10):
    return [row, column, row + size, column + size]


def shown(*of):
    """Of each: box, class, number."""
    return FrameBoxes(np.reshape([b for b, _, _ in of], (-1, 4)).astype(float), np.array([c for _, c, _ in of], int),
                      np.array([i for _, _, i in of], int))


def test_lesions_and_alarms_by_hand():
    a, b, far = box(0, 0), box(50, 50), box(90, 0)
    times = [0.0, 0.5, 1.0, 1.5]
    truth = [shown((a, 0, 1)), shown((a, 0, 1), (b, 0, 2)), shown((a, 0, 1), (b, 0, 2)), shown((b, 0, 2))]
    found = [shown((a, 0, NO_TRACK)),  # no track yet
             shown((a, 1, 1), (far, 0, 4)),  # of another class: an alarm, and one elsewhere
             shown((a, 0, 2), (far, 0, 4)),
             shown((box(50, 58), 0, 3))]  # on b by an IoU of 1/9: an alarm
    of = compare_tracks(times, truth, found)
    np.testing.assert_equal(of.latencies, (1.0, np.nan))
    assert (of.false_alarms, of.minutes) == (3, pytest.approx(2.0 / 60))
    assert compare_tracks(times, truth, found, min_iou=0.1).latencies == (1.0, 1.0)
    assert pool_videos([of, VideoResult((0.2,), 0, 1.0)]) == {
        'lesions': 3, 'lesion_sensitivity': pytest.approx(2 / 3), 'latency': pytest.approx(0.6),
        'alarms_per_minute': pytest.approx(3 / (1 + 2 / 60)), 'minutes': pytest.approx(1 + 2 / 60)}


def test_tracks_and_lesions_are_one_to_one():
    """One box on two lesions finds one of them; of two tracks on a lesion one is a false alarm."""
    two, wide = shown((box(0, 0), 0, 1), (box(0, 8), 0, 2)), [0, 0, 10, 18]
    of = compare_tracks([0.0, 1.0], [two, two], [shown((wide, 0, 7))] * 2)
    assert np.isfinite(of.latencies).sum() == 1 and of.false_alarms == 0
    both = compare_tracks([0.0, 1.0], [two, two], [shown((box(0, 1), 0, 7), (wide, 0, 8))] * 2)
    assert both.latencies == (0.0, 0.0) and both.false_alarms == 0
    again = compare_tracks([0.0], [shown((box(0, 0), 0, 1))], [shown((box(0, 0), 0, 7), (box(0, 1), 0, 8))])
    assert again.latencies == (0.0,) and again.false_alarms == 1


def test_a_track_with_a_hit_is_no_false_alarm():
    a, far = box(0, 0), box(90, 0)
    of = compare_tracks([0, 1], [shown((a, 0, 1)), shown()], [shown((a, 0, 5)), shown((far, 0, 5))])
    assert (of.latencies, of.false_alarms) == ((0.0,), 0)


def test_without_lesions_and_detections():
    empty = compare_tracks([0.0, 1.0], [shown()] * 2, [shown()] * 2)
    assert (empty.latencies, empty.false_alarms) == ((), 0)
    np.testing.assert_equal(pool_videos([empty]), {'lesions': 0, 'lesion_sensitivity': np.nan, 'latency': np.nan,
                                                   'alarms_per_minute': 0, 'minutes': 2 / 60})
    one_frame = compare_tracks([0.0], [shown()], [shown()])  # whose duration is unknown
    assert np.isnan(pool_videos([one_frame])['alarms_per_minute'])


def row(name, frame, truth, found):
    """A row of an evaluation; boxes of 10 pixels by where they begin."""
    corners = lambda at: [at, 0, at + 10, 10]
    return {'video': name, 'frame': str(frame), 'time': f'{frame / 10:.3f}', 'size': '[50, 50]',
            'truth': json.dumps([['polyp', *corners(at)] for at in truth]),
            'found': json.dumps([['polyp', score, *corners(at)] for score, at in found])}


def test_an_evaluation_has_metrics_by_lesion():
    a = [row('a', n, [0], [(0.9 if n > 1 else 0.1, 0), (0.8, 40)]) for n in range(0, 10)]
    b = [row('b', n, [20], []) for n in range(0, 20, 2)]
    found = video_metrics([*b, *a[::-1]], ['polyp'], 0.5)  # in whatever order
    # In a, sure from frame 2 on and a track from the third: 0.4 s. The box at 40 is a false track. b has a lesion too.
    assert found == {'lesions': 2, 'lesion_sensitivity': 0.5, 'latency': pytest.approx(0.4),
                     'alarms_per_minute': pytest.approx(20), 'minutes': pytest.approx(3 / 60)}
    assert video_metrics([{'id': 'x'}], ['polyp'], 0.5) == {}
