"""Series of patients, brought to one scale and padded to one length; what was not measured is said to be so."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.datasets.tabular import Records, checked_times, described
from medjax.data.source import Case, Series, Source
from medjax.errors import InputError, few


@dataclasses.dataclass(frozen=True)
class Sequences(Records):
    """A source's series and records as arrays.

    Attributes:
      spread: `mean` and `std` of each value that is measured, of the training patients; and `clock`, the standard
        deviation of their visits' times since the first, which is the unit of a network's times.
      steps: visits that a series is padded to.
      within: the time after a visit within which a forecast is about events; 0 where it is about none.
    """

    spread: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    steps: int = 1
    within: float = 0.0

    @functools.cached_property
    def _padded(self) -> dict[str, np.ndarray]:
        return padded([case.series for case in self.source.cases], self.spread, self.steps)

    def seen(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """What a network may see of some patients, float32.

        `covariates [n, F]`, `values [n, T, V]` on one scale, 0 where nothing was measured, `observed [n, T, V]`, 1
        where something was, `times [n, T]` since the first visit in units of the clock, and `time_mask [n, T]`, 1 for
        visits.
        """
        return super().seen(numbers) | {name: array[numbers] for name, array in self._padded.items()}

    @functools.cached_property
    def warnings(self) -> list[str]:
        """What is to be minded in these data, a line each."""
        train = [self.source.cases[number].series for number in self.numbers('train')]
        found = np.concatenate([series.values for series in train])
        never = np.isnan(found).all(0)
        share = np.isnan(found).mean(0)
        out = list(super().warnings)
        if never.any():
            out.append('Never measured in training patients, and of no use: '
                       + few([name for name, gone in zip(self.source.measured, never) if gone]) + '.')
        if (share[~never] > 0).any():
            out.append('Missing at visits: ' + few([f'{name} ({part:.0%})' for name, part in zip(
                self.source.measured, share) if 0 < part < 1]) + '.')
        single = sum(len(series.times) == 1 for series in train)
        if single:
            out.append(f'Training series of one visit: {single} of {len(train)}.')
        return out

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """What the task and `predict` have to know of the training data; stored with each checkpoint."""
        return super().statistics | {'measured': list(self.source.measured), 'spread': dict(self.spread),
                                     'steps': self.steps, 'within': self.within}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over records, series, outcomes, patients and splits."""
        series = [[case.series.times.tolist(), case.series.values.tolist()] for case in self.source.cases]
        return hashlib.sha256((super().fingerprint + json.dumps(series)).encode()).hexdigest()


def padded(series: Sequence[Series], spread: Mapping[str, Any], steps: int) -> dict[str, np.ndarray]:
    """Series as a network sees them; see `Sequences.seen`."""
    shape = (len(series), steps)
    values = np.zeros((*shape, len(spread['mean'])), np.float32)
    observed, times, mask = np.zeros_like(values), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for place, one in enumerate(series):
        visits, there = len(one.times), ~np.isnan(one.values)
        scaled = (one.values - spread['mean']) / spread['std']
        values[place, :visits], observed[place, :visits] = np.where(there, scaled, 0), there
        times[place, :visits] = (one.times - one.times[0]) / spread['clock']
        mask[place, :visits] = 1
    return {'values': values, 'observed': observed, 'times': times, 'time_mask': mask}


def check_visits(path: pathlib.Path, cases: Sequence[Case], most: int) -> None:
    """Refuses new patients with more visits than the longest series in training has.

    Raises:
      InputError: with the table's path and the patient.
    """
    longest = max(cases, key=lambda case: len(case.series.times))
    if len(longest.series.times) > most:
        raise InputError(f'{path}: {longest.patient} has {len(longest.series.times)} visits; expected at most {most}, '
                         'the longest series in training (config.data.steps)')


def dataset(source: Source, *, covariates: Sequence[str] = (), times: Sequence[float] = (),
            steps: int = 0, within: float = 0.0) -> Sequences:
    """Makes a source's series and records a data set.

    Args:
      source: the patients, each with a series and an outcome.
      covariates: names of those that are used; by default all.
      times: that survival is told at; by default at quantiles of the training patients' events.
      steps: visits that series are padded to; by default as many as the longest has.
      within: see `Sequences`.

    Raises:
      InputError: as `records.dataset`; a series that is none, is longer than steps, or whose times do not rise.
    """
    if source.problem not in ('survival', 'forecast') or any(case.series is None for case in source.cases):
        raise InputError('config.data: sequences need a source whose cases have series, such as longitudinal')
    if not 0 <= within < np.inf:
        raise InputError(f'config.data.within: {within}; expected a time, or 0 for no events')
    longest = max(source.cases, key=lambda case: len(case.series.times))
    if 0 < steps < len(longest.series.times):
        raise InputError(f'config.data.steps: {steps}; expected at least {len(longest.series.times)}, the visits of '
                         f'{longest.id}')
    for case in source.cases:
        at, found = case.series.times, case.series.values
        if not len(at) or not np.isfinite(at).all() or (np.diff(at) <= 0).any() or np.isinf(found).any() or (
                found.shape != (len(at), len(source.measured))):
            raise InputError(f'{case.id}: times {at.tolist()}, values {found.shape}; expected rising times, and a '
                             f'number or nothing for each and for each of: {", ".join(source.measured)}')
    train = [case.series for case in source.cases if case.split == 'train']
    found = np.concatenate([series.values for series in train] or [np.zeros((0, len(source.measured)))])
    there = ~np.isnan(found)
    count = np.maximum(there.sum(0), 1)
    mean = np.where(there, found, 0).sum(0) / count
    std = np.sqrt((np.where(there, found - mean, 0) ** 2).sum(0) / count)
    since = np.concatenate([series.times - series.times[0] for series in train] or [np.zeros(1)])
    return Sequences(source, *described(source, covariates), checked_times(times), {
        'mean': mean.tolist(), 'std': np.where(std > 0, std, 1.0).tolist(), 'clock': float(since.std()) or 1.0},
        steps or len(longest.series.times), float(within))
