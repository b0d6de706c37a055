"""Metrics with confidence intervals, of the predictions table."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.statistics import per_patient
from mylab.landmarks import table

CONVENTIONS = 'The error is the distance between the predicted and the true point, in pixels.'


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """The mean error and the fraction of cases within 2 pixels, over patients, for each split."""
    measured = [{**row, 'error': float(error), 'within': float(error <= 2)}
                for row, error in zip(rows, table.errors(rows))]
    splits = per_patient.rows_by_split(measured)
    return {**{split: per_patient.summarise(some, ('error', 'within')) for split, some in splits.items()},
            'problem': 'landmarks', 'conventions': CONVENTIONS}
