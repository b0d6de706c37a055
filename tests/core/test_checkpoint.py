"""Checkpoints that are kept, refused and ignored."""

import json
import operator
import pathlib
import shutil

import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
import pytest

from medjax.core import checkpoint, loop
from medjax.core.manifest import DamagedCheckpointError
from medjax.core.sharding import Jit
from medjax.errors import InputError
from tests.core import toy


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


def test_number_of_kept_checkpoints_is_checked(tmp_path):
    with pytest.raises(InputError, match='config.checkpoint.keep: 0; expected at least 1'):
        checkpoint.Checkpoints(tmp_path, keep=0)


def experiment():
    return toy.experiment(eval_every=2, best='size', keep=3)


ABSTRACT = Jit().abstract_state(experiment().abstract_state())


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A run with three checkpoints, of which the first is the best."""
    folder = tmp_path_factory.mktemp('whole') / 'run'
    folder.mkdir()
    loop.train(experiment(), folder, say=lambda line: None)
    return folder


@pytest.fixture
def run(whole, tmp_path):
    return pathlib.Path(shutil.copytree(whole, tmp_path / 'run'))


def restored(run, step):
    return experiment().checkpoints(run).restore(step, ABSTRACT)


def resume(run, from_step=None):
    """The step that a training goes on from, and what is said."""
    said = []
    return experiment().checkpoints(run, said.append).resume(ABSTRACT, from_step)[0], said


def array_file(run, step):
    """The file that holds the arrays."""
    return max((run / 'checkpoints' / str(step) / 'state' / 'd').iterdir(), key=lambda path: path.stat().st_size)


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def other_numbers(run, step):
    """Replaces a checkpoint's arrays by others, which Orbax finds nothing wrong with."""
    state = run / 'checkpoints' / str(step) / 'state'
    changed = jax.tree.map(lambda x: x, restored(run, step))
    changed = changed.replace(params={**changed.params, 'b': changed.params['b'].at[3, 0].add(2**-20)})
    ocp.save(run / 'other', changed)
    shutil.rmtree(state)
    (run / 'other' / 'state').rename(state)
    shutil.rmtree(run / 'other')


@pytest.mark.parametrize('damage, message', [
    (lambda run: other_numbers(run, 6), 'params/b does not have the digest'),
    (lambda run: flip(array_file(run, 6), 8 * 100), 'checkpoints/6'),
    (lambda run: array_file(run, 6).write_bytes(array_file(run, 6).read_bytes()[:50]), 'checkpoints/6'),
    (lambda run: shutil.rmtree(run / 'checkpoints/6/state'), 'checkpoints/6'),
    (lambda run: (run / 'checkpoints/6/manifest/manifest.json').unlink(), r'manifest\.json: cannot be read'),
    (lambda run: flip(run / 'checkpoints/6/manifest/manifest.json', 8 * 200), r'manifest\.json'),
    (lambda run: edit(run / 'checkpoints/6/manifest/manifest.json', lambda c: c['statistics'].update(mean=[0.6])),
     r'manifest\.json does not have its own digest'),
    (lambda run: edit(run / 'checkpoints/6/metrics/metrics', lambda c: c.update(size=99.0)), 'metrics/metrics differs'),
    (lambda run: shutil.rmtree(run / 'checkpoints/6/metrics'), 'metrics/metrics differs'),
    (lambda run: (run / 'checkpoints/6/_CHECKPOINT_METADATA').write_text('{'), '_CHECKPOINT_METADATA: damaged')])
def test_damage_is_named_and_training_goes_on_from_the_newest_whole_one(run, damage, message, capfd):
    damage(run)
    with pytest.raises(DamagedCheckpointError, match=message):
        restored(run, 6)
    step, said = resume(run)
    assert step == 4 and len(said) == 1 and said[0].startswith('warning: ') and 'damaged checkpoint: ' in said[0]
    assert said[0].endswith(f'moved to {run}/checkpoints/set_aside/6; resuming from step 4')
    assert experiment().checkpoints(run).steps() == [2, 4] and capfd.readouterr().err == ''


def test_a_training_over_a_damaged_checkpoint_ends_with_the_same_weights(whole, run):
    other_numbers(run, 6)
    loop.train(experiment(), run, say=(said := []).append)
    assert 'resuming from step 4 of 6' in said
    jax.tree.map(np.testing.assert_array_equal, restored(run, 6), restored(whole, 6))


def test_a_damaged_best_checkpoint_is_reported_and_not_replaced_by_another(run):
    best = experiment().checkpoints(run).best_step()
    other_numbers(run, best)
    step, said = resume(run)
    assert (best, step) == (2, 6) and len(said) == 1 and 'it is the best checkpoint by size' in said[0]
    assert experiment().checkpoints(run).best_step() == best
    edit(run / 'checkpoints/4/metrics/metrics', lambda c: c.update(size=99.0))
    with pytest.raises(DamagedCheckpointError, match='4: damaged checkpoint: metrics/metrics'):
        experiment().checkpoints(run).best_step()


def test_without_a_whole_checkpoint_nothing_is_moved_or_begun_again(run):
    for step in (2, 4, 6):
        other_numbers(run, step)
    with pytest.raises(InputError, match='no whole checkpoint is left'):
        resume(run)
    assert experiment().checkpoints(run).steps() == [2, 4, 6]


def test_training_resumes_from_a_named_step(run):
    with pytest.raises(InputError, match=r'--from_step=3: no checkpoint of this step .* expected one of: 2, 4, 6'):
        resume(run, 3)
    shutil.copytree(run / 'checkpoints' / '6', run / 'kept')
    assert resume(run, 4)[0] == 4
    (run / 'kept').rename(run / 'checkpoints' / '6')
    assert resume(run, 4) == (4, [f'step 6 is later than --from_step=4: moved to {run}/checkpoints/set_aside/6_2'])
    other_numbers(run, 2)
    with pytest.raises(DamagedCheckpointError, match='params/b'):
        resume(run, 2)
    assert experiment().checkpoints(run).steps() == [2, 4]


def test_a_checkpoint_without_manifest_is_accepted_with_a_warning(tmp_path):
    state, said = experiment().create_state(), []
    saver = ocp.training.Checkpointer(tmp_path / 'checkpoints')  # as earlier versions saved
    saver.save(2, state, metrics={'size': 1.5}, custom_metadata={'statistics': {'mean': [0.5]}})
    saver.close()
    checkpoints = experiment().checkpoints(tmp_path, said.append)
    jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(2, ABSTRACT), state)
    assert said == [f'warning: {tmp_path}/checkpoints/2: saved without digests by an earlier version; it cannot be '
                    'verified']
    assert checkpoints.statistics(2) == {'mean': [0.5]} and checkpoints.best_step() == 2


def test_a_workdir_that_vanishes_is_not_made_again(tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    checkpoints = experiment().checkpoints(folder)
    folder.rmdir()
    with pytest.raises(InputError, match='run: removed while training'):
        checkpoints.save(2, experiment().create_state())
    assert not folder.exists()
