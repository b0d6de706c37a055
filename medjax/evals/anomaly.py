"""Evaluates how unlike the images it knows a network finds each: scores of anomaly, beside floors without network."""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax import whole
from medjax.core.task import Task
from medjax.data.images import Images
from medjax.errors import InputError
from medjax.evals.teller import Teller

SCORES = ('error', 'bound', 'distance', 'neighbours')
FLOORS = ('contrast', 'pca')
NEIGHBOURS, COMPONENTS = 5, 8


@dataclasses.dataclass(frozen=True)
class AnomalyEvaluator:
    """Scores the cases of a split; see `evaluator`."""

    data: Images
    teller: Teller
    normal: str
    score: str
    shown: int

    summary = 'anomaly'  # what of `analysis` sums the rows up

    @functools.cached_property
    def _known(self) -> np.ndarray:
        """The training images as rows of numbers."""
        numbers = self.data.numbers('train')
        return self.data.images(numbers).reshape(len(numbers), -1).astype(np.float64)

    @functools.cached_property
    def _components(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and first principal components of the training images."""
        mean = self._known.mean(0)
        _, _, axes = np.linalg.svd(self._known - mean, full_matrices=False)
        return mean, axes[:COMPONENTS]

    def _told(self, variables: Any, numbers: np.ndarray) -> dict[str, np.ndarray]:
        return self.teller(variables, {'image': self.data.images(numbers)})

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per case of the split: id, patient, columns, target and a score by each way; the higher the stranger.

        'error' is the mean squared error of what is made again, 'bound' the negative evidence lower bound, 'distance'
        Mahalanobis' of the latent from the training images' latents (shrunk, Ledoit & Wolf 2004), 'neighbours' the mean
        distance to the nearest 5 of them; the floors 'contrast', less the standard deviation of the image's voxels,
        and 'pca', what 8 principal components of the training images leave over.

        Args:
          variables: the network's.
          split: which cases.
          quick: without what needs the training images.
          snapshots: folder for a few cases' images and what was made of them, which the report draws.
        """
        source, numbers = self.data.source, self.data.numbers(split)
        found = self._told(variables, numbers)
        scores = {'error': found['error'], 'bound': found['bound']}
        flat = self.data.images(numbers).reshape(len(numbers), -1).astype(np.float64)
        if not quick:
            train = self._told(variables, self.data.numbers('train'))['latent']
            scores |= {'distance': _mahalanobis(train, found['latent']),
                       'neighbours': _nearest(train, found['latent'], split == 'train')}
            mean, axes = self._components
            left = flat - mean - (flat - mean) @ axes.T @ axes
            scores |= {'contrast': -flat.std(1), 'pca': (left**2).mean(1)}
        if snapshots is not None:
            self._keep(numbers, found, scores[self.score], snapshots)
        return [{'split': split, 'id': case.id, 'patient': case.patient, **case.columns,
                 'target': source.classes[case.target],
                 **{f'score_{name}': float(values[place]) for name, values in scores.items()}}
                for place, case in enumerate(source.cases[number] for number in numbers)]

    def validated(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Means of 'bound' and 'error': of normal cases both are lower where the network knows them better."""
        return {name: float(np.mean([row[f'score_{name}'] for row in rows])) for name in ('bound', 'error')}

    def _keep(self, numbers: np.ndarray, found: Mapping[str, np.ndarray], score: np.ndarray,
              folder: pathlib.Path) -> None:
        """Keeps the strangest cases, those in the middle and the least strange ones, as the network sees them."""
        order = np.argsort(-score, kind='stable')
        middle = (len(order) - self.shown) // 2
        chosen = dict.fromkeys([*order[:self.shown], *order[max(middle, 0):][:self.shown], *order[-self.shown:]])
        for old in folder.glob('*.npz'):
            old.unlink()
        for place in chosen:
            content = io.BytesIO()
            np.savez_compressed(content, image=self.data.images(numbers[[place]])[0],
                                recon=found['recon'][place].astype(np.float32),
                                residual=found['residual'][place].astype(np.float32))
            whole.write_bytes(folder / f'{self.data.source.cases[numbers[place]].id}.npz', content.getvalue())


def _mahalanobis(known: np.ndarray, latent: np.ndarray) -> np.ndarray:
    from sklearn.covariance import LedoitWolf  # slow to import

    return np.sqrt(np.maximum(LedoitWolf().fit(known).mahalanobis(latent), 0))


def _nearest(known: np.ndarray, latent: np.ndarray, same: bool) -> np.ndarray:
    """Mean distance to the nearest of the known ones, of which none is its own neighbour where they are the same."""
    from sklearn.neighbors import NearestNeighbors

    count = min(NEIGHBOURS + same, len(known))
    far, _ = NearestNeighbors(n_neighbors=count).fit(known).kneighbors(latent)
    return far[:, int(same):].mean(1)


def evaluator(*, data: Images, task: Task, normal: str, score: str = 'distance', batch: int = 128,
              shown: int = 3) -> AnomalyEvaluator:
    """Makes the evaluator of anomaly detection.

    Args:
      data: the data set, whose training and validation cases are normal (`config.data.only`).
      task: the problem.
      normal: the class that is normal; all others are anomalies.
      score: which one counts, before any anomaly has been seen; the others stand beside it.
      batch: images at once.
      shown: how many of the strangest, the middle and the least strange cases the report shows, each.
    """
    if score not in SCORES:
        raise InputError(f'config.evaluate.score: {score!r}; expected one of: {", ".join(SCORES)}')
    if normal not in data.source.classes:
        raise InputError(f'config.evaluate.normal: {normal!r}; expected one of: {", ".join(data.source.classes)}')
    place = data.source.classes.index(normal)
    strange = [case.id for case in data.source.cases if case.split in ('train', 'val') and case.target != place]
    if strange:
        raise InputError(f'{strange[0]} trains or validates and is not of the class {normal!r}; expected normal cases '
                         f'alone: config.data.only={normal!r}')
    if batch < 1 or shown < 1:
        raise InputError(f'config.evaluate: batch={batch}, shown={shown}; expected at least 1')
    return AnomalyEvaluator(data, Teller(task, batch), normal, score, shown)
