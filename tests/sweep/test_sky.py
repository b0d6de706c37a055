"""Trainings of a sweep as jobs of SkyPilot: the commands that they ask for, with a stub in its place."""

import json
import os
import shlex
import subprocess
import sys

import pytest
import yaml

from medjax.errors import InputError
from medjax.sweep import command, pool, settings, sky
from tests.conftest import ROOT

CONFIG = f'{ROOT}/configs/survive_gbsg_deepsurv.py:smoke'
ARGUMENTS = ['--config=c.py', '--config.x=(1, "b c")', "--config.y=it's", '--workdir=/mnt/b/runs/a']
STUB = f"""#!{sys.executable}
import json, os, pathlib, sys
folder, arguments = pathlib.Path(os.environ['STUB']), sys.argv[1:]
with (folder / 'asked.jsonl').open('a') as file:
    print(json.dumps([os.getcwd(), *arguments]), file=file)
if arguments[:2] == ['jobs', 'queue']:
    print((folder / 'queue').read_text())
    sys.exit(int((folder / 'code').read_text()))
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """A folder with a `sky` that keeps what it is asked for, and the mount of a bucket; no jobs are in the queue."""
    program = tmp_path / 'bin' / 'sky'
    program.parent.mkdir()
    program.write_text(STUB)
    program.chmod(0o755)
    (tmp_path / 'queue').write_text('Fetching …\n[]')
    (tmp_path / 'code').write_text('0')
    (tmp_path / 'mnt').mkdir()
    monkeypatch.setenv('PATH', f'{program.parent}:{os.environ["PATH"]}')
    monkeypatch.setenv('STUB', str(tmp_path))
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    return tmp_path


def asked(folder):
    return [json.loads(line) for line in (folder / 'asked.jsonl').read_text().splitlines()]


@pytest.fixture
def start(stub, monkeypatch):
    """A function that starts the job of a training, by a process that waits in place of this one."""
    monkeypatch.setattr(sky.os, 'execvp', lambda name, words: subprocess.run(words, check=False))
    monkeypatch.chdir(stub)  # restored after the test
    made = sky.command('b', str(stub / 'mnt'), '--gpus=L4:1', stub / 'mnt' / 'runs')
    assert made[:3] == [sys.executable, '-m', 'medjax.sweep.sky']
    return lambda *arguments: sky.main([*made[3:], *arguments, f'--workdir={stub}/mnt/runs/a'])


def test_a_training_is_a_managed_job_on_the_bucket():
    made = sky.launch(ARGUMENTS, 'b', '/mnt/b', "--gpus='L4:1' --num-nodes=1")
    assert made[:4] == ['sky', 'jobs', 'launch', '--yes'] and made[-3:] == ['--gpus=L4:1', '--num-nodes=1',
                                                                            f'{ROOT}/launch/sky.yaml']
    name, bucket, options = made[4:7]
    assert bucket == '--env=BUCKET=b' and name.startswith('--name=medjax-')
    assert shlex.split(options.removeprefix('--env=OPTIONS=')) == [*ARGUMENTS[:3], '--workdir=/bucket/runs/a']
    others = [sky.launch(['--workdir=/mnt/b/runs/b'], 'b', '/mnt/b', ''), sky.launch(ARGUMENTS, 'c', '/mnt/b', '')]
    assert len({name, *(other[4] for other in others)}) == 3  # one job for each folder of each bucket


def test_the_job_is_read_by_skypilot():
    read = pytest.importorskip('sky', reason='needs skypilot').Task.from_yaml_config
    made = sky.launch(ARGUMENTS, 'b', '/mnt/b', '')
    given = [tuple(word.removeprefix('--env=').split('=', 1)) for word in made if word.startswith('--env=')]
    task = read(yaml.safe_load((ROOT / 'launch' / 'sky.yaml').read_text()), env_overrides=given)
    assert task.envs['BUCKET'] == 'b' and shlex.split(task.envs['OPTIONS'])[-1] == '--workdir=/bucket/runs/a'
    from sky.utils import common_utils
    common_utils.check_cluster_name_is_valid(made[4].removeprefix('--name='))


def test_a_job_is_started_once(stub, start, capsys):
    start('--config=c.py')
    queue, launch = asked(stub)
    assert queue[1:3] == ['jobs', 'queue'] and launch[0] == str(ROOT) and launch[1:3] == ['jobs', 'launch']
    name = next(word for word in launch if word.startswith('--name=')).removeprefix('--name=')
    jobs = [{'job_id': 6, 'job_name': name, 'status': 'FAILED_SETUP'},
            {'job_id': 7, 'job_name': name, 'status': 'RUNNING'},
            {'job_id': 8, 'job_name': 'other', 'status': 'RUNNING'}]
    (stub / 'queue').write_text(json.dumps(jobs, indent=2))
    start('--config=c.py')
    assert capsys.readouterr().out == 'job 7 of SkyPilot has this run; waiting for its end\n'
    assert asked(stub)[-1] == [str(ROOT), 'jobs', 'logs', '7']


def test_nothing_is_started_where_the_jobs_are_not_known(stub, start):
    (stub / 'queue').write_text('no connection')
    (stub / 'code').write_text('1')
    with pytest.raises(InputError, match='sky jobs queue: no connection; expected the jobs as JSON: try it by hand'):
        start()
    assert len(asked(stub)) == 1


def test_skypilot_without_any_job_yet_starts_the_first(stub, start):
    (stub / 'queue').write_text('sky.exceptions.ClusterNotUpError: No in-progress managed jobs.')
    (stub / 'code').write_text('1')
    start()
    assert asked(stub)[-1][1:3] == ['jobs', 'launch']


def test_a_sweep_has_a_job_for_each_run(stub, monkeypatch):
    trained = []
    monkeypatch.setattr(pool.Pool, 'stop_at_signals', lambda _: None)
    monkeypatch.setattr(pool.Pool, 'train', lambda of, wanted: trained.extend(
        [[*of._command, *run.arguments] for run in wanted]) or setattr(of, 'code', 75))
    given = [f'--config={CONFIG}', f'--workdir={stub}/mnt/runs', '--grid=optim.lr=1,2', '--seeds=2', '--by=sky']
    assert command.main([*given, '--bucket=b', f'--mount={stub}/mnt', '--sky=--gpus=L4:1'], '') == 75
    first = [sys.executable, '-m', 'medjax.sweep.sky', '--bucket=b', f'--mount={stub}/mnt', '--sky=--gpus=L4:1', '--']
    assert len(trained) == 4 and all(words[:7] == first for words in trained)
    with pytest.raises(InputError, match='--bucket=, --mount=; expected the name of the bucket'):
        command.main(given, '')
    with pytest.raises(InputError, match='expected a folder in --mount='):
        command.main([*given, '--bucket=b', f'--mount={stub}/bin'], '')


def test_a_missing_skypilot_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(InputError, match='--by=sky: no command sky; expected SkyPilot in an environment of its own'):
        sky.command('b', str(tmp_path), '', tmp_path / 'runs')
    assert settings.words("a 'b c'", '--sky') == ['a', 'b c']
