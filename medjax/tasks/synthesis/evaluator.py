"""Evaluates image synthesis: features of generated images beside those of real ones and of baselines.

The task's `predict` maps `seed` uint32 `[B]` and `label` int32 `[B]` to `sample [B, *S, C]`, in the network's
intensities; equal seeds and labels give equal images in any batch.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.batched import BatchedPredictor
from medjax.core.task import Task
from medjax.data.datasets.images import ImageDataset
from medjax.data.io.geometry import Image
from medjax.data.transforms.images import image_preprocess
from medjax.errors import InputError
from medjax.metrics import generative
from medjax.options import Count, NonNegativeInt
from medjax.tasks.synthesis import table
from medjax.tasks.synthesis.features import COMPONENTS, FITTED, Projection, fit_projection, flat_pixels, subsample
from medjax.tasks.synthesis.sampler import SEEDS_PER_SPLIT, TRAINING_SEED, ImageSampler

NOISE, BLUR = 0.1, 1 / 28  # of the baselines: standard deviations, as shares of the range and of the image's extents
TRAINING_IMAGES = 12  # images saved at each validation, at most

# Maps uint8 images `[n, *S, C]` to 'features' `[n, F]` and 'probs' `[n, K]` of its `classes`; it has a `name`.
FeatureNetwork = Callable[[np.ndarray], Mapping[str, np.ndarray]]


class ImageSet(NamedTuple):
    """Images uint8 `[n, *S, C]`, their classes `[n]`, and the numbers of their cases `[n]`, None for changed images."""

    images: np.ndarray
    labels: np.ndarray
    cases: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class SynthesisEvaluator(contracts.Evaluator):
    """Compares generated images with those of a split; see `evaluator`."""

    data: ImageDataset
    sampler: ImageSampler
    network: FeatureNetwork | None
    images: int
    validation_images: int
    examples: int

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """Features of real, generated and baseline images.

        Generated images have the labels of the split's images, one for one. The baselines are training images with as
        many of each class, where there are as many; these images blurred and with noise; and for other splits than
        'val' validation images, from which no network has learned.

        Args:
          variables: of the network.
          split: the split's name.
          quick: fewer images, without baselines, and features of pixels alone.
          snapshots: folder for the images that the report draws.

        Returns:
          A row for each image; see `tasks/synthesis/table.py`.
        """
        numbers = subsample(self.data.numbers(split), self.validation_images if quick else self.images, (0,))
        labels = self.data.targets[numbers]
        first = SEEDS_PER_SPLIT * list(self.data.counts).index(split)
        sets = {'real': ImageSet(self._stored(numbers), labels, numbers),
                'synthetic': ImageSet(self.sampler(variables, labels, first), labels)}
        if quick:
            return self._rows(split, sets, ('pixels',))
        sets |= self._baselines(split, labels)
        rows = self._rows(split, sets, tuple(self._projections), nearest=True)
        if snapshots is not None:
            self._save_pictures(sets, rows, snapshots)
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """FID, KID, precision, recall and diversity (1 is that of real images) by pixels, of the rows of `quick`."""
        real, fake = (np.array([[value for name, value in row.items() if name.startswith('pixels_')]
                                for row in rows if row['kind'] == kind], float) for kind in ('real', 'synthetic'))
        distances = generative.image_distances(real, fake)
        precision, recall = distances.precision_recall()
        fake_distance, real_distance = (
            float(generative.mean_over_pairs(x, np.ones(len(x)))) for x in (distances.fake, distances.real))
        return {'fid_pixels': generative.fid(real, fake), 'kid_pixels': generative.kid(real, fake),
                'precision': float(precision.mean()), 'recall': float(recall.mean()),
                'diversity': fake_distance / max(real_distance, 1e-12)}

    def snapshot_training(self, variables: Any, workdir: pathlib.Path, step: int) -> None:
        """Saves images of the same few seeds in `course/STEP.npz`, which show the progress of training."""
        classes = len(self.data.source.classes)
        labels = np.arange(max(TRAINING_IMAGES // classes, 1) * min(classes, TRAINING_IMAGES)) % classes
        sampler = dataclasses.replace(self.sampler, predict_batched=self._small_batch_predictor)
        sample = sampler(variables, labels, TRAINING_SEED)
        atomic_files.write_arrays(workdir / 'course' / f'{step:07d}.npz', sample=sample, label=labels)

    @functools.cached_property
    def _small_batch_predictor(self) -> BatchedPredictor:
        """A predictor of few images, so that slow networks do not compute more than needed."""
        predictor = self.sampler.predict_batched
        return dataclasses.replace(predictor, batch=min(TRAINING_IMAGES, predictor.batch))

    @functools.cached_property
    def _train_images(self) -> np.ndarray:
        """The training images, uint8 `[k, *S, C]`."""
        return self._stored(self.data.numbers('train'))

    @functools.cached_property
    def _projections(self) -> dict[str, Projection]:
        """The projection of each kind of features."""
        some = {name: self._train_images[subsample(np.arange(len(self._train_images)), most, (0,))]
                for name, most in FITTED.items()}
        projections = {'pixels': fit_projection(flat_pixels(some['pixels']), COMPONENTS['pixels'])}
        if self.network is not None:
            features = self.network(some['network'])['features']
            projections['network'] = fit_projection(features, COMPONENTS['network'])
        return projections

    def _stored(self, numbers: np.ndarray) -> np.ndarray:
        """Real images after the same rounding as generated ones, uint8 `[n, *S, C]`."""
        return self.data.preprocess.to_bytes(self.data.images(numbers), self.data.intensities)

    def _baselines(self, split: str, labels: np.ndarray) -> dict[str, ImageSet]:
        """Training images, the same blurred and with noise, and validation images; none without such classes."""
        sets, numbers = {}, self._cases_like(labels, 'train')
        if len(numbers):
            train = sets['train'] = ImageSet(self._stored(numbers), self.data.targets[numbers], numbers)
            rng, widths = np.random.default_rng(0), [BLUR * n for n in self.data.preprocess.size]
            noisy = train.images + rng.normal(0, 255 * NOISE, train.images.shape)
            blurred = np.stack([ndimage.gaussian_filter(image, (*widths, 0)) for image in train.images])
            sets['blurred'] = ImageSet(blurred, train.labels)
            sets['noisy'] = ImageSet(np.clip(noisy, 0, 255).astype(np.uint8), train.labels)
        if split != 'val' and 'val' in self.data.counts:
            numbers = self._cases_like(labels, 'val')
            if len(numbers):
                sets['val'] = ImageSet(self._stored(numbers), self.data.targets[numbers], numbers)
        return sets

    def _cases_like(self, labels: np.ndarray, split: str) -> np.ndarray:
        """Random cases of a split, as many of each class as in `labels`, or all where there are fewer."""
        numbers, rng = self.data.numbers(split), np.random.default_rng(1)
        targets = self.data.targets[numbers]
        return np.sort(np.concatenate([rng.permutation(numbers[targets == label])[:(labels == label).sum()]
                                       for label in np.unique(labels)]))

    def _rows(self, split: str, sets: Mapping[str, ImageSet], names: Sequence[str],
              nearest: bool = False) -> list[dict[str, Any]]:
        """The table of several sets of images, with some kinds of features."""
        source, rows = self.data.source, []
        for kind, images in sets.items():
            columns = self._columns(kind, images, names, nearest)
            for place, label in enumerate(images.labels):
                case = None if images.cases is None else source.cases[images.cases[place]]
                cells = {name: column[place] for name, column in columns.items()}
                rows.append(table.row(split, kind, source.classes[label], case, place, cells))
        return rows

    def _columns(self, kind: str, images: ImageSet, names: Sequence[str], nearest: bool) -> dict[str, Sequence[Any]]:
        """The columns of a set of images: predicted class, nearest training image, and features."""
        columns: dict[str, Sequence[Any]] = {}
        features = {'pixels': flat_pixels(images.images)}
        if 'network' in names:
            outputs, classes = self.network(images.images), self.data.source.classes
            features['network'] = outputs['features']
            if tuple(self.network.classes) == tuple(classes):
                columns['predicted'] = [classes[k] for k in outputs['probs'].argmax(1)]
        if nearest and kind in ('real', 'synthetic', 'train'):
            train = self.data.numbers('train')
            own = np.searchsorted(train, images.cases) if kind == 'train' else None
            distances, places = generative.nearest_neighbours(features['pixels'], flat_pixels(self._train_images), own)
            columns |= {'nearest': distances.tolist(),
                        'nearest_id': [self.data.source.cases[train[place]].id for place in places]}
        for name in names:
            columns |= table.feature_columns(name, self._projections[name](features[name]))
        return columns

    def _save_pictures(self, sets: Mapping[str, ImageSet], rows: Sequence[Mapping[str, Any]],
                       folder: pathlib.Path) -> None:
        """Saves the first real and generated images of each class, and generated ones with the nearest training image.

        Pairs are saved of the generated images nearest to a training image, and of the first ones.
        """
        for old in folder.glob('*.npz'):
            old.unlink()
        arrays = {}
        for kind in ('real', 'synthetic'):
            for label in range(len(self.data.source.classes)):
                places = np.flatnonzero(sets[kind].labels == label)[:self.examples]
                arrays[f'{kind}_{label}'] = sets[kind].images[places]
        train = {self.data.source.cases[number].id: place for place, number in enumerate(self.data.numbers('train'))}
        generated = [row for row in rows if row['kind'] == 'synthetic']
        distances = np.array([row['nearest'] for row in generated])
        nearest = np.argsort(distances, kind='stable')[:self.examples]
        for name, places in (('nearest', nearest), ('first', np.arange(len(generated))[:self.examples])):
            ids = [generated[place]['nearest_id'] for place in places]
            arrays |= {f'{name}_made': sets['synthetic'].images[places], f'{name}_distance': distances[places],
                       f'{name}_known': self._train_images[[train[i] for i in ids]], f'{name}_id': np.array(ids, str)}
        atomic_files.write_arrays(folder / table.PICTURES, **arrays)


@dataclasses.dataclass(frozen=True)
class SynthesisPredictor(contracts.Predictor):
    """Samples new images with a run's weights; see `predictor`."""

    sampler: ImageSampler
    statistics: Mapping[str, Any]

    def outputs(self, path: pathlib.Path) -> tuple[()]:
        """No file."""
        return ()

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape of the network's input."""
        return {'image': np.zeros((1, *self.sampler.preprocess.size, self.statistics['channels']), np.float32),
                'label': np.zeros(1, np.int32), 'mask': np.ones(1, np.float32)}

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Refuses any input: such a run generates images and predicts nothing for given ones."""
        raise InputError(f'--input={path}: this run generates images and predicts nothing for given ones; expected: '
                         'python -m medjax.synthesise --workdir=RUN --output=FILE.npz --images=N')


def predictor(*, task: Task, data: Mapping[str, Any], statistics: Mapping[str, Any],
              read: Callable[[pathlib.Path], Image], batch: Count = 128, **_: Any) -> SynthesisPredictor:
    """The predictor that samples new images.

    Args:
      task: the task.
      data: the options of `data.datasets.images.dataset`.
      statistics: of the training cases, as stored with the checkpoint.
      read: not used.
      batch: images at once.
      **_: the evaluator's other options; not used.
    """
    sampler = ImageSampler(image_preprocess(**data), statistics['intensities'], BatchedPredictor(task, batch))
    return SynthesisPredictor(sampler, statistics)


def evaluator(*, data: ImageDataset, task: Task, features: FeatureNetwork | str = '', images: Count = 1000,
              validation_images: Count = 256, batch: Count = 128, examples: NonNegativeInt = 8) -> SynthesisEvaluator:
    """The evaluator of image synthesis.

    Args:
      data: the data set, whose images have one class each.
      task: the task; see the module's description.
      features: the feature network; in the config the folder of a finished classification run. Pixels alone are used
        for ''.
      images: number of a split's images, at most, that are compared with as many generated ones.
      validation_images: the same for validation during training.
      batch: images at once.
      examples: number of real and generated images of each class that the report shows, and of generated images with
        their nearest training image.

    Raises:
      InputError: images with several classes each, a split with a single image, intensities that cannot be inverted,
        or a feature network for other intensities.
    """
    if data.source.problem == 'multilabel':
        raise InputError("config.evaluate.name: 'synthesis' needs images that have one class each; the problem is "
                         "'multilabel'")
    if min(images, validation_images) < 2 or min(batch, examples) < 1:
        raise InputError(f'config.evaluate: images={images}, validation_images={validation_images}, batch={batch}, '
                         f'examples={examples}; '
                         'expected at least 2 images, and 1')
    for split, count in data.counts.items():
        if count < 2:
            raise InputError(f'config.data.source: {count} image in the split {split}; expected at least 2, for a '
                             'distribution to compare with')
    preprocess = data.preprocess
    # Raises an error for intensities that cannot be inverted.
    preprocess.to_bytes(np.zeros((1, *preprocess.size, data.arrays.shape[-1])), data.intensities)
    if features and not preprocess.fractions:
        name = preprocess.intensity['name']
        raise InputError(f'config.evaluate.features: {features.name} takes pixels as shares of the range of their '
                         f'file, config.data.intensity is {name!r}; expected unit, fixed or training')
    sampler = ImageSampler(preprocess, data.intensities, BatchedPredictor(task, batch))
    return SynthesisEvaluator(data, sampler, features or None, images, validation_images, examples)
