"""A split of a classification run for its report: the cases, their predictions, and the results."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.report import split as report_split
from medjax.report.run_files import Run
from medjax.tasks.classification import table
from medjax.tasks.classification.operating_point import SUFFIX


@dataclasses.dataclass(frozen=True)
class ClassificationSplit(report_split.Split[table.Cases]):
    """The cases of a split."""

    @property
    def analysis(self) -> Mapping[str, Any]:
        """The analysis of test cases by `summary.summarise`; empty for other splits."""
        return (self.run.results.get('analysis') or {}) if self.split == 'test' else {}

    @property
    def operating(self) -> Mapping[str, Any] | None:
        """The operating point of a binary problem, where it was applied to the split."""
        applied = self.table.binary and f'sensitivity{SUFFIX}' in self.entries
        return self.analysis.get('operating') if applied else None

    @property
    def confidence(self) -> np.ndarray:
        """`[n]`: the probability of the predicted class; for labels that of the least confident decision."""
        probs = self.table.probs
        return np.maximum(probs, 1 - probs).min(1) if self.table.multilabel else probs.max(1)

    @property
    def correct(self) -> np.ndarray:
        """`[n]` bool: whether the predicted class is true; for labels whether all known ones are right at 0.5."""
        targets, probs = self.table.targets, self.table.probs
        if self.table.multilabel:
            return ((targets < 0) | (targets == (probs > 0.5))).all(1)
        return targets == probs.argmax(1)

    @property
    def distinct(self) -> np.ndarray:
        """`[m]` int: one row of each case; merged runs may have tested a case several times."""
        return np.unique(self.table.ids, return_index=True)[1]

    def truth_and_prediction(self, number: int) -> tuple[str, str]:
        """The names of the true and of the predicted class or labels of a case."""
        names, probs, target = self.table.classes, self.table.probs[number], self.table.targets[number]
        if not self.table.multilabel:
            return names[target], names[int(probs.argmax())]
        return _label_names(names, target == 1), _label_names(names, probs > 0.5)


def read_split(run: Run, split: str) -> ClassificationSplit:
    """The cases of a split.

    Raises:
      InputError: the predictions table lacks a probability or a target.
    """
    part = report_split.read_split(run, split, lambda rows: table.read(rows, run.results['problem'], run.classes))
    return ClassificationSplit(part.run, part.split, part.rows, part.table)


def _label_names(names: Sequence[str], chosen: np.ndarray) -> str:
    return ', '.join(name for name, present in zip(names, chosen) if present) or 'none'
