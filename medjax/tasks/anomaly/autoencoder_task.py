"""Autoencoders: image reconstruction, and reconstruction errors as anomaly scores."""

import dataclasses
import functools
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
from medjax.options import NonNegative, NonNegativeInt, Positive

RECONSTRUCTION_LOSSES = ('squared', 'absolute')


def task(module: nn.Module, *, statistics: Mapping[str, Any], reconstruction_loss: str = 'squared',
         sigma: Positive = 1.0,
         beta: NonNegative = 1.0, commitment: NonNegative = 0.25, noise: NonNegative = 0.0,
         restoration_steps: NonNegativeInt = 0,
         restoration_tv: NonNegative = 1.0, restoration_rate: Positive = 0.1,
         interpolations: NonNegativeInt = 0) -> Task:
    """The task of reconstructing images with an autoencoder.

    The loss is the negative evidence lower bound of each image, per voxel: half the squared error over sigma² (or the
    absolute error over sigma), plus `beta` times the divergence of the latent from a standard normal distribution.

    Args:
      module: the network, with output images and features. The features 'mean' and 'log_variance' (VAE), 'commitment'
        (VQ-VAE) and 'hidden' (masked autoencoders: the voxels on which the error counts) are used where present.
      statistics: of the training data; not used.
      reconstruction_loss: the error, 'squared' or 'absolute'.
      sigma: standard deviation of the noise assumed for a voxel; a smaller one weighs the error more.
      beta: weight of the divergence (Higgins 2017).
      commitment: weight of the distance of features from their codebook vectors.
      noise: standard deviation of the noise that is added to the input in training (denoising autoencoder, Vincent
        2008).
      restoration_steps: gradient steps by which `predict` changes an image to make it more likely (You 2019); 0 for
        none.
      restoration_tv: weight of the total variation of that change, against the bound summed over all voxels.
      restoration_rate: step size times sigma²: the fraction of its squared error that a voxel would lose by itself in
        one step.
      interpolations: images that `predict` decodes between the latent of each image and that of the previous image of
        the batch, both included; 0 for none. Not for masked autoencoders.

    Returns:
      A task on `image [B, *S, C]`. `predict` gives `recon [B, *S, C]`; `residual [B, *S]`, the squared error averaged
      over channels; `latent [B, L]`; for each image `error`, the mean squared error, and `bound`, the loss; with
      `restoration_steps` the change `change [B, *S]` (absolute, averaged over channels) and its mean `restored`; with
      `interpolations` the images `interpolated [B, W, *S, C]`.

    Raises:
      InputError: an option out of its range, or that the network does not support.
    """
    del statistics
    options = Options(reconstruction_loss, sigma, beta, commitment, noise, restoration_steps, restoration_tv,
                      restoration_rate, interpolations)
    if interpolations and 'mix' not in inspect.signature(type(module).__call__).parameters:
        raise InputError(f'config.task.interpolations: {interpolations}; expected 0 for {type(module).__module__}, '
                         'which cannot decode latents alone')
    return Task(functools.partial(init_variables, module), functools.partial(_loss, module, options),
                functools.partial(_predict, module, options), _metrics)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the loss and of predictions; see `task`."""

    reconstruction_loss: str
    sigma: float
    beta: float
    commitment: float
    noise: float
    restoration_steps: int
    restoration_tv: float
    restoration_rate: float
    interpolations: int

    def __post_init__(self):
        if self.interpolations < 0 or self.interpolations == 1:
            raise InputError(f'config.task.interpolations: {self.interpolations}; expected 0, or at least 2, '
                             'for both ends')
        if self.restoration_steps < 0 or self.restoration_tv < 0 or not self.restoration_rate > 0:
            raise InputError(f'config.task: restoration_steps={self.restoration_steps}, restoration_tv='
                             f'{self.restoration_tv}, restoration_rate={self.restoration_rate}; expected at least 0 '
                             'steps, a weight of at least 0 and a rate above 0')
        if self.reconstruction_loss not in RECONSTRUCTION_LOSSES:
            raise InputError(f'config.task.reconstruction_loss: {self.reconstruction_loss!r}; expected one of: '
                             f'{", ".join(RECONSTRUCTION_LOSSES)}')
        if not self.sigma > 0 or min(self.beta, self.commitment, self.noise) < 0:
            raise InputError(f'config.task: sigma={self.sigma}, beta={self.beta}, commitment={self.commitment}, '
                             f'noise={self.noise}; expected a sigma above 0, and no other below 0')


def negative_bound(options: Options, image: jax.Array, recon: jax.Array,
                   feats: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The loss of each image and its parts.

    Args:
      options: of the task.
      image: `[B, *S, C]`.
      recon: `[B, *S, C]`, the network's output.
      feats: the network's features.

    Returns:
      `bound`, the sum, `fit`, and `divergence` and `commitment` where the network has them, `[B]` each.
    """
    difference = (recon - image).reshape(image.shape[0], -1)
    squared = options.reconstruction_loss == 'squared'
    each = (difference / options.sigma)**2 / 2 if squared else jnp.abs(difference) / options.sigma
    if 'hidden' in feats:
        weight = jnp.broadcast_to(feats['hidden'][..., None], image.shape).reshape(each.shape)
    else:
        weight = jnp.ones_like(each)
    parts = {'fit': (weight * each).sum(1) / weight.sum(1)}
    if 'log_variance' in feats:
        divergence = kl_to_standard_normal(feats['mean'], feats['log_variance'])
        parts['divergence'] = options.beta * divergence / difference.shape[1]
    if 'commitment' in feats:
        parts['commitment'] = options.commitment * feats['commitment']
    return {'bound': sum(parts.values()), **parts}


