"""Evaluates survival patient by patient: a row with the risk and the incidence of each event over time."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax.core.task import Task
from medjax.data.records import Records
from medjax.errors import InputError
from medjax.ops import concordance

DIGITS = 6  # of a probability in a table


@dataclasses.dataclass(frozen=True)
class SurvivalEvaluator:
    """Tells the patients of a split what to expect; see `evaluator`."""

    data: Records
    task: Task
    batch: int

    summary = 'survival'  # what of `analysis` sums the rows up

    @functools.cached_property
    def _compiled(self) -> Callable[..., dict[str, jax.Array]]:
        return jax.jit(lambda variables, batch: self.task.predict(variables, batch))

    def _predicted(self, variables: Any, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """What the task gives for some patients, in float64; batches are filled up, so that it is compiled once."""
        parts = []
        for start in range(0, len(numbers), self.batch):
            at = numbers[np.minimum(np.arange(start, start + self.batch), len(numbers) - 1)]
            out = jax.device_get(self._compiled(variables, {'covariates': self.data.covariates[at]}))
            parts.append({name: value[:len(numbers) - start].astype(np.float64) for name, value in out.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per patient of the split: id, patient, columns, time, event, and of each event risk and incidence.

        Args:
          variables: the network's.
          split: which patients.
          quick: no difference here.
          snapshots: nothing is kept.
        """
        source, numbers = self.data.source, self.data.numbers(split)
        times = np.array(self.data.statistics['times'])
        found = self._predicted(variables, numbers)
        if 'log_hazard' in found:
            train = self.data.numbers('train')
            known = self._predicted(variables, train)['log_hazard']
            outcomes = {name: values[train] for name, values in self.data.outcomes.items()}
            incidence = from_baseline(found['log_hazard'], known, **outcomes, times=times)
        else:
            incidence = found['incidence']
        # Cox's relative hazard ranks as all its curves do, and more finely; curves that cross are ranked by their mean.
        constant = 'log_hazard' in found and found['log_hazard'].shape[-1] == 1
        risk = found['log_hazard'][..., 0] if constant else incidence.mean(-1)
        rows = []
        for place, number in enumerate(numbers):
            case = source.cases[number]
            row = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns, 'time': case.target.time,
                   'event': source.classes[case.target.event - 1] if case.target.event else ''}
            row |= {f'risk_{name}': float(risk[place, k]) for k, name in enumerate(source.classes)}
            row |= {f'incidence_{name}_at_{time:g}': round(float(value), DIGITS)
                    for k, name in enumerate(source.classes) for time, value in zip(times, incidence[place, k])}
            rows.append(row)
        return rows

    def validated(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The C-index of each event's risk, and their mean; NaN where it is not defined."""
        time = np.array([row['time'] for row in rows], float)
        each = {name: float(concordance.harrell(time, np.array([row['event'] == name for row in rows]),
                                             np.array([row[f'risk_{name}'] for row in rows], float)))
                for name in self.data.source.classes}
        several = {f'c_index_{name}': value for name, value in each.items()} if len(each) > 1 else {}
        return {'c_index': float(np.mean(list(each.values()))), **several}


def from_baseline(log_hazard: np.ndarray, known: np.ndarray, time: np.ndarray, event: np.ndarray,
                  times: np.ndarray) -> np.ndarray:
    """Incidence by relative hazards and the baseline that makes the training patients' events expected (Breslow 1974).

    Args:
      log_hazard: `[n, E, T]`, or `[n, E, 1]` where it does not change with time; between two times it is the later's.
      known: the same of the training patients.
      time: of those, `[m]`.
      event: theirs, 0 for none.
      times: `[T]`, rising.

    Returns:
      `[n, E, T]`, at `times`: by the events' cumulative hazards together.
    """
    events = known.shape[1]
    ends = np.broadcast_to(np.maximum(times, 0), (events, len(times)))
    steps = np.zeros(ends.shape)
    for k in range(events):
        for at in np.unique(time[event == k + 1]):
            place = np.searchsorted(times, at)
            if place < len(times):
                log = known[time >= at, k, min(place, known.shape[2] - 1)]
                most = log.max()
                steps[k, place] += ((time == at) & (event == k + 1)).sum() / np.exp(log - most).sum() / np.exp(most)
    hazards = np.exp(log_hazard) * steps  # [n, E, T]: of each interval
    total = hazards.sum(1, keepdims=True)
    left = np.exp(-(np.cumsum(total, -1) - total))  # still there when an interval begins
    share = np.divide(hazards, total, out=np.zeros_like(hazards), where=total > 0)
    return np.cumsum(left * -np.expm1(-total) * share, -1)


def evaluator(*, data: Records, task: Task, batch: int = 512) -> SurvivalEvaluator:
    """Makes the evaluator of survival.

    Args:
      data: the data set.
      task: the problem.
      batch: patients at once.
    """
    if batch < 1:
        raise InputError(f'config.evaluate.batch: {batch}; expected at least 1')
    return SurvivalEvaluator(data, task, batch)
