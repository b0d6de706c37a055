"""Losses of segmentation, each one number per example: `(logits [B, *S, K], label [B, *S]) -> [B]` float32.

All arithmetic is float32, whatever the logits' type. With K = 1 the one logit is that of the second of two classes
(sigmoid); otherwise the K logits go through a softmax. Voxels whose label is `ignore` count nowhere. Every loss and
its gradient stay finite for empty classes, for examples that are ignored whole and for logits of any finite size.

Region losses (Dice and its kin) average over the classes but the background, unless `include_background`.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from medjax.errors import InputError

SMOOTH = 1e-5  # added above and below a ratio: a class that is empty in both costs nothing


@dataclasses.dataclass(frozen=True)
class Voxels:
    """Logits and labels as every loss needs them; made once and shared by the terms of a sum.

    Attributes:
      log_probs: `[B, *S, C]`, C the number of classes, 2 for a sigmoid.
      probs: `[B, *S, C]`.
      label: `[B, *S]` int32, 0 where it is ignored.
      valid: `[B, *S]` float32, 0 where the label is ignored.
      first: the first class that region losses average over.
    """

    log_probs: jax.Array
    probs: jax.Array
    label: jax.Array
    valid: jax.Array
    first: int

    @functools.cached_property
    def onehot(self) -> jax.Array:
        """`[B, *S, C - first]`, 0 where ignored."""
        return jax.nn.one_hot(self.label - self.first, self.probs.shape[-1] - self.first) * self.valid[..., None]

    @functools.cached_property
    def region(self) -> jax.Array:
        """Probabilities of the classes that region losses are about, 0 where ignored."""
        return self.probs[..., self.first:] * self.valid[..., None]

    @functools.cached_property
    def sizes(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Overlap, predicted and true size of each class, `[B, C - first]`."""
        return self.sum(self.region * self.onehot), self.sum(self.region), self.sum(self.onehot)

    def sum(self, x: jax.Array) -> jax.Array:
        """Sums over space."""
        return x.sum(tuple(range(1, self.label.ndim)))

    def mean(self, x: jax.Array) -> jax.Array:
        """Averages `[B, *S]` over the voxels that are not ignored; 0 where all are."""
        return self.sum(x * self.valid) / jnp.maximum(self.sum(self.valid), 1.0)

    @functools.cached_property
    def log_true(self) -> jax.Array:
        """The true class's log-probability, `[B, *S]`."""
        return jnp.take_along_axis(self.log_probs, self.label[..., None], -1)[..., 0]


def voxels(logits: jax.Array, label: jax.Array, ignore: int | None = None, include_background: bool = False) -> Voxels:
    """Prepares logits and labels.

    Args:
      logits: `[B, *S, K]`.
      label: `[B, *S]` integers.
      ignore: the label that counts nowhere.
      include_background: whether region losses are about class 0 as well.
    """
    logits = logits.astype(jnp.float32)
    if logits.shape[-1] == 1:
        log_probs = jnp.concatenate([jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)], -1)
    else:
        log_probs = jax.nn.log_softmax(logits)
    valid = jnp.ones(label.shape, jnp.float32) if ignore is None else (label != ignore).astype(jnp.float32)
    label = jnp.where(valid > 0, label, 0).astype(jnp.int32)
    return Voxels(log_probs, jnp.exp(log_probs), label, valid, 0 if include_background else 1)


def cross_entropy(v: Voxels, *, classes: Sequence[float] | None = None) -> jax.Array:
    """Mean negative log-probability of the true class; with a sigmoid, binary cross-entropy.

    `classes` are weights of the classes, the background's first: a weighted mean over the voxels, as PyTorch's.
    """
    if classes is None:
        return v.mean(-v.log_true)
    if len(classes) != v.probs.shape[-1] or min(classes) < 0:
        raise InputError(f'config.task.loss.cross_entropy.classes: {tuple(classes)}; expected {v.probs.shape[-1]} '
                         'weights, none below zero')
    weight = jnp.asarray(classes, jnp.float32)[v.label] * v.valid
    return v.sum(-v.log_true * weight) / jnp.maximum(v.sum(weight), 1e-6)


