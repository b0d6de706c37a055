"""One training step as one pure function: augmentation, forward, backward and update compile into one program."""

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


def stream(key: jax.Array, name: str, step: jax.Array | int | None = None) -> jax.Array:
    """A named random stream of the run's root key, at a step where one is given.

    Names are folded in by checksum, so that adding a stream leaves the others as they were.
    """
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    return key if step is None else jax.random.fold_in(key, step)


def watched(batch: Batch, loss: Any, grads: Any) -> list[tuple[str, Any]]:
    """The tensors whose finiteness a step checks, in the order in which a fault would spread, with their paths."""
    inputs = {name: value for name, value in batch.items() if jnp.issubdtype(value.dtype, jnp.floating)}
    leaves = jax.tree_util.tree_leaves_with_path({'1 batch': inputs, '2 loss': loss, '3 gradient': grads})
    return [('/'.join(str(getattr(k, 'key', k)) for k in path)[2:], leaf) for path, leaf in leaves]


def make_step(task: Task, optimiser: optax.GradientTransformation, *, augment: Augment | None = None,
              accumulate: int = 1, skip_nonfinite: bool = False, axis_name: str | None = None) -> Step:
    """Builds the step `(state, batch, root key) -> (state, metrics)`.

    Args:
      task: the problem.
      optimiser: optax's.
      augment: `(batch, key) -> batch`, keyed by the batch's `index`, the global number of each sample.
      accumulate: micro-batches that a batch is cut into; their gradients are averaged, so that the update is that of
        the whole batch wherever the loss is a mean over examples.
      skip_nonfinite: leave state as it was (but for the step) where the loss or a gradient is not finite.
      axis_name: pmap's axis, over which gradients, statistics and metrics are combined; None under jit.

    Returns:
      A pure function. Its metrics are `states` (name -> (sum, count)), `grad_norm` (before clipping) and `nonfinite`:
      the position in `watched` of the first tensor that is not finite, or -1.
    """
    def gradients(params: Any, collections: Any, batch: Batch, key: jax.Array):
        def loss(params: Any):
            return task.loss({'params': params, **collections}, batch, key)
        (value, (mutated, states)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return grads, {**collections, **mutated}, {'loss': (value, jnp.ones(())), **states}

    def accumulated(params: Any, collections: Any, batch: Batch, key: jax.Array):
        # Micro-batch j takes every k-th example, so that each device keeps an equal share of every micro-batch.
        micro = jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), batch)

        def body(carry: Any, part: Any) -> tuple[Any, States]:
            total, collections = carry
            number, part = part
            grads, collections, states = gradients(params, collections, part, jax.random.fold_in(key, number))
            return (jax.tree.map(jnp.add, total, grads), collections), states

        zeros = jax.tree.map(jnp.zeros_like, params)
        (total, collections), states = jax.lax.scan(body, (zeros, collections), (jnp.arange(accumulate), micro))
        grads = jax.tree.map(lambda g: g / accumulate, total)
        return grads, collections, jax.tree.map(lambda s: s.sum(0), states)

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, dict[str, Any]]:
        if augment is not None:
            batch = augment(batch, stream(key, 'augment'))
        key = stream(key, 'loss', state.step)
        if axis_name:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        compute = gradients if accumulate == 1 else accumulated
        grads, collections, states = compute(state.params, state.collections, batch, key)
        finite = jnp.stack([jnp.isfinite(x).all() for _, x in watched(batch, states['loss'][0], grads)])
        if axis_name:
            grads, collections = jax.lax.pmean((grads, collections), axis_name)
            states = jax.lax.psum(states, axis_name)
            finite = jax.lax.pmin(finite.astype(jnp.int32), axis_name) > 0
        updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new = TrainState(state.step + 1, params, collections, opt_state)
        ok = finite.all()
        if skip_nonfinite:
            kept = state.replace(step=new.step)
            new = jax.tree.map(lambda a, b: jnp.where(ok, a, b), new, kept)
            states = jax.tree.map(lambda s: jnp.where(ok, s, 0.0), states)
        bad = jnp.where(ok, -1, jnp.argmin(finite)).astype(jnp.int32)
        return new, {'states': states, 'grad_norm': optax.tree.norm(grads), 'nonfinite': bad}

    return step
