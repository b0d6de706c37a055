"""Intervals of proportions against published values, the binomial distribution and simulated patients."""

import numpy as np
import pytest
from scipy import stats

from medjax.statistics import proportions


@pytest.mark.parametrize('hits, n, want', [
    (20, 20, (0.8316, 1.0)), (0, 20, (0.0, 0.1684)), (81, 263, (0.2527, 0.3676)),  # Newcombe 1998, table I
    (15, 148, (0.0578, 0.1617)), (1, 29, (0.0009, 0.1776))])
def test_published_values(hits, n, want):
    assert proportions.limits(hits / n, n) == pytest.approx(want, abs=6e-5)


@pytest.mark.parametrize('n', [1, 7, 33])
def test_limits_have_the_tails_of_the_binomial_distribution(n):
    for hits in range(n + 1):
        low, high = proportions.limits(hits / n, n)
        assert hits == 0 or stats.binom.sf(hits - 1, n, low) == pytest.approx(0.025)
        assert hits == n or stats.binom.cdf(hits, n, high) == pytest.approx(0.025)


def test_an_entry_has_its_counts():
    got = proportions.entry(np.array([True] * 20), np.arange(20), 'no positive case')
    assert got['value'] == 1 and got['ci95'] == pytest.approx([0.8316, 1.0], abs=5e-5)
    assert (got['n'], got['cases'], got['count'], got['method']) == (20, 20, 20, proportions.EXACT)
    empty = proportions.entry(np.zeros(0, bool), np.zeros(0), 'no positive case')
    assert np.isnan(empty['value']) and empty['ci95'] is None and empty['why'] == 'no positive case'


def test_cases_of_a_patient_that_agree_count_once():
    hits = np.repeat([True, True, False, True, False, True], 5)
    patients = np.repeat(np.arange(6), 5)
    ratio = stats.t.ppf(0.975, 29) / stats.t.ppf(0.975, 5)
    # The variance of the mean of six patients' values is p (1 - p) / 5.
    assert proportions.effective_size(hits, patients) == pytest.approx(5 * ratio**2)
    assert proportions.effective_size(np.ones(30, bool), patients) == 6
    assert proportions.entry(hits, patients, '')['method'] == proportions.CLUSTERED


@pytest.mark.parametrize('cluster', [1, 4])
@pytest.mark.parametrize('share', [0.6, 0.95])
def test_intervals_have_their_nominal_coverage(cluster, share):
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        chance = rng.beta(share * 4, (1 - share) * 4, 20) if cluster > 1 else np.full(20, share)
        hits = rng.random((20, cluster)) < chance[:, None]
        low, high = proportions.entry(hits.ravel(), np.repeat(np.arange(20), cluster), '')['ci95']
        covered += low <= share <= high
    assert covered / 400 >= 0.93


def test_the_difference_of_paired_proportions_by_hand():
    """Of 10 cases the first model alone has 3, the second 1: (3.5 - 1.5) / 12, and √((5 / 12 - 1 / 36) / 12)."""
    a = np.array([1] * 3 + [0] + [1] * 4 + [0] * 2, bool)
    b = np.array([0] * 3 + [1] + [1] * 4 + [0] * 2, bool)
    reach = 1.959964 * ((5 / 12 - 1 / 36) / 12) ** 0.5
    assert proportions.paired_difference(a, b) == pytest.approx([1 / 6 - reach, 1 / 6 + reach])
    equal = proportions.paired_difference(a, a)
    assert equal[0] == -equal[1] < 0
