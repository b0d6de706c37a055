"""The network as saliency methods see it, and what they share.

Every method is `method(forward, image, target, …) -> maps`, pure and traceable, with

- `forward(image [B, *S, C], perturbations) -> (logits [B, K], feats)`: the network in evaluation mode, in which an
  image's logits depend on no other image. `perturbations` maps names of features to arrays that are added to them, by
  flax's `Module.perturb` and the collection of that name; it is empty where no gradient with respect to a feature is
  needed. A single logit is that of class 1, and its negative that of class 0.
- `image [B, *S, C]` float32 and `target [B]` int32, the class that each map explains.
- maps `[B, *S]` float32, larger where the image supports the class. Each method has its own unit: compare maps of two
  methods by the order of their values only.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from medjax.errors import InputError

Forward = Callable[[jax.Array, Mapping[str, jax.Array]], tuple[jax.Array, Mapping[str, Any]]]


def class_score(forward: Forward, image: jax.Array, target: jax.Array) -> jax.Array:
    """The logit of each image's target class, `[B]` float32."""
    return _select_class(forward(image, {})[0], target)


def feature_and_gradient(forward: Forward, image: jax.Array, target: jax.Array,
                         layer: str) -> tuple[jax.Array, jax.Array]:
    """A feature and the gradient of the target class's logit with respect to it, both `[B, *grid, C]` float32.

    Args:
      forward: the network; see the module.
      image: `[B, *S, C]`.
      target: `[B]`.
      layer: name of the feature; the last one with a spatial grid by default.

    Raises:
      InputError: the network has no such feature.
    """
    names: list[str] = []  # in the network's order, which a traced dict does not keep

    def features(x: jax.Array) -> Mapping[str, Any]:
        feats = forward(x, {})[1]
        # Attention has no spatial grid, though it may have as many axes as the features of a volume.
        names.extend(name for name, value in feats.items() if name != 'attention' and value.ndim == x.ndim
                     and value.size > len(x) * value.shape[-1])
        return feats

    shapes = jax.eval_shape(features, image)
    if not names or layer and layer not in names:
        raise InputError(f'layer {layer!r}: the network has no such feature with a spatial grid; those it has are: '
                         f'{", ".join(names) or "none"}')
    layer = layer or names[-1]
    # Flax requires a perturbation for every feature that can be perturbed.
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), dict(shapes))

    def score(added: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, feats = forward(image, {**zeros, layer: added})
        return _select_class(logits, target).sum(), feats[layer]

    gradient, feature = jax.grad(score, has_aux=True)(zeros[layer])
    return feature.astype(jnp.float32), gradient.astype(jnp.float32)


def spatial_axes(array: jax.Array) -> tuple[int, ...]:
    """The spatial axes of `[B, *S, C]`."""
    return tuple(range(1, array.ndim - 1))


def resize_to_image(maps: jax.Array, image: jax.Array) -> jax.Array:
    """Maps `[B, *grid]` interpolated linearly to the grid of an image `[B, *S, C]`, `[B, *S]` float32."""
    return jax.image.resize(maps.astype(jnp.float32), image.shape[:-1], 'linear')


def _select_class(logits: jax.Array, target: jax.Array) -> jax.Array:
    logits = logits.astype(jnp.float32)
    logits = jnp.concatenate([-logits, logits], 1) if logits.shape[1] == 1 else logits
    return jnp.take_along_axis(logits, target[:, None], 1)[:, 0]
