"""Measures medjax and its peers side by side, on this machine.

    python -m medjax.bench [NAME …] [--device=gpu] [--against=torch] [--json=FILE] [--plot=FILE] [--rounds=3]

Without a name: all of the device's. A ratio is peer / medjax, of medians: above 1, medjax is faster. Sides run in turn,
each time in a fresh process; the ratio's range sets one side's best process against the other's worst.
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from medjax import atomic_files, cli
from medjax.bench import race
from medjax.bench.jobs import JOBS
from medjax.errors import InputError

LIMITS = {'cpu': 'matmul', 'gpu': 'gpu_matmul'}  # the jobs that tell what the machine can do


def line(name: str, found: Mapping[str, Any]) -> str:
    """A result as a line of words."""
    goal = '' if found['met'] is None else '  goal met' if found['met'] else '  below the goal'
    if 'ratio' in found:
        unit, scale = ('MB', 1) if found['value'] == 'memory' else ('ms', 1e3)
        key = 'mb' if found['value'] == 'memory' else 's'
        low, high = found['ratio_range']
        text = (f'{found["ratio"]:.2f} ({low:.2f}–{high:.2f})  medjax {found[f"ours_{key}"] * scale:.0f} {unit}, '
                f'{found["peer"]} {found[f"peer_{key}"] * scale:.0f} {unit}  goal {found["goal"]:g}')
        if 'gflops' in found:
            text += f'  {found["gflops"]:.0f} against {found["peer_gflops"]:.0f} GFLOP/s'
        if 'peak_fraction' in found:
            text += f', {found["peak_fraction"]:.0%} of the matmul peak'
    elif 'share' in found:
        text = f'{found["share"]:.1%} of {found["ours_s"] * 1e3:.0f} ms  goal at most {found["goal"]:.0%}'
    elif 'ms' in found:
        text = f'{found["ms"]:.2f} ms  goal below {found["goal"]:g}'
    else:
        text = f'medjax alone: {found.get("ours_s", found.get("ours_mb")):.3g} {"MB" if "ours_mb" in found else "s"}'
    skipped = ''.join(f'  ({side} skipped: {why})' for side, why in found.get('skipped', {}).items())
    return f'{name:18} {text}{goal}{skipped}'


def main(arguments: Sequence[str]) -> None:
    """Measures what is named."""
    device = DEVICE.value
    limit, names = LIMITS[device], list(arguments[1:]) or [name for name, job in JOBS.items() if job.device == device]
    for name in names:
        if name not in JOBS:
            raise InputError(f'{name}: no such measurement; expected some of: {", ".join(JOBS)}')
        if JOBS[name].device != device:
            raise InputError(f'{name}: runs on {JOBS[name].device}; expected --device={JOBS[name].device}')
    if device == 'gpu' and not race.has_gpu():
        raise InputError('--device=gpu: JAX finds no GPU here; nothing was run')
    if ROUNDS.value < 1 or SECONDS.value < 0:
        raise InputError(f'--rounds={ROUNDS.value} --seconds={SECONDS.value}; expected at least 1, and no less than 0')
    if PLOT.value and pathlib.Path(PLOT.value).suffix not in ('.png', '.svg', '.pdf'):
        raise InputError(f'--plot={PLOT.value}; expected a name that ends in .png, .svg or .pdf')
    peers = {peer for job in JOBS.values() for peer in job.peers}
    if not any(peer.lower().startswith(AGAINST.value.lower()) for peer in peers):
        raise InputError(f'--against={AGAINST.value}: no such peer; expected the beginning of: '
                         + ', '.join(sorted(peers)))
    if any(name.startswith(('train', 'window_unet', 'gpu')) for name in names):
        names = [limit, *(name for name in names if name != limit)]
    results: dict[str, Any] = {'machine': race.machine()}
    print(f'{results["machine"]["processor"]}, {results["machine"]["cores"]} cores; '
          f'ratios above 1: medjax is faster', flush=True)

    def progress(text: str) -> None:
        if sys.stderr.isatty():
            print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)

    for name in names:
        found = race.run(name, JOBS[name], rounds=ROUNDS.value, seconds=SECONDS.value, against=AGAINST.value,
                         say=progress)
        peak = max((results.get(limit) or found).get(f'{side}gflops', 0) for side in ('', 'peer_'))
        if 'gflops' in found and peak:
            found['peak_fraction'] = found['gflops'] / peak
        results[name] = found
        progress('')
        print(line(name, found), flush=True)
        if JSON.value:
            atomic_files.write_json(pathlib.Path(JSON.value), results)  # after each: the whole takes an hour
    if device == 'cpu' and not arguments[1:]:
        print('not run: what needs an accelerator (--device=gpu)')
    if PLOT.value:
        from medjax.bench.plot import draw
        draw(results, pathlib.Path(PLOT.value))


if __name__ == '__main__':
    AGAINST = flags.DEFINE_string('against', '', "Only peers whose name begins so, as 'torch'; all by default.")
    DEVICE = flags.DEFINE_enum('device', 'cpu', list(LIMITS), 'What is measured on.')
    JSON = flags.DEFINE_string('json', '', 'Where the figures go.')
    PLOT = flags.DEFINE_string('plot', '', 'Where a picture of the ratios goes (PNG or SVG).')
    ROUNDS = flags.DEFINE_integer('rounds', 3, 'Fresh processes of each side.')
    SECONDS = flags.DEFINE_float('seconds', 4.0, 'That each process repeats for; three repetitions at least.')
    cli.run(main, unnamed=True)
