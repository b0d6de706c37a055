"""Evaluation of forecasting: the forecasts at every visit of every patient, beside those of baselines."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.batched import BatchedPredictor
from medjax.core.task import Task
from medjax.data import training_ranges
from medjax.data.datasets.tabular import scale_covariates
from medjax.data.datasets.time_series import TimeSeriesDataset, check_visits, pad_series
from medjax.data.source import Case, Series
from medjax.errors import InputError
from medjax.metrics import classification, survival
from medjax.ops import time_series
from medjax.options import Count, Positive
from medjax.tasks.forecasting import baselines, table
from medjax.tasks.forecasting.table import FORECASTS, NEXT, RISKS


@dataclasses.dataclass(frozen=True)
class ForecastEvaluator(contracts.Evaluator):
    """Forecasts at each visit of a split's patients; see `evaluator`."""

    data: TimeSeriesDataset
    predict_batched: BatchedPredictor
    lead_times: tuple[float, ...] = ()

    @functools.cached_property
    def _visits(self) -> baselines.Visits:
        return baselines.all_visits(self.data)

    @functools.cached_property
    def _training(self) -> np.ndarray:
        return np.isin(self._visits.patient, self.data.numbers('train'))

    @functools.cached_property
    def _ridge(self) -> np.ndarray:
        """Forecasts of ridge regression at all visits, `[n, V]`, in the values' units."""
        spread = self.data.spread
        return baselines.ridge_forecasts(self._visits, self._training) * spread['std'] + spread['mean']

    @functools.cached_property
    def _logistic(self) -> np.ndarray:
        """Probabilities of logistic regression at all visits, `[n, E]`."""
        occurs, known = time_series.events_within(self._visits.gap, self._visits.event, self.data.horizon,
                                                  len(self.data.source.classes))
        return baselines.logistic_risks(self._visits, self._training, occurs, known, self.data.horizon)

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """The rows of the predictions table for the visits of a split; see `table`.

        Args:
          variables: the network's variables.
          split: name of the split.
          quick: without the baselines ridge and logistic regression.
          snapshots: not used.
        """
        numbers = self.data.numbers(split)
        outputs = self.predict_batched(variables, self.data.network_inputs(numbers))
        place = {int(number): row for row, number in enumerate(numbers)}
        rows = []
        for at in np.flatnonzero(np.isin(self._visits.patient, numbers)).tolist():
            patient, visit = int(self._visits.patient[at]), int(self._visits.visit[at])
            step = {name: array[place[patient], visit] for name, array in outputs.items()}
            rows.append(self._row(split, at, step, quick))
        return rows

    def _row(self, split: str, at: int, outputs: Mapping[str, np.ndarray], quick: bool) -> dict[str, Any]:
        """The row of visit `at` of all visits; `outputs` are the network's at that visit."""
        source, visit = self.data.source, int(self._visits.visit[at])
        case = source.cases[self._visits.patient[at]]
        values = {'': case.series.values[visit], FORECASTS['carried']: outputs['carried']}
        if visit + 1 < len(case.series.times):
            values |= {NEXT: case.series.values[visit + 1], FORECASTS['']: outputs['next']}
            values |= {} if quick else {FORECASTS['ridge']: self._ridge[at]}
        else:
            stems = [NEXT, FORECASTS[''], *([] if quick else [FORECASTS['ridge']])]
            values |= dict.fromkeys(stems, np.full(len(source.measured), np.nan))
        row = table.visit_row(case, split, visit)
        for stem, array in values.items():
            row |= table.value_columns(source.measured, stem, array)
        if self.data.horizon:
            risks = {'': outputs['chance']} | ({} if quick else {'logistic': self._logistic[at]})
            row |= table.event_columns(source.classes, float(self._visits.gap[at]), int(self._visits.event[at]), risks)
        return row

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Metrics of validation rows; NaN where one is not defined.

        `mase`, the mean absolute error relative to that of carrying values forward, mean over the values; with a
        horizon also `auroc` and `auprc`, means over the events; and `loss`, the mean squared error in training standard
        deviations, mean over the values, plus the log loss of the probabilities, mean over the events.
        """
        metrics: dict[str, list[float]] = {'mase': [], 'squared': [], 'auroc': [], 'auprc': [], 'log_loss': []}
        for name, std in zip(self.data.source.measured, self.data.spread['std']):
            columns = [table.column(stem, name) for stem in (NEXT, FORECASTS[''], FORECASTS['carried'])]
            values = np.array([[row[column] for column in columns] for row in rows if row[columns[0]] != ''],
                              float).reshape(-1, 3)
            if len(values):
                error, carried_error = (np.abs(values[:, 0] - values[:, place]) for place in (1, 2))
                metrics['squared'].append(float((error**2).mean()) / std**2)
                if carried_error.any():
                    metrics['mase'].append(float(error.mean() / carried_error.mean()))
        if self.data.horizon:
            self._event_metrics(rows, metrics)
        mean = {name: float(np.mean(values)) if values else float('nan') for name, values in metrics.items()}
        out = {'loss': mean['squared'] + (mean['log_loss'] if self.data.horizon else 0), 'mase': mean['mase']}
        return out | ({'auroc': mean['auroc'], 'auprc': mean['auprc']} if self.data.horizon else {})

    def _event_metrics(self, rows: Sequence[Mapping[str, Any]], metrics: dict[str, list[float]]) -> None:
        """Adds the metrics of each event to the lists of `metrics`."""
        events = self.data.source.classes
        gap, ended = np.array([row['gap'] for row in rows]), table.event_numbers(rows, events)
        occurs, known = time_series.events_within(gap, ended, self.data.horizon, len(events))
        weights = survival.horizon_weights(gap, ended > 0, self.data.horizon)
        for k, name in enumerate(events):
            risk = np.array([row[table.column(RISKS[''], name)] for row in rows])[known[:, k]]
            labels, weight = occurs[known[:, k], k], weights[known[:, k]]
            auroc, auprc = classification.auroc_and_auprc(labels, risk, weight)
            metrics['auroc'].append(float(auroc))
            metrics['auprc'].append(float(auprc))
            if len(labels):
                _, log_loss = classification.case_losses(labels, np.stack([1 - risk, risk], 1))
                metrics['log_loss'].append(float(np.average(log_loss, weights=weight)))


def evaluator(*, data: TimeSeriesDataset, task: Task, batch: Count = 256,
              lead_times: Sequence[Positive] = ()) -> ForecastEvaluator:
    """The evaluator of forecasting.

    Args:
      data: the data set.
      task: the task.
      batch: number of patients in a batch.
      lead_times: limits of the lead times for which early warning is evaluated: times before an event, rising up to the
        horizon; by default thirds of the horizon.

    Raises:
      InputError: an option is invalid, or the data have no time series without landmarks.
    """
    if batch < 1:
        raise InputError(f'config.evaluate.batch: {batch}; expected at least 1')
    horizon = getattr(data, 'horizon', None)
    if horizon is None or data.source.problem != 'forecast':
        raise InputError("config.evaluate.name: 'forecasting' needs time series without landmarks; expected "
                         "config.data.name 'time_series' and a source without landmarks")
    lead_times = _lead_times(lead_times, horizon)
    rising = all(low < high for low, high in zip((0.0, *lead_times), lead_times))
    if lead_times and (lead_times[-1] != horizon or not rising):
        raise InputError(f'config.evaluate.lead_times: {lead_times}; expected times above 0, rising up to '
                         'config.data.horizon, '
                         f'{horizon:g}')
    return ForecastEvaluator(data, BatchedPredictor(task, batch), lead_times)


def _lead_times(lead_times: Sequence[float], horizon: float) -> tuple[float, ...]:
    """The lead times, by default thirds of the horizon."""
    if lead_times or not horizon:
        return tuple(map(float, lead_times))
    return tuple(horizon * part / 3 for part in (1, 2, 3))


@dataclasses.dataclass(frozen=True)
class ForecastPredictor(contracts.Predictor):
    """Forecasts for new patients after their last visit; see `predictor`."""

    statistics: Mapping[str, Any]
    predict_batched: BatchedPredictor
    lead_times: tuple[float, ...]
    read: Callable[..., Sequence[Case]]

    def _inputs(self, cases: Sequence[Case], steps: int, lead: float) -> dict[str, np.ndarray]:
        """The network's inputs for patients, with an empty visit appended, which sets the time of the forecast."""
        known = self.statistics
        empty = np.full((1, len(known['measured'])), np.nan)
        series = [Series(np.append(case.series.times, case.series.times[-1] + lead),
                         np.concatenate([case.series.values, empty])) for case in cases]
        return {'covariates': scale_covariates([case.record for case in cases], known['names'], known['scale']),
                **pad_series(series, known['spread'], steps)}

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shapes that the network takes."""
        empty = Series(np.zeros(1), np.full((1, len(self.statistics['measured'])), np.nan))
        return self._inputs([Case('', '', '', None, series=empty)], self.statistics['max_visits'] + 1, 1.0)

    def warm(self, variables: Any) -> None:
        """Compiles the forecast of a batch of patients; see `contracts.Predictor`."""
        self.predict_batched(variables, self.example())

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Forecasts for the patients of a table and writes `predictions.csv`; returns a line about the result.

        Args:
          variables: the network's variables.
          path: a CSV table like that of the training data, a row for each visit; outcomes are optional.
          folder: of the written table, which is replaced. It has a row for each patient with `id`, `visits`, `time` of
            the last visit, `NAME_in_LEAD` for each value at each lead time after it, and `chance_EVENT`, the
            probability of each event within the horizon.

        Raises:
          InputError: the table lacks a column, or a patient has more visits than the longest training series.
        """
        known = self.statistics
        plain = [name.removeprefix('log ') for name in known['measured']]
        cases = self.read(path, [*plain, *known['names']], known.get('encoding'))
        check_visits(path, cases, known['max_visits'])
        rows = [{'id': case.patient, 'visits': len(case.series.times), 'time': float(case.series.times[-1])}
                for case in cases]
        for lead in self.lead_times:
            outputs = self.predict_batched(variables, self._inputs(cases, known['max_visits'] + 1, lead))
            for place, row in enumerate(rows):
                at = place, row['visits'] - 1
                row |= {f'{name}_in_{lead:g}': float(x) for name, x in zip(known['measured'], outputs['next'][at])}
                if known['horizon']:
                    row |= {f'chance_{name}': float(x) for name, x in zip(known['classes'], outputs['chance'][at])}
        atomic_files.write_table(folder / 'predictions.csv', rows)
        means = '  '.join(f'{name} {np.mean([row[name] for row in rows]):.2f}' for name in list(rows[0])[3:6])
        outside = training_ranges.table_warning(known, [case.record for case in cases],
                                                [case.series for case in cases])
        return f'{path} → {folder / "predictions.csv"}   {len(rows)} patients, mean {means}{outside}'


def predictor(*, task: Task, statistics: Mapping[str, Any], read: Callable[..., Any], batch: Count = 256,
              lead_times: Sequence[Positive] = (), **_: Any) -> ForecastPredictor:
    """The predictor for new patients.

    Args:
      task: the task.
      statistics: of the training patients, as stored with the checkpoint.
      read: reads a table of visits as the source did.
      batch: number of patients in a batch.
      lead_times: times of the forecasts after the last visit; by default thirds of the horizon, or where there is none
        the unit of the training times.
      **_: other options of predictors, which are not used.
    """
    lead_times = _lead_times(lead_times, statistics['horizon']) or (float(statistics['spread']['clock']),)
    return ForecastPredictor(statistics, BatchedPredictor(task, batch), lead_times, read)
