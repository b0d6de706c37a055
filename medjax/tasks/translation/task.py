"""Image-to-image translation: pix2pix, CycleGAN, and regression, each trained with one scalar loss."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables
from medjax.errors import InputError
from medjax.losses import adversarial
from medjax.options import NonNegative, NonNegativeInt

ADVERSARIAL_LOSSES = ('least_squares', 'non_saturating', 'hinge')
Pool = dict[str, jax.Array]
Parts = dict[str, jax.Array]  # of the loss, `[B]` each


def task(module: nn.Module, *, statistics: Mapping[str, Any], adversarial_loss: str = 'least_squares',
         adversarial_weight: NonNegative = 1.0, l1: NonNegative = 100.0, cycle: NonNegative = 10.0,
         identity: NonNegative = 0.5,
         pool_size: NonNegativeInt = 0) -> Task:
    """The task of translating images of one contrast to another; the network's `kind` is the method.

    The loss of pix2pix (Isola 2017) is the adversarial loss of the generator, `l1` times the mean absolute error, and
    the loss of the discriminator. The loss of a CycleGAN (Zhu 2017) has the adversarial and discriminator losses in
    both directions, `cycle` times the mean absolute error of images translated forth and back, and `identity` times
    `cycle` times that of targets translated forth and images translated back, which should not change. The loss of
    'regression' is the mean absolute error. Gradients are stopped such that each discriminator gets those of its own
    loss, and the generators those of all others.

    Args:
      module: the network, with `kind`, `channels`, and the methods `translate` and `discriminate`; see
        `models/translation.py`.
      statistics: of the training data: `channels` of image and target, and whether they are `paired`.
      adversarial_loss: the adversarial loss, 'least_squares', 'non_saturating' or 'hinge'; see `losses.adversarial`.
      adversarial_weight: weight of the adversarial loss of the generators.
      l1: weight of the mean absolute error of pix2pix.
      cycle: weight of the cycle consistency.
      identity: weight of the identity loss, relative to `cycle`; it needs equal channels of image and target.
      pool_size: number of earlier images of each generator that are kept to be shown to the discriminators of a
        CycleGAN; 0 for none. They are state, the collection 'pool', so that a resumed run has the same ones. See
        `draw_from_pool`.

    Returns:
      A task on `image [B, *S, C]` and `target [B, *S, T]`. `predict` needs the image alone; it gives `translated
      [B, *S, T]`, and for a CycleGAN `cycle [B, *S, C]`, that image translated back.

    Raises:
      InputError: an option out of its range, or that does not fit the network or the data.
    """
    options = Options(adversarial_loss, adversarial_weight, l1, cycle, identity, pool_size)
    _check_data(module, options, statistics)
    return Task(functools.partial(_init, module, options), functools.partial(_loss, module, options),
                functools.partial(_predict, module), _metrics, joint=bool(pool_size))


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the loss; see `task`."""

    adversarial_loss: str
    adversarial_weight: float
    l1: float
    cycle: float
    identity: float
    pool_size: int

    def __post_init__(self):
        adversarial.check_kind(self.adversarial_loss, 'config.task.adversarial_loss')
        if self.adversarial_loss not in ADVERSARIAL_LOSSES:
            raise InputError(f'config.task.adversarial_loss: {self.adversarial_loss!r}; expected one of: '
                             f'{", ".join(ADVERSARIAL_LOSSES)}')
        if min(self.adversarial_weight, self.l1, self.cycle, self.identity, self.pool_size) < 0:
            raise InputError(f'config.task.adversarial_weight: {self.adversarial_weight}, l1: {self.l1}, cycle: '
                             f'{self.cycle}, identity: '
                             f'{self.identity}, pool_size: {self.pool_size}; expected nothing below 0')


def _check_data(module: nn.Module, options: Options, statistics: Mapping[str, Any]) -> None:
    """Refuses options that do not fit the network, and a network that does not fit the data."""
    channels, cyclegan = tuple(module.channels), module.kind == 'cyclegan'
    data_channels = tuple(statistics.get('channels', channels))
    if options.pool_size and not cyclegan:
        raise InputError(f'config.task.pool_size: {options.pool_size}; expected 0 except for a CycleGAN')
    if data_channels != channels:
        raise InputError(f'config.model.channels: {channels}; expected {data_channels}, as of image and target')
    if cyclegan and options.identity and channels[0] != channels[1]:
        raise InputError(f'config.task.identity: {options.identity}; expected 0 where image and target have different '
                         f'channels, {channels}')
    if not cyclegan and not statistics.get('paired', True):
        raise InputError(f'config.data.paired: False; expected True for config.model.kind {module.kind!r}: only a '
                         'CycleGAN can be trained without pairs')


def empty_pool(size: int, image: jax.Array, channels: int) -> Pool:
    """A pool without images: `images [size, *S, channels]`, and how many are `filled`.

    Args:
      size: number of images.
      image: `[B, *S, C]`, an example of the shape.
      channels: of an image.
    """
    return {'images': jnp.zeros((size, *image.shape[1:-1], channels), jnp.float32), 'filled': jnp.zeros((), jnp.int32)}


