"""A feature pyramid: the context of coarse features beside the places of fine ones (Lin 2017)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.conv import Conv


class FPN(nn.Module):
    """Features of one width at every level, each with what the coarser ones know.

    Attributes:
      features: channels of each level.
      extra: levels beyond the coarsest, each by a convolution of stride 2 (Lin 2018).
      dtype: compute type.
    """

    features: int
    extra: int = 0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, levels: Sequence[jax.Array]) -> list[jax.Array]:
        """Maps `[B, *S, C]` of falling extents, each about half of the last, to `[B, *S, features]`, and the extra."""
        dims, out, above = levels[0].ndim - 2, [], None
        conv = lambda name, extent, stride=1: Conv(self.features, (extent,) * dims, (stride,) * dims, bias=True,
                                                   dtype=self.dtype, name=name)
        for number, level in reversed(list(enumerate(levels))):
            x = conv(f'across{number}', 1)(level)
            if above is not None:
                x = x + _doubled(above, x.shape[1:-1])
            above = x
            out.insert(0, conv(f'smooth{number}', 3)(x))
        for number in range(self.extra):
            out.append(conv(f'extra{number}', 3, 2)(out[-1] if number == 0 else nn.relu(out[-1])))
        return out


def _doubled(x: jax.Array, space: Sequence[int]) -> jax.Array:
    """Each voxel twice along each axis that is to grow, as far as there is room."""
    for axis, extent in enumerate(space, 1):
        if x.shape[axis] < extent:
            x = jax.lax.slice_in_dim(jnp.repeat(x, 2, axis), 0, extent, axis=axis)
    return x
