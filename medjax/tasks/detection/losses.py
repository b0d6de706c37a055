"""Losses of detection: of anchors (one-stage detectors and region proposals) and of regions (the second stage).

Each works on one image, so that it is mapped over a batch. Boxes are `[…, 2D]` in voxels, lower corner first. An image
has room for M objects; `mask [M]` is 0 for padding.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from medjax.errors import InputError
from medjax.ops import anchor_assignment, boxes
from medjax.options import Count, InnerFraction, NonNegative, PositiveFraction, Probability

SMOOTH_L1_BETA = 1 / 9  # where the smooth L1 loss turns from a square to a line, in units of an anchor (Ren 2015)
REGION_SCALE = (0.1, 0.2)  # units of a region's deltas, of its centre and of its extents (Girshick 2015)
HARD_RATIO = 3.0  # hard background anchors per anchor of an object (Liu 2016)

Level = Mapping[str, jax.Array]  # of one image: `anchors [A, 2D]`, `logits [A, K]`, `deltas [A, 2D]`


@dataclasses.dataclass(frozen=True)
class AnchorLoss:
    """Assignment of anchors to objects, and the loss of their classes and boxes.

    Attributes:
      assigner: how anchors are assigned to objects: 'atss' (adaptive training sample selection, Zhang 2020), or by
        'iou'.
      background_iou: IoU below which an anchor is background, for assigner='iou'; anchors between the two are ignored.
      foreground_iou: IoU from which an anchor is assigned to its object, for assigner='iou'.
      box_loss: loss of the boxes: 'giou' (Rezatofighi 2019), or 'l1' for smooth L1 of the deltas.
      negatives: how the many background anchors are weighted: 'focal' (focal loss, Lin 2018), 'sample' a few of them
        (Ren 2015), or 'hard', the three hardest ones per object anchor (Liu 2016). By default 'sample' for region
        proposals and 'focal' otherwise.
      focal_gamma: exponent of the focal loss.
      focal_alpha: weight of objects in the focal loss; the background has weight 1 - focal_alpha.
      sampled_anchors: number of anchors per image that are sampled.
    """

    assigner: str = 'atss'
    background_iou: Probability = 0.4
    foreground_iou: Probability = 0.5
    box_loss: str = 'giou'
    negatives: str = ''
    focal_gamma: NonNegative = 2.0
    focal_alpha: Probability = 0.25
    sampled_anchors: Count = 256

    def __post_init__(self):
        for name, value, choices in (('assigner', self.assigner, ('atss', 'iou')),
                                     ('box_loss', self.box_loss, ('giou', 'l1')),
                                     ('negatives', self.negatives, ('', 'focal', 'sample', 'hard'))):
            if value not in choices:
                raise InputError(f'config.task.{name}: {value!r}; expected one of: {", ".join(filter(None, choices))}')
        if not 0 <= self.background_iou <= self.foreground_iou <= 1:
            raise InputError(f'config.task: background_iou={self.background_iou}, '
                             f'foreground_iou={self.foreground_iou}; expected 0 to 1, and not below background_iou')

    def __call__(self, module: nn.Module, key: jax.Array, levels: Sequence[Level], truth: jax.Array, label: jax.Array,
                 mask: jax.Array, ignored: jax.Array | None = None, ignored_mask: jax.Array | None = None, *,
                 proposing: bool, positive_fraction: float) -> tuple[jax.Array, jax.Array]:
        """The losses of one image.

        Args:
          module: the network, whose options define the anchors.
          key: random key of sampling.
          levels: anchors and predictions of each level.
          truth: `[M, 2D]`, boxes of the objects.
          label: `[M]`, their classes.
          mask: `[M]`.
          ignored: `[K, 2D]`, regions whose background is not learned; None for none.
          ignored_mask: `[K]`.
          proposing: whether the anchors propose regions, so that all objects are one class.
          positive_fraction: maximum fraction of sampled regions that may be objects; of sampled anchors twice as many.

        Returns:
          The loss of the classes and that of the boxes, scalars float32.
        """
        anchors = jnp.concatenate([level['anchors'] for level in levels])
        logits, deltas = (jnp.concatenate([level[name] for level in levels]) for name in ('logits', 'deltas'))
        assigned = self._assign(module, levels, anchors, truth, mask)
        if ignored is not None:
            assigned = anchor_assignment.ignore_regions(assigned, anchors, ignored, ignored_mask)
        positive, own = assigned >= 0, jnp.maximum(assigned, 0)
        target = jax.nn.one_hot(0 * label[own] if proposing else label[own], logits.shape[-1])
        target = target * positive[:, None].astype(target.dtype)
        cross_entropy = optax.sigmoid_binary_cross_entropy(logits, target)
        negatives = self.negatives or ('sample' if proposing else 'focal')
        if negatives == 'focal':
            error = jnp.abs(target - jax.nn.sigmoid(logits))
            weight = jnp.where(target > 0, self.focal_alpha, 1 - self.focal_alpha) * error**self.focal_gamma
            weight = weight * (assigned != anchor_assignment.IGNORED)[:, None].astype(weight.dtype)
            count = positive.sum().astype(jnp.float32)
        else:
            used = self._selected(key, logits, assigned, negatives, positive_fraction)
            weight, count = used[:, None] * jnp.ones_like(cross_entropy), used.sum()
        class_loss = (weight * cross_entropy).sum() / jnp.maximum(count, 1)
        if self.box_loss == 'giou':
            distance = 1 - boxes.paired_giou(boxes.decode(deltas, anchors), truth[own])
        else:
            distance = smooth_l1(deltas, boxes.encode(truth[own], anchors))
        return class_loss, jnp.where(positive, distance, 0.0).sum() / jnp.maximum(positive.sum(), 1).astype(jnp.float32)

    def _assign(self, module: nn.Module, levels: Sequence[Level], anchors: jax.Array, truth: jax.Array,
                mask: jax.Array) -> jax.Array:
        """The object of each anchor, `[A]`; see `ops.anchor_assignment`."""
        if self.assigner == 'atss':
            per_location = module.octaves * len(module.ratios) * (len(module.depths) if module.dims == 3 else 1)
            return anchor_assignment.atss([level['anchors'] for level in levels], truth, mask,
                                          anchors_per_location=per_location)
        return anchor_assignment.match(boxes.iou(anchors, truth), mask, self.background_iou, self.foreground_iou)

    def _selected(self, key: jax.Array, logits: jax.Array, assigned: jax.Array, negatives: str,
                  positive_fraction: float) -> jax.Array:
        """`[A]` float32: 1 for the anchors that contribute to the loss of the classes."""
        if negatives == 'sample':
            return anchor_assignment.sample(key, assigned, self.sampled_anchors, min(2 * positive_fraction, 0.5))
        return anchor_assignment.hard_negatives(logits.max(-1), assigned, HARD_RATIO,
                                                self.sampled_anchors // 8).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class RegionLoss:
    """Selection of the proposals that are trained on, and the loss of their classes and boxes.

    Attributes:
      sampled_proposals: number of proposals per image that are trained on.
      positive_fraction: maximum fraction of them that may be objects; of sampled anchors twice as many.
      proposal_iou: IoU from which a proposal is assigned to an object.
    """

    sampled_proposals: Count = 64
    positive_fraction: InnerFraction = 0.25
    proposal_iou: PositiveFraction = 0.5

    def __post_init__(self):
        if not 0 < self.proposal_iou <= 1 or not 0 < self.positive_fraction < 1:
            raise InputError(f'config.task: proposal_iou={self.proposal_iou}, '
                             f'positive_fraction={self.positive_fraction}; expected fractions above 0, '
                             'positive_fraction below 1')

    def select(self, key: jax.Array, batch: Mapping[str, jax.Array], classes: int, found: jax.Array,
               mask: jax.Array) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
        """Samples for each image of a batch the regions to train on, among its proposals and its objects' own boxes.

        Args:
          key: random key; each image uses its own, by its place in the batch.
          batch: with `boxes`, `box_label` and `box_mask`, and where regions are ignored `ignored_boxes` and
            `ignored_mask`.
          classes: number of classes, which is the number of the background class.
          found: `[B, P, 2D]`, proposals.
          mask: `[B, P]`.

        Returns:
          The regions `[B, R, 2D]`; `[B, R]`, 1 for those that count; and their 'kind', the class `[B, R]`, 'truth',
          the box of their object `[B, R, 2D]`, and 'used', the mask again.
        """
        def of_image(key: jax.Array, found: jax.Array, mask: jax.Array, truth: jax.Array, label: jax.Array,
                     present: jax.Array, ignored: jax.Array | None,
                     ignored_mask: jax.Array | None) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
            found, mask = jnp.concatenate([found, truth]), jnp.concatenate([mask, present])
            assigned = anchor_assignment.match(boxes.iou(found, truth), present, self.proposal_iou, self.proposal_iou,
                                               force=False)
            if ignored is not None:
                assigned = anchor_assignment.ignore_regions(assigned, found, ignored, ignored_mask)
            assigned = jnp.where(mask > 0, assigned, anchor_assignment.IGNORED)
            used = anchor_assignment.sample(key, assigned, self.sampled_proposals, self.positive_fraction)
            at = jnp.argsort(-used, stable=True)[:self.sampled_proposals]
            assigned, used = assigned[at], used[at]
            own = jnp.maximum(assigned, 0)
            kind = jnp.where(assigned >= 0, label[own], classes)
            return found[at], used, {'kind': kind, 'truth': truth[own], 'used': used}

        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(len(found)))
        return jax.vmap(of_image)(keys, found, mask, batch['boxes'], batch['box_label'], batch['box_mask'],
                                  batch.get('ignored_boxes'), batch.get('ignored_mask'))

    def __call__(self, found: Mapping[str, jax.Array], chosen: Mapping[str, Any],
                 classes: int) -> tuple[jax.Array, jax.Array]:
        """The losses of one image.

        Args:
          found: predictions: `boxes [R, 2D]`, `logits [R, K + 1]`, the background last, `deltas [R, K, 2D]`.
          chosen: what `select` returned for these regions.
          classes: K.

        Returns:
          The loss of the classes and that of the boxes, scalars float32.
        """
        kind, used = chosen['kind'], chosen['used']
        log = jax.nn.log_softmax(found['logits'])
        cross_entropy = -jnp.take_along_axis(log, kind[:, None], 1)[:, 0]
        own = jnp.minimum(kind, classes - 1)
        deltas = jnp.take_along_axis(found['deltas'], own[:, None, None], 1)[:, 0]
        distance = smooth_l1(deltas, boxes.encode(chosen['truth'], found['boxes'], REGION_SCALE))
        count = jnp.maximum(used.sum(), 1)
        objects = used * (kind < classes).astype(jnp.float32)
        return (used * cross_entropy).sum() / count, jnp.where(objects > 0, distance, 0.0).sum() / count


def smooth_l1(deltas: jax.Array, target: jax.Array) -> jax.Array:
    """The smooth L1 distance of boxes' deltas, `[…, 2D] -> […]` (Girshick 2015)."""
    return (optax.huber_loss(deltas, target, delta=SMOOTH_L1_BETA) / SMOOTH_L1_BETA).sum(-1)
