"""Every config in configs/ trains, evaluates and reports in its smoke variant, from the command line."""

import csv
import importlib.util
import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medjax import assemble, build, restore
from medjax.tasks.family import find
from tests import cli
from tests.conftest import ROOT

CONFIGS = sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))
NEED_DATA = {'segment_lgg_unet2d': 'lgg', 'segment_lung_unet2d': 'tumours', 'segment_tumour_unet3d': 'tumours'}
PREDICTED = ('segmentation', 'classification')  # families whose runs label a new image here


def load(path):
    """A config's file as a module."""
    spec = importlib.util.spec_from_file_location('config', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def smoke(name):
    """A config's smoke variant."""
    return load(ROOT / 'configs' / f'{name}.py').get_config('smoke').to_dict()


def kind(name):
    """What a config trains: its family, task and kind of example; further configs of one kind are slow tests."""
    config = smoke(name)
    return config['evaluate']['name'], config['task']['name'], config['data']['name']


FIRST = {kind(name): name for name in reversed(CONFIGS)}  # of each kind
OTHERS = [name for name in CONFIGS if name not in FIRST.values()]


def needing(names, *marks):
    """The names as parameters of a test, with the public data that some need."""
    return [pytest.param(name, marks=[*marks, *(pytest.mark.public_data(data) for one, data in NEED_DATA.items()
                                                if one == name)]) for name in names]


@pytest.mark.parametrize('name', needing(FIRST.values()) + needing(OTHERS, pytest.mark.slow))
def test_the_smoke_run_goes_from_config_to_report(name, tmp_path):
    ended = cli.process('train', f'--config={ROOT}/configs/{name}.py:smoke', f'--workdir={tmp_path}')
    assert ended.code == 0, ended.err
    first = ended.out.splitlines()[0]
    assert 'parameters' in first and 'cases:' in first and str(tmp_path) in first
    results = json.loads((tmp_path / 'results.json').read_text())
    tested = [split for split in results['counts'] if split.startswith('test')]
    # A config that validates after each step may have its best weights at the first.
    assert tested and (results['step'] == 2 or smoke(name)['evaluate'].get('every') == results['step'] == 1)
    assert all({'value', 'ci95', 'n'} <= set(entry) for split in tested for entry in results[split].values())
    rows = list(csv.DictReader((tmp_path / 'predictions.csv').read_text().splitlines()))
    assert {row['split'] for row in rows} == set(results['counts']) - {'train'}
    steps = [json.loads(line)['step'] for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert steps[-1] == 2
    environment = json.loads((tmp_path / 'environment.json').read_text())
    assert {'versions', 'devices', 'git_commit', 'data_hash', 'split_hash', 'seed', 'wall_time_s'} <= set(environment)
    page = (tmp_path / 'report.html').read_text()
    assert results['notice'][:40] in page.replace('&#39;', "'") or not results['notice']
    assert list((tmp_path / 'tensorboard').iterdir()) and (tmp_path / 'splits.json').exists()

    family = kind(name)[0]
    if not {'predict', 'serve'} & set(find(family).refuses):
        run = restore.restore(tmp_path)
        run.predictor.warm(run.variables)
    if family not in PREDICTED:
        return
    volumes = [path for split in ('test', 'val') for path in sorted((tmp_path / 'cases' / split).glob('*.npz'))]
    if family == 'classification':
        with np.load(volumes[0]) as case:
            Picture.fromarray(case['image'].squeeze()).save(tmp_path / 'new.png')
        ended = cli.process('predict', f'--workdir={tmp_path}', f'--input={tmp_path}/new.png',
                            f'--output={tmp_path}/out')
        assert ended.code == 0, ended.err
        old = next(row for row in rows if row['id'] == volumes[0].stem)
        new, = csv.DictReader((tmp_path / 'out' / 'predictions.csv').read_text().splitlines())
        assert [key for key in new if key != 'image'] == [key for key in old if key.startswith('prob')]
        # In a batch of one, sums have another order.
        np.testing.assert_allclose([float(new[key]) for key in new if key != 'image'],
                                   [float(old[key]) for key in old if key.startswith('prob')], rtol=1e-5)
        return
    with np.load(volumes[0]) as case:
        image, channels = case['image'][:40, :40, :8], run.statistics['channels']
        image = np.stack([image] * channels, -1) if channels > 1 else image
        nib.save(nib.Nifti1Image(image, np.diag([*case['spacing'], 1])), tmp_path / 'new.nii.gz')
    ended = cli.process('predict', f'--workdir={tmp_path}', f'--input={tmp_path}/new.nii.gz',
                        f'--output={tmp_path}/out')
    assert ended.code == 0, ended.err
    assert nib.load(tmp_path / 'out' / 'new.nii.gz').shape == nib.load(tmp_path / 'new.nii.gz').shape[:3]


@pytest.mark.parametrize('name', needing(OTHERS))
def test_the_smoke_variants_of_further_configs_give_an_experiment(name):
    experiment = assemble.experiment(smoke(name))
    assert experiment.steps == 2 and experiment.abstract_state().params and experiment.data.counts['test']


@pytest.mark.parametrize('name', [name for name in CONFIGS if name not in NEED_DATA])
def test_every_config_can_be_cross_validated(name):
    data, tested, trained = smoke(name)['data'], [], set()
    for fold in range(5):
        parts = {'train': set(), 'val': set(), 'test': set()}
        for case in build.dataset({**data, 'folds': (5, 4), 'fold': (fold, 0)}).source.cases:
            if case.split != 'test_real':  # a recording of its own, which every fold tests
                parts[case.split.partition('_at_')[0]].add(case.id.partition('_at_')[0])
        assert all(parts.values()) and not parts['test'] & (parts['train'] | parts['val'])
        tested += parts['test']
        trained |= parts['train']
    assert len(tested) == len(set(tested))
    assert trained <= set(tested) or 'landmarks' in data['source']  # at which not all patients are at risk any more


@pytest.mark.parametrize('name', CONFIGS)
def test_configs_are_pure_data_and_short(name):
    lines = (ROOT / 'configs' / f'{name}.py').read_text().splitlines()
    assert len(lines) <= 60
    assert not [line for line in lines if 'import' in line and 'medjax' in line]
