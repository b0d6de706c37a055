"""The declaration of a family of problems, and how a family is found by name.

A family is a folder with a module `family.py` that has `FAMILY = Family(…)`. Its other modules are found by their names
and imported when they are needed:

    task.py        `task(module, *, statistics, …) -> Task`, one module for each entry of `tasks`
    evaluator.py   `evaluator(*, data, task, …)` and `predictor(*, task, statistics, …)`
    summary.py     `results(rows, evaluator)`: the metrics with confidence intervals, of the predictions table
    chapter.py     `chapter(run)`: the family's part of the report
    merge.py       `merge(runs) -> Combined`: runs over folds and seeds as one result
    ensemble.py    `ensemble(runs, paths, members, out, …) -> Combined`: several runs' mean prediction as one result;
                   optionally `predictor(members, chosen)`, which predicts with the ensemble
    compare.py     `compare(runs, rows) -> Comparable`: the predictions of several runs, read for a comparison

A family has `merge.py`, `compare.py`, `ensemble.py` and a predictor, or says in `refuses` why not.
"""

import dataclasses
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

import medjax.tasks
from medjax.errors import InputError
from medjax.metrics.names import MetricList
from medjax.report.reporting import Reporting
from medjax.report.run_files import Run
from medjax.statistics import cross_validation, paired


class Combined(NamedTuple):
    """Several runs as one result.

    Attributes:
      rows: the predictions table.
      results: what `results.json` has: for each split its metrics, and `analysis`.
      notice: the text that explains how the runs were combined.
      splits: the splits whose metrics are listed for each single run too.
      chosen: the content of `ensemble.json`, with which an ensemble predicts; None for none.
    """

    rows: Sequence[Mapping[str, Any]]
    results: Mapping[str, Any]
    notice: str
    splits: Sequence[str] = ()
    chosen: Mapping[str, Any] | None = None


class Members(Protocol):
    """The networks of several runs, restored when they are asked for."""

    @property
    def evaluator(self) -> Any:
        """The evaluator of the first run, with its data set."""
        ...

    def trained(self, path: str) -> tuple[Any, Any]:
        """The predictor of a run and its variables."""
        ...


class Comparable(NamedTuple):
    """Several runs' predictions of the same cases, read for a paired comparison; see `statistics.paired`.

    Attributes:
      tables: of each run its cases, in a form of the family's own.
      metrics: `(table, draws=None) -> {name: [...]}`, the metrics of the network; for `draws [resamples, n]`, how often
        each row counts, one value for each resample.
      counted: `(table, name) -> [n] bool`, the rows that count for a metric.
      known: whether a column of the predictions table, by its name, is known and not predicted: the runs must agree.
      tests: `(table, table) -> {test: {name: result}}`, further tests of two runs, each result with `p` and a
        reason in `why` where it is None; None for no such test.
      hits: `(table, table) -> {name: (hits [m], hits [m])}`, of metrics that are proportions of the same m cases in
        both runs; None for no such metric.
      warnings: lines to read before the numbers.
    """

    tables: Sequence[Any]
    metrics: Callable[..., Mapping[str, np.ndarray]]
    counted: Callable[[Any, str], np.ndarray]
    known: Callable[[str], bool]
    tests: Callable[[Any, Any], Mapping[str, Mapping[str, Any]]] | None = None
    hits: Callable[[Any, Any], Mapping[str, tuple[np.ndarray, np.ndarray]]] | None = None
    warnings: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Family:
    """The declaration of a family.

    Attributes:
      package: the folder as a package, which is `__package__` in `family.py`.
      tasks: for each name that `config.task.name` may have the module with its function `task`.
      metrics: all metrics that the family reports, in the order of its tables.
      refuses: for 'merge', 'compare', 'ensemble', 'predict', 'export' or 'serve' why the family does not offer it.
      reporting: the reporting guidelines, and the metrics that its kind of problem needs.
    """

    package: str
    tasks: Mapping[str, str]
    metrics: MetricList
    refuses: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reporting: Reporting = Reporting()

    @property
    def name(self) -> str:
        """The name of the folder: what `config.evaluate.name` has."""
        return self.package.removeprefix(f'{medjax.tasks.__name__}.')

    def function(self, module: str, name: str) -> Callable[..., Any]:
        """A function of one of the family's modules, imported now."""
        return getattr(importlib.import_module(f'{self.package}.{module}'), name)

    def check(self, name: str) -> None:
        """Refuses a command that the family declines in `refuses`.

        Raises:
          InputError: with the family's reason.
        """
        if name in self.refuses:
            raise InputError(f'--{name}: runs of {self.name}: {self.refuses[name]}')

    def command(self, name: str) -> Callable[..., Any]:
        """The function that merges, compares or averages runs of the family.

        Raises:
          InputError: the family refuses it, with its reason.
        """
        self.check(name)
        return self.function(name, name)


