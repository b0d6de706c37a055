"""Optimisers and schedules by name, all optax's; the config's `optim` section."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from medjax.core.config import bind, choose
from medjax.errors import InputError


def _constant(lr: float, steps: int) -> optax.Schedule:
    return optax.constant_schedule(lr)


def _polynomial(lr: float, steps: int, *, power: float = 0.9) -> optax.Schedule:
    """Decay to 0 as (1 - step / steps) ** power: nnU-Net's (Isensee 2021) with its power of 0.9."""
    return optax.polynomial_schedule(lr, 0.0, power, steps)


def _cosine(lr: float, steps: int, *, warmup: int = 0, final: float = 0.0) -> optax.Schedule:
    """Linear warm-up over `warmup` steps, then a half cosine down to `final` times the peak (Loshchilov 2017)."""
    if not 0 <= warmup < steps:
        raise InputError(f'config.optim.schedule.warmup: {warmup}; expected fewer than the updates, {steps}')
    return optax.warmup_cosine_decay_schedule(0.0 if warmup else lr, lr, warmup, steps, final * lr)


def _stairs(lr: float, steps: int, *, at: Sequence[float] = (0.5, 0.75), factor: float = 0.1) -> optax.Schedule:
    """Times `factor` from each of these shares of the steps on: MedMNIST's (Yang 2023) by default."""
    if not all(0 < share < 1 for share in at) or not 0 < factor <= 1:
        raise InputError(f'config.optim.schedule: at={tuple(at)}, factor={factor}; expected shares of the steps '
                         'between 0 and 1, and a factor up to 1')
    return optax.piecewise_constant_schedule(lr, {round(share * steps): factor for share in at})


SCHEDULES = {'constant': _constant, 'polynomial': _polynomial, 'cosine': _cosine, 'stairs': _stairs}


def _decayed(params: Any) -> Any:
    """Marks the leaves that weight decay is for: kernels, not biases nor norms' scales."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def _sgd(lr: optax.Schedule, *, momentum: float = 0.99, nesterov: bool = True, weight_decay: float = 0.0):
    return optax.chain(optax.add_decayed_weights(weight_decay, mask=_decayed) if weight_decay else optax.identity(),
                       optax.sgd(lr, momentum=momentum, nesterov=nesterov))


def _adam(lr: optax.Schedule, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8):
    return optax.adam(lr, b1=b1, b2=b2, eps=eps)


def _adamw(lr: optax.Schedule, *, weight_decay: float = 1e-2, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8):
    return optax.adamw(lr, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=_decayed)


OPTIMISERS = {'sgd': _sgd, 'adam': _adam, 'adamw': _adamw}


class AverageState(NamedTuple):
    """The state of `average_weights`."""

    average: Any


def average_weights(decay: float) -> optax.GradientTransformation:
    """Keeps an exponential moving average of the weights; stands last in a chain, and changes no update.

    The average starts at the initial weights, which a decay of 0.99 forgets to 1 % within 460 steps. Batch norm's
    running statistics are not averaged: they stay those of the latest weights.
    """
    def init(params: Any) -> AverageState:
        return AverageState(jax.tree.map(jnp.array, params))

    def update(updates: Any, state: AverageState, params: Any = None) -> tuple[Any, AverageState]:
        new = optax.apply_updates(params, updates)
        return updates, AverageState(optax.incremental_update(new, state.average, 1.0 - decay))

    return optax.GradientTransformation(init, update)


def averaged(params: Any, opt_state: Any) -> Any:
    """The weights to evaluate: their moving average where the optimiser keeps one, else the weights themselves."""
    states = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, AverageState))
    return next((s.average for s in states if isinstance(s, AverageState)), params)


def make(steps: int, *, ema: float = 0.0, groups: Mapping[str, Mapping[str, Any]] | None = None,
         frozen: Sequence[str] = (), **options: Any) -> tuple[optax.GradientTransformation, Callable[[int], float]]:
    """Builds the optimiser of a run.

    Args:
      steps: the run's number of steps, which schedules end at.
      ema: decay of the moving average of the weights; 0 for none.
      groups: for groups of the network, by their name in the parameters' first level, what differs from the options.
      frozen: groups that do not change; no option of a config, but what a network says of itself.
      **options: `name` ('sgd', 'adam' or 'adamw'), `lr`, the peak learning rate, and where wanted
        `schedule`: `name` ('constant', 'polynomial', 'cosine', 'stairs') and its options; else constant;
        `clip`: largest global norm of the gradients, each part's its own; 0 for none;
        `every`: steps from update to update; the gradients between them count for nothing;
        and the optimiser's own, such as momentum or weight_decay.

    Returns:
      The gradient transformation, and the learning rate as a function of the step: that of groups not named.
    """
    chain, curve = _chain(steps, options, 'config.optim')
    groups = groups or {}
    if groups or frozen:
        for name, own in groups.items():
            if name in frozen:
                raise InputError(f'config.optim.groups.{name}: expected other groups: this one does not change')
            if not isinstance(own, Mapping):
                raise InputError(f'config.optim.groups.{name}: {own!r}; expected options, as in dict(lr=1e-4)')
        apart = {name: optax.chain(*_chain(steps, {**options, **own}, f'config.optim.groups.{name}')[0])
                 for name, own in groups.items()} | {name: optax.set_to_zero() for name in frozen}
        chain = [optax.partition({**apart, '': optax.chain(*chain)}, lambda params: _labels(params, apart))]
    return optax.chain(*chain, *([average_weights(ema)] if ema else [])), curve


def _chain(steps: int, section: Mapping[str, Any],
           where: str) -> tuple[list[optax.GradientTransformation], Callable[[int], float]]:
    """What the optimiser of a part is chained of, and its learning rate by step; see `make`."""
    def read(*, name: str, lr: float, schedule: Mapping[str, Any] | None = None, clip: float = 0.0, every: int = 1,
             **options: Any) -> tuple[list[optax.GradientTransformation], Callable[[int], float]]:
        if every < 1:
            raise InputError(f'{where}.every: {every}; expected at least 1')
        form = dict(schedule or {'name': 'constant'})
        curve = bind(choose(SCHEDULES, form.pop('name', 'constant'), f'{where}.schedule.name'), form,
                     f'{where}.schedule', lr=lr, steps=-(-steps // every))
        chain = [optax.clip_by_global_norm(clip)] if clip else []
        chain.append(bind(choose(OPTIMISERS, name, f'{where}.name'), options, where, lr=curve))
        if every == 1:
            return chain, curve
        sparse = optax.conditionally_mask(optax.chain(*chain), lambda step: step % every == 0)
        return [sparse], lambda step: curve(step // every)

    return bind(read, section, where)


def _labels(params: Any, apart: Mapping[str, Any]) -> dict[str, Any]:
    """For each leaf its part's name where the part is one of those apart, else ''."""
    unknown = sorted(set(apart) - set(params))
    if unknown:
        raise InputError(f'config.optim.groups.{unknown[0]}: no part of the network; expected some of: '
                         + ', '.join(sorted(params)))
    return {name: jax.tree.map(lambda _, label=name if name in apart else '': label, tree)
            for name, tree in params.items()}
