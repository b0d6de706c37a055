"""Runs of one experiment over folds and seeds as one result: pooled over folds, averaged over seeds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.statistics import bootstrap, intervals
from medjax.tasks.anomaly import summary as strange
from medjax.tasks.classification.table import Row, read
from medjax.tasks.forecasting import summary as courses
from medjax.tasks.regression import summary as numbers
from medjax.tasks.survival import summary as prognosis
from medjax.tasks.survival import table as survival_table


def rounds(tables: Mapping[str, Sequence[Row]], split: str = 'test') -> list[list[Row]]:
    """Puts runs together that were tested on different cases, until each part holds all cases once.

    Of nested folds a round is all folds of one seed; where all runs were tested on the same cases, it is one run.

    Args:
      tables: for each run the rows of its predictions table.
      split: whose cases count.

    Returns:
      Rounds of the same cases, in the same order.

    Raises:
      InputError: where the runs' cases do not add up to rounds of the same cases.
    """
    made: list[dict[str, Row]] = []
    for name, rows in tables.items():
        part = {row['id']: row for row in rows if row['split'] == split}
        if not part:
            raise InputError(f'{name}: no {split} cases in predictions.csv; expected some')
        free = next((one for one in made if not one.keys() & part.keys()), None)
        if free is None:
            made.append(part)
        else:
            free |= part
    first = made[0].keys()
    for one in made[1:]:
        odd = sorted(first ^ one.keys())
        if odd:
            raise InputError(f'{split} case {odd[0]}: tested {"more" if odd[0] in first else "less"} often than the '
                             'others; expected the same folds for every seed')
    return [[one[name] for name in sorted(first)] for one in made]


def classification(tables: Mapping[str, Sequence[Row]], problem: str, classes: Sequence[str], resamples: int = 2000,
                   seed: int = 0) -> dict[str, dict[str, Any]]:
    """Figures of a classification over folds and seeds.

    Args:
      tables: for each run the rows of its predictions table.
      problem: a name of `cases.PROBLEMS`.
      classes: their names.
      resamples: bootstrap draws of patients, the same for all rounds.
      seed: of the draws.

    Returns:
      Entries as of `measure.entry`: `value`, the mean over rounds (see `rounds`), with its interval over patients;
      and `run_mean`, `run_sd` and `runs`: mean and standard deviation of the single runs' own figures.
    """
    return _pooled(tables, lambda rows: read(rows, problem, classes), intervals.figures, intervals.entries, resamples, seed)


def survival(tables: Mapping[str, Sequence[Row]], events: Sequence[str], horizons: Sequence[float],
             split: str = 'test', resamples: int = 2000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Figures of a split of survival over folds and seeds, at given horizons; see `classification`."""
    return _pooled(tables, lambda rows: survival_table.read(rows, events),
                   lambda part, draws=None: prognosis.figures(part, horizons, draws), prognosis.entries, resamples,
                   seed, split)


