"""A split of a classification run as its report draws it: the cases, what was decided of them, and the results."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.report.run_files import Run
from medjax.report.split import Split
from medjax.tasks.classification import table

OPERATING = '_operating'  # ends the names of figures at the operating point


@dataclasses.dataclass(frozen=True)
class Judged(Split[table.Cases]):
    """A split's cases."""

    @property
    def analysis(self) -> Mapping[str, Any]:
        """What `classification.summarise` says of test cases beside the metrics; nothing of other splits."""
        return (self.run.results.get('analysis') or {}) if self.split == 'test' else {}

    @property
    def operating(self) -> Mapping[str, Any] | None:
        """The operating point of a binary problem, where it was applied to the split."""
        there = self.table.binary and f'sensitivity{OPERATING}' in self.entries
        return self.analysis.get('operating') if there else None

    @property
    def confidence(self) -> np.ndarray:
        """`[n]`: the most probable class's probability; of labels that of the decision that is least sure."""
        probs = self.table.probs
        return np.maximum(probs, 1 - probs).min(1) if self.table.multilabel else probs.max(1)

    @property
    def right(self) -> np.ndarray:
        """`[n]` bool: whether the most probable class is true; of labels, whether all are decided as known."""
        targets, probs = self.table.targets, self.table.probs
        if self.table.multilabel:
            return ((targets < 0) | (targets == (probs > 0.5))).all(1)
        return targets == probs.argmax(1)

    @property
    def once(self) -> np.ndarray:
        """`[m]` int: one row of each case; merged runs may have tested a case several times."""
        return np.unique(self.table.ids, return_index=True)[1]

    def said(self, number: int) -> tuple[str, str]:
        """Truth and prediction of a case in words."""
        names, probs, target = self.table.classes, self.table.probs[number], self.table.targets[number]
        if not self.table.multilabel:
            return names[target], names[int(probs.argmax())]
        listed = lambda chosen: ', '.join(name for name, there in zip(names, chosen) if there) or 'none'
        return listed(target == 1), listed(probs > 0.5)


def judge(run: Run, split: str) -> Judged:
    """The cases of a split.

    Raises:
      InputError: where the table of predictions lacks a probability or a truth.
    """
    rows = run.rows(split)
    try:
        return Judged(run, split, rows, table.read(rows, run.results['problem'], run.classes))
    except InputError as error:
        raise InputError(f'{run.folder / "predictions.csv"}: {error}') from None
