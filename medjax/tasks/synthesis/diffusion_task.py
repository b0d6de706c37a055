"""Images from noise: diffusion (Ho 2020, sampled as in Song 2021) and rectified flow (Liu 2023, Lipman 2023)."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from medjax.core.config import bind, choose
from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, Task, Variables, init_variables, network_inputs, train_forward
from medjax.errors import InputError
from medjax.ops import diffusion
from medjax.ops.diffusion import NoiseLevel

NONE = -1  # the label where no class is said
CLASSED = ('binary', 'multiclass', 'ordinal')  # problems whose labels are numbers of classes
Tell = Callable[[jax.Array, jax.Array], jax.Array]  # `(x, time) ->` what the network tells of x


@dataclasses.dataclass(frozen=True)
class Diffusion:
    """Images that turn to noise in many small steps.

    Attributes:
      schedule: of the levels of noise, 'cosine' or 'linear'.
      times: steps in training.
      prediction: what the network tells: 'v', 'epsilon' or 'x0'.
      steps: of sampling, at most as many.
      eta: how much noise a step of sampling draws anew: 0 none (DDIM), 1 as DDPM does.
      clip: what no intensity of an image exceeds, which holds for what is told on the way, too; 0 for no limit.
    """

    schedule: str = 'cosine'
    times: int = 1000
    prediction: str = 'v'
    steps: int = 50
    eta: float = 0.0
    clip: float = 0.0

    def __post_init__(self):
        choose(diffusion.SCHEDULES, self.schedule, 'config.task.schedule')
        choose(dict.fromkeys(('v', 'epsilon', 'x0')), self.prediction, 'config.task.prediction')
        if not 1 <= self.steps <= self.times:
            raise InputError(f'config.task: steps={self.steps}, times={self.times}; expected at least 1 step, and as '
                             'many times or more')
        if not 0 <= self.eta <= 1 or self.clip < 0:
            raise InputError(f'config.task: eta={self.eta}, clip={self.clip}; expected an eta from 0 to 1, and a clip '
                             'of at least 0')

    @property
    def _levels(self) -> NoiseLevel:
        return diffusion.schedule(self.schedule, self.times)

    def draw(self, key: jax.Array, count: int) -> tuple[jax.Array, NoiseLevel]:
        """Times to train at, `[count]` in 0–1, and their levels."""
        number = jax.random.randint(key, (count,), 1, self.times + 1)
        return number / self.times, NoiseLevel(*(jnp.asarray(part)[number] for part in self._levels))

    def sample(self, tell: Tell, x: jax.Array, fresh: Callable[[jax.Array], jax.Array]) -> jax.Array:
        """Turns noise to images; `fresh` gives the noise of a step, numbered from 1."""
        at = np.linspace(self.times, 0, self.steps + 1).round().astype(int)
        levels = NoiseLevel(*(jnp.asarray(part[at]) for part in self._levels))

        def step(x: jax.Array, here: Any) -> tuple[jax.Array, None]:
            number, time, now, then = here
            x0, epsilon = diffusion.x0_and_epsilon(self.prediction, tell(x, time), x, now)
            if self.clip:
                x0, epsilon = diffusion.x0_and_epsilon('x0', jnp.clip(x0, -self.clip, self.clip), x, now)
            return diffusion.ddim_step(x0, epsilon, now, then, self.eta, fresh(number) if self.eta else 0.0), None

        now, then = (NoiseLevel(*(part[ends] for part in levels)) for ends in (slice(-1), slice(1, None)))
        time = jnp.asarray(at[:-1] / self.times, jnp.float32)
        return lax.scan(step, x, (jnp.arange(1, self.steps + 1), time, now, then))[0]


@dataclasses.dataclass(frozen=True)
class Flow:
    """Images that turn to noise on a straight line, whose velocity the network tells.

    Attributes:
      steps: of sampling.
      solver: of the way back: 'heun', which asks the network twice a step, or 'euler'.
    """

    steps: int = 25
    solver: str = 'heun'

    prediction = 'velocity'

    def __post_init__(self):
        choose(diffusion.SOLVERS, self.solver, 'config.task.solver')
        if self.steps < 1:
            raise InputError(f'config.task.steps: {self.steps}; expected at least 1')

    def draw(self, key: jax.Array, count: int) -> tuple[jax.Array, NoiseLevel]:
        """Times to train at, `[count]` in 0–1, and their levels."""
        time = jax.random.uniform(key, (count,))
        return time, NoiseLevel(1 - time, time)

    def sample(self, tell: Tell, x: jax.Array, fresh: Callable[[jax.Array], jax.Array]) -> jax.Array:
        """Turns noise to images; nothing is drawn on the way."""
        del fresh
        return diffusion.solve(tell, x, jnp.linspace(1, 0, self.steps + 1), self.solver)


KINDS = {'ddpm': Diffusion, 'flow': Flow}


def task(module: nn.Module, *, statistics: Mapping[str, Any], kind: str = 'ddpm', guidance: float = 1.0,
         label_dropout: float = 0.0, min_snr: float = 0.0, **options: Any) -> Task:
    """Makes drawing images like those of the training data a task.

    The loss is the mean squared error of what the network tells of an image with noise, at a time drawn for each.

    Args:
      module: sees noisy images `[B, *S, C]`, times `[B]` and labels `[B]`, and tells something of the images' shape; it
        has `size`, `channels` and `classes`; see `models/diffusion.py`. One that has `space` sees noisy latents
        `[B, *space]` instead, which it has `encode` and `decode` for; see `models/latent_diffusion.py`.
      statistics: of the training data: `classes` and `problem`.
      kind: 'ddpm' or 'flow'.
      guidance: how far to go from what is told without a class to what is told with it (Ho & Salimans 2022): 0 is
        without, 1 with it, more is beyond, with images more typical and less diverse.
      label_dropout: share of the labels left out in training, for a guidance other than 1.
      min_snr: largest signal-to-noise ratio to weigh an error by (Hang 2023 takes 5); 0 for equal weights.
      **options: of the kind; see `Diffusion` and `Flow`.

    Returns:
      A task on `image [B, *S, C]` and `label [B]`, whose `predict` takes `seed [B]` uint32 and `label [B]` and gives
      `sample [B, *S, C]`: an image depends on its seed and label, not on others of its batch.
    """
    way = bind(choose(KINDS, kind, 'config.task.kind'), options, 'config.task')
    classes = statistics['classes']
    if module.classes not in (0, len(classes)):
        raise InputError(f'config.model.classes: {module.classes}; expected {len(classes)} for {", ".join(classes)}, '
                         'or 0 for none')
    if module.classes and statistics['problem'] not in CLASSED:
        raise InputError(f'config.model.classes: {module.classes}; expected 0: a case has no one class where the '
                         f'problem is {statistics["problem"]}')
    if not 0 <= label_dropout < 1 or min(min_snr, guidance) < 0:
        raise InputError(f'config.task: label_dropout={label_dropout}, min_snr={min_snr}, guidance={guidance}; expected a share below 1, '
                         'and nothing below 0')
    if guidance != 1 and not (module.classes and label_dropout):
        raise InputError(f'config.task.guidance: {guidance}; expected 1, or config.model.classes and a '
                         'config.task.label_dropout above 0')
    latent = hasattr(module, 'space')
    if latent and getattr(way, 'clip', 0):
        raise InputError(f'config.task.clip: {way.clip}; expected 0: what diffuses is a latent, which has no limits')
    shape = tuple(module.space) if latent else (*module.size, module.channels)

    def shown(image: jax.Array, time: jax.Array, label: jax.Array) -> Batch:
        return {'image': image, 'time': time, 'label': label}

    def init(key: jax.Array, batch: Batch) -> Variables:
        del batch
        return init_variables(module, key, shown(jnp.zeros((1, *shape)), jnp.zeros(1), jnp.zeros(1, jnp.int32)))

    def loss(variables: Variables, batch: Batch, key: jax.Array):
        when, what, whose, dropout = jax.random.split(key, 4)
        image, none = batch['image'], jnp.full(len(batch['image']), NONE)
        if latent:
            image = module.apply(variables, image, method='encode')
        time, level = way.draw(when, len(image))
        epsilon = jax.random.normal(what, image.shape)
        dropped = jax.random.bernoulli(whose, label_dropout, none.shape)
        label = jnp.where(dropped, none, batch['label']) if module.classes else none
        (told, _), mutated = train_forward(module, variables, shown(level.add_noise(image, epsilon), time, label), dropout)
        error = (told - diffusion.prediction_target(way.prediction, image, epsilon, level))**2
        each = error.reshape(len(image), -1).mean(1)
        states = {'error': masked_mean(jax.lax.stop_gradient(each), batch['mask'])}
        if min_snr:
            each *= diffusion.min_snr_weight(way.prediction, level, min_snr)
        total, count = masked_mean(each, batch['mask'])
        return total / jnp.maximum(count, 1), (mutated, states)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(0), seed))(batch['seed'])
        none = jnp.full_like(batch['label'], NONE)
        labels = [none] * (guidance != 1) + [batch['label']] * (guidance != 0)

        def fresh(number: jax.Array | int) -> jax.Array:
            return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, number), shape))(keys)

        def tell(x: jax.Array, time: jax.Array) -> jax.Array:
            x = jnp.concatenate([x] * len(labels))
            seen_as = shown(x, jnp.full(len(x), time), jnp.concatenate(labels))
            told = jnp.split(module.apply(variables, *network_inputs(module, seen_as), train=False)[0], len(labels))
            return told[0] + guidance * (told[-1] - told[0]) if len(told) > 1 else told[0]

        made = way.sample(tell, fresh(0), fresh)
        return {'sample': module.apply(variables, made, method='decode') if latent else made}

    return Task(init, loss, predict, lambda outputs, batch: {})
