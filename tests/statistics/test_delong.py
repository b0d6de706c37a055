import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medjax.metrics import classification
from medjax.statistics import delong, paired


def kernel(positive, score):
    """The O(mn) definition: each pair of a positive and a negative, 1, one half or 0."""
    p, n = score[positive][:, None], score[~positive][None]
    return (p > n) + 0.5 * (p == n)


@st.composite
def pairs(draw):
    m, n = draw(st.integers(2, 12)), draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2 ** 32 - 1)))
    positive = rng.permutation(np.arange(m + n) < m)
    return positive, rng.integers(0, 6, m + n) / 5, rng.integers(0, 6, m + n) / 5


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_area_variance_and_test_are_those_of_all_pairs(table):
    positive, a, b = table
    psi = [kernel(positive, a), kernel(positive, b)]
    # DeLong's covariance of two areas: that of the rows' means and that of the columns' means.
    cov = np.cov([x.mean(1) for x in psi]) / psi[0].shape[0] + np.cov([x.mean(0) for x in psi]) / psi[0].shape[1]
    want = psi[0].mean(), cov[0, 0]
    np.testing.assert_allclose(delong.auroc_and_variance(positive, a)[:2], want, rtol=1e-12, atol=1e-12)
    got, difference = delong.auroc_test(positive, a, b), psi[0].mean() - psi[1].mean()
    error = np.sqrt(max(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1], 0))
    np.testing.assert_allclose((got['difference'], got['se']), (difference, error), rtol=1e-7, atol=1e-7)
    if error > 1e-6:
        assert got['z'] == pytest.approx(difference / error)
        assert got['p'] == pytest.approx(2 * stats.norm.sf(abs(difference / error)))


def test_interval_is_on_the_logit_scale():
    positive, score = np.array([1, 1, 1, 0, 0, 0], bool), np.array([0.9, 0.8, 0.3, 0.4, 0.2, 0.1])
    area, variance, freedom = delong.auroc_and_variance(positive, score)
    assert area == pytest.approx(8 / 9)
    # Rows' means 1, 1, 2/3 and columns' 2/3, 1, 1: both have variance 1/27, over three cases each.
    assert variance == pytest.approx(2 / 81)
    assert freedom == pytest.approx(4)  # two and two of equal variances
    got, reach = delong.auroc_interval(positive, score), stats.t.ppf(0.975, 4) * np.sqrt(variance)
    logit = np.log(area / (1 - area)) + np.array([-1, 1]) * reach / (area * (1 - area))
    np.testing.assert_allclose(got['ci95'], 1 / (1 + np.exp(-logit)))
    assert got['method'] == 'DeLong' and got['value'] == area and 'why' not in got
    # A normal interval would end above 1.
    assert got['ci95'][1] < 1 < area + 1.96 * np.sqrt(variance)


def test_intervals_have_their_nominal_coverage():
    # Normal scores one standard deviation and a half apart: the area is Φ(1.5 / √2).
    rng, held, true = np.random.default_rng(0), 0, stats.norm.cdf(1.5 / np.sqrt(2))
    positive = np.arange(120) < 50
    for _ in range(1000):
        low, high = delong.auroc_interval(positive, rng.normal(1.5 * positive))['ci95']
        held += low <= true <= high
    assert 0.93 <= held / 1000 <= 0.97


