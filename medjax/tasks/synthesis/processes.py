"""Processes between images and noise: diffusion (Ho 2020, sampled as in Song 2021) and rectified flow (Liu 2023)."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from medjax.core.config import choose
from medjax.errors import InputError
from medjax.ops import diffusion
from medjax.ops.diffusion import NoiseLevel
from medjax.options import Count, NonNegative, Probability, Range

Denoiser = Callable[[jax.Array, jax.Array], jax.Array]  # `(x, time) ->` the network's prediction for x


@dataclasses.dataclass(frozen=True)
class Diffusion:
    """A diffusion process, in which images turn to noise in many small steps.

    Attributes:
      schedule: noise schedule, 'cosine' or 'linear'.
      timesteps: number of steps in training.
      prediction: what the network predicts: 'v', 'epsilon' or 'x0'.
      sampling_steps: number of sampling steps, at most `timesteps`.
      eta: amount of noise that is drawn in a sampling step: 0 for none (DDIM), 1 for as much as in DDPM.
      clip: largest absolute intensity of an image, to which predictions are clipped during sampling; 0 for no limit.
    """

    schedule: str = 'cosine'
    timesteps: Annotated[int, Range(low=2)] = 1000
    prediction: str = 'v'
    sampling_steps: Count = 50
    eta: Probability = 0.0
    clip: NonNegative = 0.0

    def __post_init__(self):
        choose(diffusion.SCHEDULES, self.schedule, 'config.task.schedule')
        choose(dict.fromkeys(('v', 'epsilon', 'x0')), self.prediction, 'config.task.prediction')
        if not 1 <= self.sampling_steps <= self.timesteps:
            raise InputError(f'config.task: sampling_steps={self.sampling_steps}, timesteps={self.timesteps}; '
                             'expected at least 1 step, and as '
                             'many times or more')
        if not 0 <= self.eta <= 1 or self.clip < 0:
            raise InputError(f'config.task: eta={self.eta}, clip={self.clip}; expected an eta from 0 to 1, and a clip '
                             'of at least 0')

    @property
    def _levels(self) -> NoiseLevel:
        return diffusion.schedule(self.schedule, self.timesteps)

    def draw_times(self, key: jax.Array, count: int) -> tuple[jax.Array, NoiseLevel]:
        """Random times for training, `[count]` in 0–1, and their noise levels."""
        number = jax.random.randint(key, (count,), 1, self.timesteps + 1)
        return number / self.timesteps, NoiseLevel(*(jnp.asarray(part)[number] for part in self._levels))

    def sample(self, denoise: Denoiser, x: jax.Array, draw_noise: Callable[[jax.Array], jax.Array]) -> jax.Array:
        """Images from noise.

        Args:
          denoise: the network's prediction for images at a time.
          x: `[B, *S, C]`, standard normal noise.
          draw_noise: the noise of a step, by its number from 1.

        Returns:
          `[B, *S, C]`.
        """
        at = np.linspace(self.timesteps, 0, self.sampling_steps + 1).round().astype(int)
        levels = NoiseLevel(*(jnp.asarray(part[at]) for part in self._levels))

        def step(x: jax.Array, here: Any) -> tuple[jax.Array, None]:
            number, time, now, then = here
            x0, epsilon = diffusion.x0_and_epsilon(self.prediction, denoise(x, time), x, now)
            if self.clip:
                x0, epsilon = diffusion.x0_and_epsilon('x0', jnp.clip(x0, -self.clip, self.clip), x, now)
            noise = draw_noise(number) if self.eta else 0.0
            return diffusion.ddim_step(x0, epsilon, now, then, self.eta, noise), None

        now, then = (NoiseLevel(*(part[ends] for part in levels)) for ends in (slice(-1), slice(1, None)))
        time = jnp.asarray(at[:-1] / self.timesteps, jnp.float32)
        return lax.scan(step, x, (jnp.arange(1, self.sampling_steps + 1), time, now, then))[0]


@dataclasses.dataclass(frozen=True)
class Flow:
    """A rectified flow, in which images turn to noise on a straight line whose velocity the network predicts.

    Attributes:
      sampling_steps: number of sampling steps.
      solver: 'heun', with two evaluations of the network in each step, or 'euler'.
    """

    sampling_steps: Count = 25
    solver: str = 'heun'

    clip = 0.0  # predictions are not clipped

    prediction = 'velocity'

    def __post_init__(self):
        choose(diffusion.SOLVERS, self.solver, 'config.task.solver')
        if self.sampling_steps < 1:
            raise InputError(f'config.task.sampling_steps: {self.sampling_steps}; expected at least 1')

    def draw_times(self, key: jax.Array, count: int) -> tuple[jax.Array, NoiseLevel]:
        """Random times for training, `[count]` in 0–1, and their noise levels."""
        time = jax.random.uniform(key, (count,))
        return time, NoiseLevel(1 - time, time)

    def sample(self, denoise: Denoiser, x: jax.Array, draw_noise: Callable[[jax.Array], jax.Array]) -> jax.Array:
        """Images from noise, see `Diffusion.sample`; no noise is drawn in a step."""
        del draw_noise
        return diffusion.solve(denoise, x, jnp.linspace(1, 0, self.sampling_steps + 1), self.solver)
