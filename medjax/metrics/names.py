"""The description of a metric: its name, label, unit, and which values are better.

A family declares its metrics once, in `tasks/FAMILY/family.py`. Checkpoint selection, the console, tables and
comparisons read that list, so that all of them agree.
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Literal

Better = Literal['higher', 'lower', 'zero', 'target']
ARROWS = {'higher': '↑', 'lower': '↓', 'zero': '→ 0'}


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
      name: its key in `results.json` and `metrics.jsonl`; a key may go on with `_` and what it is of: a class, an
        event, another method or a time, as in `dice_liver`, `rmse_trees` and `auc_12`.
      label: what tables and charts call it.
      unit: of its values; '' for a number without unit.
      better: 'higher', 'lower', 'zero' (its absolute value should be small) or 'target' (it should be near `target`).
      headline: whether the console prints it after an evaluation.
      target: the best value where `better` is 'target'.
      at_time: whether a number at the end of a key is the time at which it is measured.
    """

    name: str
    label: str
    unit: str = ''
    better: Better = 'higher'
    headline: bool = False
    target: float = 0.0
    at_time: bool = False

    def __post_init__(self):
        if self.better not in ('higher', 'lower', 'zero', 'target'):
            raise ValueError(f"{self.name}: better={self.better!r}; expected 'higher', 'lower', 'zero' or 'target'")

    @property
    def arrow(self) -> str:
        """An arrow towards better values."""
        return ARROWS.get(self.better, f'→ {self.target:g}')

    def rank(self, value: float) -> float:
        """A number that is higher for better values; minus infinity for NaN."""
        if value != value:
            return float('-inf')
        if self.better in ('zero', 'target'):
            return -abs(value - self.target)
        return value if self.better == 'higher' else -value


class MetricList(tuple[Metric, ...]):
    """The metrics of a family, in the order in which tables show them."""

    def __new__(cls, metrics: Iterable[Metric] = ()) -> 'MetricList':
        """Checks that the names differ."""
        out = super().__new__(cls, metrics)
        names = [metric.name for metric in out]
        if len(set(names)) < len(names):
            raise ValueError(f'metrics {names}; expected different names')
        return out

    def in_unit(self, unit: str) -> 'MetricList':
        """Returns the metrics with another unit of length in place of mm."""
        return MetricList(dataclasses.replace(metric, unit=unit) if metric.unit == 'mm' else metric for metric in self)

    def has(self, name: str) -> bool:
        """Whether a metric has exactly this name."""
        return any(metric.name == name for metric in self)

    def find(self, key: str) -> Metric | None:
        """The metric that a key names: the longest name that the key equals or goes on from with `_`."""
        found = [metric for metric in self if key == metric.name or key.startswith(f'{metric.name}_')]
        return max(found, key=lambda metric: len(metric.name), default=None)

    def describe(self, key: str) -> Metric:
        """The metric of exactly this key, with the time in its label where the key ends with one.

        A key that no metric has is described by itself, without a unit.
        """
        base, _, time = key.rpartition('_')
        for metric in self:
            if metric.name == key:
                return metric
            if metric.at_time and metric.name == base and re.fullmatch(r'[\d.]+(e[+-]\d+)?', time):
                return dataclasses.replace(metric, label=f'{metric.label} at {time}')
        return Metric(key, key)

    def split_key(self, key: str, classes: Sequence[str]) -> tuple[str, str]:
        """A result's key as metric and class.

        Args:
          key: such as 'volume_error_ml_grey'.
          classes: names of the classes.

        Returns:
          The metric's key and the class, as in `('volume_error_ml', 'grey')`; '' where the key names no class.
        """
        if self.has(key):
            return key, ''
        name = max((name for name in (*classes, 'mean') if key.endswith(f'_{name}')), key=len, default='')
        return (key.removesuffix(f'_{name}'), name) if name else (key, '')

    def is_headline(self, key: str, classes: Sequence[str]) -> bool:
        """Whether a result's key is of a headline metric: of all classes together, or of one of `classes`."""
        return self.describe(self.split_key(key, classes)[0]).headline
