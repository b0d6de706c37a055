"""Runs of several processes give what a run of one process gives, in one set of files."""

import functools
import json

import jax
import numpy as np
import pytest

from medjax import assemble
from tests import families, several

SMALL = ['survive_gbsg_deepsurv']
FAMILIES = ['segment_brain_unet2d', 'segment_brain_unet3d:space', 'segment_brain_unet3d:fsdp', 'detect_bccd_retinanet',
            'classify_pneumonia_resnet18', 'survive_gbsg_deepsurv', 'gan_pneumonia', 'diffuse_pneumonia']
OTHERS = ['register_brain_voxelmorph', 'translate_brain_pix2pix', 'segment_ecg_unet1d', 'grow_brain_unet',
          'anomaly_pneumonia_unet', 'forecast_pbc_sequence', 'treat_ihdp_tarnet', 'regress_solubility_mpnn']
# Of tiny networks a rounded sum may move a rectifier across its kink, which shows in the later steps.
LOSS, WEIGHT = 1e-4, 1e-4


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
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights(one, name)):
        if path[-1].key == 'bias':  # before a norm its gradient is nothing but rounding, which Adam takes for a number
            continue
        same = functools.reduce(lambda tree, key: tree[key.key], path, weights(many, name))
        np.testing.assert_allclose(same, leaf, rtol=0, atol=WEIGHT * max(np.abs(leaf).max(), 0.01),
                                   err_msg=f'{name}{path}')
    results, same = (json.loads((folder / 'results.json').read_text()) for folder in (one, many))
    assert results.keys() == same.keys() and results['counts'] == same['counts'] and results['step'] == same['step']
    rows, others = ((folder / 'predictions.csv').read_text().splitlines() for folder in (one, many))
    assert [row.split(',')[:3] for row in rows] == [row.split(',')[:3] for row in others]


def test_two_processes_give_the_files_of_one(trained):
    one, many = (trained(count, tuple(SMALL)) for count in (1, 2))
    assert_same_run(one / SMALL[0], many / SMALL[0], SMALL[0])


@pytest.mark.slow
@pytest.mark.parametrize('name', FAMILIES + OTHERS)
@pytest.mark.parametrize('processes', [2, 4])
def test_every_family_trains_as_in_one_process(trained, processes, name):
    names = tuple(FAMILIES + OTHERS)
    assert_same_run(trained(1, names) / name, trained(processes, names) / name, name)
