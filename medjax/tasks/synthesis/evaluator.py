"""Evaluates networks that make images of a class: made images beside real ones, by features of both.

What is asked of a network: `predict` maps `seed` uint32 `[B]` and `label` int32 `[B]` to `sample [B, *S, C]`, in the
network's intensities; the same seed and label give the same image in any batch.
"""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.batched import BatchedPredictor
from medjax.core.task import Task
from medjax.data.datasets.images import Images
from medjax.data.io.geometry import Image
from medjax.data.transforms.images import Frame, framing
from medjax.errors import InputError
from medjax.metrics import generative

# Principal components of the training images that features are cut down to, at most.
COMPONENTS = {'pixels': 32, 'network': 64}
WIDE = 4096  # features up to which they are exact
SHARE = 8  # training images for each component at least: else they would lie closer together than any others
FITTED = {'pixels': 4000, 'network': 1000}  # training images that those are found by, at most
NOISE, BLUR = 0.1, 1 / 28  # of the floors: standard deviations, as shares of the range and of the image's extents
COURSE = 12  # images that are kept of each validation, at most
PICTURES = 'pictures.npz'  # in a split's folder of cases: what the report draws
# Seeds of the splits' images, of the course of training, and from where on new ones are drawn for other uses.
SPACE, ALONG, FREE = 2**20, 2**30, 2**31

# Of uint8 images `[n, *S, C]` 'features' `[n, F]` and 'probs' `[n, K]` of `classes`; `name` says what it is.
Network = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Painter:
    """Draws images as files hold them.

    Attributes:
      frame: how images come to what the network sees.
      training: mean and standard deviation of the training images, where intensities need them.
      predict_batched: of the task.
    """

    frame: Frame
    training: Mapping[str, Sequence[float]]
    predict_batched: BatchedPredictor

    def __call__(self, variables: Any, labels: np.ndarray, first: int) -> np.ndarray:
        """An image of each label, uint8 `[n, *S, C]`, of the seeds from `first` on.

        Raises:
          InputError: the network makes what is no number.
        """
        seeds = (first + np.arange(len(labels))).astype(np.uint32)
        made = self.predict_batched(variables, {'seed': seeds, 'label': np.asarray(labels, np.int32)})['sample']
        broken = ~np.isfinite(made).reshape(len(made), -1).all(1)
        if broken.any():
            raise InputError(f'made image of seed {seeds[broken.argmax()]}: not finite; expected numbers: the weights '
                             'have diverged')
        return self.frame.pictured(made, self.training)


