"""Runs of treatment effects on several realisations of a simulation as one result."""

from collections.abc import Mapping

from medjax.report.run_files import Run
from medjax.tasks.family import Combined
from medjax.tasks.treatment import summary


def merge(runs: Mapping[str, Run]) -> Combined:
    """Means over realisations, with intervals over them.

    Args:
      runs: the runs by their paths, each on a realisation of its own.

    Raises:
      InputError: a run without test cases.
    """
    metrics, rows = summary.over_realisations({path: run.predictions for path, run in runs.items()})
    notice = (f'{len(runs)} runs, each on its own realisation of the simulation: metrics are means over realisations, '
              'and intervals are over realisations.')
    return Combined(rows, {**metrics, 'realisations': len(runs), 'analysis': {}}, notice)
