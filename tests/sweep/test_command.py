"""A sweep's table and picture, and its resumption; most trainings are copies of runs that are written here."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from medjax import atomic_files, restore
from medjax.errors import InputError
from medjax.sweep import command, pool, settings
from tests.conftest import ROOT
from tests.tasks.survival import survivals

CONFIG = f'{ROOT}/configs/survive_gbsg_deepsurv.py:smoke'


@pytest.fixture
def trained(tmp_path, monkeypatch):
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
    monkeypatch.setattr(pool.sys, 'executable', str(stub))
    monkeypatch.setattr(pool.Pool, 'stop_at_signals', lambda _: None)
    monkeypatch.setattr(restore, 'write_report', lambda folder: folder / 'report.html')  # takes seconds
    return lambda *more: command.main([f'--workdir={tmp_path}/out', f'--config={CONFIG}', '--grid=optim.lr=1,2', *more],
                                      '')


def test_a_sweep_resumes_and_compares_settings(trained, tmp_path, capsys):
    assert trained('--seeds=2', '--jobs=2') == 75
    assert f'{tmp_path}/out/optim.lr=2/seed1: exit code 75: SIGTERM: saved' in capsys.readouterr().out
    assert trained('--seeds=2') == 0
    calls = (tmp_path / 'called').read_text().splitlines()
    assert len(calls) == 5 and calls[-1] == (f'-m medjax.train --config={CONFIG} --config.optim.lr=2 --config.seed=1 '
                                             f'--workdir={tmp_path}/out/optim.lr=2/seed1')
    table, _ = atomic_files.read_table(tmp_path / 'out' / 'sweep.csv')
    first, second = (next(row for row in table if row['setting'] == f'optim.lr={lr}' and row['metric'] == 'c_index')
                     for lr in '12')
    single = {name: json.loads((tmp_path / 'made' / name / 'results.json').read_text())
              for name in ('1_0', '1_1', '2_0', '2_1')}
    differences = [single[f'2_{seed}']['test']['c_index']['value'] - single[f'1_{seed}']['test']['c_index']['value']
                   for seed in '01']
    np.testing.assert_allclose(float(second['difference']), np.mean(differences))
    p_values = [float(row['p']) for row in table if row['p']]
    assert float(second['p_holm']) >= float(second['p']) and len(p_values) * 2 == len(table)
    assert min(float(row['p_holm']) for row in table if row['p']) == pytest.approx(
        min(1.0, min(p_values) * len(p_values)))
    assert float(second['difference']) < -0.05 and first['difference'] == '' and second['runs'] == '2'
    np.testing.assert_allclose(float(first['val']), np.mean(
        [single[name]['val']['c_index']['value'] for name in ('1_0', '1_1')]))
    merged = json.loads((tmp_path / 'out' / 'optim.lr=1' / 'all' / 'results.json').read_text())['test']['c_index']
    assert float(first['value']) == merged['value'] and float(first['low']) == merged['ci95'][0]
    assert (tmp_path / 'out' / 'sweep.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('options, message', [
    (['--grid=optim.lr=1,3'], "--grid: .*; choose another --workdir"), (['--folds=1'], '--folds=1'),
    (['--grid=optim.lrr=1,3'], 'setting optim.lrr=1: config.optim.lrr: unknown key'),
    (['--jobs=0'], '--jobs=0'), (['steps=5'], 'steps=5: unknown argument'),
    (['--workdir=gs://bucket/sweep'], 'an address that begins with gs://')])
def test_what_a_sweep_cannot_do_is_refused(tmp_path, monkeypatch, options, message):
    (tmp_path / 'sweep.json').write_text(json.dumps(
        {'config': CONFIG, 'grid': ['optim.lr=1,2'], 'folds': 0, 'inner': 4, 'others': []}))
    given = [f'--config={CONFIG}', f'--workdir={tmp_path}', *options]
    given += [] if '--grid' in options[0] else ['--grid=optim.lr=1,2']
    monkeypatch.setattr(pool.Pool, 'stop_at_signals', lambda _: None)
    with pytest.raises(InputError, match=message):
        command.main(given, '')
    assert set(os.listdir(tmp_path)) <= {'sweep.json', 'train.lock'} and not pathlib.Path('gs:').exists()


def test_more_jobs_than_gpus_are_refused():
    with pytest.raises(InputError, match='--jobs=3: this machine has 2 GPUs; expected at most one job for each'):
        pool.Pool(3, devices=['0', '1'])


def test_each_job_has_a_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, 'SHOWN', 0.0)  # there are no reports
    # Both wait for the other one, so that they run at the same time.
    script = ('import os, pathlib, sys, time\nout = pathlib.Path(sys.argv[1])\n'
              '(out / os.environ["CUDA_VISIBLE_DEVICES"]).touch()\n'
              'while len(list(out.iterdir())) < 2: time.sleep(0.05)')
    (tmp_path / 'devices').mkdir()
    of = pool.Pool(2, [sys.executable, '-c', script, str(tmp_path / 'devices')], ['4', '7'])
    of.train([settings.Run('', (seed, 0), tmp_path / str(seed), ()) for seed in range(2)])
    assert sorted(os.listdir(tmp_path / 'devices')) == ['4', '7']


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_and_ends_with_one_table(tmp_path):
    started = [sys.executable, 'launch/sweep.py', f'--config={CONFIG}', f'--workdir={tmp_path}/out', '--folds=2',
               '--inner=2', '--grid=optim.lr=1e-3,3e-4', '--config.data.source.cases=(40,20,20)', '--jobs=2']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}

    def finished():
        return {path.parent: path.stat().st_mtime_ns for path in (tmp_path / 'out').glob('*/fold*/report.html')}

    before = {}
    for count in (1, 2):
        process = subprocess.Popen(started, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 600
        while len(finished()) < count and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert before.items() <= finished().items()
        before = finished()
    ended = subprocess.run(started, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0 and not ended.stderr, ended.stderr
    assert len(finished()) == 4 and before.items() <= finished().items()
    table, _ = atomic_files.read_table(tmp_path / 'out' / 'sweep.csv')
    assert {(row['setting'], row['runs']) for row in table} == {('optim.lr=1e-3', '2'), ('optim.lr=3e-4', '2')}
    assert all(float(row['low']) <= float(row['value']) <= float(row['high']) for row in table if row['low'])
    for lr in ('1e-3', '3e-4'):
        merged = json.loads((tmp_path / 'out' / f'optim.lr={lr}' / 'all' / 'results.json').read_text())
        assert merged['test']['c_index']['n'] == 80
