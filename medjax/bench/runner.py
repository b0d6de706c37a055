"""Runs the sides of a job in turn, each time in a fresh process, and compares them."""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from medjax.bench.side import Job
from medjax.errors import InputError
from medjax.machine import cores

LIMIT = 900  # seconds that a side may take


def measure(name: str, job: Job, side: str, seconds: float) -> dict[str, Any]:
    """The measurement of one side in one process; `{'skipped': reason}` where it is not possible.

    Args:
      name: the job's name.
      job: the job.
      side: the side's name.
      seconds: approximate duration of the measurement.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, fresh = pathlib.Path(folder) / 'out.json', pathlib.Path(folder) / 'fresh'
        fresh.mkdir()
        # Accelerators are hidden from CPU jobs, so that no side uses one.
        hidden = {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': ''} if job.device == 'cpu' else {}
        environment = {**hidden, 'TMPDIR': folder,
                       **{key: value.format(fresh=fresh) for key, value in job.environment.items()}}
        began = time.time()
        try:
            done = subprocess.run([sys.executable, '-m', 'medjax.bench.worker', name, side, str(seconds), str(out)],
                                  env={**os.environ, **environment}, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return {'skipped': f'not finished within {LIMIT} s'}
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ['']
            if last[0].startswith('ModuleNotFoundError'):
                return {'skipped': last[0].split("'")[1] + ' is not installed'}
            return {'skipped': f'exit code {done.returncode}: {last[0][:200]}'}
        found = json.loads(out.read_text())
        return {**found, 'first_s': found['first'] - began}


def run(name: str, job: Job, *, rounds: int, seconds: float, against: str,
        say: Callable[[str], None]) -> dict[str, Any]:
    """The result of a job, whose sides are measured in turn.

    Args:
      name: the job's name.
      job: the job.
      rounds: number of processes for each side.
      seconds: approximate duration of each process.
      against: the beginning of the names of the peers to measure.
      say: receives lines of progress.

    Returns:
      The job's entry in the file of `--json`.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    skipped: dict[str, str] = {}
    sides = [*job.own, *(peer for peer in job.peers if peer.lower().startswith(against.lower()))]
    if job.value == 'first' and not job.environment:
        for side in sides:  # fills the compilation cache
            measure(name, job, side, seconds)
    for number in range(rounds):
        for side in sides:
            if side in skipped:
                continue
            say(f'{name}: {side}, round {number + 1} of {rounds}')
            one = measure(name, job, side, seconds)
            if 'skipped' in one:
                skipped[side] = one['skipped']
            else:
                found.setdefault(side, []).append(one)
    return summarise(job, found, skipped)


def summarise(job: Job, found: Mapping[str, list[dict[str, Any]]], skipped: Mapping[str, str]) -> dict[str, Any]:
    """The result of a job: medians over processes of their own medians, the range over processes, and the ratio.

    Args:
      job: the job.
      found: for each side the measurements of its processes.
      skipped: the sides that could not be measured, with the reason.

    Raises:
      InputError: a side of medjax is missing, or the sides' networks differ in their number of parameters by more than
        1 %.
    """
    table = {side: _side_summary(job.value, measurements) for side, measurements in found.items()}
    own, peers = [side for side in job.own if side in found], [side for side in job.peers if side in found]
    if len(own) < len(job.own):
        raise InputError(f'{job.description}: not measured: {"; ".join(skipped.values())}')
    counts = [table[side]['parameters'] for side in (own[0], *peers)]
    if max(counts) > 1.01 * min(counts):
        raise InputError(f'{job.description}: numbers of parameters {dict(zip((own[0], *peers), counts))}; expected a '
                         'difference of at most 1 %')
    first = table[own[0]]
    result: dict[str, Any] = {'description': job.description, 'value': job.value, 'goal': job.goal, 'sides': table,
                              'met': None}
    if skipped:
        result['skipped'] = dict(skipped)
    if job.value in ('ratio', 'first', 'memory'):
        result['medjax_mb' if job.value == 'memory' else 'medjax_s'] = first['median']
        if peers:
            result |= _comparison(job, first, {side: table[side] for side in peers})
    elif job.value == 'share':
        part = table[own[1]]['median']
        result |= {'medjax_s': first['median'], 'part_s': part, 'share': part / first['median']}
        result['met'] = result['share'] <= job.goal
    else:
        result |= {'medjax_s': first['median'], 'ms': first['median'] * 1e3}
        result['met'] = result['ms'] <= job.goal
    flops = found[own[0]][0]['flops']
    if flops and job.value == 'ratio':
        result['gflops'] = flops / first['median'] / 1e9
        if peers:
            result['peer_gflops'] = flops / result['peer_s'] / 1e9
    return result


def _side_summary(value: str, measurements: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and range over the processes of one side."""
    if value == 'memory':
        values = [one['memory_mb'] for one in measurements]
    elif value == 'first':
        values = [one['first_s'] for one in measurements]
    else:
        values = [float(np.median(one['times'])) for one in measurements]
    return {'median': float(np.median(values)), 'lowest': min(values), 'highest': max(values),
            'memory_mb': round(max(one['memory_mb'] for one in measurements), 1),
            'parameters': measurements[0]['parameters'], 'settings': measurements[0]['settings']}


def _comparison(job: Job, own: Mapping[str, Any], peers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The fastest (or smallest) peer against medjax."""
    best = min(peers, key=lambda side: peers[side]['median'])
    peer = peers[best]
    ratio = peer['median'] / own['median']
    return {'peer': best, 'peer_mb' if job.value == 'memory' else 'peer_s': peer['median'], 'ratio': ratio,
            'ratio_range': [peer['lowest'] / own['highest'], peer['highest'] / own['lowest']],
            'met': ratio >= job.goal}


def has_gpu() -> bool:
    """Whether JAX finds a GPU; checked in another process, so that this one does not allocate the GPU's memory."""
    command = [sys.executable, '-c', 'import jax; jax.devices("gpu")']
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def machine() -> dict[str, Any]:
    """The processor, the number of cores, and the versions of the libraries."""
    cpuinfo, model = pathlib.Path('/proc/cpuinfo'), ''
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith('model name')]
        model = lines[0].split(':')[1].strip() if lines else ''
    versions = {}
    for package in ('jax', 'torch', 'monai', 'batchgeneratorsv2', 'torchio', 'surface-distance', 'SimpleITK'):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = ''
    return {'processor': model, 'cores': cores(), 'python': sys.version.split()[0], **versions}
