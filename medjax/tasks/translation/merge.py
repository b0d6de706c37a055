"""Translation runs over folds and seeds merged into one result: means over patients of image fidelity and gains."""

from collections.abc import Mapping

from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.family import Combined, combine_means
from medjax.tasks.translation.summary import with_gains


def merge(runs: Mapping[str, Run]) -> Combined:
    """Means over rounds that test every case once; gains are over the baselines of the same run.

    Args:
      runs: the runs by their paths.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    full = {path: with_gains(run.rows('test')) for path, run in runs.items()}
    names = list(dict.fromkeys(name for _, found in full.values() for name in found))
    metrics = cross_validation.means({path: rows for path, (rows, _) in full.items()}, names)
    return combine_means(runs, metrics, names.__contains__, 'the mean metrics of each case over all runs')
