"""What two players of a game lose: a generator, and a critic that tells real images from made ones.

Every loss is one number per example, whatever the critic says of it: one number, or one for each patch (Isola 2017),
which are averaged. A task makes one scalar of both players' losses and stops gradients, so that each part of the
network gets its own.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from medjax.errors import InputError

KINDS = ('non_saturating', 'hinge', 'wasserstein', 'least_squares')
Score = Callable[..., jax.Array]  # (image [1, *S, C], whatever else [1, …]) -> what the critic says of it, [1, …]


def check(kind: str, where: str = 'config.task.loss') -> None:
    """Refuses the name of a loss that is not known."""
    if kind not in KINDS:
        raise InputError(f'{where}: {kind!r} is not known; expected one of: {", ".join(KINDS)}')


def generator_loss(fake: jax.Array, kind: str) -> jax.Array:
    """What the generator loses by what the critic says of its images, `[B, …] -> [B]` float32.

    - 'non_saturating': -log of the probability that they are real (Goodfellow 2014);
    - 'hinge' and 'wasserstein': less what the critic says (Miyato 2018, Arjovsky 2017);
    - 'least_squares': half the squared distance from 1 (Mao 2017).
    """
    check(kind)
    fake = fake.astype(jnp.float32)
    if kind == 'non_saturating':
        return _mean(jax.nn.softplus(-fake))
    return _mean((fake - 1) ** 2 / 2 if kind == 'least_squares' else -fake)


def critic_loss(real: jax.Array, fake: jax.Array, kind: str) -> jax.Array:
    """What the critic loses by what it says of real images and of made ones, each `[B, …] -> [B]` float32.

    - 'non_saturating': the cross-entropy of both;
    - 'hinge': how far real ones stay below 1, and made ones above -1;
    - 'wasserstein': how much more it says of made ones; in need of a bound of its slope (`gradient_penalty`);
    - 'least_squares': half the squared distances from 1 and from 0.
    """
    check(kind)
    real, fake = real.astype(jnp.float32), fake.astype(jnp.float32)
    if kind == 'non_saturating':
        return _mean(jax.nn.softplus(-real)) + _mean(jax.nn.softplus(fake))
    if kind == 'hinge':
        return _mean(jax.nn.relu(1 - real)) + _mean(jax.nn.relu(1 + fake))
    if kind == 'wasserstein':
        return _mean(fake) - _mean(real)
    return _mean((real - 1) ** 2) / 2 + _mean(fake**2) / 2


def squared_slope(score: Score, image: jax.Array, *more: jax.Array) -> jax.Array:
    """Squared norm of the gradient of what a critic says of each image, by that image.

    Each example is shown to the critic by itself: nothing of the batch counts, which may be of one.

    Args:
      score: the critic; it takes a batch of one. What it says of patches is averaged.
      image: `[B, *S, C]`.
      *more: what else it sees, such as classes, `[B, …]`.

    Returns:
      `[B]` float32.
    """
    def one(image: jax.Array, *more: jax.Array) -> jax.Array:
        return score(image[None], *(x[None] for x in more)).astype(jnp.float32).mean()

    slope = jax.vmap(jax.grad(one))(image.astype(jnp.float32), *more)
    return (slope**2).reshape(len(image), -1).sum(1)


def r1(score: Score, real: jax.Array, *more: jax.Array) -> jax.Array:
    """Half the squared slope at real images, `[B]`: times its gamma, the penalty R1 (Mescheder 2018)."""
    return squared_slope(score, real, *more) / 2


def gradient_penalty(score: Score, real: jax.Array, fake: jax.Array, key: jax.Array, *more: jax.Array) -> jax.Array:
    """Squared distance of the slope from 1, somewhere between a real and a made image (Gulrajani 2017).

    Args:
      score: the critic, see `squared_slope`.
      real: `[B, *S, C]`.
      fake: `[B, *S, C]`; no gradient goes into it.
      key: says where between them, for each pair evenly.
      *more: what else the critic sees, `[B, …]`.

    Returns:
      `[B]` float32; the paper weighs it with 10.
    """
    share = jax.random.uniform(key, (len(real), *[1] * (real.ndim - 1)))
    square = squared_slope(score, real + share * (jax.lax.stop_gradient(fake) - real), *more)
    # A critic that is flat somewhere has a slope of 0, where the root's own is infinite.
    return (jnp.sqrt(jnp.maximum(square, 1e-12)) - 1) ** 2


def _mean(x: jax.Array) -> jax.Array:
    """Averages `[B, …]` over all but the examples."""
    return x.reshape(len(x), -1).mean(1)
