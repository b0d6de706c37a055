"""Trainings as jobs of submitit, by its local executor; the trainings are stubs."""

import functools
import json
import os
import signal
import time

import pytest

from medjax import atomic_files
from medjax.core import lock
from medjax.errors import InputError
from medjax.sweep import submit
from tests.conftest import ROOT
from tests.tasks.survival import survivals

submitit = pytest.importorskip('submitit')
CONFIG = f'{ROOT}/configs/survive_gbsg_deepsurv.py:smoke'


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_job_saves_its_training_at_a_signal_and_is_queued_again(tmp_path):
    (tmp_path / 'stub').write_text(f"""
echo "$*" >>{tmp_path}/called
[ -e {tmp_path}/saved ] && exit 0
trap 'touch {tmp_path}/saved; exit 75' TERM
kill -USR2 $$  # which Slurm sends to all processes of a job
echo $PPID >{tmp_path}/new && mv {tmp_path}/new {tmp_path}/running
while true; do sleep 0.1; done
""")
    executor = submitit.LocalExecutor(tmp_path / 'jobs')
    executor.update_parameters(timeout_min=5)
    job = executor.submit(submit.Training(['--config=c.py'], str(tmp_path), ['bash', str(tmp_path / 'stub')]))
    until((tmp_path / 'running').exists)
    os.kill(int((tmp_path / 'running').read_text()), signal.SIGUSR2)  # which comes before a time limit
    assert job.result() == 0
    assert (tmp_path / 'called').read_text() == 2 * f'--config=c.py --workdir={tmp_path}\n'


@pytest.mark.slow
def test_a_job_whose_training_was_stopped_is_queued_again_and_a_failure_is_one(tmp_path):
    (tmp_path / 'stub').write_text(f'[ -e {tmp_path}/saved ] && exit 3\ntouch {tmp_path}/saved\nexit 75\n')
    executor = submitit.LocalExecutor(tmp_path / 'jobs')
    executor.update_parameters(timeout_min=5)
    job = executor.submit(submit.Training([], str(tmp_path), ['bash', str(tmp_path / 'stub')]))
    with pytest.raises(submitit.core.utils.FailedJobError, match='exit code 3; see log.txt there'):
        job.result()


@pytest.fixture
def submitting(tmp_path, monkeypatch):
    """A function that submits a sweep, whose trainings copy a run."""
    made = survivals.make(tmp_path / 'made', seed=0, error=0.2, count=40)
    (made / 'report.html').touch()
    stub = tmp_path / 'stub'
    stub.write_text(f"""
echo "$*" >>{tmp_path}/called
[[ "$*" = *seed=1* && -e {tmp_path}/bad ]] && exit 2
for last in "$@"; do true; done
cp -r {tmp_path}/made/. "${{last#--workdir=}}"
""")
    monkeypatch.setattr(submit, 'Training', functools.partial(submit.Training, command=['bash', str(stub)]))
    monkeypatch.setattr('medjax.sweep.table.compare.merge', lambda *_: {})
    return lambda *more: submit.main([f'--config={CONFIG}', f'--workdir={tmp_path}/out', '--seeds=2',
                                      '--executor=local', *more], '')


def test_runs_are_submitted_once_and_their_table_is_made_at_the_end(submitting, tmp_path, capsys):
    (tmp_path / 'bad').touch()
    assert submitting('--wait') == 1
    assert f'{tmp_path}/out/seed1: not finished; look at log.txt there' in capsys.readouterr().out
    (tmp_path / 'bad').unlink()
    (tmp_path / 'out' / 'seed1').mkdir(exist_ok=True)
    with lock.locked(tmp_path / 'out' / 'seed1', print):
        assert submitting() == 0
    assert '0 jobs submitted   1 are in the queue already' in capsys.readouterr().out
    assert submitting('--wait') == 0
    seeds = [line.split('--config.seed=')[1][0] for line in (tmp_path / 'called').read_text().splitlines()]
    assert sorted(seeds) == ['0', '1', '1']
    rows, _ = atomic_files.read_table(tmp_path / 'out' / 'sweep.csv')
    assert {(row['setting'], row['runs']) for row in rows} == {('', '2')}
    assert list(json.loads((tmp_path / 'out' / 'jobs.json').read_text())) == [f'{tmp_path}/out/seed{n}' for n in (0, 1)]


@pytest.mark.parametrize('more, message', [('--sbatch=partition=low', '--sbatch: partition=low; expected options of'),
                                           ('--grid=optim.lrr=1,2', 'config.optim.lrr: unknown key')])
def test_what_cannot_be_submitted_is_refused(submitting, more, message):
    with pytest.raises(InputError, match=message):
        submitting(more)
