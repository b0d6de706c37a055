"""The training step: against hand calculations, over devices, in micro-batches, and where it is not finite."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.core import state
from medjax.core.metrics import compute, merge
from medjax.core.optim import evaluation_params, make_optimiser
from medjax.core.sharding import Jit, Pmap
from medjax.core.step import make_step, stream
from tests.core import toy

KEY = jax.random.key(0)


def device(batch):
    return {k: v for k, v in batch.items() if k != 'id'}


def run(plan, steps=5, after=lambda: None, **options):
    """Losses and final weights of a few steps under a plan."""
    experiment = toy.experiment()
    abstract = experiment.abstract_state()
    step = plan.compile(make_step(experiment.task, experiment.optimiser, axis_name=plan.axis_name, **options), abstract)
    current, losses = plan.init_state(experiment.create_state, abstract), []
    for number in range(steps):
        current, measured = step(current, plan.place_batch(device(toy.Batches()[number])), KEY)
        losses.append(compute(merge([jax.device_get(measured['states'])])))
        after()
    final = plan.logical_state(current)
    averages = evaluation_params(final.params, final.opt_state)
    return losses, jax.device_get((final.params, final.collections, averages))


@functools.cache
def run_on_one_device():
    return run(Jit(devices=jax.devices()[:1]))


def test_sgd_step_is_the_hand_computed_one():
    optimiser, _ = make_optimiser(1, name='sgd', lr=0.5, momentum=0.0, nesterov=False)
    task = dataclasses.replace(
        toy.task(), init=lambda key, batch: {'params': {'w': jnp.array([2.0, -1.0])}},
        loss=lambda v, b, k: (jnp.mean((b['image'] @ v['params']['w'] - b['label']) ** 2), ({}, {})))
    batch = {'image': np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), 'label': np.array([1.0, 0.0], np.float32)}
    new, measured = make_step(task, optimiser)(state.create_state(task, optimiser, KEY, batch), batch, KEY)
    # Residuals are 2-2-1 = -1 and 6-4-0 = 2; the gradient is -1*[1,2] + 2*[3,4] = [5, 6].
    np.testing.assert_allclose(new.params['w'], [2.0 - 2.5, -1.0 - 3.0])
    np.testing.assert_allclose(measured['grad_norm'], np.sqrt(61.0), rtol=1e-6)
    assert measured['states']['loss'][0] == 2.5 and measured['nonfinite'] == -1 and new.step == 1


@pytest.mark.parametrize('plan', [Jit, lambda: Jit(data=2, fsdp=4), lambda: Jit(data=4, fsdp=1, space=2), Pmap])
def test_eight_devices_equal_one(plan):
    losses, weights = run_on_one_device()
    many_losses, many_weights = run(plan())
    for one, many in zip(losses, many_losses):
        np.testing.assert_allclose(many['loss'], one['loss'], rtol=1e-5)
        np.testing.assert_allclose(many['error'], one['error'], atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), many_weights, weights)


def test_accumulation_is_the_whole_batch():
    _, whole = run(Jit())
    _, parts = run(Jit(devices=jax.devices()[:4]), accumulate=4)
    for a, b in zip(jax.tree.leaves(whole[0]), jax.tree.leaves(parts[0])):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize('plan', [Jit, lambda: Jit(data=2, fsdp=4), Pmap])
def test_steps_after_the_first_compile_nothing(plan):
    compiled, counts = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiled.append(name) if 'backend_compile' in name else None)
    run(plan(), steps=4, after=lambda: counts.append(len(compiled)))
    assert counts[0] > 0 and counts == [counts[0]] * 4


def test_streams_differ_by_name_and_step():
    keys = [stream(KEY, 'augment'), stream(KEY, 'loss'), stream(KEY, 'loss', 1), stream(KEY, 'loss', 2)]
    assert len({tuple(np.asarray(jax.random.key_data(k))) for k in keys}) == 4


def test_nonfinite_step_is_found_and_skipped():
    optimiser, _ = make_optimiser(3, name='adam', lr=1e-2)
    task, batch = toy.task(), device(toy.Batches(poison=1)[1])
    start = state.create_state(task, optimiser, KEY, batch)
    new, measured = jax.jit(make_step(task, optimiser))(start, batch, KEY)
    assert measured['nonfinite'] == 0 and np.isnan(new.params['a']).any()  # 0: batch/image
    kept, measured = jax.jit(make_step(task, optimiser, skip_nonfinite=True))(start, batch, KEY)
    assert kept.step == 1 and measured['states']['loss'] == (0.0, 0.0)
    for a, b in zip(jax.tree.leaves(kept.replace(step=0)), jax.tree.leaves(start.replace(step=0))):
        np.testing.assert_array_equal(a, b)
