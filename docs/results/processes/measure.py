"""Measures how far runs of several processes are from the run of one process with as many devices.

    python docs/results/processes/measure.py                      writes equality.json, in about 20 minutes
    python docs/results/processes/measure.py --runs=DIR           compares the runs that are in DIR/1, DIR/2 and DIR/4

The small runs of `tests/test_several.py`, each of 5 steps over four simulated devices: one process with four devices,
two with two, and four with one. Of each run the file holds the losses and the largest differences from the run of one
process.
"""

import argparse
import datetime
import json
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[3]
if __name__ == '__main__':
    sys.path.insert(0, str(ROOT))

PATH = pathlib.Path(__file__).with_name('equality.json')
DEVICES, LAYOUTS = 4, (1, 2, 4)
FAR = 1e-5  # of the largest entry of an array


def train(folder: pathlib.Path) -> None:
    """Trains all families in each layout."""
    from tests import several, test_several
    names = (*test_several.FAMILIES, *test_several.OTHERS)
    for count in LAYOUTS:
        output = folder / str(count)
        output.mkdir(parents=True)
        ended = ([several.alone('tests.families', output, *names, devices=DEVICES)] if count == 1 else several.run(
            'tests.families', count, output, *names, devices=DEVICES // count, timeout=7200))
        if any(one.code for one in ended):
            sys.exit(f'{count} processes: {ended}')


def losses(run: pathlib.Path) -> list[float]:
    """The loss of each step."""
    lines = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    return [line['train/loss'] for line in lines if 'train/loss' in line]


def results(value: Any, name: str = '') -> dict[str, float]:
    """All values of metrics in `results.json`, by their path."""
    if isinstance(value, Mapping):
        return {path: number for key, inner in value.items()
                for path, number in results(inner, f'{name}/{key}').items()}
    known = isinstance(value, int | float) and name.endswith('/value') and 'seconds' not in name
    return {name: float(value)} if known else {}


def compare(one: pathlib.Path, other: pathlib.Path, name: str) -> dict[str, Any]:
    """The differences between two runs of a family.

    Returns:
      `losses` as printed, of the first run; whether the other has the `same`; the largest difference of a `weight`,
      without biases, and of a `bias`, relative to the largest entry of the array or to 0.01; of all weights the `share`
      that differs by more than FAR; and the largest difference of a metric in `results.json`, relative to it or to 1.
    """
    import jax

    from tests import test_several
    printed = [[f'{loss:.4f}' for loss in losses(run)] for run in (one, other)]
    largest, entries, far = {'weight': 0.0, 'bias': 0.0}, 0, 0
    same = test_several.weights(other, name)
    for path, leaf in jax.tree_util.tree_leaves_with_path(test_several.weights(one, name)):
        found = same
        for key in path:
            found = found[key.key]
        kind = 'bias' if path[-1].key == 'bias' else 'weight'
        difference = np.abs(found - leaf) / max(np.abs(leaf).max(initial=0), 0.01)
        largest[kind] = max(largest[kind], float(difference.max(initial=0)))
        if kind == 'weight':
            entries, far = entries + difference.size, far + int((difference > FAR).sum())
    metrics, others = (results(json.loads((run / 'results.json').read_text())) for run in (one, other))
    if metrics.keys() != others.keys():
        sys.exit(f'{name}: results.json of {one} and {other} have other metrics')
    return {'losses': printed[0], 'same': printed[0] == printed[1], **largest, 'share': far / entries,
            'result': max((abs(others[key] - value) / max(abs(value), 1.0) for key, value in metrics.items()
                           if np.isfinite(value) and np.isfinite(others[key])), default=0.0)}


def main(arguments: list[str] | None = None) -> None:
    """Trains where no runs are given, compares, and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=pathlib.Path, help='folder with the runs')
    parser.add_argument('--commit', help='of the code that trained those runs')
    options = parser.parse_args(arguments)
    import tempfile

    from tests import test_several
    with tempfile.TemporaryDirectory() as scratch:
        runs = options.runs or pathlib.Path(scratch)
        if options.runs is None:
            train(runs)
        found: dict[str, Any] = {}
        for name in (*test_several.FAMILIES, *test_several.OTHERS):
            found[name] = {}
            for count in LAYOUTS[1:]:
                layout = f'{count}x{DEVICES // count}'
                found[name][layout] = compare(runs / '1' / name, runs / str(count) / name, name)
                print(name, layout, found[name][layout], flush=True)
    commit = options.commit or subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=ROOT, capture_output=True, text=True,
                                              check=True).stdout.strip()
    content = {'date': f'{datetime.date.today()}', 'commit': commit, 'python': platform.python_version(), 'steps': 5,
               'families': found}
    PATH.write_text(json.dumps(content, indent=1) + '\n')


if __name__ == '__main__':
    main()
