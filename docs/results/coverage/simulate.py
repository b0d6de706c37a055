"""Measures how often the intervals of reports contain the true value, on simulated data.

    python docs/results/coverage/simulate.py                     writes intervals.json, in about 20 minutes
    python docs/results/coverage/simulate.py --quick             a tenth of the data sets, to the screen only
    python docs/results/coverage/simulate.py --kinds=means,paired --datasets=200 --quick

Each kind of `kinds.py` is simulated with several numbers of patients. Of each metric the file holds the share of data
sets whose interval contains the true value, its Monte Carlo standard error, the mean width, and the share of data sets
that have no interval. Of tests against chance it holds the share of data sets in which p is above 0.05.
"""

import argparse
import datetime
import functools
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

from medjax.statistics import intervals

PATH = pathlib.Path(__file__).with_name('intervals.json')
DATASETS, RESAMPLES = 1000, 400
MANY = 200  # from so many patients on a third of the data sets is enough: intervals are easier there
DIGITS = 4


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, simulates, and writes or prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datasets', type=int, help='data sets of each kind and size, 1000 or with --quick 100')
    parser.add_argument('--resamples', type=int, default=RESAMPLES, help='bootstrap resamples of a data set')
    parser.add_argument('--seed', type=int, default=0, help='seed of the data')
    parser.add_argument('--kinds', default='', help='names in kinds.py, separated by commas; all by default')
    parser.add_argument('--quick', action='store_true', help='fewer data sets, and no file')
    options = parser.parse_args(arguments)
    chosen = options.kinds.split(',') if options.kinds else list(KINDS)
    unknown = [name for name in chosen if name not in KINDS]
    if unknown:
        sys.exit(f'simulate: --kinds: {unknown[0]!r}; expected some of: {", ".join(KINDS)}')
    if options.kinds and not options.quick:
        sys.exit('simulate: --kinds without --quick; expected all kinds for the file')
    datasets, start, found = options.datasets or (DATASETS // 10 if options.quick else DATASETS), time.monotonic(), {}
    commit = _git('rev-parse', 'HEAD')
    # All data sets of a size have the same draws, as all evaluations do: their seed is fixed.
    intervals.multiplicities = _remembered(intervals.multiplicities)
    for name in chosen:
        found[name] = measure(KINDS[name], datasets, options.resamples, options.seed)
        print(f'{name}, {time.monotonic() - start:.0f} s', flush=True)
        for metric, sizes in found[name].items():
            print(f'  {metric:30}', *(f'{n}: {entry["coverage"]:.3f}' for n, entry in sizes.items()), flush=True)
    if options.quick:
        return
    minutes = time.process_time() / 60
    header = {'commit': commit, 'date': datetime.date.today().isoformat(), 'seed': options.seed,
              'datasets': datasets, 'resamples': options.resamples, 'hardware': f'{platform.machine()}, 1 CPU core',
              'cpu_time': f'{minutes:.0f} min'}
    PATH.write_text(recipes.to_text({**header, 'kinds': found}) + '\n', encoding='utf-8')


def measure(kind: Kind, datasets: int, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """The coverage of a kind's intervals.

    Args:
      kind: one of KINDS.
      datasets: number of data sets of each size.
      resamples: of the bootstrap.
      seed: of the data.

    Returns:
      {metric: {n: `coverage`, `se`, `width` (of tests none), `missing`, `datasets`, `truth`}}.
    """
    truth = {} if kind.of_this_size else true_values(kind)
    out: dict[str, dict[str, Any]] = {metric: {} for metric in kind.labels}
    for n in kind.sizes:
        rng, count = np.random.default_rng([seed, n]), max(1, round(datasets * kind.share / (3 if n >= MANY else 1)))
        entries = [kind.entries(kind.draw(rng, n), resamples) for _ in range(count)]
        for metric in kind.labels:
            found = [one[metric] for one in entries]
            values = [one['value'] for one in found if one['value'] == one['value']]
            true = truth.get(metric, float(np.mean(values)))
            out[metric][str(n)] = _coverage(found, true)
    return out


def true_values(kind: Kind) -> dict[str, float]:
    """The true value of each metric: a formula, or the mean over large data sets."""
    if set(kind.labels) <= set(kind.true):
        return dict(kind.true)
    size, count = kind.large
    rng = np.random.default_rng(1)
    found = [kind.values(kind.draw(rng, size)) for _ in range(count)]
    means = {name: float(np.mean([np.ravel(one[name])[0] for one in found])) for name in found[0]}
    return means | kind.true


def _coverage(entries: Sequence[Any], truth: float) -> dict[str, Any]:
    """The share of entries whose interval contains the true value, or of tests those with p above 0.05."""
    if any('p' in entry for entry in entries):
        held = [entry['p'] > 0.05 for entry in entries if 'p' in entry]
        widths = []
    else:
        limits = [entry['ci95'] for entry in entries if entry.get('ci95')]
        held, widths = [low <= truth <= high for low, high in limits], [high - low for low, high in limits]
    share = float(np.mean(held)) if held else math.nan
    out = {'coverage': share, 'se': math.sqrt(share * (1 - share) / max(len(held), 1)), 'datasets': len(entries),
           'missing': 1 - len(held) / len(entries)}
    if widths:
        out |= {'width': float(np.mean(widths)), 'truth': truth}
    return {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in out.items()}


def _remembered(multiplicities: Any) -> Any:
    @functools.lru_cache(64)
    def of(patients: bytes, resamples: int, seed: int) -> np.ndarray:
        return multiplicities(np.frombuffer(patients, np.int64), resamples, seed)

    def call(patients: np.ndarray, resamples: int, seed: int) -> np.ndarray:
        _, place = np.unique(patients, return_inverse=True)
        return of(place.astype(np.int64).tobytes(), resamples, seed)
    return call


def _git(*arguments: str) -> str:
    return subprocess.run(['git', *arguments], capture_output=True, text=True, check=True,
                          cwd=PATH.parent).stdout.strip()


if __name__ == '__main__':
    os.environ.setdefault('JAX_PLATFORMS', 'cpu')
    main()
