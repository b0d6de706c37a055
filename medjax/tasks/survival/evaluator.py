"""Evaluation of survival analysis: risk and cumulative incidence of each event for every patient."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.batched import BatchedPredictor
from medjax.core.task import Task
from medjax.data import training_ranges
from medjax.data.datasets.tabular import TabularDataset, scale_covariates
from medjax.data.datasets.time_series import check_visits, pad_series
from medjax.data.source import Series
from medjax.data.sources.survival_csv import read_covariates, read_image_paths
from medjax.data.transforms.images import image_preprocess
from medjax.errors import InputError, few
from medjax.metrics import concordance
from medjax.options import Count, Positive
from medjax.statistics import per_patient
from medjax.tasks.survival import table

BASELINE = 'baseline.json'  # in the run's folder `cases`


@dataclasses.dataclass(frozen=True)
class SurvivalEvaluator(contracts.Evaluator):
    """Predicts risk and cumulative incidence for every patient of a split; see `evaluator`."""

    data: TabularDataset
    predict_batched: BatchedPredictor
    horizons: tuple[float, ...] = ()
    treatment_covariate: str = ''

    def _outputs(self, variables: Any, numbers: np.ndarray) -> dict[str, np.ndarray]:
        return self.predict_batched(variables, self.data.network_inputs(numbers))

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """The rows of the predictions table for the patients of a split; see `table`.

        Args:
          variables: the network's variables.
          split: name of the split.
          quick: has no effect.
          snapshots: a folder; the baseline hazard of a Cox network is written beside it, for `predictor`.
        """
        source, numbers = self.data.source, self.data.numbers(split)
        times = np.array(self.data.statistics['times'])
        outputs = self._outputs(variables, numbers)
        baseline_hazard = None
        if 'log_hazard' in outputs:
            train = self.data.numbers('train')
            log_hazard = self._outputs(variables, train)['log_hazard']
            time, event = (self.data.outcomes[name][train] for name in ('time', 'event'))
            baseline_hazard = breslow_baseline(log_hazard, time, event, times)
            if snapshots is not None:
                atomic_files.write_json(snapshots.parent / BASELINE, {'steps': baseline_hazard.tolist()})
        risk, incidence = risk_and_incidence(outputs, baseline_hazard)
        recommendation, rows = self._recommendation(variables, numbers, baseline_hazard), []
        for place, number in enumerate(numbers):
            rows.append({**table.case_row(source.cases[number], split, source.classes),
                         **table.prediction_columns(source.classes, times, risk[place], incidence[place]),
                         **{name: float(values[place]) for name, values in recommendation.items()}})
        return rows

    def _recommendation(self, variables: Any, numbers: np.ndarray,
                        baseline_hazard: np.ndarray | None) -> dict[str, np.ndarray]:
        """Whether each patient was treated, and by how much treatment lowers the risk of the first event.

        This is the treatment recommender of DeepSurv (Katzman 2018): the risk is predicted with the treatment covariate
        set to 0 and to 1.
        """
        if not self.treatment_covariate:
            return {}
        place, scale = self.data.names.index(self.treatment_covariate), self.data.scale
        inputs, risks = self.data.network_inputs(numbers), []
        treatment = inputs['covariates'][:, place] * scale['std'][place] + scale['mean'][place]
        for value in (0.0, 1.0):
            covariates = inputs['covariates'].copy()
            covariates[:, place] = (value - scale['mean'][place]) / scale['std'][place]
            outputs = self.predict_batched(variables, {**inputs, 'covariates': covariates})
            risks.append(risk_and_incidence(outputs, baseline_hazard)[0][:, 0])
        return {table.GIVEN: np.rint(treatment), table.BENEFIT: risks[0] - risks[1]}

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Harrell's C-index of each event's risk, and their mean; NaN where it is not defined.

        A patient at different landmarks makes no pair with himself or herself.
        """
        time = np.array([row['time'] for row in rows], float)
        by_event, patients = {}, per_patient.patient_numbers(rows)
        for name in self.data.source.classes:
            event = np.array([row['event'] == name for row in rows])
            risk = np.array([row[table.RISK + name] for row in rows], float)
            by_event[name] = float(concordance.harrell(time, event, risk, patients=patients))
        out = {'c_index': float(np.mean(list(by_event.values())))}
        if len(by_event) > 1:
            out |= {f'c_index_{name}': value for name, value in by_event.items()}
        return out


