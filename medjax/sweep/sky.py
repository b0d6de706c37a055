"""One training of a sweep as a managed job of SkyPilot: `python -m medjax.sweep.sky`, which `launch/sweep.py` starts.

    python -m medjax.sweep.sky --bucket=NAME --mount=DIR --sky='OPTIONS' -- ARGUMENTS … --workdir=DIR/…

The job is that of `launch/sky.yaml`, for one run. The bucket is mounted at `mount` here, and at /bucket on the machines
of the job. This process becomes `sky`, which waits for the job: its end, or a signal to it, does not stop the job.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

from medjax import cli
from medjax.errors import InputError
from medjax.sweep.settings import words

ROOT = pathlib.Path(__file__).parents[2]
TASK = ROOT / 'launch' / 'sky.yaml'
THERE = '/bucket'  # where the bucket is on the machines of a job
ENDED = ('SUCCEEDED', 'CANCELLED', 'FAILED')  # how the status of a job that has ended begins
NONE = 'No in-progress managed jobs'  # what SkyPilot says before the first job
OWN = ('bucket', 'mount', 'sky')  # the options of this module


def command(bucket: str, mount: str, options: str, workdir: pathlib.Path) -> list[str]:
    """The beginning of a command, which the arguments of a training follow.

    Args:
      bucket: its name.
      mount: the folder where it is mounted here.
      options: of `sky jobs launch`, as in a shell.
      workdir: of the sweep.

    Raises:
      InputError: `sky` is not installed; no bucket; the work folder is not in it.
    """
    if not shutil.which('sky'):
        raise InputError('--by=sky: no command sky; expected SkyPilot in an environment of its own, whose folder bin '
                         'is in PATH')
    if not bucket or not mount:
        raise InputError(f'--by=sky: --bucket={bucket}, --mount={mount}; expected the name of the bucket, and the '
                         'folder where it is mounted on this machine')
    folder = pathlib.Path(mount).resolve()
    if not folder.is_dir() or folder not in workdir.parents:
        raise InputError(f'--workdir={workdir}; expected a folder in --mount={folder}, where the bucket is mounted')
    words(options, '--sky')
    given = [f'--bucket={bucket}', f'--mount={folder}', f'--sky={options}']
    return [sys.executable, '-m', 'medjax.sweep.sky', *given, '--']


def launch(arguments: Sequence[str], bucket: str, mount: str, options: str) -> list[str]:
    """The command that starts the job of a training and waits for its end.

    Args:
      arguments: of `python -m medjax.train`; folders in `mount` are those of the bucket.
      bucket: its name.
      mount: the folder where it is mounted here.
      options: of `sky jobs launch`, as in a shell.
    """
    there = [argument.replace(f'{mount}/', f'{THERE}/') for argument in arguments]
    return ['sky', 'jobs', 'launch', '--yes', f'--name={job_name(bucket, there)}', f'--env=BUCKET={bucket}',
            f'--env=OPTIONS={shlex.join(there)}', *words(options, '--sky'), str(TASK)]


def job_name(bucket: str, arguments: Sequence[str]) -> str:
    """The name of the job of a training: the same for each sweep that has its folder.

    Args:
      bucket: its name.
      arguments: of the training there.
    """
    folder = next(argument for argument in arguments if argument.startswith('--workdir='))
    return f'medjax-{hashlib.sha256(f"{bucket} {folder}".encode()).hexdigest()[:16]}'


def number(name: str) -> int | None:
    """The number of the job of a name that has not ended; None for none.

    Raises:
      InputError: SkyPilot cannot be asked.
    """
    asked = subprocess.run(['sky', 'jobs', 'queue', '--refresh', '--skip-finished', '--all', '--output', 'json'],
                           capture_output=True, text=True, check=False)
    found = re.search(r'(?ms)^\[.*', asked.stdout)
    try:
        jobs = json.loads(found[0]) if found and asked.returncode == 0 else None
    except ValueError:
        jobs = None
    if NONE in asked.stdout + asked.stderr:
        jobs = []
    if not isinstance(jobs, list):
        said = (asked.stderr.strip() or asked.stdout.strip() or 'nothing').splitlines()[-1]
        raise InputError(f'sky jobs queue: {said}; expected the jobs as JSON: try it by hand')
    return next((job['job_id'] for job in jobs if job.get('job_name') == name
                 and not str(job.get('status')).startswith(ENDED)), None)


def main(arguments: Sequence[str]) -> None:
    """Starts the job of a training, or finds the one that runs, and becomes the command that waits for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in OWN:
        parser.add_argument(f'--{name}', default='')
    parser.add_argument('training', nargs='+')
    given = parser.parse_args(arguments)
    start = launch(given.training, given.bucket, given.mount, given.sky)
    known = number(next(word for word in start if word.startswith('--name=')).removeprefix('--name='))
    if known is not None:
        cli.say(f'job {known} of SkyPilot has this run; waiting for its end')
        start = ['sky', 'jobs', 'logs', str(known)]
    os.chdir(ROOT)  # the checkout, which SkyPilot sends
    os.execvp('sky', start)


if __name__ == '__main__':
    try:
        main(sys.argv[1:])
    except InputError as error:
        cli.fail(str(error))
