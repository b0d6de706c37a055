"""Where a classifier looks: maps of what speaks for a class, in 2D and 3D, and tests of whether to believe them.

Every method of `METHODS` is `method(forward, image, target, …) -> maps`, pure and traceable, with

- `forward(image [B, *S, C], perturbations) -> (logits [B, K], feats)`: the network in its testing mode, in which
  no image's logits depend on another's. `perturbations` maps names of features to what is to be added to them where
  they arise, which flax's `Module.perturb` does with the collection of that name; it is empty where no feature's
  gradient is asked for. A single logit is that of class 1, and its negative that of class 0.
- `image [B, *S, C]` float32 and `target [B]` int32, the class that is asked about, of each image.
- maps `[B, *S]` float32, large where the image speaks for the class; each method has its own unit, so that maps of two
  methods are compared by their order of places alone.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import InputError

FIRST = 12  # points of integrated gradients to begin with
MANY = 2**18  # values of the images of which so many at a time would take too much memory

Forward = Callable[[jax.Array, Mapping[str, jax.Array]], tuple[jax.Array, Mapping[str, Any]]]


def grad_cam(forward: Forward, image: jax.Array, target: jax.Array, *, layer: str = '') -> jax.Array:
    """Feature maps weighted by the mean gradient of the class's logit by them, above zero (Selvaraju 2017).

    Args:
      forward: the network; see the module.
      image: `[B, *S, C]`.
      target: `[B]`.
      layer: the feature `[B, *grid, C]`; the last one that the network names with a grid of several places. One whose
        places no longer reach the logits, such as a transformer's last tokens beside its class token, has a gradient
        of zero, and so has the map.

    Returns:
      Maps `[B, *S]`, at least 0, drawn up linearly from the feature's grid.

    Raises:
      InputError: the network has no such feature.
    """
    feature, gradient = _feature(forward, image, target, layer)
    weights = gradient.mean(_axes(feature), keepdims=True)
    return _drawn_up(jax.nn.relu((weights * feature).sum(-1)), image)


def grad_cam_pp(forward: Forward, image: jax.Array, target: jax.Array, *, layer: str = '') -> jax.Array:
    """Grad-CAM++: places weigh by how much of the class each explains, so that several of them all show.

    Chattopadhay 2018, for the class's exponential score: its second and third derivatives by a feature are then powers
    of the logit's gradient, in a network that is piecewise linear. The score itself scales the map, and is left out.

    Args:
      forward: the network; see the module.
      image: `[B, *S, C]`.
      target: `[B]`.
      layer: as in `grad_cam`.

    Returns:
      Maps `[B, *S]`, at least 0.

    Raises:
      InputError: the network has no such feature.
    """
    feature, gradient = _feature(forward, image, target, layer)
    axes = _axes(feature)
    below = 2 * gradient**2 + feature.sum(axes, keepdims=True) * gradient**3
    share = gradient**2 / jnp.where(below == 0, 1.0, below)
    weights = (share * jax.nn.relu(gradient)).sum(axes, keepdims=True)
    return _drawn_up(jax.nn.relu((weights * feature).sum(-1)), image)


def integrated_gradients(forward: Forward, image: jax.Array, target: jax.Array, *,
                         baseline: float | jax.Array = 0.0, tolerance: float = 1e-3, most: int = 1000) -> jax.Array:
    """The gradient's mean on the way from a baseline to the image, times the way (Sundararajan 2017).

    A map sums to how much more the image's logit is than the baseline's (completeness). The mean is the midpoint
    rule's, whose points are tripled until that holds: a network of ReLUs has kinks on the way, nobody knows how many.

    Args:
      forward: the network; see the module.
      image: `[B, *S, C]`.
      target: `[B]`.
      baseline: what shows nothing, broadcast to the images; 0 is the mean of images that are normalised by z-score.
      tolerance: of completeness, as a share of the logits' difference, or of 1 where that is smaller.
      most: points on the way; with them completeness may still be missed, which `completeness` tells.

    Returns:
      Maps `[B, *S]`, summed over channels, negative where the image speaks against the class.
    """
    image = image.astype(jnp.float32)
    start = jnp.broadcast_to(jnp.asarray(baseline, jnp.float32), image.shape)
    way = image - start
    at_once = FIRST if image.size <= MANY else 1  # many small passes at a time cost a fraction of as many alone
    change = _score(forward, image, target) - _score(forward, start, target)

    def add(total: jax.Array, places: jax.Array) -> jax.Array:
        slope = jax.grad(lambda x: _score(forward, x, target).sum())
        return total + jax.vmap(lambda place: slope(start + place * way))(places).sum(0)

    def attributed(points: jax.Array, total: jax.Array) -> jax.Array:
        return (total / points * way).sum(-1)

    def lacking(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        missed = jnp.abs(attributed(*state).sum(_axes(way)) - change)
        return (state[0] * 3 <= most) & (missed > tolerance * jnp.maximum(jnp.abs(change), 1.0)).any()

    def refine(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        # Of three times as many midpoints every middle one is known: new are the first and the last of each three.
        points, total = state

        def new(number: int, sums: jax.Array) -> jax.Array:
            i = number * at_once + jnp.arange(at_once)
            return add(sums, (3 * (i // 2) + 2 * (i % 2) + 0.5) / (3 * points))

        return 3 * points, jax.lax.fori_loop(0, 2 * points // at_once, new, total)

    places = ((jnp.arange(FIRST) + 0.5) / FIRST).reshape(-1, at_once)
    total, _ = jax.lax.scan(lambda sums, some: (add(sums, some), None), jnp.zeros_like(way), places)
    return attributed(*jax.lax.while_loop(lacking, refine, (jnp.int32(FIRST), total)))


def completeness(forward: Forward, image: jax.Array, target: jax.Array, maps: jax.Array, *,
                 baseline: float | jax.Array = 0.0) -> jax.Array:
    """By how much integrated gradients miss the difference of the logits that they should sum to, `[B]`."""
    start = jnp.broadcast_to(jnp.asarray(baseline, jnp.float32), image.shape)
    change = _score(forward, image.astype(jnp.float32), target) - _score(forward, start, target)
    return jnp.abs(maps.sum(tuple(range(1, maps.ndim))) - change)


def smooth_grad(forward: Forward, image: jax.Array, target: jax.Array, *, key: jax.Array | None = None,
                samples: int = 32, noise: float = 0.15) -> jax.Array:
    """The size of the logit's gradient, a mean over noisy copies of the image (Smilkov 2017).

    Args:
      forward: the network; see the module.
      image: `[B, *S, C]`.
      target: `[B]`.
      key: of the noise; that of seed 0.
      samples: copies.
      noise: standard deviation, as a share of each image's range of intensities.

    Returns:
      Maps `[B, *S]`, at least 0, summed over channels.
    """
    image = image.astype(jnp.float32)
    axes = tuple(range(1, image.ndim))
    spread = noise * jnp.ptp(image, axes, keepdims=True)

    def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        noisy = image + spread * jax.random.normal(key, image.shape)
        return total + jax.grad(lambda x: _score(forward, x, target).sum())(noisy), None

    keys = jax.random.split(jax.random.key(0) if key is None else key, samples)
    total, _ = jax.lax.scan(add, jnp.zeros_like(image), keys)
    return jnp.abs(total / samples).sum(-1)


def occlusion(forward: Forward, image: jax.Array, target: jax.Array, *, window: tuple[int, ...] = (),
              stride: tuple[int, ...] = (), fill: float | None = None) -> jax.Array:
    """How far the class's logit falls when a window of the image is covered (Zeiler 2014).

    Args:
      forward: the network; see the module.
      image: `[B, *S, C]`.
      target: `[B]`.
      window: its extents; a seventh of the image's by default.
      stride: between windows; by default half a window in 2D, and a whole one in 3D, where windows are many.
      fill: what covers; each image's mean of each channel by default.

    Returns:
      Maps `[B, *S]`: at each place the mean fall over the windows that cover it.
    """
    image, extents = image.astype(jnp.float32), image.shape[1:-1]
    window = window or tuple(max(1, n // 7) for n in extents)
    stride = stride or tuple(max(1, w // 2) if len(extents) == 2 else w for w in window)
    # The last window ends where the image does: no place stays uncovered.
    starts = [sorted({*range(0, n - w, s), n - w}) for n, w, s in zip(extents, window, stride, strict=True)]
    cover = image.mean(_axes(image), keepdims=True) if fill is None else fill
    known = _score(forward, image, target)

    def add(sums: tuple[jax.Array, jax.Array], start: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        inside = jnp.ones(extents, bool)
        for axis in range(len(extents)):
            place = jax.lax.broadcasted_iota(jnp.int32, extents, axis) - start[axis]
            inside &= (place >= 0) & (place < window[axis])
        fall = known - _score(forward, jnp.where(inside[..., None], cover, image), target)
        return (sums[0] + fall.reshape(-1, *(1,) * len(extents)) * inside, sums[1] + inside), None

    sums = (jnp.zeros(image.shape[:-1]), jnp.zeros(extents))
    (total, count), _ = jax.lax.scan(add, sums, jnp.array(list(itertools.product(*starts)), jnp.int32))
    return total / count


def attention_rollout(forward: Forward, image: jax.Array, target: jax.Array) -> jax.Array:
    """How much of each patch reaches a transformer's class token, through all its layers (Abnar 2020).

    Each layer passes on the mean of its heads' attention, and as much of the token itself by its skip connection. It
    says where the network looks, not for which class: the map is the same for all of them.

    Args:
      forward: the network, with the features 'attention' `[B, L, H, T, T]`, rows summing to 1, the class token first,
        and 'tokens' `[B, *grid, C]`.
      image: `[B, *S, C]`.
      target: not used.

    Returns:
      Maps `[B, *S]`, at least 0, drawn up linearly from the patches.

    Raises:
      InputError: the network has no such features.
    """
    del target
    feats = forward(image, {})[1]
    if not {'attention', 'tokens'} <= set(feats):
        raise InputError(f"attention_rollout: the network's features are {', '.join(feats)}; expected 'attention' and "
                         "'tokens', which a vision transformer has")
    attention, grid = feats['attention'].astype(jnp.float32).mean(2), feats['tokens'].shape[1:-1]
    if attention.shape[-1] != np.prod(grid) + 1:
        raise InputError(f'attention_rollout: {attention.shape[-1]} tokens for a grid of {grid}; expected a class '
                         'token and one for each place')
    layers = (attention + jnp.eye(attention.shape[-1])) / 2
    reached, _ = jax.lax.scan(lambda row, layer: (row @ layer, None), jnp.zeros((len(image), 1, layers.shape[-1]))
                              .at[:, :, 0].set(1.0), jnp.moveaxis(layers, 1, 0)[::-1])
    return _drawn_up(reached[:, 0, 1:].reshape(-1, *grid), image)


METHODS: dict[str, Callable[..., jax.Array]] = {
    'grad_cam': grad_cam, 'grad_cam_pp': grad_cam_pp, 'integrated_gradients': integrated_gradients,
    'smooth_grad': smooth_grad, 'occlusion': occlusion, 'attention_rollout': attention_rollout,
}


def deletion_insertion(probability: Callable[[jax.Array], jax.Array], image: jax.Array, target: jax.Array,
                       maps: jax.Array, *, steps: int = 28) -> dict[str, jax.Array]:
    """How fast a class's probability falls as places go in a map's order, and how fast it comes with them.

    Petsiuk 2018. Places go to the image's mean of each channel, and come over a blurred image, which has no edges that
    the network could take for a finding. Compare with the same of random maps: what falls faster points at something.

    Args:
      probability: `image [B, *S, C] -> probs [B, K]`; a single one is that of class 1.
      image: `[B, *S, C]`.
      target: `[B]`.
      maps: `[B, *S]`, the largest first.
      steps: equal parts of the places that go at once.

    Returns:
      'deletion' (lower is better) and 'insertion' (higher is better), each `[B]`: areas under the probability over the
      share of the places, by the trapezoidal rule.
    """
    image, extents = image.astype(jnp.float32), image.shape[1:-1]
    order = jnp.argsort(-maps.reshape(len(maps), -1), axis=1, stable=True)
    rank = jnp.argsort(order, axis=1).reshape(*maps.shape, 1) / maps[0].size
    coarse = (len(image), *(-(-n // 8) for n in extents), image.shape[-1])
    blurred = jax.image.resize(jax.image.resize(image, coarse, 'linear'), image.shape, 'linear')
    empty = image.mean(_axes(image), keepdims=True)

    def at(share: jax.Array) -> tuple[jax.Array, jax.Array]:
        chosen = rank < share
        pictures = jnp.where(chosen, empty, image), jnp.where(chosen, image, blurred)
        probs = [probability(x) for x in pictures]
        return tuple(jnp.take_along_axis(p, jnp.minimum(target, p.shape[1] - 1)[:, None], 1)[:, 0] for p in probs)

    curves = jax.lax.map(at, jnp.arange(steps + 1) / steps)
    return {name: jax.scipy.integrate.trapezoid(curve, dx=1 / steps, axis=0)
            for name, curve in zip(('deletion', 'insertion'), curves)}


def randomised(variables: Mapping[str, Any], key: jax.Array) -> dict[str, Any]:
    """A network that learned nothing: each array of 'params' with its values in a random order.

    For the sanity check of Adebayo 2018: a map that is the same with these weights tells of the image alone, and
    nothing of what the network learned. Statistics of norms and the like stay.
    """
    leaves, tree = jax.tree.flatten(variables['params'])
    keys = jax.random.split(key, len(leaves))
    mixed = [jax.random.permutation(k, leaf.ravel()).reshape(leaf.shape) for k, leaf in zip(keys, leaves)]
    return {**variables, 'params': jax.tree.unflatten(tree, mixed)}


def similarity(one: jax.Array, other: jax.Array) -> jax.Array:
    """Spearman's rank correlation of two maps of each image, `[B, *S]` each, `[B]`; NaN where one of them is flat."""
    def ranks(values: jax.Array) -> jax.Array:
        ordered = jnp.sort(values)
        first, last = (jnp.searchsorted(ordered, values, side) for side in ('left', 'right'))
        return (first + last - 1) / 2  # equal values share the mean of their ranks

    def correlation(a: jax.Array, b: jax.Array) -> jax.Array:
        a, b = (r - r.mean() for r in (ranks(a.ravel()), ranks(b.ravel())))
        return (a * b).sum() / jnp.sqrt((a * a).sum() * (b * b).sum())

    return jax.vmap(correlation)(one, other)