def risk_and_incidence(outputs: Mapping[str, np.ndarray],
                       baseline_hazard: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The risk `[n, E]` and the cumulative incidence `[n, E, T]` of a task's outputs.

    The risk of a proportional hazards model is its log hazard, which orders patients as any point of their curves does,
    at a higher resolution. Curves that may cross are ordered by their mean incidence.

    Args:
      outputs: `incidence [n, E, T]`, or `log_hazard [n, E, T]` or `[n, E, 1]`, of `Task.predict`.
      baseline_hazard: `[E, T]`, see `breslow_baseline`; only used with log hazards.
    """
    if 'incidence' in outputs:
        return outputs['incidence'].mean(-1), outputs['incidence']
    hazards = np.exp(outputs['log_hazard']) * baseline_hazard  # [n, E, T], of each interval
    total = hazards.sum(1, keepdims=True)
    survival = np.exp(-(np.cumsum(total, -1) - total))  # at the beginning of each interval
    share = np.divide(hazards, total, out=np.zeros_like(hazards), where=total > 0)
    incidence = np.cumsum(survival * -np.expm1(-total) * share, -1)
    proportional = outputs['log_hazard'].shape[-1] == 1
    return outputs['log_hazard'][..., 0] if proportional else incidence.mean(-1), incidence


def breslow_baseline(log_hazard: np.ndarray, time: np.ndarray, event: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The baseline hazard for which the expected and observed numbers of training events agree (Breslow 1974).

    Args:
      log_hazard: of the training patients, `[m, E, T]`, or `[m, E, 1]` where it does not change with time; between two
        times it is that of the later one.
      time: of the training patients, `[m]`.
      event: of the training patients, `[m]`, 0 where censored.
      times: `[T]`, rising.

    Returns:
      `[E, T]`, the increments of the cumulative baseline hazard of each event between successive times.
    """
    increments = np.zeros((log_hazard.shape[1], len(times)))
    for k in range(len(increments)):
        for at in np.unique(time[event == k + 1]):
            place = np.searchsorted(times, at)
            if place < len(times):
                log = log_hazard[time >= at, k, min(place, log_hazard.shape[2] - 1)]
                largest = log.max()
                events = ((time == at) & (event == k + 1)).sum()
                increments[k, place] += events / np.exp(log - largest).sum() / np.exp(largest)
    return increments


@dataclasses.dataclass(frozen=True)
class SurvivalPredictor(contracts.Predictor):
    """Predicts risk and cumulative incidence for new patients; see `predictor`."""

    statistics: Mapping[str, Any]
    predict_batched: BatchedPredictor
    folder: pathlib.Path
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    read: Callable[..., Any] | None = None

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shapes that the network takes."""
        known = self.statistics
        batch = {'covariates': scale_covariates([{}], known['names'], known['scale']), 'time': np.ones(1, np.float32)}
        if 'spread' in known:
            empty = Series(np.zeros(1), np.full((1, len(known['measured'])), np.nan))
            batch |= pad_series([empty], known['spread'], known['max_visits'])
        if 'intensities' in known:
            batch['image'] = np.zeros((1, *self.data['size'], known['channels']), np.float32)
        return batch

    def _read_inputs(self, path: pathlib.Path) -> tuple[list[str], dict[str, np.ndarray], str]:
        """The names of the patients of a table, the network's inputs for them, and a text on missing covariates."""
        known = self.statistics
        if 'spread' in known:
            plain = [name.removeprefix('log ') for name in known['measured']]
            cases = self.read(path, [*plain, *known['names']], known.get('encoding'))
            check_visits(path, cases, known['max_visits'])
            records = [case.record for case in cases]
            return [case.id for case in cases], {
                'covariates': scale_covariates(records, known['names'], known['scale']),
                **pad_series([case.series for case in cases], known['spread'], known['max_visits'])}, _missing(
                    records, known['names']) + training_ranges.table_warning(
                        known, records, [case.series for case in cases])
        ids, records = read_covariates(path, known['names'], known.get('encoding'))
        inputs = {'covariates': scale_covariates(records, known['names'], known['scale'])}
        if 'intensities' in known:
            preprocess = image_preprocess(**self.data)
            images = [self.read(name) for name in read_image_paths(path)]
            inputs['image'] = np.stack([preprocess.network_input(image, known) for image in images])
        return ids, inputs, _missing(records, known['names']) + training_ranges.table_warning(known, records)

    def _read_baseline(self) -> np.ndarray:
        path = self.folder / 'cases' / BASELINE
        try:
            return np.array(json.loads(path.read_text())['steps'])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f'{path}: cannot be read; expected what `python -m medjax.evaluate --workdir='
                             f'{self.folder}` writes') from error

    def warm(self, variables: Any) -> None:
        """Compiles the prediction of a batch of patients; see `contracts.Predictor`."""
        self.predict_batched(variables, {name: value for name, value in self.example().items() if name != 'time'})

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Predicts for the patients of a table and writes `predictions.csv`; returns a line about the result.

        Args:
          variables: the network's variables.
          path: a CSV table with a row for each patient and the columns of the training data's covariates; with images
            also `image`, paths relative to the table. For time series the table has a row for each visit, and the last
            visit of each patient is the landmark.
          folder: of the written table, which is replaced.

        Raises:
          InputError: the table lacks a covariate, or the run has no file with the baseline hazard.
        """
        events, times = (self.statistics[key] for key in ('classes', 'times'))
        ids, inputs, missing = self._read_inputs(path)
        outputs = self.predict_batched(variables, inputs)
        baseline_hazard = self._read_baseline() if 'log_hazard' in outputs else None
        risk, incidence = risk_and_incidence(outputs, baseline_hazard)
        rows = [{'id': name, **table.prediction_columns(events, times, *pair)}
                for name, *pair in zip(ids, risk, incidence)]
        atomic_files.write_table(folder / 'predictions.csv', rows)
        middle = len(times) // 2
        means = '  '.join(f'{name} by {times[middle]:g} {self.statistics["unit"]}: {mean:.2f}'
                          for name, mean in zip(events, incidence[:, :, middle].mean(0)))
        return f'{path} → {folder / "predictions.csv"}   {len(ids)} patients, mean {means}{missing}'


def _missing(records: Sequence[Mapping[str, float]], names: Sequence[str]) -> str:
    """A text on the number of patients without a value of each covariate; '' where all have all."""
    counts = {name: sum(bool(np.isnan(record.get(name, np.nan))) for record in records) for name in names}
    parts = [f'{name} {count}' for name, count in counts.items() if count]
    return f'; missing, filled with the training median: {few(parts)}' if parts else ''


def evaluator(*, data: TabularDataset, task: Task, batch: Count = 512, horizons: Sequence[Positive] = (),
              treatment_covariate: str = '') -> SurvivalEvaluator:
    """The evaluator of survival analysis.

    Args:
      data: the data set.
      task: the task.
      batch: number of patients in a batch.
      horizons: times of AUC, Brier score and calibration; by default the quartiles of the times of the
        events of the split `calibrate`, or without one of validation.
      treatment_covariate: name of a covariate of 0 and 1, the treatment, for which patients get a treatment
        recommendation.

    Raises:
      InputError: an option is invalid.
    """
    values = {case.record.get(treatment_covariate) for case in data.source.cases} if treatment_covariate else {0.0, 1.0}
    if treatment_covariate and (treatment_covariate not in data.names or values != {0.0, 1.0}):
        raise InputError(f'config.evaluate.treatment_covariate: {treatment_covariate!r}; expected a covariate that is '
                         '0 or 1 in every '
                         f'patient, one of: {", ".join(data.names)}')
    if any(not 0 < horizon < np.inf for horizon in horizons):
        raise InputError(f'config.evaluate.horizons: {tuple(horizons)}; expected times above 0')
    if batch < 1:
        raise InputError(f'config.evaluate.batch: {batch}; expected at least 1')
    return SurvivalEvaluator(data, BatchedPredictor(task, batch), tuple(map(float, horizons)), treatment_covariate)


def predictor(*, task: Task, statistics: Mapping[str, Any], folder: pathlib.Path, data: Mapping[str, Any],
              read: Callable[..., Any], batch: Count = 512, **_: Any) -> SurvivalPredictor:
    """The predictor for new patients.

    Args:
      task: the task.
      statistics: of the training patients, as stored with the checkpoint.
      folder: of the run, which has the baseline hazard.
      data: the options of `config.data` without name and source: size and intensities of images.
      read: reads an image, or a table of visits, as the source did.
      batch: number of patients in a batch.
      **_: other options of predictors, which are not used.
    """
    return SurvivalPredictor(statistics, BatchedPredictor(task, batch), folder, data, read)
