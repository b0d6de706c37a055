"""Registration: a map from each place of a fixed image to the same place in a moving one, without being told any."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core.config import bind
from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, network_inputs, train_forward
from medjax.errors import InputError
from medjax.losses.image_similarity import label_overlap, measure
from medjax.ops import deformation
from medjax.ops.instance_optimisation import OptimisationOptions, optimise

SMOOTHERS = {'gradient': deformation.gradient_energy, 'bending': lambda field, spacing: deformation.bending_energy(field, [1.0] * len(spacing))}


def task(module: nn.Module, *, statistics: Mapping[str, Any], similarity: Mapping[str, Any], smoothness: float = 0.1,
         smoother: str = 'gradient', dice: float = 0.0, refine: Mapping[str, Any] | None = None) -> Task:
    """Makes registration with a network a task.

    The loss is what the images are unlike once the one has moved, and how rough the velocity is.

    Args:
      module: what sees `fixed` and `moving` and gives a velocity, and perhaps the feature 'affine'; see
        `models/registration.py`.
      statistics: of the training data: `classes`, `spacing`, mm of a voxel, and whether it is `labelled`.
      similarity: `name` ('ncc', 'mse' or 'mi') and options; see `losses.image_similarity`.
      smoothness: weight of the velocity's roughness.
      smoother: 'gradient' (first derivatives) or 'bending' (second ones, in voxels of the velocity's grid).
      dice: weight of 1 - soft Dice of the moved labels, in training alone: who is registered later needs none.
      refine: where each pair is optimised behind the network, or in its place, the options of `ops.instance_optimisation.OptimisationOptions`;
        its weight is `smoothness` where it says no other. Of a network with an affine stage, or with a velocity, it
        keeps what the network says to begin with.

    Returns:
      A task on `fixed`, `moving [B, *S, C]` and, for the metrics, `fixed_label`, `moving_label [B, *S]`. `predict`
      gives `moved [B, *S, C]`, `displacement` and `inverse [B, D, *S]`, voxels: a place x of the fixed image is at
      x + displacement(x) in the moving one, and y of that at y + inverse(y) in the fixed one.
    """
    if statistics.get('problem') != 'registration':
        raise InputError("config.task.name: 'registration' needs data of pairs, such as pair_files or phantom_pairs")
    classes, spacing = statistics['classes'], [float(mm) for mm in statistics['spacing']]
    if smoother not in SMOOTHERS:
        raise InputError(f'config.task.smoother: {smoother!r}; expected one of: {", ".join(SMOOTHERS)}')
    for name, weight in (('smoothness', smoothness), ('dice', dice)):
        if not isinstance(weight, int | float) or weight < 0:
            raise InputError(f'config.task.{name}: {weight}; expected a weight of at least 0')
    if dice and not statistics.get('labelled'):
        raise InputError(f'config.task.dice: {dice}; expected 0: the training pairs have no labels')
    unlike = measure(similarity)
    search = bind(OptimisationOptions, {'weight': smoothness, **refine}, 'config.task.refine') if refine is not None else None

    def onehot(label: jax.Array) -> jax.Array:
        return jax.nn.one_hot(label.astype(jnp.int32) - 1, len(classes) - 1)

    def rough(velocity: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        steps = [mm * n / m for mm, n, m in zip(spacing, shape, velocity.shape[2:])]
        return jax.vmap(lambda v: SMOOTHERS[smoother](v, steps))(velocity)

    def loss(variables: Variables, batch: Batch, key: jax.Array):
        fixed, moving = batch['fixed'], batch['moving']
        shape, channels = fixed.shape[1:-1], moving.shape[-1]
        (velocity, feats), mutated = train_forward(module, variables, batch, key)
        there = _each(lambda one: deformation.displacement_field(one['v'], one.get('a'), shape), _map(velocity, feats))
        shown = jnp.concatenate([moving, onehot(batch['moving_label'])], -1) if dice else moving
        moved = _each(lambda one: deformation.warp(one['image'], one['there']), {'image': shown, 'there': there})
        parts = {'unlike': unlike(fixed, moved[..., :channels]), 'roughness': rough(velocity, shape)}
        each = parts['unlike'] + smoothness * parts['roughness']
        if dice:
            parts['loss_dice'] = label_overlap(onehot(batch['fixed_label']), moved[..., channels:])
            each += dice * parts['loss_dice']
        parts['folded'] = jax.vmap(deformation.folding_fraction)(there)
        states = {name: masked_mean(jax.lax.stop_gradient(part), batch['mask']) for name, part in parts.items()}
        total, count = masked_mean(each, batch['mask'])
        return total / jnp.maximum(count, 1.0), (mutated, states)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        velocity, feats = module.apply(variables, *network_inputs(module, batch), train=False)
        fixed, moving = batch['fixed'], batch['moving']
        shape, dims = fixed.shape[1:-1], len(spacing)

        def one(part: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
            way, affine = part['v'], part.get('a')
            if search is not None:
                start = way, jnp.zeros((dims, dims + 1)) if affine is None else affine
                way, affine = optimise(part['fixed'], part['moving'], unlike, spacing, search, start,
                                       SMOOTHERS[smoother])
            there = deformation.displacement_field(way, affine, shape)
            return {'moved': deformation.warp(part['moving'], there), 'displacement': there,
                    'inverse': deformation.inverse_displacement_field(way, affine, shape)}

        return _each(one, {**_map(velocity, feats), 'fixed': fixed, 'moving': moving})

    def metrics(outputs: Mapping[str, jax.Array], batch: Batch) -> States:
        return {'unlike': masked_mean(unlike(batch['fixed'], outputs['moved']), batch['mask']),
                'folded': masked_mean(jax.vmap(deformation.folding_fraction)(outputs['displacement']), batch['mask'])}

    return Task(functools.partial(init_variables, module), loss, predict, metrics)


def _map(velocity: jax.Array, feats: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return {'v': velocity, 'a': feats['affine']} if 'affine' in feats else {'v': velocity}


def _each(function: Callable[[Any], Any], batch: Any) -> Any:
    """Maps over the examples of a batch: one by one on a CPU, where reading voxels is faster so, else together."""
    return jax.lax.platform_dependent(batch, cpu=lambda x: jax.lax.map(function, x), default=jax.vmap(function))
