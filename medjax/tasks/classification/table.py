"""The predictions table of classification: its columns, how they are written, and how they are read as arrays."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.source import UNKNOWN
from medjax.errors import InputError
from medjax.statistics import per_patient

PROBLEMS = ('binary', 'multiclass', 'ordinal', 'multilabel')
TARGET, UNCERTAINTY = 'target', 'uncertainty'  # columns
# Endings of metrics' names, where a class's name may stand.
RESERVED = ('adaptive', 'micro', 'operating', 'predicted', 'weighted')
SUM_TOLERANCE = 0.01  # probabilities that are written with few digits do not sum to exactly 1

Row = Mapping[str, Any]


def target_column(label: str) -> str:
    """The column of a label's truth in a multilabel problem."""
    return f'{TARGET}_{label}'


def prob_column(name: str) -> str:
    """The column of a class's probability."""
    return f'prob_{name}'


def target_columns(target: Any, classes: Sequence[str]) -> dict[str, Any]:
    """The columns of a case's truth.

    Args:
      target: the class number, or for a multilabel problem 1, 0 or UNKNOWN for each label.
      classes: names of the classes.

    Returns:
      `target`, the class's name; or `target_LABEL`, 0, 1, or '' where the label is unknown.
    """
    if not isinstance(target, Sequence):
        return {TARGET: classes[target]}
    return {target_column(name): '' if value == UNKNOWN else value for name, value in zip(classes, target)}


