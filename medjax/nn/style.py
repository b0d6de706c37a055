"""Layers of a style-based generator: modulated convolution with noise, and pixelwise feature normalisation."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.conv import add_bias, he_normal
from medjax.nn.dense import Dense
from medjax.ops.conv import conv


def pixel_norm(x: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """Divides the features of each voxel by their root mean square (Karras 2018); `[…, C]`, of the dtype of `x`."""
    wide = x.astype(jnp.float32)
    return (wide * jax.lax.rsqrt((wide**2).mean(-1, keepdims=True) + epsilon)).astype(x.dtype)


class ModulatedConv(nn.Module):
    """A modulated and demodulated convolution (StyleGAN2, Karras 2020).

    The kernel of each example is the shared kernel with input channels scaled by the style and output channels divided
    by their norm. Scaling the input and output of a shared convolution is equivalent, and needs a single convolution
    for the whole batch.

    Attributes:
      features: number of output channels.
      kernel: extent along each spatial axis.
      demodulate: whether to divide by the norm; layers that output colours do not.
      noise: whether to add noise with a learned strength, initially 0.
      dtype: compute dtype; parameters are float32.
    """

    features: int
    kernel: Sequence[int]
    demodulate: bool = True
    noise: bool = True
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """Maps `[B, *S, C]`, with styles `[B, F]` and PRNG keys `[B]` of the noise, to `[B, *S, features]`."""
        ones = (1,) * (x.ndim - 2)
        scale = 1 + Dense(x.shape[-1], name='style')(style.astype(jnp.float32))
        kernel = self.param('kernel', he_normal, (*self.kernel, x.shape[-1], self.features), jnp.float32)
        padding = [((size - 1) // 2, size // 2) for size in self.kernel]
        out = conv((x.astype(jnp.float32) * scale.reshape(-1, *ones, x.shape[-1])).astype(self.dtype),
                   kernel.astype(self.dtype), None, padding)
        if self.demodulate:
            square = (kernel**2).sum(tuple(range(len(self.kernel))))  # [C, features]
            # The factor of √2 gives the gain of He initialisation, for a subsequent rectifier.
            factor = jax.lax.rsqrt(scale**2 @ square + 1e-8) * jnp.sqrt(2.0)
            out = (out.astype(jnp.float32) * factor.reshape(-1, *ones, self.features)).astype(self.dtype)
        if self.noise and keys is not None:
            strength = self.param('noise', nn.initializers.zeros, (), jnp.float32)
            noise = jax.vmap(lambda key: jax.random.normal(key, (*x.shape[1:-1], 1)))(keys)
            out = (out.astype(jnp.float32) + strength * noise).astype(self.dtype)
        return add_bias(out, self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32))
