"""Figures of predicted numbers: scikit-learn's and SciPy's, with weights as with rows that are there more often."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from medjax.metrics import regression


def drawn(n=60, ties=False):
    rng = np.random.default_rng(n)
    a, b = rng.normal(5, 2, n), rng.normal(5, 2, n)
    b += a
    return (np.round(a), np.round(b)) if ties else (a, b)


@pytest.mark.parametrize('ties', [False, True])
def test_metrics_equal_scikit_learn_and_scipy(ties):
    a, b = drawn(ties=ties)
    want = {'r2': metrics.r2_score(a, b), 'rmse': metrics.root_mean_squared_error(a, b),
            'mae': metrics.mean_absolute_error(a, b), 'bias': (b - a).mean(), 'pearson': stats.pearsonr(a, b)[0],
            'spearman': stats.spearmanr(a, b)[0]}
    got = regression.compute_metrics(a, b)
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert abs(got[name] - value) < 1e-12, name


@pytest.mark.parametrize('ties', [False, True])
def test_a_weight_is_as_many_rows(ties):
    a, b = drawn(ties=ties)
    weight = np.random.default_rng(0).integers(0, 4, (3, len(a)))
    got = regression.compute_metrics(a, b, weight)
    for row, times in enumerate(weight):
        for name, value in regression.compute_metrics(np.repeat(a, times), np.repeat(b, times)).items():
            assert abs(got[name][row] - value) < 1e-12, name


def test_far_from_zero_no_digits_are_lost():
    a, b = drawn()
    near, far = regression.compute_metrics(a, b), regression.compute_metrics(a + 1e6, b + 1e6)
    assert all(abs(near[name] - far[name]) < 1e-8 for name in near)


def test_undefined_metrics_are_nan():
    flat = regression.compute_metrics(np.ones(4), np.arange(4.0))
    assert [name for name, value in flat.items() if np.isnan(value)] == ['r2', 'pearson', 'spearman']
    assert all(np.isnan(value) for value in regression.compute_metrics(np.zeros(0), np.zeros(0)).values())
    none = regression.compute_metrics(np.arange(3.0), np.arange(3.0), np.zeros((2, 3)))
    assert all(np.isnan(value).all() for value in none.values())
    assert regression.weighted_ranks(np.array([3.0, 1, 3, 2]), np.ones(4)).tolist() == [3.5, 1, 3.5, 2]
