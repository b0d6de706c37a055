"""Feature pyramid network by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from medjax.nn.fpn import FPN

KEY = jax.random.key(0)


def test_a_feature_pyramid_by_hand():
    """With unit kernels, a level is the sum of its input and the upsampled coarser level."""
    fine, coarse = jnp.arange(15.0).reshape(1, 3, 5, 1), jnp.array([[1.0, 2, 3], [4, 5, 6]])[None, ..., None] * 100
    module = FPN(1, extra=1)
    variables = module.init(KEY, [fine, coarse])
    ones = {name: jnp.zeros_like(leaf) for name, leaf in flatten_dict(variables['params'], sep='/').items()}
    for name in ('across0', 'across1'):
        ones[f'{name}/kernel'] = jnp.ones_like(ones[f'{name}/kernel'])
    for name in ('smooth0', 'smooth1', 'extra0'):
        ones[f'{name}/kernel'] = ones[f'{name}/kernel'].at[1, 1].set(1.0)
    params = {}
    for name, leaf in ones.items():
        module_name, kind = name.split('/')
        params.setdefault(module_name, {})[kind] = leaf
    out = module.apply({'params': params}, [fine, coarse])
    upsampled = np.repeat(np.repeat(coarse[0, ..., 0], 2, 0), 2, 1)[:3, :5]
    np.testing.assert_array_equal(out[0][0, ..., 0], fine[0, ..., 0] + upsampled)
    np.testing.assert_array_equal(out[1], coarse)
    np.testing.assert_array_equal(out[2], coarse[:, ::2, ::2])
