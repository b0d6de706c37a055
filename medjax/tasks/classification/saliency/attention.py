"""Saliency maps from the attention of vision transformers."""

import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import InputError
from medjax.tasks.classification.saliency.forward import Forward, resize_to_image


def attention_rollout(forward: Forward, image: jax.Array, target: jax.Array) -> jax.Array:
    """Attention rollout: the flow from each patch to the class token through all layers of a transformer (Abnar 2020).

    Each layer passes on the mean of its heads' attention and, by its skip connection, an equal share of the token
    itself. The map does not depend on the class.

    Args:
      forward: the network, with the features 'attention' `[B, L, H, T, T]`, rows summing to 1, the class token first,
        and 'tokens' `[B, *grid, C]`.
      image: `[B, *S, C]`.
      target: not used.

    Returns:
      Maps `[B, *S]`, at least 0, interpolated linearly from the patches.

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
    flow, _ = jax.lax.scan(lambda row, layer: (row @ layer, None), jnp.zeros((len(image), 1, layers.shape[-1]))
                           .at[:, :, 0].set(1.0), jnp.moveaxis(layers, 1, 0)[::-1])
    return resize_to_image(flow[:, 0, 1:].reshape(-1, *grid), image)
