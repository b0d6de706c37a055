"""Images brought to one size and kept as one mapped array; and those that have a class, or several, as a whole.

Pictures come as `[rows, columns, C]`, volumes as `[X, Y, Z, C]` in RAS+.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any, TypeVar

import jax
import numpy as np
from tqdm import tqdm

from medjax.data.datasets.base import Parted
from medjax.data.io import image_files
from medjax.data.source import UNKNOWN, WHOLE, Case, Source
from medjax.data.sources.medmnist import with_synthetic
from medjax.data.transforms.images import ImagePreprocess, image_preprocess
from medjax.errors import InputError, few
from medjax.machine import cores

VERSION = 3  # of what is kept of a prepared set; a higher one prepares all anew

Kind = TypeVar('Kind', bound='Prepared')


@dataclasses.dataclass(frozen=True)
class Prepared(Parted):
    """A source's images at one size; `core.loop` and `data.pipeline` say what else is asked of a data set.

    Attributes:
      source: the cases as stored, their classes and what must be said of them.
      preprocess: how they came to one size.
      arrays: all images in the order of the source's cases, `[N, *S, C]` uint8 or float32, mapped from a file.
      hashes: of each image's content.
      training: mean and standard deviation of the training images' channels, where intensities need them.
      shapes: of each image as stored, `[N, 3]`.
      affines: of each image as stored, `[N, 4, 4]`.
    """

    source: Source
    preprocess: ImagePreprocess
    arrays: np.ndarray
    hashes: tuple[str, ...]
    intensities: Mapping[str, list[float]]
    shapes: np.ndarray
    affines: np.ndarray

    @functools.cached_property
    def warnings(self) -> list[str]:
        """What is to be minded in these data, a line each."""
        out, first = [], {}
        twins: dict[tuple[str, str], list[str]] = {}
        for number, (case, digest) in enumerate(zip(self.source.cases, self.hashes)):
            other = self.source.cases[first.setdefault(digest, number)]
            if other.split != case.split:
                twins.setdefault((other.split, case.split), []).append(f'{other.id} = {case.id}')
        for (one, other), pairs in twins.items():
            out.append(f'Images of the split {one} that are in {other} as well, equal in every pixel: {len(pairs)} '
                       f'({few(pairs)}).')
        there = {split: self._positive(numbers) > 0 for split, numbers in self._numbers.items()}
        for split, found in there.items():
            never = [name for name, *is_in in zip(self.source.classes, found, there['train']) if is_in == [True, False]]
            if never:
                out.append(f'{", ".join(never)}: in the split {split}, but in no training case.')
        return out

    def _positive(self, numbers: np.ndarray) -> np.ndarray:
        """How often each class is there in some cases, `[K]`."""
        raise NotImplementedError

    def images(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """Cases' images as the network sees them, `[n, *S, C]` float32."""
        return self.preprocess.normalise(np.asarray(self.arrays[numbers]), self.intensities)


