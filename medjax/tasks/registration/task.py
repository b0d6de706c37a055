"""Unsupervised registration: a network predicts the deformation from a fixed to a moving image (Balakrishnan 2019)."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core.config import bind
from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, network_inputs, train_forward
from medjax.errors import InputError
from medjax.losses.image_similarity import label_overlap, make_dissimilarity
from medjax.ops import deformation
from medjax.ops.by_platform import by_platform
from medjax.ops.instance_optimisation import OptimisationOptions, optimise
from medjax.options import NonNegative


def _bending_energy(field: jax.Array, spacing: Sequence[float]) -> jax.Array:
    """The bending energy in voxels of the field's grid."""
    return deformation.bending_energy(field, [1.0] * len(spacing))


REGULARISERS = {'gradient': deformation.gradient_energy, 'bending': _bending_energy}


def task(module: nn.Module, *, statistics: Mapping[str, Any], similarity: Mapping[str, Any],
         smoothness: NonNegative = 0.1, regulariser: str = 'gradient', dice: NonNegative = 0.0,
         refine: Mapping[str, Any] | None = None) -> Task:
    """The task of registering pairs of images with a network.

    The loss is the dissimilarity of the fixed and the deformed moving image plus the roughness of the velocity field.

    Args:
      module: the network, which maps `fixed` and `moving` to a velocity field, and may have the feature 'affine'; see
        `models/registration.py`.
      statistics: of the training data: `classes`, `spacing` (voxel size, mm), and whether it is `labelled`.
      similarity: `name` ('ncc', 'mse' or 'mi') and options; see `losses.image_similarity`.
      smoothness: weight of the roughness.
      regulariser: the roughness, 'gradient' (first derivatives) or 'bending' (second derivatives, in voxels of the
        velocity's grid).
      dice: weight of 1 - soft Dice of the deformed labels, in training alone: new pairs need no labels.
      refine: where given, each pair is optimised in `predict`, starting from the network's output; options of
        `ops.instance_optimisation.OptimisationOptions`, whose `weight` is `smoothness` by default.

    Returns:
      A task on `fixed`, `moving [B, *S, C]` and, for `dice`, `fixed_label`, `moving_label [B, *S]`. `predict` gives
      `moved [B, *S, C]`, `displacement` and `inverse [B, D, *S]` in voxels: the point x of the fixed image is at
      x + displacement(x) in the moving image, and a point y of that is at y + inverse(y) in the fixed one.

    Raises:
      InputError: an option out of its range, or that does not fit the data.
    """
    if statistics.get('problem') != 'registration':
        raise InputError("config.task.name: 'registration' needs a data set of image pairs, such as image_pairs_csv or "
                         'simulated_registration')
    if regulariser not in REGULARISERS:
        raise InputError(f'config.task.regulariser: {regulariser!r}; expected one of: {", ".join(REGULARISERS)}')
    for name, weight in (('smoothness', smoothness), ('dice', dice)):
        if not isinstance(weight, int | float) or weight < 0:
            raise InputError(f'config.task.{name}: {weight}; expected a weight of at least 0')
    if dice and not statistics.get('labelled'):
        raise InputError(f'config.task.dice: {dice}; expected 0: the training pairs have no labels')
    search = None
    if refine is not None:
        search = bind(OptimisationOptions, {'weight': smoothness, **refine}, 'config.task.refine')
    spacing = [float(mm) for mm in statistics['spacing']]
    options = Options(make_dissimilarity(similarity), len(statistics['classes']), spacing, smoothness, regulariser,
                      dice,
                      search)
    return Task(functools.partial(init_variables, module), functools.partial(_loss, module, options),
                functools.partial(_predict, module, options), functools.partial(_metrics, options))


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the loss and of predictions.

    Attributes:
      dissimilarity: of fixed and deformed images, `[B, *S, C]` each, `[B]`.
      classes: number of classes with the background.
      spacing: voxel size, mm.
      smoothness: see `task`.
      regulariser: see `task`.
      dice: see `task`.
      refine: the optimisation of each pair, or None.
    """

    dissimilarity: Callable[[jax.Array, jax.Array], jax.Array]
    classes: int
    spacing: Sequence[float]
    smoothness: float
    regulariser: str
    dice: float
    refine: OptimisationOptions | None


def _loss(module: nn.Module, options: Options, variables: Variables, batch: Batch, key: jax.Array) -> Any:
    fixed, moving = batch['fixed'], batch['moving']
    shape, channels = fixed.shape[1:-1], moving.shape[-1]
    (velocity, feats), mutated = train_forward(module, variables, batch, key)
    displacement = _map_examples(
        lambda one: deformation.displacement_field(one['velocity'], one.get('affine'), shape),
        _transform(velocity, feats))
    # Labels are deformed together with the images, as further channels.
    image = jnp.concatenate([moving, _one_hot(batch['moving_label'], options)], -1) if options.dice else moving
    moved = _map_examples(lambda pair: deformation.warp(*pair), (image, displacement))
    parts = {'dissimilarity': options.dissimilarity(fixed, moved[..., :channels]),
             'roughness': _roughness(options, velocity, shape)}
    each = parts['dissimilarity'] + options.smoothness * parts['roughness']
    if options.dice:
        parts['loss_dice'] = label_overlap(_one_hot(batch['fixed_label'], options), moved[..., channels:])
        each += options.dice * parts['loss_dice']
    parts['folded'] = jax.vmap(deformation.folding_fraction)(displacement)
    states = {name: masked_mean(jax.lax.stop_gradient(part), batch['mask']) for name, part in parts.items()}
    total, count = masked_mean(each, batch['mask'])
    return total / jnp.maximum(count, 1.0), (mutated, states)


def _one_hot(label: jax.Array, options: Options) -> jax.Array:
    """Labels `[B, *S]` as channels without the background, `[B, *S, K - 1]`."""
    return jax.nn.one_hot(label.astype(jnp.int32) - 1, options.classes - 1)


def _roughness(options: Options, velocity: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The roughness of velocity fields `[B, D, *S']` of images of a shape, `[B]`."""
    spacing = [mm * n / m for mm, n, m in zip(options.spacing, shape, velocity.shape[2:])]
    return jax.vmap(lambda field: REGULARISERS[options.regulariser](field, spacing))(velocity)


