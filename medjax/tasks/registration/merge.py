"""Registration runs over folds and seeds merged into one result: means over pairs, and gains over other methods."""

from collections.abc import Mapping

from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.family import Combined, combine_means
from medjax.tasks.registration import summary, table


def merge(runs: Mapping[str, Run]) -> Combined:
    """Means over rounds that test every pair once; gains are over the other methods in the same run.

    Args:
      runs: the runs by their paths.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    tables = {path: run.predictions for path, run in runs.items()}
    metrics = cross_validation.pooled(tables, table.read, summary.metric_values, summary.entries)
    return combine_means(runs, metrics, table.is_averaged,
                         'the mean predictions and metrics of each case over all runs')
