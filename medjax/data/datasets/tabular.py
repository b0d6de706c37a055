"""Records: patients as rows of numbers, brought to one scale; what is missing is filled and said to be missing."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax.data.datasets.base import Parted
from medjax.data.source import Case, Outcome, Source, Treated
from medjax.errors import InputError, few

GRID = 100  # times that survival is told at, at even quantiles of the training events'


@dataclasses.dataclass(frozen=True)
class Records(Parted):
    """A source's records as arrays; `core.loop` and `data.pipeline` say what else is asked of a data set.

    Attributes:
      source: the patients, their outcomes and what must be said of them.
      names: of the covariates.
      scale: `fill`, `mean` and `std` of each, of the training patients; see `scaled`.
      times: that survival is told at; none for quantiles of the training patients' events.
    """

    source: Source
    names: tuple[str, ...]
    scale: Mapping[str, list[float]]
    times: tuple[float, ...] = ()

    def seen(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """What a network may see of some patients: `covariates [n, F]`."""
        return {'covariates': self.covariates[numbers]}

    @functools.cached_property
    def covariates(self) -> np.ndarray:
        """Of all patients as the network sees them, `[N, F]` float32."""
        return scaled([case.record for case in self.source.cases], self.names, self.scale)

    @functools.cached_property
    def outcomes(self) -> dict[str, np.ndarray]:
        """Of all patients `time [N]` float32 and `event [N]` int32, or `treatment [N]` int32 and `outcome [N]` float32.

        What a simulation knows beyond that is no part of it: a network could learn from it.
        """
        targets = [case.target for case in self.source.cases]
        if self.source.problem == 'treatment':
            return {'treatment': np.array([target.treatment for target in targets], np.int32),
                    'outcome': np.array([target.outcome for target in targets], np.float32)}
        return {'time': np.array([target.time for target in targets], np.float32),
                'event': np.array([target.event for target in targets], np.int32)}

    @functools.cached_property
    def warnings(self) -> list[str]:
        """What is to be minded in these data, a line each."""
        out, train = [], self._numbers['train']
        values = np.array([[case.record.get(name, np.nan) for name in self.names] for case in self.source.cases])
        lacking = np.isnan(values).mean(0)
        if lacking.any():
            told = [f'{name} ({share:.0%})' for name, share in zip(self.names, lacking) if share]
            out.append(f'Missing values, filled with the median of the training patients: {few(told)}.')
        constant = [name for name, column in zip(self.names, values[train].T) if len(np.unique(column)) < 2]
        if constant:
            out.append(f'The same in all training patients, and of no use: {few(constant)}.')
        survival = self.source.problem != 'treatment'
        zero = int((self.outcomes['time'] == 0).sum()) if survival else 0
        if zero:
            out.append(f'Patients seen for no time at all: {zero}.')
        groups = self.outcomes['event' if survival else 'treatment']
        for number, name in enumerate(self.source.classes, int(survival)):
            none = [split for split, at in self._numbers.items() if not (groups[at] == number).any()]
            if none:
                out.append(f'{name}: in no patient of the split {" or ".join(none)}.')
        return out

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """What the task and `predict` have to know of the training data; stored with each checkpoint."""
        train = self._numbers['train']
        known = {'classes': list(self.source.classes), 'problem': self.source.problem, 'unit': self.source.unit,
                 'names': list(self.names), 'scale': dict(self.scale)}
        if self.source.problem == 'treatment':
            outcome = self.outcomes['outcome'][train].astype(np.float64)
            return known | {'mean': float(outcome.mean()), 'std': float(outcome.std()) or 1.0,
                            'treated': float(self.outcomes['treatment'][train].mean())}
        if self.times:
            return known | {'times': list(self.times)}
        times = self.outcomes['time'][train]
        ends = np.quantile(times[self.outcomes['event'][train] > 0], np.linspace(0, 1, GRID + 1)[1:], method='nearest')
        return known | {'times': [float(time) for time in np.unique(ends[ends > 0])]}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over records, outcomes, patients and splits."""
        lines = [json.dumps([case.split, case.patient, case.id, *dataclasses.astuple(case.target), dict(case.record)])
                 for case in self.source.cases]
        return hashlib.sha256('\n'.join(lines).encode()).hexdigest()

    def rows(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """What is `seen` of some patients, and the outcomes, each `[n]`."""
        return {**self.seen(numbers), **{name: of[numbers] for name, of in self.outcomes.items()}}

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A training patient's row, and the `id`."""
        at = self._numbers['train'][number]
        return {**{name: value[0] for name, value in self.rows(np.array([at])).items()},
                'id': self.source.cases[at].id}

    def resident(self) -> 'Resident':
        """The training patients as they may lie on the device."""
        return Resident(self)


class Resident:
    """Training records on the device, as `pipeline.Resident` says."""

    def __init__(self, data: Records):
        self._data = data
        first = data.rows(data.numbers('train')[:1])
        self.size = float(len(data) * sum(array.nbytes for array in first.values()))

    def load(self) -> Mapping[str, np.ndarray]:
        """All of them."""
        return self._data.rows(self._data.numbers('train'))

    def place(self, number: int, rng: Callable[[], np.random.Generator]) -> tuple[int]:
        """A patient's number says where the row lies."""
        return (number,)

    def pick(self, arrays: Mapping[str, jax.Array], place: jax.Array) -> dict[str, jax.Array]:
        """A row, as the data set's `item` gives it without its id."""
        return {name: array[place[0]] for name, array in arrays.items()}


def dataset(source: Source, *, covariates: Sequence[str] = (), times: Sequence[float] = ()) -> Records:
    """Makes a source's records a data set.

    Args:
      source: the patients, each with an outcome.
      covariates: names of those that are used; by default all.
      times: that survival is told at; by default at quantiles of the training patients' events.

    Raises:
      InputError: an unknown covariate; a time, treatment or outcome that is none; no training patient, no event among
        them, or nobody of one of the two groups.
    """
    if source.problem not in ('survival', 'treatment'):
        raise InputError('config.data: records need a source whose cases have outcomes, such as cohort or deepsurv')
    return Records(source, *described(source, covariates), checked_times(times))


def checked_times(times: Sequence[float]) -> tuple[float, ...]:
    """Refuses times that are not above 0 and rising."""
    times = tuple(float(time) for time in times)
    if any(not before < time < np.inf for before, time in zip((0.0, *times), times)):
        raise InputError(f'config.data.times: {times}; expected numbers above 0, rising')
    return times


def described(source: Source, covariates: Sequence[str]) -> tuple[tuple[str, ...], dict[str, list[float]]]:
    """Names of the covariates, and their scale; see `Records`, and `dataset` for what is refused."""
    names = tuple(covariates) or tuple(dict.fromkeys(name for case in source.cases for name in case.record))
    known = {name for case in source.cases for name in case.record}
    for name in names:
        if name not in known:
            raise InputError(f'config.data.covariates: {name!r}; expected some of: {", ".join(sorted(known))}')
    for case in source.cases:
        (_check_treated if source.problem == 'treatment' else _check_outcome)(case, source.classes)
        for name in names:
            if np.isinf(case.record.get(name, 0.0)):
                raise InputError(f'{case.id}: {name} is {case.record[name]}; expected a number, or nothing')
    train = [case for case in source.cases if case.split == 'train']
    if source.problem != 'treatment' and not any(case.target.event for case in train):
        raise InputError(f'config.data.source: no event among the {len(train)} training patients; expected some')
    for number, group in enumerate(source.classes if source.problem == 'treatment' else ()):
        if not any(case.target.treatment == number for case in train):
            raise InputError(f'config.data.source: nobody of the group {group!r} among the {len(train)} training '
                             'patients; expected some of both groups')
    values = np.array([[case.record.get(name, np.nan) for name in names] for case in train], np.float64)
    missing = np.isnan(values)
    fill = [float(np.median(column[~gone])) if not gone.all() else 0.0 for column, gone in zip(values.T, missing.T)]
    values = np.where(missing, fill, values)
    std = values.std(0)
    # A covariate that some lack has a second one that says so.
    return names, {'fill': fill, 'mean': values.mean(0).tolist(), 'std': np.where(std > 0, std, 1.0).tolist(),
                   'missing': missing.mean(0).tolist()}


def _check_outcome(case: Case, events: Sequence[str]) -> None:
    target = case.target
    if not isinstance(target, Outcome) or not 0 <= target.time < np.inf:
        raise InputError(f'{case.id}: time {getattr(target, "time", None)}; expected a number of at least 0')
    if not 0 <= target.event <= len(events):
        raise InputError(f'{case.id}: event {target.event}; expected 0 for none to {len(events)}, for '
                         + ', '.join(events))


def _check_treated(case: Case, groups: Sequence[str]) -> None:
    target = case.target
    if not isinstance(target, Treated) or target.treatment not in (0, 1):
        raise InputError(f'{case.id}: treatment {getattr(target, "treatment", None)}; expected 0 for {groups[0]} or '
                         f'1 for {groups[1]}')
    for name in ('outcome', 'mu0', 'mu1'):
        value = getattr(target, name)
        if not (value is None and name != 'outcome') and not np.isfinite(value):
            raise InputError(f'{case.id}: {name} {value}; expected a number')


def scaled(records: Sequence[Mapping[str, float]], names: Sequence[str],
           scale: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Covariates as a network sees them.

    Each is filled where it is missing, less the training patients' mean, over their standard deviation; for those that
    some training patient lacked there is a second one, behind all others: 1 where it is missing.

    Args:
      records: of patients.
      names: of F covariates.
      scale: see `Records`.

    Returns:
      `[n, F']` float32.
    """
    values = np.array([[record.get(name, np.nan) for name in names] for record in records], np.float64)
    values = values.reshape(len(records), len(names))
    missing = np.isnan(values)
    out = (np.where(missing, scale['fill'], values) - scale['mean']) / scale['std']
    return np.concatenate([out, missing[:, np.array(scale['missing']) > 0]], 1).astype(np.float32)
