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
    found, rows = summary.realised({path: run.predictions for path, run in runs.items()})
    notice = (f'{len(runs)} runs, each on a realisation of its own: metrics are means over them, and intervals are '
              'over realisations.')
    return Combined(rows, {**found, 'realisations': len(runs), 'analysis': {}}, notice)