def prob_columns(probs: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """The columns `prob_CLASS` of a case's probabilities `[K]`."""
    return {prob_column(name): float(p) for name, p in zip(classes, probs)}


@dataclasses.dataclass(frozen=True)
class Cases:
    """Cases of a predictions table.

    Attributes:
      problem: one of PROBLEMS.
      classes: their names; of two the second is the positive one. In a multilabel problem they are the labels.
      ids: names of the cases.
      patients: `[n]` int, equal for cases of one patient.
      targets: `[n]` class numbers; for a multilabel problem `[n, K]`: 1, 0 or UNKNOWN.
      probs: `[n, K]` float64; the rows sum to 1 unless the problem is multilabel.
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
    def known(self) -> np.ndarray:
        """`[n]` bool: the cases with a known target, or of labels at least one."""
        return (self.targets >= 0).any(1) if self.multilabel else self.targets >= 0

    def take(self, chosen: np.ndarray) -> 'Cases':
        """Some of the cases, by `[n]` bool."""
        ids = tuple(case for case, kept in zip(self.ids, chosen) if kept)
        return dataclasses.replace(self, ids=ids, patients=self.patients[chosen], targets=self.targets[chosen],
                                   probs=self.probs[chosen])

    def label(self, k: int) -> tuple['Cases', np.ndarray]:
        """Label k of a multilabel problem as a binary one: the cases for which it is known, and their mask `[n]`."""
        known = self.targets[:, k] >= 0
        part, name = self.take(known), self.classes[k]
        return dataclasses.replace(part, problem='binary', classes=(f'not {name}', name), targets=part.targets[:, k],
                                   probs=np.stack([1 - part.probs[:, k], part.probs[:, k]], -1)), known

    def parts(self) -> list[tuple[str, 'Cases', np.ndarray]]:
        """The problem itself under '', or each label as a problem under its name; with the mask `[n]` of its cases."""
        if not self.multilabel:
            return [('', self, np.ones(len(self), bool))]
        return [(name, *self.label(k)) for k, name in enumerate(self.classes)]

    def problems(self) -> list[tuple[str, 'Cases', int, np.ndarray]]:
        """The positive class, each class against all others, or each label: its name, cases, number in them and mask.

        The cases are those of `parts`, the number is that of the class in them, and the mask is `[n]`.
        """
        return [(label or part.classes[k], part, k, mask) for label, part, mask in self.parts()
                for k in ([1] if part.binary else range(len(part.classes)))]


def arrays(rows: Sequence[Row], problem: str, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Targets and probabilities of rows that an evaluation has just made, without checks and without normalisation.

    Args:
      rows: as in `read`, with numbers and not text in their cells.
      problem: one of PROBLEMS.
      classes: names of the classes.

    Returns:
      `targets [n]`, or `[n, K]` for a multilabel problem, and `probs [n, K]` float64.
    """
    probs = np.array([[row[prob_column(name)] for name in classes] for row in rows], float)
    if problem != 'multilabel':
        return np.array([list(classes).index(row[TARGET]) for row in rows]), probs
    cells = [[row[target_column(name)] for name in classes] for row in rows]
    return np.array([[UNKNOWN if cell == '' else int(cell) for cell in line] for line in cells]), probs


def read(rows: Sequence[Row], problem: str, classes: Sequence[str]) -> Cases:
    """Reads rows of a predictions table; cells are text or numbers.

    Args:
      rows: a mapping for each case: `id`, `patient` (a case without it is a patient of its own), `prob_CLASS` for each
        class, and the columns of `target_columns`.
      problem: one of PROBLEMS.
      classes: names of the classes; two for a binary problem; none of RESERVED for other problems.

    Raises:
      InputError: naming the case, the column, and what was expected there.
    """
    classes = tuple(classes)
    _check_classes(problem, classes)
    ids = tuple(str(row.get('id', number)) for number, row in enumerate(rows))
    probs = np.array([[_probability(row, case, name) for name in classes] for row, case in zip(rows, ids)])
    probs = probs.reshape(len(rows), len(classes))
    if problem == 'multilabel':
        targets = np.array([[_label(row, case, name) for name in classes] for row, case in zip(rows, ids)])
        targets = targets.reshape(probs.shape).astype(int)
    else:
        targets = np.array([_target(row, case, classes) for row, case in zip(rows, ids)], int)
        for case, total in zip(ids, probs.sum(1)):
            if abs(total - 1) > SUM_TOLERANCE:
                raise InputError(f'predictions, case {case}: the probabilities of {", ".join(classes)} sum to '
                                 f'{total:g}; expected 1')
        probs = probs / probs.sum(1, keepdims=True)
    return Cases(problem, classes, ids, per_patient.patient_numbers(rows), targets, probs)


def _check_classes(problem: str, classes: tuple[str, ...]) -> None:
    if problem not in PROBLEMS:
        raise InputError(f'problem: {problem}; expected one of {", ".join(PROBLEMS)}')
    if len(set(classes)) != len(classes) or len(classes) < (1 if problem == 'multilabel' else 2):
        raise InputError(f'classes: {", ".join(classes)}; expected the names of all classes, each once')
    if problem == 'binary' and len(classes) != 2:
        raise InputError(f'classes: {", ".join(classes)}; expected two for a binary problem')
    reserved = [name for name in classes if name in RESERVED]
    if reserved and problem != 'binary':
        raise InputError(f'classes: {reserved[0]}; expected none of {", ".join(RESERVED)}, which are parts of names '
                         'of metrics')


def _probability(row: Row, case: str, name: str) -> float:
    column = prob_column(name)
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError):
        value = float('nan')
    if not 0 <= value <= 1:
        raise InputError(f'predictions, case {case}: {column}: {row.get(column)}; expected a number from 0 to 1')
    return value


def _target(row: Row, case: str, classes: tuple[str, ...]) -> int:
    name = row.get(TARGET)
    if name not in classes:
        raise InputError(f'predictions, case {case}: target: {name}; expected one of {", ".join(classes)}')
    return classes.index(name)


def _label(row: Row, case: str, name: str) -> int:
    column = target_column(name)
    value = row.get(column)
    if value is None or value == '' or value != value:
        return UNKNOWN
    try:
        return (0, 1).index(float(value))
    except ValueError:
        raise InputError(f'predictions, case {case}: {column}: {value}; expected 0, 1 or nothing') from None
