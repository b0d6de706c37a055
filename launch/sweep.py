"""Trains a config over settings, seeds and folds, and compares the settings in one table and one picture.

    python launch/sweep.py --config=configs/NAME.py --workdir=runs/sweep --grid='optim.lr=1e-3,3e-4' \
      [--grid='KEY=VALUE,VALUE' …] [--seeds=3] [--folds=5 [--inner=4]] [--jobs=2] \
      [--by=slurm [--sbatch='--partition=NAME --gpus-per-node=1']] [--config.KEY=VALUE …]

All combinations of the grids are settings; `--grid='config=a.py,b.py'` compares configs. `jobs` runs take place at a
time, each on a GPU of its own where there are some, or as a job of Slurm. Finished runs are skipped, so that the same
command resumes after a stop, and `--seeds` may grow. The results are in `sweep.csv` and `sweep.png`, and those of each
setting in `SETTING/all`. Choose a setting by the column `val`: the test metric of the best of several is biased.
"""

import argparse
import concurrent.futures
import dataclasses
import itertools
import math
import os
import pathlib
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from medjax import atomic_files, cli, compare
from medjax.core.signals import STOPPED
from medjax.errors import InputError
from medjax.report import run_files
from medjax.tasks.family import of_config

KEPT = ('config', 'grid', 'folds', 'inner', 'others')  # arguments that a sweep keeps when it is resumed


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of a sweep: its setting, what it is paired by in other settings, its folder and its arguments."""

    setting: str
    pair: tuple[int, int]
    folder: pathlib.Path
    arguments: tuple[str, ...]


def settings(grids: Sequence[str]) -> dict[str, list[str]]:
    """The arguments of each combination of the grids' values, by its name.

    Args:
      grids: each 'KEY=VALUE,VALUE'; commas in brackets belong to a value.

    Raises:
      InputError: a grid without values, or two of one key.
    """
    parsed: dict[str, list[str]] = {}
    for grid in grids:
        key, _, values = grid.partition('=')
        found = re.split(r',(?![^(\[]*[)\]])', values)
        if not key or not all(found) or key in parsed or len({*found}) < len(found):
            raise InputError(f'--grid={grid}; expected KEY=VALUE,VALUE with different values, and each key once')
        parsed[key] = found
    out = {}
    for chosen in itertools.product(*parsed.values()):
        pairs = list(zip(parsed, chosen))
        name = '_'.join(f'{key}={value}' for key, value in pairs) or 'runs'
        out[re.sub(r'[^\w.=,+()-]', '-', name)] = [
            f'--{key}={value}' if key == 'config' else f'--config.{key}={value}' for key, value in pairs]
    return out


def runs(given: argparse.Namespace, workdir: pathlib.Path) -> list[Run]:
    """All runs of a sweep: every setting with every fold and seed."""
    out = []
    for seed, (name, own), fold in itertools.product(range(given.seeds), settings(given.grid).items(),
                                                     range(given.folds or 1)):
        folded = [f'--config.data.folds=({given.folds},{given.inner})', f'--config.data.fold=({fold},0)']
        folder = workdir / name / (f'fold{fold}_seed{seed}' if given.folds else f'seed{seed}')
        config = [f'--config={given.config}'] if given.config else []
        out.append(Run(name, (seed, fold), folder, (
            *config, *sorted(own, key=lambda option: not option.startswith('--config=')), *given.others,
            f'--config.seed={seed}', *(folded if given.folds else []))))
    return out


class Pool:
    """Trains several runs at a time; a signal stops all, and an error lets the others finish.

    Args:
      jobs: how many at a time.
      command: what the arguments of a training follow.
      devices: numbers of the GPUs, over which the runs are spread; empty for none.
    """

    def __init__(self, jobs: int, command: Sequence[str], devices: Sequence[str]):
        self._jobs, self._command = jobs, command
        self._places: queue.Queue[int] = queue.Queue()
        for place in range(jobs):
            self._places.put(place)
        self._devices, self._running, self._lock = devices, set(), threading.Lock()
        self.code = 0  # of the first run that did not finish

    def _train(self, run: Run, number: str) -> None:
        place = self._places.get()
        try:
            environment = dict(os.environ)
            if self._devices:
                environment['CUDA_VISIBLE_DEVICES'] = self._devices[place % len(self._devices)]
            run.folder.mkdir(parents=True, exist_ok=True)
            with (run.folder / 'log.txt').open('a') as log, self._lock:
                if self.code:
                    return
                cli.say(f'{number}  {run.folder}')
                process = subprocess.Popen([*self._command, *run.arguments, f'--workdir={run.folder}'], env=environment,
                                           stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
                self._running.add(process)
            code = process.wait()
            with self._lock:
                self._running.discard(process)
                if not (run.folder / 'report.html').exists() and not self.code:
                    self.code = code or 1
                    last = (run.folder / 'log.txt').read_text().splitlines()[-1:] or ['it printed nothing']
                    cli.say(f'{run.folder}: exit code {code}: {last[0]}')
        finally:
            self._places.put(place)

    def stop(self, number: int, _: Any) -> None:
        """Passes a signal on to all running trainings, which save their state."""
        self.code = self.code or STOPPED
        for process in list(self._running):
            process.send_signal(signal.SIGTERM)

    def train(self, wanted: Sequence[Run]) -> None:
        """Trains the runs that have no report yet."""
        todo = [run for run in wanted if not (run.folder / 'report.html').exists()]
        cli.say(f'{len(wanted)} runs, {len(wanted) - len(todo)} of them finished')
        with concurrent.futures.ThreadPoolExecutor(self._jobs) as threads:
            done = [threads.submit(self._train, run, f'{at}/{len(todo)}') for at, run in enumerate(todo, 1)]
        for one in done:
            one.result()


def summarise(wanted: Sequence[Run], workdir: pathlib.Path, folds: int) -> list[dict[str, Any]]:
    """The table of a sweep: a row for each setting and headline metric.

    `value` is over all folds and seeds, with its interval over patients where the family's runs can be merged; `val` is
    the mean over runs of the validation cases. `difference` is the mean over runs of the difference to the same seed
    and fold of the first setting. Its interval is Student's; with folds, whose training cases overlap, by the corrected
    variance of Nadeau and Bengio (2003).
    """
    by_setting: dict[str, list[Run]] = {}
    for run in wanted:
        by_setting.setdefault(run.setting, []).append(run)
    single = {run: dict(run_files.read(run.folder).results) for run in wanted}
    first = next(iter(by_setting.values()))
    family = of_config(run_files.read(first[0].folder).config)
    classes = single[first[0]].get('classes', ())
    table = []
    for name, members in by_setting.items():
        test = _merged(members, workdir / name / 'all') if len(members) > 1 else single[members[0]].get('test', {})
        for metric in single[members[0]].get('test', {}):
            if not family.metrics.is_headline(metric, classes):
                continue
            values = {run.pair: _value(single[run], 'test', metric) for run in members}
            entry = test.get(metric) or {'value': float(np.mean(list(values.values()))), 'ci95': None}
            low, high = entry.get('ci95') or (math.nan, math.nan)
            row = {'setting': name, 'metric': metric, 'runs': len(members), 'value': entry['value'], 'low': low,
                   'high': high, 'val': float(np.mean([_value(single[run], 'val', metric) for run in members]))}
            if members is not first:
                base = {run.pair: _value(single[run], 'test', metric) for run in first}
                difference = paired_difference([values[pair] - base[pair] for pair in base if pair in values], folds)
                row |= dict(zip(('difference', 'difference_low', 'difference_high'), difference))
            table.append(row)
    return table


def _merged(members: Sequence[Run], folder: pathlib.Path) -> Mapping[str, Any]:
    """The merged metrics of a setting's runs; empty where the family's runs cannot be merged."""
    try:
        return compare.merge([str(run.folder) for run in members], folder).get('test', {})
    except InputError as error:
        cli.say(f'warning: {error}; the mean over runs is shown')
        return {}


def _value(results: Mapping[str, Any], split: str, metric: str) -> float:
    value = results.get(split, {}).get(metric, {}).get('value')
    return math.nan if value is None else float(value)


def paired_difference(differences: Sequence[float], folds: int = 0) -> tuple[float, float, float]:
    """The mean of paired differences and its 95 % interval; NaN limits for fewer than two.

    Args:
      differences: one for each seed and fold.
      folds: number of folds; 0 where all runs have the same test cases.
    """
    values = np.array(differences, float)
    if len(values) < 2:
        return float(values.mean()) if len(values) else math.nan, math.nan, math.nan
    overlap = 1 / (folds - 1) if folds > 1 else 0.0  # test cases in training cases
    error = math.sqrt(values.var(ddof=1) * (1 / len(values) + overlap))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def draw(table: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """Draws each metric by setting, with its interval."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    names = list(dict.fromkeys(row['metric'] for row in table))[:4]
    labels = list(dict.fromkeys(row['setting'] for row in table))
    figure, axes = pyplot.subplots(1, len(names), figsize=(2.5 + 2.5 * len(names), 1.2 + 0.35 * len(labels)),
                                   sharey=True, squeeze=False, layout='constrained')
    for axis, name in zip(axes[0], names):
        for row in (row for row in table if row['metric'] == name):
            at = labels.index(row['setting'])
            axis.plot([row['low'], row['high']], [at, at], color='#4878a8', linewidth=2)
            axis.plot(row['value'], at, 'o', color='#1f3f66')
        axis.set_xlabel(name)
        axis.grid(axis='x', alpha=0.3)
    axes[0][0].set_yticks(range(len(labels)), labels)
    axes[0][0].set_ylim(len(labels) - 0.5, -0.5)
    with atomic_files.replacing(path) as file:
        figure.savefig(file, format='png', dpi=120)
    pyplot.close(figure)