def regression(tables: Mapping[str, Sequence[Row]], names: Sequence[str], of: str = 'patient', resamples: int = 2000,
               seed: int = 0) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Figures of a regression over folds and seeds; see `classification`.

    Returns:
      Entries, among them those of the rounds' mean prediction, whose names end in '_ensemble' (and have no spread);
      and a table of that prediction, in the network's place and its own.
    """
    rows, parts = rounds(tables), []
    told = [key for name in names for key in (f'predicted_{name}', f'spread_{name}') if key in rows[0][0]]
    mean = [{**same[0], **{key: float(np.mean([bootstrap.number(row[key]) for row in same])) for key in told}}
            for same in zip(*rows)]
    mean = [{**row, **{f'predicted_{name}_ensemble': row[f'predicted_{name}'] for name in names}} for row in mean]
    for part in rows:
        together = [{**row, **{key: both[key] for key in both if key.endswith('_ensemble')}}
                    for row, both in zip(part, mean)]
        parts.append({name: numbers.read(together, name) for name in names})
    draws = {name: intervals.multiplicities(table.patients, resamples, seed) for name, table in parts[0].items()}
    single = [numbers.figures({name: numbers.read([row for row in table if row['split'] == 'test'], name)
                               for name in names}) for table in tables.values()]
    values, samples = [numbers.figures(part) for part in parts], [numbers.figures(part, draws) for part in parts]
    out = numbers.entries(parts[0], {key: np.mean([found[key] for found in values], 0) for key in values[0]},
                          {key: np.mean([found[key] for found in samples], 0) for key in values[0]}, of)
    return {key: entry | (_spread([found[key] for found in single]) if key in single[0] else {})
            for key, entry in out.items()}, mean


def forecast(tables: Mapping[str, Sequence[Row]], names: Sequence[str], events: Sequence[str], within: float,
             leads: Sequence[float], resamples: int = 2000,
             seed: int = 0) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Figures of forecasts over folds and seeds, see `classification`; and a table of the rounds' mean forecasts."""
    found = _pooled(tables, lambda rows: courses.read(rows, names, events, within),
                    lambda part, draws=None: courses.figures(part, leads, draws), courses.entries, resamples, seed)
    return found, [{**same[0], **{
        name: float(np.mean([float(row[name]) for row in same])) for name, cell in same[0].items()
        if cell != '' and name.startswith(('forecast_', 'chance_'))}} for same in zip(*rounds(tables))]


def anomaly(tables: Mapping[str, Sequence[Row]], normal: str, score: str, resamples: int = 2000,
            seed: int = 0) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Figures of anomaly scores over folds and seeds, each at its run's threshold; see `classification`.

    Returns:
      Entries; and a table of the rounds' mean scores.
    """
    known = {name: [{**row, 'threshold': strange.threshold_of(rows, normal, score)} for row in rows]
             for name, rows in tables.items()}
    found = _pooled(known, lambda rows: strange.read(rows, normal, score), strange.figures, strange.entries, resamples,
                    seed)
    return found, [{**same[0], **{name: float(np.mean([float(row[name]) for row in same])) for name in same[0]
                                  if name.startswith(strange.PREFIX)}} for same in zip(*rounds(tables))]


def averaged(parts: Sequence[Sequence[Row]]) -> list[dict[str, Any]]:
    """Rounds of survival as one table: each case with the means of its risks and incidences."""
    told = [name for name in parts[0][0] if name.startswith(('risk_', 'incidence_', 'benefit'))]
    return [{**same[0], **{name: float(np.mean([bootstrap.number(row[name]) for row in same])) for name in told}}
            for same in zip(*parts)]


def _pooled(tables: Mapping[str, Sequence[Row]], read: Callable[..., Any], figures: Callable[..., Any],
            entries: Callable[..., dict[str, Any]], resamples: int, seed: int,
            split: str = 'test') -> dict[str, dict[str, Any]]:
    parts = [read(rows) for rows in rounds(tables, split)]
    draws = intervals.multiplicities(parts[0].patients, resamples, seed)
    single = [figures(read([row for row in rows if row['split'] == split])) for rows in tables.values()]
    values, samples = [figures(part) for part in parts], [figures(part, draws) for part in parts]
    out = entries(parts[0], {name: np.mean([found[name] for found in values], 0) for name in values[0]},
                  {name: np.mean([found[name] for found in samples], 0) for name in values[0]})
    return {name: entry | _spread([found[name] for found in single]) for name, entry in out.items()}


def means(tables: Mapping[str, Sequence[Row]], metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Means over patients of what was measured case by case, over folds and seeds; see `classification`."""
    parts = rounds(tables)
    rows = [{**same[0], **{name: np.mean([bootstrap.number(row.get(name)) for row in same]) for name in metrics}}
            for same in zip(*parts)]
    single = [bootstrap.summarise([row for row in rows if row['split'] == 'test'], metrics) for rows in tables.values()]
    return {name: entry | _spread([found[name]['value'] for found in single])
            for name, entry in bootstrap.summarise(rows, metrics).items()}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    known = [float(value) for value in values if value == value]
    return {'runs': len(known), 'run_mean': float(np.mean(known)) if known else float('nan'),
            'run_sd': float(np.std(known, ddof=1)) if len(known) > 1 else None}
