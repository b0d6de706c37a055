"""What does not belong: a network that has seen healthy images alone learns to find anomalies made on purpose."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, train_forward
from medjax.errors import InputError
from medjax.ops.synthetic_anomalies import opacity, patch, shade, spot

KINDS = ('patch', 'opacity', 'shade')


def task(module: nn.Module, *, statistics: Mapping[str, Any], kinds: Sequence[str] = ('patch', 'opacity'),
         share: float = 0.5, spots: int = 2, radii: Sequence[float] = (0.08, 0.35),
         strength: Sequence[float] = (0.2, 0.9)) -> Task:
    """Makes the search for what does not belong a task for a network with one output a voxel.

    In training a share of the images gets spots in which they turn into another image of the batch (Tan 2020), or
    become opaque, darker or brighter; the network says of each voxel how much of it was changed (cross-entropy with
    that share).

    Args:
      module: gives logits `[B, *S, 1]`.
      statistics: of the training data; nothing of them is needed.
      kinds: of anomalies, each as likely: 'patch', 'opacity', 'shade'.
      share: of the images that get one.
      spots: most spots of an image.
      radii: of a spot, least and greatest, as shares of the image's axes.
      strength: least and greatest, from 0 to 1.

    Returns:
      A task on `image [B, *S, C]`. `predict` gives `map [B, *S]`, how much of each voxel does not belong, and its mean
      `foreign [B]`. An example's loss is by another of the batch.
    """
    del statistics
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown or not kinds:
        raise InputError(f'config.task.kinds: {tuple(kinds)}; expected some of: {", ".join(KINDS)}')
    if not 0 < share <= 1 or spots < 1:
        raise InputError(f'config.task: share={share}, spots={spots}; expected a share in (0, 1], and at least 1 spot')
    for name, pair in (('radii', radii), ('strength', strength)):
        if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= 1:
            raise InputError(f'config.task.{name}: {tuple(pair)}; expected the least and the greatest, in (0, 1]')

    def changed(image: jax.Array, other: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """An image with an anomaly, or without, and how much of each voxel was changed."""
        outline, many, strong, which, whether = jax.random.split(key, 5)
        masks = jax.vmap(lambda k: spot(k, image.shape[:-1], tuple(radii)))(jax.random.split(outline, spots))
        count = jax.random.randint(many, (), 1, spots + 1)
        there = (jnp.arange(spots) < count).reshape(-1, *(1,) * (image.ndim - 1))
        mask = jnp.max(masks * there, 0)
        much = jax.random.uniform(strong, minval=strength[0], maxval=strength[1])
        much *= jax.random.uniform(whether) < share
        way = jax.random.rademacher(jax.random.fold_in(strong, 1), (), jnp.float32)
        made = {'patch': lambda: patch(image, other, mask, much), 'opacity': lambda: opacity(image, mask, much),
                'shade': lambda: shade(image, mask, much * way)}
        kind = jax.random.randint(which, (), 0, len(kinds))
        return jax.lax.switch(kind, [made[name] for name in kinds]), much * mask

    def loss(variables: Variables, batch: Batch, key: jax.Array):
        drawn, dropped = jax.random.split(key)
        image = batch['image']
        if len(image) < 2 and 'patch' in kinds:
            raise InputError('config.batch: 1; expected 2 or more: a patch is another image\'s')
        keys = jax.vmap(lambda n: jax.random.fold_in(drawn, n))(jnp.arange(len(image)))
        shown, truth = jax.vmap(changed)(image, jnp.roll(image, 1, 0), keys)
        (logits, _), mutated = train_forward(module, variables, {**batch, 'image': shown}, dropped)
        each = optax.sigmoid_binary_cross_entropy(logits[..., 0], truth)
        state = masked_mean(each.reshape(len(image), -1).mean(1), batch['mask'])
        return state[0] / jnp.maximum(state[1], 1), (mutated, {})

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits, _ = module.apply(variables, batch['image'], train=False)
        found = jax.nn.sigmoid(logits[..., 0])
        return {'map': found, 'foreign': found.reshape(len(found), -1).mean(1)}

    def metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
        return {'foreign': masked_mean(outputs['foreign'], batch['mask'])}

    return Task(lambda key, batch: init_variables(module, key, batch), loss, predict, metrics, joint=True)
