"""A ConvLSTM that predicts the next scan from previous ones (Shi 2015; for tumours Zhang 2020).

Each visit is encoded to a coarser grid by shared convolutions, conditioned on its time and volume. A ConvLSTM processes
the series of visits there. Its last state is decoded to the full resolution, conditioned on the horizon, with skip
connections from the encoded last visit.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models.longitudinal_unet import split_risk, visit_features
from medjax.nn.conv import Block, Conv, TransposedConv, check_dims
from medjax.nn.film import ConditionEmbedding, FiLM
from medjax.nn.recurrent import ConvLSTM, mask_padding
from medjax.options import Count, Dims, Positive

VARIANTS: dict[str, dict[str, Any]] = {'plain': dict()}


class Model(nn.Module):
    """Encoder, ConvLSTM and decoder.

    Attributes:
      classes: classes of the predicted mask.
      dims: number of spatial dimensions, 2 or 3.
      base: channels of the finest level; doubled at each level.
      levels: number of resolutions; the ConvLSTM is at the coarsest.
      state: channels of the ConvLSTM's state.
      kernel: extent of the ConvLSTM's kernel.
      norm: see `nn.conv.Norm`, as for activation.
      activation: …
      risk: whether to predict the risk of new tumours as well.
      time_unit_days: unit of time: this number of days is 1.
      dtype: compute dtype; parameters and logits are float32.
    """

    classes: Count = 2
    dims: Dims = 2
    base: Count = 16
    levels: Count = 3
    state: Count = 64
    kernel: Count = 3
    norm: str = 'instance'
    activation: str = 'leaky'
    risk: bool = True
    time_unit_days: Positive = 100.0
    dtype: str = 'float32'

    inputs = ('image', 'time', 'time_mask', 'volume', 'horizon')  # entries of a batch that are passed to the network

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, time_mask: jax.Array, volume: jax.Array, horizon: jax.Array, *,
                 train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Predicts the next mask; see `longitudinal_unet.Model`."""
        check_dims(x[:, 0], self.dims)
        factor = 2 ** (self.levels - 1)
        if self.levels < 1 or any(size % factor for size in x.shape[2:-1]):
            raise InputError(f'config.data.size: {x.shape[2:-1]}; expected multiples of {factor}, as '
                             f'config.model.levels={self.levels} halves them')
        batch, visits = x.shape[:2]
        features = visit_features(time, time_mask, volume, horizon, self.time_unit_days)
        condition = ConditionEmbedding(name='times')(features)
        # Condition of a single visit: its time, log volume, and time to the horizon.
        per_visit = jnp.stack([time / self.time_unit_days, jnp.log(jnp.maximum(volume, 1e-6)),
                               (horizon[:, None] - time) / self.time_unit_days], -1) * time_mask[..., None]
        per_visit = ConditionEmbedding(name='visit')(per_visit.reshape(batch * visits, -1))
        y = mask_padding(x, time_mask).reshape(batch * visits, *x.shape[2:]).astype(self.dtype)
        y, skips = self._encode(y, per_visit, (batch, visits), train)
        _, y = ConvLSTM(self.state, self.kernel, self.dtype, name='over_time')(
            y.reshape(batch, visits, *y.shape[1:]), time_mask)
        feats: dict[str, Any] = {'state': y}
        y = self._decode(y, skips, condition, feats, train)
        last = Conv(self.classes + self.risk, (1,) * self.dims, bias=True, init=nn.initializers.lecun_normal(),
                    name='logits')
        return split_risk(last(y.astype(jnp.float32)), feats, self.classes)

    def _encode(self, y: jax.Array, condition: jax.Array, shape: tuple[int, int],
                train: bool) -> tuple[jax.Array, list[jax.Array]]:
        """Encodes all visits `[B * T, *S, C]`; returns the coarsest features, and those of the last visits by level."""
        three, two, one = ((n,) * self.dims for n in (3, 2, 1))
        kind, skips = (self.norm, self.activation, self.dtype), []
        for level in range(self.levels):
            width, name = self.base * 2**level, f'enc{level}'
            y = Block(width, three, two if level else one, *kind, name=f'{name}_0')(y, train)
            y = Block(width, three, one, *kind, name=f'{name}_1')(y, train)
            y = FiLM(self.dtype, name=f'{name}_film')(y, condition)
            skips.append(y.reshape(*shape, *y.shape[1:])[:, -1])
        return y, skips

    def _decode(self, y: jax.Array, skips: list[jax.Array], condition: jax.Array, feats: dict[str, Any],
                train: bool) -> jax.Array:
        """Decodes the last state to the full resolution, and adds the features of each level to `feats`."""
        three, two, one = ((n,) * self.dims for n in (3, 2, 1))
        kind = (self.norm, self.activation, self.dtype)
        for level in reversed(range(self.levels)):
            width, name = self.base * 2**level, f'dec{level}'
            if level < self.levels - 1:
                y = TransposedConv(width, two, dtype=self.dtype, name=f'{name}_up')(y)
            y = jnp.concatenate([y.astype(self.dtype), skips[level]], -1)
            y = Block(width, three, one, *kind, name=f'{name}_0')(y, train)
            y = FiLM(self.dtype, name=f'{name}_film')(y, condition)
            y = Block(width, three, one, *kind, name=f'{name}_1')(y, train)
            feats[name] = y
        return y
