"""Simulates annotation on PneumoniaMNIST: AUROC by the number of labels for each strategy of `medjax select`.

    MEDJAX_DATA_DIR=… python docs/results/selection/simulate.py

Each seed draws a pool of training images. A small network is trained from scratch on the labelled ones, all strategies
start from the same first ones, and each adds those that it selects with its own network. The test images are all those
of the test split. It takes some minutes, and writes `pneumoniamnist.json` beside it.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from sklearn.metrics import roc_auc_score

from medjax import build
from medjax.core.batched import BatchedPredictor
from medjax.core.state import create_state
from medjax.core.step import make_step
from medjax.statistics import selection

PATH = pathlib.Path(__file__).with_name('pneumoniamnist.json')
LABELS, POOL, SEEDS, STEPS, BATCH = (20, 40, 60, 80, 100, 140), 1000, 5, 80, 32
MODEL = dict(name='cnn', variant='digits', features=(8, 16), dense=32, classes=1)


class Learner:
    """A small network that is trained again from each set of labels."""

    def __init__(self) -> None:
        module = build.network(MODEL, 'float32')
        self.task = build.task_of({'name': 'classification'}, module, {'classes': ['normal', 'pneumonia'],
                                                                       'problem': 'binary', 'class_counts': [1, 1]})
        self.optimiser, _ = build.optimiser({'name': 'adam', 'lr': 3e-3}, STEPS, module)
        self.step = jax.jit(make_step(self.task, self.optimiser))
        self.predict = BatchedPredictor(self.task, 500)
        self.features = jax.jit(lambda variables, image: self.task.features(variables, image)[1]['pooled'])

    def train(self, images: np.ndarray, labels: np.ndarray, seed: int) -> Any:
        """The variables after training on `[n, 28, 28, 1]` with labels `[n]`."""
        rng, key = np.random.default_rng(seed), jax.random.key(seed)
        example = self._batch(images[:1], labels[:1])
        state = create_state(self.task, self.optimiser, key, example)
        for _ in range(STEPS):
            numbers = rng.integers(0, len(images), BATCH)
            state, _ = self.step(state, self._batch(images[numbers], labels[numbers]), key)
        return state.variables()

    def probs(self, variables: Any, images: np.ndarray) -> np.ndarray:
        """The probabilities `[n, 2]`."""
        return self.predict(variables, {'image': images}, ('probs',))['probs']

    @staticmethod
    def _batch(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        return {'image': images, 'label': labels.astype(np.int32), 'mask': np.ones(len(images), np.float32)}


def simulate(data: Mapping[str, np.ndarray]) -> dict[str, list[list[float]]]:
    """For each strategy the AUROC of each seed, at each number of labels."""
    def images(split: str) -> tuple[np.ndarray, np.ndarray]:
        pixels = (data[f'{split}_images'][..., None].astype(np.float32) / 255 - 0.5) / 0.5
        return pixels, data[f'{split}_labels'][:, 0]

    (train, labels), (test, truth), learner = images('train'), images('test'), Learner()
    found: dict[str, list[list[float]]] = {name: [] for name in selection.STRATEGIES}
    for seed in range(SEEDS):
        pool = np.random.default_rng(seed).permutation(len(train))[:POOL]
        for strategy, curves in found.items():
            labelled, curve, variables = list(range(LABELS[0])), [], None
            for count in LABELS:
                if count > len(labelled):
                    labelled += _chosen(learner, variables, train[pool], labelled, strategy, count, seed)
                numbers = pool[labelled]
                variables = learner.train(train[numbers], labels[numbers], seed)
                curve.append(float(roc_auc_score(truth, learner.probs(variables, test)[:, 1])))
            curves.append(curve)
            print(seed, strategy, ' '.join(f'{value:.3f}' for value in curve), flush=True)
    return found


def _chosen(learner: Learner, variables: Any, pool: np.ndarray, labelled: list[int], strategy: str, count: int,
            seed: int) -> list[int]:
    """The numbers of the images that a strategy adds."""
    free = np.setdiff1d(np.arange(len(pool)), labelled)
    features = np.asarray(learner.features(variables, pool))
    uncertainty = selection.entropy(learner.probs(variables, pool[free]))
    new = selection.select(strategy, count - len(labelled), uncertainty, features[free], features[labelled],
                           1000 * seed + count)
    return free[list(new)].tolist()


def markdown() -> str:
    """The table of the how-to page: mean and standard deviation over the seeds."""
    found = json.loads(PATH.read_text(encoding='utf-8'))
    lines = [['Labels', *map(str, found['labels'])], ['---'] * (len(found['labels']) + 1)]
    for strategy, curves in found['auroc'].items():
        values = np.array(curves)
        lines.append([strategy, *(f'{mean:.3f} ± {spread:.3f}' for mean, spread in zip(values.mean(0),
                                                                                       values.std(0, ddof=1)))])
    table = '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
    return (f'{table}\n\nAUROC on the 624 test images, mean ± standard deviation over {len(values)} seeds; pool of '
            f'{found["pool"]} images, {found["steps"]} steps for each set of labels.')


def main() -> None:
    """Simulates and writes the result."""
    jax.config.update('jax_platforms', 'cpu')
    with np.load(pathlib.Path(os.environ['MEDJAX_DATA_DIR']) / 'pneumoniamnist.npz') as data:
        found = simulate(data)
    PATH.write_text(json.dumps({'labels': LABELS, 'pool': POOL, 'steps': STEPS, 'auroc': found}, indent=1) + '\n')


if __name__ == '__main__':
    main()
