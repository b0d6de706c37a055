"""The log of a run: its metrics, and a description of the machine and the code."""

import functools
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax

import medjax
from medjax import atomic_files
from medjax.core.trackers import Trackers
from medjax.errors import InputError
from medjax.machine import cores, processor

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy', 'nibabel')


class Writer:
    """Appends metrics to `metrics.jsonl` and to the TensorBoard events.

    Args:
      workdir: the run's folder.
      start: the step from which the run continues. Lines of later steps, written before the run was killed, are
        removed, because these steps run again.
      say: receives a warning about lines that cannot be read.
      trackers: further writers, which keep the lines of later steps, and do not write them again.
    """

    def __init__(self, workdir: pathlib.Path, start: int, say: Callable[[str], None] = print,
                 trackers: Trackers | None = None):
        self._path = workdir / 'metrics.jsonl'
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        steps = [_step(line) for line in lines]
        damaged = [number for number, step in enumerate(steps, 1) if step is None]
        if damaged:
            say(f'warning: {self._path}: {len(damaged)} damaged or incomplete lines, the first is line {damaged[0]}; '
                'they are left out')
        kept = [line for line, step in zip(lines, steps) if step is not None and step <= start]
        if start and not kept:
            say(f'warning: {self._path}: no steps up to {start}, from which the run resumes; the training history '
                'begins there')
        self._trackers = trackers
        if trackers:
            trackers.remember(json.loads(line) for line, step in zip(lines, steps) if step is not None and step > start)
        if lines:
            atomic_files.write_bytes(self._path, b''.join(line + b'\n' for line in kept))
        self._file = self._path.open('a', buffering=1)
        self._events = _events(workdir / 'tensorboard', start)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the metrics of a step; a value that is not finite becomes null in `metrics.jsonl`.

        Raises:
          InputError: the file has been removed, for example with the folder of the run.
        """
        if not self._path.exists():
            raise InputError(f'{self._path}: removed while training; expected the folder of the run to stay')
        finite = {k: float(f'{v:.6g}') if math.isfinite(v) else None for k, v in values.items()}
        self._file.write(json.dumps({'step': step, **finite}) + '\n')
        if self._trackers:
            self._trackers.write(step, values)
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes and closes both files."""
        self._file.close()
        self._events.close()


class NoWriter:
    """Writes nothing, as all processes of a run but the first."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def _events(folder: pathlib.Path, start: int) -> Any:
    """The TensorBoard writer of a run."""
    # tensorboardX imports PyTorch where it is installed, which takes seconds and is only needed to log its tensors.
    modules: dict[str, Any] = sys.modules
    imported = 'torch' in modules
    if not imported:
        modules['torch'] = None
    try:
        import tensorboardX
    finally:
        if not imported:
            del modules['torch']
    # File names have a resolution of one second: without the suffix, a quick resume would overwrite the file before.
    return tensorboardX.SummaryWriter(str(folder), purge_step=start + 1, filename_suffix=f'.{start}')


def progress_line(step: int, steps: int, values: Mapping[str, float], left: float) -> str:
    """A line of progress: losses and metrics, speed, and the time that is left.

    Args:
      step: number of steps so far.
      steps: number of steps of the run.
      values: the logged metrics, by name.
      left: estimated time to the last step, in seconds.
    """
    shown = ''.join(f'  {name[6:]} {value:.3f}' for name, value in values.items()
                    if name.startswith('train/') and name not in ('train/loss', 'train/grad_norm'))
    skipped = f'  skipped {values["skipped_steps"]}' if 'skipped_steps' in values else ''
    return (f'step {step}/{steps}  loss {values["train/loss"]:.4f}{shown}  {values["images_per_s"]:.1f} images/s  '
            f'ETA {int(left) // 60}:{int(left) % 60:02d}{skipped}')


def _step(line: bytes) -> int | None:
    """The step of a line of `metrics.jsonl`; None for a damaged line, or one that a killed run left incomplete."""
    try:
        return int(json.loads(line)['step'])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def environment() -> dict[str, Any]:
    """A description of the machine and the code, for the reproduction of the run.

    Returns:
      `versions` of the packages; `devices`; `hosts`; `processor`, its name; `cores`, the number that this process may
      use, on which sums on a CPU depend; `platform`; `git_commit`, in an image the variable MEDJAX_COMMIT, and
      `git_dirty`; `command`.
    """
    versions = {'medjax': medjax.__version__, 'python': platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in PACKAGES}
    return {'versions': versions, 'devices': [f'{d.platform}:{d.device_kind}' for d in jax.devices()],
            'hosts': jax.process_count(), 'processor': processor(), 'cores': cores(),
            'platform': platform.platform(),
            'git_commit': _git('rev-parse', 'HEAD') or os.environ.get('MEDJAX_COMMIT', ''),
            'git_dirty': bool(_git('status', '--porcelain')), 'command': _command()}


@functools.cache
def code_hash(folder: pathlib.Path = pathlib.Path(medjax.__file__).parent) -> str:
    """SHA-256 of the package's source: containers have no git, and a checkout may have changes without a commit."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob('*.py')):
        content = path.read_bytes()
        digest.update(f'{path.relative_to(folder)} {len(content)}\n'.encode() + content)
    return digest.hexdigest()[:12]


def _git(*arguments: str) -> str:
    """The output of a git command in the folder of the code; '' without git or a repository."""
    folder = pathlib.Path(medjax.__file__).parents[1]
    try:
        done = subprocess.run(['git', *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ''
    return done.stdout.strip()


def _command() -> str:
    """The command line of this process, with the name of its main module."""
    spec = getattr(sys.modules['__main__'], '__spec__', None)
    module = spec.name if spec else 'medjax.train'
    return ' '.join([f'python -m {module}', *sys.argv[1:]])


def peak_memory_mb() -> float:
    """Peak memory so far, in MiB: the device's where the backend reports it, else that of this process."""
    stats = jax.local_devices()[0].memory_stats() or {}
    used = stats.get('peak_bytes_in_use', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    return round(used / 2**20, 1)
