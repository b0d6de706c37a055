import json
import operator
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from medjax.core import checkpoint, loop
from medjax.core.sharding import Jit, Pmap
from medjax.errors import InputError
from tests.core import toy


def final(experiment, workdir):
    """All numbers of the newest checkpoint."""
    checkpoints = experiment.checkpoints(workdir)
    abstract = Jit().abstract_state(experiment.abstract_state())
    try:
        return jax.device_get(checkpoints.restore(checkpoints.latest(), abstract))
    finally:
        checkpoints.close()


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def stopped_at(step):
    """Batches of which the given one comes with a SIGTERM, in a run's first part."""
    batches = toy.Batches()
    original = batches.stream

    def stream(start, stop):
        for number, batch in enumerate(original(start, stop), start):
            if number == step and start == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch
    batches.stream = stream
    return batches


def test_items_may_be_computed():
    """A data set may compute its items with JAX, even if the state's shapes are traced first, as in `evaluate`."""
    class Computed(toy.Batches):
        def __getitem__(self, step):
            return {**super().__getitem__(step), 'image': np.full((16, 8), float(jnp.arange(3)[step + 1]), np.float32)}

    assert toy.experiment(batches=Computed()).abstract_state().params['a'].shape


def test_resume_is_bit_identical_and_metrics_come_once(tmp_path):
    straight, broken = tmp_path / 'straight', tmp_path / 'broken'
    straight.mkdir(), broken.mkdir()
    assert loop.train(toy.experiment(), straight, say=lambda line: None)
    lines = []
    stopper = stopped_at(3)
    assert not loop.train(toy.experiment(batches=stopper), broken, say=lines.append)
    assert any('SIGTERM: saved step 4 of 6' in line for line in lines)
    assert loop.train(toy.experiment(batches=stopper), broken, say=lines.append)
    assert 'resuming from step 4 of 6' in lines
    assert_same(final(toy.experiment(), straight), final(toy.experiment(), broken))
    steps = [json.loads(line)['step'] for line in (broken / 'metrics.jsonl').read_text().splitlines()]
    assert steps == [2, 4, 6]


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


def test_best_and_latest_are_kept(tmp_path):
    lines = []
    experiment = toy.experiment(steps=8, eval_every=2, keep=1, best='size', rank=operator.neg,
                                optim={'name': 'sgd', 'lr': 0.05})
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


def test_an_incomplete_save_is_ignored(tmp_path):
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
    with pytest.raises(InputError, match='config.batch: 12; expected a multiple of 8 devices'):
        loop.train(toy.experiment(batches=toy.Batches(size=12)), tmp_path, say=lambda line: None)


def test_number_of_kept_checkpoints_is_checked(tmp_path):
    with pytest.raises(InputError, match='config.checkpoint.keep: 0; expected at least 1'):
        checkpoint.Checkpoints(tmp_path, keep=0)


@pytest.mark.parametrize('options, message', [
    ({'accumulate': 0}, 'config.optim.accumulate: 0; expected at least 1'),
    ({'log_every': 0}, 'config.log.every: 0; expected at least 1')])
def test_counts_are_checked(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        loop.train(toy.experiment(**options), tmp_path, say=lambda line: None)


def test_tensorboard_hides_only_repeated_steps(tmp_path):
    # A reader drops events at and after the step at which a session starts.
    loop.train(toy.experiment(steps=4), tmp_path, say=lambda line: None)
    loop.train(toy.experiment(steps=6), tmp_path, say=lambda line: None)
    starts = []
    for path in sorted((tmp_path / 'tensorboard').iterdir()):
        data, place = path.read_bytes(), 0
        while place < len(data):  # TFRecords: length, its checksum, the event, its checksum
            size = int.from_bytes(data[place:place + 8], 'little')
            event = event_pb2.Event.FromString(data[place + 12:place + 12 + size])
            if event.HasField('session_log'):
                starts.append(event.step)
            place += size + 16
    assert sorted(starts) == [1, 5]