def tests(method: Callable[..., jax.Array], features: Callable[..., Any], probability: Callable[..., jax.Array],
          variables: Mapping[str, Any], image: jax.Array, target: jax.Array, maps: jax.Array,
          key: jax.Array) -> dict[str, jax.Array]:
    """Whether to believe a method's maps of some images.

    Args:
      method: of METHODS.
      features: `(variables, image, perturbations) -> (logits, feats)`.
      probability: `(variables, image) -> probs [B, K]`.
      variables: the network's.
      image: `[B, *S, C]`.
      target: `[B]`.
      maps: `[B, *S]`, the method's.
      key: of the random weights.

    Returns:
      `[B]` each: 'deletion' and 'insertion', of `deletion_insertion`; 'similarity' with the maps of `randomised`;
      'incomplete', what `completeness` gives for integrated gradients, NaN for other methods.
    """
    random = method(functools.partial(features, randomised(variables, key)), image, target)
    areas = deletion_insertion(functools.partial(probability, variables), image, target, maps)
    missed = jnp.full(len(image), jnp.nan)
    if method is integrated_gradients:
        missed = completeness(functools.partial(features, variables), image, target, maps)
    return {**areas, 'similarity': similarity(maps, random), 'incomplete': missed}


def _score(forward: Forward, image: jax.Array, target: jax.Array) -> jax.Array:
    return _of_class(forward(image, {})[0], target)