class Images(Prepared):
    """A data set of images with targets."""

    @functools.cached_property
    def targets(self) -> np.ndarray:
        """Of every case: class numbers `[N]`, or of a multilabel problem 0, 1 or UNKNOWN `[N, K]`; int32."""
        return np.array([case.target for case in self.source.cases], np.int32)

    def _positive(self, numbers: np.ndarray) -> np.ndarray:
        targets = self.targets[numbers]
        return (targets == 1).sum(0) if targets.ndim == 2 else np.bincount(
            targets, minlength=len(self.source.classes))

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """What the task and `predict` have to know of the training data; stored with each checkpoint."""
        targets = self.targets[self._numbers['train']]
        positive = self._positive(self._numbers['train'])
        return {'classes': list(self.source.classes), 'problem': self.source.problem,
                'channels': self.arrays.shape[-1], 'intensities': dict(self.intensities),
                'positive': positive.tolist(),
                'known': ((targets != UNKNOWN).sum(0) if targets.ndim == 2 else
                          np.full(len(positive), len(targets))).tolist()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over images, targets, patients and splits."""
        lines = [f'{case.split} {case.patient} {case.id} {case.target} {digest}'
                 for case, digest in zip(self.source.cases, self.hashes)]
        return hashlib.sha256('\n'.join(lines).encode()).hexdigest()

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A training image: `image [*S, C]` float32, `label` or `[K]` int32, its case's `id`."""
        at = self._numbers['train'][number]
        return {'image': self.images([at])[0], 'label': self.targets[at], 'id': self.source.cases[at].id}

    def resident(self) -> 'Resident':
        """The training images as they may lie on the device."""
        numbers = self._numbers['train']
        return Resident(self, lambda: {'label': self.targets[numbers]})


class Resident:
    """Training images on the device, as `pipeline.Resident` says.

    Args:
      data: the images.
      targets: gives what else an item has, each with a first axis of training cases.
    """

    def __init__(self, data: Prepared, targets: Callable[[], Mapping[str, np.ndarray]]):
        self._data, self._targets = data, targets
        self.size = float(4 * len(data) * np.prod(data.arrays.shape[1:]))

    def load(self) -> Mapping[str, np.ndarray]:
        """All of them as the network sees them, and their targets."""
        return {'image': self._data.images(self._data.numbers('train')), **self._targets()}

    def place(self, number: int, rng: Callable[[], np.random.Generator]) -> tuple[int]:
        """An item's number says where it lies."""
        return (number,)

    def pick(self, arrays: Mapping[str, jax.Array], place: jax.Array) -> dict[str, jax.Array]:
        """An item, as the data set's `item` gives it without its id."""
        return {name: array[place[0]] for name, array in arrays.items()}


def dataset(source: Source, *, size: Sequence[int], fit: str = 'stretch', channels: int | None = None,
            intensity: Mapping[str, Any] | None = None, cache: str = '', train_classes: Sequence[str] = (),
            label_fraction: float = 1.0, subset_seed: int = 0, extra_npz: str = '') -> Images:
    """Brings a source's images to one size, or finds them prepared, and makes them a data set.

    Args:
      source: the cases, each with a target.
      size: see `ImagePreprocess`, as for fit, channels and intensity.
      fit: …
      channels: …
      intensity: …
      cache: the folder of prepared sets; by default in the user's cache folder.
      train_classes: the classes that are kept in the training and validation splits, such as the healthy one for
        anomaly detection; all by default. Test cases of every class stay.
      label_fraction: the fraction of each class's training patients (by the class of their first image) that is kept,
        to measure label efficiency.
      subset_seed: seed of the choice of these patients.
      extra_npz: a file of synthetic images that are added to the training split; see `medmnist.with_synthetic`.

    Raises:
      InputError: an image that cannot be read or has other channels than the first; cases without targets; no
        training case.
    """
    if source.problem not in WHOLE:
        raise InputError('config.data: images need a source whose cases have classes as a whole, such as classes or '
                         'medmnist; labels that are images belong to volumes, and boxes to objects')
    for case in source.cases:
        if source.problem != 'multilabel' and not 0 <= case.target < len(source.classes):
            raise InputError(f'{case.id}: class {case.target}; expected 0 to {len(source.classes) - 1}')
    if train_classes:
        if isinstance(train_classes, str) or not set(train_classes) <= set(source.classes) or (
                source.problem == 'multilabel'):
            raise InputError(f'config.data.train_classes: {train_classes!r}; expected a tuple of some of: '
                             f'{", ".join(source.classes)}, of images that have one class')
        kept = {source.classes.index(name) for name in train_classes}
        source = dataclasses.replace(source, cases=tuple(
            case for case in source.cases if case.split not in ('train', 'val') or case.target in kept))
    if label_fraction != 1:
        source = _subset(source, label_fraction, subset_seed)
    if extra_npz:
        source = with_synthetic(source, pathlib.Path(extra_npz).expanduser())
    return prepared(Images, source, image_preprocess(size=size, fit=fit, channels=channels, intensity=intensity), cache)


def _subset(source: Source, label_fraction: float, seed: int) -> Source:
    """Returns the source with a fraction of its training patients, at least one of each class."""
    if not 0 < label_fraction < 1 or source.problem == 'multilabel':
        raise InputError(f'config.data.label_fraction: {label_fraction}; expected a fraction in (0, 1], of images that have one class')
    if seed < 0:
        raise InputError(f'config.data.subset_seed: {seed}; expected at least 0')
    of: dict[str, int] = {}
    for case in source.cases:
        if case.split == 'train':
            of.setdefault(case.patient, case.target)
    rng, kept = np.random.default_rng(seed), set()
    for target in sorted(set(of.values())):
        patients = [patient for patient, number in of.items() if number == target]
        kept |= {patients[place] for place in rng.permutation(len(patients))[:max(round(label_fraction * len(patients)), 1)]}
    return dataclasses.replace(source, cases=tuple(
        case for case in source.cases if case.split != 'train' or case.patient in kept))


def prepared(kind: type[Kind], source: Source, frame: ImagePreprocess, cache: str, **more: Any) -> Kind:
    """Makes a data set of a source's images, prepared now or found so.

    Args:
      kind: of `Prepared`.
      source: the cases.
      frame: how their images come to one size.
      cache: see `dataset`.
      **more: what else the kind has.

    Raises:
      InputError: an image that cannot be read or has other channels than the first; no training case.
    """
    train = [number for number, case in enumerate(source.cases) if case.split == 'train']
    if not train:
        raise InputError(f'config.data.source: no training case among the {len(source.cases)} cases; expected split '
                         'train')
    root = pathlib.Path(cache).expanduser() if cache else pathlib.Path.home() / '.cache' / 'medjax' / 'images'
    folder = _prepared(source.cases, frame, root)
    arrays = np.load(folder / 'images.npy', mmap_mode='r')
    hashes = tuple((folder / 'hashes.txt').read_text().split())
    training = _moments(arrays, train) if frame.intensity['name'] == 'training' else {}
    return kind(source, frame, arrays, hashes, training, np.load(folder / 'shapes.npy'),
                np.load(folder / 'affines.npy'), **more)


def _moments(arrays: np.ndarray, numbers: Sequence[int]) -> dict[str, list[float]]:
    """Mean and standard deviation of the channels of some images, as shares; a few images at a time."""
    scale = 255 if arrays.dtype == np.uint8 else 1
    total, square, axes = 0.0, 0.0, tuple(range(arrays.ndim - 1))
    for start in range(0, len(numbers), 1000):
        part = np.asarray(arrays[numbers[start:start + 1000]], np.float64) / scale
        total, square = total + part.sum(axes), square + (part**2).sum(axes)
    count = len(numbers) * np.prod(arrays.shape[1:-1])
    mean = total / count
    return {'mean': mean.tolist(), 'std': np.sqrt(np.maximum(square / count - mean**2, 0)).tolist()}


def _prepared(cases: Sequence[Case], frame: ImagePreprocess, root: pathlib.Path) -> pathlib.Path:
    """The folder that holds all cases' images at their size."""
    files = [(name, os.stat(name).st_size, os.stat(name).st_mtime_ns) for name in sorted(
        {name for case in cases for name in case.files})]
    key = json.dumps([VERSION, dataclasses.asdict(frame), files, [(case.id, case.how, case.files) for case in cases]])
    folder = root / hashlib.sha256(key.encode()).hexdigest()[:24]
    if folder.is_dir():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix='tmp-') as name:
            part = pathlib.Path(name) / 'set'
            part.mkdir()
            if not _write(cases, frame, part, np.uint8):
                _write(cases, frame, part, np.float32)
            with contextlib.suppress(FileExistsError):  # another process was faster
                part.rename(folder)
    except OSError as error:
        if not folder.is_dir():
            raise InputError(f'{root}: cannot keep prepared images: {error.strerror}; free some space or set '
                             'config.data.cache to another folder') from error
    return folder


