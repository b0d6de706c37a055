"""Evaluates regression case by case: a row with what was measured and predicted, beside simpler models' predictions."""

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
from medjax.data.datasets import molecules
from medjax.data.datasets.molecules import Molecules
from medjax.data.sources.molecules_csv import read_smiles
from medjax.errors import InputError

# Gradient-boosted trees (Friedman 2001, 2002): these settings did best of a few in folds of the solubility set's
# training molecules.
TREES = {'n_estimators': 500, 'max_depth': 5, 'learning_rate': 0.05, 'subsample': 0.5, 'max_features': 0.3}


@dataclasses.dataclass(frozen=True)
class RegressionEvaluator(contracts.Evaluator):
    """Tells what is predicted of the cases of a split; see `evaluator`."""

    data: Molecules
    predict_batched: BatchedPredictor


    @functools.cached_property
    def _simpler(self) -> dict[str, np.ndarray]:
        """Predictions of all cases, `[N, K]`, by boosted trees on fingerprints, alone and with descriptors."""
        seen = self.data.simpler()
        if seen is None:
            return {}
        return {'trees': self._trees(seen[0]), 'trees_described': self._trees(np.concatenate(seen, 1))}

    def _trees(self, x: np.ndarray) -> np.ndarray:
        from sklearn.ensemble import GradientBoostingRegressor  # slow to import

        train, out = self.data.numbers('train'), np.empty(self.data.targets.shape)
        for k, column in enumerate(self.data.targets.T):
            known = train[~np.isnan(column[train])]
            out[:, k] = GradientBoostingRegressor(random_state=0, **TREES).fit(x[known], column[known]).predict(x)
        return out

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per case of the split.

        It has id, patient, columns, and of each target `NAME`, empty where it was not measured, `predicted_NAME`, and
        where the task tells it `spread_NAME`; and `predicted_NAME_trees` and `predicted_NAME_trees_described` by
        boosted trees on fingerprints, and on those with descriptors.

        Args:
          variables: the network's.
          split: which cases.
          quick: without the simpler models.
          snapshots: nothing is kept.
        """
        numbers, names = self.data.numbers(split), self.data.source.classes
        found = averaged(self.predict_batched, variables, {name: value[numbers] for name, value in self.data.inputs.items()})
        simpler = {} if quick else {name: values[numbers] for name, values in self._simpler.items()}
        rows = []
        for place, number in enumerate(numbers):
            case = self.data.source.cases[number]
            row = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns}
            row |= {name: '' if math.isnan(value) else value for name, value in zip(names, case.target.values)}
            row |= columns(names, found, place)
            rows.append(row | {f'predicted_{name}_{model}': float(values[place, k]) for model, values in simpler.items()
                               for k, name in enumerate(names)})
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Root mean square error in training standard deviations, mean over the targets ('nrmse'; lower is better).

        And the coefficient of determination, likewise ('r2').
        """
        known, each = self.data.statistics, []
        for name, std in zip(known['classes'], known['std']):
            pairs = np.array([[row[name], row[f'predicted_{name}']] for row in rows if row[name] != ''], float)
            if len(pairs):
                square, spread = ((pairs[:, 1] - pairs[:, 0])**2).mean(), pairs[:, 0].var()
                each.append((math.sqrt(square) / std, 1 - square / spread if spread else math.nan))
        rmse, r2 = np.mean(each, 0) if each else (math.nan, math.nan)
        return {'nrmse': float(rmse), 'r2': float(r2)}


def averaged(predict_batched: BatchedPredictor, variables: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of inputs `[n, V, …]`, V ways to write each case, what is told of the mean case, `[n, …]`."""
    count, variants = next(iter(inputs.values())).shape[:2]
    found = predict_batched(variables, {name: value.reshape(count * variants, *value.shape[2:])
                               for name, value in inputs.items()})
    return {name: value.reshape(count, variants, -1).mean(1) for name, value in found.items()}


def columns(names: Sequence[str], found: Mapping[str, np.ndarray], place: int) -> dict[str, float]:
    """What a table says is predicted of the case at a place."""
    return {f'{word}_{name}': float(found[key][place, k]) for key, word in (('values', 'predicted'), (
        'spread', 'spread')) if key in found for k, name in enumerate(names)}


@dataclasses.dataclass(frozen=True)
class RegressionPredictor(contracts.Predictor):
    """Tells what is predicted of molecules that are not of the data set; see `predictor`."""

    statistics: Mapping[str, Any]
    predict_batched: BatchedPredictor

    file_per_input = False  # a table of rows goes into a table of rows

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network sees."""
        made = molecules.arrays(['C'], self.statistics['molecules'], ['example'])
        return made | {'targets': np.zeros((1, len(self.statistics['classes'])), np.float32)}

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Reads a table of molecules, and writes what is predicted as `predictions.csv` in a folder.

        Args:
          variables: the network's.
          path: a CSV table with the column smiles, and at will id.
          folder: gets the table, which is replaced.

        Returns:
          A line on what was found, for the person who waits.

        Raises:
          InputError: a row without a SMILES, with none that can be read, or with a molecule that is too large.
        """
        names = self.statistics['classes']
        ids, lines = read_smiles(path)
        where = [f'{path}: row {number}' for number in range(2, len(lines) + 2)]
        inputs = molecules.arrays(lines, self.statistics['molecules'], where)
        found = averaged(self.predict_batched, variables, {name: value[:, None] for name, value in inputs.items()})
        strange = (inputs['tokens'] == molecules.smiles.UNKNOWN).any(1) if 'tokens' in inputs else np.zeros(len(lines))
        atomic_files.write_table(folder / 'predictions.csv', [
            {'id': name, 'smiles': line, **columns(names, found, place)}
            for place, (name, line) in enumerate(zip(ids, lines))])
        some = '  '.join(f'{name} {value:.2f}' for name, value in zip(names, found['values'].mean(0)))
        more = f'; {int(strange.sum())} with tokens that no training molecule has' if strange.any() else ''
        return f'{path} → {folder / "predictions.csv"}   {len(ids)} molecules, in the mean {some}{more}'


def evaluator(*, data: Molecules, task: Task, batch: int = 128) -> RegressionEvaluator:
    """Makes the evaluator of regression.

    Args:
      data: the data set.
      task: the problem.
      batch: cases at once.
    """
    if batch < 1:
        raise InputError(f'config.evaluate.batch: {batch}; expected at least 1')
    return RegressionEvaluator(data, BatchedPredictor(task, batch))


def predictor(*, task: Task, statistics: Mapping[str, Any], batch: int = 128, **_: Any) -> RegressionPredictor:
    """Makes what predicts of new molecules.

    Args:
      task: the problem.
      statistics: of the training molecules, as stored with the checkpoint.
      batch: cases at once.
      **_: what reads images, of no use here.
    """
    return RegressionPredictor(statistics, BatchedPredictor(task, batch))
