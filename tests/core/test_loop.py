import json
import os
import signal

import jax
import numpy as np
import pytest

from medjax.core import checkpoint, loop
from medjax.core.sharding import Jit, Pmap
from medjax.errors import InputError
from tests.core import toy


def final(experiment, workdir):
    """All numbers of the newest checkpoint."""
    checkpoints = experiment.checkpoints(workdir)
    plan = Jit()
    try:
        return jax.device_get(checkpoints.restore(checkpoints.latest(), plan.abstract(experiment.abstract())))
    finally:
        checkpoints.close()


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_resume_is_bit_identical_and_metrics_come_once(tmp_path):
    straight, broken = tmp_path / 'straight', tmp_path / 'broken'
    straight.mkdir(), broken.mkdir()
    assert loop.train(toy.experiment(), straight, say=lambda line: None)
    lines = []
    stopper = toy.Batches()
    original = stopper.stream

    def stream(start, stop):
        for step, batch in enumerate(original(start, stop), start):
            if step == 3 and start == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch
    stopper.stream = stream
    assert not loop.train(toy.experiment(batches=stopper), broken, say=lines.append)
    assert any('SIGTERM: saved step 4 of 6' in line for line in lines)
    assert loop.train(toy.experiment(batches=stopper), broken, say=lines.append)
    assert 'resuming from step 4 of 6' in lines
    assert_same(final(toy.experiment(), straight), final(toy.experiment(), broken))
    steps = [json.loads(line)['step'] for line in (broken / 'metrics.jsonl').read_text().splitlines()]
    assert steps == [2, 4, 6]


@pytest.mark.parametrize('first, then', [(lambda: Jit(data=2, fsdp=4), Pmap), (Pmap, lambda: Jit(data=1, fsdp=8))])
def test_a_run_goes_on_on_another_mesh(tmp_path, first, then):
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
    with pytest.raises(InputError, match=r'step 3: batch/image is not finite; cases of the batch: case0, case1, .*case7'):
        loop.train(experiment, tmp_path, say=lambda line: None)
    assert np.isfinite(final(experiment, tmp_path).params['a']).all()  # the newest checkpoint is from before


def test_an_overflowing_gradient_is_named(tmp_path):
    experiment = toy.experiment(task=toy.task(scale=1e25), batches=toy.Batches(size=8))
    with pytest.raises(InputError, match='step 1: loss is not finite'):
        loop.train(experiment, tmp_path, say=lambda line: None)


def test_nonfinite_steps_are_skipped_and_counted(tmp_path):
    experiment = toy.experiment(batches=toy.Batches(size=8, poison=2), skip_nonfinite=True)
    assert loop.train(experiment, tmp_path, say=lambda line: None)
    last = json.loads((tmp_path / 'metrics.jsonl').read_text().splitlines()[-1])
    assert last['skipped_steps'] == 1 and np.isfinite(final(experiment, tmp_path).params['a']).all()


def test_best_and_latest_are_kept(tmp_path):
    lines = []
    experiment = toy.experiment(steps=8, eval_every=2, keep=1, best='size', mode='min', optim={'name': 'sgd', 'lr': 0.05})
    loop.train(experiment, tmp_path, say=lines.append)
    values = {json.loads(line)['step']: json.loads(line).get('val/size') for line in
              (tmp_path / 'metrics.jsonl').read_text().splitlines() if 'val/size' in line}
    best = min(values, key=values.get)
    checkpoints = experiment.checkpoints(tmp_path)
    assert checkpoints.best_step() == best and checkpoints.latest() == 8
    assert {int(p.name) for p in (tmp_path / 'checkpoints').iterdir() if p.name.isdigit()} == {best, 8}
    assert checkpoints.statistics(8) == {'mean': [0.5]}
    checkpoints.close()


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    loop.train(toy.experiment(), tmp_path, say=lambda line: None)
    with pytest.raises(InputError, match='checkpoint of another model: opt_state'):
        loop.train(toy.experiment(optim={'name': 'sgd', 'lr': 0.1}), tmp_path, say=lambda line: None)


def test_a_save_cut_short_is_passed_over(tmp_path):
    experiment = toy.experiment()
    loop.train(experiment, tmp_path, say=lambda line: None)
    (tmp_path / 'checkpoints' / '9.orbax-checkpoint-tmp').mkdir()
    checkpoints = experiment.checkpoints(tmp_path)
    assert checkpoints.latest() == 6
    checkpoints.close()


def test_an_unknown_best_metric_is_named(tmp_path):
    with pytest.raises(InputError, match="config.checkpoint.best: 'dice' is not measured; expected one of: size"):
        loop.train(toy.experiment(eval_every=2, best='dice'), tmp_path, say=lambda line: None)


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    with pytest.raises(InputError, match='config.batch: 12 is no multiple of 8 devices'):
        loop.train(toy.experiment(batches=toy.Batches(size=12)), tmp_path, say=lambda line: None)


def test_mode_is_checked(tmp_path):
    with pytest.raises(InputError, match="'max' or 'min'"):
        checkpoint.Checkpoints(tmp_path, mode='best')
