"""Layers for series: Elman RNN, LSTM, GRU, GRU-D, ConvLSTM, and causal temporal convolutions.

A series is `[B, T, …]` with a mask `[B, T]`, 1 for steps and 0 for padding. Padding may be at any position: a padded
step leaves the state unchanged and outputs zeros, whatever its content. All layers are causal.
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
MAX_UNROLLED = 8  # number of steps of images up to which the loop is unrolled
FORGET_BIAS = 1.0  # initial bias of the forget gate, so that an LSTM keeps its state (Jozefowicz 2015)


def elman_step(state: tuple[jax.Array], x: jax.Array, product: jax.Array, new_bias: jax.Array) -> tuple[jax.Array]:
    """One step of an Elman network (1990): `tanh(x + product)`."""
    return (jnp.tanh(x + product),)


def lstm_step(state: tuple[jax.Array, jax.Array], x: jax.Array, product: jax.Array,
              new_bias: jax.Array) -> tuple[jax.Array, ...]:
    """One step of an LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers 2000).

    Args:
      state: hidden state and cell state, `[…, H]` each.
      x: contribution of the input to the input gate, forget gate, candidate and output gate, `[…, 4H]`.
      product: contribution of the hidden state to the same.
      new_bias: not used.

    Returns:
      The new hidden state and cell state.
    """
    enter, forget, candidate, out = jnp.split(x + product, 4, -1)
    cell = nn.sigmoid(forget) * state[1] + nn.sigmoid(enter) * jnp.tanh(candidate)
    return nn.sigmoid(out) * jnp.tanh(cell), cell


def gru_step(state: tuple[jax.Array], x: jax.Array, product: jax.Array, new_bias: jax.Array) -> tuple[jax.Array]:
    """One step of a GRU (Cho 2014), with the reset gate applied after the matrix product, as in cuDNN and PyTorch.

    Args:
      state: hidden state, `[…, H]`.
      x: contribution of the input to the reset gate, update gate and candidate, `[…, 3H]`.
      product: contribution of the hidden state to the same.
      new_bias: bias `[H]` of the candidate, which the reset gate multiplies.

    Returns:
      The new hidden state.
    """
    (reset, update, candidate), (by_reset, by_update, by_candidate) = (
        jnp.split(x, 3, -1), jnp.split(product, 3, -1))
    update = nn.sigmoid(update + by_update)
    candidate = jnp.tanh(candidate + nn.sigmoid(reset + by_reset) * (by_candidate + new_bias))
    return ((1 - update) * candidate + update * state[0],)


# Step function, number of gates and number of states of each cell.
CELLS: dict[str, tuple[Cell, int, int]] = {'rnn': (elman_step, 1, 1), 'lstm': (lstm_step, 4, 2),
                                           'gru': (gru_step, 3, 1)}


def mask_padding(x: jax.Array, mask: jax.Array) -> jax.Array:
    """A series `[B, T, …]` with padding set to zero, so that NaN in padding does not reach gradients."""
    return jnp.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 2)) > 0, x, 0)


def scan_series(step: Callable[..., tuple[jax.Array, ...]], state: tuple[jax.Array, ...], series: Sequence[jax.Array],
                mask: jax.Array, unroll: bool = False) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Applies a recurrent step along series.

    Args:
      step: `(state, *entries of the series at a step) -> state`; the first element of the state is the output.
      state: initial state.
      series: `[B, T, …]` each.
      mask: `[B, T]`.
      unroll: whether to unroll the loop; XLA's convolutions on CPU are several times slower inside a loop.

    Returns:
      The output at each step, `[B, T, …]`, zeros for padding; and the last state.
    """
    def body(state: tuple[jax.Array, ...], inputs: tuple[jax.Array, ...]):
        real, *entries = inputs
        kept = tuple(jnp.where(real.reshape(-1, *[1] * (old.ndim - 1)) > 0, new, old)
                     for old, new in zip(state, step(state, *entries)))
        return kept, kept[0]

    last, outputs = lax.scan(body, state, tuple(jnp.moveaxis(part, 1, 0) for part in (mask, *series)), unroll=unroll)
    return mask_padding(jnp.moveaxis(outputs, 0, 1), mask), last


