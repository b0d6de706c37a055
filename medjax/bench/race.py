"""Runs a job's sides in turn, each time in a fresh process, and says who was faster, by how much, how surely."""

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
    """Measures one side once; one that cannot be measured gives `{'skipped': why}`."""
    with tempfile.TemporaryDirectory() as folder:
        out, fresh = pathlib.Path(folder) / 'out.json', pathlib.Path(folder) / 'fresh'
        fresh.mkdir()
        # A side that found an accelerator would race one that did not look for it.
        hidden = {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': ''} if job.device == 'cpu' else {}
        environment = {**hidden, 'TMPDIR': folder,
                       **{key: value.format(fresh=fresh) for key, value in job.environment.items()}}
        began = time.time()
        try:
            done = subprocess.run([sys.executable, '-m', 'medjax.bench.child', name, side, str(seconds), str(out)],
                                  env={**os.environ, **environment}, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return {'skipped': f'not done within {LIMIT} s'}
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ['']
            if last[0].startswith('ModuleNotFoundError'):
                return {'skipped': last[0].split("'")[1] + ' is not installed'}
            return {'skipped': f'ended with {done.returncode}: {last[0][:200]}'}
        found = json.loads(out.read_text())
        return {**found, 'first_s': found['first'] - began}


def run(name: str, job: Job, *, rounds: int, seconds: float, against: str,
        say: Callable[[str], None]) -> dict[str, Any]:
    """Measures all sides of a job, in turn, `rounds` times.

    Args:
      name: the job's.
      job: …
      rounds: processes of each side.
      seconds: that each process repeats for.
      against: what a peer's name begins with; others are left out.
      say: takes a line for whoever waits.

    Returns:
      What `--json` holds of it.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    skipped: dict[str, str] = {}
    sides = [*job.ours, *(peer for peer in job.peers if peer.lower().startswith(against.lower()))]
    if job.value == 'first' and not job.environment:
        for side in sides:  # what is compiled once and kept is kept now
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
    return summary(job, found, skipped)


def summary(job: Job, found: Mapping[str, list[dict[str, Any]]], skipped: Mapping[str, str]) -> dict[str, Any]:
    """Medians over processes of their own medians, the spread over processes, and the ratio.

    Raises:
      InputError: where the sides' networks differ in their number of parameters by more than 1 %.
    """
    def figures(side: str) -> list[float]:
        """One for each process."""
        if job.value == 'memory':
            return [one['memory_mb'] for one in found[side]]
        if job.value == 'first':
            return [one['first_s'] for one in found[side]]
        return [float(np.median(one['times'])) for one in found[side]]

    table = {}
    for side in found:
        each, one = figures(side), found[side][0]
        table[side] = {'median': float(np.median(each)), 'lowest': min(each), 'highest': max(each),
                       'memory_mb': round(max(o['memory_mb'] for o in found[side]), 1),
                       'parameters': one['parameters'], 'settings': one['settings']}
    ours, peers = [side for side in job.ours if side in found], [side for side in job.peers if side in found]
    if len(ours) < len(job.ours):
        raise InputError(f'{job.what}: not measured: {"; ".join(skipped.values())}')
    counts = [table[side]['parameters'] for side in (ours[0], *peers)]
    if max(counts) > 1.01 * min(counts):
        raise InputError(f'parameters differ by more than 1 %: {dict(zip((ours[0], *peers), counts))}')
    first = table[ours[0]]
    result: dict[str, Any] = {'what': job.what, 'value': job.value, 'goal': job.goal, 'sides': table, 'met': None}
    if skipped:
        result['skipped'] = dict(skipped)
    if job.value in ('ratio', 'first', 'memory'):
        result['ours_mb' if job.value == 'memory' else 'ours_s'] = first['median']
        if peers:
            best = min(peers, key=lambda side: table[side]['median'])
            peer = table[best]
            result |= {'peer': best, 'peer_mb' if job.value == 'memory' else 'peer_s': peer['median'],
                       'ratio': peer['median'] / first['median'],
                       'ratio_range': [peer['lowest'] / first['highest'], peer['highest'] / first['lowest']]}
            result['met'] = result['ratio'] >= job.goal
    elif job.value == 'share':
        other = table[ours[1]]['median']
        result |= {'ours_s': first['median'], 'part_s': other, 'share': other / first['median']}
        result['met'] = result['share'] <= job.goal
    else:
        result |= {'ours_s': first['median'], 'ms': first['median'] * 1e3}
        result['met'] = result['ms'] <= job.goal
    flops = found[ours[0]][0]['flops']
    if flops and job.value == 'ratio':
        result['gflops'] = flops / first['median'] / 1e9
        if peers:
            result['peer_gflops'] = flops / result['peer_s'] / 1e9
    return result


def has_gpu() -> bool:
    """Whether JAX finds one; asked in another process, for a GPU is the first's that takes it."""
    asked = [sys.executable, '-c', 'import jax; jax.devices("gpu")']
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def machine() -> dict[str, Any]:
    """What was measured on."""
    model = next((line.split(':')[1].strip() for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines()
                  if line.startswith('model name')), '') if pathlib.Path('/proc/cpuinfo').exists() else ''
    versions = {}
    for package in ('jax', 'torch', 'monai', 'batchgeneratorsv2', 'torchio', 'surface-distance', 'SimpleITK'):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = ''
    return {'processor': model, 'cores': cores(), 'python': sys.version.split()[0], **versions}
