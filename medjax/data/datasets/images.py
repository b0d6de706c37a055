"""Classification of images: each image has one class or, for multilabel problems, any number of them."""

import functools
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from medjax.data.datasets.extra_images import with_extra_images
from medjax.data.datasets.prepared_images import PreparedImages, prepare_images
from medjax.data.source import UNKNOWN, Source, check_two_classes
from medjax.data.transforms.images import image_preprocess
from medjax.errors import InputError
from medjax.options import Count, NonNegativeInt, PositiveFraction

PROBLEMS = ('binary', 'multiclass', 'ordinal', 'multilabel')


class ImageDataset(PreparedImages):
    """A data set of images with classes."""

    @functools.cached_property
    def targets(self) -> np.ndarray:
        """The targets of all cases, int32: class numbers `[N]`, or for multilabel 0, 1 or UNKNOWN `[N, K]`."""
        return np.array([case.target for case in self.source.cases], np.int32)

    def _class_counts(self, numbers: np.ndarray) -> np.ndarray:
        targets = self.targets[numbers]
        if targets.ndim == 2:
            return (targets == 1).sum(0)
        return np.bincount(targets, minlength=len(self.source.classes))

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """Classes, channels, intensities and class counts of the training images; stored with each checkpoint."""
        targets = self.targets[self._numbers['train']]
        positive = self._class_counts(self._numbers['train'])
        known = (targets != UNKNOWN).sum(0) if targets.ndim == 2 else np.full(len(positive), len(targets))
        return {'classes': list(self.source.classes), 'problem': self.source.problem,
                'channels': self.arrays.shape[-1], 'intensities': dict(self.intensities),
                'positive': positive.tolist(), 'known': known.tolist(), 'ranges': self.ranges}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over images, targets, patients and splits."""
        lines = [f'{case.split} {case.patient} {case.id} {case.target} {digest}'
                 for case, digest in zip(self.source.cases, self.hashes)]
        return hashlib.sha256('\n'.join(lines).encode()).hexdigest()

    def batch(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Images and targets of some cases: `image [n, *S, C]` float32, `label [n]` or `[n, K]` int32."""
        return {'image': self.images(numbers), 'label': self.targets[numbers]}


def dataset(source: Source, *, size: Sequence[Count], resize_mode: Literal['stretch', 'pad'] = 'stretch',
            channels: Literal[1, 3] | None = None, intensity: Mapping[str, Any] | None = None, cache: str = '',
            train_classes: Sequence[str] = (), label_fraction: PositiveFraction = 1.0, subset_seed: NonNegativeInt = 0,
            extra_npz: str = '') -> ImageDataset:
    """The data set of a source's images at one size, prepared now or found in the cache.

    Args:
      source: the cases, each with a target.
      size: see `ImagePreprocess`, as for resize_mode, channels and intensity.
      resize_mode: …
      channels: …
      intensity: …
      cache: the folder of prepared images; by default in the user's cache folder.
      train_classes: the classes that are kept in the training, validation and calibration splits, such as the healthy
        one for anomaly detection; all by default. Test cases of every class are kept.
      label_fraction: the fraction of each class's training patients (by the class of their first image) that is kept,
        to measure label efficiency.
      subset_seed: seed of the choice of these patients.
      extra_npz: a file of synthetic images that are added to the training split; see `extra_images`.

    Raises:
      InputError: an image that cannot be read or has other channels than the first; cases without targets; no
        training case; an option with an invalid value.
    """
    if source.problem not in PROBLEMS:
        raise InputError('config.data: images need a source with a class for each image, such as '
                         'classification_folder or medmnist; labels that are images belong to volumes, and boxes to '
                         'detection')
    if source.problem == 'binary':
        check_two_classes(source)
    for case in source.cases:
        if source.problem != 'multilabel' and not 0 <= case.target < len(source.classes):
            raise InputError(f'{case.id}: class {case.target}; expected 0 to {len(source.classes) - 1}')
    if train_classes:
        source = _only_classes(source, train_classes)
    if label_fraction != 1:
        source = _subset(source, label_fraction, subset_seed)
    if extra_npz:
        source = with_extra_images(source, pathlib.Path(extra_npz).expanduser())
    preprocess = image_preprocess(size=size, resize_mode=resize_mode, channels=channels, intensity=intensity)
    return prepare_images(ImageDataset, source, preprocess, cache)


def _only_classes(source: Source, names: Sequence[str]) -> Source:
    """The source with training, validation and calibration cases of some classes only."""
    known = not isinstance(names, str) and set(names) <= set(source.classes)
    if not known or source.problem == 'multilabel':
        raise InputError(f'config.data.train_classes: {names!r}; expected a tuple of some of: '
                         f'{", ".join(source.classes)}, for images with one class each')
    kept = {source.classes.index(name) for name in names}
    kinds = ('train', 'val', 'calibrate')
    return source.only((case for case in source.cases if case.split not in kinds or case.target in kept),
                       f'of other classes than {", ".join(names)} in training, validation or calibration '
                       '(data.train_classes)')


def _subset(source: Source, label_fraction: float, seed: int) -> Source:
    """The source with a fraction of its training patients, at least one of each class."""
    if not 0 < label_fraction < 1 or source.problem == 'multilabel':
        raise InputError(f'config.data.label_fraction: {label_fraction}; expected a fraction in (0, 1], for images '
                         'with one class each')
    if seed < 0:
        raise InputError(f'config.data.subset_seed: {seed}; expected at least 0')
    class_of: dict[str, int] = {}
    for case in source.cases:
        if case.split == 'train':
            class_of.setdefault(case.patient, case.target)
    rng, kept = np.random.default_rng(seed), set()
    for target in sorted(set(class_of.values())):
        patients = [patient for patient, number in class_of.items() if number == target]
        count = max(round(label_fraction * len(patients)), 1)
        kept |= {patients[place] for place in rng.permutation(len(patients))[:count]}
    return source.only((case for case in source.cases if case.split != 'train' or case.patient in kept),
                       f'of training, of which a fraction of {label_fraction:g} is kept (data.label_fraction)')
