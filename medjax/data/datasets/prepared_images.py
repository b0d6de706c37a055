"""Images of one size, prepared once and kept as one mapped array."""

import abc
import contextlib
import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from medjax.data import training_ranges
from medjax.data.datasets import prepared_cache
from medjax.data.datasets.base import RowDataset, check_training_cases, untrained_classes
from medjax.data.io import image_files
from medjax.data.source import Case, Source
from medjax.data.transforms.images import ImagePreprocess
from medjax.errors import InputError, few
from medjax.machine import cores

VERSION = 6  # of the cached files; a new number prepares everything again
AHEAD = 256  # cases that are submitted to the readers at once

Fitted = tuple[np.ndarray, tuple[int, ...], np.ndarray, dict[str, Any]]
Kind = TypeVar('Kind', bound='PreparedImages')


@dataclasses.dataclass(frozen=True)
class PreparedImages(RowDataset):
    """A data set of images at one size.

    Attributes:
      source: the cases as stored.
      preprocess: the network's size and intensity scale.
      arrays: the images of all cases, in the source's order, `[N, *S, C]` uint8 or float32, mapped from a file.
      hashes: of each image's content.
      intensities: mean and standard deviation of the training images' channels, for the scale 'training'.
      shapes: of each image as stored, `[N, 3]`.
      affines: of each image as stored, `[N, 4, 4]`.
      percentiles: of each image's intensities as stored, `[N, 2, C]`; see `training_ranges.of_image`.
      modalities: of each image; '' where its format has none.
    """

    source: Source
    preprocess: ImagePreprocess
    arrays: np.ndarray
    hashes: tuple[str, ...]
    intensities: Mapping[str, list[float]]
    shapes: np.ndarray
    affines: np.ndarray
    percentiles: np.ndarray
    modalities: np.ndarray

    @functools.cached_property
    def warnings(self) -> list[str]:
        """Images that are in two splits or classes, and classes without a training case; a line each."""
        counts = {split: self._class_counts(numbers) for split, numbers in self._numbers.items()}
        return [*self._duplicates(), *untrained_classes(self.source.classes, counts, len(self._numbers['train']))]

    @functools.cached_property
    def ranges(self) -> dict[str, Any]:
        """The ranges of the training images; see `training_ranges.of_images`."""
        return training_ranges.of_images(
            {**training_ranges.of_grid(self.shapes[n], self.affines[n]), 'modality': str(self.modalities[n]),
             'low': self.percentiles[n, 0], 'high': self.percentiles[n, 1]} for n in self._numbers['train'])

    def _duplicates(self) -> Iterator[str]:
        first: dict[str, int] = {}
        pairs: dict[tuple[str, str], list[str]] = {}
        contradicting = []
        for number, (case, digest) in enumerate(zip(self.source.cases, self.hashes)):
            other = self.source.cases[first.setdefault(digest, number)]
            if other.split != case.split:
                pairs.setdefault((other.split, case.split), []).append(f'{other.id} = {case.id}')
            if isinstance(case.target, (int, tuple)) and case.target != other.target:
                contradicting.append(f'{other.id} = {case.id}')
        for (one, other), names in pairs.items():
            yield (f'Images of the split {one} that are in {other} as well, equal in every pixel: {len(names)} '
                   f'({few(names)}).')
        if contradicting:
            yield f'Images of different classes, equal in every pixel: {len(contradicting)} ({few(contradicting)}).'

    @abc.abstractmethod
    def _class_counts(self, numbers: np.ndarray) -> np.ndarray:
        """How often each class occurs in some cases, `[K]`."""

    def images(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """The images of some cases as the network takes them, `[n, *S, C]` float32."""
        return self.preprocess.normalise(np.asarray(self.arrays[numbers]), self.intensities)


def prepare_images(kind: type[Kind], source: Source, preprocess: ImagePreprocess, cache: str, **fields: Any) -> Kind:
    """A data set of a source's images, which are prepared now or found in the cache.

    Args:
      kind: the data set's class.
      source: the cases.
      preprocess: the network's size and intensity scale.
      cache: the folder of prepared images; by default in the user's cache folder.
      **fields: further fields of the class.

    Raises:
      InputError: an image that cannot be read or has other channels than the first; no training case.
    """
    check_training_cases(source)
    folder = _prepare(source.cases, preprocess, prepared_cache.cache_root(cache, 'images'))
    arrays = np.load(folder / 'images.npy', mmap_mode='r')
    hashes = tuple((folder / 'hashes.txt').read_text().split())
    intensities = {}
    if preprocess.intensity['name'] == 'training':
        intensities = _moments(arrays, [n for n, case in enumerate(source.cases) if case.split == 'train'])
    return kind(source, preprocess, arrays, hashes, intensities, np.load(folder / 'shapes.npy'),
                np.load(folder / 'affines.npy'), np.load(folder / 'percentiles.npy'),
                np.load(folder / 'modalities.npy'), **fields)


def _moments(arrays: np.ndarray, numbers: Sequence[int]) -> dict[str, list[float]]:
    """Mean and standard deviation of the channels of some images, as fractions of bytes; 1000 images at a time."""
    scale = 255 if arrays.dtype == np.uint8 else 1
    total, square, axes = 0.0, 0.0, tuple(range(arrays.ndim - 1))
    for start in range(0, len(numbers), 1000):
        part = np.asarray(arrays[numbers[start:start + 1000]], np.float64) / scale
        total, square = total + part.sum(axes), square + (part**2).sum(axes)
    count = len(numbers) * np.prod(arrays.shape[1:-1])
    mean = total / count
    return {'mean': mean.tolist(), 'std': np.sqrt(np.maximum(square / count - mean**2, 0)).tolist()}


def _prepare(cases: Sequence[Case], preprocess: ImagePreprocess, root: pathlib.Path) -> pathlib.Path:
    """The folder with the images of all cases at their size."""
    files = prepared_cache.file_states(sorted({name for case in cases for name in case.files}))
    folder = prepared_cache.entry(root, [VERSION, dataclasses.asdict(preprocess), files,
                                         [(case.id, case.how, case.files) for case in cases]])

    def write(part: pathlib.Path) -> None:
        if not _write(cases, preprocess, part, np.uint8):
            _write(cases, preprocess, part, np.float32)

    if not prepared_cache.found(folder, 'images'):
        prepared_cache.store(folder, write, 'images')
    return folder


def _fitted(cases: Sequence[Case], preprocess: ImagePreprocess) -> Generator[Fitted, None, None]:
    """For each case its image at the network's size, and shape, affine and ranges as stored; read ahead by threads."""
    def fit(case: Case) -> Fitted:
        image, _ = case.read()
        image_files.check_finite(image)
        return preprocess.fit_to_size(image), image.array.shape[:3], image.affine, training_ranges.of_image(image)

    with futures.ThreadPoolExecutor(cores()) as threads:
        for start in range(0, len(cases), AHEAD):
            for future in [threads.submit(fit, case) for case in cases[start:start + AHEAD]]:
                yield future.result()


def _write(cases: Sequence[Case], preprocess: ImagePreprocess, folder: pathlib.Path, dtype: type) -> bool:
    """Writes the images of all cases; False where `dtype` is uint8 and an image is not."""
    arrays, hashes, shapes, affines, percentiles, modalities = None, [], [], [], [], []
    with contextlib.closing(_fitted(cases, preprocess)) as fitted, tqdm(
            total=len(cases), desc='preparing images', unit='', leave=False, delay=2) as progress:
        for number, (case, (image, shape, affine, acquired)) in enumerate(zip(cases, fitted)):
            if dtype == np.uint8 and image.dtype != np.uint8:
                return False
            if dtype != np.uint8 and image.dtype == np.uint8 and preprocess.fractions:
                image = image / np.float32(255)
            if arrays is None:
                prepared_cache.check_free_space(folder, len(cases) * image.nbytes)
                arrays = np.lib.format.open_memmap(folder / 'images.npy', 'w+', dtype, (len(cases), *image.shape))
            if image.shape != arrays.shape[1:]:
                raise InputError(f'{case.id}: {image.shape[-1]} channels, {cases[0].id} has {arrays.shape[-1]}; '
                                 'expected the same: set config.data.channels')
            arrays[number] = image
            shapes.append(shape)
            affines.append(affine)
            percentiles.append(_by_channel(acquired, image.shape[-1]))
            modalities.append(acquired['modality'])
            hashes.append(hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).hexdigest())
            progress.update()
    arrays.flush()
    np.save(folder / 'shapes.npy', np.array(shapes, np.int64))
    np.save(folder / 'affines.npy', np.array(affines, np.float64))
    np.save(folder / 'percentiles.npy', np.array(percentiles, np.float64))
    np.save(folder / 'modalities.npy', np.array(modalities, str))
    (folder / 'hashes.txt').write_text('\n'.join(hashes))
    return True


def _by_channel(acquired: Mapping[str, Any], channels: int) -> list[list[float]]:
    """The percentiles of an image, for as many channels as all images of the data set have: of all where it has one."""
    low, high = acquired['low'], acquired['high']
    return [low, high] if len(low) == channels else [[min(low)] * channels, [max(high)] * channels]
