"""Class activation maps: features weighted by the gradient of a class's logit."""

import jax
import jax.numpy as jnp

from medjax.tasks.classification.saliency.forward import Forward, feature_and_gradient, resize_to_image, spatial_axes


def grad_cam(forward: Forward, image: jax.Array, target: jax.Array, *, layer: str = '') -> jax.Array:
    """Grad-CAM: features weighted by the mean gradient of the class's logit, negative sums set to 0 (Selvaraju 2017).

    Args:
      forward: the network; see `saliency.forward`.
      image: `[B, *S, C]`.
      target: `[B]`.
      layer: name of a feature `[B, *grid, C]`; by default the last one that has a grid of several places. If its places
        no longer affect the logits, such as a transformer's last tokens beside its class token, gradient and map are 0.

    Returns:
      Maps `[B, *S]`, at least 0, interpolated linearly from the feature's grid.

    Raises:
      InputError: the network has no such feature.
    """
    feature, gradient = feature_and_gradient(forward, image, target, layer)
    weights = gradient.mean(spatial_axes(feature), keepdims=True)
    return resize_to_image(jax.nn.relu((weights * feature).sum(-1)), image)


def grad_cam_pp(forward: Forward, image: jax.Array, target: jax.Array, *, layer: str = '') -> jax.Array:
    """Grad-CAM++: weights places by how much of the class each explains, so that several instances are visible.

    Chattopadhay 2018, for the exponential of the class's score: its second and third derivatives with respect to a
    feature are then powers of the logit's gradient, if the network is piecewise linear. The score itself scales the
    whole map and is left out.

    Args:
      forward: the network; see `saliency.forward`.
      image: `[B, *S, C]`.
      target: `[B]`.
      layer: as in `grad_cam`.

    Returns:
      Maps `[B, *S]`, at least 0.

    Raises:
      InputError: the network has no such feature.
    """
    feature, gradient = feature_and_gradient(forward, image, target, layer)
    axes = spatial_axes(feature)
    denominator = 2 * gradient**2 + feature.sum(axes, keepdims=True) * gradient**3
    share = gradient**2 / jnp.where(denominator == 0, 1.0, denominator)
    weights = (share * jax.nn.relu(gradient)).sum(axes, keepdims=True)
    return resize_to_image(jax.nn.relu((weights * feature).sum(-1)), image)
