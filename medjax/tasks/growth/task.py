"""Tumour growth as a task: the mask of a tumour at the next visit, from scans of two or more earlier visits."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core import contracts
from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, network_inputs, train_forward
from medjax.errors import InputError
from medjax.losses import segmentation
from medjax.ops import growth_laws
from medjax.options import NonNegative

LAW = 'gompertz'  # of a batch's `curve`
LOG_RATE_LIMITS = (-12.0, 6.0)  # of the logarithm of the number of new tumours
MIN_VOXELS = 0.5  # smallest volume of which a logarithm is taken


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task, and what it knows of the training data and of the network.

    Attributes:
      loss: see `task`, as for new_tumour_weight, gompertz_weight and volume_weight.
      new_tumour_weight: …
      gompertz_weight: …
      volume_weight: …
      classes: names of the two classes of the mask.
      sites: K, the number of sites.
      voxel: volume of a voxel, ml.
      time_unit_days: unit of time of the network's rates, days.
      predicts_risk: whether the network predicts new tumours.
    """

    loss: Mapping[str, Any]
    new_tumour_weight: float
    gompertz_weight: float
    volume_weight: float
    classes: tuple[str, ...]
    sites: int
    voxel: float
    time_unit_days: float
    predicts_risk: bool


def task(module: nn.Module, *, statistics: Mapping[str, Any], loss: Mapping[str, Any],
         new_tumour_weight: NonNegative = 0.0,
         gompertz_weight: NonNegative = 0.0, volume_weight: NonNegative = 0.0) -> Task:
    """Prediction of the next tumour mask with a network.

    Args:
      module: takes a batch's `inputs` and outputs logits `[B, *S, 2]`; where it has the feature 'risk' `[B, *S]`, new
        tumours are predicted too. See `models/longitudinal_unet.py`.
      statistics: of the training data: `classes`, the two of the mask; `sites`, the names of K sites; `voxel`, ml.
      loss: terms of `losses.segmentation` on the next mask, by name, with their weights and options; see
        `losses.segmentation.weighted_sum`.
      new_tumour_weight: weight of the cross-entropy of new tumours, a mean over the sites for which it is known.
      gompertz_weight: weight of a penalty by Gompertz' law, 0 for none: at a random time between the last visit and the
        next one, for which there is no scan, the logarithm of the predicted volume should be that of the patient's
        curve, which is fitted to the volumes of the earlier visits. The penalty is the mean squared difference.
      volume_weight: weight of the absolute error of the logarithm of the expected volume, approximately its relative
        error.

    Returns:
      A task on `image [B, T, *S, C]`, `time`, `time_mask` and `volume` `[B, T]`, `horizon [B]`, `label [B, *S]`,
      `sites [B, *S]` and `new [B, K]`. `predict` returns `probs [B, *S, 2]`; `volume [B]`, the expected volume in ml,
      the sum of the probabilities of the voxels; and, where new tumours are predicted, `risk [B, K]`, the probability
      that one arises at a site until the horizon, and `rates [B, *S]`, the number per day at a site of which all voxels
      were like that one. The rate of a site is the mean over its voxels; a site outside the image has a risk of 0.

    Raises:
      InputError: an option is invalid, or does not fit the network or the data.
    """
    classes, sites = statistics['classes'], statistics.get('sites', [])
    if 'voxel' not in statistics:
        raise InputError("config.task.name: 'growth' needs data of visits; expected a source such as tumour_visits_csv "
                         'or simulated_tumour_growth')
    if contracts.option(module, 'classes') not in (None, len(classes)):
        raise InputError(f'config.model.classes: {module.classes}; expected {len(classes)} for {", ".join(classes)}')
    for name, weight in (('new_tumour_weight', new_tumour_weight), ('gompertz_weight', gompertz_weight),
                         ('volume_weight', volume_weight)):
        if not isinstance(weight, int | float) or weight < 0:
            raise InputError(f'config.task.{name}: {weight}; expected a weight of at least 0')
    predicts_risk = bool(contracts.option(module, 'risk')) and bool(sites)
    if new_tumour_weight and not predicts_risk:
        raise InputError(f'config.task.new_tumour_weight: {new_tumour_weight}; expected 0, or config.model.risk=True '
                         'and data with sites')
    segmentation.check_terms(loss)
    options = Options(loss, new_tumour_weight, gompertz_weight, volume_weight, tuple(classes), len(sites),
                      float(statistics['voxel']),
                      float(contracts.option(module, 'time_unit_days')), predicts_risk)
    return Task(functools.partial(init_variables, module), functools.partial(_loss, module, options),
                functools.partial(_predict, module, options), functools.partial(_metrics, options))


