"""Networks that go through a series step by step: Elman, LSTM, GRU, GRU-D, ConvLSTM, and convolutions over time.

A series is `[B, T, …]` with a mask `[B, T]`, 1 for steps and 0 for padding, which may lie anywhere: a step that is
padding leaves the state as it is and gives zeros, whatever it holds. All of them are causal.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from medjax.errors import InputError
from medjax.nn.dropout import Dropout
from medjax.ops.conv import conv

Cell = Callable[..., tuple[jax.Array, ...]]
ORTHOGONAL = nn.initializers.orthogonal()
UNROLLED = 8  # steps of images, up to which they are compiled one after the other
FORGET = 1.0  # the forget gate's bias at first: what an LSTM knows it keeps (Jozefowicz 2015)


def elman(state: tuple[jax.Array], x: jax.Array, product: jax.Array, new: jax.Array) -> tuple[jax.Array]:
    """One step of an Elman network (1990): `tanh(x + product)`."""
    return (jnp.tanh(x + product),)


def lstm(state: tuple[jax.Array, jax.Array], x: jax.Array, product: jax.Array, new: jax.Array) -> tuple[jax.Array, ...]:
    """One step of an LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers 2000).

    Args:
      state: what it tells and what it keeps, `[…, H]` each.
      x: what the input says to the gates for input, forgetting, the new and output, `[…, 4H]`.
      product: what the state says to them.
      new: not used.

    Returns:
      The new state.
    """
    enter, forget, fresh, out = jnp.split(x + product, 4, -1)
    kept = nn.sigmoid(forget) * state[1] + nn.sigmoid(enter) * jnp.tanh(fresh)
    return nn.sigmoid(out) * jnp.tanh(kept), kept


def gru(state: tuple[jax.Array], x: jax.Array, product: jax.Array, new: jax.Array) -> tuple[jax.Array]:
    """One step of a GRU (Cho 2014), with the reset gate behind the product as cuDNN and PyTorch have it.

    Args:
      state: `[…, H]`.
      x: what the input says to reset, update and the new, `[…, 3H]`.
      product: what the state says to them.
      new: a bias `[H]` that the reset gate multiplies.

    Returns:
      The new state.
    """
    (reset, update, fresh), (by_reset, by_update, by_fresh) = jnp.split(x, 3, -1), jnp.split(product, 3, -1)
    update = nn.sigmoid(update + by_update)
    fresh = jnp.tanh(fresh + nn.sigmoid(reset + by_reset) * (by_fresh + new))
    return ((1 - update) * fresh + update * state[0],)


CELLS: dict[str, tuple[Cell, int, int]] = {'rnn': (elman, 1, 1), 'lstm': (lstm, 4, 2), 'gru': (gru, 3, 1)}


def hidden(x: jax.Array, mask: jax.Array) -> jax.Array:
    """A series `[B, T, …]` with zeros for its padding; no NaN of it may come back in a gradient."""
    return jnp.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 2)) > 0, x, 0)


def run(step: Callable[..., tuple[jax.Array, ...]], state: tuple[jax.Array, ...], series: Sequence[jax.Array],
        mask: jax.Array, unroll: bool = False) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Goes through a series.

    Args:
      step: `(state, what each of `series` holds at a step) -> state`, whose first part is what is told.
      state: the first one.
      series: `[B, T, …]` each.
      mask: `[B, T]`.
      unroll: without a loop, in which XLA's convolutions on a CPU are several times as slow.

    Returns:
      What is told at each step, `[B, T, …]`, zeros for padding; and the last state.
    """
    def body(state: tuple[jax.Array, ...], at: tuple[jax.Array, ...]):
        real, *now = at
        held = tuple(jnp.where(real.reshape(-1, *[1] * (old.ndim - 1)) > 0, new, old)
                     for old, new in zip(state, step(state, *now)))
        return held, held[0]

    last, told = lax.scan(body, state, tuple(jnp.moveaxis(part, 1, 0) for part in (mask, *series)), unroll=unroll)
    return hidden(jnp.moveaxis(told, 0, 1), mask), last


