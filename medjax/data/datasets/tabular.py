"""Tabular data: patients as rows of standardised covariates; missing values are imputed, with indicators."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data import training_ranges
from medjax.data.covariates import check_seen
from medjax.data.datasets.base import RowDataset
from medjax.data.datasets.standardisation import divisor, is_constant
from medjax.data.source import Case, Outcome, Source, TreatmentOutcome, check_two_classes
from medjax.errors import InputError, few
from medjax.options import Positive

GRID = 100  # default number of evaluation times of survival, at regular quantiles of the training events' times


@dataclasses.dataclass(frozen=True)
class TabularDataset(RowDataset):
    """A data set of patients with covariates and an outcome.

    Attributes:
      source: the cases as stored.
      names: of the covariates.
      scale: `fill`, `mean`, `std` and `missing` of each covariate, of the training patients; see `scale_covariates`.
      times: at which survival is predicted; () for quantiles of the times of the training patients' events.
      dropped: covariates that are the same, or missing, in all training patients: they are no inputs of the network.
    """

    source: Source
    names: tuple[str, ...]
    scale: Mapping[str, list[float]]
    times: tuple[float, ...] = ()
    dropped: tuple[str, ...] = ()

    def network_inputs(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """The network's inputs for some patients: `covariates [n, F]`."""
        return {'covariates': self.covariates[numbers]}

    @functools.cached_property
    def covariates(self) -> np.ndarray:
        """The scaled covariates of all patients, `[N, F]` float32."""
        return scale_covariates([case.record for case in self.source.cases], self.names, self.scale)

    @functools.cached_property
    def outcomes(self) -> dict[str, np.ndarray]:
        """The targets of all patients.

        `time [N]` float32 and `event [N]` int32, or `treatment [N]` int32 and `outcome [N]` float32. Expected outcomes
        of a simulation are not part of them: a network could learn from these.
        """
        targets = [case.target for case in self.source.cases]
        if self.source.problem == 'treatment':
            return {'treatment': np.array([target.treatment for target in targets], np.int32),
                    'outcome': np.array([target.outcome for target in targets], np.float32)}
        return {'time': np.array([target.time for target in targets], np.float32),
                'event': np.array([target.event for target in targets], np.int32)}

    @functools.cached_property
    def warnings(self) -> list[str]:
        """Missing and dropped covariates, zero times, and events or groups without a patient; a line each."""
        return [*self._covariate_warnings(), *self._outcome_warnings()]

    def _covariate_warnings(self) -> Iterator[str]:
        values = np.array([[case.record.get(name, np.nan) for name in self.names] for case in self.source.cases])
        missing = np.isnan(values).mean(0)
        if missing.any():
            names = [f'{name} ({fraction:.0%})' for name, fraction in zip(self.names, missing) if fraction]
            yield f'Missing values, filled with the median of the training patients: {few(names)}.'
        if self.dropped:
            yield ('Covariates that are dropped, since they are the same or missing in all training patients: '
                   f'{len(self.dropped)} ({few(self.dropped)}).')

    def _outcome_warnings(self) -> Iterator[str]:
        survival = self.source.problem != 'treatment'
        zero = int((self.outcomes['time'] == 0).sum()) if survival else 0
        if zero:
            yield f'Patients with a follow-up time of 0: {zero}.'
        groups = self.outcomes['event' if survival else 'treatment']
        for number, name in enumerate(self.source.classes, 1 if survival else 0):
            none = [split for split, cases in self._numbers.items() if not (groups[cases] == number).any()]
            if none:
                yield f'{name}: in no patient of the split {" or ".join(none)}.'

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """Covariates, their scale, and evaluation times or outcome statistics; stored with each checkpoint."""
        train = self._numbers['train']
        known = {'classes': list(self.source.classes), 'problem': self.source.problem, 'unit': self.source.unit,
                 'names': list(self.names), 'scale': dict(self.scale), 'encoding': dict(self.source.encoding),
                 'columns': training_ranges.of_columns([self.source.cases[n].record for n in train], self.names)}
        if self.source.problem == 'treatment':
            outcome = self.outcomes['outcome'][train].astype(np.float64)
            return {**known, 'mean': float(outcome.mean()), 'std': float(divisor(outcome.std(), np.abs(outcome).max())),
                    'treated': float(self.outcomes['treatment'][train].mean())}
        if self.times:
            return {**known, 'times': list(self.times)}
        times = self.outcomes['time'][train]
        ends = np.quantile(times[self.outcomes['event'][train] > 0], np.linspace(0, 1, GRID + 1)[1:], method='nearest')
        return {**known, 'times': [float(time) for time in np.unique(ends[ends > 0])]}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over covariates, outcomes, patients and splits."""
        lines = [json.dumps([case.split, case.patient, case.id, *dataclasses.astuple(case.target), dict(case.record)])
                 for case in self.source.cases]
        return hashlib.sha256('\n'.join(lines).encode()).hexdigest()

    def batch(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """The `network_inputs` of some patients, and their outcomes, each `[n]`."""
        return {**self.network_inputs(numbers), **{name: values[numbers] for name, values in self.outcomes.items()}}


def dataset(source: Source, *, covariates: Sequence[str] = (), times: Sequence[Positive] = ()) -> TabularDataset:
    """The data set of a source's patients.

    Args:
      source: the patients, each with an outcome.
      covariates: names of those that are used; by default all.
      times: at which survival is predicted; by default at quantiles of the times of the training patients' events.

    Raises:
      InputError: an unknown covariate; an invalid time, treatment or outcome; no training patient, no event among them,
        or no training patient in one of the two groups.
    """
    if source.problem not in ('survival', 'treatment'):
        raise InputError('config.data: tabular needs a source of outcomes, such as survival_csv or deepsurv')
    names, scale, dropped = covariate_scale(source, covariates)
    if not names:
        raise InputError(f'config.data.covariates: {few(dropped) or "none"}, the same or missing in all training '
                         'patients; expected a covariate that differs between them')
    return TabularDataset(source, names, scale, check_times(times), dropped)


def check_times(times: Sequence[float]) -> tuple[float, ...]:
    """The option `times` of a data set as a tuple.

    Raises:
      InputError: they are not above 0 and increasing.
    """
    times = tuple(float(time) for time in times)
    if any(not before < time < np.inf for before, time in zip((0.0, *times), times)):
        raise InputError(f'config.data.times: {times}; expected increasing numbers above 0')
    return times


def covariate_scale(source: Source, covariates: Sequence[str]) -> tuple[
        tuple[str, ...], dict[str, list[float]], tuple[str, ...]]:
    """The names of the covariates, their scale by the training patients, and the dropped ones; see `TabularDataset`.

    Raises:
      InputError: see `dataset`.
    """
    known = dict.fromkeys(name for case in source.cases for name in case.record)
    given = tuple(covariates) or tuple(known)
    for name in given:
        if name not in known:
            raise InputError(f'config.data.covariates: {name!r}; expected some of: {", ".join(sorted(known))}')
    _check_cases(source, given)
    check_seen(source.cases, source.encoding, given, source.measured)
    train = [case for case in source.cases if case.split == 'train']
    _check_training_patients(source, train)
    names = tuple(name for name in given if _varies(np.array([case.record.get(name, np.nan) for case in train])))
    values = np.array([[case.record.get(name, np.nan) for name in names] for case in train], np.float64)
    missing = np.isnan(values)
    fill = [float(np.median(column[~absent])) for column, absent in zip(values.T, missing.T)]
    values = np.where(missing, fill, values)
    return names, {'fill': fill, 'mean': values.mean(0).tolist(), 'std': divisor(
        values.std(0), np.abs(values).max(0, initial=0)).tolist(),
                   'missing': missing.mean(0).tolist()}, tuple(name for name in given if name not in names)


def _varies(values: np.ndarray) -> bool:
    """Whether a covariate differs between patients: where it is present, or in whether it is."""
    observed = values[~np.isnan(values)]
    if not len(observed):
        return False
    return len(observed) < len(values) or not is_constant(observed.std(), np.abs(observed).max())


def _check_cases(source: Source, names: Sequence[str]) -> None:
    """Checks the outcome and the covariates of each case."""
    if source.problem == 'treatment':
        check_two_classes(source)
    for case in source.cases:
        if source.problem == 'treatment':
            _check_treatment(case, source.classes)
        else:
            _check_outcome(case, source.classes)
        for name in names:
            if np.isinf(case.record.get(name, 0.0)):
                raise InputError(f'{case.id}: {name} is {case.record[name]}; expected a number, or nothing')


def _check_training_patients(source: Source, train: Sequence[Case]) -> None:
    """Checks that there are training patients with events, or in both groups."""
    if source.problem != 'treatment':
        if not any(case.target.event for case in train):
            raise InputError(f'config.data.source: no event among the {len(train)} training patients; expected some')
        if not any(case.target.event and case.target.time > 0 for case in train):
            raise InputError(f'config.data.source: all events among the {len(train)} training patients are at time 0; '
                             'expected some above 0')
        return
    for number, group in enumerate(source.classes):
        if not any(case.target.treatment == number for case in train):
            raise InputError(f'config.data.source: no patient of the group {group!r} among the {len(train)} training '
                             'patients; expected some of both groups')


def _check_outcome(case: Case, events: Sequence[str]) -> None:
    target = case.target
    if not isinstance(target, Outcome) or not 0 <= target.time < np.inf:
        raise InputError(f'{case.id}: time {getattr(target, "time", None)}; expected a number of at least 0')
    if not 0 <= target.event <= len(events):
        raise InputError(f'{case.id}: event {target.event}; expected 0 for none to {len(events)}, for '
                         + ', '.join(events))


def _check_treatment(case: Case, groups: Sequence[str]) -> None:
    target = case.target
    if not isinstance(target, TreatmentOutcome) or target.treatment not in (0, 1):
        raise InputError(f'{case.id}: treatment {getattr(target, "treatment", None)}; expected 0 for {groups[0]} or '
                         f'1 for {groups[1]}')
    if not np.isfinite(target.outcome):
        raise InputError(f'{case.id}: outcome {target.outcome}; expected a number')
    for name in ('mu0', 'mu1'):
        value = getattr(target, name)
        if value is not None and not np.isfinite(value):
            raise InputError(f'{case.id}: {name} {value}; expected a number')


def scale_covariates(records: Sequence[Mapping[str, float]], names: Sequence[str],
                     scale: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Standardised covariates and indicators of missing values.

    A missing value is replaced by `fill`, the median of the training patients; then the training patients' mean is
    subtracted, and the result divided by their standard deviation. Each covariate that is missing in some training
    patient has an indicator after all covariates: 1 where it is missing.

    Args:
      records: of patients.
      names: of F covariates.
      scale: see `TabularDataset`.

    Returns:
      `[n, F + indicators]` float32.
    """
    values = np.array([[record.get(name, np.nan) for name in names] for record in records], np.float64)
    values = values.reshape(len(records), len(names))
    missing = np.isnan(values)
    out = (np.where(missing, scale['fill'], values) - scale['mean']) / scale['std']
    return np.concatenate([out, missing[:, np.array(scale['missing']) > 0]], 1).astype(np.float32)
