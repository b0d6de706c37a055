"""Losses for segmentation with one number per example: `(logits [B, *S, K], label [B, *S]) -> [B]` float32.

All computations are in float32, regardless of the dtype of the logits. With K = 1 the logit is that of the second of
two classes (sigmoid); otherwise the K logits are normalised by a softmax. Voxels with the label `ignore` are excluded.
Every loss and its gradient are finite for empty classes, for examples without valid voxels, and for all finite logits.

Region losses (Dice, Tversky and their variants) are averaged over the classes without the background, unless
`include_background` is set.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.options import Count, NonNegative, Positive, check, check_all

SMOOTH = 1e-5  # added to numerator and denominator: a class that is empty in both has a loss of 0


@dataclasses.dataclass(frozen=True)
class SegmentationInputs:
    """Quantities derived from logits and labels, computed once and shared by the terms of a loss.

    Attributes:
      log_probs: `[B, *S, C]`, with C classes, 2 for a sigmoid.
      probs: `[B, *S, C]`.
      label: `[B, *S]` int32, 0 where ignored.
      valid: `[B, *S]` float32, 0 where ignored.
      first: the first class that region losses include.
    """

    log_probs: jax.Array
    probs: jax.Array
    label: jax.Array
    valid: jax.Array
    first: int

    @functools.cached_property
    def onehot(self) -> jax.Array:
        """One-hot labels of the region classes, `[B, *S, C - first]`, 0 where ignored."""
        return jax.nn.one_hot(self.label - self.first, self.probs.shape[-1] - self.first) * self.valid[..., None]

    @functools.cached_property
    def region(self) -> jax.Array:
        """Probabilities of the region classes, `[B, *S, C - first]`, 0 where ignored."""
        return self.probs[..., self.first:] * self.valid[..., None]

    @functools.cached_property
    def sizes(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Intersection, predicted size and true size of each region class, `[B, C - first]` each."""
        return self.sum(self.region * self.onehot), self.sum(self.region), self.sum(self.onehot)

    def sum(self, x: jax.Array) -> jax.Array:
        """The sum over space."""
        return x.sum(tuple(range(1, self.label.ndim)))

    def mean(self, x: jax.Array) -> jax.Array:
        """The mean of `[B, *S]` over valid voxels; 0 if there is none."""
        return self.sum(x * self.valid) / jnp.maximum(self.sum(self.valid), 1.0)

    @functools.cached_property
    def log_true(self) -> jax.Array:
        """Log-probability of the true class, `[B, *S]`."""
        return jnp.take_along_axis(self.log_probs, self.label[..., None], -1)[..., 0]


def segmentation_inputs(logits: jax.Array, label: jax.Array, ignore: int | None = None,
                        include_background: bool = False) -> SegmentationInputs:
    """Computes the inputs of the losses.

    Args:
      logits: `[B, *S, K]`.
      label: `[B, *S]` integers.
      ignore: label of voxels that are excluded.
      include_background: whether region losses include class 0.
    """
    logits = logits.astype(jnp.float32)
    if logits.shape[-1] == 1:
        log_probs = jnp.concatenate([jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)], -1)
    else:
        log_probs = jax.nn.log_softmax(logits)
    valid = jnp.ones(label.shape, jnp.float32) if ignore is None else (label != ignore).astype(jnp.float32)
    label = jnp.where(valid > 0, label, 0).astype(jnp.int32)
    return SegmentationInputs(log_probs, jnp.exp(log_probs), label, valid, 0 if include_background else 1)


def cross_entropy(v: SegmentationInputs, *, class_weight: Sequence[NonNegative] | None = None) -> jax.Array:
    """Cross-entropy, averaged over voxels; with a sigmoid, binary cross-entropy.

    Args:
      v: the inputs.
      class_weight: weights of all classes, background first; the mean over voxels is weighted, as in PyTorch.

    Raises:
      InputError: the number of weights is wrong.
    """
    if class_weight is None:
        return v.mean(-v.log_true)
    if len(class_weight) != v.probs.shape[-1]:
        raise InputError(f'config.task.loss.cross_entropy.class_weight: {tuple(class_weight)}; expected '
                         f'{v.probs.shape[-1]} '
                         'weights')
    weight = jnp.asarray(class_weight, jnp.float32)[v.label] * v.valid
    return v.sum(-v.log_true * weight) / jnp.maximum(v.sum(weight), 1e-6)


