"""Attention between tokens, and channel and spatial attention for convolutional features."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.conv import Conv
from medjax.nn.dense import Dense, LayerNorm
from medjax.nn.dropout import Dropout
from medjax.nn.pool import max_along_axis

REDUCTION = 16  # ratio of channels to hidden features of a gate, as in both papers


def masked_softmax(scores: jax.Array, allowed: jax.Array | None) -> jax.Array:
    """The softmax over the allowed entries of the last axis, 0 elsewhere; all 0 if no entry is allowed."""
    if allowed is None:
        return jax.nn.softmax(scores)
    allowed = allowed.astype(bool)
    return jnp.where(allowed, jax.nn.softmax(jnp.where(allowed, scores, jnp.finfo(scores.dtype).min)), 0)


def sinusoidal_encoding(times: jax.Array, width: int, longest: float) -> jax.Array:
    """Sinusoidal position encoding of times (Vaswani 2017), which need not be integers.

    Args:
      times: `[…]`, times or step numbers.
      width: number of channels, even. Periods form a geometric sequence from 2π to 2π `longest`.
      longest: the longest period over 2π, in the unit of the times.

    Returns:
      `[…, width]` float32, sines first.

    Raises:
      InputError: the width is odd.
    """
    if width % 2:
        raise InputError(f'config.model.width: {width}; expected an even number, of sines and cosines')
    rates = jnp.exp(-jnp.log(longest) * jnp.arange(width // 2, dtype=jnp.float32) / max(width // 2 - 1, 1))
    angles = times[..., None] * rates
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


class GatedPool(nn.Module):
    """Attention pooling: a mean of tokens with learned weights (gated attention, Ilse 2018).

    Attributes:
      hidden: hidden features of the attention.
    """

    hidden: int = 128

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps tokens `[B, T, C]` with a mask `[B, T]` to `[B, C]` and attention weights `[B, T]`.

        The weights are float32 and sum to 1, or to 0 if there is no token.
        """
        gate = nn.tanh(nn.Dense(self.hidden, name='content')(x)) * nn.sigmoid(nn.Dense(self.hidden, name='gate')(x))
        weights = masked_softmax(nn.Dense(1, use_bias=False, name='score')(gate)[..., 0], mask)
        return jnp.einsum('bn,bnc->bc', weights, x), weights


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani 2017); the softmax is float32 regardless of the compute dtype.

    Attributes:
      heads: number of heads, a divisor of the number of channels.
      dtype: compute dtype; parameters are float32.
    """

    heads: int
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, allowed: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Maps tokens `[B, T, C]` to the same shape, and returns attention weights `[B, heads, T, T]`, float32.

        Args:
          x: tokens.
          allowed: `[B, T, T]`, 1 where the token of a row may attend to the token of a column; all by default. Rows
            sum to 1, or are 0 for a token that may attend to none.

        Raises:
          InputError: the number of heads does not divide the number of channels.
        """
        width = x.shape[-1]
        if width % self.heads:
            raise InputError(f'config.model.heads: {self.heads}; expected a divisor of the width, {width}')
        query, key, value = (Dense(width, dtype=self.dtype, name=name)(x).reshape(*x.shape[:2], self.heads, -1)
                             for name in ('query', 'key', 'value'))
        scores = jnp.einsum('bqhc,bkhc->bhqk', query, key, preferred_element_type=jnp.float32)
        weights = masked_softmax(scores * (width // self.heads)**-0.5, None if allowed is None else allowed[:, None])
        x = jnp.einsum('bhqk,bkhc->bqhc', weights.astype(self.dtype), value).reshape(x.shape)
        return Dense(width, dtype=self.dtype, name='out')(x), weights


class TransformerBlock(nn.Module):
    """A pre-norm transformer block (Xiong 2020): self-attention and an MLP, each with layer norm and residual.

    Attributes:
      heads: number of attention heads.
      dropout: dropout rate.
      dtype: compute dtype; parameters and attention are float32.
    """

    heads: int
    dropout: float
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, allowed: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Maps tokens `[B, T, C]` to the same shape, and returns the attention weights; see `SelfAttention`."""
        size = x.shape[-1]
        y = LayerNorm(dtype=self.dtype, name='norm0')(x)
        y, weights = SelfAttention(self.heads, self.dtype, name='attention')(y, allowed)
        x = x + Dropout(self.dropout)(y, train)
        y = LayerNorm(dtype=self.dtype, name='norm1')(x)
        y = nn.gelu(Dense(4 * size, dtype=self.dtype, name='dense0')(y), approximate=False)
        y = Dense(size, dtype=self.dtype, name='dense1')(Dropout(self.dropout)(y, train))
        return x + Dropout(self.dropout)(y, train), weights


class _ChannelMLP(nn.Module):
    """A bottleneck MLP over channels, whose output is the logit of each channel's weight."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size = x.shape[-1]
        return nn.Dense(size, name='expand')(nn.relu(nn.Dense(max(size // REDUCTION, 1), name='reduce')(x)))


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation: scales each channel by a weight computed from all channel means (Hu 2018)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, *S, C]` to the same shape and dtype."""
        wide, space = x.astype(jnp.float32), tuple(range(1, x.ndim - 1))
        return (wide * nn.sigmoid(_ChannelMLP(name='channels')(wide.mean(space, keepdims=True)))).astype(x.dtype)


class CBAM(nn.Module):
    """Convolutional block attention: scales channels by their spatial means and maxima, then voxels (Woo 2018)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, *S, C]` to the same shape and dtype."""
        wide, mlp = x.astype(jnp.float32), _ChannelMLP(name='channels')
        voxels = wide.reshape(x.shape[0], -1, x.shape[-1])
        weights = nn.sigmoid(mlp(voxels.mean(1)) + mlp(max_along_axis(voxels, 1)))
        wide *= weights.reshape(x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])
        pooled = jnp.stack([wide.mean(-1), max_along_axis(wide, -1)], -1)
        place = Conv(1, (7,) * (x.ndim - 2), bias=True, init=nn.initializers.lecun_normal(), name='place')(pooled)
        return (wide * nn.sigmoid(place)).astype(x.dtype)


GATES = {'se': SqueezeExcitation, 'cbam': CBAM}


def apply_gate(x: jax.Array, kind: str) -> jax.Array:
    """Applies an attention gate to features `[B, *S, C]`; call it in a compact method. Its name is 'attention'.

    Args:
      x: features.
      kind: 'none', 'se' (squeeze-and-excitation) or 'cbam'.

    Raises:
      InputError: the kind is unknown.
    """
    if kind == 'none':
        return x
    if kind not in GATES:
        raise InputError(f'config.model.attention: {kind!r}; expected one of: none, {", ".join(GATES)}')
    return GATES[kind](name='attention')(x)