def draw_from_pool(pool: Pool, generated: jax.Array, key: jax.Array) -> tuple[jax.Array, Pool]:
    """Images to show to a discriminator in place of the newest ones, and the updated pool (Shrivastava 2017).

    While the pool is not full, each image is added to it and shown. Afterwards, with probability 1/2 each, it is shown
    and not kept, or it replaces a random earlier image, which is shown. The images of a batch are processed one after
    the other: a batch of two does what two batches of one do, except for the random numbers.

    Args:
      pool: see `empty_pool`.
      generated: `[B, *S, C]`.
      key: random key.
    """
    size = len(pool['images'])

    def exchange(carry: tuple[jax.Array, jax.Array], part: tuple[jax.Array, jax.Array]) -> Any:
        (images, filled), (image, key) = carry, part
        place_key, choice_key = jax.random.split(key)
        full = filled >= size
        place = jnp.where(full, jax.random.randint(place_key, (), 0, size), filled)
        earlier = full & jax.random.bernoulli(choice_key)
        shown, kept = jnp.where(earlier, images[place], image), jnp.where(full & ~earlier, images[place], image)
        return (images.at[place].set(kept), jnp.minimum(filled + 1, size)), shown

    (images, filled), shown = jax.lax.scan(exchange, (pool['images'], pool['filled']),
                                           (generated, jax.random.split(key, len(generated))))
    return shown, {'images': images, 'filled': filled}


def mean_absolute_error(one: jax.Array, other: jax.Array) -> jax.Array:
    """The mean absolute difference of images `[B, *S, C]`, `[B]`."""
    return jnp.abs(one - other).reshape(len(one), -1).mean(1)


def _init(module: nn.Module, options: Options, key: jax.Array, batch: Batch) -> Variables:
    variables = init_variables(module, key, batch)
    if not options.pool_size:
        return variables
    return {**variables, 'pool': {side: empty_pool(options.pool_size, batch['image'], count)
                                  for side, count in zip(('source', 'target'), tuple(module.channels))}}


def _loss(module: nn.Module, options: Options, variables: Variables, batch: Batch, key: jax.Array) -> Any:
    image, target, changed = batch['image'], batch['target'], {}
    if module.kind == 'cyclegan':
        parts, changed = _cyclegan_parts(module, options, variables, image, target, key)
    else:
        translated = _apply(module, variables, 'translate', image)
        pix2pix = module.kind == 'pix2pix'
        parts = {'l1': mean_absolute_error(translated, target) * (options.l1 if pix2pix else 1.0)}
        if pix2pix:
            parts |= _adversarial_parts(module, options, variables, target, translated, translated, image)
    states = {name: masked_mean(value, batch['mask']) for name, value in parts.items()}
    total, count = masked_mean(sum(parts.values()), batch['mask'])
    return total / jnp.maximum(count, 1), (changed, states)


def _apply(module: nn.Module, variables: Variables, method: str, *inputs: jax.Array, stop: bool = False,
           **options: Any) -> jax.Array:
    """The output of a method in training mode; with `stop` no gradient goes to the parameters."""
    params = variables['params']
    return module.apply({'params': jax.lax.stop_gradient(params) if stop else params}, *inputs, train=True,
                        method=method, **options)


def _adversarial_parts(module: nn.Module, options: Options, variables: Variables, real: jax.Array,
                       generated: jax.Array, shown: jax.Array, given: jax.Array, source: bool = False) -> Parts:
    """The losses of a generator and its discriminator, which is trained on `shown` in place of `generated`."""
    output = _apply(module, variables, 'discriminate', generated, given, stop=True, source=source)
    real_output, fake_output = (
        _apply(module, variables, 'discriminate', x, jax.lax.stop_gradient(given), source=source)
        for x in (real, jax.lax.stop_gradient(shown)))
    return {'adversarial': options.adversarial_weight * adversarial.generator_loss(output, options.adversarial_loss),
            'discriminator': adversarial.discriminator_loss(real_output, fake_output, options.adversarial_loss)}


def _cyclegan_parts(module: nn.Module, options: Options, variables: Variables, image: jax.Array, target: jax.Array,
                    key: jax.Array) -> tuple[Parts, Variables]:
    """The parts of a CycleGAN's loss, and the changed pools."""
    translate = functools.partial(_apply, module, variables, 'translate')
    forth, back = translate(image), translate(target, back=True)
    shown, pools = {'target': forth, 'source': back}, {}
    if options.pool_size:
        for number, (side, generated) in enumerate(shown.items()):
            shown[side], pools[side] = draw_from_pool(variables['pool'][side], jax.lax.stop_gradient(generated),
                                                      jax.random.fold_in(key, number))
    parts = _adversarial_parts(module, options, variables, target, forth, shown['target'], image)
    other = _adversarial_parts(module, options, variables, image, back, shown['source'], target, source=True)
    parts = {name: value + other[name] for name, value in parts.items()}
    parts['cycle'] = options.cycle * (mean_absolute_error(translate(forth, back=True), image)
                                      + mean_absolute_error(translate(back), target))
    if options.identity:
        parts['identity'] = options.cycle * options.identity * (
            mean_absolute_error(translate(target), target) + mean_absolute_error(translate(image, back=True), image))
    return parts, {'pool': pools} if options.pool_size else {}


def _predict(module: nn.Module, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
    translated, feats = module.apply({'params': variables['params']}, batch['image'], train=False)
    return {'translated': translated, **{name: feats[name] for name in ('cycle',) if name in feats}}


def _metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
    return {'mae': masked_mean(mean_absolute_error(outputs['translated'], batch['target']), batch['mask'])}
