"""Images from noise by a denoising network, conditional on a class: diffusion and rectified flow."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core import contracts
from medjax.core.config import bind, choose
from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, network_inputs, train_forward
from medjax.errors import InputError
from medjax.ops import diffusion
from medjax.options import FractionBelowOne, NonNegative
from medjax.tasks.synthesis.processes import Diffusion, Flow

NO_LABEL = -1
ONE_CLASS = ('binary', 'multiclass', 'ordinal')  # problems in which a case has one class
KINDS = {'ddpm': Diffusion, 'flow': Flow}


def task(module: nn.Module, *, statistics: Mapping[str, Any], kind: str = 'ddpm', guidance: NonNegative = 1.0,
         label_dropout: FractionBelowOne = 0.0, min_snr: NonNegative = 0.0, **options: Any) -> Task:
    """The task of sampling images from noise, like those of the training data.

    The loss is the mean squared error of the network's prediction for a noisy image, at a random time for each.

    Args:
      module: the network, which takes noisy images `[B, *S, C]`, times `[B]` and labels `[B]`, and predicts an array of
        the images' shape; it has `size`, `channels` and `classes`; see `models/diffusion.py`. A network with `space`
        takes noisy latents `[B, *space]` instead, and has `encode` and `decode`; see `models/latent_diffusion.py`.
      statistics: of the training data: `classes` and `problem`.
      kind: 'ddpm' or 'flow'.
      guidance: scale of classifier-free guidance (Ho & Salimans 2022): 0 ignores the class, 1 uses it, and larger
        values extrapolate, with more typical and less diverse images.
      label_dropout: share of the labels that are left out in training; needed for a guidance other than 1.
      min_snr: largest weight of the signal-to-noise ratio in the loss (Hang 2023: 5); 0 for equal weights.
      **options: of the kind; see `Diffusion` and `Flow`.

    Returns:
      A task on `image [B, *S, C]` and `label [B]`. `predict` takes `seed [B]` uint32 and `label [B]` and gives `sample
      [B, *S, C]`; an image depends on its seed and label alone.

    Raises:
      InputError: an option out of its range, or that does not fit the network or the data.
    """
    process = bind(choose(KINDS, kind, 'config.task.kind'), options, 'config.task')
    _check_classes(module, statistics)
    if not 0 <= label_dropout < 1 or min(min_snr, guidance) < 0:
        raise InputError(f'config.task: label_dropout={label_dropout}, min_snr={min_snr}, guidance={guidance}; '
                         'expected a share below 1, and nothing below 0')
    if guidance != 1 and not (module.classes and label_dropout):
        raise InputError(f'config.task.guidance: {guidance}; expected 1, or config.model.classes and a '
                         'config.task.label_dropout above 0')
    space = contracts.option(module, 'space')
    latent = space is not None
    if latent and process.clip:
        raise InputError(f'config.task.clip: {process.clip}; expected 0: latents have no largest intensity')
    shape = tuple(space) if space is not None else (*module.size, module.channels)
    bound = Options(process, shape, latent, guidance, label_dropout, min_snr)
    return Task(functools.partial(_init, module, bound), functools.partial(_loss, module, bound),
                functools.partial(_predict, module, bound), _metrics)


def _check_classes(module: nn.Module, statistics: Mapping[str, Any]) -> None:
    """Refuses a network with other classes than the data."""
    classes, problem = statistics['classes'], statistics['problem']
    if module.classes not in (0, len(classes)):
        raise InputError(f'config.model.classes: {module.classes}; expected {len(classes)} for {", ".join(classes)}, '
                         'or 0 for none')
    if module.classes and problem not in ONE_CLASS:
        raise InputError(f'config.model.classes: {module.classes}; expected 0: a case has more than one class in the '
                         f'problem {problem}')


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the loss and of sampling.

    Attributes:
      process: of noising and sampling.
      shape: of an image, or of a latent.
      latent: whether latents are noised and sampled.
      guidance: see `task`.
      label_dropout: see `task`.
      min_snr: see `task`.
    """

    process: Diffusion | Flow
    shape: tuple[int, ...]
    latent: bool
    guidance: float
    label_dropout: float
    min_snr: float


def _init(module: nn.Module, options: Options, key: jax.Array, batch: Batch) -> Variables:
    del batch
    inputs = _network_batch(jnp.zeros((1, *options.shape)), jnp.zeros(1), jnp.zeros(1, jnp.int32))
    return init_variables(module, key, inputs)


def _loss(module: nn.Module, options: Options, variables: Variables, batch: Batch, key: jax.Array) -> Any:
    time_key, noise_key, label_key, dropout_key = jax.random.split(key, 4)
    image, no_label = batch['image'], jnp.full(len(batch['image']), NO_LABEL)
    if options.latent:
        image = module.apply(variables, image, method='encode')
    time, level = options.process.draw_times(time_key, len(image))
    epsilon = jax.random.normal(noise_key, image.shape)
    dropped = jax.random.bernoulli(label_key, options.label_dropout, no_label.shape)
    label = jnp.where(dropped, no_label, batch['label']) if module.classes else no_label
    inputs = _network_batch(level.add_noise(image, epsilon), time, label)
    (prediction, _), mutated = train_forward(module, variables, inputs, dropout_key)
    target = diffusion.prediction_target(options.process.prediction, image, epsilon, level)
    each = ((prediction - target)**2).reshape(len(image), -1).mean(1)
    states = {'error': masked_mean(jax.lax.stop_gradient(each), batch['mask'])}
    if options.min_snr:
        each *= diffusion.min_snr_weight(options.process.prediction, level, options.min_snr)
    total, count = masked_mean(each, batch['mask'])
    return total / jnp.maximum(count, 1), (mutated, states)


def _predict(module: nn.Module, options: Options, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(0), seed))(batch['seed'])
    labels = [jnp.full_like(batch['label'], NO_LABEL), batch['label']]
    if options.guidance in (0, 1):
        labels = [labels[int(options.guidance)]]

    def draw_noise(number: jax.Array | int) -> jax.Array:
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, number), options.shape))(keys)

    denoise = functools.partial(_guided_prediction, module, options.guidance, variables, labels)
    sample = options.process.sample(denoise, draw_noise(0), draw_noise)
    return {'sample': module.apply(variables, sample, method='decode') if options.latent else sample}


def _guided_prediction(module: nn.Module, guidance: float, variables: Variables, labels: list[jax.Array],
                       x: jax.Array, time: jax.Array) -> jax.Array:
    """The network's prediction for x with labels, or between those without and with labels where both are given."""
    x = jnp.concatenate([x] * len(labels))
    inputs = network_inputs(module, _network_batch(x, jnp.full(len(x), time), jnp.concatenate(labels)))
    parts = jnp.split(module.apply(variables, *inputs, train=False)[0], len(labels))
    return parts[0] + guidance * (parts[-1] - parts[0]) if len(parts) > 1 else parts[0]


def _network_batch(image: jax.Array, time: jax.Array, label: jax.Array) -> Batch:
    return {'image': image, 'time': time, 'label': label}


def _metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
    """No metrics: a single sampled image is neither right nor wrong."""
    return {}
