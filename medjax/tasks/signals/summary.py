"""Means over patients of per-case metrics: events found, missed and spurious."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.statistics import bootstrap


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: events found, missed and spurious.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    means = {split: bootstrap.summarise(some, evaluator.metrics)
             for split, some in bootstrap.rows_by_split(rows).items()}
    return {**means, 'conventions': evaluator.conventions, 'problem': 'beats'}
