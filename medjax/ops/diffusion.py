"""Diffusion models and rectified flows: noise levels, prediction targets, and sampling steps.

A noisy image is x = signal · x0 + noise · ε with an image x0 and standard normal noise ε. In diffusion (DDPM, Ho 2020)
signal² + noise² = 1; in a rectified flow (Liu 2023, Lipman 2023) signal + noise = 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Velocity = Callable[[jax.Array, jax.Array], jax.Array]  # `(x, time) ->` the shape of x

MAX_BETA = 0.999  # largest fraction of the signal's variance that one step of a schedule may remove (Nichol 2021)


class NoiseLevel(NamedTuple):
    """Coefficients of the image and of the noise: two scalars, or two arrays `[B]` or `[T]`."""

    signal: jax.Array
    noise: jax.Array

    def add_noise(self, x0: jax.Array, epsilon: jax.Array) -> jax.Array:
        """A sample of q(x | x0): images `[B, *S, C]` at this noise level."""
        signal, noise = self.expand_like(x0)
        return signal * x0 + noise * epsilon

    def expand_like(self, x: jax.Array) -> 'NoiseLevel':
        """The level with trailing axes added, such that it can be multiplied with images `[B, *S, C]`."""
        return NoiseLevel(*(jnp.reshape(part, jnp.shape(part) + (1,) * (x.ndim - jnp.ndim(part))) for part in self))


# Quantities that a network may predict. Each is a weighted sum of ε and x0: `level -> (weight of ε, weight of x0)`.
PREDICTIONS: dict[str, Callable[[NoiseLevel], tuple[jax.Array | float, jax.Array | float]]] = {
    'epsilon': lambda level: (1.0, 0.0),
    'x0': lambda level: (0.0, 1.0),
    'v': lambda level: (level.signal, -level.noise),  # Salimans 2022
    'velocity': lambda level: (1.0, -1.0),  # of the straight line from x0 to ε
}


def _linear(steps: int) -> np.ndarray:
    """The linear β schedule of Ho 2020: 1e-4 to 0.02 for 1000 steps."""
    return np.linspace(1e-4, 0.02, steps) * 1000 / steps


def _cosine(steps: int) -> np.ndarray:
    """The cosine schedule of Nichol 2021."""
    signal = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2)**2
    return 1 - signal[1:] / signal[:-1]


SCHEDULES = {'linear': _linear, 'cosine': _cosine}


def schedule(name: str, steps: int) -> NoiseLevel:
    """The noise levels of a diffusion with `steps` steps: `[T + 1]` float32, the first without noise.

    Args:
      name: a name in `SCHEDULES`.
      steps: number of steps, T.
    """
    kept = np.cumprod(np.append(1.0, 1 - np.minimum(SCHEDULES[name](steps), MAX_BETA)))
    return NoiseLevel(np.sqrt(kept).astype(np.float32), np.sqrt(1 - kept).astype(np.float32))


def prediction_target(prediction: str, x0: jax.Array, epsilon: jax.Array, level: NoiseLevel) -> jax.Array:
    """The target of a network that predicts `prediction`, for noisy images at a level: `[B, *S, C]`."""
    of_epsilon, of_x0 = PREDICTIONS[prediction](level.expand_like(x0))
    return of_epsilon * epsilon + of_x0 * x0


def x0_and_epsilon(prediction: str, predicted: jax.Array, x: jax.Array,
                   level: NoiseLevel) -> tuple[jax.Array, jax.Array]:
    """Converts a prediction for x to x0 and ε, `[B, *S, C]` each, whose mixture at this level is x.

    For 'epsilon' the signal must not be 0, for 'x0' the noise must not be 0.
    """
    level = level.expand_like(x)
    of_epsilon, of_x0 = PREDICTIONS[prediction](level)
    determinant = of_epsilon * level.signal - of_x0 * level.noise
    return ((of_epsilon * x - level.noise * predicted) / determinant,
            (level.signal * predicted - of_x0 * x) / determinant)


def min_snr_weight(prediction: str, level: NoiseLevel, gamma: float) -> jax.Array:
    """Loss weights of the squared error of a prediction by min-SNR-γ (Hang 2023).

    They turn it into the squared error of x0 times min(SNR, γ), so that levels with little noise do not dominate.
    """
    of_epsilon, of_x0 = PREDICTIONS[prediction](level)
    determinant = of_epsilon * level.signal - of_x0 * level.noise
    return jnp.minimum(level.signal**2, gamma * level.noise**2) / determinant**2


def beta(now: NoiseLevel, then: NoiseLevel) -> jax.Array:
    """The fraction of the signal's variance that diffusion removes between `then` and the noisier `now`: DDPM's β."""
    one, other = now.noise * then.signal, then.noise * now.signal
    # The product of sum and difference keeps digits that 1 - (now / then)² would lose.
    return jnp.maximum((one - other) * (one + other), 0) / then.signal**2


def posterior(x0: jax.Array, x: jax.Array, now: NoiseLevel, then: NoiseLevel) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of q(x_then | x_now, x0), a normal distribution (Ho 2020, equation 7).

    Args:
      x0: the image.
      x: the noisy image.
      now: noise level of x, scalars.
      then: a level with less noise, any number of steps away.

    Returns:
      Mean, of the shape of x, and standard deviation.
    """
    removed, kept = beta(now, then), now.signal / then.signal
    mean = (then.signal * removed * x0 + kept * then.noise**2 * x) / now.noise**2
    return mean, then.noise / now.noise * jnp.sqrt(removed)


def ddim_step(x0: jax.Array, epsilon: jax.Array, now: NoiseLevel, then: NoiseLevel, eta: float,
              fresh: jax.Array) -> jax.Array:
    """A sampling step to a level with less noise (DDIM, Song 2021, equation 12).

    Args:
      x0: the image predicted from x.
      epsilon: the noise predicted from x.
      now: noise level of x, scalars.
      then: the level to go to, any number of steps away.
      eta: amount of new noise: 0 for none (deterministic), 1 for the variance of DDPM's posterior.
      fresh: new standard normal noise.

    Returns:
      x at the level `then`.
    """
    new = eta * then.noise / now.noise * jnp.sqrt(beta(now, then))
    return then.signal * x0 + jnp.sqrt(jnp.maximum(then.noise**2 - new**2, 0)) * epsilon + new * fresh


def _heun(velocity: Velocity, x: jax.Array, now: jax.Array, then: jax.Array) -> jax.Array:
    first = velocity(x, now)
    return (first + velocity(x + (then - now) * first, then)) / 2


# The mean velocity of a step. The error is of first order in the step for 'euler' and of second order for 'heun'.
SOLVERS = {'euler': lambda velocity, x, now, then: velocity(x, now), 'heun': _heun}


def solve(velocity: Velocity, x: jax.Array, times: jax.Array, solver: str = 'heun') -> jax.Array:
    """Integrates dx/dt = velocity(x, t) from the first to the last of the given times, forward or backward.

    Args:
      velocity: `(x, time) ->` an array of the shape of x.
      x: initial value.
      times: `[N + 1]`; a flow has noise at time 1 and the image at time 0.
      solver: a name in `SOLVERS`; 'heun' evaluates the velocity twice per step.

    Returns:
      x at the last time.
    """
    def step(x: jax.Array, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        now, then = ends
        return x + (then - now) * SOLVERS[solver](velocity, x, now, then), None

    return lax.scan(step, x, (times[:-1], times[1:]))[0]
