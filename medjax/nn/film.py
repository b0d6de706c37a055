"""Features that a few numbers steer: scaled and shifted, channel by channel (FiLM, Perez 2018)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.dense import Dense


class Film(nn.Module):
    """Scales and shifts each channel by what a vector says; at first by nothing."""

    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, steer: jax.Array) -> jax.Array:
        """Maps features `[B, *S, C]`, steered by `[B, F]`, to `[B, *S, C]`."""
        zeros = nn.initializers.zeros
        both = Dense(2 * x.shape[-1], kernel_init=zeros, name='by')(steer.astype(jnp.float32))
        scale, shift = jnp.split(both.reshape(len(x), *[1] * (x.ndim - 2), -1), 2, -1)
        return (x.astype(jnp.float32) * (1 + scale) + shift).astype(self.dtype)


class Numbers(nn.Module):
    """What steers: two dense layers on a few numbers of about the size 1."""

    features: int = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, N]` to `[B, features]` float32."""
        for name in ('first', 'second'):
            x = nn.swish(Dense(self.features, name=name)(x.astype(jnp.float32)))
        return x
