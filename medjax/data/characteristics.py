"""Properties of all cases of a source, as columns: covariates, attributes, outcomes, annotated objects and visits."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.io.tables import filled, parse_number
from medjax.data.source import UNKNOWN, Measurements, Objects, Outcome, Source, TreatmentOutcome
from medjax.metrics.survival import kaplan_meier

MOST = 20  # categories of a column that is shown
LONG = 100_000  # whole numbers from here on are identifiers, if there are as many as patients
IDENTIFIER = re.compile(r'(^|_)(id|uid|mrn|name|accession|birth\w*|dob|date|path|file|smiles)(_|$)', re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Column:
    """A property of all cases.

    Attributes:
      name: with its unit.
      values: `[N]`, float64 with NaN where it is missing, or text with '' there.
      categories: of text, those that are counted, in order; none for numbers.
      event: `[N]` bool, of times whose follow-up is estimated; None for any other numbers.
    """

    name: str
    values: np.ndarray
    categories: tuple[str, ...] = ()
    event: np.ndarray | None = None

    @property
    def comparable(self) -> bool:
        """Whether the splits' means are compared."""
        return self.event is None

    def levels(self) -> Iterator[tuple[str, np.ndarray]]:
        """For each category its name and 0, 1 or NaN for each case; for numbers '' and the numbers."""
        if not self.categories:
            yield '', self.values
        for category in self.categories:
            yield category, np.where(self.values == '', np.nan, self.values == category)

    def summary(self, values: np.ndarray, numbers: np.ndarray) -> dict[str, Any]:
        """The summary of some cases; see `participants.characteristics`.

        Args:
          values: of all cases, as `levels` gives them.
          numbers: the cases.
        """
        part = values[numbers]
        known = part[~np.isnan(part)]
        out: dict[str, Any] = {'n': len(known), 'missing': len(part) - len(known)}
        if self.event is not None:
            return {**out, 'median': _median_follow_up(part, self.event[numbers])}
        if self.categories or self.is_binary:
            return {**out, 'count': int(known.sum())}
        quartiles = np.quantile(known, [0.25, 0.5, 0.75]).tolist() if len(known) else [None] * 3
        return {**out, **dict(zip(('q1', 'median', 'q3'), quartiles))}

    @property
    def is_binary(self) -> bool:
        """Whether all numbers are 0 or 1, and both occur."""
        return self.values.dtype.kind == 'f' and set(self.values[~np.isnan(self.values)].tolist()) == {0.0, 1.0}


def _median_follow_up(time: np.ndarray, event: np.ndarray) -> float | None:
    """The median time to censoring, by the reversed Kaplan–Meier estimate; None where it is not reached."""
    if not len(time):
        return None
    curve = kaplan_meier(time, ~event)
    reached = np.flatnonzero(curve.values <= 0.5)
    return float(curve.times[reached[0]]) if len(reached) else None


def known_columns(source: Source, case_values: Mapping[str, Sequence[float]]) -> list[Column]:
    """All that is known of the cases of a source: covariates, attributes, then outcomes, objects and visits.

    Args:
      source: the source.
      case_values: further numbers of each case, from the data set.
    """
    covariates = [*_covariates(source)]
    names = {column.name for column in covariates}
    attributes = [column for column in _attributes(source)[0] if column.name not in names]
    measured = [_yes(name, np.asarray(values)) if np.asarray(values).dtype == bool
                else Column(name, np.asarray(values, np.float64)) for name, values in case_values.items()]
    return [*covariates, *attributes, *_series(source), *_targets(source), *measured]


def _yes(name: str, values: np.ndarray, known: np.ndarray | None = None) -> Column:
    """A column of which the cases with True are counted, of those where it is known."""
    text = np.where(values, 'yes', 'no')
    return Column(name, text if known is None else np.where(known, text, ''), ('yes',))


def hidden_columns(source: Source) -> list[str]:
    """The names of attributes that are not summarised: identifiers, dates, and text of more than MOST categories."""
    return _attributes(source)[1]


def _covariates(source: Source) -> Iterator[Column]:
    """The covariates of the cases' records, with the categories of encoded columns together again."""
    known: Mapping[str, Sequence[str]] = source.encoding.get('categories', {})
    column_of = {f'{column}={category}': column for column, own in known.items() for category in own}
    merged: set[str] = set()
    for name in dict.fromkeys(name for case in source.cases for name in case.record):
        column = column_of.get(name)
        if column is None:
            yield Column(name, _numbers(source, name))
        elif column not in merged:
            merged.add(column)
            yield Column(column, _merged(source, column, known[column]), tuple(known[column]))