def _of_class(logits: jax.Array, target: jax.Array) -> jax.Array:
    logits = logits.astype(jnp.float32)
    logits = jnp.concatenate([-logits, logits], 1) if logits.shape[1] == 1 else logits
    return jnp.take_along_axis(logits, target[:, None], 1)[:, 0]


def _feature(forward: Forward, image: jax.Array, target: jax.Array, layer: str) -> tuple[jax.Array, jax.Array]:
    """A feature and the gradient of the class's logit by it, both `[B, *grid, C]` float32."""
    names: list[str] = []  # in the network's order, which a traced dict forgets

    def features(x: jax.Array) -> Mapping[str, Any]:
        feats = forward(x, {})[1]
        # Attention has no places of its own, though as many axes as the features of a volume.
        names.extend(name for name, value in feats.items() if name != 'attention' and value.ndim == x.ndim
                     and value.size > len(x) * value.shape[-1])
        return feats

    shapes = jax.eval_shape(features, image)
    if not names or layer and layer not in names:
        raise InputError(f'layer {layer!r}: the network has no such feature; those with several places are: '
                         f'{", ".join(names) or "none"}')
    layer = layer or names[-1]
    # Flax refuses a perturbation of one feature that names not the others that could be perturbed.
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), dict(shapes))

    def score(added: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, feats = forward(image, {**zeros, layer: added})
        return _of_class(logits, target).sum(), feats[layer]

    gradient, feature = jax.grad(score, has_aux=True)(zeros[layer])
    return feature.astype(jnp.float32), gradient.astype(jnp.float32)


def _axes(array: jax.Array) -> tuple[int, ...]:
    """The spatial ones of `[B, *S, C]`."""
    return tuple(range(1, array.ndim - 1))


def _drawn_up(maps: jax.Array, image: jax.Array) -> jax.Array:
    return jax.image.resize(maps.astype(jnp.float32), image.shape[:-1], 'linear')
