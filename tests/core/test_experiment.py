"""The checks of an experiment before its first step."""

import jax.numpy as jnp
import numpy as np
import pytest

from medjax.core import loop
from medjax.errors import InputError
from tests.core import toy


def test_items_may_be_computed():
    """A data set may compute its items with JAX, even if the state's shapes are traced first, as in `evaluate`."""
    class Computed(toy.Batches):
        def __getitem__(self, step):
            return {**super().__getitem__(step), 'image': np.full((16, 8), float(jnp.arange(3)[step + 1]), np.float32)}

    assert toy.experiment(batches=Computed()).abstract_state().params['a'].shape


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    with pytest.raises(InputError, match='config.batch: 12; expected a multiple of 8 devices'):
        loop.train(toy.experiment(batches=toy.Batches(size=12)), tmp_path, say=lambda line: None)


@pytest.mark.parametrize('options, message', [
    ({'accumulate': 0}, 'config.optim.accumulate: 0; expected at least 1'),
    ({'log_every': 0}, 'config.log.every: 0; expected at least 1')])
def test_counts_are_checked(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        loop.train(toy.experiment(**options), tmp_path, say=lambda line: None)