@dataclasses.dataclass(frozen=True)
class SynthesisEvaluator(contracts.Evaluator):
    """Compares made images with those of a split; see `evaluator`."""

    data: Images
    painter: Painter
    network: Network | None
    images: int
    quick: int
    shown: int


    @functools.cached_property
    def _known(self) -> np.ndarray:
        """The training images, uint8 `[k, *S, C]`."""
        return self._stored(self.data.numbers('train'))

    @functools.cached_property
    def _spaces(self) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
        """For each kind of features what brings them to a few numbers."""
        some = {name: self._known[_some(np.arange(len(self._known)), most, (0,))] for name, most in FITTED.items()}
        found = {'pixels': _space(_flat(some['pixels']), COMPONENTS['pixels'])}
        if self.network is not None:
            found['network'] = _space(self.network(some['network'])['features'], COMPONENTS['network'])
        return found

    def _stored(self, numbers: np.ndarray) -> np.ndarray:
        """Real images as made ones come, uint8 `[n, *S, C]`."""
        return self.data.frame.pictured(self.data.images(numbers), self.data.training)

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per image: split, id, patient, kind, target and its features.

        Kinds are 'real', the split's; 'synthetic', of as many labels; and the floors 'train', training images of as
        many labels, the same 'blurred' and 'noisy', and but for the validation itself 'val', validation images of as
        many labels, which unlike the training's no network has learned from. Columns `pixels_00` … are principal
        components of the pixels, `network_00` … those of the given network's features, and `predicted` the class that
        it sees; `nearest` is how far the nearest training image is (root mean square, as a share of the range),
        `nearest_id` which.

        Args:
          variables: the network's.
          split: which cases.
          quick: fewer images, and by pixels alone, real and made.
          snapshots: folder for the pictures that the report draws.
        """
        numbers = _some(self.data.numbers(split), self.quick if quick else self.images, (0,))
        labels = self.data.targets[numbers]
        first = SPACE * list(self.data.counts).index(split)
        sets = {'real': (self._stored(numbers), labels), 'synthetic': (self.painter(variables, labels, first), labels)}
        if quick:
            return self._rows(split, sets, {'real': numbers}, ('pixels',))
        cases, places = {'real': numbers}, self._like(labels, 'train')
        if len(places):  # else no class of this split has trained
            train, cases['train'] = (self._stored(places), self.data.targets[places]), places
            rng, spread = np.random.default_rng(0), [BLUR * n for n in self.data.frame.size]
            noisy = train[0] + rng.normal(0, 255 * NOISE, train[0].shape)
            sets |= {'train': train,
                     'blurred': (np.stack([ndimage.gaussian_filter(x, (*spread, 0)) for x in train[0]]), train[1]),
                     'noisy': (np.clip(noisy, 0, 255).astype(np.uint8), train[1])}
        if split != 'val' and 'val' in self.data.counts and len(places := self._like(labels, 'val')):
            cases['val'], sets['val'] = places, (self._stored(places), self.data.targets[places])
        rows = self._rows(split, sets, cases, tuple(self._spaces), near=True)
        if snapshots is not None:
            self._keep(sets, rows, snapshots)
        return rows

    def _like(self, labels: np.ndarray, split: str) -> np.ndarray:
        """Cases of a split, of the same classes as often, as far as there are so many."""
        numbers, rng = self.data.numbers(split), np.random.default_rng(1)
        of = self.data.targets[numbers]
        return np.sort(np.concatenate([rng.permutation(numbers[of == label])[:(labels == label).sum()]
                                       for label in np.unique(labels)]))

    def _rows(self, split: str, sets: Mapping[str, tuple[np.ndarray, np.ndarray]], numbers: Mapping[str, np.ndarray],
              names: Sequence[str], near: bool = False) -> list[dict[str, Any]]:
        classes, cases, rows = self.data.source.classes, self.data.source.cases, []
        train = self.data.numbers('train')
        for kind, (images, labels) in sets.items():
            more: dict[str, Sequence[Any]] = {}
            if 'network' in names:
                told = self.network(images)
                if tuple(getattr(self.network, 'classes', ())) == tuple(classes):
                    more['predicted'] = [classes[k] for k in told['probs'].argmax(1)]
            if near and kind in ('real', 'synthetic', 'train'):
                own = np.searchsorted(train, numbers['train']) if kind == 'train' else None
                far, which = generative.nearest_neighbours(_flat(images), _flat(self._known), own)
                more |= {'nearest': far.tolist(), 'nearest_id': [cases[train[k]].id for k in which]}
            for name in names:
                found = self._spaces[name](_flat(images) if name == 'pixels' else told['features'])
                # Four decimals of numbers about the size of 1: a table that can be read again, and is not too large.
                more |= {f'{name}_{k:02d}': column for k, column in enumerate(found.round(4).T.tolist())}
            for place, label in enumerate(labels):
                case = cases[numbers[kind][place]] if kind in numbers else None
                named = case.id if case else f'{kind}{place:06d}'
                rows.append({'split': split, 'id': named, 'patient': case.patient if case else named, 'kind': kind,
                             'target': classes[label], **{name: column[place] for name, column in more.items()}})
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Of a quick table, by pixels: FID, KID, precision, recall, and 'diversity', 1 where it is the real one's."""
        real, fake = (np.array([[value for name, value in row.items() if name.startswith('pixels_')]
                                for row in rows if row['kind'] == kind], float) for kind in ('real', 'synthetic'))
        precise, recalled = generative.precision_recall(real, fake)
        varied = [float(generative.mean_over_pairs(generative.pairwise_distances(x), np.ones(len(x)))) for x in (fake, real)]
        return {'fid_pixels': generative.fid(real, fake), 'kid_pixels': generative.kid(real, fake),
                'precision': float(precise.mean()), 'recall': float(recalled.mean()),
                'diversity': varied[0] / max(varied[1], 1e-12)}

    def snapshot_training(self, variables: Any, workdir: pathlib.Path, step: int) -> None:
        """Keeps images of the same few seeds, in `course/STEP.npz`: how they change shows what training does."""
        classes = len(self.data.source.classes)
        labels = np.arange(max(COURSE // classes, 1) * min(classes, COURSE)) % classes
        few = dataclasses.replace(self.painter, predict_batched=self._small_batch_predictor)
        _save(workdir / 'course' / f'{step:07d}.npz', sample=few(variables, labels, ALONG), label=labels)

    @functools.cached_property
    def _small_batch_predictor(self) -> BatchedPredictor:
        """One of few images, so that a network that takes long for each is not asked for more."""
        return dataclasses.replace(self.painter.predict_batched, batch=min(COURSE, self.painter.predict_batched.batch))

    def _keep(self, sets: Mapping[str, tuple[np.ndarray, np.ndarray]], rows: Sequence[Mapping[str, Any]],
              folder: pathlib.Path) -> None:
        """Keeps the first real and made images of each class, and made ones beside the nearest training images."""
        for old in folder.glob('*.npz'):
            old.unlink()
        kept = {}
        for kind in ('real', 'synthetic'):
            images, labels = sets[kind]
            places = [np.flatnonzero(labels == k)[:self.shown] for k in range(len(self.data.source.classes))]
            kept |= {f'{kind}_{k}': images[at] for k, at in enumerate(places)}
        train = {case.id: place for place, case in enumerate(
            self.data.source.cases[number] for number in self.data.numbers('train'))}
        made = [row for row in rows if row['kind'] == 'synthetic']
        far = np.array([row['nearest'] for row in made])
        nearest, chance = np.argsort(far, kind='stable')[:self.shown], np.arange(len(made))[:self.shown]
        for name, at in (('nearest', nearest), ('first', chance)):
            kept |= {f'{name}_made': sets['synthetic'][0][at], f'{name}_distance': far[at],
                     f'{name}_known': self._known[[train[made[place]['nearest_id']] for place in at]],
                     f'{name}_id': np.array([made[place]['nearest_id'] for place in at], str)}
        _save(folder / PICTURES, **kept)


def _some(numbers: np.ndarray, most: int, seed: Sequence[int]) -> np.ndarray:
    """At most so many of them, in their order."""
    if len(numbers) <= most:
        return numbers
    return np.sort(np.random.default_rng(seed).permutation(numbers)[:most])


def _flat(images: np.ndarray) -> np.ndarray:
    """Images as rows of shares of the range."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def _space(features: np.ndarray, most: int) -> Callable[[np.ndarray], np.ndarray]:
    """Principal components of training images' features, on one scale, so that they have a mean variance of 1."""
    from sklearn.decomposition import PCA  # slow to import

    count = max(min(most, len(features) // SHARE, features.shape[1]), 1)
    solver = 'covariance_eigh' if features.shape[1] <= WIDE else 'randomized'
    fitted = PCA(count, svd_solver=solver, random_state=0).fit(np.asarray(features, np.float64))
    scale = np.sqrt(max(fitted.explained_variance_.mean(), 1e-12))
    return lambda of: fitted.transform(np.asarray(of, np.float64)) / scale


def _save(path: pathlib.Path, **arrays: np.ndarray) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    atomic_files.write_bytes(path, content.getvalue())


@dataclasses.dataclass(frozen=True)
class SynthesisPredictor(contracts.Predictor):
    """Draws new images with a run's weights; see `predictor`."""

    painter: Painter
    statistics: Mapping[str, Any]

    file_per_input = False

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network sees."""
        return {'image': np.zeros((1, *self.painter.frame.size, self.statistics['channels']), np.float32),
                'label': np.zeros(1, np.int32), 'mask': np.ones(1, np.float32)}

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Refuses an image: there is nothing to tell of it."""
        raise InputError(f'--input={path}: this run makes images and tells nothing of given ones; expected: python -m '
                         'medjax.synthesise --workdir=RUN --output=FILE.npz --images=N')


def predictor(*, task: Task, data: Mapping[str, Any], statistics: Mapping[str, Any],
              read: Callable[[pathlib.Path], Image], batch: int = 128, **_: Any) -> SynthesisPredictor:
    """Makes what draws new images.

    Args:
      task: the problem.
      data: the options of `data.datasets.images.dataset`.
      statistics: of the training cases, as stored with the checkpoint.
      read: of no use here, as there is nothing to read.
      batch: images at once.
      **_: the evaluator's other options, of no use here.
    """
    return SynthesisPredictor(Painter(framing(**data), statistics['intensities'], BatchedPredictor(task, batch)), statistics)


def evaluator(*, data: Images, task: Task, features: Network | str = '', images: int = 1000, quick: int = 256,
              batch: int = 128, shown: int = 8) -> SynthesisEvaluator:
    """Makes the evaluator of made images.

    Args:
      data: the data set, whose images have one class each.
      task: the problem; see the top of the file.
      features: a network whose features count; in the config the folder of a finished classification run. Of '' pixels
        count alone.
      images: of a split, at most, that are compared with as many made ones.
      quick: the same for validation while training.
      batch: images at once.
      shown: real and made images of each class that the report shows, and made ones beside their nearest.

    Raises:
      InputError: images with several classes each, one image alone in a split, intensities that cannot be undone, or a
        network for others.
    """
    if data.source.problem == 'multilabel':
        raise InputError("config.evaluate.name: 'synthesis' is of images that have one class each; the problem is "
                         "'multilabel'")
    if min(images, quick) < 2 or min(batch, shown) < 1:
        raise InputError(f'config.evaluate: images={images}, quick={quick}, batch={batch}, shown={shown}; expected at '
                         'least 2 images, and 1')
    for split, count in data.counts.items():
        if count < 2:
            raise InputError(f'config.data.source: {count} image in the split {split}; expected at least 2, whose '
                             'distribution made ones are held against')
    data.frame.pictured(np.zeros((1, *data.frame.size, data.arrays.shape[-1])), data.training)
    if features and not data.frame.shares:
        raise InputError(f'config.evaluate.features: {features.name} sees pixels as shares of what their file can '
                         f"hold, config.data.intensity is {data.frame.intensity['name']!r}; expected unit, fixed or "
                         'training')
    return SynthesisEvaluator(data, Painter(data.frame, data.training, BatchedPredictor(task, batch)), features or None, images,
                              quick, shown)
