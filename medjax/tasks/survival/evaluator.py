"""Evaluates survival patient by patient: a row with the risk and the incidence of each event over time."""

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
from medjax.data.datasets.tabular import Records, scaled
from medjax.data.datasets.time_series import check_visits, padded
from medjax.data.source import Series
from medjax.data.sources.survival_csv import images_of, records_of
from medjax.data.transforms.images import framing
from medjax.errors import InputError
from medjax.metrics import concordance

DIGITS = 6  # of a probability in a table
BASELINE = 'baseline.json'  # in the run's folder of cases


@dataclasses.dataclass(frozen=True)
class SurvivalEvaluator(contracts.Evaluator):
    """Tells the patients of a split what to expect; see `evaluator`."""

    data: Records
    predict_batched: BatchedPredictor
    horizons: tuple[float, ...] = ()
    recommend: str = ''


    def _predicted(self, variables: Any, numbers: np.ndarray) -> dict[str, np.ndarray]:
        return self.predict_batched(variables, self.data.seen(numbers))

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per patient of the split: id, patient, columns, time, event, and of each event risk and incidence.

        Args:
          variables: the network's.
          split: which patients.
          quick: no difference here.
          snapshots: a folder, beside which the baseline of relative hazards is kept for `predictor`.
        """
        source, numbers = self.data.source, self.data.numbers(split)
        times = np.array(self.data.statistics['times'])
        found = self._predicted(variables, numbers)
        steps = None
        if 'log_hazard' in found:
            train = self.data.numbers('train')
            known = self._predicted(variables, train)['log_hazard']
            steps = baseline(known, *(self.data.outcomes[name][train] for name in ('time', 'event')), times)
            if snapshots is not None:
                atomic_files.write_json(snapshots.parent / BASELINE, {'steps': steps.tolist()})
        risk, incidence = told(found, steps)
        advice, rows = self._advice(variables, numbers, steps), []
        for place, number in enumerate(numbers):
            case = source.cases[number]
            row = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns, 'time': case.target.time,
                   'event': source.classes[case.target.event - 1] if case.target.event else ''}
            rows.append({**row, **columns(source.classes, times, risk[place], incidence[place]),
                         **{name: float(values[place]) for name, values in advice.items()}})
        return rows

    def _advice(self, variables: Any, numbers: np.ndarray, steps: np.ndarray | None) -> dict[str, np.ndarray]:
        """Of each patient whether the treatment was given, and how much lower the first event's risk is with it.

        The recommender of DeepSurv (Katzman 2018): the treatment is a covariate, which is set to 0 and to 1.
        """
        if not self.recommend:
            return {}
        place, scale = self.data.names.index(self.recommend), self.data.scale
        seen, risks = self.data.seen(numbers), []
        given = seen['covariates'][:, place] * scale['std'][place] + scale['mean'][place]
        for value in (0.0, 1.0):
            changed = seen['covariates'].copy()
            changed[:, place] = (value - scale['mean'][place]) / scale['std'][place]
            risks.append(told(self.predict_batched(variables, {**seen, 'covariates': changed}), steps)[0][:, 0])
        return {'given': np.rint(given), 'benefit': risks[0] - risks[1]}

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The C-index of each event's risk, and their mean; NaN where it is not defined."""
        time = np.array([row['time'] for row in rows], float)
        each = {name: float(concordance.harrell(time, np.array([row['event'] == name for row in rows]),
                                             np.array([row[f'risk_{name}'] for row in rows], float)))
                for name in self.data.source.classes}
        several = {f'c_index_{name}': value for name, value in each.items()} if len(each) > 1 else {}
        return {'c_index': float(np.mean(list(each.values()))), **several}


