"""Runs of regression over folds and seeds as one result."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.report.run_files import Run
from medjax.statistics import cross_validation, intervals
from medjax.tasks.family import Combined
from medjax.tasks.regression import summary, table


def merge(runs: Mapping[str, Run]) -> Combined:
    """Errors and correlations over rounds, and those of the rounds' mean prediction as the method 'ensemble'.

    Args:
      runs: the runs by their paths, as they were given.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    first = next(iter(runs.values()))
    tables = {path: run.predictions for path, run in runs.items()}
    targets, unit = first.classes, next(iter(first.results['test'].values()))['unit']
    metrics, rows = pooled(tables, targets, unit)
    notice = cross_validation.notice(tables, shown="the mean of all runs' predictions", unit=unit)
    return Combined(rows, {'test': metrics, 'analysis': {}}, notice, ['test'])


def pooled(tables: cross_validation.Tables, targets: Sequence[str],
           unit: str = 'patient') -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Metrics of a regression over folds and seeds; see `cross_validation.pooled`.

    Args:
      tables: for each run the rows of its predictions table.
      targets: names.
      unit: what a case is.

    Returns:
      Entries, including those of the rounds' mean prediction, whose names end in '_ensemble' and which have no spread;
      and a predictions table with the mean prediction in the network's columns and in those of 'ensemble'.
    """
    rounds = cross_validation.rounds(tables)
    mean = cross_validation.mean_rows(rounds, table.averaged_columns(targets).__contains__)
    ensemble = [{table.predicted_column(name, table.ENSEMBLE): row[table.predicted_column(name)] for name in targets}
                for row in mean]
    mean = [{**row, **columns} for row, columns in zip(mean, ensemble)]
    parts = [_read([{**row, **columns} for row, columns in zip(rows, ensemble)], targets) for rows in rounds]
    without = {name: intervals.left_out(part.patients) for name, part in parts[0].items()}
    single = [summary.compute_metrics(_read([row for row in rows if row['split'] == 'test'], targets))
              for rows in tables.values()]
    values = [summary.compute_metrics(part) for part in parts]
    samples = [summary.compute_metrics(part, without) for part in parts]
    out = summary.entries(parts[0], cross_validation.means_over(values), cross_validation.means_over(samples), unit)
    for key, entry in out.items():
        if key in single[0]:
            entry.update(cross_validation.spread([found[key] for found in single]))
    return out, mean


def _read(rows: Sequence[table.Row], targets: Sequence[str]) -> dict[str, table.Predictions]:
    return {name: table.read(rows, name) for name in targets}
