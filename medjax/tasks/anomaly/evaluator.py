"""Evaluates how unlike the images it knows a network finds each: scores of anomaly, beside floors without network."""

import dataclasses
import functools
import io
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.batched import BatchedPredictor
from medjax.core.task import Task
from medjax.data.datasets.images import Images
from medjax.data.io.geometry import Image
from medjax.data.transforms.images import Frame, framing
from medjax.errors import InputError

TOLD = ('error', 'bound', 'foreign', 'restored')  # scores that a task may give itself
FAST = ('error', 'bound', 'foreign')  # of them those that validation asks for
LATENT = ('distance', 'neighbours')  # those that are made of its latent
MAPS = ('map', 'change', 'residual')  # of them the first that a task gives says which voxels are strange
SPARED = 0.995  # of the healthy validation images' voxels lie below the threshold of a map
DRAWN = ('truth', 'walk', 'image', 'recon', 'residual', 'change', 'map')  # of a case, where a task gives them
VOXELS = ('voxel_auprc', 'voxel_dice', 'voxel_dice_best', 'voxel_auprc_floor')
NEIGHBOURS, COMPONENTS = 5, 8
KNOWN = 'latents.npz'  # in the run's folder of cases: where the training images' latents lie


@dataclasses.dataclass(frozen=True)
class AnomalyEvaluator(contracts.Evaluator):
    """Scores the cases of a split; see `evaluator`."""

    data: Images
    predict_batched: BatchedPredictor
    normal: str
    score: str
    shown: int
    voxels: bool


    def _plain(self, split: str) -> np.ndarray:
        """A split's images as rows of numbers, as they are stored: whatever the network sees of their contrast."""
        stored = np.asarray(self.data.arrays[self.data.numbers(split)])
        return stored.reshape(len(stored), -1).astype(np.float64) / (255 if stored.dtype == np.uint8 else 1)

    @functools.cached_property
    def _components(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and first principal components of the training images."""
        known = self._plain('train')
        mean = known.mean(0)
        _, _, axes = np.linalg.svd(known - mean, full_matrices=False)
        return mean, axes[:COMPONENTS]

    def _floors(self, split: str) -> dict[str, np.ndarray]:
        """Scores without a network."""
        flat, (mean, axes) = self._plain(split), self._components
        left = flat - mean - (flat - mean) @ axes.T @ axes
        return {'contrast': -flat.std(1), 'pca': (left**2).mean(1)}

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per case of the split: id, patient, columns, target and a score by each way; the higher the stranger.

        Those of `TOLD` are the task's. Of its latent, where it has one, 'distance' is Mahalanobis' from the training
        images' latents (shrunk, Ledoit & Wolf 2004), and 'neighbours' the mean distance to the nearest 5 of them. The
        floors, of images as stored, are 'contrast', less the standard deviation of the image's voxels, and 'pca', what
        8 principal components of the training images leave over.

        Args:
          variables: the network's.
          split: which cases.
          quick: without what needs the training images.
          snapshots: folder for a few cases' images and what was made of them, which the report draws.
        """
        source, numbers = self.data.source, self.data.numbers(split)
        images = self.data.images(numbers)
        found = self.predict_batched(variables, {'image': images}, FAST if quick else ())
        scores = {name: found[name] for name in TOLD if name in found}
        if not quick:
            if 'latent' in found and self.normal:
                known = self.data.images(self.data.numbers('train'))
                train = self.predict_batched(variables, {'image': known}, ('latent',))['latent']
                centre, precision = _spread(train)
                scores |= {'distance': _mahalanobis(found['latent'], centre, precision),
                           'neighbours': _nearest(train, found['latent'], split == 'train')}
            scores |= self._floors(split) if self.normal else {}
            if self.score not in scores:
                raise InputError(f'config.evaluate.score: {self.score!r} is none that this task gives; expected one '
                                 f'of: {", ".join(scores)}')
        marks = self._marks(numbers) if self.voxels and not quick else None
        if snapshots is not None:
            if 'latent' in found and self.normal:
                content = io.BytesIO()
                np.savez_compressed(content, centre=centre, precision=precision)
                atomic_files.write_bytes(snapshots.parent / KNOWN, content.getvalue())
            self._keep(numbers, {**found, 'image': images, **({} if marks is None else {'truth': marks})},
                       scores[self.score], snapshots)
        voxels = [{}] * len(numbers) if marks is None else self._voxels(variables, images, found, marks)
        return [{'split': split, 'id': case.id, 'patient': case.patient, **case.columns,
                 'target': source.classes[case.target],
                 **{f'score_{name}': float(values[place]) for name, values in scores.items()}, **voxels[place]}
                for place, case in enumerate(source.cases[number] for number in numbers)]

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Means of the task's own scores: of normal cases they are lower where the network knows them better."""
        names = [name for name in FAST if f'score_{name}' in rows[0]]
        return {name: float(np.mean([row[f'score_{name}'] for row in rows])) for name in names}

    def _marks(self, numbers: np.ndarray) -> np.ndarray:
        """Where cases' readers saw something, `[n, *S]`."""
        out = []
        for number in numbers:
            _, mask = self.data.source.cases[number].read()
            if mask is None:
                raise InputError(f'{self.data.source.cases[number].id}: no mask; expected one of each case, as '
                                 'config.evaluate.voxels says')
            frame = dataclasses.replace(self.data.frame, channels=1, intensity={'name': 'unit'})
            out.append(frame.fitted(dataclasses.replace(mask, array=mask.array > 0))[..., 0] > 127)
        return np.stack(out)

    def _voxels(self, variables: Any, images: np.ndarray, found: Mapping[str, np.ndarray],
                marks: np.ndarray) -> list[dict[str, float]]:
        """How well each case's strange voxels are told from its others; nothing of a case that has none.

        'voxel_auprc' is the average precision over the case's voxels; 'voxel_dice' that of those above a threshold,
        which 5 in 1000 voxels of the validation images exceed, and 'voxel_dice_best' at the threshold that is the
        case's best, which nobody knows beforehand. 'voxel_auprc_floor' is of no network: of how far each voxel is from
        the training images' mean.
        """
        from sklearn.metrics import average_precision_score, precision_recall_curve  # slow to import

        name = next(name for name in MAPS if name in found)
        held = self.predict_batched(variables, {'image': self.data.images(self.data.numbers('val'))}, (name,))[name]
        threshold = np.quantile(held, SPARED)
        mean = self.data.images(self.data.numbers('train')).mean(0)
        far = np.abs(images - mean).mean(-1)
        out = []
        for case, floor, marked in zip(found[name], far, marks):
            truth, told = marked.ravel(), case.ravel()
            if not truth.any():
                out.append(dict.fromkeys(VOXELS, math.nan))
                continue
            precision, recall, _ = precision_recall_curve(truth, told)
            dice = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
            above = told > threshold
            out.append(dict(zip(VOXELS, map(float, (
                average_precision_score(truth, told), 2 * (above & truth).sum() / (above.sum() + truth.sum()),
                dice.max(), average_precision_score(truth, floor.ravel()))))))
        return out

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
            np.savez_compressed(content, **{name: found[name][place].astype(np.float32)
                                            for name in DRAWN if name in found})
            atomic_files.write_bytes(folder / f'{self.data.source.cases[numbers[place]].id}.npz', content.getvalue())


def _spread(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[L]` and inverse covariance `[L, L]` of latents."""
    from sklearn.covariance import LedoitWolf  # slow to import

    fitted = LedoitWolf().fit(known)
    return fitted.location_, fitted.precision_


def _mahalanobis(latent: np.ndarray, centre: np.ndarray, precision: np.ndarray) -> np.ndarray:
    apart = latent - centre
    return np.sqrt(np.maximum(np.einsum('ni,ij,nj->n', apart, precision, apart), 0))


def _nearest(known: np.ndarray, latent: np.ndarray, same: bool) -> np.ndarray:
    """Mean distance to the nearest of the known ones, of which none is its own neighbour where they are the same."""
    from sklearn.neighbors import NearestNeighbors

    count = min(NEIGHBOURS + same, len(known))
    far, _ = NearestNeighbors(n_neighbors=count).fit(known).kneighbors(latent)
    return far[:, int(same):].mean(1)


@dataclasses.dataclass(frozen=True)
class AnomalyPredictor(contracts.Predictor):
    """Scores images that are no cases of the data set; see `predictor`."""

    frame: Frame
    statistics: Mapping[str, Any]
    read: Callable[[pathlib.Path], Image]
    predict_batched: BatchedPredictor
    folder: pathlib.Path

    file_per_input = False  # one table for all images, by their paths

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network sees."""
        return {'image': np.zeros((1, *self.frame.size, self.statistics['channels']), np.float32)}

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Scores an image and adds a row to `predictions.csv` in a folder.

        Args:
          variables: the network's.
          path: of a file, or of a folder with a DICOM series.
          folder: gets the table; a row of an image of this name is replaced.

        Returns:
          A line on what was found, for the person who waits.

        Raises:
          InputError: where the image is not such as the network was trained on, or the table cannot be written.
        """
        told = self.predict_batched(variables, {'image': self.frame.seen(self.read(path), self.statistics)[None]})
        scores = {name: float(told[name][0]) for name in TOLD if name in told}
        kept = self.folder / 'cases' / KNOWN
        if 'latent' in told and kept.is_file():
            with np.load(kept) as known:
                scores['distance'] = float(_mahalanobis(told['latent'], known['centre'], known['precision'])[0])
        row = {'image': str(path), **{f'score_{name}': repr(value) for name, value in scores.items()}}
        atomic_files.add_row(folder / 'predictions.csv', row)
        return f'{path} → {folder / "predictions.csv"}   ' + '  '.join(f'{name} {x:.3g}' for name, x in scores.items())


def predictor(*, task: Task, data: Mapping[str, Any], statistics: Mapping[str, Any],
              read: Callable[[pathlib.Path], Image], folder: pathlib.Path, **_: Any) -> AnomalyPredictor:
    """Makes what scores new images as the evaluator scores its cases.

    Args:
      task: the problem.
      data: the options of `data.datasets.images.dataset`.
      statistics: of the training cases, as stored with the checkpoint.
      read: reads an image.
      folder: of the run.
      **_: the evaluator's other options, of no use here.
    """
    return AnomalyPredictor(framing(**data), statistics, read, BatchedPredictor(task, 1), folder)


def evaluator(*, data: Images, task: Task, normal: str = '', score: str = '', batch: int = 128,
              shown: int = 3, voxels: bool = False) -> AnomalyEvaluator:
    """Makes the evaluator of anomaly detection.

    Args:
      data: the data set, whose training and validation cases are normal (`config.data.train_classes`).
      task: the problem.
      normal: the class that is normal; all others are anomalies. '' where none is: images are made again, for weights
        to begin with, say, and only the errors are told.
      score: which one counts, before any anomaly has been seen; the others stand beside it. 'distance' by default,
        and 'error' where nothing is an anomaly.
      batch: images at once.
      shown: how many of the strangest, the middle and the least strange cases the report shows, each.
      voxels: whether the cases' labels are masks of what does not belong, by which maps of it are judged.
    """
    score = score or ('distance' if normal else 'error')
    if score not in TOLD + LATENT * bool(normal):
        raise InputError(f'config.evaluate.score: {score!r}; expected one of: '
                         + ', '.join(TOLD + LATENT * bool(normal)))
    if normal:
        _check_normal(data, normal)
    if voxels and (not normal or 'val' not in data.counts):
        raise InputError('config.evaluate.voxels: True; expected config.evaluate.normal, and validation cases, which '
                         'set the threshold')
    if batch < 1 or shown < 1:
        raise InputError(f'config.evaluate: batch={batch}, shown={shown}; expected at least 1')
    return AnomalyEvaluator(data, BatchedPredictor(task, batch), normal, score, shown, voxels)


def _check_normal(data: Images, normal: str) -> None:
    """Refuses a class that is not there, and anomalies among the cases that train or validate."""
    if normal not in data.source.classes:
        raise InputError(f'config.evaluate.normal: {normal!r}; expected one of: {", ".join(data.source.classes)}')
    place = data.source.classes.index(normal)
    strange = [case.id for case in data.source.cases if case.split in ('train', 'val') and case.target != place]
    if strange:
        raise InputError(f'{strange[0]} trains or validates and is not of the class {normal!r}; expected normal cases '
                         f'alone: config.data.train_classes=({normal!r},)')
