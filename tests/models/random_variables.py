"""Random variables of a network drawn by NumPy: compiling as many draws as a network has parameters is slow."""

import jax
import jax.numpy as jnp
import numpy as np

from medjax.core.task import init_variables


def random_variables(network, image, seed=0):
    """A network's variables: He-initialised kernels, scales and variances 1, biases and means 0, other arrays small."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        name = path[-1].key
        if name in ('bias', 'mean', 'scale', 'var'):
            return jnp.full(leaf.shape, float(name in ('scale', 'var')), leaf.dtype)
        spread = (2 / np.prod(leaf.shape[:-1]))**0.5 if name == 'kernel' else 0.02
        return jnp.asarray(spread * rng.normal(size=leaf.shape), leaf.dtype)
    shapes = jax.eval_shape(lambda: init_variables(network, jax.random.key(0), {'image': image}))
    return jax.tree_util.tree_map_with_path(fill, shapes)
