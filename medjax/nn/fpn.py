"""Feature pyramid network: combines the context of coarse features with the resolution of fine ones (Lin 2017)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.conv import Conv


class FPN(nn.Module):
    """A feature pyramid with the same number of channels at every level.

    Attributes:
      features: channels of each level.
      extra: number of additional coarser levels, each computed by a convolution with stride 2 (Lin 2018).
      dtype: compute dtype.
    """

    features: int
    extra: int = 0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, levels: Sequence[jax.Array]) -> list[jax.Array]:
        """Maps features `[B, *S, C]`, finest first, to levels `[B, *S, features]`, followed by the extra levels.

        Args:
          levels: features whose extents halve (rounded up) from one to the next.
        """
        dims, out, coarser = levels[0].ndim - 2, [], None
        conv = lambda name, extent, stride=1: Conv(self.features, (extent,) * dims, (stride,) * dims, bias=True,
                                                   dtype=self.dtype, name=name)
        for number, level in reversed(list(enumerate(levels))):
            x = conv(f'across{number}', 1)(level)
            if coarser is not None:
                x = x + _upsample(coarser, x.shape[1:-1])
            coarser = x
            out.insert(0, conv(f'smooth{number}', 3)(x))
        for number in range(self.extra):
            out.append(conv(f'extra{number}', 3, 2)(out[-1] if number == 0 else nn.relu(out[-1])))
        return out


def _upsample(x: jax.Array, space: Sequence[int]) -> jax.Array:
    """Nearest-neighbour upsampling by 2 along each axis that is shorter than `space`, cropped to `space`."""
    for axis, extent in enumerate(space, 1):
        if x.shape[axis] < extent:
            x = jax.lax.slice_in_dim(jnp.repeat(x, 2, axis), 0, extent, axis=axis)
    return x
