"""One contrast made of another: pix2pix, CycleGAN, and plain regression, each as one scalar with stopped gradients."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables
from medjax.errors import InputError
from medjax.losses import adversarial

GAMES = ('least_squares', 'non_saturating', 'hinge')
Pool = dict[str, jax.Array]


def empty_pool(size: int, image: jax.Array, channels: int) -> Pool:
    """A pool without images yet: `images [size, *S, channels]`, and how many are `filled`; of the shape of `image`."""
    return {'images': jnp.zeros((size, *image.shape[1:-1], channels), jnp.float32), 'filled': jnp.zeros((), jnp.int32)}


def exchanged(pool: Pool, made: jax.Array, key: jax.Array) -> tuple[jax.Array, Pool]:
    """What a critic is shown in place of images just made, and the pool thereafter (Shrivastava 2017).

    As long as the pool is not full an image is put there and shown. Then, by 1/2, it is shown and forgotten; or it
    takes the place of a random earlier one, which is shown. The images of a batch go one after the other, so that one
    may meet those before it: a batch of two does what two batches of one do, but for the draws.

    Args:
      pool: see `empty_pool`.
      made: `[B, *S, C]`.
      key: of the draws.
    """
    size = len(pool['images'])

    def one(carry: tuple[jax.Array, jax.Array], part: tuple[jax.Array, jax.Array]) -> Any:
        (images, filled), (image, key) = carry, part
        which, whether = jax.random.split(key)
        full = filled >= size
        at = jnp.where(full, jax.random.randint(which, (), 0, size), filled)
        earlier = full & jax.random.bernoulli(whether)
        shown, kept = jnp.where(earlier, images[at], image), jnp.where(full & ~earlier, images[at], image)
        return (images.at[at].set(kept), jnp.minimum(filled + 1, size)), shown

    (images, filled), shown = jax.lax.scan(one, (pool['images'], pool['filled']),
                                           (made, jax.random.split(key, len(made))))
    return shown, {'images': images, 'filled': filled}


def task(module: nn.Module, *, statistics: Mapping[str, Any], game: str = 'least_squares', weight: float = 1.0,
         l1: float = 100.0, cycle: float = 10.0, identity: float = 0.5, pool: int = 0) -> Task:
    """Makes the translation of images by a network a task; its `kind` says how.

    Of pix2pix (Isola 2017) the loss is, for each image, what its generator loses to the critic, `l1` times the mean
    absolute error, and what the critic loses; of CycleGAN (Zhu 2017) the first and the last both ways, `cycle` times
    the mean absolute error of images that went forth and back, and `identity` times that of targets that go forth and
    images that go back and should stay what they are; of 'regression' the mean absolute error alone. Gradients are
    stopped such that each critic has those of its own loss, and generators of all else.

    Args:
      module: with `kind`, `channels`, and the methods `make` and `judge`.
      statistics: of the training data: `channels` of image and target, and whether they come `paired`.
      game: what generator and critic lose; see `losses.adversarial`.
      weight: of what generators lose to critics.
      l1: see above.
      cycle: see above.
      identity: see above, as a share of `cycle`; the images need as many channels as the targets.
      pool: earlier images of each generator among which CycleGAN's critics are shown some; 0 for none. They are state,
        the collection 'pool': a run that was interrupted goes on with the same ones. See `exchanged`.

    Returns:
      A task on `image [B, *S, C]` and `target [B, *S, T]`. `predict` needs the image alone; it gives `made [B, *S, T]`,
      and of CycleGAN `cycle [B, *S, C]`, the image that is made of it again.
    """
    kind, channels = module.kind, tuple(module.channels)
    adversarial.check(game, 'config.task.game')
    known = statistics.get('channels', channels)
    for fine, told in ((game in GAMES, f'game: {game!r}; expected one of: {", ".join(GAMES)}'),
                       (min(weight, l1, cycle, identity, pool) >= 0,
                        f'weight: {weight}, l1: {l1}, cycle: {cycle}, identity: {identity}, pool: {pool}; expected '
                        'nothing below 0'),
                       (kind == 'cyclegan' or not pool, f'pool: {pool}; expected 0 but for a CycleGAN')):
        if not fine:
            raise InputError(f'config.task.{told}')
    if tuple(known) != channels:
        raise InputError(f'config.model.channels: {channels}; expected {tuple(known)}, as image and target have them')
    if kind == 'cyclegan' and identity and channels[0] != channels[1]:
        raise InputError(f'config.task.identity: {identity}; expected 0 where image and target have other channels, '
                         f'as {channels}')
    if kind != 'cyclegan' and not statistics.get('paired', True):
        raise InputError(f'config.data.paired: False; expected True for config.model.kind {kind!r}: only a CycleGAN '
                         'learns without pairs')

    def apply(variables: Variables, method: str, *given: jax.Array, stop: bool = False, **options: Any) -> jax.Array:
        """A player's answer in training; with `stop` no gradient goes to its weights."""
        params = variables['params']
        return module.apply({'params': jax.lax.stop_gradient(params) if stop else params}, *given, train=True,
                            method=method, **options)

    def against(variables: Variables, real: jax.Array, made: jax.Array, shown: jax.Array, given: jax.Array,
                source: bool = False) -> dict[str, jax.Array]:
        """What generator and critic lose, `[B]` each; `shown` is what the critic learns from in place of `made`."""
        judged = apply(variables, 'judge', made, given, stop=True, source=source)
        known, fake = (apply(variables, 'judge', x, jax.lax.stop_gradient(given), source=source)
                       for x in (real, jax.lax.stop_gradient(shown)))
        return {'adversarial': weight * adversarial.generator_loss(judged, game),
                'critic': adversarial.critic_loss(known, fake, game)}

    def both_ways(variables: Variables, image: jax.Array, target: jax.Array,
                  key: jax.Array) -> tuple[dict[str, jax.Array], Variables]:
        forth, back = apply(variables, 'make', image), apply(variables, 'make', target, back=True)
        shown, changed = {'target': forth, 'source': back}, {}
        if pool:
            for number, (side, made) in enumerate(shown.items()):
                shown[side], changed[side] = exchanged(variables['pool'][side], jax.lax.stop_gradient(made),
                                                       jax.random.fold_in(key, number))
        parts = against(variables, target, forth, shown['target'], image)
        other = against(variables, image, back, shown['source'], target, source=True)
        parts = {name: value + other[name] for name, value in parts.items()}
        parts['cycle'] = cycle * (distance(apply(variables, 'make', forth, back=True), image)
                                  + distance(apply(variables, 'make', back), target))
        if identity:
            parts['identity'] = cycle * identity * (distance(apply(variables, 'make', target), target)
                                                    + distance(apply(variables, 'make', image, back=True), image))
        return parts, {'pool': changed} if pool else {}

    def init(key: jax.Array, batch: Batch) -> Variables:
        variables = init_variables(module, key, batch)
        if not pool:
            return variables
        return {**variables, 'pool': {side: empty_pool(pool, batch['image'], count)
                                      for side, count in zip(('source', 'target'), channels)}}

    def loss(variables: Variables, batch: Batch, key: jax.Array):
        image, target, changed = batch['image'], batch['target'], {}
        if kind == 'cyclegan':
            parts, changed = both_ways(variables, image, target, key)
        else:
            made = apply(variables, 'make', image)
            parts = {'l1': distance(made, target) * (l1 if kind == 'pix2pix' else 1.0)}
            if kind == 'pix2pix':
                parts |= against(variables, target, made, made, image)
        states = {name: masked_mean(value, batch['mask']) for name, value in parts.items()}
        total, count = masked_mean(sum(parts.values()), batch['mask'])
        return total / jnp.maximum(count, 1), (changed, states)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        made, feats = module.apply({'params': variables['params']}, batch['image'], train=False)
        return {'made': made, **{name: feats[name] for name in ('cycle',) if name in feats}}

    def metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
        return {'mae': masked_mean(distance(outputs['made'], batch['target']), batch['mask'])}

    return Task(init, loss, predict, metrics, joint=bool(pool))


def distance(one: jax.Array, other: jax.Array) -> jax.Array:
    """The mean absolute difference of images `[B, *S, C]`, `[B]`."""
    return jnp.abs(one - other).reshape(len(one), -1).mean(1)
