"""Selection of an image's detections from its candidate boxes, with static shapes."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.ops import boxes
from medjax.ops.nms import nms, soft_nms, weighted_fusion
from medjax.options import Count, Positive, Probability

METHODS = ('nms', 'soft_nms', 'weighted_fusion')


@dataclasses.dataclass(frozen=True)
class Suppression:
    """Selects the detections of an image: one box for each object instead of many overlapping ones.

    Attributes:
      suppression: 'nms' keeps the most probable of overlapping boxes of a class; 'soft_nms' lowers the scores of
        boxes that overlap a more probable one, by exp(-IoU² / soft_nms_sigma), so that objects close to each other stay
        (Bodla 2017); 'weighted_fusion' replaces overlapping boxes by their mean, weighted by score, with the mean
        score (Solovyev 2021). The two last ones process boxes one by one and are slower.
      nms_threshold: IoU above which boxes of a class are suppressed ('nms') or merged ('weighted_fusion').
      candidates: maximum number of candidate boxes per image.
      max_detections: maximum number of detections per image.
      score_threshold: probability below which a candidate is dropped; for 'soft_nms' also after its score was lowered.
      soft_nms_sigma: width of the decay of 'soft_nms'.
    """

    suppression: str = 'nms'
    nms_threshold: Probability = 0.5
    candidates: Count = 1000
    max_detections: Count = 100
    score_threshold: Probability = 0.02
    soft_nms_sigma: Positive = 0.5

    def __post_init__(self):
        if self.suppression not in METHODS:
            raise InputError(f'config.task.suppression: {self.suppression!r}; expected one of: {", ".join(METHODS)}')
        if not 0 <= self.nms_threshold <= 1 or self.soft_nms_sigma <= 0:
            raise InputError(f'config.task: nms_threshold={self.nms_threshold}, soft_nms_sigma={self.soft_nms_sigma}; '
                             'expected 0 to 1, and above 0')

    def __call__(self, score: jax.Array, box: jax.Array) -> dict[str, jax.Array]:
        """The detections of one image.

        Args:
          score: `[N, K]`, probability of each class.
          box: `[N, 2D]`, or `[N, K, 2D]` for a box of each class.

        Returns:
          `boxes [max_detections, 2D]`, `scores`, `labels` int32 and `valid` float32, `[max_detections]`, by decreasing
          score; 0 where not valid.
        """
        kinds = score.shape[-1]
        best, at = jax.lax.top_k(score.reshape(-1), min(self.candidates, score.size))
        label = at % kinds
        place = box[at // kinds] if box.ndim == 2 else box.reshape(-1, box.shape[-1])[at]
        if self.suppression == 'weighted_fusion':
            fused, scores, labels, valid = weighted_fusion(place, jnp.where(best >= self.score_threshold, best, 0.0),
                                                           label.astype(jnp.int32), self.nms_threshold,
                                                           self.max_detections)
            return {'boxes': fused, 'scores': scores, 'labels': labels, 'valid': valid.astype(jnp.float32)}
        if self.suppression == 'soft_nms':
            index, decayed, valid = soft_nms(place, best, self.max_detections, label, sigma=self.soft_nms_sigma,
                                             lowest=self.score_threshold)
        else:
            index, valid = nms(place, jnp.where(best >= self.score_threshold, best, -jnp.inf), self.nms_threshold,
                               self.max_detections, label)

        def select(values: jax.Array) -> jax.Array:
            return jnp.where(valid.reshape(-1, *[1] * (values.ndim - 1)), values[index], 0)

        out = {'boxes': select(place), 'scores': select(best), 'labels': select(label).astype(jnp.int32),
               'valid': valid.astype(jnp.float32)}
        if self.suppression == 'soft_nms':
            out['scores'] = jnp.where(valid, decayed, 0.0)
        return out


def anchor_candidates(levels: Sequence[Mapping[str, jax.Array]], candidates: int) -> tuple[jax.Array, jax.Array]:
    """The most probable boxes of each level's anchors: all anchors together would be too many to suppress.

    Args:
      levels: `anchors [A, 2D]`, `logits [B, A, K]` and `deltas [B, A, 2D]` of each.
      candidates: maximum number of boxes per level.

    Returns:
      Scores `[B, N, K]`, each with one class above 0, and boxes `[B, N, 2D]`.
    """
    scores, found = [], []
    for level in levels:
        kinds = level['logits'].shape[-1]
        flat = level['logits'].reshape(len(level['logits']), -1)
        best, at = jax.lax.top_k(flat, min(candidates, flat.shape[1]))
        place = at // kinds
        delta = jnp.take_along_axis(level['deltas'], place[..., None], 1)
        scores.append(jax.nn.sigmoid(best)[..., None] * jax.nn.one_hot(at % kinds, kinds))
        found.append(boxes.decode(delta, level['anchors'][place]))
    return jnp.concatenate(scores, 1), jnp.concatenate(found, 1)
