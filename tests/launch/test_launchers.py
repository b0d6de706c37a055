"""The launchers that are sweeps: the runs that they ask for."""

import os
import pathlib
import shutil
import subprocess

import pytest

from medjax.sweep import command, settings
from tests.conftest import ROOT


@pytest.fixture
def calls(tmp_path):
    """Starts a launcher with a stub in python's place; returns the calls of it, each as its arguments."""
    (tmp_path / 'launch').mkdir()
    (tmp_path / 'launch' / 'install.sh').write_text(f'cd {tmp_path}\n')
    stub = tmp_path / 'bin' / 'python'
    stub.parent.mkdir()
    stub.write_text('#!/usr/bin/env bash\nprintf "%s\\0" "$@" "" >>called\n')
    stub.chmod(0o755)

    def start(name, *options):
        shutil.copy(ROOT / 'launch' / name, tmp_path / 'launch')
        subprocess.run(['bash', f'launch/{name}', '--workdir=out', *options], cwd=tmp_path, check=True,
                       env={**os.environ, 'PATH': f'{stub.parent}:{os.environ["PATH"]}'})
        return [call.split('\0') for call in (tmp_path / 'called').read_text().removesuffix('\0\0').split('\0\0')]

    return start


def runs(call):
    """The runs of a call of the sweep, by folder."""
    assert call[0] == 'launch/sweep.py'
    given = command.parse(command.parser(''), call[1:])
    found = settings.runs(given, pathlib.Path(given.workdir))
    settings.check(found)
    return {str(run.folder): run.arguments for run in found}


def test_a_cross_validation_is_a_sweep_of_one_setting(calls):
    call, = calls('crossval.sh', f'--config={ROOT}/configs/survive_gbsg_deepsurv.py', '--folds=3', '--config.steps=50')
    found = runs(call)
    assert list(found) == [f'out/fold{fold}_seed0' for fold in range(3)]
    assert found['out/fold2_seed0'][1:] == ('--config.steps=50', '--config.seed=0', '--config.data.folds=(3,4)',
                                            '--config.data.fold=(2,0)')


def test_label_efficiency_is_a_sweep_after_the_pretrainings(calls, monkeypatch):
    monkeypatch.chdir(ROOT)
    pretraining, classifiers = map(runs, calls('few_labels.sh', '--seeds=2', '--config.steps=50'))
    assert list(pretraining) == ['out/pretrained/cnn/seed0', 'out/pretrained/mae/seed0']
    assert len(classifiers) == 8 and all('--config.steps=50' in found for found in classifiers.values())
    found = classifiers['out/mae_begun/seed1']
    assert found[0] == '--config=configs/classify_pneumonia_few.py:mae' and '--config.data.subset_seed=1' in found
    assert '--config.init.path=out/pretrained/mae/seed0' in found
    assert not any('init' in argument for argument in classifiers['out/mae_scratch/seed1'])


def test_the_utility_of_synthetic_images_is_a_sweep_after_their_generators(calls, monkeypatch):
    monkeypatch.chdir(ROOT)
    generators, *synthesised, classifiers = calls('utility.sh', '--seeds=2', '--fractions=0.5 1', '--images=7',
                                                  '--config.steps=50')
    generators, classifiers = runs(generators), runs(classifiers)
    assert len(generators) == 4 and '--config.steps=4000' in generators['out/generators/0.5/seed1']
    assert [call[1:3] for call in synthesised] == [['medjax.synthesise', f'--workdir={run}'] for run in sorted(
        generators)] and all('--images=7' in call for call in synthesised)
    assert len(classifiers) == 2 * 4 * 2
    found = classifiers['out/0.5/synthetic/seed1']
    assert {'--config.data.label_fraction=0.5', '--config.data.subset_seed=1', '--config.augment.flip=0.0',
            '--config.steps=50', '--config.data.extra_npz=out/generators/0.5/seed1/synthetic.npz'} <= set(found)
    assert not any('extra_npz' in argument or 'flip' in argument for argument in classifiers['out/0.5/augmented/seed1'])