def test_limits_are_said_in_words():
    positive = np.array([1, 1, 0, 0], bool)
    single = delong.auroc_interval(np.array([1, 0, 0], bool), np.array([0.5, 0.2, 0.7]))
    assert single['ci95'] is None and 'one patient' in single['why'] and single['value'] == 0.5
    two = delong.auroc_interval(np.array([1, 1, 0, 0], bool), np.array([0.5, 0.2, 0.7, 0.1]), np.array([0, 0, 1, 2]))
    assert two['ci95'] is None and two['value'] == 0.5
    assert delong.auroc_interval(np.ones(3, bool), np.ones(3))['why'].startswith('one class')
    assert np.isnan(delong.auroc_and_variance(np.ones(3, bool), np.ones(3))).all()
    same = delong.auroc_test(positive, np.array([0.1, 0.5, 0.3, 0.2]), np.array([0.1, 0.5, 0.3, 0.2]))
    assert same['difference'] == 0 and same['p'] == 1.0
    opposite = delong.auroc_test(positive, positive.astype(float), 1.0 - positive)
    assert opposite['difference'] == 1 and opposite['p'] is None and 'variance' in opposite['why']
    assert delong.auroc_test(np.ones(3, bool), np.ones(3), np.ones(3))['why'].startswith('one class')


def test_a_perfect_area_has_an_interval_by_hand():
    """At 1 the lower limit t solves 1 - t = 1.96² t (1 + (N - 1)((1 - t) / (2 - t) + t / (1 + t))) / (m n)."""
    positive = np.arange(20) < 10
    got = delong.auroc_interval(positive, positive.astype(float))
    low, high = got['ci95']
    assert high == 1 and got['method'] == 'Newcombe' and 0.75 < low < 0.9
    right = 1.959964**2 * low * (1 + 9 * ((1 - low) / (2 - low) + low / (1 + low))) / 100
    assert 1 - low == pytest.approx(right, rel=1e-5)
    assert delong.auroc_interval(positive, 1.0 - positive)['ci95'] == pytest.approx([0, 1 - low])


def test_cases_of_a_patient_count_together():
    """Every case twice is no more information; two cases that are independent are."""
    rng = np.random.default_rng(2)
    positive, score = rng.random(60) < 0.4, rng.normal(size=60)
    once = delong.auroc_and_variance(positive, score)
    twice = delong.auroc_and_variance(np.tile(positive, 2), np.tile(score, 2), np.tile(np.arange(60), 2))
    np.testing.assert_allclose(twice, once)
    # A cluster bootstrap has the same variance.
    patients, positive = np.repeat(np.arange(100), 2), np.tile([True, False], 100)
    score = rng.normal(0, 1, 100)[patients] + rng.normal(0.8 * positive, 0.5)
    draws = paired.draw_patients(patients, 4000, 0)
    areas, _ = classification.auroc_and_auprc(positive, score, draws)
    _, variance, _ = delong.auroc_and_variance(positive, score, patients)
    assert variance == pytest.approx(areas.var(), rel=0.15)
    assert variance < 0.5 * delong.auroc_and_variance(positive, score)[1]  # what patients share cancels in their pairs


def test_a_rescaled_score_has_no_difference():
    rng = np.random.default_rng(5)
    positive, score = rng.random(50) < 0.4, rng.random(50)
    got = delong.auroc_test(positive, score, np.exp(3 * score))
    assert got['difference'] == 0 and got['p'] == 1.0


@pytest.mark.parametrize('only_a, only_b', [(0, 0), (3, 0), (5, 9), (12, 12), (24, 0), (13, 12), (20, 40)])
def test_mcnemar_is_scipys_binomial_or_chi_squared(only_a, only_b):
    a = np.concatenate([np.ones(only_a), np.zeros(only_b), np.ones(7), np.zeros(4)]).astype(bool)
    b = np.concatenate([np.zeros(only_a), np.ones(only_b), np.ones(7), np.zeros(4)]).astype(bool)
    got, both = delong.mcnemar_test(a, b), only_a + only_b
    assert (got['only_a'], got['only_b']) == (only_a, only_b)
    if both < 25:
        assert got['p'] == pytest.approx(stats.binomtest(only_a, both).pvalue if both else 1.0)
        assert got['method'].startswith('exact') and got['statistic'] is None
    else:
        statistic = (abs(only_a - only_b) - 1) ** 2 / both
        assert got['statistic'] == pytest.approx(statistic)
        assert got['p'] == pytest.approx(stats.chi2.sf(statistic, 1)) and 'correction' in got['method']
