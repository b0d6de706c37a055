"""A classification's predictions table as arrays: truth, probabilities, and who belongs together."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError

PROBLEMS = ('binary', 'multiclass', 'ordinal', 'multilabel')
UNKNOWN = -1  # a label that is not known, and so is not judged
RESERVED = ('adaptive', 'micro', 'operating', 'weighted')  # end names of figures, as a class's name does
SUM_TOLERANCE = 0.01  # probabilities written with few digits do not sum to 1 exactly

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Cases:
    """Cases to judge.

    Attributes:
      problem: a name of PROBLEMS.
      classes: their names; of two the second is the positive one. In a multilabel problem they are the labels.
      ids: the cases' names.
      patients: `[n]` int, the same for cases of one patient.
      targets: `[n]` class numbers; multilabel `[n, K]`: 1, 0 or UNKNOWN.
      probs: `[n, K]` float64; the rows sum to 1 unless multilabel.
    """

    problem: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    patients: np.ndarray
    targets: np.ndarray
    probs: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def multilabel(self) -> bool:
        """Whether each class is a label of its own."""
        return self.targets.ndim == 2

    @property
    def binary(self) -> bool:
        """Whether there is one positive class, the second of two."""
        return not self.multilabel and len(self.classes) == 2

    @property
    def judged(self) -> np.ndarray:
        """`[n]` bool: the cases of which anything is known."""
        return (self.targets >= 0).any(1) if self.multilabel else self.targets >= 0

    def take(self, chosen: np.ndarray) -> 'Cases':
        """Some of the cases, by `[n]` bool."""
        ids = tuple(case for case, kept in zip(self.ids, chosen) if kept)
        return dataclasses.replace(self, ids=ids, patients=self.patients[chosen], targets=self.targets[chosen],
                                   probs=self.probs[chosen])

    def label(self, k: int) -> tuple['Cases', np.ndarray]:
        """Label k of a multilabel problem as a binary one: the cases where it is known; and which these are, `[n]`."""
        known = self.targets[:, k] >= 0
        part, name = self.take(known), self.classes[k]
        return dataclasses.replace(part, problem='binary', classes=(f'not {name}', name), targets=part.targets[:, k],
                                   probs=np.stack([1 - part.probs[:, k], part.probs[:, k]], -1)), known

    def parts(self) -> list[tuple[str, 'Cases', np.ndarray]]:
        """The problems in it: itself under '', or each label under its name; and `[n]` bool which cases they have."""
        if not self.multilabel:
            return [('', self, np.ones(len(self), bool))]
        return [(name, *self.label(k)) for k, name in enumerate(self.classes)]


def read(rows: Sequence[Row], problem: str, classes: Sequence[str]) -> Cases:
    """Reads rows of a predictions table; cells are text or numbers.

    Args:
      rows: a mapping per case: `id`, `patient` (a case without it stands for itself), `prob_CLASS` of each class, and
        `target`, the class's name; in a multilabel problem `target_CLASS` 0, 1, or empty where it is not known.
      problem: a name of PROBLEMS.
      classes: their names; two where it is binary; none of RESERVED where it is not.

    Raises:
      InputError: names the case, the column, and what was expected there.
    """
    classes = tuple(classes)
    if problem not in PROBLEMS:
        raise InputError(f'problem: {problem}; expected one of {", ".join(PROBLEMS)}')
    if len(set(classes)) != len(classes) or len(classes) < (1 if problem == 'multilabel' else 2):
        raise InputError(f'classes: {", ".join(classes)}; expected the names of all classes, each once')
    if problem == 'binary' and len(classes) != 2:
        raise InputError(f'classes: {", ".join(classes)}; expected two where the problem is binary')
    taken = [name for name in classes if name in RESERVED]
    if taken and problem != 'binary':
        raise InputError(f'classes: {taken[0]}; expected none of {", ".join(RESERVED)}, which name figures')
    ids = tuple(str(row.get('id', number)) for number, row in enumerate(rows))
    patients = [row.get('patient') or f'case {case}' for row, case in zip(rows, ids)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(patients))}
    probs = np.array([[_probability(row, case, name) for name in classes] for row, case in zip(rows, ids)])
    probs = probs.reshape(len(rows), len(classes))
    if problem == 'multilabel':
        targets = np.array([[_known(row, case, name) for name in classes] for row, case in zip(rows, ids)])
        targets = targets.reshape(probs.shape).astype(int)
    else:
        targets = np.array([_target(row, case, classes) for row, case in zip(rows, ids)], int)
        for case, total in zip(ids, probs.sum(1)):
            if abs(total - 1) > SUM_TOLERANCE:
                raise InputError(f'predictions, case {case}: the probabilities of {", ".join(classes)} sum to '
                                 f'{total:g}; expected 1')
        probs = probs / probs.sum(1, keepdims=True)
    return Cases(problem, classes, ids, np.array([numbers[name] for name in patients], int), targets, probs)


def _probability(row: Row, case: str, name: str) -> float:
    try:
        value = float(row[f'prob_{name}'])
    except (KeyError, TypeError, ValueError):
        value = float('nan')
    if not 0 <= value <= 1:
        raise InputError(f'predictions, case {case}: prob_{name}: {row.get(f"prob_{name}")}; expected a number from 0 '
                         'to 1')
    return value


def _target(row: Row, case: str, classes: tuple[str, ...]) -> int:
    name = row.get('target')
    if name not in classes:
        raise InputError(f'predictions, case {case}: target: {name}; expected one of {", ".join(classes)}')
    return classes.index(name)


def _known(row: Row, case: str, name: str) -> int:
    value = row.get(f'target_{name}')
    if value is None or value == '' or value != value:
        return UNKNOWN
    try:
        return (0, 1).index(float(value))
    except ValueError:
        raise InputError(f'predictions, case {case}: target_{name}: {value}; expected 0, 1 or nothing') from None
