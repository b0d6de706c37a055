"""Evaluates anomaly detection: anomaly scores of every case by the network and by baselines without one."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.batched import BatchedPredictor
from medjax.core.task import Task
from medjax.data.datasets.images import ImageDataset
from medjax.data.io.geometry import Image
from medjax.data.transforms.images import ImagePreprocess, image_preprocess
from medjax.errors import InputError
from medjax.options import Count
from medjax.statistics.calibration import fitting_split
from medjax.tasks.anomaly import scores as anomaly_scores
from medjax.tasks.anomaly import table
from medjax.tasks.anomaly.voxel_metrics import voxel_metrics

TASK_SCORES = ('error', 'bound', 'synthetic_anomaly', 'restored')  # outputs of a task that are scores
VALIDATION_SCORES = ('error', 'bound', 'synthetic_anomaly')  # those that validation during training computes
LATENT_SCORES = ('distance', 'neighbours')  # computed from the latents
MAPS = ('map', 'change', 'residual')  # outputs that are anomaly maps; the first of them that a task gives is used
MAP_QUANTILE = 0.995  # of the voxels of the held-out normal images: the threshold of a map
# Arrays saved of a case, where present.
SNAPSHOT = ('truth', 'interpolated', 'image', 'recon', 'residual', 'change', 'map')
LATENTS = 'latents.npz'  # in the run's folder of cases: the distribution of the training latents


@dataclasses.dataclass(frozen=True)
class AnomalyEvaluator(contracts.Evaluator):
    """Scores the cases of a split; see `evaluator`."""

    data: ImageDataset
    predict_batched: BatchedPredictor
    normal: str
    score: str
    examples: int
    anomaly_masks: bool

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """Scores every case of a split; higher scores mean more abnormal images.

        TASK_SCORES come from the task. For networks with a latent, 'distance' is the Mahalanobis distance from the
        training latents (shrunk covariance, Ledoit & Wolf 2004) and 'neighbours' the mean distance to the 5 nearest of
        them. The baselines, of images as stored, are 'contrast', the negative standard deviation of the voxels, and
        'pca', the residual after projection onto 8 principal components of the training images.

        Args:
          variables: of the network.
          split: the split's name.
          quick: leave out what needs the training images.
          snapshots: folder for the arrays of a few cases, which the report draws.

        Returns:
          A row for each case; see `tasks/anomaly/table.py`.
        """
        numbers = self.data.numbers(split)
        images = self.data.images(numbers)
        outputs = self.predict_batched(variables, {'image': images}, VALIDATION_SCORES if quick else ())
        scores = {name: outputs[name] for name in TASK_SCORES if name in outputs}
        masks, voxels = None, [{}] * len(numbers)
        if not quick:
            if 'latent' in outputs and self.normal:
                scores |= self._latent_scores(variables, split, outputs['latent'], snapshots)
            if self.normal:
                scores |= anomaly_scores.baseline_scores(self._stored(split), *self._components)
            if self.score not in scores:
                raise InputError(f'config.evaluate.score: {self.score!r} is not a score of this task; expected one of: '
                                 f'{", ".join(scores)}')
            if self.anomaly_masks:
                masks = self._masks(numbers)
                voxels = self._voxel_metrics(variables, images, outputs, masks)
        if snapshots is not None:
            arrays = {**outputs, 'image': images}
            if masks is not None:
                arrays['truth'] = masks
            self._save_snapshots(numbers, arrays, scores[self.score], snapshots)
        source, rows = self.data.source, []
        for place, number in enumerate(numbers):
            case = source.cases[number]
            own = {name: values[place] for name, values in scores.items()}
            rows.append(table.row(split, case, source.classes[case.target], own, voxels[place]))
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Means of the task's own scores, which are low for normal cases that the network models well."""
        names = [name for name in VALIDATION_SCORES if name in table.score_names(rows)]
        return {name: float(np.mean([row[f'{table.SCORE}{name}'] for row in rows])) for name in names}

    def _stored(self, split: str) -> np.ndarray:
        """The images of a split as stored, flat, from 0 to 1: independent of the normalisation for the network."""
        stored = np.asarray(self.data.arrays[self.data.numbers(split)])
        return stored.reshape(len(stored), -1).astype(np.float64) / (255 if stored.dtype == np.uint8 else 1)

    @functools.cached_property
    def _components(self) -> tuple[np.ndarray, np.ndarray]:
        return anomaly_scores.principal_components(self._stored('train'))

    def _latent_scores(self, variables: Any, split: str, latents: np.ndarray,
                       snapshots: pathlib.Path | None) -> dict[str, np.ndarray]:
        """Scores from latents; the distribution of the training latents is saved for predictions of new images."""
        images = self.data.images(self.data.numbers('train'))
        train = self.predict_batched(variables, {'image': images}, ('latent',))['latent']
        centre, precision = anomaly_scores.fit_gaussian(train)
        if snapshots is not None:
            atomic_files.write_arrays(snapshots.parent / LATENTS, centre=centre, precision=precision)
        return {'distance': anomaly_scores.mahalanobis_distance(latents, centre, precision),
                'neighbours': anomaly_scores.neighbour_distance(train, latents, split == 'train')}

    def _masks(self, numbers: np.ndarray) -> np.ndarray:
        """Masks of the anomalies at the size of the network's input, `[n, *S]` bool."""
        preprocess = dataclasses.replace(self.data.preprocess, channels=1, intensity={'name': 'unit'})
        out = []
        for number in numbers:
            case = self.data.source.cases[number]
            _, mask = case.read()
            if mask is None:
                raise InputError(f'{case.id}: no mask; expected one for each case, because of '
                                 'config.evaluate.anomaly_masks')
            out.append(preprocess.fit_to_size(dataclasses.replace(mask, array=mask.array > 0))[..., 0] > 127)
        return np.stack(out)

    def _voxel_metrics(self, variables: Any, images: np.ndarray, outputs: Mapping[str, np.ndarray],
                       masks: np.ndarray) -> list[dict[str, float]]:
        """Agreement of each case's anomaly map with its mask.

        The threshold is exceeded by 5 in 1000 voxels of the images of the split `calibrate`, or of validation images
        where there is none. The baseline map is the distance of each voxel from the mean training image.
        """
        name = next(name for name in MAPS if name in outputs)
        held_out = {'image': self.data.images(self.data.numbers(fitting_split(self.data.counts)))}
        threshold = np.quantile(self.predict_batched(variables, held_out, (name,))[name], MAP_QUANTILE)
        mean = self.data.images(self.data.numbers('train')).mean(0)
        baseline = np.abs(images - mean).mean(-1)
        return [voxel_metrics(*arrays, threshold, base) for *arrays, base in zip(outputs[name], masks, baseline)]

    def _save_snapshots(self, numbers: np.ndarray, arrays: Mapping[str, np.ndarray], score: np.ndarray,
                        folder: pathlib.Path) -> None:
        """Saves the arrays of the cases with the highest, the middle and the lowest scores."""
        order = np.argsort(-score, kind='stable')
        middle = max((len(order) - self.examples) // 2, 0)
        chosen = dict.fromkeys([*order[:self.examples], *order[middle:][:self.examples], *order[-self.examples:]])
        for old in folder.glob('*.npz'):
            old.unlink()
        for place in chosen:
            case = self.data.source.cases[numbers[place]]
            atomic_files.write_arrays(folder / f'{case.id}.npz', **{
                name: arrays[name][place].astype(np.float32) for name in SNAPSHOT if name in arrays})


@dataclasses.dataclass(frozen=True)
class AnomalyPredictor(contracts.Predictor):
    """Scores images that are not in the data set; see `predictor`."""

    preprocess: ImagePreprocess
    statistics: Mapping[str, Any]
    read: Callable[[pathlib.Path], Image]
    predict_batched: BatchedPredictor
    folder: pathlib.Path

    shared = ('predictions.csv',)

    def outputs(self, path: pathlib.Path) -> tuple[()]:
        """No file: all images are in one table."""
        return ()

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape of the network's input."""
        return {'image': np.zeros((1, *self.preprocess.size, self.statistics['channels']), np.float32)}

    def warm(self, variables: Any) -> None:
        """Compiles the prediction; see `contracts.Predictor`."""
        self.predict_batched(variables, self.example())

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Scores an image and adds a row to `predictions.csv` in a folder.

        Args:
          variables: of the network.
          path: a file, or a folder with a DICOM series.
          folder: receives the table; an earlier row of the same path is replaced.

        Returns:
          A line with the scores.

        Raises:
          InputError: the image differs in kind from the training images, or the table cannot be written.
        """
        image = self.preprocess.network_input(self.read(path), self.statistics)
        outputs = self.predict_batched(variables, {'image': image[None]})
        scores = {name: float(outputs[name][0]) for name in TASK_SCORES if name in outputs}
        latents = self.folder / 'cases' / LATENTS
        if 'latent' in outputs and latents.is_file():
            train = atomic_files.read_arrays(latents, 'statistics of latents', ('centre', 'precision'))
            distance = anomaly_scores.mahalanobis_distance(outputs['latent'], train['centre'], train['precision'])
            scores['distance'] = float(distance[0])
        columns = {name: repr(value) for name, value in table.score_columns(scores).items()}
        atomic_files.add_row(folder / 'predictions.csv', {'image': str(path), **columns})
        text = '  '.join(f'{name} {value:.3g}' for name, value in scores.items())
        return f'{path} → {folder / "predictions.csv"}   {text}'


def predictor(*, task: Task, data: Mapping[str, Any], statistics: Mapping[str, Any],
              read: Callable[[pathlib.Path], Image], folder: pathlib.Path, **_: Any) -> AnomalyPredictor:
    """The predictor that scores new images as the evaluator scores its cases.

    Args:
      task: the task.
      data: the options of `data.datasets.images.dataset`.
      statistics: of the training cases, as stored with the checkpoint.
      read: reads an image.
      folder: of the run.
      **_: the evaluator's other options; not used.
    """
    return AnomalyPredictor(image_preprocess(**data), statistics, read, BatchedPredictor(task, 1), folder)


def evaluator(*, data: ImageDataset, task: Task, normal: str = '', score: str = '', batch: Count = 128,
              examples: Count = 3, anomaly_masks: bool = False) -> AnomalyEvaluator:
    """The evaluator of anomaly detection.

    Args:
      data: the data set; its training, validation and calibration cases are normal (`config.data.train_classes`).
      task: the task.
      normal: the normal class; all others are anomalies. '' where there are no anomalies, as in reconstruction for
        pretraining: only the reconstruction errors are reported.
      score: the primary score, fixed before any anomaly is used; the others are reported for comparison. 'distance' by
        default, 'error' without anomalies.
      batch: images at once.
      examples: number of cases with the highest, the middle and the lowest scores that the report shows, each.
      anomaly_masks: whether the cases have masks of the anomalies, with which anomaly maps are compared.

    Raises:
      InputError: an option that does not fit the data or the other options.
    """
    score = score or ('distance' if normal else 'error')
    allowed = TASK_SCORES + LATENT_SCORES if normal else TASK_SCORES
    if score not in allowed:
        raise InputError(f'config.evaluate.score: {score!r}; expected one of: {", ".join(allowed)}')
    if normal:
        _check_normal(data, normal)
    if anomaly_masks and (not normal or fitting_split(data.counts) is None):
        raise InputError('config.evaluate.anomaly_masks: True; expected config.evaluate.normal, and validation or '
                         'calibration cases, which set the threshold')
    if batch < 1 or examples < 1:
        raise InputError(f'config.evaluate: batch={batch}, examples={examples}; expected at least 1')
    return AnomalyEvaluator(data, BatchedPredictor(task, batch), normal, score, examples, anomaly_masks)


def _check_normal(data: ImageDataset, normal: str) -> None:
    """Refuses an unknown class, and anomalies among the training, validation or calibration cases."""
    if normal not in data.source.classes:
        raise InputError(f'config.evaluate.normal: {normal!r}; expected one of: {", ".join(data.source.classes)}')
    label = data.source.classes.index(normal)
    abnormal = [case.id for case in data.source.cases if case.split in ('train', 'val', 'calibrate')
                and case.target != label]
    if abnormal:
        raise InputError(f'{abnormal[0]}: a training, validation or calibration case that is not of the class '
                         f'{normal!r}; expected normal cases alone: config.data.train_classes=({normal!r},)')
