"""The paired differences of a sweep."""

import numpy as np
from scipy import stats

from medjax.sweep import table


def test_a_paired_difference_is_students():
    values = np.random.default_rng(0).normal(0.1, 0.2, 8)
    expected = stats.ttest_1samp(values, 0)
    np.testing.assert_allclose(table.student(values), (values.mean(), *expected.confidence_interval(0.95),
                                                       expected.pvalue))
    # Nadeau and Bengio: 1/n + test/train in place of 1/n.
    _, low, high, _ = table.student(values[:5], 5)
    _, plain_low, plain_high, _ = table.student(values[:5])
    np.testing.assert_allclose((high - low) / (plain_high - plain_low), np.sqrt((1 / 5 + 1 / 4) / (1 / 5)))
    assert np.isnan(table.student([0.3])[1:]).all() and table.student([0.3])[0] == 0.3
    assert table.student([0.0, 0.0])[3] == 1 and np.isnan(table.student([0.2, 0.2])[1:]).all()