def soft_dice(v: Voxels, *, squared: bool = False) -> jax.Array:
    """1 - soft Dice, averaged over classes (Milletari 2016; there with squared probabilities).

    A class that is in neither truth nor, to SMOOTH, the prediction has a loss near 0.
    """
    overlap, guess, truth = v.sizes
    if squared:
        guess = v.sum(v.region**2)
    return jnp.mean(1.0 - (2.0 * overlap + SMOOTH) / (guess + truth + SMOOTH), -1)


def generalised_dice(v: Voxels) -> jax.Array:
    """1 - generalised Dice (Sudre 2017): classes weighed by 1 / size²; an absent class as the rarest present one."""
    overlap, guess, truth = v.sizes
    weight = 1.0 / jnp.maximum(truth, 1e-3) ** 2
    present = truth > 0
    rarest = jnp.max(jnp.where(present, weight, 0.0), -1, keepdims=True)
    weight = jnp.where(present, weight, jnp.where(rarest > 0, rarest, 1.0))
    # In units of the largest weight, lest squares of large volumes lose the digits of SMOOTH.
    weight = weight / weight.max(-1, keepdims=True)
    return 1.0 - (2.0 * (weight * overlap).sum(-1) + SMOOTH) / ((weight * (guess + truth)).sum(-1) + SMOOTH)


def tversky(v: Voxels, *, alpha: float = 0.3, beta: float = 0.7) -> jax.Array:
    """1 - Tversky index (Salehi 2017); `alpha` weighs false positives, `beta` false negatives."""
    return jnp.mean(1.0 - _tversky(v, alpha, beta), -1)


def focal_tversky(v: Voxels, *, alpha: float = 0.3, beta: float = 0.7, gamma: float = 4 / 3) -> jax.Array:
    """(1 - Tversky index) ** (1 / gamma), averaged over classes (Abraham 2019)."""
    miss = jnp.maximum(1.0 - _tversky(v, alpha, beta), 1e-6)  # the root's slope is infinite at 0
    return jnp.mean(miss ** (1.0 / gamma), -1)


def _tversky(v: Voxels, alpha: float, beta: float) -> jax.Array:
    overlap, guess, truth = v.sizes
    return (overlap + SMOOTH) / (overlap + alpha * (guess - overlap) + beta * (truth - overlap) + SMOOTH)


def focal(v: Voxels, *, gamma: float = 2.0) -> jax.Array:
    """Cross-entropy weighed by (1 - probability of the true class) ** gamma (Lin 2017)."""
    # -expm1 keeps the digits of 1 - p where p is nearly 1; the floor keeps the power's slope finite there.
    rest = jnp.maximum(-jnp.expm1(v.log_true), 1e-12)
    return v.mean(-(rest**gamma) * v.log_true)


def boundary(v: Voxels) -> jax.Array:
    """Mean of probability times the signed distance to the true boundary, in voxels (Kervadec 2019).

    Distances are positive outside of the structure and negative within; a class that the truth has none of costs
    nothing here, as in the authors' code. Negative values are right: the truth itself has the least. Use it beside a
    region loss. Distances are exact and computed on the device, axis by axis (Felzenszwalb 2012, by brute force: each
    axis costs its length squared).
    """
    truth = v.onehot > 0.5
    axes = tuple(range(1, v.label.ndim))
    some, all_ = truth.any(axes, keepdims=True), truth.all(axes, keepdims=True)
    distance = jnp.where(truth, -_distance(~truth, axes) + 1.0, _distance(truth, axes))
    distance = jax.lax.stop_gradient(jnp.where(some & ~all_, distance, 0.0))
    return jnp.mean(v.sum(v.region * distance) / jnp.maximum(v.sum(v.valid), 1.0)[..., None], -1)


