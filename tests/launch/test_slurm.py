"""Runs under a real Slurm: two nodes, both on this machine. Needs root, and Debian's slurm-wlm and munge."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slurm
CONFIG, STEPS = f'{ROOT}/configs/survive_gbsg_deepsurv.py:smoke', 3000
NODES = (socket.gethostname(), 'localhost')  # names that resolve to this machine
SETTINGS = '''
ClusterName=medjax
SlurmctldHost={a}(127.0.0.1)
SlurmctldPort=16817
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=60
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
NodeName={a} NodeHostname={a} NodeAddr=127.0.0.1 Port=17001 CPUs=2 State=UNKNOWN
NodeName={b} NodeHostname={a} NodeAddr=127.0.0.1 Port=17002 CPUs=2 State=UNKNOWN
PartitionName=low Nodes={a},{b} Default=YES PriorityTier=1 GraceTime=300 MaxTime=60 DefaultTime=50 OverSubscribe=NO
PartitionName=high Nodes={a},{b} PriorityTier=2 MaxTime=60 PreemptMode=OFF
'''


def said(*command, **environment):
    """What a command prints."""
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, **environment}).stdout


def until(condition, seconds, what):
    """Waits for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(0.5)


@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
    """A Slurm of two nodes: functions that run its commands."""
    if os.getuid() or not all(map(shutil.which, ('slurmctld', 'slurmd', 'munged'))):
        pytest.skip('needs root, slurm-wlm and munge')
    if any(socket.gethostbyname(name) != '127.0.0.1' for name in NODES):
        pytest.skip(f'needs {NODES} to be names of 127.0.0.1')
    folder = tmp_path_factory.mktemp('slurm')
    (folder / 'state').mkdir()
    (folder / 'key').write_bytes(os.urandom(1024))
    (folder / 'key').chmod(0o600)
    (folder / 'slurm.conf').write_text(SETTINGS.format(folder=folder, a=NODES[0], b=NODES[1]))
    environment = {'SLURM_CONF': str(folder / 'slurm.conf')}
    commands = [['munged', f'--socket={folder}/munge.socket', f'--key-file={folder}/key', '--foreground', '--force',
                 f'--pid-file={folder}/munge.pid', f'--log-file={folder}/munge.log', f'--seed-file={folder}/seed'],
                ['slurmctld', '-D'], *(['slurmd', '-D', '-N', name] for name in NODES)]
    started = []
    try:
        for command in commands:
            started.append(subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL))
            time.sleep(2)
        until(lambda: said('sinfo', '-h', '-o', '%D %T', '-p', 'low', **environment) == '2 idle\n', 60,
              lambda: said('sinfo', **environment) + ''.join(
                  path.read_text()[-2000:] for path in folder.glob('*.log')))
        yield lambda *command, **more: said(*command, **environment, **more)
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(60)


def job(slurm, number):
    """What Slurm says of a job."""
    return dict(re.findall(r'(\w+)=(\S+)', slurm('scontrol', 'show', 'job', number)))


def test_a_job_on_two_nodes_is_preempted_resumes_and_finishes(slurm, tmp_path):
    run, log = tmp_path / 'run', tmp_path / 'log.txt'
    environment = {'PYTHON': sys.executable, 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ''}
    number = slurm('sbatch', '--parsable', '--nodes=2', '--cpus-per-task=2', '--time=50', f'--output={log}',
                   'launch/slurm.sh', f'--config={CONFIG}', f'--config.steps={STEPS}', '--config.log.every=5',
                   f'--config.evaluate.every={STEPS}', f'--workdir={run}', **environment).strip()

    def content():
        return log.read_text() if log.exists() else ''

    until(lambda: f'step 10/{STEPS}' in content(), 600, content)
    assert set(job(slurm, number)['NodeList'].split(',')) == set(NODES) and 'Gloo' in content()
    slurm('sbatch', '-p', 'high', '--nodes=2', '--exclusive', f'--output={tmp_path}/high.txt', '--wrap=sleep 2')
    until(lambda: 'SIGTERM: saved step' in content(), 300, content)
    until(lambda: job(slurm, number)['JobState'] == 'PENDING', 300, lambda: str(job(slurm, number)))
    assert job(slurm, number)['Restarts'] == '1' and not (run / 'report.html').exists()
    slurm('scontrol', 'update', f'JobId={number}', 'StartTime=now')  # Slurm would wait for two minutes
    until(lambda: job(slurm, number)['JobState'] == 'COMPLETED', 900, content)
    saved = int(re.search(rf'saved step (\d+) of {STEPS}', content())[1])
    assert f'resuming from step {saved} of {STEPS}' in content() and (run / 'report.html').exists()
    assert content().count('report:') == 1  # one process prints


