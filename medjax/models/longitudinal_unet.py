"""A U-Net that predicts the next scan from previous ones, conditioned on visit times by FiLM (Perez 2018).

The images of all visits are concatenated along the channels, the last visit last. The times of the visits, the tumour's
volumes and the horizon scale and shift the features of every level. One network predicts any horizon.
"""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models import unet
from medjax.nn.film import ConditionEmbedding
from medjax.nn.recurrent import mask_padding
from medjax.options import Count, Dims, Positive, Range

VARIANTS: dict[str, dict[str, Any]] = {'film': dict()}


def visit_features(time: jax.Array, mask: jax.Array, volume: jax.Array, horizon: jax.Array,
                   time_unit_days: float) -> jax.Array:
    """Times and volumes as network inputs `[B, 4T]`, each of a magnitude of about 1.

    Args:
      time: `[B, T]` days, 0 at the last visit.
      mask: `[B, T]`, 1 for visits.
      volume: `[B, T]` ml.
      horizon: `[B]` days.
      time_unit_days: unit of time: this number of days is 1.

    Returns:
      For each visit its time, its mask, its log volume, and the growth rate since the previous visit; then the horizon.
    """
    mask = (mask > 0).astype(jnp.float32)
    time = time * mask / time_unit_days
    log = jnp.log(jnp.maximum(volume, 1e-6)) * mask
    both = mask[:, 1:] * mask[:, :-1]
    rate = jnp.diff(log, axis=1) / jnp.maximum(jnp.diff(time, axis=1), 0.05) * both
    return jnp.concatenate([time, mask, log, rate, (horizon / time_unit_days)[:, None]], 1).astype(jnp.float32)


class Model(nn.Module):
    """A U-Net conditioned on visit times, volumes and horizon.

    Attributes:
      classes: classes of the predicted mask.
      dims: number of spatial dimensions, 2 or 3.
      base: see `unet.Model`, also for levels, max_channels, norm and activation.
      levels: …
      max_channels: …
      norm: …
      activation: …
      risk: whether to predict the risk of new tumours as well.
      time_unit_days: unit of time: this number of days is 1.
      dtype: compute dtype; parameters and logits are float32.
    """

    classes: Count = 2
    dims: Dims = 2
    base: Count = 16
    levels: Annotated[int, Range(low=2)] = 4
    max_channels: Count = 256
    norm: str = 'instance'
    activation: str = 'leaky'
    risk: bool = True
    time_unit_days: Positive = 100.0
    dtype: str = 'float32'

    inputs = ('image', 'time', 'time_mask', 'volume', 'horizon')  # entries of a batch that are passed to the network

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, time_mask: jax.Array, volume: jax.Array, horizon: jax.Array, *,
                 train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Predicts the next mask.

        Args:
          x: `[B, T, *S, C]`, the last visit last.
          time: `[B, T]`, days.
          time_mask: `[B, T]`, 0 for padding.
          volume: `[B, T]`, ml.
          horizon: `[B]`, days.
          train: for batch norm.

        Returns:
          Logits `[B, *S, classes]` float32, and the U-Net's features; with `risk` also 'risk' `[B, *S]` float32, the
          log of the expected number of new tumours in `days`; see `tasks/growth/task.py`.
        """
        features = visit_features(time, time_mask, volume, horizon, self.time_unit_days)
        condition = ConditionEmbedding(name='times')(features)
        x = jnp.moveaxis(mask_padding(x, time_mask), 1, -2)
        net = unet.Model(self.classes + self.risk, self.dims, self.base, self.levels, self.max_channels, self.norm,
                         self.activation, dtype=self.dtype, name='unet')
        out, feats = net(x.reshape(*x.shape[:-2], -1), train=train, condition=condition)
        return split_risk(out, feats, self.classes)


def split_risk(out: jax.Array, feats: dict[str, Any], classes: int) -> tuple[jax.Array, dict[str, Any]]:
    """Splits outputs into the logits of the mask and, if there is another channel, the feature 'risk'."""
    return out[..., :classes], {**feats, 'risk': out[..., classes]} if out.shape[-1] > classes else feats