def soft_dice(v: SegmentationInputs, *, squared: bool = False) -> jax.Array:
    """1 - soft Dice, averaged over classes (Milletari 2016, who square the probabilities in the denominator).

    A class that is absent from the truth, and up to SMOOTH from the prediction, has a loss near 0.

    Args:
      v: the inputs.
      squared: whether to square the probabilities in the denominator.
    """
    overlap, predicted, truth = v.sizes
    if squared:
        predicted = v.sum(v.region**2)
    return jnp.mean(1.0 - (2.0 * overlap + SMOOTH) / (predicted + truth + SMOOTH), -1)


def generalised_dice(v: SegmentationInputs) -> jax.Array:
    """1 - generalised Dice (Sudre 2017), with class weights 1 / size²; absent classes get the largest of them."""
    overlap, predicted, truth = v.sizes
    weight = 1.0 / jnp.maximum(truth, 1e-3) ** 2
    present = truth > 0
    rarest = jnp.max(jnp.where(present, weight, 0.0), -1, keepdims=True)
    weight = jnp.where(present, weight, jnp.where(rarest > 0, rarest, 1.0))
    # Relative to the largest weight, so that SMOOTH is not negligible for large volumes.
    weight = weight / weight.max(-1, keepdims=True)
    return 1.0 - (2.0 * (weight * overlap).sum(-1) + SMOOTH) / ((weight * (predicted + truth)).sum(-1) + SMOOTH)


def tversky(v: SegmentationInputs, *, alpha: NonNegative = 0.3, beta: NonNegative = 0.7) -> jax.Array:
    """1 - Tversky index (Salehi 2017), averaged over classes.

    Args:
      v: the inputs.
      alpha: weight of false positives.
      beta: weight of false negatives.
    """
    return jnp.mean(1.0 - _tversky(v, alpha, beta), -1)


def focal_tversky(v: SegmentationInputs, *, alpha: NonNegative = 0.3, beta: NonNegative = 0.7,
                  gamma: Positive = 4 / 3) -> jax.Array:
    """(1 - Tversky index) ** (1 / gamma), averaged over classes (Abraham 2019).

    Args:
      v: the inputs.
      alpha: weight of false positives.
      beta: weight of false negatives.
      gamma: inverse of the exponent; 4/3 in the paper.
    """
    loss = jnp.maximum(1.0 - _tversky(v, alpha, beta), 1e-6)  # the derivative of the root is infinite at 0
    return jnp.mean(loss ** (1.0 / gamma), -1)


def _tversky(v: SegmentationInputs, alpha: float, beta: float) -> jax.Array:
    overlap, predicted, truth = v.sizes
    return (overlap + SMOOTH) / (overlap + alpha * (predicted - overlap) + beta * (truth - overlap) + SMOOTH)


def focal(v: SegmentationInputs, *, gamma: NonNegative = 2.0) -> jax.Array:
    """Focal loss: cross-entropy weighted by (1 - probability of the true class) ** gamma (Lin 2017).

    Args:
      v: the inputs.
      gamma: exponent of the weight.
    """
    # -expm1 computes 1 - p accurately for p near 1; the lower bound keeps the derivative of the power finite.
    error = jnp.maximum(-jnp.expm1(v.log_true), 1e-12)
    return v.mean(-(error**gamma) * v.log_true)


def boundary(v: SegmentationInputs) -> jax.Array:
    """Boundary loss: the mean of probability times signed distance to the true boundary, in voxels (Kervadec 2019).

    Distances are positive outside of a structure and negative inside; a class that is absent from the truth has a loss
    of 0, as in the authors' code. The loss may be negative; its minimum is that of the true segmentation. Combine it
    with a region loss. Distances are exact and computed on the device axis by axis (Felzenszwalb 2012, but by brute
    force: the cost of an axis is quadratic in its length).
    """
    truth = v.onehot > 0.5
    axes = tuple(range(1, v.label.ndim))
    present, everywhere = truth.any(axes, keepdims=True), truth.all(axes, keepdims=True)
    distance = jnp.where(truth, -_distance(~truth, axes) + 1.0, _distance(truth, axes))
    distance = jax.lax.stop_gradient(jnp.where(present & ~everywhere, distance, 0.0))
    return jnp.mean(v.sum(v.region * distance) / jnp.maximum(v.sum(v.valid), 1.0)[..., None], -1)


