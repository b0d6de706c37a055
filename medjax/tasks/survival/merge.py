"""Runs of survival analysis over folds and seeds as one result."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.data.splits import is_nested
from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.family import Combined
from medjax.tasks.survival import summary, table


def merge(runs: Mapping[str, Run]) -> Combined:
    """Concordance and Brier scores over rounds, at common horizons, for each test split.

    Risks of different folds are of different models: they are compared within a fold only. Curves have the times of
    all runs, up to the earliest last one.

    Args:
      runs: the runs by their paths, as they were given.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    first = next(iter(runs.values()))
    tables = table.on_common_grid({path: run.predictions for path, run in runs.items()}, first.classes)
    # Dynamic prediction has a test split for each landmark.
    test_splits = [split for split in first.splits if split.startswith('test')]
    folds = len(cross_validation.rounds(tables, test_splits[0])) < len(tables)
    rows, analysis = _mean_predictions(tables, first, test_splits, folds)
    metrics = {split: pooled(tables, first.classes, analysis['horizons'], split) for split in test_splits}
    notice = cross_validation.notice(tables, test_splits[0], shown="the mean of all runs' predictions")
    if folds:
        notice += (' C-indices are computed in each fold and averaged, because risks of different models cannot be '
                   'compared; risk groups are of the predicted incidence.')
    return Combined(rows, {**metrics, 'analysis': analysis}, notice, test_splits)


def pooled(tables: cross_validation.Tables, events: Sequence[str], horizons: Sequence[float],
           split: str = 'test') -> dict[str, dict[str, Any]]:
    """Metrics of a split over folds and seeds, at given horizons; see `cross_validation.pooled`."""
    return cross_validation.pooled(
        tables, lambda rows: table.read(rows, events),
        lambda part, weight=None: summary.curve_metrics(part, horizons, weight), summary.entries,
        ranking=summary.ranking_metrics, split=split)


def _mean_predictions(tables: cross_validation.Tables, first: Run, test_splits: Sequence[str],
                      folds: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Each patient's mean prediction over the rounds, and its analysis; `folds` have risks of different models."""
    # Nested folds validate on different patients, which do not add up to rounds.
    validated = all(any(row['split'] == 'val' for row in rows) for rows in tables.values())
    nested = is_nested(first.section('data').get('folds') or ())
    splits = ['val', *test_splits] if validated and not nested else test_splits
    rows = []
    for split in splits:
        rows += cross_validation.mean_rows(cross_validation.rounds(tables, split), table.is_averaged)
    analysis = summary.summarise(rows, first.classes, unit=first.results.get('unit', ''),
                                 horizons=first.section('evaluate').get('horizons') or (), absolute_groups=folds)
    del analysis['metrics']
    for key in ('groups', 'calibration'):
        if key in analysis:
            analysis[key] = {split: analysis[key][split] for split in test_splits}
    return [row for row in rows if row['split'] != 'val'], analysis
