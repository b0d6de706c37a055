"""Growth: what a tumour will be at the next visit, from the scans of two visits or more before it."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, network_inputs, train_forward
from medjax.errors import InputError
from medjax.losses import segmentation
from medjax.ops import growth_laws

LAW = 'gompertz'  # of a batch's `curve`
LIMITS = (-12.0, 6.0)  # of a logarithm of how many tumours arise
LEAST = 0.5  # voxels: a volume whose logarithm is taken is no less


def task(module: nn.Module, *, statistics: Mapping[str, Any], loss: Mapping[str, Any], risk: float = 0.0,
         physics: float = 0.0, volume: float = 0.0) -> Task:
    """Makes telling the next mask with a network a task.

    Args:
      module: what sees a batch's `inputs` and gives logits `[B, *S, 2]`; where it gives the feature 'risk' `[B, *S]`,
        new tumours are told too. See `models/longitudinal_unet.py`.
      statistics: of the training data: `classes`, the two of the mask; `sites`, the names of K places; `voxel`, ml.
      loss: terms of `losses.segmentation` on the next mask, by name, with their weights and options; see `losses.total`.
      risk: weight of the cross-entropy of new tumours, a mean over the sites of which it is known.
      physics: weight of a penalty by the law of Gompertz, 0 for none: at a time drawn between the last visit and the
        one to be told, of which there is no scan, the predicted volume's logarithm should be that of the patient's own
        curve, fitted to the volumes that were seen; the mean square of the difference.
      volume: weight of the expected volume's error, of its logarithm: about a share of the true volume.

    Returns:
      A task on `image [B, T, *S, C]`, `time`, `time_mask`, `volume [B, T]`, `horizon [B]`, `label [B, *S]`, `sites
      [B, *S]` and `new [B, K]`, whose `predict` gives `probs [B, *S, 2]`, `volume [B]`, the sum of the voxels'
      probabilities in ml, which is the volume to be expected, and, where new tumours are told, `risk [B, K]`, the
      chance that one arises at a site until the horizon, and `rates [B, *S]`, how many a day would if all of the site
      were as that voxel. A site's rate is the mean over its voxels; a site that is not in the image has the chance 0.
    """
    classes, sites = statistics['classes'], statistics.get('sites', [])
    if 'voxel' not in statistics:
        raise InputError("config.task.name: 'growth' needs data of visits, such as followup or phantom_growth")
    if getattr(module, 'classes', len(classes)) != len(classes):
        raise InputError(f'config.model.classes: {module.classes}; expected {len(classes)} for {", ".join(classes)}')
    for name, weight in (('risk', risk), ('physics', physics), ('volume', volume)):
        if not isinstance(weight, int | float) or weight < 0:
            raise InputError(f'config.task.{name}: {weight}; expected a weight of at least 0')
    tells = bool(getattr(module, 'risk', False)) and bool(sites)
    if risk and not tells:
        raise InputError(f'config.task.risk: {risk}; expected 0, or config.model.risk=True and data with sites')
    segmentation.check(loss)
    days, voxel = float(getattr(module, 'days', 1.0)), float(statistics['voxel'])

    def expected(feats: Mapping[str, jax.Array], batch: Batch) -> tuple[jax.Array, jax.Array]:
        """How many tumours arise at each site until the horizon, `[B, K]`; and in `days` by voxel, `[B, *S]`."""
        log = jnp.clip(feats['risk'].astype(jnp.float32), *LIMITS)
        there = jax.nn.one_hot(batch['sites'].astype(jnp.int32) - 1, len(sites))
        rates, axes = jnp.exp(log), tuple(range(1, log.ndim))
        mean = (rates[..., None] * there).sum(axes) / jnp.maximum(there.sum(axes), 1)
        return mean * batch['horizon'][:, None] / days, rates

    def arising(feats: Mapping[str, jax.Array], batch: Batch) -> jax.Array:
        """Cross-entropy of new tumours, `[B]`, of chances 1 - exp(-n)."""
        count, _ = expected(feats, batch)
        count = jnp.maximum(count, 1e-6)
        each = jnp.where(batch['new'] == 1, -jnp.log(-jnp.expm1(-count)), count)
        known = batch['new'] >= 0
        return jnp.where(known, each, 0).sum(1) / jnp.maximum(known.sum(1), 1)

    def size(probs: jax.Array) -> jax.Array:
        """How many voxels are to be expected, `[B]`."""
        return probs[..., 1].sum(tuple(range(1, probs.ndim - 1)))

    def log_size(logits: jax.Array) -> jax.Array:
        return jnp.log(jnp.maximum(size(jax.nn.softmax(logits)), LEAST))

    def by_size(logits: jax.Array, batch: Batch) -> jax.Array:
        """How far the expected volume is from the true one, `[B]`."""
        true = (batch['label'] == 1).sum(tuple(range(1, batch['label'].ndim)))
        return jnp.abs(log_size(logits) - jnp.log(jnp.maximum(true, LEAST)))

    def by_law(variables: Variables, batch: Batch, key: jax.Array) -> jax.Array:
        """How far the volume at some time before the horizon is from the curve's, `[B]`."""
        when, dropout = jax.random.split(key)
        early = batch['horizon'] * jax.random.uniform(when, batch['horizon'].shape)
        (logits, _), _ = train_forward(module, variables, {**batch, 'horizon': early}, dropout)
        start, rate, capacity = jnp.moveaxis(batch['curve'], 1, 0)
        curve = growth_laws.GrowthCurve(jnp.exp(start), rate, jnp.exp(capacity))
        told = jnp.maximum(growth_laws.volume(LAW, curve, early) / voxel, LEAST)
        return (log_size(logits) - jnp.log(told))**2

    def loss_fn(variables: Variables, batch: Batch, key: jax.Array):
        (logits, feats), mutated = train_forward(module, variables, batch, key)
        each = segmentation.total(logits, batch['label'], loss)
        states = metrics({'probs': jax.lax.stop_gradient(logits)}, batch)
        for name, weight, term in (('risk', risk, lambda: arising(feats, batch)),
                                   ('volume', volume, lambda: by_size(logits, batch)),
                                   ('physics', physics, lambda: by_law(variables, batch, jax.random.fold_in(key, 1)))):
            if weight:
                more = term()
                each += weight * more
                states[f'loss_{name}'] = masked_mean(jax.lax.stop_gradient(more), batch['mask'])
        total, count = masked_mean(each, batch['mask'])
        return total / jnp.maximum(count, 1.0), (mutated, states)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits, feats = module.apply(variables, *network_inputs(module, batch), train=False)
        probs = jax.nn.softmax(logits)
        out = {'probs': probs, 'volume': voxel * size(probs)}
        if tells:
            count, rates = expected(feats, batch)
            out |= {'risk': -jnp.expm1(-count), 'rates': rates / days}
        return out

    def metrics(outputs: Mapping[str, jax.Array], batch: Batch) -> States:
        """Dice over the batch's voxels: twice the overlap, over the sum of both sizes."""
        there = (batch['mask'] > 0).reshape(-1, *[1] * (batch['label'].ndim - 1))
        p, t = (outputs['probs'].argmax(-1) == 1) & there, (batch['label'] == 1) & there
        return {f'dice_{classes[1]}': (2.0 * jnp.sum(p & t, dtype=jnp.float32),
                                       jnp.sum(p, dtype=jnp.float32) + jnp.sum(t, dtype=jnp.float32))}

    return Task(functools.partial(init_variables, module), loss_fn, predict, metrics)
