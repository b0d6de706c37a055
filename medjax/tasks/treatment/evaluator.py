"""Evaluates effects of a treatment patient by patient: a row with both predicted outcomes, beside simpler models'."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.core import contracts
from medjax.core.batched import BatchedPredictor
from medjax.core.task import Task
from medjax.data.datasets.tabular import Records
from medjax.errors import InputError
from medjax.metrics import covariate_balance
from medjax.metrics import treatment as metrics_treatment

BINS = 20  # of the propensity


@dataclasses.dataclass(frozen=True)
class TreatmentEvaluator(contracts.Evaluator):
    """Tells the patients of a split what to expect with a treatment and without; see `evaluator`."""

    data: Records
    predict_batched: BatchedPredictor


    @functools.cached_property
    def _train(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Covariates, treatment and outcome of the training patients."""
        train = self.data.numbers('train')
        return self.data.covariates[train], *(self.data.outcomes[name][train] for name in ('treatment', 'outcome'))

    @functools.cached_property
    def propensity(self) -> np.ndarray:
        """Each patient's chance to be treated, `[N]`: a logistic regression on the training patients."""
        from sklearn.linear_model import LogisticRegression  # slow to import

        x, treatment, _ = self._train
        return LogisticRegression(max_iter=1000).fit(x, treatment).predict_proba(self.data.covariates)[:, 1]

    @functools.cached_property
    def _simpler(self) -> dict[str, np.ndarray]:
        """Both outcomes of all patients, `[N, 2]`, by models that are fitted in a moment."""
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.linear_model import LinearRegression
        from threadpoolctl import threadpool_limits

        (x, treatment, outcome), every = self._train, self.data.covariates
        line = LinearRegression().fit(np.column_stack([x, treatment]), outcome)
        same = [line.predict(np.column_stack([every, np.full(len(every), given)])) for given in (0, 1)]

        def by_group(make: Callable[[], Any]) -> list[np.ndarray]:
            return [make().fit(x[treatment == given], outcome[treatment == given]).predict(every) for given in (0, 1)]

        made = {'ols': same, 'ols_by_group': by_group(LinearRegression)}
        with threadpool_limits(1):  # over so few patients threads do little but wait for each other
            made['trees'] = by_group(lambda: HistGradientBoostingRegressor(random_state=0))
        return {name: np.stack(pair, 1).astype(np.float64) for name, pair in made.items()}

    def _matched(self, numbers: np.ndarray) -> np.ndarray:
        """The effect as the nearest training patient of the other group tells it, `[n]`.

        The two may differ in what matters, and both outcomes have noise: it is of use in the mean alone.
        """
        x, treatment, outcome = self._train
        own, came = (self.data.outcomes[name][numbers] for name in ('treatment', 'outcome'))
        apart = ((self.data.covariates[numbers][:, None] - x) ** 2).sum(-1)
        nearest = np.where(own[:, None] == treatment, np.inf, apart).argmin(1)
        return np.where(own == 1, came - outcome[nearest], outcome[nearest] - came).astype(np.float64)

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per patient of the split.

        It has id, patient, columns, treatment, outcome, both predicted outcomes, propensity, the effect by the nearest
        patient of the other group ('matched') and, where it is simulated, the true one ('effect'); and both outcomes by
        ordinary least squares ('ols'), the same for each group ('ols_by_group') and boosted trees for each ('trees').

        Args:
          variables: the network's.
          split: which patients.
          quick: without the simpler models.
          snapshots: nothing is kept.
        """
        numbers = self.data.numbers(split)
        found = {'': self.predict_batched(variables, self.data.seen(numbers))['outcomes']}
        found |= {} if quick else {f'_{name}': pair[numbers] for name, pair in self._simpler.items()}
        matched, rows = self._matched(numbers), []
        for place, number in enumerate(numbers):
            case = self.data.source.cases[number]
            row = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns,
                   'treatment': case.target.treatment, 'outcome': case.target.outcome}
            row |= {f'outcome_if_{given}{name}': float(pair[place, given]) for name, pair in found.items()
                    for given in (0, 1)}
            row |= {'propensity': float(self.propensity[number]), 'matched': float(matched[place])}
            rows.append(row | ({} if case.target.effect is None else {'effect': case.target.effect}))
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """What can be known without the true effects, by which nothing may be chosen; lower is better.

        `factual_rmse`, of the outcomes that came, and `pehe_matched`, by the nearest patients' effects in place of the
        true ones.
        """
        treatment, outcome, low, high, matched = (np.array([row[name] for row in rows]) for name in (
            'treatment', 'outcome', 'outcome_if_0', 'outcome_if_1', 'matched'))
        weight = np.ones(len(rows))
        return {'factual_rmse': float(metrics_treatment.factual_rmse(np.stack([low, high], 1), outcome, treatment, weight)),
                'pehe_matched': float(metrics_treatment.pehe(high - low, matched, weight))}

    @functools.cached_property
    def groups(self) -> dict[str, Any]:
        """How far the groups of the training patients differ, and overlap.

        Returns:
          - `balance`: {covariate: standardised mean difference, as they are and weighted by the inverse propensity};
          - `overlap`: `edges` of the propensity's bins and how many of each group are in each, by its name;
          - `counts` and `effective`: of each group how many there are, and how many equal weights would do as well.
        """
        train, names = self.data.numbers('train'), self.data.source.classes
        treatment, chance = self.data.outcomes['treatment'][train], self.propensity[train]
        values = np.array([[self.data.source.cases[number].record.get(name, np.nan) for name in self.data.names]
                           for number in train], np.float64)
        weight = covariate_balance.inverse_propensity(treatment, chance)
        plain = covariate_balance.standardised_difference(values, treatment)
        after = covariate_balance.standardised_difference(values, treatment, weight)
        edges, of = np.linspace(0, 1, BINS + 1), [treatment == number for number in (0, 1)]
        return {'balance': {name: [float(plain[k]), float(after[k])] for k, name in enumerate(self.data.names)},
                'overlap': {'edges': edges.tolist(), **{name: np.histogram(chance[each], edges)[0].tolist()
                                                        for name, each in zip(names, of)}},
                'counts': {name: int(each.sum()) for name, each in zip(names, of)},
                'effective': {name: float(weight[each].sum() ** 2 / (weight[each] ** 2).sum())
                              for name, each in zip(names, of)}}


def evaluator(*, data: Records, task: Task, batch: int = 512) -> TreatmentEvaluator:
    """Makes the evaluator of a treatment's effects.

    Args:
      data: the data set.
      task: the problem.
      batch: patients at once.
    """
    if batch < 1:
        raise InputError(f'config.evaluate.batch: {batch}; expected at least 1')
    return TreatmentEvaluator(data, BatchedPredictor(task, batch))
