"""Results of segmentation from its predictions table: means over patients of the metrics of each class."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.statistics import per_patient


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: overlap, surface distances and volume errors of each class.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals; `conventions`; and `length_unit`, of distances.
    """
    means = {split: per_patient.summarise(part, evaluator.metrics)
             for split, part in per_patient.rows_by_split(rows).items()}
    return {**means, 'conventions': evaluator.conventions, 'length_unit': evaluator.grid.length}