def _numbers(source: Source, name: str) -> np.ndarray:
    """A covariate of all cases, `[N]` float64; NaN where it is missing."""
    return np.array([case.record.get(name, np.nan) for case in source.cases], np.float64)


def _merged(source: Source, column: str, known: Sequence[str]) -> np.ndarray:
    """The category of each case in an encoded column, whose covariates are 0 or 1; '' where it is missing."""
    encoded = known[1:] if len(known) == 2 else known  # of two categories the second one has a covariate
    out = np.full(len(source.cases), known[0] if len(known) == 2 else '', object)
    for category in encoded:
        values = _numbers(source, f'{column}={category}')
        out[values == 1] = category
        out[np.isnan(values)] = ''
    return out.astype(str)


def _attributes(source: Source) -> tuple[list[Column], list[str]]:
    """The further columns of the cases, and the names of those that are not shown."""
    shown, hidden, patients = [], [], len({case.patient for case in source.cases})
    for name in dict.fromkeys(name for case in source.cases for name in case.columns):
        cells = np.array([filled(str(case.columns.get(name, ''))) for case in source.cases])
        present = cells[cells != '']
        numbers = [parse_number(cell) for cell in present]
        levels = sorted(set(present.tolist()))
        numeric = len(levels) > 2 and None not in numbers
        alone = len(levels) >= patients > 2  # as many as there are patients
        identifies = alone and numeric and all(abs(number) >= LONG and number == int(number) for number in numbers)
        if not levels or IDENTIFIER.search(name) or identifies or (not numeric and (alone or len(levels) > MOST)):
            hidden.append(name)
        elif numeric:
            values = np.full(len(cells), np.nan)
            values[cells != ''] = numbers
            shown.append(Column(name, values))
        else:
            shown.append(Column(name, cells, tuple(levels)))
    return shown, hidden


def _series(source: Source) -> Iterator[Column]:
    """The visits of repeated measurements; for forecasts also the values of the first visit."""
    series = [case.series for case in source.cases]
    if None in series:
        return
    yield Column('Visits', np.array([len(one.times) for one in series], np.float64))
    if source.problem == 'forecast':
        for number, name in enumerate(source.measured):
            yield Column(f'{name}, first visit', np.array([one.values[0, number] for one in series], np.float64))


def _targets(source: Source) -> Iterator[Column]:
    """Classes, events, groups, measured quantities or objects."""
    targets, classes = [case.target for case in source.cases], source.classes
    first = targets[0] if targets else None
    if isinstance(first, Outcome):
        yield from _outcomes(targets, classes, source.unit)
    elif isinstance(first, TreatmentOutcome):
        yield Column('Group', np.array([classes[target.treatment] for target in targets]), tuple(classes))
        yield Column('Outcome', np.array([target.outcome for target in targets], np.float64))
    elif isinstance(first, Measurements):
        unit = f' ({source.unit})' if source.unit else ''
        for number, name in enumerate(classes):
            yield Column(name + unit, np.array([target.values[number] for target in targets], np.float64))
    elif isinstance(first, Objects):
        counts = np.array([np.bincount(target.labels, minlength=len(classes)) for target in targets], np.float64)
        yield _yes('With an object', counts.sum(1) > 0)
        for number, name in enumerate(classes):
            yield Column(f'Objects of {name}', counts[:, number])
    elif source.problem == 'multilabel':
        for number, name in enumerate(classes):
            values = np.array([target[number] for target in targets], np.float64)
            yield _yes(name, values == 1, values != UNKNOWN)
    elif source.problem in ('binary', 'multiclass', 'ordinal'):
        yield Column('Class', np.array([classes[target] for target in targets]), tuple(classes))


def _outcomes(targets: Sequence[Outcome], events: Sequence[str], unit: str) -> Iterator[Column]:
    """Events, times to them or to censoring, and the follow-up."""
    suffix = f' ({unit})' if unit else ''
    names = ('censored', *events)
    time = np.array([target.time for target in targets], np.float64)
    event = np.array([target.event for target in targets])
    yield Column('Event', np.array([names[number] for number in event]), names)
    yield Column(f'Time to event or censoring{suffix}', time)
    yield Column(f'Follow-up, reversed Kaplan–Meier{suffix}', time, event=event > 0)
