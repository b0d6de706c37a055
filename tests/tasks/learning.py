"""A short training, for tests of what a task lets a network learn."""

import jax
import optax

from medjax.data import pipeline


def learned(task, data, *, steps=150, size=128, rate=2e-2, batches=12):
    """Variables after some steps of Adam over the first batches, again and again."""
    streamed, update = pipeline.Streamed(data, seed=0, batch=size), optax.adam(rate)
    given = [{name: value for name, value in streamed[step].items() if name != 'id'} for step in range(batches)]
    variables = jax.jit(task.init)(jax.random.key(0), given[0])

    @jax.jit
    def step(variables, state, batch):
        gradient = jax.grad(lambda v: task.loss(v, batch, jax.random.key(0))[0])(variables)
        changes, state = update.update(gradient, state)
        return optax.apply_updates(variables, changes), state

    state = update.init(variables)
    for number in range(steps):
        variables, state = step(variables, state, given[number % batches])
    return variables