def _bias(cell: str, features: int) -> nn.initializers.Initializer:
    def init(key: jax.Array, shape: Sequence[int], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        zeros = jnp.zeros(shape, dtype)
        return zeros.at[features:2 * features].set(FORGET) if cell == 'lstm' else zeros
    return init


class Recurrent(nn.Module):
    """A layer of a recurrent network.

    Attributes:
      features: of the state, H.
      cell: 'rnn' (Elman), 'lstm' or 'gru'.
      reverse: from the last step to the first; not causal.
      dtype: compute type of the products; weights and states are float32.
    """

    features: int
    cell: str = 'gru'
    reverse: bool = False
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps a series `[B, T, F]` to states `[B, T, H]`, and gives the last one, `[B, H]`; all float32."""
        if self.cell not in CELLS:
            raise InputError(f'config.model.cell: {self.cell!r}; expected one of: {", ".join(CELLS)}')
        step, gates, states = CELLS[self.cell]
        size = self.features
        kernel = self.param('kernel', nn.initializers.glorot_uniform(), (x.shape[-1], gates * size), jnp.float32)
        back = self.param('recurrent', ORTHOGONAL, (size, gates * size), jnp.float32).astype(self.dtype)
        bias = self.param('bias', _bias(self.cell, size), (gates * size,), jnp.float32)
        new = self.param('bias_new', nn.initializers.zeros, (size,), jnp.float32) if self.cell == 'gru' else bias
        x, mask = (jnp.flip(part, 1) if self.reverse else part for part in (hidden(x, mask), mask))
        x = (x.astype(self.dtype) @ kernel.astype(self.dtype)).astype(jnp.float32) + bias  # of all steps at once

        def go(state: tuple[jax.Array, ...], now: jax.Array) -> tuple[jax.Array, ...]:
            return step(state, now, (state[0].astype(self.dtype) @ back).astype(jnp.float32), new)

        told, last = run(go, (jnp.zeros((len(x), size)),) * states, [x], mask)
        return jnp.flip(told, 1) if self.reverse else told, last[0]


def waited(observed: jax.Array, times: jax.Array, mask: jax.Array) -> jax.Array:
    """How long ago each value was last seen before a step, `[B, T, F]`; since the first step where it never was.

    Args:
      observed: `[B, T, F]`, 1 where a value was seen.
      times: `[B, T]`, rising among the steps that are no padding.
      mask: `[B, T]`.
    """
    start = jnp.min(jnp.where(mask > 0, times, jnp.inf), 1)[:, None]
    start = jnp.where(jnp.isfinite(start), start, 0)

    def step(state: tuple[jax.Array, jax.Array], seen: jax.Array, time: jax.Array) -> tuple[jax.Array, jax.Array]:
        return time[:, None] - state[1], jnp.where(seen > 0, time[:, None], state[1])

    last = jnp.broadcast_to(start, (len(mask), observed.shape[-1])).astype(jnp.float32)
    return run(step, (jnp.zeros_like(last), last), [hidden(observed, mask), hidden(times, mask)], mask)[0]


class GRUD(nn.Module):
    """A GRU for values that are missing at irregular times (Che 2018).

    A value that is missing is what it last was, and with time decays to its mean, which is 0 for standardised values;
    the state decays with it. What is missing is an input too.

    Attributes:
      features: of the state, H.
      dtype: compute type of the products; weights and states are float32.
    """

    features: int
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, observed: jax.Array, times: jax.Array,
                 mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps a series to states.

        Args:
          x: `[B, T, F]`; whatever it holds where nothing was observed.
          observed: `[B, T, F]`, 1 where a value was seen.
          times: `[B, T]`, in a unit in which decays are of the order of 1.
          mask: `[B, T]`.

        Returns:
          States `[B, T, H]` and the last one, `[B, H]`, float32.
        """
        observed = hidden(observed, mask).astype(jnp.float32)
        x = jnp.where(observed > 0, x, 0)
        wait = waited(observed, times, mask)
        values, size = x.shape[-1], self.features
        rate = self.param('decay', nn.initializers.constant(0.1), (values,), jnp.float32)
        least = self.param('decay_bias', nn.initializers.zeros, (values,), jnp.float32)
        fading = jnp.exp(-nn.relu(wait * rate + least))
        fade = jnp.exp(-nn.relu(nn.Dense(size, kernel_init=nn.initializers.constant(0.1 / values), name='fade')(wait)))

        def carry(state: tuple[jax.Array, jax.Array], now: jax.Array, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
            return state[1], jnp.where(seen > 0, now, state[1])

        zeros = jnp.zeros_like(x[:, 0])
        before, _ = run(carry, (zeros, zeros), [x, observed], mask)  # each value as it last was before a step
        filled = jnp.concatenate([jnp.where(observed > 0, x, fading * before), observed], -1)
        kernel = self.param('kernel', nn.initializers.glorot_uniform(), (2 * values, 3 * size), jnp.float32)
        back = self.param('recurrent', ORTHOGONAL, (size, 3 * size), jnp.float32).astype(self.dtype)
        bias = self.param('bias', nn.initializers.zeros, (3 * size,), jnp.float32)
        new = self.param('bias_new', nn.initializers.zeros, (size,), jnp.float32)
        said = (filled.astype(self.dtype) @ kernel.astype(self.dtype)).astype(jnp.float32) + bias

        def go(state: tuple[jax.Array], now: jax.Array, left: jax.Array) -> tuple[jax.Array]:
            state = (state[0] * left,)
            return gru(state, now, (state[0].astype(self.dtype) @ back).astype(jnp.float32), new)

        told, last = run(go, (jnp.zeros((len(x), size)),), [said, fade], mask)
        return told, last[0]


class ConvLSTM(nn.Module):
    """An LSTM whose products are convolutions, for series of images (Shi 2015, without peepholes).

    Attributes:
      features: of the state.
      kernel: extent along each axis, odd.
      dtype: compute type of the convolutions; weights and states are float32.
    """

    features: int
    kernel: int = 3
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps images `[B, T, *S, C]`, in 2D or 3D, to states `[B, T, *S, F]`, and the last one; float32."""
        if self.kernel % 2 == 0:
            raise InputError(f'config.model.kernel: {self.kernel}; expected an odd number')
        x, size, extents = hidden(x, mask), self.features, (self.kernel,) * (x.ndim - 3)
        init, same = nn.initializers.lecun_normal(), ((self.kernel // 2,) * 2,) * (x.ndim - 3)
        kernel = self.param('kernel', init, (*extents, x.shape[-1], 4 * size), jnp.float32)
        back = self.param('recurrent', init, (*extents, size, 4 * size), jnp.float32).astype(self.dtype)
        bias = self.param('bias', _bias('lstm', size), (4 * size,), jnp.float32)
        each = conv(x.reshape(-1, *x.shape[2:]).astype(self.dtype), kernel.astype(self.dtype), padding=same)
        said = each.astype(jnp.float32).reshape(*x.shape[:-1], -1) + bias

        def go(state: tuple[jax.Array, jax.Array], now: jax.Array) -> tuple[jax.Array, ...]:
            return lstm(state, now, conv(state[0].astype(self.dtype), back, padding=same).astype(jnp.float32), bias)

        told, last = run(go, (jnp.zeros((len(x), *x.shape[2:-1], size)),) * 2, [said], mask, x.shape[1] <= UNROLLED)
        return told, last[0]


class TemporalConv(nn.Module):
    """Causal convolutions over time, each level with steps twice as far apart (Bai 2018).

    Attributes:
      features: of each level.
      levels: each sees `(kernel - 1) 2^level` steps back, twice.
      kernel: steps that a convolution sees.
      dropout: share of features that is zeroed.
      dtype: compute type; weights are float32.
    """

    features: int
    levels: int = 3
    kernel: int = 3
    dropout: float = 0.0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Maps a series `[B, T, C]` to features `[B, T, F]`, and gives those of its last step, `[B, F]`; float32."""
        # Steps to the front, so that no padding lies between two of them.
        order = jnp.argsort(mask <= 0, 1, stable=True)
        there = jnp.take_along_axis(mask, order, 1)
        x = jnp.take_along_axis(hidden(x, mask), order[..., None], 1).astype(self.dtype)
        for level in range(self.levels):
            y, reach = x, (self.kernel - 1) * 2**level
            for place in range(2):
                y = jnp.pad(hidden(y, there), [(0, 0), (reach, 0), (0, 0)])
                y = nn.Conv(self.features, (self.kernel,), kernel_dilation=(2**level,), padding='VALID',
                            dtype=self.dtype, param_dtype=jnp.float32, name=f'level{level}_conv{place}')(y)
                y = Dropout(self.dropout)(nn.relu(y), train)
            if x.shape[-1] != self.features:
                x = nn.Dense(self.features, dtype=self.dtype, param_dtype=jnp.float32, name=f'level{level}_skip')(x)
            x = nn.relu(x + y)
        x = hidden(x.astype(jnp.float32), there)
        last = jnp.maximum(there.astype(jnp.int32).sum(1) - 1, 0)
        return (jnp.take_along_axis(x, jnp.argsort(order, 1)[..., None], 1),
                jnp.take_along_axis(x, last[:, None, None], 1)[:, 0])