def _write(cases: Sequence[Case], frame: ImagePreprocess, folder: pathlib.Path, kind: type) -> bool:
    """Writes all cases' images; False where bytes were asked for and one of them has finer values."""
    def read(case: Case) -> tuple[np.ndarray, tuple[int, ...], np.ndarray]:
        image, _ = case.read()
        image_files.check_finite(image)
        return frame.fit_to_size(image), image.array.shape[:3], image.affine

    arrays, hashes, shapes, affines, first = None, [], [], [], cases[0]
    with futures.ThreadPoolExecutor(cores()) as threads, tqdm(
            total=len(cases), desc='preparing images', unit='', leave=False, delay=2) as bar:
        ahead = (future for start in range(0, len(cases), 256) for future in [
            threads.submit(read, case) for case in cases[start:start + 256]])
        for number, (case, future) in enumerate(zip(cases, ahead)):
            image, shape, affine = future.result()
            if kind == np.uint8 and image.dtype != np.uint8:
                return False
            if kind != np.uint8 and image.dtype == np.uint8 and frame.fractions:
                image = image / np.float32(255)
            if arrays is None:
                room = shutil.disk_usage(folder).free
                if room < len(cases) * image.nbytes:  # a mapped file that runs out of room kills the process
                    raise OSError(errno.ENOSPC, f'{len(cases) * image.nbytes} bytes needed, {room} free')
                arrays = np.lib.format.open_memmap(folder / 'images.npy', 'w+', kind, (len(cases), *image.shape))
            if image.shape != arrays.shape[1:]:
                raise InputError(f'{case.id}: {image.shape[-1]} channels, {first.id} has {arrays.shape[-1]}; expected '
                                 'the same: config.data.channels makes them so')
            arrays[number] = image
            shapes.append(shape)
            affines.append(affine)
            hashes.append(hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).hexdigest())
            bar.update()
    arrays.flush()
    np.save(folder / 'shapes.npy', np.array(shapes, np.int64))
    np.save(folder / 'affines.npy', np.array(affines, np.float64))
    (folder / 'hashes.txt').write_text('\n'.join(hashes))
    return True
