"""Evaluation of treatment effects: both predicted outcomes of every patient, beside those of baselines."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.core import contracts
from medjax.core.batched import BatchedPredictor
from medjax.core.task import Task
from medjax.data.datasets.tabular import TabularDataset
from medjax.errors import InputError
from medjax.metrics import covariate_balance
from medjax.metrics import treatment as metrics_treatment
from medjax.options import Count
from medjax.tasks.treatment import table

BINS = 20  # of the propensity


@dataclasses.dataclass(frozen=True)
class TreatmentEvaluator(contracts.Evaluator):
    """Predicts the outcomes with and without treatment for every patient of a split; see `evaluator`."""

    data: TabularDataset
    predict_batched: BatchedPredictor

    @functools.cached_property
    def _train(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Covariates, treatment and outcome of the training patients."""
        train = self.data.numbers('train')
        return self.data.covariates[train], *(self.data.outcomes[name][train] for name in ('treatment', 'outcome'))

    @functools.cached_property
    def propensity(self) -> np.ndarray:
        """Each patient's probability of treatment by logistic regression on the training patients, `[N]`."""
        from sklearn.linear_model import LogisticRegression  # slow to import

        x, treatment, _ = self._train
        return LogisticRegression(max_iter=1000).fit(x, treatment).predict_proba(self.data.covariates)[:, 1]

    @functools.cached_property
    def _baselines(self) -> dict[str, np.ndarray]:
        """Both outcomes of all patients by each baseline, `[N, 2]`."""
        from sklearn.ensemble import HistGradientBoostingRegressor  # slow to import
        from sklearn.linear_model import LinearRegression
        from threadpoolctl import threadpool_limits

        (x, treatment, outcome), covariates = self._train, self.data.covariates
        line = LinearRegression().fit(np.column_stack([x, treatment]), outcome)

        def ols(given: int) -> np.ndarray:
            return line.predict(np.column_stack([covariates, np.full(len(covariates), given)]))

        def by_group(make: Callable[[], Any]) -> list[np.ndarray]:
            return [make().fit(x[treatment == given], outcome[treatment == given]).predict(covariates)
                    for given in (0, 1)]

        out = {'ols': [ols(0), ols(1)], 'ols_by_group': by_group(LinearRegression)}
        with threadpool_limits(1):  # with so few patients threads only add overhead
            out['trees'] = by_group(lambda: HistGradientBoostingRegressor(random_state=0))
        return {name: np.stack(pair, 1).astype(np.float64) for name, pair in out.items()}

    def _matched_effects(self, numbers: np.ndarray) -> np.ndarray:
        """The difference from the outcome of the nearest training patient of the other group, `[n]`.

        The two patients may differ in what affects the outcome, and both outcomes have noise: only means over many
        patients are meaningful.
        """
        x, treatment, outcome = self._train
        own, observed = (self.data.outcomes[name][numbers] for name in ('treatment', 'outcome'))
        distance = ((self.data.covariates[numbers][:, None] - x) ** 2).sum(-1)
        nearest = np.where(own[:, None] == treatment, np.inf, distance).argmin(1)
        return np.where(own == 1, observed - outcome[nearest], outcome[nearest] - observed).astype(np.float64)

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """The rows of the predictions table for the patients of a split; see `table`.

        The baselines are ordinary least squares with the treatment as a covariate ('ols') and for each group by itself
        ('ols_by_group'), and boosted trees for each group by itself ('trees').

        Args:
          variables: the network's variables.
          split: name of the split.
          quick: without the baselines.
          snapshots: not used.
        """
        numbers = self.data.numbers(split)
        outcomes = {'': self.predict_batched(variables, self.data.network_inputs(numbers))['outcomes']}
        if not quick:
            outcomes |= {name: pair[numbers] for name, pair in self._baselines.items()}
        matched = self._matched_effects(numbers)
        return [table.case_row(self.data.source.cases[number], split,
                               {method: pair[place] for method, pair in outcomes.items()},
                               self.propensity[number], matched[place]) for place, number in enumerate(numbers)]

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Metrics that need no true effects, which must not be used for selection; lower is better.

        `factual_rmse`, of the observed outcomes, and `pehe_matched`, with the effects by the nearest patients in place
        of the true ones.
        """
        columns = ('treatment', 'outcome', table.outcome_column(0), table.outcome_column(1), 'matched')
        treatment, outcome, low, high, matched = (np.array([row[name] for row in rows]) for name in columns)
        weight = np.ones(len(rows))
        rmse = metrics_treatment.factual_rmse(np.stack([low, high], 1), outcome, treatment, weight)
        return {'factual_rmse': float(rmse), 'pehe_matched': float(metrics_treatment.pehe(high - low, matched, weight))}

    @functools.cached_property
    def groups(self) -> dict[str, Any]:
        """Balance and overlap of the training groups.

        Returns:
          - `balance`: {covariate: standardised mean differences, unweighted and weighted by the inverse propensity};
          - `overlap`: `edges` of the propensity's bins, and the counts of each group by its name;
          - `counts` and `effective`: numbers of patients and effective sample sizes with these weights of each group.
        """
        train, names = self.data.numbers('train'), self.data.source.classes
        treatment, propensity = self.data.outcomes['treatment'][train], self.propensity[train]
        values = np.array([[self.data.source.cases[number].record.get(name, np.nan) for name in self.data.names]
                           for number in train], np.float64)
        weight = covariate_balance.inverse_propensity(treatment, propensity)
        unweighted = covariate_balance.standardised_difference(values, treatment)
        weighted = covariate_balance.standardised_difference(values, treatment, weight)
        edges, members = np.linspace(0, 1, BINS + 1), dict(zip(names, (treatment == 0, treatment == 1)))
        return {'balance': {name: [float(unweighted[k]), float(weighted[k])] for k, name in enumerate(self.data.names)},
                'overlap': {'edges': edges.tolist(), **{name: np.histogram(propensity[chosen], edges)[0].tolist()
                                                        for name, chosen in members.items()}},
                'counts': {name: int(chosen.sum()) for name, chosen in members.items()},
                'effective': {name: float(weight[chosen].sum() ** 2 / (weight[chosen] ** 2).sum())
                              for name, chosen in members.items()}}


def evaluator(*, data: TabularDataset, task: Task, batch: Count = 512) -> TreatmentEvaluator:
    """The evaluator of treatment effects.

    Args:
      data: the data set.
      task: the task.
      batch: number of patients in a batch.

    Raises:
      InputError: an option is invalid.
    """
    if batch < 1:
        raise InputError(f'config.evaluate.batch: {batch}; expected at least 1')
    return TreatmentEvaluator(data, BatchedPredictor(task, batch))
