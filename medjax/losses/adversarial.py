"""Losses of generators and discriminators of GANs, and gradient penalties.

A loss is one number per example. The discriminator's output for an example is one number, or one per patch (Isola
2017); the losses of patches are averaged. A task adds the losses of both networks and stops gradients such that each
network is trained by its own loss.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from medjax.errors import InputError

KINDS = ('non_saturating', 'hinge', 'wasserstein', 'least_squares')
Discriminator = Callable[..., jax.Array]  # (image [1, *S, C], *conditions [1, …]) -> output [1, …]


def check_kind(kind: str, where: str = 'config.task.loss') -> None:
    """Raises an `InputError` for an unknown kind of loss."""
    if kind not in KINDS:
        raise InputError(f'{where}: {kind!r} is not known; expected one of: {", ".join(KINDS)}')


def generator_loss(fake: jax.Array, kind: str) -> jax.Array:
    """The generator's loss, given the discriminator's outputs for its images, `[B, …] -> [B]` float32.

    - 'non_saturating': minus the log-probability that they are real (Goodfellow 2014);
    - 'hinge' and 'wasserstein': minus the discriminator's output (Miyato 2018, Arjovsky 2017);
    - 'least_squares': half the squared distance from 1 (Mao 2017).

    Raises:
      InputError: the kind is unknown.
    """
    check_kind(kind)
    fake = fake.astype(jnp.float32)
    if kind == 'non_saturating':
        return _mean(jax.nn.softplus(-fake))
    return _mean((fake - 1) ** 2 / 2 if kind == 'least_squares' else -fake)


def discriminator_loss(real: jax.Array, fake: jax.Array, kind: str) -> jax.Array:
    """The discriminator's loss, given its outputs for real and generated images, each `[B, …] -> [B]` float32.

    - 'non_saturating': the cross-entropy of both;
    - 'hinge': how far outputs for real images are below 1, and those for generated images above -1;
    - 'wasserstein': the output for generated minus that for real images; needs a bounded gradient
      (`gradient_penalty`);
    - 'least_squares': half the squared distances from 1 and from 0.

    Raises:
      InputError: the kind is unknown.
    """
    check_kind(kind)
    real, fake = real.astype(jnp.float32), fake.astype(jnp.float32)
    if kind == 'non_saturating':
        return _mean(jax.nn.softplus(-real)) + _mean(jax.nn.softplus(fake))
    if kind == 'hinge':
        return _mean(jax.nn.relu(1 - real)) + _mean(jax.nn.relu(1 + fake))
    if kind == 'wasserstein':
        return _mean(fake) - _mean(real)
    return _mean((real - 1) ** 2) / 2 + _mean(fake**2) / 2


def squared_gradient_norm(discriminator: Discriminator, image: jax.Array, *conditions: jax.Array) -> jax.Array:
    """The squared norm of the gradient of the discriminator's output with respect to each image.

    The discriminator is applied to each example separately, so the result does not depend on the batch.

    Args:
      discriminator: takes a batch of one; its outputs for patches are averaged.
      image: `[B, *S, C]`.
      *conditions: further inputs, such as classes, `[B, …]`.

    Returns:
      `[B]` float32.
    """
    def output(image: jax.Array, *conditions: jax.Array) -> jax.Array:
        return discriminator(image[None], *(x[None] for x in conditions)).astype(jnp.float32).mean()

    gradient = jax.vmap(jax.grad(output))(image.astype(jnp.float32), *conditions)
    return (gradient**2).reshape(len(image), -1).sum(1)


def r1_penalty(discriminator: Discriminator, real: jax.Array, *conditions: jax.Array) -> jax.Array:
    """The R1 penalty (Mescheder 2018) without its factor gamma: half the squared gradient norm at real images."""
    return squared_gradient_norm(discriminator, real, *conditions) / 2


def gradient_penalty(discriminator: Discriminator, real: jax.Array, fake: jax.Array, key: jax.Array,
                     *conditions: jax.Array) -> jax.Array:
    """The gradient penalty of WGAN-GP (Gulrajani 2017).

    It is the squared distance of the gradient's norm from 1, at a random point between a real and a generated image.

    Args:
      discriminator: see `squared_gradient_norm`.
      real: `[B, *S, C]`.
      fake: `[B, *S, C]`; no gradient flows into it.
      key: PRNG key of the points, which are uniform between the images of each pair.
      *conditions: further inputs of the discriminator, `[B, …]`.

    Returns:
      `[B]` float32; the paper's weight is 10.
    """
    fraction = jax.random.uniform(key, (len(real), *[1] * (real.ndim - 1)))
    squared = squared_gradient_norm(discriminator, real + fraction * (jax.lax.stop_gradient(fake) - real), *conditions)
    # The bound avoids the infinite derivative of the root where the discriminator is constant.
    return (jnp.sqrt(jnp.maximum(squared, 1e-12)) - 1) ** 2


def _mean(x: jax.Array) -> jax.Array:
    """Averages `[B, …]` over all axes but the first."""
    return x.reshape(len(x), -1).mean(1)
