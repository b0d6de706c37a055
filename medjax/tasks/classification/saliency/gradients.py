"""Saliency maps from gradients of a class's logit with respect to the image."""

import jax
import jax.numpy as jnp

from medjax.tasks.classification.saliency.forward import Forward, class_score, spatial_axes

FIRST_POINTS = 12  # points of integrated gradients in the first approximation
MAX_VECTORISED = 2**18  # number of image values up to which several points are evaluated at once


def integrated_gradients(forward: Forward, image: jax.Array, target: jax.Array, *,
                         baseline: float | jax.Array = 0.0, tolerance: float = 1e-3, most: int = 1000) -> jax.Array:
    """The mean gradient on the path from a baseline to the image, times the path (Sundararajan 2017).

    A map sums to the difference between the logits of the image and of the baseline (completeness). The mean is
    computed by the midpoint rule, whose points are tripled until completeness holds: a network of ReLUs has an unknown
    number of kinks on the path.

    Args:
      forward: the network; see `saliency.forward`.
      image: `[B, *S, C]`.
      target: `[B]`.
      baseline: an uninformative image, broadcast to the images; 0 is the mean of images that are normalised by z-score.
      tolerance: of completeness, relative to the difference of the logits, or to 1 if that is smaller.
      most: maximum number of points. Completeness may not be reached; `completeness_error` measures it.

    Returns:
      Maps `[B, *S]`, summed over channels, negative where the image opposes the class.
    """
    image = image.astype(jnp.float32)
    start = jnp.broadcast_to(jnp.asarray(baseline, jnp.float32), image.shape)
    path = image - start
    at_once = FIRST_POINTS if image.size <= MAX_VECTORISED else 1  # small images are faster together
    change = class_score(forward, image, target) - class_score(forward, start, target)

    def add(total: jax.Array, places: jax.Array) -> jax.Array:
        slope = jax.grad(lambda x: class_score(forward, x, target).sum())
        return total + jax.vmap(lambda place: slope(start + place * path))(places).sum(0)

    def attribution(points: jax.Array, total: jax.Array) -> jax.Array:
        return (total / points.astype(jnp.float32) * path).sum(-1)

    def is_incomplete(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        error = jnp.abs(attribution(*state).sum(spatial_axes(path)) - change)
        return (state[0] * 3 <= most) & (error > tolerance * jnp.maximum(jnp.abs(change), 1.0)).any()

    def refine(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        # Of three times as many midpoints every middle one is known; the first and the last of each three are new.
        points, total = state

        def add_new(number: int, sums: jax.Array) -> jax.Array:
            i = number * at_once + jnp.arange(at_once)
            places = (3 * (i // 2) + 2 * (i % 2)).astype(jnp.float32) + 0.5
            return add(sums, places / (3 * points).astype(jnp.float32))

        return 3 * points, jax.lax.fori_loop(0, 2 * points // at_once, add_new, total)

    places = ((jnp.arange(FIRST_POINTS, dtype=jnp.float32) + 0.5) / FIRST_POINTS).reshape(-1, at_once)
    total, _ = jax.lax.scan(lambda sums, some: (add(sums, some), None), jnp.zeros_like(path), places)
    return attribution(*jax.lax.while_loop(is_incomplete, refine, (jnp.int32(FIRST_POINTS), total)))


def completeness_error(forward: Forward, image: jax.Array, target: jax.Array, maps: jax.Array, *,
                       baseline: float | jax.Array = 0.0) -> jax.Array:
    """The absolute difference between the sum of integrated gradients and the change of the logit, `[B]`."""
    start = jnp.broadcast_to(jnp.asarray(baseline, jnp.float32), image.shape)
    change = class_score(forward, image.astype(jnp.float32), target) - class_score(forward, start, target)
    return jnp.abs(maps.sum(tuple(range(1, maps.ndim))) - change)


def smooth_grad(forward: Forward, image: jax.Array, target: jax.Array, *, key: jax.Array | None = None,
                samples: int = 32, noise: float = 0.15) -> jax.Array:
    """SmoothGrad: the magnitude of the logit's gradient, averaged over noisy copies of the image (Smilkov 2017).

    Args:
      forward: the network; see `saliency.forward`.
      image: `[B, *S, C]`.
      target: `[B]`.
      key: random key of the noise; that of seed 0 by default.
      samples: number of copies.
      noise: standard deviation, as a fraction of each image's range of intensities.

    Returns:
      Maps `[B, *S]`, at least 0, summed over channels.
    """
    image = image.astype(jnp.float32)
    axes = tuple(range(1, image.ndim))
    deviation = noise * jnp.ptp(image, axes, keepdims=True)

    def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        noisy = image + deviation * jax.random.normal(key, image.shape)
        return total + jax.grad(lambda x: class_score(forward, x, target).sum())(noisy), None

    keys = jax.random.split(jax.random.key(0) if key is None else key, samples)
    total, _ = jax.lax.scan(add, jnp.zeros_like(image), keys)
    return jnp.abs(total / samples).sum(-1)
