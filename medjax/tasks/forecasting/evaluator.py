"""Evaluates forecasts visit by visit: a row with what came next and what was told, beside simpler models' forecasts."""

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
from medjax.data.datasets.tabular import scaled
from medjax.data.datasets.time_series import Sequences, check_visits, padded
from medjax.data.source import Case, Series
from medjax.errors import InputError
from medjax.metrics import classification
from medjax.ops import time_series

ALPHAS = tuple(10.0**power for power in range(-2, 5))  # of ridge regression; leaving one out chooses


@dataclasses.dataclass(frozen=True)
class ForecastEvaluator(contracts.Evaluator):
    """Tells what is forecast at each visit of a split's patients; see `evaluator`."""

    data: Sequences
    predict_batched: BatchedPredictor
    leads: tuple[float, ...] = ()


    @functools.cached_property
    def _steps(self) -> dict[str, np.ndarray]:
        """All visits of all patients, one after another, in float64.

        `patient [n]` and `visit [n]`, numbers from 0; `last [n, V]`, values as last measured, on one scale;
        `features [n, F]`: those, what is missing now, what was never measured, covariates, and the time since the
        first visit; `ahead [n]`, in units of the clock, and `wanted [n, V]`, of the next visit, NaN where there is
        none; `gap [n]`, in the source's unit, and `event [n]`.
        """
        every = self.data.seen(np.arange(len(self.data.source.cases)))
        observed, mask = every['observed'] > 0, every['time_mask'] > 0
        last = time_series.carried(every['values'], observed)
        never = ~np.maximum.accumulate(observed, 1)
        # What is always there or never missing is a constant, which no model minds.
        about = np.concatenate([last, ~observed, never, np.broadcast_to(
            every['covariates'][:, None], (*mask.shape, every['covariates'].shape[1])), every['times'][..., None]], -1)
        follows = np.concatenate([mask[:, 1:], np.zeros((len(mask), 1), bool)], 1)
        ahead = np.diff(every['times'], axis=1, append=0)
        wanted = np.where(observed, every['values'], np.nan)
        wanted = np.concatenate([wanted[:, 1:], np.full((len(mask), 1, wanted.shape[2]), np.nan)], 1)
        patient, visit = np.nonzero(mask)
        cases = self.data.source.cases
        gap = [cases[p].target.time - (cases[p].series.times[v] - cases[p].series.times[0])
               for p, v in zip(patient.tolist(), visit.tolist())]
        out = {'last': last, 'features': about, 'ahead': np.where(follows, ahead, np.nan), 'wanted': wanted}
        return {'patient': patient, 'visit': visit, **{name: array[mask].astype(np.float64)
                                                       for name, array in out.items()},
                'gap': np.maximum(gap, 0), 'event': np.array([cases[p].target.event for p in patient.tolist()], int)}

    @functools.cached_property
    def _training(self) -> np.ndarray:
        return np.isin(self._steps['patient'], self.data.numbers('train'))

    @functools.cached_property
    def _ridge(self) -> np.ndarray:
        """Forecasts of all visits by ridge regression on the features and how far the next visit is, `[n, V]`."""
        from sklearn.linear_model import RidgeCV  # slow to import

        steps = self._steps
        seen = np.column_stack([steps['features'], np.nan_to_num(steps['ahead'])])
        out = steps['last'].copy()
        for k, wanted in enumerate(steps['wanted'].T):
            known = self._training & ~np.isnan(wanted)
            if known.sum() > 1:
                out[:, k] = RidgeCV(ALPHAS).fit(seen[known], wanted[known]).predict(seen)
        return out

    @functools.cached_property
    def _logistic(self) -> np.ndarray:
        """Chances of all visits by logistic regression on the features, `[n, E]`."""
        from sklearn.linear_model import LogisticRegression

        happened, known = self._soon
        out = np.zeros(happened.shape)
        for k, (came, told) in enumerate(zip(happened.T, known.T)):
            chosen = self._training & told
            if len(np.unique(came[chosen])) == 2:
                fit = LogisticRegression(max_iter=2000).fit(self._steps['features'][chosen], came[chosen])
                out[:, k] = fit.predict_proba(self._steps['features'])[:, 1]
            elif chosen.any():
                out[:, k] = came[chosen].mean()
        return out

    @property
    def _soon(self) -> tuple[np.ndarray, np.ndarray]:
        return time_series.soon(self._steps['gap'], self._steps['event'], self.data.within, len(self.data.source.classes))

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per patient and visit of the split.

        It has id, patient, columns, `visit` (from 0), `time` since the first visit and `ahead`, the time to the next
        one, empty where there is none. For each value `NAME`, as it is now, `carried_NAME`, as it was last measured,
        and where there is a next visit `next_NAME`, as it is then, `forecast_NAME`, the network's, and `ridge_NAME`,
        ridge regression's; empty where nothing was measured. Where there is a horizon also `gap`, the time to
        `ended`, an event or '' where observation ends, and of each event `chance_EVENT` within the horizon, and
        `logistic_EVENT`, by logistic regression on values as last measured and covariates.

        Args:
          variables: the network's.
          split: which patients.
          quick: without the simpler models.
          snapshots: nothing is kept.
        """
        data, numbers, steps = self.data, self.data.numbers(split), self._steps
        measured, spread = data.source.measured, data.spread
        found = self.predict_batched(variables, data.seen(numbers))
        place = {int(number): row for row, number in enumerate(numbers)}

        def unscaled(values: np.ndarray) -> np.ndarray:
            return values * spread['std'] + spread['mean']

        rows = []
        for at in np.flatnonzero(np.isin(steps['patient'], numbers)).tolist():
            case, visit = data.source.cases[steps['patient'][at]], int(steps['visit'][at])
            where = place[int(steps['patient'][at])], visit
            times, now = case.series.times - case.series.times[0], case.series.values[visit]
            row = {'split': split, 'id': f'{case.id}_{visit}', 'patient': case.patient, **case.columns, 'visit': visit,
                   'time': float(times[visit])}
            more = visit + 1 < len(times)
            row['ahead'] = float(times[visit + 1] - times[visit]) if more else ''
            told = {'': now, 'carried': found['carried'][where]}
            gone = np.full(len(measured), np.nan)
            told['next'] = case.series.values[visit + 1] if more else gone
            told['forecast'] = found['next'][where] if more else gone
            if not quick:
                told['ridge'] = unscaled(self._ridge[at]) if more else gone
            row |= {f'{word}_{name}' if word else name: '' if np.isnan(value) else float(value)
                    for word, values in told.items() for name, value in zip(measured, values)}
            if data.within:
                number = int(steps['event'][at])
                row |= {'gap': float(steps['gap'][at]), 'ended': data.source.classes[number - 1] if number else ''}
                for k, name in enumerate(data.source.classes):
                    row[f'chance_{name}'] = float(found['chance'][where][k])
                    row |= {} if quick else {f'logistic_{name}': float(self._logistic[at, k])}
            rows.append(row)
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """What forecasts of validation visits are worth; NaN for what they do not tell.

        `mase`, the mean absolute error over that of carrying values forward, mean over the values; with a horizon also
        `auroc` and `auprc`, means over the events; and `loss`, the mean square error in training standard deviations,
        mean over the values, plus the log loss of the chances, mean over the events.
        """
        each: dict[str, list[float]] = {'mase': [], 'square': [], 'auroc': [], 'auprc': [], 'log': []}
        for name, std in zip(self.data.source.measured, self.data.spread['std']):
            some = np.array([[row[f'{word}_{name}'] for word in ('next', 'forecast', 'carried')] for row in rows
                             if row[f'next_{name}'] != ''], float).reshape(-1, 3)
            if len(some):
                off, plain = (np.abs(some[:, 0] - some[:, place]) for place in (1, 2))
                each['square'].append(float((off**2).mean()) / std**2)
                each['mase'] += [float(off.mean() / plain.mean())] if plain.any() else []
        if self.data.within:
            events = self.data.source.classes
            number = np.array([events.index(row['ended']) + 1 if row['ended'] else 0 for row in rows], int)
            happened, known = time_series.soon(np.array([row['gap'] for row in rows]), number, self.data.within,
                                          len(events))
            for k, name in enumerate(events):
                chance, came = np.array([row[f'chance_{name}'] for row in rows])[known[:, k]], happened[known[:, k], k]
                area, precision = classification.auroc_and_auprc(came, chance)
                each['auroc'].append(float(area))
                each['auprc'].append(float(precision))
                if len(came):
                    each['log'].append(float(classification.case_losses(came, np.stack([1 - chance, chance], 1))[1].mean()))
        mean = {name: float(np.mean(values)) if values else float('nan') for name, values in each.items()}
        out = {'loss': mean['square'] + (mean['log'] if self.data.within else 0), 'mase': mean['mase']}
        return out | ({'auroc': mean['auroc'], 'auprc': mean['auprc']} if self.data.within else {})


def evaluator(*, data: Sequences, task: Task, batch: int = 256, leads: Sequence[float] = ()) -> ForecastEvaluator:
    """Makes the evaluator of forecasts.

    Args:
      data: the data set.
      task: the problem.
      batch: patients at once.
      leads: times before an event, rising up to the horizon, between which early warning is judged; by default thirds
        of the horizon.
    """
    if batch < 1:
        raise InputError(f'config.evaluate.batch: {batch}; expected at least 1')
    within = getattr(data, 'within', None)
    if within is None or data.source.problem != 'forecast':
        raise InputError("config.evaluate.name: 'forecasting' needs series that no landmark cuts; expected "
                         "config.data.name 'sequences' of a source without landmarks")
    leads = _leads(leads, within)
    if leads and (leads[-1] != within or any(not low < high for low, high in zip((0.0, *leads), leads))):
        raise InputError(f'config.evaluate.leads: {leads}; expected times above 0, rising up to config.data.within, '
                         f'{within:g}')
    return ForecastEvaluator(data, BatchedPredictor(task, batch), leads)


def _leads(leads: Sequence[float], within: float) -> tuple[float, ...]:
    """Times ahead, by default thirds of the horizon."""
    return tuple(map(float, leads)) or tuple(within * part / 3 for part in (1, 2, 3)) * bool(within)


@dataclasses.dataclass(frozen=True)
class ForecastPredictor(contracts.Predictor):
    """Tells what to expect of new patients after their last visit; see `predictor`."""

    statistics: Mapping[str, Any]
    predict_batched: BatchedPredictor
    leads: tuple[float, ...]
    read: Callable[..., Sequence[Case]]

    file_per_input = False  # a table of visits goes into a table of patients

    def _seen(self, cases: Sequence[Case], steps: int, lead: float) -> dict[str, np.ndarray]:
        """What is seen of patients; that they come again after some time, only the forecast's distance is made of."""
        known = self.statistics
        later = [Series(np.append(case.series.times, case.series.times[-1] + lead), np.concatenate(
            [case.series.values, np.full((1, len(known['measured'])), np.nan)])) for case in cases]
        return {'covariates': scaled([case.record for case in cases], known['names'], known['scale']),
                **padded(later, known['spread'], steps)}

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network sees."""
        nothing = Series(np.zeros(1), np.full((1, len(self.statistics['measured'])), np.nan))
        case = Case('', '', '', None, series=nothing)
        return self._seen([case], self.statistics['steps'] + 1, 1.0)

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Reads a table of visits, and writes what to expect of each patient as `predictions.csv` in a folder.

        Args:
          variables: the network's.
          path: a CSV table as the training data's, a row a visit; how it ended need not be there.
          folder: gets the table, which is replaced: a row a patient with `id`, `visits`, `time` of the last one, each
            value `NAME_in_LEAD` that long after it, and of each event `chance_EVENT` within the horizon.

        Returns:
          A line on what was found, for the person who waits.

        Raises:
          InputError: a table that lacks a column; more visits than the longest series in training.
        """
        known = self.statistics
        plain = [name.removeprefix('log ') for name in known['measured']]
        cases = self.read(path, [*plain, *known['names']])
        check_visits(path, cases, known['steps'])
        rows = [{'id': case.patient, 'visits': len(case.series.times), 'time': float(case.series.times[-1])}
                for case in cases]
        for lead in self.leads:
            found = self.predict_batched(variables, self._seen(cases, known['steps'] + 1, lead))
            for place, row in enumerate(rows):
                at = place, row['visits'] - 1
                row |= {f'{name}_in_{lead:g}': float(x) for name, x in zip(known['measured'], found['next'][at])}
                if known['within']:
                    row |= {f'chance_{name}': float(x) for name, x in zip(known['classes'], found['chance'][at])}
        atomic_files.write_table(folder / 'predictions.csv', rows)
        some = '  '.join(f'{name} {np.mean([row[name] for row in rows]):.3g}' for name in list(rows[0])[3:6])
        return f'{path} → {folder / "predictions.csv"}   {len(rows)} patients, in the mean {some}'


def predictor(*, task: Task, statistics: Mapping[str, Any], read: Callable[..., Any], batch: int = 256,
              leads: Sequence[float] = (), **_: Any) -> ForecastPredictor:
    """Makes what tells what to expect of new patients.

    Args:
      task: the problem.
      statistics: of the training patients, as stored with the checkpoint.
      read: what reads a table of visits as the source did.
      batch: patients at once.
      leads: how long after the last visit; by default thirds of the horizon, or the unit of the training's clock.
      **_: what is of no use here.
    """
    times = _leads(leads, statistics['within']) or (float(statistics['spread']['clock']),)
    return ForecastPredictor(statistics, BatchedPredictor(task, batch), times, read)
