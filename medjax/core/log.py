"""What a run writes down of its machine and its metrics."""

import importlib.metadata
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jax

import medjax
from medjax import atomic_files

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy', 'nibabel')


class Writer:
    """Appends metrics to `metrics.jsonl` and to TensorBoard's events.

    Args:
      workdir: of the run.
      start: the step that the run goes on from; lines of later steps, which a killed run left, are dropped, for they
        come again.
    """

    def __init__(self, workdir: pathlib.Path, start: int):
        path = workdir / 'metrics.jsonl'
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if _step(line) <= start]
            atomic_files.write_text(path, ''.join(f'{line}\n' for line in lines))
        self._file = path.open('a', buffering=1)
        self._events = _events(workdir / 'tensorboard', start)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line; a value that is not finite is null there."""
        finite = {k: (float(f'{v:.6g}') if v - v == 0 else None) for k, v in values.items()}
        self._file.write(json.dumps({'step': step, **finite}) + '\n')
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes both."""
        self._file.close()
        self._events.close()


def _events(folder: pathlib.Path, start: int) -> Any:
    # Where PyTorch is installed tensorboardX imports it, to log its tensors; numbers need not wait seconds for that.
    known = 'torch' in sys.modules
    if not known:
        sys.modules['torch'] = None
    try:
        import tensorboardX
    finally:
        if not known:
            del sys.modules['torch']
    # Its files are named by the second alone: a part that goes on at once would write over the one before.
    return tensorboardX.SummaryWriter(str(folder), purge_step=start + 1, filename_suffix=f'.{start}')


def progress(step: int, steps: int, values: Mapping[str, float], left: float) -> str:
    """A line for the person who waits: losses and metrics, speed, and the seconds that are `left`, as minutes."""
    shown = ''.join(f'  {name[6:]} {value:.3f}' for name, value in values.items()
                    if name.startswith('train/') and name not in ('train/loss', 'train/grad_norm'))
    skipped = f'  skipped {values["skipped_steps"]}' if 'skipped_steps' in values else ''
    return (f'step {step}/{steps}  loss {values["train/loss"]:.4f}{shown}  {values["images_per_s"]:.1f} images/s  '
            f'ETA {int(left) // 60}:{int(left) % 60:02d}{skipped}')


def _step(line: str) -> float:
    try:
        return json.loads(line)['step']
    except (ValueError, KeyError, TypeError):
        return float('inf')  # a line that a kill cut short


def environment() -> dict[str, Any]:
    """What a repetition of the run needs to know of the machine and the code."""
    def git(*words: str) -> str:
        folder = pathlib.Path(medjax.__file__).parents[1]
        try:
            done = subprocess.run(['git', *words], cwd=folder, capture_output=True, text=True, check=True)
            return done.stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ''
    versions = {'medjax': medjax.__version__, 'python': platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in PACKAGES}
    return {'versions': versions, 'devices': [f'{d.platform}:{d.device_kind}' for d in jax.devices()],
            'hosts': jax.process_count(), 'cores': os.cpu_count(), 'platform': platform.platform(),
            'git_commit': git('rev-parse', 'HEAD'), 'git_dirty': bool(git('status', '--porcelain')),
            'command': ' '.join(['python -m ' + (sys.modules['__main__'].__spec__.name if getattr(
                sys.modules['__main__'], '__spec__', None) else 'medjax.train'), *sys.argv[1:]])}


def peak_memory_mb() -> float:
    """Most memory used so far, in MiB: the device's where it tells, else this process's."""
    stats = jax.devices()[0].memory_stats() or {}
    used = stats.get('peak_bytes_in_use', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    return round(used / 2**20, 1)
