"""Feature-wise linear modulation (FiLM, Perez 2018): conditioning of features on a vector."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.dense import Dense


class FiLM(nn.Module):
    """Scales and shifts each channel as a linear function of a condition vector; initially the identity.

    Attributes:
      dtype: dtype of the output; the modulation is float32.
    """

    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        """Maps features `[B, *S, C]` with a condition `[B, F]` to `[B, *S, C]`."""
        zeros = nn.initializers.zeros
        both = Dense(2 * x.shape[-1], kernel_init=zeros, name='by')(condition.astype(jnp.float32))
        scale, shift = jnp.split(both.reshape(x.shape[0], *[1] * (x.ndim - 2), -1), 2, -1)
        return (x.astype(jnp.float32) * (1 + scale) + shift).astype(self.dtype)


class ConditionEmbedding(nn.Module):
    """An embedding of a few numbers (of a magnitude of about 1) by two dense layers, as a condition for `FiLM`.

    Attributes:
      features: size of the embedding.
    """

    features: int = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, N]` to `[B, features]` float32."""
        for name in ('first', 'second'):
            x = nn.swish(Dense(self.features, name=name)(x.astype(jnp.float32)))
        return x
