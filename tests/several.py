"""Starts a program as the several processes of one run."""

import os
import socket
import subprocess
import sys

from tests.cli import Ended
from tests.conftest import ROOT


def address():
    """An address on this machine with a free port."""
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        return f'localhost:{probe.getsockname()[1]}'


def run(module, count, *arguments, devices=2, each=(), folders=(), paths=(), timeout=240, **environment):
    """Runs `python -m MODULE ARGUMENTS --distributed=…` as several processes; returns how each ended.

    Args:
      module: the module.
      count: number of processes.
      *arguments: for all processes.
      devices: simulated devices of each process; a list where they differ.
      each: further arguments of each process.
      folders: the current folder of each process; the repository by default.
      paths: where each process imports from; the repository by default.
      timeout: seconds in which all have to end.
      **environment: variables.
    """
    where, more = address(), each or [()] * count
    numbers = devices if isinstance(devices, list) else [devices] * count
    folders, paths = folders or [ROOT] * count, paths or [ROOT] * count
    started = [_start(module, [*arguments, *more[number], f'--distributed={where},{count},{number}'], numbers[number],
                      {'PYTHONPATH': str(paths[number]), **environment}, folders[number]) for number in range(count)]
    try:
        return [Ended(process.returncode, *said) for process, said in
                [(process, process.communicate(timeout=timeout)) for process in started]]
    finally:
        for process in started:
            process.kill()


def alone(module, *arguments, devices=1, **environment):
    """Runs `python -m MODULE ARGUMENTS` as one process; returns how it ended."""
    process = _start(module, arguments, devices, environment)
    said = process.communicate()
    return Ended(process.returncode, *said)


def _start(module, arguments, devices, environment, folder=ROOT):
    flags = f'--xla_backend_optimization_level=0 --xla_force_host_platform_device_count={devices}'
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': flags, **environment}
    return subprocess.Popen([sys.executable, '-m', module, *map(str, arguments)], cwd=folder, env=environment,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
