"""Strict dtype promotion: a silent upcast fails the test in which it happens."""

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion('strict'):
        yield
