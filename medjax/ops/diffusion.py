"""Between images and noise: levels of noise, what a network tells of them, and steps back to an image.

Everything is about x = signal · x0 + noise · ε, with an image x0 and standard normal noise ε. Of diffusion (DDPM: Ho
2020) the squares of the two sum to 1, of a rectified flow (Liu 2023, Lipman 2023) they themselves do.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Velocity = Callable[[jax.Array, jax.Array], jax.Array]  # `(x, time) ->` of x's shape

LARGEST = 0.999  # share of the signal's variance that one step of a schedule may take (Nichol 2021)


class Level(NamedTuple):
    """How much of an image and how much noise there is: two numbers, or two `[B]` or `[T]`."""

    signal: jax.Array
    noise: jax.Array

    def mix(self, x0: jax.Array, epsilon: jax.Array) -> jax.Array:
        """Draws x from q(x | x0): images `[B, *S, C]` with so much noise."""
        signal, noise = self.over(x0)
        return signal * x0 + noise * epsilon

    def over(self, x: jax.Array) -> 'Level':
        """The level as it is multiplied with images `[B, *S, C]`."""
        return Level(*(jnp.reshape(part, jnp.shape(part) + (1,) * (x.ndim - jnp.ndim(part))) for part in self))


# What a network may tell of x, each a sum of ε and x0 by these weights: `level -> (of ε, of x0)`.
PREDICTIONS: dict[str, Callable[[Level], tuple[jax.Array | float, jax.Array | float]]] = {
    'epsilon': lambda level: (1.0, 0.0),
    'x0': lambda level: (0.0, 1.0),
    'v': lambda level: (level.signal, -level.noise),  # Salimans 2022
    'velocity': lambda level: (1.0, -1.0),  # of a straight line from x0 to ε
}


def _linear(steps: int) -> np.ndarray:
    """Ho 2020's: 1e-4 to 0.02 for 1000 steps."""
    return np.linspace(1e-4, 0.02, steps) * 1000 / steps


def _cosine(steps: int) -> np.ndarray:
    """Nichol 2021's."""
    kept = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2)**2
    return 1 - kept[1:] / kept[:-1]


SCHEDULES = {'linear': _linear, 'cosine': _cosine}


def schedule(name: str, steps: int) -> Level:
    """The levels of a diffusion of so many steps by one of `SCHEDULES`: `[T + 1]` float32, the first without noise."""
    kept = np.cumprod(np.append(1.0, 1 - np.minimum(SCHEDULES[name](steps), LARGEST)))
    return Level(np.sqrt(kept).astype(np.float32), np.sqrt(1 - kept).astype(np.float32))


def wanted(prediction: str, x0: jax.Array, epsilon: jax.Array, level: Level) -> jax.Array:
    """What a network that tells a `prediction` should tell of images with noise at a level, `[B, *S, C]`."""
    of_epsilon, of_x0 = PREDICTIONS[prediction](level.over(x0))
    return of_epsilon * epsilon + of_x0 * x0


def parted(prediction: str, told: jax.Array, x: jax.Array, level: Level) -> tuple[jax.Array, jax.Array]:
    """What is told of x as x0 and ε, `[B, *S, C]` each, whose mixture at this level is x.

    Of 'epsilon' there must be some signal, and of 'x0' some noise.
    """
    level = level.over(x)
    of_epsilon, of_x0 = PREDICTIONS[prediction](level)
    whole = of_epsilon * level.signal - of_x0 * level.noise
    return (of_epsilon * x - level.noise * told) / whole, (level.signal * told - of_x0 * x) / whole


def min_snr(prediction: str, level: Level, most: float) -> jax.Array:
    """Weights of the squared error of a prediction that make it x0's, times the signal-to-noise ratio up to `most`.

    So easy levels, almost without noise, do not outweigh the others (Hang 2023; their γ is `most`).
    """
    of_epsilon, of_x0 = PREDICTIONS[prediction](level)
    whole = of_epsilon * level.signal - of_x0 * level.noise
    return jnp.minimum(level.signal**2, most * level.noise**2) / whole**2


def taken(now: Level, then: Level) -> jax.Array:
    """The share of the signal's variance that a diffusion takes from one level to a noisier one, `now`: DDPM's β."""
    one, other = now.noise * then.signal, then.noise * now.signal
    return jnp.maximum((one - other) * (one + other), 0) / then.signal**2  # digits that 1 - (now / then)² would lose


def posterior(x0: jax.Array, x: jax.Array, now: Level, then: Level) -> tuple[jax.Array, jax.Array]:
    """q(x_then | x_now, x0) in a diffusion, a normal distribution (Ho 2020, equation 7).

    Args:
      x0: the image.
      x: it with noise.
      now: x's level, of two numbers.
      then: a less noisy one, at whichever distance.

    Returns:
      Mean, of x's shape, and standard deviation.
    """
    share, kept = taken(now, then), now.signal / then.signal
    mean = (then.signal * share * x0 + kept * then.noise**2 * x) / now.noise**2
    return mean, then.noise / now.noise * jnp.sqrt(share)


def ddim(x0: jax.Array, epsilon: jax.Array, now: Level, then: Level, eta: float, fresh: jax.Array) -> jax.Array:
    """A step of a diffusion to a less noisy level (DDIM: Song 2021, equation 12).

    Args:
      x0: the image as it is told from x.
      epsilon: the noise as it is told.
      now: x's level, of two numbers.
      then: the level to go to, at whichever distance.
      eta: how much of the noise is drawn anew: 0 none, 1 as DDPM's posterior does.
      fresh: standard normal noise.
    """
    new = eta * then.noise / now.noise * jnp.sqrt(taken(now, then))
    return then.signal * x0 + jnp.sqrt(jnp.maximum(then.noise**2 - new**2, 0)) * epsilon + new * fresh


def _heun(velocity: Velocity, x: jax.Array, now: jax.Array, then: jax.Array) -> jax.Array:
    first = velocity(x, now)
    return (first + velocity(x + (then - now) * first, then)) / 2


# The mean velocity of a step; errors fall with the number of steps, or with its square.
SOLVERS = {'euler': lambda velocity, x, now, then: velocity(x, now), 'heun': _heun}


def solve(velocity: Velocity, x: jax.Array, times: jax.Array, solver: str = 'heun') -> jax.Array:
    """Goes along a velocity from the first of some times to the last, forward or backward.

    Args:
      velocity: `(x, time) -> ` of x's shape.
      x: where to begin.
      times: `[N + 1]`; of a flow noise is at 1 and the image at 0.
      solver: one of `SOLVERS`; 'heun' asks for two velocities a step.

    Returns:
      x at the last time.
    """
    def step(x: jax.Array, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        now, then = ends
        return x + (then - now) * SOLVERS[solver](velocity, x, now, then), None

    return lax.scan(step, x, (times[:-1], times[1:]))[0]
