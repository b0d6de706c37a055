"""Volumes on the network's grid: prepared once, and kept as mapped files."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import resource
from collections.abc import Mapping, Sequence
from concurrent import futures
from typing import Any

import cc3d
import numpy as np
import tqdm

from medjax.data import training_ranges
from medjax.data.datasets import prepared_cache
from medjax.data.io import image_files
from medjax.data.io.geometry import Image
from medjax.data.source import Case
from medjax.data.transforms.volumes import VolumePreprocess
from medjax.errors import InputError
from medjax.machine import cores
from medjax.ops.labels import IGNORED

VERSION = 6  # of the cached files; a new number prepares everything again
# Most files that are mapped at once: a data set may have more cases than a process may open files.
_SOFT = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
OPEN = min(_SOFT // 2, 4096) if _SOFT > 0 else 4096
THREADS = 4  # cases that are prepared at once: each holds several copies of its volume
LISTED = 10_000  # voxels of each class that are listed for oversampling


@dataclasses.dataclass(frozen=True)
class PreparedVolume:
    """A case on the network's grid, as files mapped into memory: `image [X, Y, Z, C]`, `label [X, Y, Z]` uint8."""

    case: Case
    folder: pathlib.Path

    @functools.cached_property
    def meta(self) -> dict[str, Any]:
        """`affine`, `statistics`, `shape`, `counts` of voxels and `parts` (connected) by class, `acquired` and `hash`.

        `acquired` is how the image was acquired; see `training_ranges.of_image`.
        """
        return json.loads((self.folder / 'meta.json').read_text())

    @property
    def affine(self) -> np.ndarray:
        """`[4, 4]`, voxel to RAS+ mm."""
        return np.array(self.meta['affine'])

    @functools.cached_property
    def shape(self) -> tuple[int, int, int]:
        """`(X, Y, Z)`, without opening the arrays."""
        return tuple(self.meta['shape'])

    @property
    def image(self) -> np.ndarray:
        """Intensities before normalisation."""
        return _mapped(self.folder / 'image.npy')

    @property
    def label(self) -> np.ndarray:
        """Class numbers."""
        return _mapped(self.folder / 'label.npy')

    @functools.cached_property
    def voxels(self) -> dict[int, np.ndarray]:
        """Flat indices of up to `LISTED` voxels of each class except the background."""
        with np.load(self.folder / 'voxels.npz') as file:
            return {int(name): file[name] for name in file}

    @property
    def sample(self) -> np.ndarray:
        """Flat indices of voxels of all classes except the background, each class in proportion to its size."""
        total = max(self.meta['counts'].values())
        parts = []
        for value, indices in self.voxels.items():
            count = min(max(round(LISTED * self.meta['counts'][str(value)] / total), 1), indices.size)
            parts.append(indices[np.linspace(0, indices.size - 1, count).round().astype(int)])
        return np.concatenate(parts)


@functools.lru_cache(OPEN)
def _mapped(path: pathlib.Path) -> np.ndarray:
    return np.load(path, mmap_mode='r')


def prepare_volumes(cases: Sequence[Case], classes: Sequence[str], preprocess: VolumePreprocess,
                    root: pathlib.Path) -> tuple[PreparedVolume, ...]:
    """The cases on the network's grid, prepared now or found in the cache.

    Args:
      cases: with an image and a label each.
      classes: of the labels.
      preprocess: the network's grid.
      root: the folder of prepared cases.

    Raises:
      InputError: a case that cannot be read; a label that is missing, has another shape than its image, or values that
        are not classes; a cache folder that cannot be written.
    """
    with futures.ThreadPoolExecutor(min(THREADS, cores())) as threads:
        prepared = threads.map(lambda case: _prepare(case, classes, preprocess, root), cases)
        return tuple(tqdm.tqdm(prepared, 'preparing volumes', len(cases), unit='', leave=False, delay=5))


def _prepare(case: Case, classes: Sequence[str], preprocess: VolumePreprocess, root: pathlib.Path) -> PreparedVolume:
    folder = prepared_cache.entry(root, [VERSION, case.id, case.how, prepared_cache.file_states(case.files),
                                         preprocess.spacing, preprocess.crop, classes,
                                         *([preprocess.previous] if preprocess.previous else [])])
    if prepared_cache.found(folder, 'cases'):
        return PreparedVolume(case, folder)
    image, label = case.read()
    own = dataclasses.replace(image, array=image.array[..., :-1]) if preprocess.previous else image
    acquired = training_ranges.of_image(own)
    image, label, statistics = preprocess.to_grid(image, image_files.whole_numbers(label) if label else None)
    values = _check_label(case, image, label, classes)
    array, label_array = image.array, label.array.astype(np.uint8)
    voxels, counts = _list_voxels(label_array, values[values > 0])
    digest = ''.join(hashlib.sha256(np.ascontiguousarray(a)).hexdigest() for a in (array, label_array))
    meta = {'affine': image.affine.tolist(), 'statistics': statistics, 'hash': digest, 'counts': counts,
            'parts': {name: _parts(label_array == int(name)) for name in counts}, 'shape': label_array.shape,
            'acquired': acquired}
    prepared_cache.store(folder, functools.partial(_write, array, label_array, voxels, meta), 'cases')
    _mapped.cache_clear()  # this process may have mapped a damaged entry before
    return PreparedVolume(case, folder)


def _check_label(case: Case, image: Image, label: Image | None, classes: Sequence[str]) -> np.ndarray:
    """The class numbers that occur in a label, after checking them."""
    if label is None:
        raise InputError(f'{case.id}: no label; training and evaluation need one for every case')
    if label.array.shape != image.array.shape[:3]:
        raise InputError(f"{case.id}: on the network's grid label {label.array.shape}, image {image.array.shape[:3]}; "
                         'expected one shape')
    values = np.setdiff1d(label.array, [IGNORED])
    if values.size and (values[0] < 0 or values[-1] >= len(classes)):
        raise InputError(f'{label.path}: label values {values[0]}..{values[-1]}; expected 0..{len(classes) - 1} '
                         f'({", ".join(classes)})')
    return values


def _parts(mask: np.ndarray) -> int:
    """The number of connected parts of a mask; voxels that share a corner are connected."""
    return int(cc3d.connected_components(mask, connectivity=26, return_N=True)[1])


def _list_voxels(label: np.ndarray, values: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Up to `LISTED` flat indices of the voxels of each class, drawn at random, and the number of its voxels."""
    rng, voxels, counts = np.random.default_rng(0), {}, {}
    for value in values:
        indices = np.flatnonzero(label == value)
        counts[str(int(value))] = indices.size
        if indices.size > LISTED:
            indices = np.sort(rng.choice(indices, LISTED, replace=False))
        voxels[str(int(value))] = indices.astype(np.uint32 if label.size < 2**32 else np.uint64)
    return voxels, counts


def _write(image: np.ndarray, label: np.ndarray, voxels: Mapping[str, np.ndarray], meta: Mapping[str, Any],
           folder: pathlib.Path) -> None:
    np.save(folder / 'image.npy', image)
    np.save(folder / 'label.npy', label)
    np.savez(folder / 'voxels.npz', **voxels)
    (folder / 'meta.json').write_text(json.dumps(meta))
