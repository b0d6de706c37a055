"""Net benefit by its formula, by hand, and its limits."""

import numpy as np
import pytest

from medjax.statistics.decision_curve import net_benefit

POSITIVE = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], bool)
PROBABILITY = np.array([0.9, 0.4, 0.1, 0.8, 0.2, 0.2, 0.1, 0.1, 0.05, 0.0])


def test_net_benefit_by_hand():
    """At 0.2: two true and three false positives of ten cases; a false one counts a quarter."""
    found = net_benefit(POSITIVE, PROBABILITY, np.array([0.2, 0.5]))
    assert found == pytest.approx([2 / 10 - 3 / 10 * 0.2 / 0.8, 1 / 10 - 1 / 10])


def test_treating_everybody_and_nobody_are_its_limits():
    everybody = net_benefit(POSITIVE, np.ones(10), np.array([1e-9, 0.3, 0.5]))
    assert everybody == pytest.approx([0.3, 0.0, 0.3 - 0.7])  # at the prevalence it is as good as treating nobody
    assert net_benefit(POSITIVE, PROBABILITY, np.array([0.95])) == 0


def test_weights_are_repetitions():
    weight = np.array([[1] * 10, [0, 2, 1, 0, 3, 1, 1, 1, 1, 0], [0] * 10])
    thresholds = np.array([0.1, 0.15, 0.4])
    got = net_benefit(POSITIVE, PROBABILITY, thresholds, weight)
    for row, times in zip(got[:2], weight):
        repeated = np.repeat(np.arange(10), times)
        np.testing.assert_allclose(row, net_benefit(POSITIVE[repeated], PROBABILITY[repeated], thresholds))
    assert np.isnan(got[2]).all()
