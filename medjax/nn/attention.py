"""Attention: between tokens, and of channels and places of a convolution's features."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.conv import Conv
from medjax.nn.dense import Dense, LayerNorm
from medjax.nn.dropout import Dropout
from medjax.nn.pool import largest

REDUCTION = 16  # of channels within a gate, in both papers


def softmax(scores: jax.Array, allowed: jax.Array | None) -> jax.Array:
    """The softmax of the last axis over what is allowed, 0 for all else; all 0 where nothing is."""
    if allowed is None:
        return jax.nn.softmax(scores)
    return jnp.where(allowed > 0, jax.nn.softmax(jnp.where(allowed > 0, scores, jnp.finfo(scores.dtype).min)), 0)


def waves(times: jax.Array, width: int, longest: float) -> jax.Array:
    """Sines and cosines of times, by which attention tells them apart (Vaswani 2017); they need not be whole numbers.

    Args:
      times: `[…]`; or the steps' numbers.
      width: channels, even: periods from 2π to 2π `longest`, each a same multiple of the one before.
      longest: in the times' unit.

    Returns:
      `[…, width]` float32.
    """
    if width % 2:
        raise InputError(f'config.model.width: {width}; expected an even number, of sines and cosines')
    rates = jnp.exp(-jnp.log(longest) * jnp.arange(width // 2) / max(width // 2 - 1, 1))
    angles = times[..., None] * rates
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


class GatedPool(nn.Module):
    """The mean of tokens, weighed by an attention that is learned (gated: Ilse 2018).

    Attributes:
      hidden: features that the attention is computed from.
    """

    hidden: int = 128

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps tokens `[B, T, C]` with a mask `[B, T]` to `[B, C]`, and gives the weights `[B, T]`.

        The weights, float32, sum to 1, or to 0 where there is no token.
        """
        gate = nn.tanh(nn.Dense(self.hidden, name='content')(x)) * nn.sigmoid(nn.Dense(self.hidden, name='gate')(x))
        weights = softmax(nn.Dense(1, use_bias=False, name='score')(gate)[..., 0], mask)
        return jnp.einsum('bn,bnc->bc', weights, x), weights


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani 2017); its softmax is float32 whatever the compute type.

    Attributes:
      heads: into which the channels are split.
      dtype: compute type; weights are float32.
    """

    heads: int
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, allowed: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Maps tokens `[B, T, C]` to new ones, and gives the attention `[B, heads, T, T]`, float32, rows sum to 1.

        Args:
          x: tokens.
          allowed: `[B, T, T]`, 1 where a token (the row) may see another; all by default. The row of one that may see
            none is 0.
        """
        width = x.shape[-1]
        if width % self.heads:
            raise InputError(f'config.model.heads: {self.heads}; expected a divisor of the width, {width}')
        query, key, value = (Dense(width, dtype=self.dtype, name=name)(x).reshape(*x.shape[:2], self.heads, -1)
                             for name in ('query', 'key', 'value'))
        scores = jnp.einsum('bqhc,bkhc->bhqk', query, key, preferred_element_type=jnp.float32)
        weights = softmax(scores * (width // self.heads)**-0.5, None if allowed is None else allowed[:, None])
        x = jnp.einsum('bhqk,bkhc->bqhc', weights.astype(self.dtype), value).reshape(x.shape)
        return Dense(width, dtype=self.dtype, name='out')(x), weights


class TransformerBlock(nn.Module):
    """Self-attention, then two dense layers, each behind a layer norm and with its input added (Xiong 2020).

    Attributes:
      heads: of attention.
      dropout: share of features that is zeroed.
      dtype: compute type; weights and attention are float32.
    """

    heads: int
    dropout: float
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, allowed: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Maps tokens `[B, T, C]` to the same shape, and gives the attention; see `SelfAttention`."""
        size = x.shape[-1]
        y = LayerNorm(dtype=self.dtype, name='norm0')(x)
        y, weights = SelfAttention(self.heads, self.dtype, name='attention')(y, allowed)
        x = x + Dropout(self.dropout)(y, train)
        y = LayerNorm(dtype=self.dtype, name='norm1')(x)
        y = nn.gelu(Dense(4 * size, dtype=self.dtype, name='dense0')(y), approximate=False)
        y = Dense(size, dtype=self.dtype, name='dense1')(Dropout(self.dropout)(y, train))
        return x + Dropout(self.dropout)(y, train), weights


class _Channels(nn.Module):
    """Two dense layers, the first of few features: what each of the last axis' channels weighs, before the sigmoid."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size = x.shape[-1]
        return nn.Dense(size, name='expand')(nn.relu(nn.Dense(max(size // REDUCTION, 1), name='reduce')(x)))


class SqueezeExcitation(nn.Module):
    """Weighs each channel by what all channels' means say (Hu 2018)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, *S, C]` to the same shape and type."""
        wide, space = x.astype(jnp.float32), tuple(range(1, x.ndim - 1))
        return (wide * nn.sigmoid(_Channels(name='channels')(wide.mean(space, keepdims=True)))).astype(x.dtype)


class CBAM(nn.Module):
    """Weighs channels by their means and maxima over space, then places by those over channels (Woo 2018)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, *S, C]` to the same shape and type."""
        wide, channels = x.astype(jnp.float32), _Channels(name='channels')
        voxels = wide.reshape(x.shape[0], -1, x.shape[-1])
        weights = nn.sigmoid(channels(voxels.mean(1)) + channels(largest(voxels, 1)))
        wide *= weights.reshape(x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])
        seen = jnp.stack([wide.mean(-1), largest(wide, -1)], -1)
        place = Conv(1, (7,) * (x.ndim - 2), bias=True, init=nn.initializers.lecun_normal(), name='place')(seen)
        return (wide * nn.sigmoid(place)).astype(x.dtype)


GATES = {'se': SqueezeExcitation, 'cbam': CBAM}


def gated(x: jax.Array, kind: str) -> jax.Array:
    """Features `[B, *S, C]`, weighed by the gate that is named; called within a module, whose 'attention' it becomes.

    Raises:
      InputError: kind is none of 'none', 'se' and 'cbam'.
    """
    if kind == 'none':
        return x
    if kind not in GATES:
        raise InputError(f'config.model.attention: {kind!r}; expected one of: none, {", ".join(GATES)}')
    return GATES[kind](name='attention')(x)
