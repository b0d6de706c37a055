"""Optimisers and learning rate schedules by name, all from optax; the `optim` section of the config."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from medjax.core.config import bind, choose, keys, unknown_key
from medjax.errors import InputError
from medjax.options import (
    Count,
    FractionBelowOne,
    InnerFraction,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveFraction,
    Probability,
)

Schedule = Callable[[Any], Any]


def _constant(lr: float, steps: int) -> optax.Schedule:
    """The peak learning rate at every step."""
    return optax.constant_schedule(lr)


def _polynomial(lr: float, steps: int, *, power: Positive = 0.9) -> optax.Schedule:
    """Decay to 0 as (1 - step / steps) ** power; nnU-Net's schedule (Isensee 2021) at its power of 0.9.

    Args:
      lr: peak learning rate.
      steps: number of updates.
      power: exponent of the decay.
    """
    return optax.polynomial_schedule(lr, 0.0, power, steps)


def _cosine(lr: float, steps: int, *, warmup: NonNegativeInt = 0, final: Probability = 0.0) -> optax.Schedule:
    """Linear warm-up, then half a cosine down to a fraction of the peak (Loshchilov 2017).

    Args:
      lr: peak learning rate.
      steps: number of updates.
      warmup: number of updates of the linear warm-up.
      final: last learning rate, as a fraction of the peak.

    Raises:
      InputError: the warm-up is as long as the training, or longer.
    """
    if warmup >= steps:
        raise InputError(f'config.optim.schedule.warmup: {warmup}; expected fewer than the updates, {steps}')
    return optax.warmup_cosine_decay_schedule(0.0 if warmup else lr, lr, warmup, steps, final * lr)


def _multistep(lr: float, steps: int, *, milestones: Sequence[InnerFraction] = (0.5, 0.75),
               factor: PositiveFraction = 0.1) -> optax.Schedule:
    """Multiplication by a factor at given fractions of the steps; MedMNIST's schedule (Yang 2023) by default.

    Args:
      lr: peak learning rate.
      steps: number of updates.
      milestones: fractions of the steps, between 0 and 1.
      factor: factor on the learning rate at each of them.
    """
    return optax.piecewise_constant_schedule(lr, {round(fraction * steps): factor for fraction in milestones})


SCHEDULES = {'constant': _constant, 'polynomial': _polynomial, 'cosine': _cosine, 'multistep': _multistep}


def _decay_mask(params: Any) -> Any:
    """Whether weight decay applies to a leaf: to kernels, not to biases or the scales of norms."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def _sgd(lr: optax.ScalarOrSchedule, *, momentum: FractionBelowOne = 0.99, nesterov: bool = True,
         weight_decay: NonNegative = 0.0):
    """Stochastic gradient descent with momentum.

    Args:
      lr: learning rate.
      momentum: decay of the momentum.
      nesterov: whether the momentum is Nesterov's (1983).
      weight_decay: factor of the weights that is added to their gradients; of kernels only.
    """
    decay = optax.add_decayed_weights(weight_decay, mask=_decay_mask) if weight_decay else optax.identity()
    return optax.chain(decay, optax.sgd(lr, momentum=momentum, nesterov=nesterov))


def _adam(lr: optax.ScalarOrSchedule, *, b1: FractionBelowOne = 0.9, b2: FractionBelowOne = 0.999,
          eps: Positive = 1e-8):
    """Adam (Kingma 2015).

    Args:
      lr: learning rate.
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: term added to the denominator.
    """
    return optax.adam(lr, b1=b1, b2=b2, eps=eps)


def _adamw(lr: optax.ScalarOrSchedule, *, weight_decay: NonNegative = 1e-2, b1: FractionBelowOne = 0.9,
           b2: FractionBelowOne = 0.999, eps: Positive = 1e-8):
    """AdamW: Adam with decoupled weight decay (Loshchilov 2019).

    Args:
      lr: learning rate.
      weight_decay: factor of the weights that is subtracted at each update, times the learning rate; of kernels only.
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: term added to the denominator.
    """
    return optax.adamw(lr, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=_decay_mask)


SHARED = ('name', 'lr', 'schedule', 'clip', 'update_every', 'ema', 'groups', 'accumulate')  # keys of every optimiser
OPTIMISERS = {'sgd': _sgd, 'adam': _adam, 'adamw': _adamw}


class AverageState(NamedTuple):
    """The state of `average_weights`."""

    average: Any


def average_weights(decay: float) -> optax.GradientTransformation:
    """A transformation that keeps an exponential moving average of the weights and leaves the updates unchanged.

    It stands last in a chain. The average starts at the initial weights, whose share falls to 1 % within 460 steps at a
    decay of 0.99. The running statistics of batch norm are not averaged: they remain those of the latest weights.

    Args:
      decay: decay of the average at each update.
    """
    def init(params: Any) -> AverageState:
        return AverageState(jax.tree.map(jnp.array, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, AverageState]:
        new = optax.apply_updates(params, updates)
        return updates, AverageState(optax.incremental_update(new, state.average, 1.0 - decay))

    return optax.GradientTransformation(init, update)


def evaluation_params(params: Any, opt_state: Any) -> Any:
    """The weights to evaluate: their moving average where the optimiser keeps one, else the weights themselves."""
    states = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, AverageState))
    return next((s.average for s in states if isinstance(s, AverageState)), params)


