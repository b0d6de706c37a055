"""The command of a sweep; see `launch/sweep.py`."""

import argparse
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import jax

from medjax import atomic_files, cli
from medjax.core import lock
from medjax.errors import InputError
from medjax.sweep import settings, sky, table
from medjax.sweep.pool import Pool, gpus, sbatch

KEPT = ('config', 'grid', 'setting', 'folds', 'inner', 'others')  # arguments that a sweep keeps when it is resumed
SEARCHED = ('config', 'search', 'metric', 'seeds', 'folds', 'others')  # the same of a search
RESUME = 'stopped before the end of the sweep; rerun the same command to resume'
SCRIPT = pathlib.Path(__file__).parents[2] / 'launch' / 'slurm.sh'


def parser(description: str) -> argparse.ArgumentParser:
    """The parser of the arguments that describe the runs of a sweep."""
    out = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                                  allow_abbrev=False)
    out.add_argument('--config', default='', help='the experiment, a file in configs/')
    out.add_argument('--workdir', required=True, help='the folder of all runs and of the results')
    out.add_argument('--grid', action='append', default=[], help='KEY=VALUE,VALUE; may be repeated')
    out.add_argument('--setting', action='append', default=[], help='"NAME: --config.KEY=VALUE …"; may be repeated')
    for name, default, text in (('seeds', 1, 'number of seeds'), ('folds', 0, 'number of folds; 0 for none'),
                                ('inner', 4, 'parts of the patients who do not test, one of which validates'),
                                ('jobs', 1, 'trainings at a time')):
        out.add_argument(f'--{name}', type=int, default=default, help=text)
    return out


def parse(made: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments of a sweep, checked; those of the trainings are `others`.

    Raises:
      InputError: an unknown argument, or a number out of its range.
    """
    given, others = made.parse_known_args(arguments)
    given.others = others
    atomic_files.check_local(given.workdir, f'--workdir={given.workdir}')
    inner = [part for setting in given.setting for part in settings.words(setting, '--setting')]
    atomic_files.check_arguments([*arguments, *inner])
    for argument in others:
        if not re.match(r'--config\.[\w.]+=', argument):
            raise InputError(f'{argument}: unknown argument; options of the config are written --config.KEY=VALUE')
    if given.seeds < 1 or given.jobs < 1 or given.folds < 0 or given.folds == 1 or (given.folds and given.inner < 2):
        raise InputError(f'--seeds={given.seeds}, --jobs={given.jobs}, --folds={given.folds}, --inner={given.inner}; '
                         'expected at least 1, at least 1, 0 or at least 2, and at least 2')
    return given


def keep_arguments(given: argparse.Namespace, workdir: pathlib.Path, kept: Sequence[str] = KEPT) -> None:
    """Writes what a sweep is of into `sweep.json`.

    Args:
      given: its arguments.
      workdir: its folder.
      kept: names of the arguments that may not change.

    Raises:
      InputError: the folder has another sweep.
    """
    path, now = workdir / 'sweep.json', {key: getattr(given, key) for key in kept}
    before = atomic_files.read_json(path) if path.exists() else now
    for key in kept:
        if before.get(key, now[key]) != now[key]:
            raise InputError(f'--{key}: {now[key]}, but the sweep in {workdir} has {before.get(key)}; choose another '
                             '--workdir, or use the same arguments to resume')
    atomic_files.write_json(path, now)


def main(arguments: Sequence[str], description: str) -> int:
    """Runs a sweep; returns the exit code."""
    made = parser(description)
    made.add_argument('--by', choices=('local', 'slurm', 'sky'), default='local', help='where the trainings run')
    made.add_argument('--sbatch', default='', help='options of sbatch')
    made.add_argument('--sky', default='', help='options of sky jobs launch')
    made.add_argument('--bucket', default='', help='with --by=sky: the bucket of the work folder')
    made.add_argument('--mount', default='', help='with --by=sky: the folder where the bucket is mounted here')
    made.add_argument('--metrics', default='', help='metrics of the table, by commas')
    made.add_argument('--search', action='append', default=[], help='KEY=log(LOW,HIGH), KEY=uniform(LOW,HIGH), '
                      'KEY=int(LOW,HIGH) or KEY=VALUE,VALUE; may be repeated')
    made.add_argument('--trials', type=int, default=20, help='settings that a search tries')
    made.add_argument('--metric', default='', help='the validation metric of a search')
    given = parse(made, arguments)
    if given.trials < 1 or (given.search and (given.grid or given.setting or given.by != 'local')):
        raise InputError(f'--trials={given.trials}; expected at least 1, and --search without --grid, --setting, '
                         '--by=slurm and --by=sky')
    jax.config.update('jax_platforms', 'cpu')  # the devices are for the trainings
    workdir = pathlib.Path(given.workdir).resolve()
    wanted = [] if given.search else settings.runs(given, workdir)
    settings.check(wanted)
    pool = Pool(given.jobs, _command(given, workdir), gpus() if given.by == 'local' and given.jobs > 1 else ())
    atomic_files.make_folder(workdir)
    with lock.locked(workdir, cli.say):
        if given.search:
            return _search(given, workdir, pool)
        keep_arguments(given, workdir)
        pool.stop_at_signals()
        pool.train(wanted)
        if pool.code:
            cli.say(RESUME)
            return pool.code
        rows = table.summarise(wanted, workdir, given.folds, [name for name in given.metrics.split(',') if name])
        write(rows, workdir)
    return 0


def _command(given: argparse.Namespace, workdir: pathlib.Path) -> Sequence[str]:
    """The beginning of the command of a training; empty for a training on this machine."""
    if given.by == 'sky':
        return sky.command(given.bucket, given.mount, given.sky, workdir)
    return sbatch(given.sbatch, str(SCRIPT)) if given.by == 'slurm' else ()


def _search(given: argparse.Namespace, workdir: pathlib.Path, pool: Pool) -> int:
    """Runs a search in a folder that is locked; returns the exit code."""
    from medjax.report import search as chapter
    from medjax.sweep.search import Search
    from medjax.sweep.search import table as trials_table

    search = Search(given, workdir, pool)
    keep_arguments(given, workdir, SEARCHED)
    pool.stop_at_signals()
    search.run()
    folder = None if pool.code else search.finish()
    if folder is None:
        cli.say(RESUME)
        return pool.code
    history = search.history()
    atomic_files.write_table(workdir / 'search.csv', trials_table(history))
    atomic_files.write_bytes(workdir / 'search.png', chapter.draw(history, search.metric, '', 'light'))
    cli.say(f'trials: {workdir / "search.csv"}   picture: {workdir / "search.png"}')
    cli.say(f'report of the chosen setting: {folder / "report.html"}')
    return 0


def write(rows: Sequence[dict[str, Any]], workdir: pathlib.Path) -> None:
    """Writes the table and the picture of a sweep, and prints the table."""
    from medjax.sweep import chart  # imports what draws: not before it is needed

    atomic_files.write_table(workdir / 'sweep.csv', rows)
    chart.draw(rows, workdir / 'sweep.png')
    for line in table.lines(rows):
        cli.say(line)
    cli.say(f'table: {workdir / "sweep.csv"}   picture: {workdir / "sweep.png"}')
