"""Growth runs over folds and seeds merged into one result: errors of masks, gains over baselines and new tumours."""

from collections.abc import Mapping

from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.family import Combined, combine_means
from medjax.tasks.growth import summary, table


def merge(runs: Mapping[str, Run]) -> Combined:
    """Metrics over rounds that test every case once; gains are over the baselines of the same run.

    Args:
      runs: the runs by their paths.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    tables = {path: run.predictions for path, run in runs.items()}
    metrics = cross_validation.pooled(tables, table.read, summary.compute_metrics, summary.entries)
    return combine_means(runs, metrics, table.is_averaged,
                         'the mean predictions and metrics of each case over all runs')
