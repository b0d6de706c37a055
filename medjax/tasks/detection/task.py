"""Detection of objects as boxes with classes, by one stage or by two, in 2D and 3D.

What a network gives decides: 'dense' are classes and boxes of anchors, 'regions' those of proposals; with both the
dense part proposes, and only knows whether there is something.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables
from medjax.errors import InputError
from medjax.ops import anchor_assignment, boxes
from medjax.ops.nms import nms

BETA = 1 / 9  # where the boxes' loss turns from a square to a line, in units of an anchor (Ren 2015)
FINER = (0.1, 0.2)  # centres and extents of regions: units of their deltas (Girshick 2015)


def task(module: nn.Module, *, statistics: Mapping[str, Any], assign: str = 'atss', low: float = 0.4,
         high: float = 0.5, box: str = 'giou', negatives: str = '', focal: float = 2.0, alpha: float = 0.25,
         sampled: int = 256, regions: int = 64, share: float = 0.25, overlap: float = 0.5, threshold: float = 0.5,
         candidates: int = 1000, limit: int = 100, floor: float = 0.02) -> Task:
    """Makes detection with a network a task.

    Args:
      module: `medjax.models.retinanet`'s or `rcnn`'s.
      statistics: of the training data: `classes`.
      assign: which anchors are which object's: 'atss' (Zhang 2020), or 'iou' by overlap.
      low: IoU below which an anchor is background, by 'iou'; between low and high it counts nowhere.
      high: IoU from which an anchor is an object's.
      box: loss of an anchor's box: 'giou' (Rezatofighi 2019), or 'l1', smooth.
      negatives: what the many empty anchors weigh: 'focal' (Lin 2018), 'sample' a few of them (Ren 2015), or 'hard',
        the three most mistaken ones for each object's (Liu 2016). By default 'sample' where they propose, else 'focal'.
      focal: its exponent.
      alpha: its weight of objects; of the background 1 - alpha.
      sampled: anchors of an image that are sampled.
      regions: proposals of an image that are learned from.
      share: the most of those, sampled anchors or regions, that may be objects; of anchors twice as many.
      overlap: IoU from which a proposal is an object's.
      threshold: IoU above which of two found boxes of a class the less probable one is dropped.
      candidates: boxes of an image that go into that.
      limit: found boxes of an image.
      floor: probability below which nothing is found.

    Returns:
      A task on `boxes [B, M, 2D]`, `box_label [B, M]` and `box_mask [B, M]`, and where proposals are given `proposals`
      and `proposal_mask`. `predict` gives `boxes [B, limit, 2D]`, `scores`, `labels` and `valid`, by falling score.
    """
    classes = statistics['classes']
    given = getattr(module, 'given', False)
    if module.classes != len(classes):
        raise InputError(f'config.model.classes: {module.classes}; expected {len(classes)} for {", ".join(classes)}')
    for name, value, known in (('assign', assign, ('atss', 'iou')), ('box', box, ('giou', 'l1')),
                               ('negatives', negatives, ('', 'focal', 'sample', 'hard'))):
        if value not in known:
            raise InputError(f'config.task.{name}: {value!r}; expected one of: {", ".join(filter(None, known))}')
    if not 0 <= low <= high <= 1 or not 0 < overlap <= 1 or not 0 <= threshold <= 1 or not 0 < share < 1:
        raise InputError(f'config.task: low={low}, high={high}, overlap={overlap}, threshold={threshold}, '
                         f'share={share}; expected shares of 1')

    def arguments(batch: Batch) -> dict[str, Any]:
        if not given:
            return {}
        if 'proposals' not in batch:
            raise InputError('config.data.proposals: 0; expected how many an image has, for this model')
        return {'proposals': (batch['proposals'], batch['proposal_mask'])}

    def dense_loss(key, levels, truth, label, mask, proposing):
        """Of one image: classes and boxes of its anchors."""
        anchors = [level['anchors'] for level in levels]
        every = jnp.concatenate(anchors)
        logits, deltas = (jnp.concatenate([level[name] for level in levels]) for name in ('logits', 'deltas'))
        if assign == 'atss':
            each = module.octaves * len(module.ratios) * (len(module.depths) if module.dims == 3 else 1)
            assigned = anchor_assignment.atss(anchors, truth, mask, anchors_per_location=each)
        else:
            assigned = anchor_assignment.match(boxes.iou(every, truth), mask, low, high)
        positive, mine = assigned >= 0, jnp.maximum(assigned, 0)
        target = jax.nn.one_hot(0 * label[mine] if proposing else label[mine], logits.shape[-1]) * positive[:, None]
        cross = optax.sigmoid_binary_cross_entropy(logits, target)
        kind = negatives or ('sample' if proposing else 'focal')
        if kind == 'focal':
            miss = jnp.abs(target - jax.nn.sigmoid(logits))
            weight = jnp.where(target > 0, alpha, 1 - alpha) * miss**focal * (assigned != anchor_assignment.IGNORED)[:, None]
            count = positive.sum()
        else:
            if kind == 'sample':
                used = anchor_assignment.sample(key, assigned, sampled, min(2 * share, 0.5))
            else:
                used = anchor_assignment.hard_negatives(logits.max(-1), assigned, 3.0, sampled // 8).astype(jnp.float32)
            weight, count = used[:, None] * jnp.ones_like(cross), used.sum()
        kinds = (weight * cross).sum() / jnp.maximum(count, 1)
        if box == 'giou':
            apart = 1 - boxes.paired_giou(boxes.decode(deltas, every), truth[mine])
        else:
            apart = _apart(deltas, boxes.encode(truth[mine], every))
        return kinds, jnp.where(positive, apart, 0.0).sum() / jnp.maximum(positive.sum(), 1)

    def chooser(key, batch):
        """Of each image's proposals, and its objects' own boxes, those to learn from, and what they are."""
        def of_image(key, found, mask, truth, label, there):
            found, mask = jnp.concatenate([found, truth]), jnp.concatenate([mask, there])
            assigned = anchor_assignment.match(boxes.iou(found, truth), there, overlap, overlap, force=False)
            assigned = jnp.where(mask > 0, assigned, anchor_assignment.IGNORED)
            used = anchor_assignment.sample(key, assigned, regions, share)
            at = jnp.argsort(-used, stable=True)[:regions]
            assigned, used = assigned[at], used[at]
            mine = jnp.maximum(assigned, 0)
            kind = jnp.where(assigned >= 0, label[mine], len(classes))
            return found[at], used, {'kind': kind, 'truth': truth[mine], 'used': used}

        def choose(found, mask):
            keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(len(found)))
            return jax.vmap(of_image)(keys, found, mask, batch['boxes'], batch['box_label'], batch['box_mask'])

        return choose

    def regions_loss(found, chosen):
        """Of one image: classes and boxes of its proposals."""
        kind, used = chosen['kind'], chosen['used']
        log = jax.nn.log_softmax(found['logits'])
        kinds = -jnp.take_along_axis(log, kind[:, None], 1)[:, 0]
        mine = jnp.minimum(kind, len(classes) - 1)
        deltas = jnp.take_along_axis(found['deltas'], mine[:, None, None], 1)[:, 0]
        apart = _apart(deltas, boxes.encode(chosen['truth'], found['boxes'], FINER))
        count = jnp.maximum(used.sum(), 1)
        real = used * (kind < len(classes))
        return (used * kinds).sum() / count, jnp.where(real > 0, apart, 0.0).sum() / count

    def loss(variables: Variables, batch: Batch, key: jax.Array):
        more = arguments(batch)
        if hasattr(module, 'given'):
            more['choose'] = chooser(jax.random.fold_in(key, 1), batch)
        mutable = [name for name in variables if name != 'params']
        (out, _), mutated = module.apply(variables, batch['image'], train=True, mutable=mutable,
                                         rngs={'dropout': key}, **more)
        parts: dict[str, jax.Array] = {}
        if 'dense' in out:
            keys = jax.random.split(jax.random.fold_in(key, 2), len(batch['image']))
            axes = [{'anchors': None, 'logits': 0, 'deltas': 0}] * len(out['dense'])
            found = jax.vmap(lambda *a: dense_loss(*a, 'regions' in out), (0, axes, 0, 0, 0))(
                keys, out['dense'], batch['boxes'], batch['box_label'], batch['box_mask'])
            names = ('proposed', 'placed') if 'regions' in out else ('classes', 'boxes')
            parts |= dict(zip(names, found))
        if 'regions' in out:
            parts |= dict(zip(('classes', 'boxes'), jax.vmap(regions_loss)(out['regions'], out['chosen'])))
        states = {f'loss_{name}': masked_mean(value, batch['mask']) for name, value in parts.items()}
        total, count = masked_mean(sum(parts.values()), batch['mask'])
        return total / jnp.maximum(count, 1.0), (mutated, states)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        out, _ = module.apply(variables, batch['image'], train=False, **arguments(batch))
        space = batch['image'].shape[1:-1]

        def finest(score: jax.Array, box: jax.Array) -> dict[str, jax.Array]:
            """Of scores `[N, K]` and boxes `[N, 2D]`, or one for each class `[N, K, 2D]`, what is found."""
            kinds = score.shape[-1]
            best, at = jax.lax.top_k(score.reshape(-1), min(candidates, score.size))
            label = at % kinds
            place = box[at // kinds] if box.ndim == 2 else box.reshape(-1, box.shape[-1])[at]
            index, valid = nms(place, jnp.where(best >= floor, best, -jnp.inf), threshold, limit, label)
            keep = lambda values: jnp.where(valid.reshape(-1, *[1] * (values.ndim - 1)), values[index], 0)
            return {'boxes': keep(place), 'scores': keep(best), 'labels': keep(label).astype(jnp.int32),
                    'valid': valid.astype(jnp.float32)}

        if 'regions' in out:
            regions = out['regions']
            score = jax.nn.softmax(regions['logits'])[..., :-1] * regions['mask'][..., None]
            box = boxes.decode(regions['deltas'], regions['boxes'][..., None, :], FINER)
        else:
            score, box = [], []
            for level in out['dense']:
                # The best of each level: all of them would be too many to look through.
                kinds = level['logits'].shape[-1]
                flat = level['logits'].reshape(len(batch['image']), -1)
                best, at = jax.lax.top_k(flat, min(candidates, flat.shape[1]))
                place = at // kinds
                delta = jnp.take_along_axis(level['deltas'], place[..., None], 1)
                chance = jax.nn.sigmoid(best)[..., None] * jax.nn.one_hot(at % kinds, kinds)
                score.append(chance)
                box.append(boxes.decode(delta, level['anchors'][place]))
            score, box = jnp.concatenate(score, 1), jnp.concatenate(box, 1)
        return jax.vmap(finest)(score, boxes.clip(box, space))

    def metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
        """The share of an image's objects that a found box of their class meets by IoU .5 or more."""
        def met(found, label, valid, truth, kind, there):
            hit = (boxes.iou(truth, found) >= 0.5) & (kind[:, None] == label) & (valid > 0)
            return (hit.any(-1) * there).sum() / jnp.maximum(there.sum(), 1)
        share = jax.vmap(met)(outputs['boxes'], outputs['labels'], outputs['valid'], batch['boxes'],
                              batch['box_label'], batch['box_mask'])
        return {'recall50': masked_mean(share, batch['mask'] * (batch['box_mask'].sum(-1) > 0))}

    def init(key: jax.Array, batch: Batch) -> Variables:
        return init_variables(module, key, batch, **arguments(batch))

    return Task(init, loss, predict, metrics)


def _apart(deltas: jax.Array, target: jax.Array) -> jax.Array:
    """The smooth L1 distance of boxes' deltas (Girshick 2015)."""
    return (optax.huber_loss(deltas, target, delta=BETA) / BETA).sum(-1)