def make_optimiser(steps: int, *, ema: FractionBelowOne = 0.0, groups: Mapping[str, Mapping[str, Any]] | None = None,
                   frozen: Sequence[str] = (), **options: Any) -> tuple[optax.GradientTransformation, Schedule]:
    """The optimiser of a run, and its learning rate.

    A parameter group is a top-level entry of the network's parameters, such as 'encoder' or 'discriminator'.

    Args:
      steps: the run's number of steps, at which schedules end.
      ema: decay of the moving average of the weights; 0 for none.
      groups: options that differ for some parameter groups, by the group's name.
      frozen: parameter groups that are not trained; the network declares them, they are no option of a config.
      **options: of `_parameter_group`: `name`, `lr`, `schedule`, `clip` and `update_every`, and the optimiser's own
        options, such as momentum or weight_decay.

    Returns:
      The gradient transformation, and the learning rate as a function of the step, for parameters in no group.

    Raises:
      InputError: naming the key of an unknown or wrong option. The transformation's `init` raises it for a group that
        the network does not have.
    """
    chain, schedule = _chain(steps, options, 'config.optim')
    if groups or frozen:
        transforms = _group_transforms(steps, options, groups or {}, frozen)
        partition: dict[Any, optax.GradientTransformation] = {**transforms, '': optax.chain(*chain)}
        chain = [optax.partition(partition, lambda params: _group_labels(params, transforms))]
    if ema:
        chain = [*chain, average_weights(ema)]
    return optax.chain(*chain), schedule


def _group_transforms(steps: int, options: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]],
                      frozen: Sequence[str]) -> dict[str, optax.GradientTransformation]:
    """The transformation of each parameter group with options of its own, and of each frozen one."""
    out: dict[str, optax.GradientTransformation] = {}
    for name, own in groups.items():
        where = f'config.optim.groups.{name}'
        if name in frozen:
            raise InputError(f'{where}: this parameter group is frozen; expected groups that are trained')
        if not isinstance(own, Mapping):
            raise InputError(f'{where}: {own!r}; expected options, as in dict(lr=1e-4)')
        chain, _ = _chain(steps, {**options, **own}, where)
        out[name] = optax.chain(*chain)
    for name in frozen:
        out[name] = optax.set_to_zero()
    return out


def _chain(steps: int, section: Mapping[str, Any],
           where: str) -> tuple[list[optax.GradientTransformation], Schedule]:
    """The transformations of one parameter group, and its learning rate by step; see `_parameter_group`."""
    return bind(_parameter_group, section, where, steps=steps, path=where)


def _parameter_group(*, steps: int, path: str, name: str, lr: NonNegative, schedule: Mapping[str, Any] | None = None,
                     clip: NonNegative = 0.0, update_every: Count = 1,
                     **options: Any) -> tuple[list[optax.GradientTransformation], Schedule]:
    """The transformations of one parameter group, and its learning rate by step.

    Args:
      steps: the run's number of steps.
      path: the section's path in the config, for messages.
      name: the optimiser: 'sgd', 'adam' or 'adamw'.
      lr: peak learning rate.
      schedule: the learning rate's schedule: its `name` ('constant', 'polynomial', 'cosine' or 'multistep') and its
        options; constant by default.
      clip: largest global norm of the gradients, computed for each parameter group separately; 0 for none.
      update_every: number of steps per update; only the gradients of the step that updates are used.
      **options: of the optimiser.
    """
    form = dict(schedule or {'name': 'constant'})
    curve = bind(choose(SCHEDULES, form.pop('name', 'constant'), f'{path}.schedule.name'), form, f'{path}.schedule',
                 lr=lr, steps=-(-steps // update_every))
    rate = lambda step: curve(jnp.asarray(step, jnp.float32))  # optax's schedules mix their count with floats
    chain = [optax.clip_by_global_norm(clip)] if clip else []
    optimiser = choose(OPTIMISERS, name, f'{path}.name')
    own = keys(optimiser, ('lr',))
    for key in options:
        if key not in own:
            raise InputError(unknown_key(key, [*SHARED, *own], path))
    chain.append(bind(optimiser, options, path, lr=rate))
    if update_every == 1:
        return chain, rate

    def is_update(step: Any, **_: Any) -> Any:
        return step % update_every == 0

    return [optax.conditionally_mask(optax.chain(*chain), is_update)], lambda step: rate(step // update_every)


def _group_labels(params: Any, transforms: Mapping[str, Any]) -> dict[str, Any]:
    """For each leaf the name of its parameter group where that has a transformation of its own, else ''."""
    unknown = sorted(set(transforms) - set(params))
    if unknown:
        raise InputError(f'config.optim.groups.{unknown[0]}: the network has no parameter group of this name; expected '
                         f'some of: {", ".join(sorted(params))}')
    labels = {}
    for name, tree in params.items():
        label = name if name in transforms else ''
        labels[name] = jax.tree.map(lambda _, label=label: label, tree)
    return labels
