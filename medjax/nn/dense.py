"""Layers that act on the last axis: the channels of a voxel, a token or an image."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.conv import add_bias

# Layer norm (Ba 2016) with the epsilon of ConvNeXt and of the vision transformer. The fast variance, computed from the
# mean of squares, would lose precision for features far from zero.
LayerNorm = functools.partial(nn.LayerNorm, epsilon=1e-6, use_fast_variance=False)


class Dense(nn.Module):
    """A dense layer. In contrast to flax.linen's, it adds the bias, and sums its gradient, in float32.

    Attributes:
      features: number of outputs.
      kernel_init: initialiser of the kernel.
      dtype: compute dtype; parameters are float32.
    """

    features: int
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[…, C]` to `[…, features]`."""
        kernel = self.param('kernel', self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
        return add_bias(x.astype(self.dtype) @ kernel.astype(self.dtype), bias)
