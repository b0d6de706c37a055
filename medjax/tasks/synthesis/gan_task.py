"""Generative adversarial networks (Goodfellow 2014): images from latents, conditional on a class.

Generator and discriminator are trained with one scalar, the sum of their losses. In the generator's loss no gradient
goes to the discriminator's parameters, and in the discriminator's loss none goes through the generated images, so that
each network gets the gradient of its own loss. `config.optim.groups` gives them their own optimisers and update
intervals, such as five discriminator updates for one of the generator.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables
from medjax.errors import InputError
from medjax.losses import adversarial
from medjax.ops import diffaugment
from medjax.options import NonNegative


def task(module: nn.Module, *, statistics: Mapping[str, Any], loss: str = 'non_saturating', r1: NonNegative = 0.0,
         gradient_penalty: NonNegative = 0.0, augment: Sequence[str] = ()) -> Task:
    """The task of training a generator and a discriminator.

    Args:
      module: the network, with the methods `generate` and `discriminate`, and parameters under 'generator' and
        'discriminator', as `models.gan.Model` has them.
      statistics: of the training data: its `classes`, whose number the network must have, or one for none.
      loss: 'non_saturating', 'hinge', 'wasserstein' or 'least_squares'; see `losses.adversarial`.
      r1: weight of the R1 penalty, its gamma (Mescheder 2018).
      gradient_penalty: weight of the gradient penalty (Gulrajani 2017).
      augment: augmentations of all images that the discriminator gets; see `ops.diffaugment`.

    Returns:
      A task on `image [B, *S, C]` and `label [B]`. `predict` maps `seed [B]` and `label [B]` to `sample [B, *S, C]`; an
      image depends on its seed and label alone. Metrics of training: both losses, the discriminator's outputs for
      'real' and 'fake' images, and the 'penalty' without its weight.

    Raises:
      InputError: an option out of its range, or another number of classes than that of the data.
    """
    adversarial.check_kind(loss)
    diffaugment.check_kinds(augment, 'config.task.augment')
    if min(r1, gradient_penalty) < 0:
        raise InputError(f'config.task: r1={r1}, gradient_penalty={gradient_penalty}; expected nothing below 0')
    classes = statistics.get('classes', ())
    if module.classes not in (1, len(classes)):
        raise InputError(f'config.model.classes: {module.classes}; expected {len(classes)} for {", ".join(classes)}, '
                         'or 1 for an unconditional GAN')
    options = Options(loss, r1, gradient_penalty, tuple(augment))
    return Task(functools.partial(init_variables, module), functools.partial(_loss, module, options),
                functools.partial(_predict, module), _metrics)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the losses; see `task`."""

    loss: str
    r1: float
    gradient_penalty: float
    augment: tuple[str, ...]


def latents(module: nn.Module, keys: jax.Array) -> jax.Array:
    """Standard normal latents `[B, latent]`, one for each key `[B]`."""
    return jax.vmap(lambda key: jax.random.normal(key, (module.latent,)))(keys)


def _loss(module: nn.Module, options: Options, variables: Variables, batch: Batch, key: jax.Array) -> Any:
    latent_key, real_key, fake_key, penalty_key = jax.random.split(key, 4)
    real, label, mutable = batch['image'], batch['label'], [name for name in variables if name != 'params']
    fixed = {**variables, 'params': jax.lax.stop_gradient(variables['params'])}
    keys = jax.random.split(latent_key, len(real))
    fake, generator_state = module.apply(variables, latents(module, keys), label, keys, train=True, mutable=mutable,
                                         method='generate')
    real = diffaugment.augment(real, real_key, options.augment)
    fake = diffaugment.augment(fake, fake_key, options.augment)
    # The statistics of the discriminator are updated by the real images alone.
    real_output, discriminator_state = module.apply(variables, real, label, train=True, mutable=mutable,
                                                    method='discriminate')
    fake_output = _discriminate(module, variables, jax.lax.stop_gradient(fake), label)
    parts = {
        'generator_loss': adversarial.generator_loss(_discriminate(module, fixed, fake, label), options.loss),
        'discriminator_loss': adversarial.discriminator_loss(real_output, fake_output, options.loss)}
    each = parts['generator_loss'] + parts['discriminator_loss']
    discriminate = functools.partial(_discriminate, module, variables)
    if options.r1:
        parts['penalty'] = adversarial.r1_penalty(discriminate, real, label)
        each += options.r1 * parts['penalty']
    if options.gradient_penalty:
        penalty = adversarial.gradient_penalty(discriminate, real, fake, penalty_key, label)
        parts['penalty'] = parts.get('penalty', 0) + penalty
        each += options.gradient_penalty * penalty
    parts |= {'real': real_output.reshape(len(real), -1).mean(1), 'fake': fake_output.reshape(len(real), -1).mean(1)}
    states = {name: masked_mean(value, batch['mask']) for name, value in parts.items()}
    total, count = masked_mean(each, batch['mask'])
    collections = _merged_collections(variables, generator_state, discriminator_state)
    return total / jnp.maximum(count, 1), (collections, states)


def _discriminate(module: nn.Module, variables: Variables, image: jax.Array, label: jax.Array) -> jax.Array:
    """The discriminator's outputs `[B]`, without an update of its statistics, those of spectral norm."""
    return module.apply(variables, image, label, train=False, method='discriminate')


def _merged_collections(before: Variables, generator_state: Variables, discriminator_state: Variables) -> Variables:
    """The collections that training changed, the part of each network from its own forward pass."""
    out = {}
    for name in {*generator_state, *discriminator_state}:
        out[name] = dict(before[name])
        for part, state in (('generator', generator_state), ('discriminator', discriminator_state)):
            if part in state.get(name, {}):
                out[name][part] = state[name][part]
    return out


def _predict(module: nn.Module, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(0), seed))(batch['seed'])
    return {'sample': module.apply(variables, latents(module, keys), batch['label'], keys, train=False,
                                   method='generate')}


def _metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
    """No metrics: a single generated image is neither right nor wrong."""
    return {}