def _predict(module: nn.Module, options: Options, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
    velocity, feats = module.apply(variables, *network_inputs(module, batch), train=False)
    pairs = {**_transform(velocity, feats), 'fixed': batch['fixed'], 'moving': batch['moving']}
    return _map_examples(functools.partial(_register, options), pairs)


def _register(options: Options, pair: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The deformation of a pair, refined where the options have it."""
    velocity, affine = pair['velocity'], pair.get('affine')
    shape, dims = pair['fixed'].shape[:-1], len(options.spacing)
    if options.refine is not None:
        start = velocity, jnp.zeros((dims, dims + 1)) if affine is None else affine
        velocity, affine = optimise(pair['fixed'], pair['moving'], options.dissimilarity, options.spacing,
                                    options.refine, start, REGULARISERS[options.regulariser])
    displacement = deformation.displacement_field(velocity, affine, shape)
    return {'moved': deformation.warp(pair['moving'], displacement), 'displacement': displacement,
            'inverse': deformation.inverse_displacement_field(velocity, affine, shape)}


def _metrics(options: Options, outputs: Mapping[str, jax.Array], batch: Batch) -> States:
    folded = jax.vmap(deformation.folding_fraction)(outputs['displacement'])
    return {'dissimilarity': masked_mean(options.dissimilarity(batch['fixed'], outputs['moved']), batch['mask']),
            'folded': masked_mean(folded, batch['mask'])}


def _transform(velocity: jax.Array, feats: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The velocity field, and the affine generator where the network has one."""
    return {'velocity': velocity, 'affine': feats['affine']} if 'affine' in feats else {'velocity': velocity}


def _map_examples(function: Callable[[Any], Any], batch: Any) -> Any:
    """Maps a function over the examples of a batch: one by one on a CPU, where that is faster, else together."""
    return by_platform(batch, cpu=lambda x: jax.lax.map(function, x), default=jax.vmap(function))
