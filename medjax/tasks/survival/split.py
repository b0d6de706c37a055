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
from medjax.tasks.survival import table as survival_table
from medjax.tasks.survival.summary import ADVICE, GROUPS

SHOWN = np.linspace(0.05, 0.95, 9)  # quantiles of the risk: the patients of whom more is told


class Brier(NamedTuple):
    """Brier's score of one event at times `[T]`: the model's, and that of one observed curve for all; their means."""

    times: np.ndarray
    model: np.ndarray
    plain: np.ndarray
    means: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Followed(Split[survival_table.Table]):
    """A split's patients. Risk is that of the first event."""

    @property
    def several(self) -> bool:
        """Whether events compete."""
        return len(self.table.events) > 1

    @property
    def estimator(self) -> str:
        """Whose estimate an observed curve is."""
        return 'Aalen–Johansen' if self.several else 'Kaplan–Meier'

    @property
    def unit(self) -> str:
        """Of time; '' where it is not known."""
        return self.run.results.get('unit') or ''

    @property
    def horizons(self) -> Sequence[float]:
        """Times at which figures are told."""
        return self.run.results['analysis']['horizons']

    @property
    def timed(self) -> list[str]:
        """Names of the figures at the horizons."""
        return [f'{name}_{horizon:g}' for name in ('auc', 'brier') for horizon in self.horizons]

    @property
    def groups(self) -> Mapping[str, Any]:
        """What `survival.summarise` says of the risk groups."""
        return self.run.results['analysis']['groups'][self.split]

    @functools.cached_property
    def place(self) -> np.ndarray:
        """`[n]` int: which of GROUPS each patient is of."""
        return np.digitize(self.table.risk[:, 0], self.groups['cuts'])

    @functools.cached_property
    def members(self) -> dict[str, np.ndarray]:
        """`[n]` bool of each risk group that has patients."""
        return {name: self.place == number for number, name in enumerate(GROUPS) if (self.place == number).any()}

    @functools.cached_property
    def advised(self) -> dict[str, np.ndarray]:
        """`[n]` bool of those who were treated as the network advises, and of the others; empty without advice."""
        if self.split not in self.run.results['analysis'].get('advice', {}):
            return {}
        same = np.array([(float(row['given']) > 0) == (float(row['benefit']) > 0) for row in self.rows])
        return {name: chosen for name, chosen in zip(ADVICE, (same, ~same)) if chosen.any()}

    def after(self, time: float) -> str:
        """A time with its unit."""
        return f'{time:g} {self.unit}'.rstrip()

    def key(self, name: str, event: str) -> str:
        """The name of an event's own figure in the results."""
        return f'{name}_{event}' if self.several else name

    def curve(self, chosen: np.ndarray, k: int = 0) -> Curve:
        """What was observed of an event in `chosen [n]` bool: the share without it, or of several its incidence."""
        curve = self.table.observed(k, chosen)
        return curve.complement() if self.several else curve

    @functools.cached_property
    def brier(self) -> list[Brier]:
        """Of each event whose score is defined at two times at least."""
        found, table, everyone = [], self.table, np.ones(len(self.table.ids), bool)
        times = table.grid[table.grid < table.time.max()]
        for k in range(len(table.events) if len(times) > 1 else 0):
            same = np.broadcast_to(table.observed(k, everyone).at(times)[0], (len(everyone), len(times)))
            scores = [survival.brier(table.time, table.has(k), left, times, competing=table.other(k))
                      for left in (1 - table.incidence_at(k, times), same)]
            means = [float(np.trapezoid(score, times) / (times[-1] - times[0])) for score in scores]
            found.append(Brier(times, *scores, tuple(means)))
        return found

    @functools.cached_property
    def examples(self) -> list[int]:
        """Some patients, from low to high risk."""
        order = np.argsort(self.table.risk[:, 0], kind='stable')
        return order[np.unique(np.rint(SHOWN * (len(order) - 1)).astype(int))].tolist()

    def fate(self, number: int) -> str:
        """What happened to a patient, in words."""
        event, when = self.table.event[number], self.after(float(self.table.time[number]))
        return f'{self.table.events[event - 1] if event else "censored"} at {when}'


def follow(run: Run, split: str) -> Followed:
    """The patients of a split.

    Raises:
      InputError: where the table of predictions lacks a time, a risk or a curve.
    """
    rows = run.rows(split)
    try:
        return Followed(run, split, rows, survival_table.read(rows, run.classes))
    except InputError as error:
        raise InputError(f'{run.folder / "predictions.csv"}: {error}') from None
