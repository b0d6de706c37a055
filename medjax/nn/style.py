"""What a style-based generator is made of: modulated convolutions, noise, and features of one length."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.conv import add, he_normal
from medjax.nn.dense import Dense
from medjax.ops.conv import conv


def unit_length(x: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """Divides each voxel's features by their root mean square (pixelwise norm, Karras 2018); `[…, C]` of x's type."""
    wide = x.astype(jnp.float32)
    return (wide * jax.lax.rsqrt((wide**2).mean(-1, keepdims=True) + epsilon)).astype(x.dtype)


class Modulated(nn.Module):
    """A convolution whose kernel a style scales, channel by channel, and that keeps features' size (Karras 2020).

    The kernel of an example is that of all, its input channels times the style, its outputs divided by their norm.
    Input and output are scaled in place of the kernel, which is the same, and one convolution for the whole batch.

    Attributes:
      features: output channels.
      kernel: extent along each spatial axis.
      even: divide by the norm; the layers that make colours do not.
      noise: add noise, times a learned number that begins at 0.
      dtype: compute type; weights are float32.
    """

    features: int
    kernel: Sequence[int]
    even: bool = True
    noise: bool = True
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """Maps `[B, *S, C]`, by styles `[B, F]` and keys `[B]` of the noise, to `[B, *S, features]`."""
        ones = (1,) * (x.ndim - 2)
        scale = 1 + Dense(x.shape[-1], name='style')(style.astype(jnp.float32))
        kernel = self.param('kernel', he_normal, (*self.kernel, x.shape[-1], self.features), jnp.float32)
        padding = [((size - 1) // 2, size // 2) for size in self.kernel]
        out = conv((x.astype(jnp.float32) * scale.reshape(-1, *ones, x.shape[-1])).astype(self.dtype),
                   kernel.astype(self.dtype), None, padding)
        if self.even:
            square = (kernel**2).sum(tuple(range(len(self.kernel))))  # [C, features]
            size = jax.lax.rsqrt(scale**2 @ square + 1e-8) * jnp.sqrt(2.0)  # as He's kernels, before a rectifier
            out = (out.astype(jnp.float32) * size.reshape(-1, *ones, self.features)).astype(self.dtype)
        if self.noise and keys is not None:
            strength = self.param('noise', nn.initializers.zeros, (), jnp.float32)
            drawn = jax.vmap(lambda key: jax.random.normal(key, (*x.shape[1:-1], 1)))(keys)
            out = (out.astype(jnp.float32) + strength * drawn).astype(self.dtype)
        return add(out, self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32))
