"""Self-supervised anomaly detection: a network trained on healthy images learns to find synthetic anomalies."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, train_forward
from medjax.errors import InputError
from medjax.ops.synthetic_anomalies import add_opacity, interpolate_patch, random_blob_mask, shift_intensity
from medjax.options import Count, PositiveFraction, Probability

KINDS = ('patch', 'opacity', 'shade')


def task(module: nn.Module, *, statistics: Mapping[str, Any], kinds: Sequence[str] = ('patch', 'opacity'),
         anomaly_fraction: Probability = 0.5, max_spots: Count = 2,
         radius_range: tuple[PositiveFraction, PositiveFraction] = (0.08, 0.35),
         strength_range: tuple[Probability, Probability] = (0.2, 0.9)) -> Task:
    """The task of finding anomalies with a network that has one output per voxel.

    In training, a fraction of the images gets spots that are blended with another image of the batch (Tan 2020), made
    opaque, or made darker or brighter. The network predicts the strength of the change at each voxel, with the
    cross-entropy loss.

    Args:
      module: the network, with logits `[B, *S, 1]`.
      statistics: of the training data; not used.
      kinds: kinds of anomaly, equally probable: 'patch', 'opacity', 'shade'.
      anomaly_fraction: fraction of the images that get one.
      max_spots: largest number of spots in an image.
      radius_range: smallest and largest radius of a spot, as fractions of the image's axes.
      strength_range: smallest and largest strength, from 0 to 1.

    Returns:
      A task on `image [B, *S, C]`. `predict` gives `map [B, *S]`, the anomaly score of each voxel from 0 to 1, and its
      mean `synthetic_anomaly [B]`. The loss of an example depends on another one of the batch.

    Raises:
      InputError: an option out of its range.
    """
    del statistics
    options = Options(tuple(kinds), anomaly_fraction, max_spots, tuple(radius_range), tuple(strength_range))
    return Task(functools.partial(init_variables, module), functools.partial(_loss, module, options),
                functools.partial(_predict, module), _metrics, joint=True)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the synthetic anomalies; see `task`."""

    kinds: tuple[str, ...]
    anomaly_fraction: float
    max_spots: int
    radius_range: tuple[float, ...]
    strength_range: tuple[float, ...]

    def __post_init__(self):
        if set(self.kinds) - set(KINDS) or not self.kinds:
            raise InputError(f'config.task.kinds: {self.kinds}; expected some of: {", ".join(KINDS)}')
        if not 0 < self.anomaly_fraction <= 1 or self.max_spots < 1:
            raise InputError(f'config.task: anomaly_fraction={self.anomaly_fraction}, max_spots={self.max_spots}; '
                             'expected a fraction in (0, 1], and at least 1 spot')
        for name, pair in (('radius_range', self.radius_range), ('strength_range', self.strength_range)):
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= 1:
                raise InputError(f'config.task.{name}: {pair}; expected the smallest and the largest, in (0, 1]')


def add_anomaly(options: Options, image: jax.Array, other: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """An image with or without a synthetic anomaly.

    Args:
      options: of the anomalies.
      image: `[*S, C]`.
      other: `[*S, C]`, the image that patches are taken from.
      key: random key.

    Returns:
      The image `[*S, C]`, and the strength of the change at each voxel, `[*S]`, 0 where there is none.
    """
    outline_key, count_key, strength_key, kind_key, presence_key = jax.random.split(key, 5)
    masks = jax.vmap(lambda k: random_blob_mask(k, image.shape[:-1], options.radius_range))(
        jax.random.split(outline_key, options.max_spots))
    count = jax.random.randint(count_key, (), 1, options.max_spots + 1)
    present = (jnp.arange(options.max_spots) < count).reshape(-1, *(1,) * (image.ndim - 1))
    mask = jnp.max(masks * present.astype(jnp.float32), 0)
    strength = jax.random.uniform(strength_key, minval=options.strength_range[0], maxval=options.strength_range[1])
    strength *= (jax.random.uniform(presence_key) < options.anomaly_fraction).astype(jnp.float32)
    sign = jax.random.rademacher(jax.random.fold_in(strength_key, 1), (), jnp.float32)
    branches = {'patch': lambda: interpolate_patch(image, other, mask, strength),
                'opacity': lambda: add_opacity(image, mask, strength),
                'shade': lambda: shift_intensity(image, mask, strength * sign)}
    kind = jax.random.randint(kind_key, (), 0, len(options.kinds))
    return jax.lax.switch(kind, [branches[name] for name in options.kinds]), strength * mask


def _loss(module: nn.Module, options: Options, variables: Variables, batch: Batch, key: jax.Array) -> Any:
    anomaly_key, dropout_key = jax.random.split(key)
    image = batch['image']
    if len(image) < 2 and 'patch' in options.kinds:
        raise InputError('config.batch: 1; expected 2 or more: patches are taken from another image of the batch')
    keys = jax.vmap(lambda n: jax.random.fold_in(anomaly_key, n))(jnp.arange(len(image)))
    changed, target = jax.vmap(functools.partial(add_anomaly, options))(image, jnp.roll(image, 1, 0), keys)
    (logits, _), mutated = train_forward(module, variables, {**batch, 'image': changed}, dropout_key)
    each = optax.sigmoid_binary_cross_entropy(logits[..., 0], target)
    total, count = masked_mean(each.reshape(len(image), -1).mean(1), batch['mask'])
    return total / jnp.maximum(count, 1), (mutated, {})


def _predict(module: nn.Module, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
    logits, _ = module.apply(variables, batch['image'], train=False)
    scores = jax.nn.sigmoid(logits[..., 0])
    return {'map': scores, 'synthetic_anomaly': scores.reshape(len(scores), -1).mean(1)}


def _metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
    return {'synthetic_anomaly': masked_mean(outputs['synthetic_anomaly'], batch['mask'])}