def told(found: Mapping[str, np.ndarray], steps: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Risk `[n, E]` and incidence `[n, E, T]` of what a task predicts, and where that is relative of a `baseline`.

    Cox's relative hazard ranks as all its curves do, and more finely; curves that may cross are ranked by their mean.
    """
    if 'incidence' in found:
        return found['incidence'].mean(-1), found['incidence']
    hazards = np.exp(found['log_hazard']) * steps  # [n, E, T]: of each interval
    total = hazards.sum(1, keepdims=True)
    left = np.exp(-(np.cumsum(total, -1) - total))  # still there when an interval begins
    share = np.divide(hazards, total, out=np.zeros_like(hazards), where=total > 0)
    incidence = np.cumsum(left * -np.expm1(-total) * share, -1)
    constant = found['log_hazard'].shape[-1] == 1
    return found['log_hazard'][..., 0] if constant else incidence.mean(-1), incidence


def baseline(log_hazard: np.ndarray, time: np.ndarray, event: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The baseline hazard that makes the training patients' events expected (Breslow 1974).

    Args:
      log_hazard: of the training patients, `[m, E, T]`, or `[m, E, 1]` where it does not change with time; between two
        times it is the later's.
      time: theirs, `[m]`.
      event: theirs, 0 for none.
      times: `[T]`, rising.

    Returns:
      `[E, T]`: what the cumulative baseline hazard of each event gains from one time to the next.
    """
    steps = np.zeros((log_hazard.shape[1], len(times)))
    for k in range(len(steps)):
        for at in np.unique(time[event == k + 1]):
            place = np.searchsorted(times, at)
            if place < len(times):
                log = log_hazard[time >= at, k, min(place, log_hazard.shape[2] - 1)]
                most = log.max()
                steps[k, place] += ((time == at) & (event == k + 1)).sum() / np.exp(log - most).sum() / np.exp(most)
    return steps


def columns(events: Sequence[str], times: Sequence[float], risk: np.ndarray, incidence: np.ndarray) -> dict[str, float]:
    """What a table says of a patient: of each event the risk, and the incidence at each time."""
    return {**{f'risk_{name}': float(value) for name, value in zip(events, risk)},
            **{f'incidence_{name}_at_{time:g}': round(float(value), DIGITS)
               for name, curve in zip(events, incidence) for time, value in zip(times, curve)}}


@dataclasses.dataclass(frozen=True)
class SurvivalPredictor(contracts.Predictor):
    """Tells patients that are not of the data set what to expect; see `predictor`."""

    statistics: Mapping[str, Any]
    predict_batched: BatchedPredictor
    folder: pathlib.Path
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    read: Callable[..., Any] | None = None

    file_per_input = False  # a table of rows goes into a table of rows

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network sees."""
        known = self.statistics
        seen = {'covariates': scaled([{}], known['names'], known['scale']), 'time': np.ones(1, np.float32)}
        if 'spread' in known:
            nothing = Series(np.zeros(1), np.full((1, len(known['measured'])), np.nan))
            seen |= padded([nothing], known['spread'], known['steps'])
        if 'intensities' in known:
            seen['image'] = np.zeros((1, *self.data['size'], known['channels']), np.float32)
        return seen

    def _asked(self, path: pathlib.Path) -> tuple[list[str], dict[str, np.ndarray]]:
        """Who is asked about, and what is seen of them."""
        known = self.statistics
        if 'spread' in known:
            plain = [name.removeprefix('log ') for name in known['measured']]
            cases = self.read(path, [*plain, *known['names']])
            check_visits(path, cases, known['steps'])
            return [case.id for case in cases], {
                'covariates': scaled([case.record for case in cases], known['names'], known['scale']),
                **padded([case.series for case in cases], known['spread'], known['steps'])}
        ids, records = records_of(path, known['names'])
        seen = {'covariates': scaled(records, known['names'], known['scale'])}
        if 'intensities' in known:
            frame = framing(**self.data)
            seen['image'] = np.stack([frame.seen(self.read(path.parent / name), known) for name in images_of(path)])
        return ids, seen

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Reads a table of patients, and writes what to expect as `predictions.csv` in a folder.

        Args:
          variables: the network's.
          path: a CSV table with a row a patient and the columns of the training data's covariates, with images also
            `image`, paths beside the table; or of series with a row a visit, each patient's last being the landmark.
          folder: gets the table, which is replaced.

        Returns:
          A line on what was found, for the person who waits.

        Raises:
          InputError: a table that lacks a covariate; a run whose baseline was not kept.
        """
        events, times = (self.statistics[key] for key in ('classes', 'times'))
        ids, seen = self._asked(path)
        found = self.predict_batched(variables, seen)
        steps, kept = None, self.folder / 'cases' / BASELINE
        if 'log_hazard' in found:
            try:
                steps = np.array(json.loads(kept.read_text())['steps'])
            except (OSError, ValueError, KeyError) as error:
                raise InputError(f'{kept}: cannot be read; expected what `python -m medjax.evaluate --workdir='
                                 f'{self.folder}` writes') from error
        risk, incidence = told(found, steps)
        atomic_files.write_table(folder / 'predictions.csv', [
            {'id': name, **columns(events, times, *pair)} for name, *pair in zip(ids, risk, incidence)])
        middle = len(times) // 2
        some = '  '.join(f'{name} by {times[middle]:g} {self.statistics["unit"]}: {chance:.2f}'
                         for name, chance in zip(events, incidence[:, :, middle].mean(0)))
        return f'{path} → {folder / "predictions.csv"}   {len(ids)} patients, in the mean {some}'


def evaluator(*, data: Records, task: Task, batch: int = 512, horizons: Sequence[float] = (),
              recommend: str = '') -> SurvivalEvaluator:
    """Makes the evaluator of survival.

    Args:
      data: the data set.
      task: the problem.
      batch: patients at once.
      horizons: times at which figures are told; by default the quartiles of the validation events' times.
      recommend: a covariate of 0 and 1, a treatment: whom would it have helped by what the network says?
    """
    known = {case.record.get(recommend) for case in data.source.cases} if recommend else {0.0, 1.0}
    if recommend and (recommend not in data.names or known != {0.0, 1.0}):
        raise InputError(f'config.evaluate.recommend: {recommend!r}; expected a covariate that is 0 or 1 in every '
                         f'patient, one of: {", ".join(data.names)}')
    if any(not 0 < horizon < np.inf for horizon in horizons):
        raise InputError(f'config.evaluate.horizons: {tuple(horizons)}; expected times above 0')
    if batch < 1:
        raise InputError(f'config.evaluate.batch: {batch}; expected at least 1')
    return SurvivalEvaluator(data, BatchedPredictor(task, batch), tuple(map(float, horizons)), recommend)


def predictor(*, task: Task, statistics: Mapping[str, Any], folder: pathlib.Path, data: Mapping[str, Any],
              read: Callable[..., Any], batch: int = 512, **_: Any) -> SurvivalPredictor:
    """Makes what tells new patients what to expect.

    Args:
      task: the problem.
      statistics: of the training patients, as stored with the checkpoint.
      folder: of the run, with the baseline of relative hazards.
      data: the config's, without name and source: how images come to one size.
      read: what reads an image, or of series a table of visits, as the source did.
      batch: patients at once.
      **_: what is of no use here.
    """
    return SurvivalPredictor(statistics, BatchedPredictor(task, batch), folder, data, read)
