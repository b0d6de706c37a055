"""Runs of several processes give what a run of one process gives, in one set of files."""

import contextlib
import functools
import json
import shutil
import socket

import jax
import numpy as np
import pytest

from medjax import assemble
from medjax.core import lock, log
from tests import families, several
from tests.conftest import ROOT

SMALL = ['survive_gbsg_deepsurv']
FAMILIES = ['segment_brain_unet2d', 'segment_brain_unet3d:space', 'segment_brain_unet3d:fsdp', 'detect_bccd_retinanet',
            'classify_pneumonia_resnet18', 'survive_gbsg_deepsurv', 'gan_pneumonia', 'diffuse_pneumonia']
OTHERS = ['register_brain_voxelmorph', 'translate_brain_pix2pix', 'segment_ecg_unet1d', 'grow_brain_unet',
          'anomaly_pneumonia_unet', 'forecast_pbc_sequence', 'treat_ihdp_tarnet', 'regress_solubility_mpnn']
# Of tiny networks a rounded sum may move a rectifier across its kink, which shows in the later steps.
LOSS, WEIGHT = 1e-4, 1e-4
# So many of an array's entries, or one, may differ by more: Adam takes a gradient that is only rounding for a number.
FEW = 2e-4


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folder of runs, by the number of processes that share four devices and the names of the configs."""
    @functools.cache
    def train(processes, names):
        output = tmp_path_factory.mktemp(f'by{processes}')
        if processes == 1:
            ended = [several.alone('tests.families', output, *names, devices=4)]
        else:
            ended = several.run('tests.families', processes, output, *names, devices=4 // processes, timeout=1500)
        assert [one.code for one in ended] == [0] * processes, ended
        for one in ended[1:]:  # process 0 alone prints, and Gloo
            assert all(line.startswith('[Gloo]') for line in one.out.splitlines()), one.out
        return output

    return train


def files(folder):
    """The files of a run; Orbax and TensorBoard name some by the process and the time."""
    found = {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}
    return {name for name in found if not name.startswith(('checkpoints/', 'tensorboard/'))}


def history(folder):
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def weights(folder, name):
    """All numbers of the last checkpoint of a run."""
    made = assemble.experiment({**families.config(name), 'mesh': None, 'batch': 8})
    abstract = made.plan.abstract_state(made.abstract_state())
    return jax.device_get(made.checkpoints(folder).restore(families.STEPS, abstract).params)


def assert_same_run(one, many, name):
    """Two runs have the same files, history, weights and results."""
    assert files(one) == files(many) and len(list((many / 'tensorboard').iterdir())) == 1
    first, other = history(one), history(many)
    assert [line.keys() for line in first] == [line.keys() for line in other]
    for line, same in zip(first, other):
        np.testing.assert_allclose(same.get('train/loss', 0.0), line.get('train/loss', 0.0), rtol=LOSS, err_msg=name)
    others_weights = weights(many, name)
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights(one, name)):
        if path[-1].key == 'bias':  # before a norm its gradient is nothing but rounding, which Adam takes for a number
            continue
        same = functools.reduce(lambda tree, key: tree[key.key], path, others_weights)
        far = np.abs(same - leaf) > WEIGHT * max(np.abs(leaf).max(), 0.01)
        assert far.sum() <= max(1, FEW * far.size), f'{name}{path}: {far.sum()} of {far.size}'
    results, same = (json.loads((folder / 'results.json').read_text()) for folder in (one, many))
    assert results.keys() == same.keys() and results['counts'] == same['counts'] and results['step'] == same['step']
    rows, others = ((folder / 'predictions.csv').read_text().splitlines() for folder in (one, many))
    assert [row.split(',')[:3] for row in rows] == [row.split(',')[:3] for row in others]


def test_two_processes_give_the_files_of_one(trained):
    one, many = (trained(count, tuple(SMALL)) for count in (1, 2))
    assert_same_run(one / SMALL[0], many / SMALL[0], SMALL[0])


def test_two_processes_evaluate_as_one_does(trained, tmp_path):
    """By the command, on the weights that were trained before."""
    folders = [tmp_path / 'one', tmp_path / 'two']
    for folder in folders:
        shutil.copytree(trained(1, tuple(SMALL)) / SMALL[0], folder)
        for name in ('results.json', 'predictions.csv', 'report.html'):
            (folder / name).unlink()
    ended = [several.alone('medjax.evaluate', f'--workdir={folders[0]}'),
             *several.run('medjax.evaluate', 2, f'--workdir={folders[1]}', devices=1)]
    assert [one.code for one in ended] == [0, 0, 0], ended
    assert files(folders[0]) == files(folders[1])
    for name in ('results.json', 'predictions.csv'):
        assert (folders[0] / name).read_text() == (folders[1] / name).read_text()
    assert all(line.startswith('[Gloo]') for line in ended[2].out.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize('name', FAMILIES + OTHERS)
@pytest.mark.parametrize('processes', [2, 4])
def test_every_family_trains_as_in_one_process(trained, processes, name):
    names = tuple(FAMILIES + OTHERS)
    assert_same_run(trained(1, names) / name, trained(processes, names) / name, name)


TABLE = 'id,time,event,age\n' + ''.join(f'p{n},{n + 1},{n % 2},{40 + n}\n' for n in range(60))
HOST = socket.gethostname()


def differing(tmp_path, what):
    """Options of `several.run` for two processes that differ in something, and a folder for their run."""
    folders, run = [tmp_path / 'a', tmp_path / 'b'], tmp_path / 'run'
    for folder in folders:
        folder.mkdir()
        (folder / 'table.csv').write_text(TABLE)
    if what == 'config':
        return {'each': [['--config.optim.lr=0.01'], ['--config.optim.lr=0.02']]}, run
    if what == 'devices':
        return {'devices': [2, 1]}, run
    if what == 'code':
        shutil.copytree(ROOT / 'medjax', folders[1] / 'medjax')
        with (folders[1] / 'medjax' / 'nn' / '__init__.py').open('a') as file:
            file.write('# changed')
        return {'paths': [ROOT, folders[1]]}, run
    if what == 'data':
        (folders[1] / 'table.csv').write_text(TABLE.replace(',1,0,40', ',1,1,40'))
        return {}, run
    return {}, 'run' if what == 'workdir' else run


@pytest.mark.slow
@pytest.mark.parametrize('what, message', [
    ('config', f'config.optim.lr: 0.02 in process 1 on {HOST}, 0.01 in process 0 on {HOST}; expected the same'),
    ('devices', f'devices: 1 × cpu in process 1 on {HOST}, 2 × cpu in process 0 on {HOST}; expected the same'),
    ('code', 'code: no commit, sha256 '), ('data', 'data_hash: '),
    ('workdir', f'process 1 on {HOST} cannot see what process 0 on {HOST} writes there'),
    ('in use', ' is training there; expected one training in a folder')])
def test_processes_that_do_not_fit_together_are_refused_in_one_line(tmp_path, what, message):
    options, run = differing(tmp_path, what)
    table = ['--config.data.source.name=survival_csv', '--config.data.source.table=table.csv',
             '--config.data.source.dir=.']
    held = contextlib.nullcontext()
    if what == 'in use':
        run.mkdir()
        held = lock.locked(run, print)
    with held:
        ended = several.run('medjax.train', 2, f'--config={ROOT}/configs/survive_gbsg_deepsurv.py:smoke', *table,
                            f'--workdir={run}', folders=[tmp_path / 'a', tmp_path / 'b'], **options)
    assert [one.code for one in ended] == [2, 2] and 'Traceback' not in ended[0].err + ended[1].err, ended
    last = ended[0].err.splitlines()[-1]  # the other may have been ended by process 0, which then prints alone
    assert last.startswith('medjax: ') and message in last
    assert not list(tmp_path.rglob('checkpoints'))


def test_the_hash_of_the_code_covers_every_file(tmp_path):
    (tmp_path / 'a.py').write_text('a = 1')
    (tmp_path / 'b.py').write_text('')
    first = log.code_hash(tmp_path)
    (tmp_path / 'b.py').write_text('b = 2')
    log.code_hash.cache_clear()
    assert len(first) == 12 and log.code_hash(tmp_path) != first