def _loss(module: nn.Module, options: Options, variables: Variables, batch: Batch, key: jax.Array) -> Any:
    noise_key, dropout_key = jax.random.split(key)
    image = batch['image']
    noisy = image + options.noise * jax.random.normal(noise_key, image.shape) if options.noise else image
    (recon, feats), mutated = train_forward(module, variables, {**batch, 'image': noisy}, dropout_key)
    parts = negative_bound(options, image, recon, feats)
    states = {name: masked_mean(value, batch['mask']) for name, value in parts.items()}
    if 'usage' in feats:
        states['usage'] = (feats['usage'], jnp.ones(()))
    total, count = states['bound']
    return total / jnp.maximum(count, 1), (mutated, states)


def _restoration(module: nn.Module, options: Options, variables: Variables, image: jax.Array) -> jax.Array:
    """The change of each image after gradient descent on its bound, `[B, *S, C]`."""
    def cost(change: jax.Array) -> jax.Array:
        recon, feats = module.apply(variables, image + change, train=False)
        variation = sum(jnp.abs(jnp.diff(change, axis=axis)).sum() for axis in range(1, change.ndim - 1))
        bound = negative_bound(options, image + change, recon, feats)['bound']
        return bound.sum() * image[0].size + options.restoration_tv * variation

    def step(change: jax.Array, _: None) -> tuple[jax.Array, None]:
        return change - options.restoration_rate * options.sigma**2 * jax.grad(cost)(change), None

    return jax.lax.scan(step, jnp.zeros_like(image), length=options.restoration_steps)[0]


def _predict(module: nn.Module, options: Options, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
    image = batch['image']
    recon, feats = module.apply(variables, image, train=False)
    residual = ((recon - image) ** 2).mean(-1)
    outputs = {'recon': recon, 'residual': residual, 'latent': feats['latent'],
               'error': residual.reshape(image.shape[0], -1).mean(1),
               'bound': negative_bound(options, image, recon, feats)['bound']}
    if options.restoration_steps:
        change = jnp.abs(_restoration(module, options, variables, image)).mean(-1)
        outputs |= {'change': change, 'restored': change.reshape(image.shape[0], -1).mean(1)}
    if options.interpolations:
        decoded = jax.lax.map(lambda mix: module.apply(variables, image, train=False, mix=mix)[0],
                              jnp.linspace(0.0, 1.0, options.interpolations))
        outputs['interpolated'] = jnp.moveaxis(decoded, 0, 1)
    return outputs


def _metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
    return {'error': masked_mean(outputs['error'], batch['mask'])}
