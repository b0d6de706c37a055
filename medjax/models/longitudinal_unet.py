"""A U-Net that tells the next scan from those before: visits as channels, times by FiLM (Perez 2018).

All visits that are seen lie side by side as channels, the last one last; when they were, how large the tumour was and
how far ahead to look scale and shift the features of every level. The same weights tell any horizon.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models import unet
from medjax.nn.film import Numbers
from medjax.nn.recurrent import hidden

VARIANTS: dict[str, dict[str, Any]] = {'film': dict()}


def numbers(time: jax.Array, mask: jax.Array, volume: jax.Array, horizon: jax.Array, days: float) -> jax.Array:
    """Times and volumes as a network takes them, `[B, 4T]`, each of about the size 1.

    Args:
      time: `[B, T]` days, 0 at the last visit.
      mask: `[B, T]`, 1 where there is a visit.
      volume: `[B, T]` ml.
      horizon: `[B]` days.
      days: that are 1.

    Returns:
      For each visit its time, whether there is one, the logarithm of its volume, and how fast that has grown since the
      visit before it; and the horizon.
    """
    mask = (mask > 0).astype(jnp.float32)
    time = time * mask / days
    log = jnp.log(jnp.maximum(volume, 1e-6)) * mask
    both = mask[:, 1:] * mask[:, :-1]
    speed = jnp.diff(log, axis=1) / jnp.maximum(jnp.diff(time, axis=1), 0.05) * both
    return jnp.concatenate([time, mask, log, speed, (horizon / days)[:, None]], 1).astype(jnp.float32)


class Model(nn.Module):
    """A U-Net steered by times.

    Attributes:
      classes: of the mask that is told.
      dims: spatial dimensions, 2 or 3.
      base: see `unet.Model`, as for levels, cap, norm and activation.
      levels: …
      cap: …
      norm: …
      activation: …
      risk: whether it tells where new tumours arise, too.
      days: that count as 1.
      dtype: compute type; weights and logits are float32.
    """

    classes: int = 2
    dims: int = 2
    base: int = 16
    levels: int = 4
    cap: int = 256
    norm: str = 'instance'
    activation: str = 'leaky'
    risk: bool = True
    days: float = 100.0
    dtype: str = 'float32'

    inputs = ('image', 'time', 'time_mask', 'volume', 'horizon')  # what of a batch it sees

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, time_mask: jax.Array, volume: jax.Array, horizon: jax.Array, *,
                 train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Tells the next mask.

        Args:
          x: `[B, T, *S, C]`, the last visit last.
          time: `[B, T]`, days.
          time_mask: `[B, T]`, 0 where there is no visit.
          volume: `[B, T]`, ml.
          horizon: `[B]`, days.
          train: for batch norm.

        Returns:
          Logits `[B, *S, classes]` float32, and the U-Net's features; with `risk` 'risk' `[B, *S]` float32, the
          logarithm of how many tumours arise anew in `days`; see `tasks/growth/task.py`.
        """
        steer = Numbers(name='times')(numbers(time, time_mask, volume, horizon, self.days))
        x = jnp.moveaxis(hidden(x, time_mask), 1, -2)
        net = unet.Model(self.classes + self.risk, self.dims, self.base, self.levels, self.cap, self.norm,
                         self.activation, dtype=self.dtype, name='unet')
        out, feats = net(x.reshape(*x.shape[:-2], -1), train=train, steer=steer)
        return parted(out, feats, self.classes)


def parted(out: jax.Array, feats: dict[str, Any], classes: int) -> tuple[jax.Array, dict[str, Any]]:
    """Logits of the mask, and what more there is as the feature 'risk'."""
    return out[..., :classes], {**feats, 'risk': out[..., classes]} if out.shape[-1] > classes else feats