def _distance(inside: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Euclidean distance, in voxels, of each voxel to the nearest one `inside`; a large number if there is none."""
    square = jnp.where(inside, 0.0, 1e8)
    for axis in axes:
        size = square.shape[axis]
        step = (jnp.arange(size)[:, None] - jnp.arange(size)[None]).astype(jnp.float32) ** 2  # [to, from]
        moved = jnp.moveaxis(square, axis, -1)
        # One target position at a time: all at once would need memory for `size` volumes.
        least = jax.lax.map(lambda row, moved=moved: (moved + row).min(-1), step)
        square = jnp.moveaxis(least, 0, axis)
    return jnp.sqrt(square)


def cl_dice(v: SegmentationInputs, *, iterations: Count = 5) -> jax.Array:
    """1 - centreline Dice (clDice, Shit 2021) of soft skeletons, for tubular structures, averaged over classes.

    Args:
      v: the inputs.
      iterations: number of erosions, at least the largest radius in voxels.
    """
    predicted, truth = v.region, v.onehot
    skeleton_predicted, skeleton_truth = _skeleton(predicted, iterations), _skeleton(truth, iterations)
    precision = (v.sum(skeleton_predicted * truth) + 1.0) / (v.sum(skeleton_predicted) + 1.0)
    sensitivity = (v.sum(skeleton_truth * predicted) + 1.0) / (v.sum(skeleton_truth) + 1.0)
    return jnp.mean(1.0 - 2.0 * precision * sensitivity / (precision + sensitivity), -1)


def _skeleton(x: jax.Array, iterations: int) -> jax.Array:
    """Soft skeleton of `[B, *S, C]` by repeated erosion and opening."""
    dims = x.ndim - 2

    def pool(x: jax.Array, window: tuple[int, ...], sign: int) -> jax.Array:
        lowest = -jnp.inf
        return sign * jax.lax.reduce_window(sign * x, lowest, jax.lax.max, (1, *window, 1), (1,) * x.ndim, 'SAME')

    def erode(x: jax.Array) -> jax.Array:
        # As in the paper: the minimum over a cross in 2D and over three lines in 3D.
        lines = [pool(x, tuple(3 if a == axis else 1 for a in range(dims)), -1) for axis in range(dims)]
        return functools.reduce(jnp.minimum, lines)

    def ridge(x: jax.Array) -> jax.Array:
        return jax.nn.relu(x - pool(erode(x), (3,) * dims, 1))

    skeleton = ridge(x)
    for _ in range(iterations):
        x = erode(x)
        new = ridge(x)
        skeleton = skeleton + jax.nn.relu(new - skeleton * new)
    return skeleton


TERMS: dict[str, Callable[..., jax.Array]] = {f.__name__: f for f in (
    cross_entropy, soft_dice, generalised_dice, tversky, focal_tversky, focal, boundary, cl_dice)}


def check_terms(terms: Mapping[str, Any]) -> None:
    """Checks the names and options of the terms of a loss; see `weighted_sum` for their format.

    Raises:
      InputError: a term or an option is unknown or out of its range, or there is no term.
    """
    if not terms:
        raise InputError(f'config.task.loss: no term; expected some of: {", ".join(TERMS)}')
    for name, weight in terms.items():
        if name not in TERMS:
            raise InputError(f'config.task.loss: {name!r} is not known; expected some of: {", ".join(TERMS)}')
        known = ['weight', *(p for p in inspect.signature(TERMS[name]).parameters if p != 'v')]
        for key in weight if isinstance(weight, Mapping) else ():
            if key not in known:
                raise InputError(f'config.task.loss.{name}.{key}: unknown key; config.task.loss.{name} takes: '
                                 + ', '.join(known))
        if isinstance(weight, Mapping):
            check_all(TERMS[name], weight, f'config.task.loss.{name}')
            check(weight.get('weight', 1.0), NonNegative, f'config.task.loss.{name}.weight')
        else:
            check(weight, NonNegative, f'config.task.loss.{name}')


def weighted_sum(logits: jax.Array, label: jax.Array, terms: Mapping[str, Any], *, ignore: int | None = None,
                 include_background: bool = False) -> jax.Array:
    """A weighted sum of losses, which share one softmax.

    Args:
      logits: `[B, *S, K]`.
      label: `[B, *S]` integers.
      terms: the weight of each loss by name, or a dict of its options and `weight`: `{'cross_entropy': 1.0,
        'focal': {'weight': 0.5, 'gamma': 3.0}}`.
      ignore: label of voxels that are excluded.
      include_background: whether region losses include class 0.

    Returns:
      `[B]` float32.

    Raises:
      InputError: a term or an option is unknown.
    """
    check_terms(terms)
    inputs = segmentation_inputs(logits, label, ignore, include_background)
    out = jnp.zeros(label.shape[0], jnp.float32)
    for name, weight in terms.items():
        options = dict(weight) if isinstance(weight, Mapping) else {'weight': weight}
        out += options.pop('weight', 1.0) * TERMS[name](inputs, **options)
    return out