def _distance(inside: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Euclidean distance, in voxels, of each voxel to the nearest one `inside`; large where there is none."""
    square = jnp.where(inside, 0.0, 1e8)
    for axis in axes:
        size = square.shape[axis]
        step = (jnp.arange(size)[:, None] - jnp.arange(size)[None]).astype(jnp.float32) ** 2  # [to, from]
        moved = jnp.moveaxis(square, axis, -1)
        # One target position at a time: all at once would hold size times the volume.
        least = jax.lax.map(lambda row, moved=moved: (moved + row).min(-1), step)
        square = jnp.moveaxis(least, 0, axis)
    return jnp.sqrt(square)


def cl_dice(v: Voxels, *, iterations: int = 5) -> jax.Array:
    """1 - centreline Dice of soft skeletons (Shit 2021), for vessels and other tubes, averaged over classes.

    `iterations` is at least the largest radius in voxels.
    """
    guess, truth = v.region, v.onehot
    lines_guess, lines_truth = _skeleton(guess, iterations), _skeleton(truth, iterations)
    precision = (v.sum(lines_guess * truth) + 1.0) / (v.sum(lines_guess) + 1.0)
    sensitivity = (v.sum(lines_truth * guess) + 1.0) / (v.sum(lines_truth) + 1.0)
    return jnp.mean(1.0 - 2.0 * precision * sensitivity / (precision + sensitivity), -1)


def _skeleton(x: jax.Array, iterations: int) -> jax.Array:
    dims = x.ndim - 2

    def pool(x: jax.Array, window: tuple[int, ...], sign: int) -> jax.Array:
        worst = -jnp.inf
        return sign * jax.lax.reduce_window(sign * x, worst, jax.lax.max, (1, *window, 1), (1,) * x.ndim, 'SAME')

    def erode(x: jax.Array) -> jax.Array:
        # The paper's: the least over a cross in 2D, over the three lines in 3D.
        lines = [pool(x, tuple(3 if a == axis else 1 for a in range(dims)), -1) for axis in range(dims)]
        return functools.reduce(jnp.minimum, lines)

    def ridge(x: jax.Array) -> jax.Array:
        return jax.nn.relu(x - pool(erode(x), (3,) * dims, 1))

    lines = ridge(x)
    for _ in range(iterations):
        x = erode(x)
        more = ridge(x)
        lines = lines + jax.nn.relu(more - lines * more)
    return lines


TERMS: dict[str, Callable[..., jax.Array]] = {f.__name__: f for f in (
    cross_entropy, soft_dice, generalised_dice, tversky, focal_tversky, focal, boundary, cl_dice)}


def check(terms: Mapping[str, Any]) -> None:
    """Refuses an unknown term or option, naming it; see `total` for the form."""
    if not terms:
        raise InputError(f'config.task.loss: no term; expected some of: {", ".join(TERMS)}')
    for name, weight in terms.items():
        if name not in TERMS:
            raise InputError(f'config.task.loss: {name!r} is not known; expected some of: {", ".join(TERMS)}')
        known = ['weight', *(p for p in inspect.signature(TERMS[name]).parameters if p != 'v')]
        for key in weight if isinstance(weight, Mapping) else ():
            if key not in known:
                raise InputError(f'config.task.loss.{name}.{key}: nothing reads this key; expected: {", ".join(known)}')


def total(logits: jax.Array, label: jax.Array, terms: Mapping[str, Any], *, ignore: int | None = None,
          include_background: bool = False) -> jax.Array:
    """A weighted sum of losses that share one softmax.

    Args:
      logits: `[B, *S, K]`.
      label: `[B, *S]` integers.
      terms: a weight by name, or options with a `weight`: `{'cross_entropy': 1.0, 'focal': {'weight': 0.5,
        'gamma': 3.0}}`.
      ignore: the label that counts nowhere.
      include_background: whether region losses are about class 0 as well.

    Returns:
      `[B]` float32.
    """
    check(terms)
    prepared = voxels(logits, label, ignore, include_background)
    out = jnp.zeros(label.shape[0], jnp.float32)
    for name, weight in terms.items():
        options = dict(weight) if isinstance(weight, Mapping) else {'weight': weight}
        out += options.pop('weight', 1.0) * TERMS[name](prepared, **options)
    return out
