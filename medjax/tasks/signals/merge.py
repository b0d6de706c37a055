"""Signal runs over folds and seeds merged into one result."""

from collections.abc import Mapping

from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.family import Combined


def merge(runs: Mapping[str, Run]) -> Combined:
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
    return Combined(rows, {'test': metrics, 'analysis': {}}, cross_validation.notice(tables), ['test'])
