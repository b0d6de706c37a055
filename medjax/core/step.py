"""The training step as one pure function: augmentation, forward, backward and update compile into one program."""

import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from medjax.core.state import TrainState
from medjax.core.task import Batch, States, Task

Augment = Callable[[Batch, jax.Array], Batch]
Step = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, dict[str, Any]]]
Gradients = Callable[[Any, Any, Batch, jax.Array], tuple[Any, Any, States]]


def stream(key: jax.Array, name: str, step: jax.Array | int | None = None) -> jax.Array:
    """The key of a named random stream, at a step where one is given.

    The name is folded in by its checksum, so that a new stream leaves all others unchanged.

    Args:
      key: the root key of the run.
      name: the name of the stream.
      step: the step.
    """
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    return key if step is None else jax.random.fold_in(key, step)


def checked_tensors(batch: Batch, loss: Any, grads: Any) -> list[tuple[str, Any]]:
    """The tensors that a step checks for finite values, with their paths, in the order in which an error spreads."""
    inputs = {name: value for name, value in batch.items() if jnp.issubdtype(value.dtype, jnp.floating)}
    leaves = jax.tree_util.tree_leaves_with_path({'1 batch': inputs, '2 loss': loss, '3 gradient': grads})
    return [('/'.join(str(getattr(k, 'key', k)) for k in path)[2:], leaf) for path, leaf in leaves]


def make_step(task: Task, optimiser: optax.GradientTransformation, *, augment: Augment | None = None,
              accumulate: int = 1, skip_nonfinite: bool = False, axis_name: str | None = None) -> Step:
    """The training step `(state, batch, root key) -> (state, metrics)`.

    Args:
      task: the task.
      optimiser: the gradient transformation.
      augment: `(batch, key) -> batch`; random numbers are keyed by the batch's `index`, the global number of each
        sample.
      accumulate: number of micro-batches that a batch is split into. Their gradients are averaged, so that the update
        equals that of the whole batch wherever the loss is a mean over examples.
      skip_nonfinite: keep the state, except for the step number, where the loss or a gradient is not finite.
      axis_name: the axis of pmap, over which gradients, statistics and metrics are combined; None under jit.

    Returns:
      A pure function. Its metrics are `states` (name -> (sum, count)), `grad_norm` (before clipping) and `nonfinite`,
      the position in `checked_tensors` of the first tensor that is not finite, or -1.
    """
    gradients = _gradients(task)
    if accumulate > 1:
        gradients = _accumulated_gradients(gradients, accumulate)

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, dict[str, Any]]:
        if augment is not None:
            batch = augment(batch, stream(key, 'augment'))
        key = stream(key, 'loss', state.step)
        if axis_name:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        grads, collections, states = gradients(state.params, state.collections, batch, key)
        finite = jnp.stack([jnp.isfinite(x).all() for _, x in checked_tensors(batch, states['loss'][0], grads)])
        if axis_name:
            grads, collections = jax.lax.pmean((grads, collections), axis_name)
            states = jax.lax.psum(states, axis_name)
            finite = jax.lax.pmin(finite.astype(jnp.int32), axis_name) > 0
        updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new = TrainState(state.step + 1, params, collections, opt_state)
        all_finite = finite.all()
        if skip_nonfinite:
            unchanged = TrainState(new.step, state.params, state.collections, state.opt_state)
            new = jax.tree.map(lambda a, b: jnp.where(all_finite, a, b), new, unchanged)
            states = jax.tree.map(lambda s: jnp.where(all_finite, s, 0.0), states)
        nonfinite = jnp.where(all_finite, -1, jnp.argmin(finite)).astype(jnp.int32)
        return new, {'states': states, 'grad_norm': optax.tree.norm(grads), 'nonfinite': nonfinite}

    return step


def _gradients(task: Task) -> Gradients:
    """The function that computes a batch's gradients, new collections and metric states."""
    def gradients(params: Any, collections: Any, batch: Batch, key: jax.Array) -> tuple[Any, Any, States]:
        def loss(params: Any) -> tuple[jax.Array, tuple[Any, States]]:
            return task.loss({'params': params, **collections}, batch, key)
        (value, (mutated, states)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return grads, {**collections, **mutated}, {'loss': (value, jnp.ones(())), **states}

    return gradients


def _accumulated_gradients(gradients: Gradients, count: int) -> Gradients:
    """The same function in `count` micro-batches, one after the other, with averaged gradients."""
    def accumulated(params: Any, collections: Any, batch: Batch, key: jax.Array) -> tuple[Any, Any, States]:
        # Micro-batch j takes every k-th example, so that each device keeps an equal share of every micro-batch.
        micro = jax.tree.map(lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), batch)

        def body(carry: Any, numbered: Any) -> tuple[Any, States]:
            total, collections = carry
            number, part = numbered
            grads, collections, states = gradients(params, collections, part, jax.random.fold_in(key, number))
            return (jax.tree.map(jnp.add, total, grads), collections), states

        zeros = jax.tree.map(jnp.zeros_like, params)
        (total, collections), states = jax.lax.scan(body, (zeros, collections), (jnp.arange(count), micro))
        grads = jax.tree.map(lambda g: g / count, total)
        return grads, collections, jax.tree.map(lambda s: s.sum(0), states)

    return accumulated
