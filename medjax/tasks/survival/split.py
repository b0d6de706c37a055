"""A split of a survival run as its report draws it: the patients, their risk groups, and the results."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.errors import InputError
from medjax.metrics import survival
from medjax.metrics.survival import Curve
from medjax.report.run_files import Run
from medjax.report.split import Split
from medjax.report.tables import format_significant
from medjax.tasks.survival import table as survival_table
from medjax.tasks.survival.summary import ADVICE, GROUPS
from medjax.tasks.survival.table import Predictions

AT_HORIZON = ('auc', 'brier', 'calibration_slope', 'calibration_intercept')  # metrics of a horizon
EXAMPLE_QUANTILES = np.linspace(0.05, 0.95, 9)  # of the risk: patients that are shown one by one


class BrierCurve(NamedTuple):
    """The Brier score of one event over time.

    Attributes:
      times: `[T]`.
      model: `[T]`, of the model.
      reference: `[T]`, of the observed curve of all patients as everybody's prediction.
      means: means over time of model and reference.
    """

    times: np.ndarray
    model: np.ndarray
    reference: np.ndarray
    means: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class SurvivalSplit(Split[Predictions]):
    """The patients of a split. Risk and risk groups are of the first event."""

    @property
    def competing(self) -> bool:
        """Whether there are competing events."""
        return len(self.table.events) > 1

    @property
    def estimator(self) -> str:
        """The name of the estimator of observed curves."""
        return 'Aalen–Johansen' if self.competing else 'Kaplan–Meier'

    @property
    def unit(self) -> str:
        """The unit of time; '' where it is not known."""
        return self.run.results.get('unit') or ''

    @property
    def horizons(self) -> Sequence[float]:
        """The times of AUC, Brier score and calibration."""
        return self.run.results['analysis']['horizons']

    @property
    def horizon_metrics(self) -> list[str]:
        """The names of the metrics at horizons."""
        names = [f'{name}_{horizon:g}' for name in AT_HORIZON for horizon in self.horizons]
        return [name for name in names if name in self.entries]

    @property
    def groups(self) -> Mapping[str, Any]:
        """The analysis of the risk groups, see `summary.summarise`."""
        return self.run.results['analysis']['groups'][self.split]

    @functools.cached_property
    def risk_group(self) -> np.ndarray:
        """The risk group of each patient as a place in GROUPS, `[n]` int."""
        return np.digitize(self.table.risk[:, 0], self.groups['cuts'])

    @functools.cached_property
    def group_members(self) -> dict[str, np.ndarray]:
        """The members of each risk group that has any, `[n]` bool."""
        members = {name: self.risk_group == number for number, name in enumerate(GROUPS)}
        return {name: chosen for name, chosen in members.items() if chosen.any()}

    @functools.cached_property
    def advice_members(self) -> dict[str, np.ndarray]:
        """The patients treated as recommended, and the others, `[n]` bool; empty without a recommendation."""
        if self.split not in self.run.results['analysis'].get('advice', {}):
            return {}
        given, benefit = survival_table.read_recommendation(self.rows).T
        as_advised = (given > 0) == (benefit > 0)
        return {name: chosen for name, chosen in zip(ADVICE, (as_advised, ~as_advised)) if chosen.any()}

    def format_time(self, time: float) -> str:
        """A time with its unit."""
        return f'{format_significant(time, 6)} {self.unit}'.rstrip()

    def metric_key(self, name: str, event: str) -> str:
        """The name of an event's metric in the results."""
        return f'{name}_{event}' if self.competing else name

    def observed_curve(self, members: np.ndarray, k: int = 0) -> Curve:
        """The observed curve of event `k` among `members [n]` bool: the share without it; of several, its incidence."""
        curve = self.table.event_free(k, members)
        return curve.complement() if self.competing else curve

    @functools.cached_property
    def brier_curves(self) -> list[BrierCurve]:
        """The Brier score over time of each event, where it is defined at two or more times."""
        table, out = self.table, []
        times = table.grid[table.grid < table.time.max()]
        if len(times) < 2:
            return out
        everyone = np.ones(len(table.ids), bool)
        for k in range(len(table.events)):
            reference = np.broadcast_to(table.event_free(k, everyone).at(times)[0], (len(everyone), len(times)))
            scores = [survival.brier(table.time, table.has_event(k), event_free, times,
                                     competing=table.has_other_event(k))
                      for event_free in (1 - table.incidence_at(k, times), reference)]
            means = [float(np.trapezoid(score, times) / (times[-1] - times[0])) for score in scores]
            out.append(BrierCurve(times, *scores, tuple(means)))
        return out

    @functools.cached_property
    def examples(self) -> list[int]:
        """The numbers of example patients, from low to high risk."""
        order = np.argsort(self.table.risk[:, 0], kind='stable')
        return order[np.unique(np.rint(EXAMPLE_QUANTILES * (len(order) - 1)).astype(int))].tolist()

    def outcome(self, number: int) -> str:
        """The outcome of a patient in words."""
        event, time = self.table.event[number], self.format_time(float(self.table.time[number]))
        return f'{self.table.events[event - 1] if event else "censored"} at {time}'


def read_survival_split(run: Run, split: str) -> SurvivalSplit:
    """A split of a run.

    Raises:
      InputError: the predictions table lacks a time, a risk or a curve; the message starts with its path.
    """
    rows = run.rows(split)
    try:
        return SurvivalSplit(run, split, rows, survival_table.read(rows, run.classes))
    except InputError as error:
        raise InputError(f'{run.folder / "predictions.csv"}: {error}') from None