def merge_means(runs: Mapping[str, Run]) -> Combined:
    """Means over patients of per-case metrics, over rounds that test every case once.

    Args:
      runs: the runs by their paths.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    first = next(iter(runs.values()))
    tables = {path: run.predictions for path, run in runs.items()}
    rows = [{'run': path, **row} for path, run in runs.items() for row in run.rows('test')]
    metrics = cross_validation.means(tables, list(first.results['test']))
    return Combined(rows, {'test': metrics, 'analysis': {}},
                    cross_validation.notice(tables, unit=first.analysis_unit), ['test'])


def compare_means(rows: Sequence[Sequence[Mapping[str, Any]]], columns: Sequence[str],
                  known: Sequence[str] = ()) -> Comparable:
    """Means over patients of per-case metrics, read for a comparison.

    Args:
      rows: of each run, the same cases in the same order.
      columns: of the metrics.
      known: columns that are known of a case.
    """
    tables = [paired.CaseMeans(part, [name for name in columns if name in part[0]]) for part in rows]
    return Comparable(tables, paired.CaseMeans.means, paired.CaseMeans.counted, known.__contains__)


def combine_means(runs: Mapping[str, Run], metrics: Mapping[str, Mapping[str, Any]],
                  averaged: Callable[[str], bool], shown: str) -> Combined:
    """Runs over folds and seeds as one result, with the mean of each case over the runs as its row.

    Args:
      runs: the runs by their paths.
      metrics: of the test cases, over rounds.
      averaged: whether a column, by its name, is averaged.
      shown: what the rows are, for the notice.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    tables = {path: run.predictions for path, run in runs.items()}
    rows = cross_validation.mean_rows(cross_validation.rounds(tables), averaged)
    notice = cross_validation.notice(tables, shown=shown, unit=next(iter(runs.values())).analysis_unit)
    return Combined(rows, {'test': metrics, 'analysis': {}}, notice, ['test'])


def names() -> list[str]:
    """The names of all families in `medjax/tasks`."""
    return sorted(module.name for module in pkgutil.iter_modules(medjax.tasks.__path__) if module.ispkg
                  and importlib.util.find_spec(f'{medjax.tasks.__name__}.{module.name}.family'))


def find(name: str, where: str = 'config.evaluate.name') -> Family:
    """The family of a name.

    Args:
      name: a folder of `medjax/tasks`, or the dotted name of a package elsewhere on Python's path.
      where: the config key, for the message.

    Raises:
      InputError: there is no such family; the message has the known names.
    """
    package = name if '.' in name else f'{medjax.tasks.__name__}.{name}'
    try:
        return importlib.import_module(f'{package}.family').FAMILY
    except ModuleNotFoundError as error:
        if not f'{package}.family'.startswith(error.name or '?'):
            raise
    raise InputError(f'{where}: {name!r} is not known; expected one of: {", ".join(names())}')


def of_task(name: str) -> tuple[Family, Callable[..., Any]]:
    """The family that has a task, and the task's function.

    Args:
      name: of the task, as `config.task.name` has it; of a package elsewhere `PACKAGE.TASK`.

    Raises:
      InputError: no family has it; the message has the known names.
    """
    package, _, task = name.rpartition('.')
    families = [find(package, 'config.task.name')] if package else list(map(find, names()))
    for family in families:
        if task in family.tasks:
            return family, family.function(family.tasks[task], 'task')
    known = sorted(task for family in families for task in family.tasks)
    raise InputError(f'config.task.name: {name!r} is not known; expected one of: {", ".join(known)}')


def of_config(config: Mapping[str, Any]) -> Family:
    """The family that evaluates a config's run: `evaluate.name`, else the family of its task."""
    name = (config.get('evaluate') or {}).get('name')
    return find(name) if name else of_task((config.get('task') or {}).get('name', ''))[0]
