"""Evaluation of regression: the predictions for every case, beside those of baselines."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.batched import BatchedPredictor
from medjax.core.task import Task
from medjax.data.datasets import molecules, smiles_tokens
from medjax.data.datasets.molecules import MoleculeDataset
from medjax.data.sources.molecules_csv import read_smiles
from medjax.errors import InputError
from medjax.options import Count
from medjax.tasks.regression import table

# Gradient-boosted trees (Friedman 2001, 2002): the best of a few settings by cross-validation on the training molecules
# of the solubility data.
TREES = {'n_estimators': 500, 'max_depth': 5, 'learning_rate': 0.05, 'subsample': 0.5, 'max_features': 0.3}


@dataclasses.dataclass(frozen=True)
class RegressionEvaluator(contracts.Evaluator):
    """Predicts the targets of every case of a split; see `evaluator`."""

    data: MoleculeDataset
    predict_batched: BatchedPredictor

    @functools.cached_property
    def _baselines(self) -> dict[str, np.ndarray]:
        """Predictions for all cases by boosted trees on fingerprints, and on fingerprints and descriptors, `[N, K]`."""
        features = self.data.baseline_features()
        if features is None:
            return {}
        return {'trees': self._trees(features[0]), 'trees_described': self._trees(np.concatenate(features, 1))}

    def _trees(self, x: np.ndarray) -> np.ndarray:
        from sklearn.ensemble import GradientBoostingRegressor  # slow to import

        train, out = self.data.numbers('train'), np.empty(self.data.targets.shape)
        for k, column in enumerate(self.data.targets.T):
            known = train[~np.isnan(column[train])]
            out[:, k] = GradientBoostingRegressor(random_state=0, **TREES).fit(x[known], column[known]).predict(x)
        return out

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """The rows of the predictions table for the cases of a split; see `table`.

        Args:
          variables: the network's variables.
          split: name of the split.
          quick: without the baselines.
          snapshots: not used.
        """
        numbers, names = self.data.numbers(split), self.data.source.classes
        outputs = predict_mean(self.predict_batched, variables,
                               {name: value[numbers] for name, value in self.data.inputs.items()})
        baselines = {} if quick else {name: values[numbers] for name, values in self._baselines.items()}
        rows = []
        for place, number in enumerate(numbers):
            rows.append({
                **table.case_row(self.data.source.cases[number], split, names),
                **table.prediction_columns(names, {name: values[place] for name, values in outputs.items()}),
                **table.baseline_columns(names, {name: values[place] for name, values in baselines.items()})})
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """`nrmse`, the root mean squared error in training standard deviations, and `r2`, means over the targets."""
        known, values = self.data.statistics, []
        for name, std in zip(known['classes'], known['std']):
            pairs = np.array([[row[name], row[table.predicted_column(name)]] for row in rows if row[name] != ''], float)
            if len(pairs):
                squared, variance = ((pairs[:, 1] - pairs[:, 0])**2).mean(), pairs[:, 0].var()
                values.append((math.sqrt(squared) / std, 1 - squared / variance if variance else math.nan))
        nrmse, r2 = np.mean(values, 0) if values else (math.nan, math.nan)
        return {'nrmse': float(nrmse), 'r2': float(r2)}


def predict_mean(predict_batched: BatchedPredictor, variables: Any,
                 inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The mean output over the variants of each case, `[n, …]`, for inputs `[n, variants, …]`."""
    count, variants = next(iter(inputs.values())).shape[:2]
    flat = {name: value.reshape(count * variants, *value.shape[2:]) for name, value in inputs.items()}
    outputs = predict_batched(variables, flat)
    return {name: value.reshape(count, variants, -1).mean(1) for name, value in outputs.items()}


@dataclasses.dataclass(frozen=True)
class RegressionPredictor(contracts.Predictor):
    """Predicts the targets of new molecules; see `predictor`."""

    statistics: Mapping[str, Any]
    predict_batched: BatchedPredictor

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shapes that the network takes."""
        inputs = molecules.encode(['C'], self.statistics['molecules'], ['example'])
        return inputs | {'targets': np.zeros((1, len(self.statistics['classes'])), np.float32)}

    def warm(self, variables: Any) -> None:
        """Compiles the prediction of a batch of molecules; see `contracts.Predictor`."""
        inputs = {name: value[:, None] for name, value in self.example().items() if name != 'targets'}
        predict_mean(self.predict_batched, variables, inputs)

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Predicts for a table of molecules and writes `predictions.csv`; returns a line about the result.

        Args:
          variables: the network's variables.
          path: a CSV table with the column `smiles`, and optionally `id`.
          folder: of the written table, which is replaced.

        Raises:
          InputError: a row has no SMILES, one that cannot be read, or a molecule that is too large.
        """
        names = self.statistics['classes']
        ids, lines = read_smiles(path)
        where = [f'{path}: row {number}' for number in range(2, len(lines) + 2)]
        inputs = molecules.encode(lines, self.statistics['molecules'], where)
        outputs = predict_mean(self.predict_batched, variables,
                               {name: value[:, None] for name, value in inputs.items()})
        rows = []
        for place, (name, line) in enumerate(zip(ids, lines)):
            columns = table.prediction_columns(names, {key: values[place] for key, values in outputs.items()})
            rows.append({'id': name, 'smiles': line, **columns})
        atomic_files.write_table(folder / 'predictions.csv', rows)
        means = '  '.join(f'{name} {value:.2f}' for name, value in zip(names, outputs['values'].mean(0)))
        message = f'{path} → {folder / "predictions.csv"}   {len(ids)} molecules, mean {means}'
        if 'tokens' in inputs:
            unknown = int((inputs['tokens'] == smiles_tokens.UNKNOWN).any(1).sum())
            if unknown:
                message += f'; {unknown} with tokens that no training molecule has'
        return message


def evaluator(*, data: MoleculeDataset, task: Task, batch: Count = 128) -> RegressionEvaluator:
    """The evaluator of regression.

    Args:
      data: the data set.
      task: the task.
      batch: number of cases in a batch.

    Raises:
      InputError: an option is invalid.
    """
    if batch < 1:
        raise InputError(f'config.evaluate.batch: {batch}; expected at least 1')
    return RegressionEvaluator(data, BatchedPredictor(task, batch))


def predictor(*, task: Task, statistics: Mapping[str, Any], batch: Count = 128, **_: Any) -> RegressionPredictor:
    """The predictor for new molecules.

    Args:
      task: the task.
      statistics: of the training molecules, as stored with the checkpoint.
      batch: number of cases in a batch.
      **_: other options of predictors, which are not used.
    """
    return RegressionPredictor(statistics, BatchedPredictor(task, batch))
