"""Standard deviations to divide by: those of NumPy, and 1 for constants that are not exactly representable."""

import numpy as np

from medjax.data.datasets.standardisation import divisor, is_constant


def test_constants_up_to_rounding():
    tenth = np.full(100, 0.1)
    assert 0 < tenth.std() < 1e-15 and divisor(tenth.std(), 0.1) == 1
    values = np.array([[1.0, 0.1, 0, 1e9], [3.0, 0.1, 0, 1e9 + 1], [5.0, 0.1, 0, 1e9 - 1]])
    std, largest = values.std(0), np.abs(values).max(0)
    assert is_constant(std, largest).tolist() == [False, True, True, True]
    np.testing.assert_array_equal(divisor(std, largest), [np.std([1, 3, 5]), 1, 1, 1])
