"""The launcher for Cloud TPU with a `gcloud` that keeps what it is asked for, and answers as a script says."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

GCLOUD = f'''#!{sys.executable}
import json, os, pathlib, subprocess, sys
folder = pathlib.Path(os.environ['FAKE'])
arguments = sys.argv[1:]
with (folder / 'asked.jsonl').open('a') as file:
    file.write(json.dumps(arguments) + '\\\\n')
script = json.loads((folder / 'script.json').read_text())
does = ' '.join(a for a in arguments if not a.startswith('-'))
if 'queued-resources list' in does:
    states = script['states']
    print(states.pop(0) if len(states) > 1 else states[0])
    (folder / 'script.json').write_text(json.dumps(script))
elif 'storage ls' in does:
    sys.exit(not (folder / 'report').exists())
elif 'tpu-vm scp' in does:
    if not (folder / 'sent').exists():
        subprocess.run(['git', 'clone', '-q', '--bare', arguments[4], folder / 'sent'], check=True)
elif 'tpu-vm ssh' in does and 'medjax.train' in arguments[-1]:
    code = script['trainings'].pop(0)
    (folder / 'script.json').write_text(json.dumps(script))
    if code == 0:
        (folder / 'report').touch()
    sys.exit(code)
'''.replace('\\\\n', '\\n')


@pytest.fixture
def launch(tmp_path):
    """Runs the launcher; returns how it ended and the commands that it gave, without `gcloud`."""
    if shutil.which('git') is None or not (ROOT / '.git').exists():
        pytest.skip('needs a checkout')
    program = tmp_path / 'gcloud'
    program.write_text(GCLOUD)
    program.chmod(0o700)

    def run(states, trainings=(0,), arguments=('--config=configs/a.py', '--workdir=runs/a'), **environment):
        (tmp_path / 'script.json').write_text(json.dumps({'states': states, 'trainings': list(trainings)}))
        done = subprocess.run(
            ['bash', str(ROOT / 'launch' / 'tpu.sh'), 'brain', 'us-west4-a', 'v5litepod-16', 'gs://bucket', *arguments],
            env={**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'FAKE': str(tmp_path), 'PAUSE': '0',
                 **environment}, capture_output=True, text=True, timeout=60)
        asked = tmp_path / 'asked.jsonl'
        return done, [json.loads(line) for line in asked.read_text().splitlines()] if asked.exists() else []

    return run


def shown(asked):
    """What was asked for, in words without options."""
    return [' '.join(word for word in command if not word.startswith('-')) for command in asked]


def test_a_slice_is_requested_prepared_trained_on_and_deleted(launch, tmp_path):
    done, asked = launch(['', 'WAITING_FOR_RESOURCES', 'PROVISIONING', 'ACTIVE'], DATA='data', SPOT='1',
                         arguments=['--config=configs/a.py', '--workdir=runs/a', "--config.data.x=it's (1, 2)"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == 'report: gs://bucket/runs/a/report.html'
    words = shown(asked)
    create, = (command for command in asked if 'create' in command)
    assert create == ['compute', 'tpus', 'queued-resources', 'create', 'brain', '--node-id=brain', '--zone=us-west4-a',
                      '--accelerator-type=v5litepod-16', '--runtime-version=v2-alpha-tpuv5-lite', '--spot']
    assert words[-1] == 'compute tpus queued-resources delete brain' and '--force' in asked[-1]
    sent, prepare, train = (command for command in asked if 'tpu-vm' in command)
    assert all('--worker=all' in command and '--zone=us-west4-a' in command for command in (sent, prepare, train))
    for command in (prepare[-1], train[-1]):
        subprocess.run(['bash', '-n', '-c', command.removeprefix('--command=')], check=True)
    assert 'gcsfuse --implicit-dirs bucket /mnt/bucket' in prepare[-1] and 'install.sh tpu' in prepare[-1]
    # What a worker's shell makes of the command.
    show = f'{sys.executable} -c "import os, sys; print(sys.argv[1:], os.environ[\'MEDJAX_DATA_DIR\'])"'
    shell = 'cd() { :; }; ' + train[-1].removeprefix('--command=').replace('.venv/bin/python', show)
    said = subprocess.run(['bash', '-c', shell], capture_output=True, text=True, check=True).stdout
    assert said == ("['-m', 'medjax.train', '--distributed=auto', '--config=configs/a.py', "
                    "'--workdir=/mnt/bucket/runs/a', \"--config.data.x=it's (1, 2)\"] /mnt/bucket/data\n")
    head = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=ROOT, capture_output=True, check=True).stdout
    assert subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=tmp_path / 'sent', capture_output=True).stdout == head


def test_after_a_preemption_another_slice_resumes(launch):
    done, asked = launch(['ACTIVE', 'SUSPENDING', 'SUSPENDED', '', 'ACTIVE'], trainings=[255, 0])
    assert done.returncode == 0, done.stderr
    done = [word for command in shown(asked) for word in ('delete', 'create', 'ssh') if f' {word} ' in command]
    assert done == ['ssh', 'ssh', 'delete', 'create', 'ssh', 'ssh', 'delete']  # prepared and trained in each


def test_an_error_of_the_training_ends_it(launch):
    done, asked = launch(['ACTIVE'], trainings=[2])
    assert done.returncode == 1 and 'stopped by the error above' in done.stderr
    assert shown(asked)[-1] == 'compute tpus queued-resources delete brain'
    done, asked = launch(['ACTIVE'], trainings=[2], KEEP='1')
    assert done.returncode == 1 and 'delete' not in shown(asked)[-1]


@pytest.mark.parametrize('states, arguments, message', [
    (['FAILED'], ['--config=a', '--workdir=runs/a'], 'the request failed'),
    (['ACTIVE'], ['--config=a', '--workdir=/tmp/a'], '--workdir=/tmp/a; expected a folder of the bucket'),
    (['ACTIVE'], ['--config=a', '--workdir=gs://b/a'], '--workdir=gs://b/a; expected a folder of the bucket'),
    (['ACTIVE'], ['--config=a', '--config.seed=1'], 'expected --workdir=FOLDER'),
    (['ACTIVE'], ['--config=a'], 'bash launch')])
def test_what_cannot_run_is_refused(launch, states, arguments, message):
    done, asked = launch(states, arguments=arguments)
    assert done.returncode != 0 and message in done.stderr
    assert not [command for command in asked if 'ssh' in command or 'create' in command]
