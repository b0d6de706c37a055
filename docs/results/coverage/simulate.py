"""Measures how often the intervals of reports contain the true value, on simulated data.

    python docs/results/coverage/simulate.py --jobs=2            writes intervals.json, in about 5 minutes
    python docs/results/coverage/simulate.py --quick             a tenth of the data sets, to the screen only
    python docs/results/coverage/simulate.py --kinds=means,paired --datasets=200 --quick

Each kind of `kinds.py` is simulated with several numbers of patients. Of each metric the file holds the share of data
sets whose interval contains the true value, its Monte Carlo standard error, the mean width, and the share of data sets
that have no interval. Of tests against chance it holds the share of data sets in which p is above 0.05.
"""

import argparse
import concurrent.futures
import datetime
import math
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

if __name__ == '__main__':
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from results import recipes
from results.coverage.kinds import KINDS, Kind

PATH = pathlib.Path(__file__).with_name('intervals.json')
DATASETS = 1000
DIGITS = 4


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, simulates, and writes or prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datasets', type=int, help='data sets of each kind and size, 1000 or with --quick 100')
    parser.add_argument('--seed', type=int, default=0, help='seed of the data')
    parser.add_argument('--kinds', default='', help='names in kinds.py, separated by commas; all by default')
    parser.add_argument('--quick', action='store_true', help='fewer data sets, and no file')
    parser.add_argument('--jobs', type=int, default=1, help='processes, each of which simulates a kind at a time')
    options = parser.parse_args(arguments)
    chosen = options.kinds.split(',') if options.kinds else list(KINDS)
    unknown = [name for name in chosen if name not in KINDS]
    if unknown:
        sys.exit(f'simulate: --kinds: {unknown[0]!r}; expected some of: {", ".join(KINDS)}')
    if options.kinds and not options.quick:
        sys.exit('simulate: --kinds without --quick; expected all kinds for the file')
    datasets = options.datasets or (DATASETS // 10 if options.quick else DATASETS)
    commit, found, seconds = _git('rev-parse', 'HEAD'), {}, 0.0
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        jobs = {name: pool.submit(_measure, name, datasets, options.seed) for name in chosen}
        for name, job in jobs.items():
            found[name], taken = job.result()
            seconds += taken
            print(f'{name}, {taken:.0f} s', flush=True)
            for metric, sizes in found[name].items():
                print(f'  {metric:30}', *(f'{n}: {entry["coverage"]:.3f}' for n, entry in sizes.items()), flush=True)
    if options.quick:
        return
    header = {'commit': commit, 'date': datetime.date.today().isoformat(), 'seed': options.seed,
              'datasets': datasets, 'hardware': f'{platform.machine()}, 1 CPU core',
              'cpu_time': f'{seconds / 60:.0f} min'}
    PATH.write_text(recipes.to_text({**header, 'kinds': found}) + '\n', encoding='utf-8')


def _measure(name: str, datasets: int, seed: int) -> tuple[dict[str, dict[str, Any]], float]:
    """`measure` of a kind by its name, and its time in seconds of CPU."""
    start = time.process_time()
    return measure(KINDS[name], datasets, seed), time.process_time() - start


def measure(kind: Kind, datasets: int, seed: int) -> dict[str, dict[str, Any]]:
    """The coverage of a kind's intervals.

    Args:
      kind: one of KINDS.
      datasets: number of data sets of each size.
      seed: of the data.

    Returns:
      {metric: {n: `coverage`, `se`, `width` (of tests none), `missing`, `datasets`, `truth`}}.
    """
    truth = true_values(kind)
    out: dict[str, dict[str, Any]] = {metric: {} for metric in kind.labels}
    for n in kind.sizes:
        rng = np.random.default_rng([seed, n])
        entries = [kind.entries(kind.draw(rng, n)) for _ in range(datasets)]
        for metric in kind.labels:
            found = [one[metric] for one in entries]
            values = [one['value'] for one in found if one['value'] == one['value']]
            out[metric][str(n)] = _coverage(found, truth.get(metric, float(np.mean(values))))
    return out


def true_values(kind: Kind) -> dict[str, float]:
    """The true value of each metric: a formula, or the mean over large data sets; none of those `of_this_size`."""
    if set(kind.labels) <= {*kind.true, *kind.of_this_size}:
        return dict(kind.true)
    size, count = kind.large
    rng = np.random.default_rng(1)
    found = [kind.values(kind.draw(rng, size)) for _ in range(count)]
    means = {name: float(np.mean([np.ravel(one[name])[0] for one in found])) for name in found[0]}
    return {name: value for name, value in (means | kind.true).items() if name not in kind.of_this_size}


def _coverage(entries: Sequence[Any], truth: float) -> dict[str, Any]:
    """The share of entries whose interval contains the true value, or of tests those with p above 0.05."""
    limits = [entry['ci95'] for entry in entries if entry.get('ci95')]
    held, widths = [low <= truth <= high for low, high in limits], [high - low for low, high in limits]
    if not limits:
        held = [entry['p'] > 0.05 for entry in entries if entry.get('p') is not None]
    share = float(np.mean(held)) if held else math.nan
    out = {'coverage': share, 'se': math.sqrt(share * (1 - share) / max(len(held), 1)), 'datasets': len(entries),
           'missing': 1 - len(held) / len(entries)}
    if widths:
        out |= {'width': float(np.mean(widths)), 'truth': truth}
    return {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in out.items()}


def _git(*arguments: str) -> str:
    return subprocess.run(['git', *arguments], capture_output=True, text=True, check=True,
                          cwd=PATH.parent).stdout.strip()


if __name__ == '__main__':
    os.environ.setdefault('JAX_PLATFORMS', 'cpu')
    main()
