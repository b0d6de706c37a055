"""Tests of saliency maps: deletion and insertion curves, and comparison with a network of random weights."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from medjax.tasks.classification.saliency.forward import spatial_axes
from medjax.tasks.classification.saliency.gradients import completeness_error, integrated_gradients

BLUR = 8  # voxels of the blurred image's grid


def deletion_insertion(probability: Callable[[jax.Array], jax.Array], image: jax.Array, target: jax.Array,
                       maps: jax.Array, *, steps: int = 28) -> dict[str, jax.Array]:
    """Areas under a class's probability while places are deleted, or inserted, in the order of a map (Petsiuk 2018).

    Deleted places are set to the mean of each channel of the image. Places are inserted into a blurred image, which has
    no edges that the network could take for a finding. Compare with the areas of random maps: a faithful map deletes
    the class faster.

    Args:
      probability: `image [B, *S, C] -> probs [B, K]`; a single one is that of class 1.
      image: `[B, *S, C]`.
      target: `[B]`.
      maps: `[B, *S]`; places with larger values come first.
      steps: number of equal parts of the places.

    Returns:
      'deletion' (lower is better) and 'insertion' (higher is better), each `[B]`: areas under the probability by the
      share of places, by the trapezoidal rule.
    """
    image = image.astype(jnp.float32)
    order = jnp.argsort(-maps.reshape(len(maps), -1), axis=1, stable=True)
    rank = jnp.argsort(order, axis=1).reshape(*maps.shape, 1) / maps[0].size
    coarse = (len(image), *(-(-n // BLUR) for n in image.shape[1:-1]), image.shape[-1])
    blurred = jax.image.resize(jax.image.resize(image, coarse, 'linear'), image.shape, 'linear')
    empty = image.mean(spatial_axes(image), keepdims=True)

    def probabilities(share: jax.Array) -> tuple[jax.Array, jax.Array]:
        chosen = rank < share
        changed = jnp.where(chosen, empty, image), jnp.where(chosen, image, blurred)
        probs = [probability(x) for x in changed]
        return tuple(jnp.take_along_axis(p, jnp.minimum(target, p.shape[1] - 1)[:, None], 1)[:, 0] for p in probs)

    curves = jax.lax.map(probabilities, jnp.arange(steps + 1) / steps)
    return {name: jax.scipy.integrate.trapezoid(curve, dx=1 / steps, axis=0)
            for name, curve in zip(('deletion', 'insertion'), curves)}


def randomise_weights(variables: Mapping[str, Any], key: jax.Array) -> dict[str, Any]:
    """The variables of a network that has learned nothing: the values of each array of 'params' in random order.

    For the sanity check of Adebayo 2018: a map that stays the same with these weights depends on the image alone and
    not on what the network has learned. Other collections, such as statistics of norms, stay.
    """
    leaves, tree = jax.tree.flatten(variables['params'])
    keys = jax.random.split(key, len(leaves))
    shuffled = [jax.random.permutation(k, leaf.ravel()).reshape(leaf.shape) for k, leaf in zip(keys, leaves)]
    return {**variables, 'params': jax.tree.unflatten(tree, shuffled)}


def rank_correlation(a: jax.Array, b: jax.Array) -> jax.Array:
    """Spearman's rank correlation `[B]` of two maps `[B, *S]` of each image; NaN where one of them is constant."""
    def ranks(values: jax.Array) -> jax.Array:
        ordered = jnp.sort(values)
        first, last = (jnp.searchsorted(ordered, values, side) for side in ('left', 'right'))
        return (first + last - 1) / 2  # equal values share their mean rank

    def correlation(a: jax.Array, b: jax.Array) -> jax.Array:
        a, b = (r - r.mean() for r in (ranks(a.ravel()), ranks(b.ravel())))
        return (a * b).sum() / jnp.sqrt((a * a).sum() * (b * b).sum())

    return jax.vmap(correlation)(a, b)


def evaluate_maps(method: Callable[..., jax.Array], features: Callable[..., Any], probability: Callable[..., jax.Array],
                  variables: Mapping[str, Any], image: jax.Array, target: jax.Array, maps: jax.Array,
                  key: jax.Array) -> dict[str, jax.Array]:
    """All tests of a method's maps.

    Args:
      method: a saliency method.
      features: `(variables, image, perturbations) -> (logits, feats)`.
      probability: `(variables, image) -> probs [B, K]`.
      variables: the network's variables.
      image: `[B, *S, C]`.
      target: `[B]`.
      maps: `[B, *S]`, the method's maps.
      key: random key of the random weights.

    Returns:
      `[B]` each: 'deletion' and 'insertion' of `deletion_insertion`; 'similarity', the rank correlation with the maps
      of a network of random weights; 'incomplete', the `completeness_error` of integrated gradients, NaN for other
      methods.
    """
    random = method(functools.partial(features, randomise_weights(variables, key)), image, target)
    areas = deletion_insertion(functools.partial(probability, variables), image, target, maps)
    error = jnp.full(len(image), jnp.nan)
    if method is integrated_gradients:
        error = completeness_error(functools.partial(features, variables), image, target, maps)
    return {**areas, 'similarity': rank_correlation(maps, random), 'incomplete': error}