def _bias_init(cell: str, features: int) -> nn.initializers.Initializer:
    def init(key: jax.Array, shape: Sequence[int], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        zeros = jnp.zeros(shape, dtype)
        return zeros.at[features:2 * features].set(FORGET_BIAS) if cell == 'lstm' else zeros
    return init


class Recurrent(nn.Module):
    """A recurrent layer.

    Attributes:
      features: size of the hidden state, H.
      cell: 'rnn' (Elman), 'lstm' or 'gru'.
      reverse: whether to run from the last step to the first; then it is not causal.
      dtype: compute dtype of matrix products; parameters and states are float32.
    """

    features: int
    cell: str = 'gru'
    reverse: bool = False
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps a series `[B, T, F]` to hidden states `[B, T, H]` and the last hidden state `[B, H]`, float32."""
        if self.cell not in CELLS:
            raise InputError(f'config.model.cell: {self.cell!r}; expected one of: {", ".join(CELLS)}')
        step, gates, states = CELLS[self.cell]
        size = self.features
        kernel = self.param('kernel', nn.initializers.glorot_uniform(), (x.shape[-1], gates * size), jnp.float32)
        recurrent = self.param('recurrent', ORTHOGONAL, (size, gates * size), jnp.float32).astype(self.dtype)
        bias = self.param('bias', _bias_init(self.cell, size), (gates * size,), jnp.float32)
        new_bias = self.param('bias_new', nn.initializers.zeros, (size,), jnp.float32) if self.cell == 'gru' else bias
        x, mask = (jnp.flip(part, 1) if self.reverse else part for part in (mask_padding(x, mask), mask))
        x = (x.astype(self.dtype) @ kernel.astype(self.dtype)).astype(jnp.float32) + bias  # for all steps at once

        def cell_step(state: tuple[jax.Array, ...], x: jax.Array) -> tuple[jax.Array, ...]:
            return step(state, x, (state[0].astype(self.dtype) @ recurrent).astype(jnp.float32), new_bias)

        outputs, last = scan_series(cell_step, (jnp.zeros((x.shape[0], size)),) * states, [x], mask)
        return jnp.flip(outputs, 1) if self.reverse else outputs, last[0]


def time_since_observed(observed: jax.Array, times: jax.Array, mask: jax.Array) -> jax.Array:
    """The time since each value was last observed before a step, `[B, T, F]`; since the first step if it never was.

    Args:
      observed: `[B, T, F]`, 1 for observed values.
      times: `[B, T]`, increasing over the steps that are not padding.
      mask: `[B, T]`.
    """
    start = jnp.min(jnp.where(mask > 0, times, jnp.inf), 1)[:, None]
    start = jnp.where(jnp.isfinite(start), start, 0)

    def step(state: tuple[jax.Array, jax.Array], observed: jax.Array, time: jax.Array) -> tuple[jax.Array, jax.Array]:
        return time[:, None] - state[1], jnp.where(observed > 0, time[:, None], state[1])

    last = jnp.broadcast_to(start, (mask.shape[0], observed.shape[-1])).astype(jnp.float32)
    return scan_series(step, (jnp.zeros_like(last), last), [mask_padding(observed, mask), mask_padding(times, mask)],
                       mask)[0]


class GRUD(nn.Module):
    """A GRU for values that are missing at irregular times (GRU-D, Che 2018).

    A missing value is imputed by its last observation, which decays over time to the mean (0 for standardised values).
    The hidden state decays as well. Which values are observed is an additional input.

    Attributes:
      features: size of the hidden state, H.
      dtype: compute dtype of matrix products; parameters and states are float32.
    """

    features: int
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, observed: jax.Array, times: jax.Array,
                 mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps a series to hidden states.

        Args:
          x: `[B, T, F]`, with arbitrary entries where not observed.
          observed: `[B, T, F]`, 1 for observed values.
          times: `[B, T]`, in a unit for which decay rates are about 1.
          mask: `[B, T]`.

        Returns:
          Hidden states `[B, T, H]` and the last hidden state `[B, H]`, float32.
        """
        observed = mask_padding(observed, mask).astype(jnp.float32)
        x = jnp.where(observed > 0, x, 0)
        wait = time_since_observed(observed, times, mask)
        values, size = x.shape[-1], self.features
        rate = self.param('decay', nn.initializers.constant(0.1), (values,), jnp.float32)
        offset = self.param('decay_bias', nn.initializers.zeros, (values,), jnp.float32)
        value_decay = jnp.exp(-nn.relu(wait * rate + offset))
        state_rate = nn.Dense(size, kernel_init=nn.initializers.constant(0.1 / values), name='fade')(wait)
        state_decay = jnp.exp(-nn.relu(state_rate))

        def carry(state: tuple[jax.Array, jax.Array], x: jax.Array, observed: jax.Array) -> tuple[jax.Array, jax.Array]:
            return state[1], jnp.where(observed > 0, x, state[1])

        zeros = jnp.zeros_like(x[:, 0])
        previous, _ = scan_series(carry, (zeros, zeros), [x, observed], mask)  # last observations before each step
        inputs = jnp.concatenate([jnp.where(observed > 0, x, value_decay * previous), observed], -1)
        kernel = self.param('kernel', nn.initializers.glorot_uniform(), (2 * values, 3 * size), jnp.float32)
        recurrent = self.param('recurrent', ORTHOGONAL, (size, 3 * size), jnp.float32).astype(self.dtype)
        bias = self.param('bias', nn.initializers.zeros, (3 * size,), jnp.float32)
        new_bias = self.param('bias_new', nn.initializers.zeros, (size,), jnp.float32)
        projected = (inputs.astype(self.dtype) @ kernel.astype(self.dtype)).astype(jnp.float32) + bias

        def cell_step(state: tuple[jax.Array], x: jax.Array, decay: jax.Array) -> tuple[jax.Array]:
            state = (state[0] * decay,)
            return gru_step(state, x, (state[0].astype(self.dtype) @ recurrent).astype(jnp.float32), new_bias)

        outputs, last = scan_series(cell_step, (jnp.zeros((x.shape[0], size)),), [projected, state_decay], mask)
        return outputs, last[0]


class ConvLSTM(nn.Module):
    """A convolutional LSTM for series of images (Shi 2015, without peepholes).

    Attributes:
      features: channels of the hidden state.
      kernel: extent of the kernel along each axis, odd.
      dtype: compute dtype of convolutions; parameters and states are float32.
    """

    features: int
    kernel: int = 3
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps 2D or 3D images `[B, T, *S, C]` to hidden states `[B, T, *S, F]` and the last hidden state, float32."""
        if self.kernel % 2 == 0:
            raise InputError(f'config.model.kernel: {self.kernel}; expected an odd number')
        x, size, extents = mask_padding(x, mask), self.features, (self.kernel,) * (x.ndim - 3)
        init, same = nn.initializers.lecun_normal(), ((self.kernel // 2,) * 2,) * (x.ndim - 3)
        kernel = self.param('kernel', init, (*extents, x.shape[-1], 4 * size), jnp.float32)
        recurrent = self.param('recurrent', init, (*extents, size, 4 * size), jnp.float32).astype(self.dtype)
        bias = self.param('bias', _bias_init('lstm', size), (4 * size,), jnp.float32)
        projected = conv(x.reshape(-1, *x.shape[2:]).astype(self.dtype), kernel.astype(self.dtype), padding=same)
        projected = projected.astype(jnp.float32).reshape(*x.shape[:-1], -1) + bias

        def cell_step(state: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[jax.Array, ...]:
            product = conv(state[0].astype(self.dtype), recurrent, padding=same).astype(jnp.float32)
            return lstm_step(state, x, product, bias)

        start = (jnp.zeros((x.shape[0], *x.shape[2:-1], size)),) * 2
        outputs, last = scan_series(cell_step, start, [projected], mask, x.shape[1] <= MAX_UNROLLED)
        return outputs, last[0]


class TemporalConv(nn.Module):
    """A temporal convolutional network: causal convolutions whose dilation doubles with each level (Bai 2018).

    Attributes:
      features: channels of each level.
      levels: number of levels; each has two convolutions that reach back `(kernel - 1) 2^level` steps.
      kernel: number of steps that a convolution covers.
      dropout: dropout rate.
      dtype: compute dtype; parameters are float32.
    """

    features: int
    levels: int = 3
    kernel: int = 3
    dropout: float = 0.0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Maps a series `[B, T, C]` to features `[B, T, F]` and the features of the last step `[B, F]`, float32."""
        # Move padding to the end, so that steps are adjacent.
        order = jnp.argsort(mask <= 0, 1, stable=True)
        sorted_mask = jnp.take_along_axis(mask, order, 1)
        x = jnp.take_along_axis(mask_padding(x, mask), order[..., None], 1).astype(self.dtype)
        for level in range(self.levels):
            y, reach = x, (self.kernel - 1) * 2**level
            for place in range(2):
                y = jnp.pad(mask_padding(y, sorted_mask), [(0, 0), (reach, 0), (0, 0)])
                y = nn.Conv(self.features, (self.kernel,), kernel_dilation=(2**level,), padding='VALID',
                            dtype=self.dtype, param_dtype=jnp.float32, name=f'level{level}_conv{place}')(y)
                y = Dropout(self.dropout)(nn.relu(y), train)
            if x.shape[-1] != self.features:
                x = nn.Dense(self.features, dtype=self.dtype, param_dtype=jnp.float32, name=f'level{level}_skip')(x)
            x = nn.relu(x + y)
        x = mask_padding(x.astype(jnp.float32), sorted_mask)
        last = jnp.maximum(sorted_mask.astype(jnp.int32).sum(1) - 1, 0)
        return (jnp.take_along_axis(x, jnp.argsort(order, 1)[..., None], 1),
                jnp.take_along_axis(x, last[:, None, None], 1)[:, 0])
