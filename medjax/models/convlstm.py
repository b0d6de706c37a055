"""A ConvLSTM that tells the next scan from those before (Shi 2015; for tumours Zhang 2020).

Each visit goes through the same convolutions to a coarser grid, steered by its time and volume; a ConvLSTM goes through
the visits there; its last state, steered by how far ahead to look, comes back to the fine grid beside the last visit's
own features.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models.longitudinal_unet import numbers, parted
from medjax.nn.conv import Block, Conv, Up, check_dims
from medjax.nn.film import Film, Numbers
from medjax.nn.recurrent import ConvLSTM, hidden

VARIANTS: dict[str, dict[str, Any]] = {'plain': dict()}


class Model(nn.Module):
    """Encoder, ConvLSTM, decoder.

    Attributes:
      classes: of the mask that is told.
      dims: spatial dimensions, 2 or 3.
      base: channels of the finest level; they double with each.
      levels: resolutions; the ConvLSTM is at the coarsest.
      state: its features.
      kernel: extent of its convolutions.
      norm: see `nn.conv.Norm`.
      activation: …
      risk: whether it tells where new tumours arise, too.
      days: that count as 1.
      dtype: compute type; weights and logits are float32.
    """

    classes: int = 2
    dims: int = 2
    base: int = 16
    levels: int = 3
    state: int = 64
    kernel: int = 3
    norm: str = 'instance'
    activation: str = 'leaky'
    risk: bool = True
    days: float = 100.0
    dtype: str = 'float32'

    inputs = ('image', 'time', 'time_mask', 'volume', 'horizon')  # what of a batch it sees

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, time_mask: jax.Array, volume: jax.Array, horizon: jax.Array, *,
                 train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Tells the next mask; see `unet_time.Model`."""
        check_dims(x[:, 0], self.dims)
        need = 2 ** (self.levels - 1)
        if self.levels < 1 or any(size % need for size in x.shape[2:-1]):
            raise InputError(f'config.data.size: {x.shape[2:-1]}; expected multiples of {need}, as '
                             f'config.model.levels={self.levels} halves them')
        three, two, one = ((n,) * self.dims for n in (3, 2, 1))
        kind, (batch, visits) = (self.norm, self.activation, self.dtype), x.shape[:2]
        steer = Numbers(name='times')(numbers(time, time_mask, volume, horizon, self.days))
        # Of a visit alone: when it was, how large the tumour was, and how long until what is to be told.
        each = jnp.stack([time / self.days, jnp.log(jnp.maximum(volume, 1e-6)),
                          (horizon[:, None] - time) / self.days], -1) * time_mask[..., None]
        each = Numbers(name='visit')(each.reshape(batch * visits, -1))
        y, skips = hidden(x, time_mask).reshape(batch * visits, *x.shape[2:]).astype(self.dtype), []
        for level in range(self.levels):
            width, name = self.base * 2**level, f'enc{level}'
            y = Block(width, three, two if level else one, *kind, name=f'{name}_0')(y, train)
            y = Film(self.dtype, name=f'{name}_film')(Block(width, three, one, *kind, name=f'{name}_1')(y, train), each)
            skips.append(y.reshape(batch, visits, *y.shape[1:])[:, -1])
        _, y = ConvLSTM(self.state, self.kernel, self.dtype, name='over_time')(
            y.reshape(batch, visits, *y.shape[1:]), time_mask)
        feats: dict[str, Any] = {'state': y}
        for level in reversed(range(self.levels)):
            width, name = self.base * 2**level, f'dec{level}'
            y = y if level == self.levels - 1 else Up(width, two, dtype=self.dtype, name=f'{name}_up')(y)
            y = jnp.concatenate([y.astype(self.dtype), skips[level]], -1)
            y = Block(width, three, one, *kind, name=f'{name}_0')(y, train)
            y = Film(self.dtype, name=f'{name}_film')(y, steer)
            y = Block(width, three, one, *kind, name=f'{name}_1')(y, train)
            feats[name] = y
        last = Conv(self.classes + self.risk, one, bias=True, init=nn.initializers.lecun_normal(), name='logits')
        return parted(last(y.astype(jnp.float32)), feats, self.classes)
