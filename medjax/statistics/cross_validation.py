"""Runs over folds and seeds as one result: pooled over folds, averaged over seeds; of tables of numbers."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics.classification import mean_over_defined
from medjax.statistics import intervals, per_patient

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]  # by run the rows of its predictions table


def rounds(tables: Tables, split: str = 'test') -> list[list[Row]]:
    """Combines runs that were tested on different cases, until each round holds all cases once.

    Of nested folds a round is all folds of one seed; where all runs were tested on the same cases, it is one run.

    Args:
      tables: for each run the rows of its predictions table.
      split: the split whose cases count.

    Returns:
      Rounds of the same cases, in the same order.

    Raises:
      InputError: where the runs' cases do not add up to rounds of the same cases.
    """
    found: list[dict[str, Row]] = []
    for name, rows in tables.items():
        part = {row['id']: row for row in rows if row['split'] == split}
        if not part:
            raise InputError(f'{name}: no {split} cases in predictions.csv; expected some')
        free = next((one for one in found if not one.keys() & part.keys()), None)
        if free is None:
            found.append(part)
        else:
            free |= part
    first = found[0].keys()
    for one in found[1:]:
        odd = sorted(first ^ one.keys())
        if odd:
            raise InputError(f'{split} case {odd[0]}: tested {"more" if odd[0] in first else "less"} often than the '
                             'others; expected the same folds for every seed')
    return [[one[name] for name in sorted(first)] for one in found]


def pooled(tables: Tables, read: Callable[..., Any], metrics: Callable[..., Mapping[str, np.ndarray]],
           entries: Callable[..., dict[str, Any]], *, ranking: Callable[..., Mapping[str, np.ndarray]] | None = None,
           split: str = 'test') -> dict[str, dict[str, Any]]:
    """Metrics over folds and seeds: the mean over rounds, with its interval over patients.

    A metric that ranks cases by a score without a unit, such as a log hazard, is not defined across the models of
    different folds: it is computed in each run and averaged over those in which it is defined.

    Args:
      tables: for each run the rows of its predictions table.
      read: `(rows) -> table` with the attribute `patients [n]`.
      metrics: `(table, weight=None) -> {name: [...]}`, for `weight [rows, n]` one value for each row.
      entries: `(table, values, samples) -> {name: entry}`, entries as of `intervals.entry`.
      ranking: as `metrics`, those that are computed in each run; None for no such metric.
      split: the split whose cases count.

    Returns:
      Entries, each with `run_mean`, `run_sd` and `runs`: mean and standard deviation of the single runs' own values.
    """
    by_round = rounds(tables, split)
    by_run = [[row for row in rows if row['split'] == split] for rows in tables.values()]
    parts, runs = [read(rows) for rows in by_round], [read(rows) for rows in by_run]
    weight = intervals.left_out(parts[0].patients)
    values, samples = means_over(map(metrics, parts)), means_over(metrics(part, weight) for part in parts)
    single = [dict(metrics(run)) for run in runs]
    if ranking is not None:
        ranked, columns = parts, [np.arange(len(by_round[0]))] * len(parts)
        if len(runs) > len(parts):
            place = {row['id']: number for number, row in enumerate(by_round[0])}
            ranked, columns = runs, [np.array([place[row['id']] for row in rows]) for rows in by_run]
        values = means_over(map(ranking, ranked)) | values
        samples |= means_over(ranking(part, weight[:, column]) for part, column in zip(ranked, columns))
        single = [found | ranking(run) for found, run in zip(single, runs)]
    out = entries(parts[0], values, samples)
    return {name: entry | spread([found.get(name, math.nan) for found in single]) for name, entry in out.items()}


def means_over(found: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The mean of each metric over the rounds or runs in which it is defined."""
    every = list(found)
    names = dict.fromkeys(name for one in every for name in one)
    return {name: mean_over_defined([one[name] for one in every if name in one]) for name in names}


def means(tables: Tables, metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Means over patients of per-case metrics, over folds and seeds; see `pooled`.

    A case counts with the mean over the runs in which its metric is defined, and is left out where it is defined in
    none: a structure that is absent and that one of three runs predicts has Dice 0. Missed and spurious structures are
    counted over all runs.

    Args:
      tables: for each run the rows of its predictions table, with a column for each metric.
      metrics: the columns.
    """
    rows = [_mean_case(same, metrics) for same in zip(*rounds(tables))]
    single = [per_patient.summarise([row for row in rows if row['split'] == 'test'], metrics)
              for rows in tables.values()]
    return {name: entry | spread([found[name]['value'] for found in single])
            for name, entry in per_patient.summarise(rows, metrics).items()}


def _mean_case(same: Sequence[Row], metrics: Sequence[str]) -> dict[str, Any]:
    """The rows of one case in several rounds as one: means of metrics, and sums of flags."""
    flags = [name for name in same[0] if name.startswith(per_patient.FLAGS)]
    return {**same[0], **{name: _defined_mean(same, name) for name in metrics},
            **{name: float(_defined(same, name).sum()) for name in flags}}


def _defined(same: Sequence[Row], name: str) -> np.ndarray:
    """The numbers of a column in the rows of one case that have one."""
    values = np.array([per_patient.parse_number(row.get(name)) for row in same])
    return values[~np.isnan(values)]


def _defined_mean(same: Sequence[Row], name: str) -> float:
    values = _defined(same, name)
    return float(values.mean()) if values.size else math.nan


def mean_rows(parts: Sequence[Sequence[Row]], columns: Callable[[str], bool]) -> list[dict[str, Any]]:
    """Rounds as one table: each case with the mean of some of its columns over the rounds that have a number there.

    Args:
      parts: as `rounds` gives them.
      columns: whether a column, by its name, is averaged; a cell that is empty in all rounds stays as it is.
    """
    return [{**same[0], **{name: _defined_mean(same, name) for name in same[0]
                           if columns(name) and _defined(same, name).size}} for same in zip(*parts)]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation of single runs' values, without those that are NaN.

    Returns:
      `runs`, how many count; `run_mean`; and `run_sd`, None for fewer than two.
    """
    known = [float(value) for value in values if value == value]
    return {'runs': len(known), 'run_mean': float(np.mean(known)) if known else float('nan'),
            'run_sd': float(np.std(known, ddof=1)) if len(known) > 1 else None}


def notice(tables: Tables, split: str = 'test', *, shown: str = 'the predictions of all runs',
           unit: str = 'patient') -> str:
    """The text that explains a merged result in its report.

    Args:
      tables: for each run the rows of its predictions table.
      split: the split whose cases count.
      shown: the content of the charts.
      unit: the units that intervals are over.
    """
    count = len(rounds(tables, split))
    times = 'once' if count == 1 else f'{count} times'
    return (f'{len(tables)} runs over folds and seeds, which tested every case {times}: metrics are means over the '
            f'rounds, each of all folds, in which they are defined; intervals are over {unit}s. The charts show '
            f'{shown}.')
