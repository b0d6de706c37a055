"""Standard deviations to divide by, also of values that are constant."""

import numpy as np

CONSTANT = 1e-6  # largest standard deviation of a constant, in parts of its largest value


def is_constant(std: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Whether values with this standard deviation are constant, up to a millionth of the largest.

    That of equal numbers is not exactly 0: of a hundred times 0.1 it is 7e-17.

    Args:
      std: the standard deviations.
      largest: the largest absolute values.
    """
    return np.asarray(std) <= CONSTANT * np.asarray(largest)


def divisor(std: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """The standard deviations; 1 where values are constant, see `is_constant`."""
    return np.where(is_constant(std, largest), 1.0, std)