def _expected_tumours(options: Options, feats: Mapping[str, jax.Array], batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Expected number of new tumours at each site until the horizon, `[B, K]`; and in `days` by voxel, `[B, *S]`."""
    log = jnp.clip(feats['risk'].astype(jnp.float32), *LOG_RATE_LIMITS)
    members = jax.nn.one_hot(batch['sites'].astype(jnp.int32) - 1, options.sites)
    rates, axes = jnp.exp(log), tuple(range(1, log.ndim))
    mean = (rates[..., None] * members).sum(axes) / jnp.maximum(members.sum(axes), 1)
    return mean * batch['horizon'][:, None] / options.time_unit_days, rates


def _risk_losses(options: Options, feats: Mapping[str, jax.Array], batch: Batch) -> jax.Array:
    """Cross-entropy of new tumours, whose probability is 1 - exp(-expected number), `[B]`."""
    count, _ = _expected_tumours(options, feats, batch)
    count = jnp.maximum(count, 1e-6)
    losses = jnp.where(batch['new'] == 1, -jnp.log(-jnp.expm1(-count)), count)
    known = batch['new'] >= 0
    return jnp.where(known, losses, 0).sum(1) / jnp.maximum(known.sum(1), 1).astype(jnp.float32)


def _expected_voxels(probs: jax.Array) -> jax.Array:
    """Expected number of tumour voxels, `[B]`."""
    return probs[..., 1].sum(tuple(range(1, probs.ndim - 1)))


def _log_voxels(logits: jax.Array) -> jax.Array:
    return jnp.log(jnp.maximum(_expected_voxels(jax.nn.softmax(logits)), MIN_VOXELS))


def _volume_losses(logits: jax.Array, batch: Batch) -> jax.Array:
    """Absolute error of the log volume, `[B]`."""
    voxels = (batch['label'] == 1).sum(tuple(range(1, batch['label'].ndim))).astype(jnp.float32)
    return jnp.abs(_log_voxels(logits) - jnp.log(jnp.maximum(voxels, MIN_VOXELS)))


def _physics_losses(module: nn.Module, options: Options, variables: Variables, batch: Batch,
                    key: jax.Array) -> jax.Array:
    """Squared difference of the log volume from the patient's curve at a random time before the horizon, `[B]`."""
    time_key, dropout = jax.random.split(jax.random.fold_in(key, 1))
    time = batch['horizon'] * jax.random.uniform(time_key, batch['horizon'].shape)
    (logits, _), _ = train_forward(module, variables, {**batch, 'horizon': time}, dropout)
    start, rate, capacity = jnp.moveaxis(batch['curve'], 1, 0)
    curve = growth_laws.GrowthCurve(jnp.exp(start), rate, jnp.exp(capacity))
    voxels = jnp.maximum(growth_laws.volume(LAW, curve, time) / options.voxel, MIN_VOXELS)
    return (_log_voxels(logits) - jnp.log(voxels))**2


def _loss(module: nn.Module, options: Options, variables: Variables, batch: Batch,
          key: jax.Array) -> tuple[jax.Array, tuple[Variables, States]]:
    (logits, feats), mutated = train_forward(module, variables, batch, key)
    losses = segmentation.weighted_sum(logits, batch['label'], options.loss)
    states = _metrics(options, {'probs': jax.lax.stop_gradient(logits)}, batch)
    terms = (('risk', options.new_tumour_weight, lambda: _risk_losses(options, feats, batch)),
             ('volume', options.volume_weight, lambda: _volume_losses(logits, batch)),
             ('physics', options.gompertz_weight, lambda: _physics_losses(module, options, variables, batch, key)))
    for name, weight, term in terms:
        if weight:
            values = term()
            losses += weight * values
            states[f'loss_{name}'] = masked_mean(jax.lax.stop_gradient(values), batch['mask'])
    total, count = masked_mean(losses, batch['mask'])
    return total / jnp.maximum(count, 1.0), (mutated, states)


def _predict(module: nn.Module, options: Options, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
    logits, feats = module.apply(variables, *network_inputs(module, batch), train=False)
    probs = jax.nn.softmax(logits)
    out = {'probs': probs, 'volume': options.voxel * _expected_voxels(probs)}
    if options.predicts_risk:
        count, rates = _expected_tumours(options, feats, batch)
        out |= {'risk': -jnp.expm1(-count), 'rates': rates / options.time_unit_days}
    return out


def _metrics(options: Options, outputs: Mapping[str, jax.Array], batch: Batch) -> States:
    """Dice over all voxels of the batch: twice the intersection, and the sum of both sizes."""
    counted = (batch['mask'] > 0).reshape(-1, *[1] * (batch['label'].ndim - 1))
    predicted, truth = (outputs['probs'].argmax(-1) == 1) & counted, (batch['label'] == 1) & counted
    return {f'dice_{options.classes[1]}': (2.0 * jnp.sum(predicted & truth, dtype=jnp.float32),
                                           jnp.sum(predicted, dtype=jnp.float32) + jnp.sum(truth, dtype=jnp.float32))}
