"""Metric states: masked, merged and divided once."""

import jax.numpy as jnp
import numpy as np

from medjax.core.metrics import column_means, compute, masked_mean, merge


def test_masked_mean_leaves_out_padding():
    total, count = masked_mean(jnp.array([1.0, 2.0, jnp.nan]), jnp.array([1.0, 1.0, 0.0]))
    assert (total, count) == (3.0, 2.0)
    merged = merge([{'a': (3.0, 2.0)}, {'a': (5.0, 2.0), 'b': (0.0, 0.0)}])
    assert compute(merged)['a'] == 2.0 and np.isnan(compute(merged)['b'])


def test_column_means_leave_out_nan_and_other_types():
    rows = [{'id': 'a', 'dice': 0.5, 'hd95': float('nan')}, {'id': 'b', 'dice': 1.0, 'hd95': float('nan')},
            {'id': 'c', 'dice': float('nan'), 'hd95': float('nan')}]
    found = column_means(rows)
    assert set(found) == {'dice', 'hd95'} and found['dice'] == 0.75 and np.isnan(found['hd95'])
    assert column_means([]) == {}
