"""Measures medjax and other libraries side by side, on this machine.

    python -m medjax.bench [NAME …] [--device=gpu] [--against=torch] [--json=FILE] [--plot=FILE] [--rounds=3]

Without a name all jobs of the device run. A ratio is peer / medjax, of medians: above 1 medjax is faster. Sides run in
turn, each time in a fresh process; the range of a ratio compares the best process of one side with the worst of the
other.
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from medjax import atomic_files, cli
from medjax.bench import runner
from medjax.bench.jobs import JOBS
from medjax.errors import InputError

PEAKS = {'cpu': 'matmul', 'gpu': 'gpu_matmul'}  # the jobs that measure the peak performance of a device


def result_line(name: str, found: Mapping[str, Any]) -> str:
    """A result as a line of text.

    Args:
      name: the job's name.
      found: its result, see `runner.summarise`.
    """
    if 'ratio' in found:
        text = _ratio_text(found)
    elif 'share' in found:
        text = f'{found["share"]:.1%} of {found["medjax_s"] * 1e3:.0f} ms  goal at most {found["goal"]:.0%}'
    elif 'ms' in found:
        text = f'{found["ms"]:.2f} ms  goal below {found["goal"]:g}'
    elif 'medjax_mb' in found:
        text = f'medjax only: {found["medjax_mb"]:.3g} MB'
    else:
        text = f'medjax only: {found["medjax_s"]:.3g} s'
    goal = {None: '', True: '  goal met', False: '  goal not met'}[found['met']]
    skipped = ''.join(f'  ({side} skipped: {reason})' for side, reason in found.get('skipped', {}).items())
    return f'{name:18} {text}{goal}{skipped}'


def _ratio_text(found: Mapping[str, Any]) -> str:
    key, unit, scale = ('mb', 'MB', 1) if found['value'] == 'memory' else ('s', 'ms', 1e3)
    low, high = found['ratio_range']
    text = (f'{found["ratio"]:.2f} ({low:.2f}–{high:.2f})  medjax {found[f"medjax_{key}"] * scale:.0f} {unit}, '
            f'{found["peer"]} {found[f"peer_{key}"] * scale:.0f} {unit}  goal {found["goal"]:g}')
    if 'gflops' in found:
        text += f'  {found["gflops"]:.0f} against {found["peer_gflops"]:.0f} GFLOP/s'
    if 'peak_fraction' in found:
        text += f', {found["peak_fraction"]:.0%} of the matmul peak'
    return text


def _check_flags(names: Sequence[str]) -> None:
    """Refuses names and flags that do not fit, before anything is measured."""
    device = DEVICE.value
    for name in names:
        if name not in JOBS:
            raise InputError(f'{name}: unknown job; expected some of: {", ".join(JOBS)}')
        if JOBS[name].device != device:
            raise InputError(f'{name}: runs on {JOBS[name].device}; expected --device={JOBS[name].device}')
    if device == 'gpu' and not runner.has_gpu():
        raise InputError('--device=gpu: JAX finds no GPU here; nothing was run')
    if ROUNDS.value < 1 or SECONDS.value < 0:
        raise InputError(f'--rounds={ROUNDS.value} --seconds={SECONDS.value}; expected at least 1, and at least 0')
    if PLOT.value and pathlib.Path(PLOT.value).suffix not in ('.png', '.svg', '.pdf'):
        raise InputError(f'--plot={PLOT.value}; expected a name that ends in .png, .svg or .pdf')
    peers = {peer for job in JOBS.values() for peer in job.peers}
    if not any(peer.lower().startswith(AGAINST.value.lower()) for peer in peers):
        raise InputError(f'--against={AGAINST.value}: unknown peer; expected the beginning of one of: '
                         + ', '.join(sorted(peers)))


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> None:
    """Runs the named jobs, or all jobs of the device.

    Args:
      arguments: the command and the names.
    """
    device = DEVICE.value
    peak_job, names = PEAKS[device], list(arguments[1:])
    if not names:
        names = [name for name, job in JOBS.items() if job.device == device]
    _check_flags(names)
    if any(name.startswith(('train', 'window_unet', 'gpu')) for name in names):
        names = [peak_job, *(name for name in names if name != peak_job)]
    results: dict[str, Any] = {'machine': runner.machine()}
    print(f'{results["machine"]["processor"]}, {results["machine"]["cores"]} cores; '
          f'ratios above 1: medjax is faster', flush=True)
    for name in names:
        found = runner.run(name, JOBS[name], rounds=ROUNDS.value, seconds=SECONDS.value, against=AGAINST.value,
                           say=_progress)
        reference = results.get(peak_job) or found
        peak = max(reference.get(key, 0) for key in ('gflops', 'peer_gflops'))
        if 'gflops' in found and peak:
            found['peak_fraction'] = found['gflops'] / peak
        results[name] = found
        _progress('')
        print(result_line(name, found), flush=True)
        if JSON.value:
            atomic_files.write_json(pathlib.Path(JSON.value), results)  # after each job: all of them take an hour
    if device == 'cpu' and not arguments[1:]:
        print('not run: jobs for an accelerator (--device=gpu)')
    if PLOT.value:
        from medjax.bench.plot import draw
        draw(results, pathlib.Path(PLOT.value))


if __name__ == '__main__':
    AGAINST = flags.DEFINE_string('against', '', "Only peers whose name begins so, as 'torch'; all by default.")
    DEVICE = flags.DEFINE_enum('device', 'cpu', list(PEAKS), 'The device to measure on.')
    JSON = flags.DEFINE_string('json', '', 'File of the results.')
    PLOT = flags.DEFINE_string('plot', '', 'File of a chart of the ratios (PNG, SVG or PDF).')
    ROUNDS = flags.DEFINE_integer('rounds', 3, 'Number of fresh processes for each side.')
    SECONDS = flags.DEFINE_float('seconds', 4.0, 'Duration of each process; at least three repetitions.')
    cli.run(main, unnamed=True)
