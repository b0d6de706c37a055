import itertools

import numpy as np
import pytest
from scipy import stats

from medjax.metrics import uncertainty


def test_entropy_equals_scipy():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), (3, 5))
    np.testing.assert_allclose(uncertainty.entropy(probs), stats.entropy(probs, axis=-1))
    np.testing.assert_allclose(uncertainty.entropy(np.array([[1.0, 0.0], [0.5, 0.5]])), [0, np.log(2)])


def test_members_that_agree_have_nothing_to_disagree_about():
    unsure = np.full((5, 3, 2), 0.5)
    np.testing.assert_array_equal(uncertainty.mutual_information(unsure), 0)
    # Two members, each certain, of different classes: all of the uncertainty is theirs.
    torn = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    np.testing.assert_allclose(uncertainty.mutual_information(torn), np.log(2))


def test_disagreement_is_the_mean_divergence_from_the_mean():
    members = np.random.default_rng(1).dirichlet(np.ones(3), (4, 6))
    want = np.mean([stats.entropy(member, members.mean(0), axis=-1) for member in members], 0)
    np.testing.assert_allclose(uncertainty.mutual_information(members), want)


def test_curve_by_hand():
    coverage, risk = uncertainty.risk_coverage(np.array([0.6, 0.9, 0.7]), np.array([1.0, 0.0, 1.0]))
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(risk, [0, 1 / 2, 2 / 3])
    area = uncertainty.area_under_risk_coverage(np.array([0.6, 0.9, 0.7]), np.array([1.0, 0.0, 1.0]))
    assert area == pytest.approx(risk.mean())


def test_equal_confidences_count_as_the_mean_over_their_orders():
    confidence, loss = np.array([0.9, 0.5, 0.5, 0.5, 0.1]), np.array([0.0, 1.0, 0.0, 0.0, 1.0])
    orders = [[0, *order, 4] for order in itertools.permutations([1, 2, 3])]
    want = np.mean([loss[order].cumsum() / np.arange(1, 6) for order in orders], 0)
    np.testing.assert_allclose(uncertainty.risk_coverage(confidence, loss)[1], want)
    assert uncertainty.area_under_risk_coverage(confidence, loss) == pytest.approx(want.mean())


def test_areas_of_resamples_are_those_of_repeated_cases():
    rng = np.random.default_rng(2)
    confidence, loss = rng.integers(0, 8, 30) / 8, (rng.random(30) < 0.3).astype(float)
    weight = rng.integers(0, 4, (2, 3, 30), dtype=np.uint8)
    weight[0, 0] = 0
    got = uncertainty.area_under_risk_coverage(confidence, loss, weight)
    for at in np.ndindex(2, 3):
        again = np.repeat(np.arange(30), weight[at])
        risk = uncertainty.risk_coverage(confidence[again], loss[again])[1]
        assert got[at] == pytest.approx(risk.mean() if len(again) else np.nan, nan_ok=True)


def test_confidence_that_says_nothing_has_the_mean_loss_and_the_best_one_less():
    loss = np.array([1.0, 0.0, 0.0, 1.0])
    assert uncertainty.area_under_risk_coverage(np.ones(4), loss) == pytest.approx(0.5)
    assert uncertainty.area_under_risk_coverage(-loss, loss) == pytest.approx((1 / 3 + 1 / 2) / 4)
