"""Images made again from little: autoencoders, and what they say of images that are not like those they know."""

import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, train_forward
from medjax.errors import InputError
from medjax.ops.latent import kl_to_standard_normal

DISTANCES = ('squared', 'absolute')


def task(module: nn.Module, *, statistics: Mapping[str, Any], distance: str = 'squared', sigma: float = 1.0,
         beta: float = 1.0, commitment: float = 0.25, noise: float = 0.0, restore: int = 0, hold: float = 1.0,
         rate: float = 0.1, walk: int = 0) -> Task:
    """Makes reconstruction with a network a task.

    The loss is the negative evidence lower bound for each image, over its voxels: half the squared errors over sigma²
    (or absolute ones over sigma), and `beta` times the latent's divergence from a standard normal one, all over the
    number of voxels.

    Args:
      module: gives images and features; what of 'mean' and 'log_variance' (VAE), 'commitment' (VQ-VAE) or 'hidden',
        which voxels alone are asked for (masked autoencoders), is there counts.
      statistics: of the training data; nothing of them is needed.
      distance: 'squared' or 'absolute'.
      sigma: standard deviation of the noise that a voxel is taken to have; the smaller, the less the latent is bound.
      beta: weight of the divergence (Higgins 2017).
      commitment: weight of the features' distance from their vectors.
      noise: standard deviation of what is added to the image in training, which is to be undone (Vincent 2008).
      restore: steps of gradient descent by which `predict` changes an image until it is more likely by the bound (You
        2019); 0 for none.
      hold: how dear the change's total variation is against the bound, which counts all voxels here.
      rate: of such a step, times sigma²: which share of its error a voxel loses, were it not for the others.
      walk: images that `predict` makes on the way from each latent to that of the image before it in the batch, both
        ends included; 0 for none. Not for masked autoencoders.

    Returns:
      A task on `image [B, *S, C]`. `predict` gives `recon [B, *S, C]`, `residual [B, *S]`, the squared error's mean
      over channels, `latent [B, L]`, and for each image `error`, the mean squared error, and `bound`, the loss; where
      images are restored `change [B, *S]`, by how much (absolute, mean over channels), and its mean `restored`; on a
      walk `walk [B, W, *S, C]`.
    """
    del statistics
    if walk < 0 or walk == 1:
        raise InputError(f'config.task.walk: {walk}; expected 0, or at least 2, for both ends')
    if walk and 'mix' not in inspect.signature(type(module).__call__).parameters:
        raise InputError(f'config.task.walk: {walk}; expected 0 for {type(module).__module__}, whose latents make no '
                         'image')
    if restore < 0 or hold < 0 or not rate > 0:
        raise InputError(f'config.task: restore={restore}, hold={hold}, rate={rate}; expected at least 0 steps, a '
                         'weight of at least 0 and a rate above 0')
    if distance not in DISTANCES:
        raise InputError(f'config.task.distance: {distance!r}; expected one of: {", ".join(DISTANCES)}')
    if not sigma > 0 or min(beta, commitment, noise) < 0:
        raise InputError(f'config.task: sigma={sigma}, beta={beta}, commitment={commitment}, noise={noise}; expected '
                         'a sigma above 0, and nothing below 0')

    def bound(image: jax.Array, recon: jax.Array, feats: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """For each image the loss and its parts, `[B]`."""
        apart = (recon - image).reshape(len(image), -1)
        each = (apart / sigma)**2 / 2 if distance == 'squared' else jnp.abs(apart) / sigma
        asked = jnp.broadcast_to(feats['hidden'][..., None], image.shape).reshape(each.shape) if 'hidden' in feats \
            else jnp.ones_like(each)
        parts = {'fit': (asked * each).sum(1) / asked.sum(1)}
        if 'log_variance' in feats:
            divergence = kl_to_standard_normal(feats['mean'], feats['log_variance'])
            parts['divergence'] = beta * divergence / apart.shape[1]
        if 'commitment' in feats:
            parts['commitment'] = commitment * feats['commitment']
        return {'bound': sum(parts.values()), **parts}

    def loss(variables: Variables, batch: Batch, key: jax.Array):
        drawn, dropped = jax.random.split(key)
        image = batch['image']
        shown = image + noise * jax.random.normal(drawn, image.shape) if noise else image
        (recon, feats), mutated = train_forward(module, variables, {**batch, 'image': shown}, dropped)
        states = {name: masked_mean(value, batch['mask']) for name, value in bound(image, recon, feats).items()}
        if 'usage' in feats:
            states['usage'] = (feats['usage'], jnp.ones(()))
        total, count = states['bound']
        return total / jnp.maximum(count, 1), (mutated, states)

    def restoration(variables: Variables, image: jax.Array) -> jax.Array:
        """By how much each image is changed until it is likely, `[B, *S, C]`."""
        def cost(change: jax.Array) -> jax.Array:
            recon, feats = module.apply(variables, image + change, train=False)
            rough = sum(jnp.abs(jnp.diff(change, axis=axis)).sum() for axis in range(1, change.ndim - 1))
            return bound(image + change, recon, feats)['bound'].sum() * image[0].size + hold * rough

        def step(change: jax.Array, _: None) -> tuple[jax.Array, None]:
            return change - rate * sigma**2 * jax.grad(cost)(change), None

        return jax.lax.scan(step, jnp.zeros_like(image), length=restore)[0]

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        image = batch['image']
        recon, feats = module.apply(variables, image, train=False)
        residual = ((recon - image) ** 2).mean(-1)
        told = {'recon': recon, 'residual': residual, 'latent': feats['latent'],
                'error': residual.reshape(len(image), -1).mean(1), 'bound': bound(image, recon, feats)['bound']}
        if restore:
            change = jnp.abs(restoration(variables, image)).mean(-1)
            told |= {'change': change, 'restored': change.reshape(len(image), -1).mean(1)}
        if walk:
            made = jax.lax.map(lambda mix: module.apply(variables, image, train=False, mix=mix)[0],
                               jnp.linspace(0.0, 1.0, walk))
            told['walk'] = jnp.moveaxis(made, 0, 1)
        return told

    def metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
        return {'error': masked_mean(outputs['error'], batch['mask'])}

    return Task(lambda key, batch: init_variables(module, key, batch), loss, predict, metrics)
