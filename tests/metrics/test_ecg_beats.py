"""Beats by hand: which are found, what counts as a pair, and a detector on traces whose beats are known."""

import numpy as np
import pytest

from medjax.data.simulated import ecg
from medjax.metrics import ecg_beats


@pytest.mark.parametrize('rate', [125.0, 250.0])
def test_the_detector_finds_simulated_beats(rate):
    for case in ecg.source(cases=(3, 0, 0), sampling_rate=rate, noise=0.05).cases:
        trace = case.read()
        found = ecg_beats.detect_beats(trace.values, rate)
        assert len(found) == len(trace.beats)
        assert np.abs(found - trace.beats).max() <= 0.02 * rate


def test_the_detector_minds_neither_unit_nor_sign():
    trace = ecg.source(cases=(1, 0, 0)).cases[0].read()
    np.testing.assert_array_equal(ecg_beats.detect_beats(-1000 * trace.values + 7, trace.rate),
                                  ecg_beats.detect_beats(trace.values, trace.rate))
    assert ecg_beats.detect_beats(np.zeros((500, 2)), 125.0).size == 0


def test_labels_around_beats():
    np.testing.assert_array_equal(ecg_beats.beat_mask(np.array([2, 9]), 8, 10.0, 0.2), [0, 1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(ecg_beats.beat_mask(np.array([-1]), 3, 10.0, 0.2), [1, 0, 0])
    assert not ecg_beats.beat_mask(np.zeros(0, int), 4, 10.0, 0.2).any()


def test_peaks_are_the_middles_of_runs():
    probs = np.zeros(40)
    probs[3:6], probs[8], probs[30:35] = 0.9, 0.8, 0.6
    np.testing.assert_array_equal(ecg_beats.beats_from_probs(probs, 10.0), [4, 8, 32])  # 0.4 s apart
    np.testing.assert_array_equal(ecg_beats.beats_from_probs(probs, 40.0), [4, 32])  # 0.1 s: the longer run stays
    np.testing.assert_array_equal(ecg_beats.beats_from_probs(probs, 10.0, threshold=0.7), [4, 8])
    assert ecg_beats.beats_from_probs(np.zeros(5), 10.0).size == 0
    assert list(ecg_beats.beats_from_probs(np.ones(5), 10.0)) == [2]


def test_each_beat_is_in_one_pair():
    """13 is nearer to 12 than 10 is; 10 stays alone; 50 is 0.2 s off."""
    np.testing.assert_array_equal(ecg_beats.match_beats([10, 13, 30, 50], [12, 30, 70], 100.0), [[1, 0], [2, 1]])
    np.testing.assert_array_equal(ecg_beats.match_beats([15], [0], 100.0), [[0, 0]])  # 150 ms counts
    assert ecg_beats.match_beats([16], [0], 100.0).size == 0 and ecg_beats.match_beats([], [1], 100.0).shape == (0, 2)