def test_an_array_of_seeds_is_merged(slurm, tmp_path):
    environment = {'PYTHON': sys.executable, 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ''}
    script = tmp_path / 'seeds.sh'
    script.write_text(f'#!/bin/bash\nexec bash {ROOT}/launch/slurm.sh --config={CONFIG} '
                      f'--config.seed=$SLURM_ARRAY_TASK_ID --workdir={tmp_path}/$SLURM_ARRAY_TASK_ID\n')
    number = slurm('sbatch', '--parsable', '--array=0-1%2', '--cpus-per-task=2', f'--output={tmp_path}/%a.txt', script,
                   **environment).strip()
    runs = [tmp_path / seed for seed in '01']
    until(lambda: all((run / 'report.html').exists() for run in runs), 600, lambda: str(job(slurm, number)) + ''.join(
        path.read_text() for path in tmp_path.glob('?.txt')))
    merged = said(sys.executable, '-m', 'medjax.evaluate', '--merge', f'--workdir={tmp_path}/all', *runs,
                  **environment)
    assert 'report:' in merged and pathlib.Path(tmp_path, 'all', 'results.json').exists()


def test_a_sweep_is_submitted_as_an_array_and_preempted_jobs_resume(slurm, tmp_path):
    pytest.importorskip('submitit')
    steps = 5 * STEPS
    environment = {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ''}
    command = (sys.executable, 'launch/submit.py', f'--config={CONFIG}', f'--workdir={tmp_path}/out', '--seeds=2',
               f'--config.steps={steps}', '--config.log.every=5', f'--config.evaluate.every={steps}', '--jobs=2',
               '--hours=0.8', '--sbatch=--partition=low --cpus-per-task=2')
    printed = slurm(*command, **environment)
    assert '2 jobs submitted' in printed and '0 are in the queue already' in printed
    logs = [tmp_path / 'out' / f'seed{seed}' / 'log.txt' for seed in (0, 1)]

    def content():
        return ''.join(path.read_text() for path in [*logs, *(tmp_path / 'out' / 'submitit').glob('*_log.*')]
                       if path.exists())

    until(lambda: all(path.exists() and f'step 10/{steps}' in path.read_text() for path in logs), 600, content)
    slurm('sbatch', '-p', 'high', '--nodes=2', '--exclusive', f'--output={tmp_path}/high.txt', '--wrap=sleep 2')
    # Saved in the middle; one of them may have been at its end.
    until(lambda: all('SIGTERM: s' in path.read_text() for path in logs), 300, content)
    assert any('SIGTERM: saved step' in path.read_text() for path in logs)
    jobs = list(json.loads((tmp_path / 'out' / 'jobs.json').read_text()).values())
    until(lambda: all(job(slurm, number)['JobState'] == 'PENDING' for number in jobs), 300, content)
    for number in jobs:
        slurm('scontrol', 'update', f'JobId={number}', 'StartTime=now')  # Slurm would wait for two minutes
    printed = slurm(*command, '--wait', **environment)
    assert '0 jobs submitted   2 are in the queue already' in printed and 'sweep.csv' in printed
    assert all('resuming from step' in path.read_text() for path in logs)
