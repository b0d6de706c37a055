"""The train loop: resume, signals, meshes, steps that are not finite, and a single compilation of the step."""

import json
import logging
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.core import contracts, loop
from medjax.core.experiment import Experiment
from medjax.core.metrics import column_means
from medjax.core.optim import make_optimiser
from medjax.core.sharding import Jit, Pmap
from medjax.errors import InputError
from medjax.models import unet
from medjax.tasks.segmentation import task as segmentation_task
from tests.core import toy

SIZE, SIDE = 8, 8


def final(experiment, workdir):
    """All numbers of the newest checkpoint."""
    checkpoints = experiment.checkpoints(workdir)
    abstract = Jit().abstract_state(experiment.abstract_state())
    try:
        return jax.device_get(checkpoints.restore(checkpoints.latest(), abstract))
    finally:
        checkpoints.close()


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
    """The folder of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp('straight')
    assert loop.train(toy.experiment(), folder, say=lambda line: None)
    return folder


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def stopped_at(step, signal_number=signal.SIGTERM):
    """Batches of which the given one comes with a signal, in a run's first part."""
    batches = toy.Batches()
    original = batches.stream

    def stream(start, stop):
        for number, batch in enumerate(original(start, stop), start):
            if number == step and start == 0:
                os.kill(os.getpid(), signal_number)
            yield batch
    batches.stream = stream
    return batches


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_resume_is_bit_identical_and_metrics_come_once(straight, tmp_path, number):
    broken, lines = tmp_path, []
    stopper = stopped_at(3, number)
    assert not loop.train(toy.experiment(batches=stopper), broken, say=lines.append)
    assert any(f'{number.name}: saved step 4 of 6' in line for line in lines)
    assert loop.train(toy.experiment(batches=stopper), broken, say=lines.append)
    assert 'resuming from step 4 of 6' in lines
    assert_same(final(toy.experiment(), straight), final(toy.experiment(), broken))
    steps = [json.loads(line)['step'] for line in (broken / 'metrics.jsonl').read_text().splitlines()]
    assert steps == [2, 4, 6]


def test_a_signal_at_the_last_step_or_before_the_first_stops_as_well(tmp_path):
    lines, stopper = [], stopped_at(5)
    assert not loop.train(toy.experiment(batches=stopper), tmp_path, say=lines.append)
    assert 'SIGTERM: saved step 6 of 6' in lines[-1] and loop.train(toy.experiment(), tmp_path, say=lines.append)

    def stop(line):
        lines.append(line)
        if line.startswith('compiled'):
            os.kill(os.getpid(), signal.SIGHUP)
    assert not loop.train(toy.experiment(steps=8), tmp_path, say=stop)
    assert 'SIGHUP: stopped at step 6 of 8' in lines[-1]


def test_sigterm_at_a_validation_leaves_the_best_as_it_would_be(tmp_path):
    # Weights shrink, so that the first validation is the best; a stop there must not skip the validation.
    straight, broken = tmp_path / 'straight', tmp_path / 'broken'
    straight.mkdir(), broken.mkdir()
    options = dict(eval_every=2, save_every=0, best='size', keep=1, optim={
        'name': 'sgd', 'lr': 0.05, 'weight_decay': 2.0, 'momentum': 0.0, 'nesterov': False})
    loop.train(toy.experiment(**options), straight, say=lambda line: None)
    stopper = stopped_at(1)
    assert not loop.train(toy.experiment(batches=stopper, **options), broken, say=lambda line: None)
    assert loop.train(toy.experiment(batches=stopper, **options), broken, say=lambda line: None)
    best = []
    for workdir in (straight, broken):
        checkpoints = toy.experiment(**options).checkpoints(workdir)
        best.append(checkpoints.best_step())
        checkpoints.close()
    assert best == [2, 2]
    assert_same(final(toy.experiment(**options), straight), final(toy.experiment(**options), broken))


@pytest.mark.parametrize('first, then', [(lambda: Jit(data=2, fsdp=4), Pmap), (Pmap, lambda: Jit(data=1, fsdp=8))])
def test_a_run_resumes_on_another_mesh(tmp_path, first, then):
    one = tmp_path / 'one'
    many = tmp_path / 'many'
    one.mkdir(), many.mkdir()
    loop.train(toy.experiment(plan=Jit(devices=jax.devices()[:1])), one, say=lambda line: None)
    # The toy's learning rate is constant, so a run of 2 steps is the beginning of one of 6.
    loop.train(toy.experiment(plan=first(), steps=2), many, say=lambda line: None)
    loop.train(toy.experiment(plan=then()), many, say=lambda line: None)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), final(toy.experiment(), one).params,
                 final(toy.experiment(), many).params)


