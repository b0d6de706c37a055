"""A sweep's runs, table and picture; its trainings are copies of runs that are written here."""

import argparse
import importlib.util
import json
import os
import pathlib

import numpy as np
import pytest
from scipy import stats

from medjax import atomic_files
from medjax.errors import InputError
from tests.conftest import ROOT
from tests.tasks.survival import survivals


@pytest.fixture(scope='module')
def sweep():
    """The launcher as a module."""
    spec = importlib.util.spec_from_file_location('sweep', ROOT / 'launch' / 'sweep.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_settings_are_all_combinations(sweep):
    found = sweep.settings(['optim.lr=1e-3,3e-4', 'data.patch=(32,32),(64,64)', 'config=configs/a.py'])
    assert list(found) == [f'optim.lr={lr}_data.patch=({n},{n})_config=configs-a.py' for lr in ('1e-3', '3e-4')
                           for n in (32, 64)]
    assert found['optim.lr=3e-4_data.patch=(32,32)_config=configs-a.py'] == [
        '--config.optim.lr=3e-4', '--config.data.patch=(32,32)', '--config=configs/a.py']
    assert sweep.settings([]) == {'runs': []}


@pytest.mark.parametrize('grids', [['optim.lr'], ['=1'], ['a=1,'], ['a=1,1'], ['a=1', 'a=2']])
def test_a_grid_without_values_is_refused(sweep, grids):
    with pytest.raises(InputError, match='expected KEY=VALUE,VALUE with different values, and each key once'):
        sweep.settings(grids)


def test_runs_are_every_setting_with_every_seed_and_fold(sweep, tmp_path):
    given = argparse.Namespace(config='c.py', grid=['optim.lr=1,2'], seeds=2, folds=3, inner=4,
                               others=['--config.steps=5'])
    found = sweep.runs(given, tmp_path)
    assert len(found) == len({run.folder for run in found}) == 12
    assert found[-1].folder == tmp_path / 'optim.lr=2' / 'fold2_seed1' and found[-1].pair == (1, 2)
    # The config first: absl reads options in their order.
    assert found[-1].arguments == ('--config=c.py', '--config.optim.lr=2', '--config.steps=5', '--config.seed=1',
                                   '--config.data.folds=(3,4)', '--config.data.fold=(2,0)')


def test_a_paired_difference_is_students(sweep):
    values = np.random.default_rng(0).normal(0.1, 0.2, 8)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(sweep.paired_difference(values), (values.mean(), *expected))
    # Nadeau and Bengio: 1/n + test/train in place of 1/n.
    _, low, high = sweep.paired_difference(values[:5], 5)
    _, plain_low, plain_high = sweep.paired_difference(values[:5])
    np.testing.assert_allclose((high - low) / (plain_high - plain_low), np.sqrt((1 / 5 + 1 / 4) / (1 / 5)))
    assert np.isnan(sweep.paired_difference([0.3])[1:]).all() and sweep.paired_difference([0.3])[0] == 0.3


@pytest.fixture
def trained(sweep, tmp_path, monkeypatch):
    """Runs of two settings and two seeds, as a stub of the training copies them; returns a function that sweeps."""
    for setting, error in (('1', 0.1), ('2', 1.5)):
        for seed in '01':
            folder = survivals.make(tmp_path / 'made' / f'{setting}_{seed}', seed=int(seed), error=error, count=60)
            config = json.loads((folder / 'config.json').read_text())
            (folder / 'config.json').write_text(json.dumps({**config, 'seed': int(seed)}))
            (folder / 'report.html').touch()
    stub = tmp_path / 'python'
    stub.write_text(f"""#!/usr/bin/env bash
echo "$*" >>{tmp_path}/called
for a in "$@"; do case "$a" in --workdir=*) run=${{a#*=}};; *seed=*) seed=${{a#*=}};; *.lr=*) lr=${{a#*=}};; esac; done
if [ $lr$seed = 21 ] && ! [ -e {tmp_path}/stopped ]; then touch {tmp_path}/stopped; echo SIGTERM: saved; exit 75; fi
cp -r {tmp_path}/made/${{lr}}_$seed/. "$run"
""")
    stub.chmod(0o755)
    monkeypatch.setattr(sweep.sys, 'executable', str(stub))
    monkeypatch.setattr(sweep.signal, 'signal', lambda *_: None)
    return lambda *more: sweep.main([f'--workdir={tmp_path}/out', '--config=c.py', '--grid=optim.lr=1,2', *more])


def test_a_sweep_resumes_and_compares_settings(trained, tmp_path, capsys):
    assert trained('--seeds=2', '--jobs=2') == 75
    assert f'{tmp_path}/out/optim.lr=2/seed1: exit code 75: SIGTERM: saved' in capsys.readouterr().out
    assert trained('--seeds=2') == 0
    calls = (tmp_path / 'called').read_text().splitlines()
    assert len(calls) == 5 and calls[-1] == (f'-m medjax.train --config=c.py --config.optim.lr=2 --config.seed=1 '
                                             f'--workdir={tmp_path}/out/optim.lr=2/seed1')
    table, _ = atomic_files.read_table(tmp_path / 'out' / 'sweep.csv')
    first, second = (next(row for row in table if row['setting'] == f'optim.lr={lr}' and row['metric'] == 'c_index')
                     for lr in '12')
    single = {name: json.loads((tmp_path / 'made' / name / 'results.json').read_text())
              for name in ('1_0', '1_1', '2_0', '2_1')}
    differences = [single[f'2_{seed}']['test']['c_index']['value'] - single[f'1_{seed}']['test']['c_index']['value']
                   for seed in '01']
    np.testing.assert_allclose(float(second['difference']), np.mean(differences))
    assert float(second['difference']) < -0.05 and first['difference'] == '' and second['runs'] == '2'
    np.testing.assert_allclose(float(first['val']), np.mean(
        [single[name]['val']['c_index']['value'] for name in ('1_0', '1_1')]))
    merged = json.loads((tmp_path / 'out' / 'optim.lr=1' / 'all' / 'results.json').read_text())['test']['c_index']
    assert float(first['value']) == merged['value'] and float(first['low']) == merged['ci95'][0]
    assert (tmp_path / 'out' / 'sweep.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('options, message', [
    (['--grid=optim.lr=1,3'], "--grid: .*; choose another --workdir"), (['--folds=1'], '--folds=1'),
    (['--jobs=0'], '--jobs=0'), (['steps=5'], 'steps=5: unknown argument'),
    (['--workdir=gs://bucket/sweep'], 'an address that begins with gs://')])
def test_what_a_sweep_cannot_do_is_refused(sweep, tmp_path, options, message):
    (tmp_path / 'sweep.json').write_text(json.dumps(
        {'config': 'c.py', 'grid': ['optim.lr=1,2'], 'folds': 0, 'inner': 4, 'others': []}))
    given = ['--config=c.py', f'--workdir={tmp_path}', *options]
    given += [] if '--grid' in options[0] else ['--grid=optim.lr=1,2']
    with pytest.raises(InputError, match=message):
        sweep.main(given)
    assert os.listdir(tmp_path) == ['sweep.json'] and not pathlib.Path('gs:').exists()
