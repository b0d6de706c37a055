"""Detection of objects as boxes with classes, by one-stage or two-stage detectors, in 2D and 3D.

The network's outputs determine the stages: 'dense' holds classes and boxes of anchors, 'regions' those of proposals.
With both, the dense part proposes regions and only separates objects from the background.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core import contracts
from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables
from medjax.errors import InputError
from medjax.ops import boxes
from medjax.tasks.detection.losses import REGION_SCALE, AnchorLoss, RegionLoss
from medjax.tasks.detection.suppression import Suppression, anchor_candidates

MET = 0.5  # IoU from which an object counts as found in the metric of training
ANCHOR_LOSS, REGION_LOSS, NMS = AnchorLoss(), RegionLoss(), Suppression()  # with the default options


@dataclasses.dataclass(frozen=True)
class Detection:
    """The functions of the task, as methods; see `task`."""

    module: nn.Module
    classes: Sequence[str]
    anchor_loss: AnchorLoss
    region_loss: RegionLoss
    selection: Suppression

    def proposals(self, batch: Batch) -> dict[str, Any]:
        """The proposals of a batch as an argument of the network, where it takes some."""
        if not contracts.option(self.module, 'external_proposals'):
            return {}
        if 'proposals' not in batch:
            raise InputError('config.data.proposals: 0; expected the number of proposals per image, which this model '
                             'needs')
        return {'proposals': (batch['proposals'], batch['proposal_mask'])}

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        """Initial variables of the network."""
        return init_variables(self.module, key, batch, **self.proposals(batch))

    def loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, tuple[Variables, States]]:
        """The mean over the images of the sum of their losses."""
        more = self.proposals(batch)
        if contracts.option(self.module, 'regions'):
            more['choose'] = functools.partial(self.region_loss.select, jax.random.fold_in(key, 1), batch,
                                               len(self.classes))
        mutable = [name for name in variables if name != 'params']
        (out, _), mutated = self.module.apply(variables, batch['image'], train=True, mutable=mutable,
                                              rngs={'dropout': key}, **more)
        parts: dict[str, jax.Array] = {}
        if 'dense' in out:
            names = ('proposed', 'placed') if 'regions' in out else ('classes', 'boxes')
            parts |= dict(zip(names, self._anchor_losses(out, batch, jax.random.fold_in(key, 2))))
        if 'regions' in out:
            of_image = functools.partial(self.region_loss, classes=len(self.classes))
            parts |= dict(zip(('classes', 'boxes'), jax.vmap(of_image)(out['regions'], out['chosen'])))
        states = {f'loss_{name}': masked_mean(value, batch['mask']) for name, value in parts.items()}
        total, count = masked_mean(sum(parts.values()), batch['mask'])
        return total / jnp.maximum(count, 1.0), (mutated, states)

    def _anchor_losses(self, out: Mapping[str, Any], batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The losses `[B]` of the anchors' classes and boxes."""
        keys = jax.random.split(key, len(batch['image']))
        axes = [{'anchors': None, 'logits': 0, 'deltas': 0}] * len(out['dense'])
        of_image = functools.partial(self.anchor_loss, self.module, proposing='regions' in out,
                                     positive_fraction=self.region_loss.positive_fraction)
        return jax.vmap(of_image, (0, axes, 0, 0, 0, 0, 0))(
            keys, out['dense'], batch['boxes'], batch['box_label'], batch['box_mask'], batch.get('ignored_boxes'),
            batch.get('ignored_mask'))

    def predict(self, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        """The detections of each image; see `Suppression`."""
        out, _ = self.module.apply(variables, batch['image'], train=False, **self.proposals(batch))
        if 'regions' in out:
            regions = out['regions']
            score = jax.nn.softmax(regions['logits'])[..., :-1] * regions['mask'][..., None]
            box = boxes.decode(regions['deltas'], regions['boxes'][..., None, :], REGION_SCALE)
        else:
            score, box = anchor_candidates(out['dense'], self.selection.candidates)
        return jax.vmap(self.selection)(score, boxes.clip(box, batch['image'].shape[1:-1]))


def recall(outputs: Mapping[str, Any], batch: Batch) -> States:
    """The fraction of an image's objects that a detection of their class overlaps by an IoU of at least 0.5.

    Args:
      outputs: detections.
      batch: with the true boxes.

    Returns:
      `recall50`: sum and count over the images that have objects.
    """
    def of_image(found: jax.Array, label: jax.Array, valid: jax.Array, truth: jax.Array, kind: jax.Array,
                 present: jax.Array) -> jax.Array:
        hit = (boxes.iou(truth, found) >= MET) & (kind[:, None] == label) & (valid > 0)
        return (hit.any(-1).astype(jnp.float32) * present).sum() / jnp.maximum(present.sum(), 1)

    share = jax.vmap(of_image)(outputs['boxes'], outputs['labels'], outputs['valid'], batch['boxes'],
                               batch['box_label'], batch['box_mask'])
    return {'recall50': masked_mean(share, batch['mask'] * (batch['box_mask'].sum(-1) > 0).astype(jnp.float32))}


def task(module: nn.Module, *, statistics: Mapping[str, Any], anchor_loss: AnchorLoss = ANCHOR_LOSS,
         region_loss: RegionLoss = REGION_LOSS, selection: Suppression = NMS) -> Task:
    """The detection task.

    The fields of `AnchorLoss`, `RegionLoss` and `Suppression` are the keys of `config.task`.

    Args:
      module: the network, `medjax.models.retinanet.Model` or `rcnn.Model`.
      statistics: statistics of the training data: `classes`, their names.
      anchor_loss: assignment and loss of anchors.
      region_loss: selection and loss of regions, for two-stage detectors.
      selection: how detections are selected: non-maximum suppression, soft NMS or weighted boxes fusion.

    Returns:
      A task on `boxes [B, M, 2D]`, `box_label [B, M]` and `box_mask [B, M]`, and for networks that take proposals
      `proposals [B, P, 2D]` and `proposal_mask [B, P]`; background in `ignored_boxes [B, K, 2D]`, of `ignored_mask
      [B, K]`, where a batch has them, is not learned. `predict` gives `boxes [B, max_detections, 2D]`, `scores`,
      `labels` and `valid`, `[B, max_detections]`, by decreasing score.

    Raises:
      InputError: the network has another number of classes, or an option is out of range.
    """
    classes = statistics['classes']
    if module.classes != len(classes):
        raise InputError(f'config.model.classes: {module.classes}; expected {len(classes)} for {", ".join(classes)}')
    parts = Detection(module, classes, anchor_loss, region_loss, selection)
    return Task(parts.init, parts.loss, parts.predict, recall)
