"""The descriptions of jobs and images in `launch/`: they are whole, and what they start is what they say."""

import ast
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT

LAUNCH = ROOT / 'launch'
JOBSETS = sorted((LAUNCH / 'gke').glob('*.yaml'))


@pytest.mark.parametrize('path', sorted(LAUNCH.glob('*.sh')), ids=lambda path: path.name)
def test_scripts_have_no_faults_of_syntax(path):
    subprocess.run(['bash', '-n', str(path)], check=True)
    if shutil.which('shellcheck'):
        subprocess.run(['shellcheck', '--shell=bash', '--exclude=SC1091,SC2016,SC2086,SC2164', str(path)], check=True)


@pytest.mark.parametrize('path', JOBSETS, ids=lambda path: path.name)
def test_all_pods_of_a_jobset_are_processes_of_one_run(path):
    jobset = yaml.safe_load(path.read_text())
    assert (jobset['apiVersion'], jobset['kind']) == ('jobset.x-k8s.io/v1alpha2', 'JobSet')
    workers, = jobset['spec']['replicatedJobs']
    job = workers['template']['spec']
    assert workers['replicas'] == 1 and job['parallelism'] == job['completions'] and job['completionMode'] == 'Indexed'
    pod = job['template']['spec']
    train, = pod['containers']
    assert {mount['name'] for mount in train['volumeMounts']} == {volume['name'] for volume in pod['volumes']}
    options = dict(text.removeprefix('--').split('=', 1) for text in train['args'])
    assert (ROOT / options['config']).exists() and train['command'] == ['python', '-m', 'medjax.train']
    if options['distributed'] != 'auto':  # JobSet gives a pod the name JOBSET-JOB-REPLICA-INDEX.JOBSET
        name = jobset['metadata']['name']
        assert options['distributed'] == (f'{name}-{workers["name"]}-0-0.{name}:9900,{job["completions"]},'
                                          '$(JOB_COMPLETION_INDEX)')


@pytest.mark.parametrize('path', JOBSETS, ids=lambda path: path.name)
def test_the_job_of_a_jobset_is_valid(path):
    validate = pytest.importorskip('kubernetes_validate', reason='needs kubernetes-validate')
    job = yaml.safe_load(path.read_text())['spec']['replicatedJobs'][0]['template']
    validate.validate({'apiVersion': 'batch/v1', 'kind': 'Job', 'metadata': {'name': 'workers'}, **job}, '1.30',
                      strict=True)


@pytest.fixture
def sky():
    """The task for SkyPilot."""
    return yaml.safe_load((LAUNCH / 'sky.yaml').read_text())


@pytest.mark.parametrize('nodes, rank, where', [(2, 1, '10.0.0.1:9900,2,1'), (1, 0, 'none')])
def test_skypilot_starts_a_process_on_each_node(sky, tmp_path, nodes, rank, where):
    subprocess.run(['bash', '-n', '-c', sky['setup']], check=True)
    program = tmp_path / '.venv' / 'bin' / 'python'
    program.parent.mkdir(parents=True)
    program.write_text(f'#!{sys.executable}\nimport sys\nprint(sys.argv[1:])')
    program.chmod(0o700)
    options = '''--config=a.py --workdir=/bucket/runs/a '--config.x=(1, "b c")' --config.y=it\\'s'''
    environment = {'SKYPILOT_NODE_IPS': '\n'.join(['10.0.0.1', '10.0.0.2'][:nodes]), 'SKYPILOT_NUM_NODES': str(nodes),
                   'SKYPILOT_NODE_RANK': str(rank), 'OPTIONS': options,
                   'PATH': '/usr/bin:/bin'}
    said = subprocess.run(['bash', '-c', sky['run']], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          check=True).stdout
    assert ast.literal_eval(said) == ['-m', 'medjax.train', f'--distributed={where}', '--config=a.py',
                                      '--workdir=/bucket/runs/a', '--config.x=(1, "b c")', "--config.y=it's"]


def test_skypilot_runs_a_training_again_that_was_stopped(sky):
    from medjax.core import signals
    assert set(sky) == {'name', 'num_nodes', 'workdir', 'envs', 'resources', 'file_mounts', 'setup', 'run'}
    assert sky['resources']['job_recovery'] == {'recover_on_exit_codes': [signals.STOPPED]}
    assert sky['file_mounts'] == {'/bucket': {'name': '${BUCKET}', 'store': 'gcs', 'mode': 'MOUNT'}}


def test_skypilot_reads_its_file(sky):
    task = pytest.importorskip('sky', reason='needs skypilot').Task.from_yaml_config(
        sky, env_overrides=[('BUCKET', 'bucket'), ('OPTIONS', '--config=a.py')])
    assert task.num_nodes == 2 and task.envs['BUCKET'] == 'bucket'


def instructions():
    """The instructions of the image's recipe, with continued lines joined."""
    text = re.sub(r'(?m)^#.*\n', '', (LAUNCH / 'Dockerfile').read_text()).replace('\\\n', ' ')
    return [line.split(None, 1) for line in text.splitlines() if line.strip()]


def test_the_image_has_three_targets_without_rights():
    stages, stage = {}, None
    for word, rest in instructions():
        if word == 'FROM':
            base, _, stage = rest.split()
            stages[stage] = [('FROM', base)]
        else:
            stages[stage].append((word, rest))
    assert {'cpu', 'cuda', 'tpu'} <= set(stages)
    for name in ('cpu', 'cuda', 'tpu'):
        assert dict(stages[name])['USER'] == '1000' and dict(stages[name])['FROM'] == f'{name}-libraries'
    bases = [dict(lines)['FROM'] for lines in stages.values() if dict(lines)['FROM'] not in stages]
    assert bases and all(re.fullmatch(r'python:3\.11\.\d+-slim-\w+', base) for base in bases)
    assert all('--constraint=constraints.txt' in rest for word, rest in instructions() if 'pip install' in rest)


def test_what_the_image_copies_exists_and_is_not_ignored():
    kept = {line[1:] for line in (LAUNCH / 'Dockerfile.dockerignore').read_text().splitlines() if line.startswith('!')}
    copied = {name for word, rest in instructions() if word == 'COPY' for name in rest.split()[:-1]}
    assert copied == kept and all((ROOT / name).exists() for name in copied)
    setup = (ROOT / 'setup.py').read_text()
    for extra in re.findall(r"--editable='\.\[([\w,]+)\]'", (LAUNCH / 'Dockerfile').read_text()):
        assert all(f"'{name}': [" in setup for name in extra.split(','))