def test_a_nan_stops_the_run_with_step_tensor_and_cases(tmp_path):
    experiment = toy.experiment(batches=toy.Batches(size=8, poison=2))
    message = r'step 3: batch/image is not finite; cases of the batch: case0, case1, .*case7'
    with pytest.raises(InputError, match=message):
        loop.train(experiment, tmp_path, say=lambda line: None)
    assert np.isfinite(final(experiment, tmp_path).params['a']).all()  # the newest checkpoint precedes it


def test_the_tensor_is_named_as_the_augmentation_left_it(tmp_path):
    # The augmentation adds a float tensor, so that one tensor more is checked than the stored batch has.
    def augment(batch, key):
        return {**batch, 'extra': batch['index'].astype(jnp.float32)}
    experiment = toy.experiment(batches=toy.Batches(size=8, poison=2), augment=augment)
    with pytest.raises(InputError, match='step 3: batch/image is not finite'):
        loop.train(experiment, tmp_path, say=lambda line: None)


def test_an_overflowing_gradient_is_named(tmp_path):
    experiment = toy.experiment(task=toy.task(scale=1e25), batches=toy.Batches(size=8))
    with pytest.raises(InputError, match='step 1: loss is not finite'):
        loop.train(experiment, tmp_path, say=lambda line: None)


def test_nonfinite_steps_are_skipped_and_counted(tmp_path):
    experiment = toy.experiment(batches=toy.Batches(size=8, poison=2), skip_nonfinite=True)
    assert loop.train(experiment, tmp_path, say=lambda line: None)
    last = json.loads((tmp_path / 'metrics.jsonl').read_text().splitlines()[-1])
    assert last['skipped_steps'] == 1 and np.isfinite(final(experiment, tmp_path).params['a']).all()


def test_an_unknown_best_metric_is_named(tmp_path):
    with pytest.raises(InputError, match="config.checkpoint.best: 'dice' is not measured; expected one of: size"):
        loop.train(toy.experiment(eval_every=2, best='dice'), tmp_path, say=lambda line: None)


class HalfBatches:
    """Bright and dark halves."""

    def __getitem__(self, step):
        rng = np.random.default_rng((2, step))
        label = (rng.random((SIZE, 1, 1)) > np.linspace(0, 1, SIDE)).repeat(SIDE, 1).astype(np.int32)
        return {'image': (label + rng.normal(0, 0.1, label.shape))[..., None].astype(np.float32), 'label': label,
                'mask': np.ones(SIZE, np.float32), 'index': np.arange(SIZE, dtype=np.uint32),
                'id': np.array(['a'] * SIZE)}

    def stream(self, start, stop):
        return (self[step] for step in range(start, stop))


def segmentation(plan, steps):
    network = unet.Model(**{**unet.VARIANTS['nnunet'], **dict(classes=2, dims=2, base=2, levels=2)})
    task = segmentation_task.task(network, statistics=dict(classes=('dark', 'bright')),
                                  loss={'cross_entropy': 1.0, 'soft_dice': 1.0})
    predict = jax.jit(task.predict)

    class Evaluator(contracts.Evaluator):
        def __call__(self, variables, split, *, quick=False, snapshots=None):
            probs = predict(jax.device_get(variables), {'image': HalfBatches()[0]['image']})['probs']
            return [{'id': 'a', 'patient': 'a', 'split': split, 'bright': float(probs[..., 1].mean())}]

        def validation_metrics(self, rows):
            return column_means(rows)

    optimiser, schedule = make_optimiser(8, name='adamw', lr=1e-2, ema=0.9, clip=1.0,
                                         schedule={'name': 'cosine', 'warmup': 1})
    return Experiment(task=task, data=toy.Data(), batches=HalfBatches(), augment=None, optimiser=optimiser,
                      schedule=schedule, plan=plan, evaluator=Evaluator(), seed=0, steps=steps, log_every=1,
                      eval_every=2, save_every=1, best='bright')


@pytest.mark.parametrize('plan', [lambda: Jit(data=2, fsdp=2, space=2), pytest.param(Pmap, marks=pytest.mark.slow)],
                         ids=['jit', 'pmap'])
def test_one_compilation_a_run(tmp_path, caplog, plan):
    def compiled():
        words = [record.getMessage() for record in caplog.records]
        caplog.clear()
        # pmap gives its program a name of its own.
        return [text for text in words if text.startswith('Finished XLA compilation of') and text.split()[4] in (
            'jit(step)', 'pmap(step)', 'jit(_fun)')]

    with caplog.at_level(logging.WARNING), jax.log_compiles():
        assert loop.train(segmentation(plan(), steps=4), tmp_path, say=lambda line: None)
        assert len(compiled()) == 1
        assert loop.train(segmentation(plan(), steps=8), tmp_path, say=lambda line: None)
        assert len(compiled()) == 1
