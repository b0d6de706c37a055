"""Images made by a generator that a critic does not tell from real ones (Goodfellow 2014), of a class each.

Both players learn from one scalar, the sum of their losses: where the generator is judged, the critic's parameters are
held fixed, and where the critic is, the made images are. So each part's gradient is of its own loss alone, and the one
loop trains both; `config.optim.parts` gives them optimisers and turns of their own, such as five steps of the critic
to one of the generator.
"""

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


def latents(module: nn.Module, keys: jax.Array) -> jax.Array:
    """What images are made from, `[B, latent]`, of each one's key `[B]`."""
    return jax.vmap(lambda key: jax.random.normal(key, (module.latent,)))(keys)


def task(module: nn.Module, *, statistics: Mapping[str, Any], loss: str = 'non_saturating', r1: float = 0.0,
         penalty: float = 0.0, augment: Sequence[str] = ()) -> Task:
    """Makes the game of a generator and a critic a task.

    Args:
      module: with `generate`, `judge`, and parameters under 'generator' and 'critic', as `models.gan.Model` has them.
      statistics: of the training data: its classes, which the module has to be of, or of one for none.
      loss: 'non_saturating', 'hinge', 'wasserstein' or 'least_squares'; see `losses.adversarial`.
      r1: weight of the squared slope at real images, its gamma (Mescheder 2018).
      penalty: weight of the squared distance from 1 of the slope between real and made images (Gulrajani 2017).
      augment: ways of `ops.diffaugment` in which whatever the critic sees is changed.

    Returns:
      A task on `image [B, *S, C]` and `label [B]`. `predict` maps `seed [B]` and `label [B]` to `sample [B, *S, C]`;
      a seed's image is the same in any batch. What is measured in training: both losses, what the critic says of
      'real' and 'fake' images, and the 'penalty' without its weight.
    """
    adversarial.check(loss)
    diffaugment.check_kinds(augment, 'config.task.augment')
    if min(r1, penalty) < 0:
        raise InputError(f'config.task: r1={r1}, penalty={penalty}; expected nothing below 0')
    classes = statistics.get('classes', ())
    if module.classes not in (1, len(classes)):
        raise InputError(f'config.model.classes: {module.classes}; expected {len(classes)} for {", ".join(classes)}, '
                         'or 1 for images of all of them alike')

    def cost(variables: Variables, batch: Batch, key: jax.Array):
        latent_key, real_key, fake_key, between = jax.random.split(key, 4)
        real, label, mutable = batch['image'], batch['label'], [name for name in variables if name != 'params']
        held = {**variables, 'params': jax.lax.stop_gradient(variables['params'])}

        def judged(variables: Variables, image: jax.Array, label: jax.Array) -> jax.Array:
            # Not in training: the critic's own statistics, those of spectral norm, change with the real images alone.
            return module.apply(variables, image, label, train=False, method='judge')

        keys = jax.random.split(latent_key, len(real))
        made, changed = module.apply(variables, latents(module, keys), label, keys, train=True, mutable=mutable,
                                     method='generate')
        seen = diffaugment.augment(real, real_key, augment)
        shown = diffaugment.augment(made, fake_key, augment)
        says, more = module.apply(variables, seen, label, train=True, mutable=mutable, method='judge')
        denies = judged(variables, jax.lax.stop_gradient(shown), label)
        parts = {'generator_loss': adversarial.generator_loss(judged(held, shown, label), loss),
                 'critic_loss': adversarial.critic_loss(says, denies, loss)}
        each = parts['generator_loss'] + parts['critic_loss']

        def bare(image: jax.Array, label: jax.Array) -> jax.Array:
            return judged(variables, image, label)

        if r1:
            parts['penalty'] = adversarial.r1(bare, seen, label)
            each += r1 * parts['penalty']
        if penalty:
            steep = adversarial.gradient_penalty(bare, seen, shown, between, label)
            parts['penalty'] = parts.get('penalty', 0) + steep
            each += penalty * steep
        parts |= {'real': says.reshape(len(real), -1).mean(1), 'fake': denies.reshape(len(real), -1).mean(1)}
        states = {name: masked_mean(value, batch['mask']) for name, value in parts.items()}
        total, count = masked_mean(each, batch['mask'])
        return total / jnp.maximum(count, 1), (_together(variables, changed, more), states)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(0), seed))(batch['seed'])
        return {'sample': module.apply(variables, latents(module, keys), batch['label'], keys, train=False,
                                       method='generate')}

    def metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
        return {}  # one made image is neither right nor wrong

    return Task(lambda key, batch: init_variables(module, key, batch), cost, predict, metrics)


def _together(before: Variables, generator: Variables, critic: Variables) -> Variables:
    """The collections that training changed, each player's from where it was changed."""
    return {name: {**before[name], **{part: changed[name][part] for part, changed in (
        ('generator', generator), ('critic', critic)) if part in changed.get(name, {})}}
        for name in {*generator, *critic}}
