"""Time series: patients with repeated measurements, standardised and padded to one number of visits."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data import training_ranges
from medjax.data.datasets.standardisation import divisor, is_constant
from medjax.data.datasets.tabular import TabularDataset, check_times, covariate_scale
from medjax.data.source import Case, Series, Source
from medjax.errors import InputError, few
from medjax.metrics import survival
from medjax.options import NonNegative, NonNegativeInt, Positive


@dataclasses.dataclass(frozen=True)
class TimeSeriesDataset(TabularDataset):
    """A data set of patients with series, covariates and an outcome.

    Attributes:
      spread: `mean` and `std` of each measured value over the training visits; and `clock`, the standard deviation of
        the time since the first visit, which is the unit of the network's times.
      max_visits: visits to which a series is padded.
      horizon: the time after a visit within which a forecast predicts events; 0 for forecasts without events.
    """

    spread: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_visits: int = 1
    horizon: float = 0.0

    @functools.cached_property
    def _padded(self) -> dict[str, np.ndarray]:
        return pad_series([case.series for case in self.source.cases], self.spread, self.max_visits)

    def network_inputs(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """The network's inputs for some patients: `covariates [n, F]`, and the arrays of `pad_series`."""
        return {**super().network_inputs(numbers), **{name: array[numbers] for name, array in self._padded.items()}}

    @functools.cached_property
    def warnings(self) -> list[str]:
        """Problems of the tabular data, missing measurements, and short series; a line each."""
        train = [self.source.cases[number].series for number in self.numbers('train')]
        missing = np.isnan(np.concatenate([series.values for series in train]))
        never = [name for name, absent in zip(self.source.measured, missing.all(0)) if absent]
        partly = [f'{name} ({fraction:.0%})' for name, fraction in zip(self.source.measured, missing.mean(0))
                  if 0 < fraction < 1]
        out = list(super().warnings)
        observed = [column[~np.isnan(column)] for column in np.concatenate([series.values for series in train]).T]
        constant = [name for name, column in zip(self.source.measured, observed)
                    if len(column) and is_constant(column.std(), np.abs(column).max())]
        if constant:
            out.append(f'The same at all training visits, and therefore of no use: {few(constant)}.')
        if never:
            out.append(f'Never measured in training patients, and therefore of no use: {few(never)}.')
        if partly:
            out.append(f'Missing at visits: {few(partly)}.')
        single = sum(len(series.times) == 1 for series in train)
        if single:
            out.append(f'Training series of one visit: {single} of {len(train)}.')
        return out

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """Statistics of the tabular data, and the scale of the series; stored with each checkpoint."""
        known, measured = super().statistics, list(self.source.measured)
        visits = training_ranges.series_records([self.source.cases[n].series for n in self.numbers('train')], measured)
        return {**known, 'columns': {**known['columns'], **training_ranges.of_columns(visits, measured)},
                'measured': measured, 'spread': dict(self.spread),
                'max_visits': self.max_visits,
                'horizon': self.horizon} | ({'censoring': self._censoring()} if self.horizon else {})

    def _censoring(self) -> dict[str, list[float]]:
        """The inverse probability that a training visit is uncensored, by the time since the visit.

        Returns:
          `times`, rising, up to the horizon; and `inverse`, the value from each of them on.
        """
        cases = [self.source.cases[number] for number in self.numbers('train')]
        gap = np.concatenate([case.target.time - (case.series.times - case.series.times[0]) for case in cases])
        ended = np.concatenate([np.full(len(case.series.times), case.target.event > 0) for case in cases])
        times = np.unique(np.append(0.0, np.minimum(np.maximum(gap, 0), self.horizon)))
        _, inverse = survival.censoring_weights(np.maximum(gap, 0), ended, times, np.ones(len(gap)))
        return {'times': times.tolist(), 'inverse': inverse.tolist()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over covariates, series, outcomes, patients and splits."""
        series = [[case.series.times.tolist(), case.series.values.tolist()] for case in self.source.cases]
        return hashlib.sha256((super().fingerprint + json.dumps(series)).encode()).hexdigest()


def pad_series(series: Sequence[Series], spread: Mapping[str, Any], max_visits: int) -> dict[str, np.ndarray]:
    """Series as arrays for a network.

    Args:
      series: of n patients.
      spread: see `TimeSeriesDataset`, as for max_visits.
      max_visits: T.

    Returns:
      float32: `values [n, T, V]`, standardised, 0 where missing; `observed [n, T, V]`, 1 for observed values; `times
      [n, T]` since the first visit, in units of the clock; and `time_mask [n, T]`, 1 for visits, 0 for padding.
    """
    shape = (len(series), max_visits)
    values = np.zeros((*shape, len(spread['mean'])), np.float32)
    observed, times, mask = np.zeros_like(values), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for place, one in enumerate(series):
        visits, present = len(one.times), ~np.isnan(one.values)
        scaled = (one.values - spread['mean']) / spread['std']
        values[place, :visits], observed[place, :visits] = np.where(present, scaled, 0), present
        times[place, :visits] = (one.times - one.times[0]) / spread['clock']
        mask[place, :visits] = 1
    return {'values': values, 'observed': observed, 'times': times, 'time_mask': mask}


def check_visits(path: pathlib.Path, cases: Sequence[Case], most: int) -> None:
    """Checks that new patients have no more visits than the longest training series.

    Raises:
      InputError: with the table's path and the patient.
    """
    longest = max(cases, key=lambda case: len(case.series.times))
    if len(longest.series.times) > most:
        raise InputError(f'{path}: {longest.patient} has {len(longest.series.times)} visits; expected at most {most}, '
                         'the longest series in training (config.data.max_visits)')


def dataset(source: Source, *, covariates: Sequence[str] = (), times: Sequence[Positive] = (),
            max_visits: NonNegativeInt = 0, horizon: NonNegative = 0.0) -> TimeSeriesDataset:
    """The data set of a source's patients and their series.

    Args:
      source: the patients, each with a series and an outcome.
      covariates: names of those that are used; by default all.
      times: at which survival is predicted; by default at quantiles of the times of the training patients' events.
      max_visits: visits to which series are padded; by default those of the longest series.
      horizon: see `TimeSeriesDataset`.

    Raises:
      InputError: as `tabular.dataset`; a series that is invalid, longer than max_visits, or whose times do not
        increase.
    """
    if source.problem not in ('survival', 'forecast') or any(case.series is None for case in source.cases):
        raise InputError('config.data: time_series needs a source of series, such as visits_csv')
    if not 0 <= horizon < np.inf:
        raise InputError(f'config.data.horizon: {horizon}; expected a time, or 0 for no events')
    longest = max(source.cases, key=lambda case: len(case.series.times))
    if 0 < max_visits < len(longest.series.times):
        raise InputError(f'config.data.max_visits: {max_visits}; expected at least {len(longest.series.times)}, the '
                         f'visits of {longest.id}')
    for case in source.cases:
        _check_series(case, source.measured)
    train = [case.series for case in source.cases if case.split == 'train']
    names, scale, dropped = covariate_scale(source, covariates)
    return TimeSeriesDataset(source, names, scale, check_times(times), dropped, _spread(train, len(source.measured)),
                             max_visits or len(longest.series.times), float(horizon))


def _check_series(case: Case, measured: Sequence[str]) -> None:
    times, values = case.series.times, case.series.values
    if not len(times) or not np.isfinite(times).all() or (np.diff(times) <= 0).any() or np.isinf(values).any() or (
            values.shape != (len(times), len(measured))):
        raise InputError(f'{case.id}: times {times.tolist()}, values {values.shape}; expected increasing times, and a '
                         f'number or nothing for each of them and each of: {", ".join(measured)}')


def _spread(train: Sequence[Series], count: int) -> dict[str, Any]:
    """The scale of the training series; see `TimeSeriesDataset`. `count` is the number of measured values."""
    values = np.concatenate([series.values for series in train] or [np.zeros((0, count))])
    observed = ~np.isnan(values)
    total = np.maximum(observed.sum(0), 1)
    mean = np.where(observed, values, 0).sum(0) / total
    std = np.sqrt((np.where(observed, values - mean, 0) ** 2).sum(0) / total)
    since = np.concatenate([series.times - series.times[0] for series in train] or [np.zeros(1)])
    largest = np.abs(np.where(observed, values, 0)).max(0, initial=0)
    return {'mean': mean.tolist(), 'std': divisor(std, largest).tolist(),
            'clock': float(divisor(since.std(), since.max(initial=0)))}