def _gpus() -> list[str]:
    """The numbers of the GPUs that this process may use; none without an NVIDIA driver."""
    if os.environ.get('CUDA_VISIBLE_DEVICES'):
        return os.environ['CUDA_VISIBLE_DEVICES'].split(',')
    if not shutil.which('nvidia-smi'):
        return []
    listed = subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True, check=False).stdout
    return re.findall(r'^GPU (\d+):', listed, re.MULTILINE)


def _keep_arguments(given: argparse.Namespace, workdir: pathlib.Path) -> None:
    """Writes what a sweep is of; refuses another one in the same folder."""
    path, now = workdir / 'sweep.json', {key: getattr(given, key) for key in KEPT}
    before = atomic_files.read_json(path) if path.exists() else now
    for key in KEPT:
        if before.get(key) != now[key]:
            raise InputError(f'--{key}: {now[key]}, but the sweep in {workdir} has {before.get(key)}; choose another '
                             '--workdir, or use the same arguments to resume')
    atomic_files.write_json(path, now)


def main(arguments: Sequence[str]) -> int:
    """Runs a sweep; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('--config', default='')
    parser.add_argument('--workdir', required=True)
    parser.add_argument('--grid', action='append', default=[])
    for name, default in (('seeds', 1), ('folds', 0), ('inner', 4), ('jobs', 1)):
        parser.add_argument(f'--{name}', type=int, default=default)
    parser.add_argument('--by', choices=('local', 'slurm'), default='local')
    parser.add_argument('--sbatch', default='')
    given, given.others = parser.parse_known_args(arguments)
    workdir = pathlib.Path(given.workdir).resolve()
    atomic_files.check_local(given.workdir, f'--workdir={given.workdir}')
    for argument in given.others:
        if not re.match(r'--config\.[\w.]+=', argument):
            raise InputError(f'{argument}: unknown argument; options of the config are written --config.KEY=VALUE')
    if given.seeds < 1 or given.jobs < 1 or given.folds < 0 or given.folds == 1 or (given.folds and given.inner < 2):
        raise InputError(f'--seeds={given.seeds}, --jobs={given.jobs}, --folds={given.folds}, --inner={given.inner}; '
                         'expected at least 1, at least 1, 0 or at least 2, and at least 2')
    wanted = runs(given, workdir)
    _keep_arguments(given, workdir)
    local = given.by == 'local'
    command = [sys.executable, '-m', 'medjax.train'] if local else [
        'sbatch', '--wait', *shlex.split(given.sbatch), str(pathlib.Path(__file__).with_name('slurm.sh'))]
    pool = Pool(given.jobs, command, _gpus() if local and given.jobs > 1 else [])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pool.stop)
    pool.train(wanted)
    if pool.code:
        cli.say('stopped before the end of the sweep; rerun the same command to resume')
        return pool.code
    table = summarise(wanted, workdir, given.folds)
    atomic_files.write_table(workdir / 'sweep.csv', table)
    draw(table, workdir / 'sweep.png')
    for row in table:
        more = ''
        if 'difference' in row:
            more = (f'   difference {row["difference"]:+.3f} [{row["difference_low"]:+.3f}, '
                    f'{row["difference_high"]:+.3f}]')
        cli.say(f'{row["setting"]:40} {row["metric"]:20} {row["value"]:.3f} [{row["low"]:.3f}, {row["high"]:.3f}]'
                f'{more}')
    cli.say(f'table: {workdir / "sweep.csv"}   picture: {workdir / "sweep.png"}')
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as error:
        cli.fail(str(error))
