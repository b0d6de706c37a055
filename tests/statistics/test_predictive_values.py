"""Predictive values against Bayes' rule by counts, limiting cases, and coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from medjax.statistics import predictive_values, proportions


def cases(tp, fn, tn, fp):
    positive = np.repeat([True, False], [tp + fn, tn + fp])
    return positive, np.repeat([True, False, False, True], [tp, fn, tn, fp]), np.arange(len(positive))


def test_at_the_own_prevalence_bayes_rule_counts_the_decisions():
    table = cases(45, 5, 180, 20)
    own = predictive_values.entries(*table)
    assert own['ppv']['value'] == 45 / 65 and own['npv']['value'] == 180 / 185
    assert own['ppv']['count'] == 45 and own['ppv']['ci95'] == proportions.limits(45 / 65, 65)
    same = predictive_values.entries(*table, prevalence=50 / 250)
    assert [same[name]['value'] for name in ('ppv', 'npv')] == pytest.approx([45 / 65, 180 / 185])


def test_a_rare_disease_by_hand():
    """Of 10 000 people 100 are ill: 90 of them and 990 of the 9900 others are positive."""
    found = predictive_values.entries(*cases(45, 5, 180, 20), prevalence=0.01)
    assert found['ppv']['value'] == pytest.approx(90 / 1080) and found['npv']['value'] == pytest.approx(8910 / 8920)
    # MOVER by hand: Wilson's intervals by the quadratic that defines them, then the limits of the likelihood ratio.
    z = stats.norm.ppf(0.975)

    def wilson(hits, n):
        return np.sort(np.roots([1 + z**2 / n, -2 * hits / n - z**2 / n, (hits / n) ** 2]))
    (a, b), (c, d) = wilson(45, 50), wilson(20, 200)
    low = np.exp(-np.sqrt(np.log(0.9 / a) ** 2 + np.log(d / 0.1) ** 2)) * 9
    high = np.exp(np.sqrt(np.log(b / 0.9) ** 2 + np.log(0.1 / c) ** 2)) * 9
    assert found['ppv']['ci95'] == pytest.approx([low / (low + 99), high / (high + 99)])


def test_limiting_cases():
    perfect = predictive_values.entries(*cases(20, 0, 20, 0), prevalence=0.1)
    assert perfect['ppv']['value'] == 1 and perfect['npv']['value'] == 1
    assert perfect['ppv']['ci95'][1] == 1 and 0.3 < perfect['ppv']['ci95'][0] < 0.9
    every = predictive_values.entries(*cases(5, 0, 0, 5), prevalence=0.1)
    assert every['ppv']['value'] == pytest.approx(0.1) and every['npv']['why'] == 'no negative decision'
    one = predictive_values.entries(*cases(5, 2, 0, 0), prevalence=0.1)
    assert np.isnan(one['ppv']['value']) and one['npv']['why'] == 'one class only in the truth'


def test_several_cases_of_a_patient_widen_the_interval():
    positive, decision, patients = cases(30, 10, 60, 20)
    single = predictive_values.entries(positive, decision, patients, 0.1)['ppv']['ci95']
    agreeing = predictive_values.entries(positive, decision, patients // 10, 0.1)['ppv']['ci95']
    assert agreeing[1] - agreeing[0] > 2 * (single[1] - single[0])


@pytest.mark.parametrize('sensitivity, specificity, prevalence, ill, well', [
    (0.95, 0.95, 0.1, 20, 20), (0.9, 0.8, 0.02, 40, 60), (0.99, 0.8, 0.05, 20, 80), (0.8, 0.99, 0.05, 30, 100)])
def test_coverage(sensitivity, specificity, prevalence, ill, well):
    """A grid of all counts with their probabilities: the coverage without simulation error."""
    true = predictive_values.at_prevalence(sensitivity, specificity, prevalence)
    covered = np.zeros(2)
    for tp in range(ill + 1):
        for tn in range(well + 1):
            p = stats.binom.pmf(tp, ill, sensitivity) * stats.binom.pmf(tn, well, specificity)
            if p > 1e-5:
                entries = predictive_values.entries(*cases(tp, ill - tp, tn, well - tn), prevalence=prevalence)
                for k, name in enumerate(('ppv', 'npv')):
                    low, high = entries[name]['ci95'] or (2, 2)
                    covered[k] += p * (low <= true[k] <= high)
    assert (covered > 0.93).all() and (covered < 0.99).all()
