"""Volumes as a data set: prepared once into mapped files, then cut into patches by index maths."""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import math
import os
import pathlib
import resource
import tempfile
from collections.abc import Mapping
from concurrent import futures
from typing import Any

import numpy as np

from medjax.data.datasets.resident import Resident
from medjax.data.io.geometry import spacing as spacing_of
from medjax.data.source import Case, Source
from medjax.data.transforms.volumes import VolumePreprocess, flat_axis, volume_preprocess, with_context
from medjax.errors import InputError
from medjax.machine import cores
from medjax.ops.labels import IGNORED

VERSION = 2  # of what is kept of a prepared case; a higher one prepares all anew
# Files that are mapped at once, at most: data sets have more cases than a process may have files open.
_SOFT = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
OPEN = min(_SOFT // 2, 4096) if _SOFT > 0 else 4096
THREADS = 4  # cases that are prepared at once, at most
LISTED = 10_000  # voxels of each class that are listed for oversampling


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A case on the network's grid, as files mapped into memory: `image [X, Y, Z, C]`, `label [X, Y, Z]` uint8."""

    case: Case
    folder: pathlib.Path

    @functools.cached_property
    def meta(self) -> dict[str, Any]:
        """`affine`, `statistics`, `shape` and `hash` of the case."""
        return json.loads((self.folder / 'meta.json').read_text())

    @property
    def affine(self) -> np.ndarray:
        """Voxel to RAS+ mm."""
        return np.array(self.meta['affine'])

    @functools.cached_property
    def shape(self) -> tuple[int, int, int]:
        """`(X, Y, Z)`, without opening the arrays."""
        return tuple(self.meta['shape'])

    @property
    def image(self) -> np.ndarray:
        """Raw intensities."""
        return _mapped(self.folder / 'image.npy')

    @property
    def label(self) -> np.ndarray:
        """Class numbers."""
        return _mapped(self.folder / 'label.npy')

    @functools.cached_property
    def voxels(self) -> dict[int, np.ndarray]:
        """Flat positions of up to `LISTED` voxels of each class but the background."""
        with np.load(self.folder / 'voxels.npz') as file:
            return {int(name): file[name] for name in file}

    @property
    def sample(self) -> np.ndarray:
        """Flat positions of voxels of all classes but the background, of each as its share is."""
        total = max(self.meta['counts'].values())
        parts = []
        for value, where in self.voxels.items():
            count = max(round(LISTED * self.meta['counts'][str(value)] / total), 1)
            parts.append(where[np.linspace(0, where.size - 1, min(count, where.size)).round().astype(int)])
        return np.concatenate(parts)


@functools.lru_cache(OPEN)
def _mapped(path: pathlib.Path) -> np.ndarray:
    return np.load(path, mmap_mode='r')


@dataclasses.dataclass(frozen=True)
class Volumes:
    """A data set of volumes; `core.loop` and `data.pipeline` say what is asked of it.

    Attributes:
      source: the cases as stored, their classes and what must be said of them.
      prepared: the cases on the network's grid.
      preprocess: how they came there.
      intensities: statistics of the training cases' intensities.
      patch: voxels along x, y, z; one of them 1 for a 2D network.
      foreground: the share of patches that are centred on a voxel of a class drawn at random.
    """

    source: Source
    prepared: tuple[Prepared, ...]
    preprocess: VolumePreprocess
    intensities: Mapping[str, list[float]]
    patch: tuple[int, int, int]
    foreground: float

    @property
    def notice(self) -> str:
        """What the report must say of the data."""
        return self.source.notice

    @property
    def counts(self) -> dict[str, int]:
        """Cases of each split."""
        splits = [p.case.split for p in self.prepared]
        return {split: splits.count(split) for split in dict.fromkeys(splits)}

    @property
    def statistics(self) -> dict[str, Any]:
        """What `predict` has to know of the training data; stored with each checkpoint."""
        return {'intensities': dict(self.intensities), 'channels': self.prepared[0].image.shape[-1],
                'classes': list(self.source.classes)}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the prepared arrays and the split of every case."""
        lines = [f"{p.case.split} {p.case.patient} {p.case.id} {p.meta['hash']}" for p in self.prepared]
        return hashlib.sha256('\n'.join(lines).encode()).hexdigest()

    def cases(self, split: str) -> list[Prepared]:
        """The cases of a split."""
        return [p for p in self.prepared if p.case.split == split]

    @functools.cached_property
    def training(self) -> list[Prepared]:
        """The cases of the split `train`."""
        return self.cases('train')

    @functools.cached_property
    def _items(self) -> np.ndarray:
        # As many items of a case as patches fill it: each voxel of the training set is as likely as any other.
        return np.repeat(np.arange(len(self.training)), [
            math.prod(math.ceil(s / k) for s, k in zip(p.shape, self.patch)) for p in self.training])

    def __len__(self) -> int:
        return len(self._items)

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A training patch: `image [*spatial, C]` float32, `label [*spatial]` int32, `spacing` mm, its case's `id`."""
        case, *start = self.place(number, rng)
        prepared = self.training[case]
        image, label = self.cut(prepared, np.array(start))
        return {'image': image, 'label': label, 'spacing': self.millimetres(prepared), 'id': prepared.case.id}

    def place(self, number: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Where item `number` is cut: the training case's number, and the patch's first voxel."""
        case = int(self._items[number])
        prepared = self.training[case]
        room = [max(n - k, 0) for n, k in zip(prepared.shape, self.patch)]
        if prepared.voxels and rng.random() < self.foreground:
            listed = prepared.voxels[sorted(prepared.voxels)[rng.integers(len(prepared.voxels))]]
            centre = np.unravel_index(listed[rng.integers(len(listed))], prepared.shape)
            x, y, z = (min(max(int(c) - k // 2, 0), most) for c, k, most in zip(centre, self.patch, room))
        else:
            x, y, z = (int(rng.integers(most + 1)) for most in room)
        return case, x, y, z

    def resident(self) -> Resident:
        """The training cases as they may lie on the device."""
        return Resident(self)

    def millimetres(self, prepared: Prepared) -> np.ndarray:
        """A case's spacing along the axes of its patches, float32."""
        return np.array([s for s, k in zip(spacing_of(prepared.affine), self.patch) if k > 1], np.float32)

    def cut(self, prepared: Prepared, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The patch that starts at a voxel; what a case is too small for is filled with its minimum and background."""
        flat, context = flat_axis(self.patch), self.preprocess.context
        box = tuple(slice(s, min(s + k, n)) for s, k, n in zip(start, self.patch, prepared.shape))
        pad = self.missing(prepared)
        if context:
            planes = np.arange(start[flat] - context, start[flat] + context + 1)
            slab = np.take(prepared.image, np.clip(planes, 0, prepared.shape[flat] - 1), flat)
            slab = slab[tuple(slice(None) if axis == flat else part for axis, part in enumerate(box))]
            image = np.concatenate(np.split(slab, len(planes), flat), -1)
        else:
            image = prepared.image[box]
        if np.any(pad):
            low = np.array(prepared.meta['statistics']['min'] * (2 * context + 1), image.dtype)
            whole = np.tile(low, (*self.patch, 1))
            whole[tuple(slice(before, before + n) for (before, _), n in zip(pad, image.shape))] = image
            image = whole
        image = self.normalise(prepared, image)
        label = np.pad(prepared.label[box], pad).astype(np.int32)
        return (image, label) if flat is None else (image.squeeze(flat), label.squeeze(flat))

    def missing(self, prepared: Prepared) -> list[tuple[int, int]]:
        """Voxels before and behind a case, along each axis, that it lacks to fill a patch."""
        lacking = [max(k - n, 0) for n, k in zip(prepared.shape, self.patch)]
        return [(m // 2, m - m // 2) for m in lacking]

    def normalise(self, prepared: Prepared, image: np.ndarray) -> np.ndarray:
        """Intensities as the network sees them; every context slice as the channel that it is of."""
        channels = prepared.image.shape[-1]
        image = image.reshape(*image.shape[:-1], -1, channels)
        image = self.preprocess.normalise(image, prepared.meta['statistics'], self.intensities)
        return np.ascontiguousarray(image.reshape(*image.shape[:-2], -1))

    def air(self, prepared: Prepared) -> np.ndarray:
        """A case's minimum as the network sees it, `[C]`: what is beyond the image."""
        low = np.array(prepared.meta['statistics']['min'])
        return np.tile(self.normalise(prepared, low), 2 * self.preprocess.context + 1)

    def volume(self, prepared: Prepared) -> np.ndarray:
        """A whole case as the network sees it, `[X, Y, Z, C]` float32, with its context slices as channels."""
        image = self.normalise(prepared, np.asarray(prepared.image))
        return with_context(image, self.preprocess.context, flat_axis(self.patch) or 0)


def dataset(source: Source, *, patch: tuple[int, int, int], spacing: tuple[float, float, float] | None = None,
            crop: bool = True, intensity: Mapping[str, Any] | None = None, context: int = 0,
            foreground: float = 1 / 3, cache: str = '') -> Volumes:
    """Prepares a source's cases, or finds them prepared, and makes them a data set.

    Args:
      source: the cases.
      patch: voxels along x, y, z of a training patch and of an inference window.
      spacing: see `VolumePreprocess`, as for crop, intensity and context.
      crop: …
      intensity: …
      context: …
      foreground: the share of patches centred on a class; nnU-Net's third by default.
      cache: the folder of prepared cases; by default in the user's cache folder.
    """
    preprocess = volume_preprocess(patch=patch, spacing=spacing, crop=crop, intensity=intensity, context=context)
    root = pathlib.Path(cache).expanduser() if cache else pathlib.Path.home() / '.cache' / 'medjax' / 'volumes'
    # A few at a time: each holds several copies of its volume meanwhile.
    with futures.ThreadPoolExecutor(min(THREADS, cores())) as threads:
        prepared = tuple(threads.map(lambda case: _prepare(case, source, preprocess, root), source.cases))
    train = [p for p in prepared if p.case.split == 'train']
    if not train:
        raise InputError(f'config.data.source: no training case among the {len(prepared)} cases; expected split train')
    samples = (p.image.reshape(-1, p.image.shape[-1])[p.sample] for p in train if p.voxels)
    return Volumes(source, prepared, preprocess, preprocess.training_statistics(samples), tuple(patch), foreground)


def _prepare(case: Case, source: Source, preprocess: VolumePreprocess, root: pathlib.Path) -> Prepared:
    files = [(name, os.stat(name).st_size, os.stat(name).st_mtime_ns) for name in case.files]
    key = json.dumps([VERSION, case.id, case.how, files, preprocess.spacing, preprocess.crop, source.classes])
    folder = root / hashlib.sha256(key.encode()).hexdigest()[:24]
    if folder.is_dir():
        return Prepared(case, folder)
    image, label, statistics = preprocess.to_grid(*case.read())
    if label is None:
        raise InputError(f'{case.id}: no label; training and evaluation need one for every case')
    if label.array.shape != image.array.shape[:3]:
        raise InputError(f"{case.id}: on the network's grid label {label.array.shape}, image {image.array.shape[:3]}; "
                         'expected one shape')
    values = np.setdiff1d(label.array, [IGNORED])
    if values.size and (values[0] < 0 or values[-1] >= len(source.classes)):
        raise InputError(f'{label.path}: label values {values[0]}..{values[-1]}; expected 0..{len(source.classes) - 1} '
                         f'({", ".join(source.classes)})')
    array, label_array = image.array, label.array.astype(np.uint8)
    rng, voxels, counts = np.random.default_rng(0), {}, {}
    for value in values[values > 0]:
        where = np.flatnonzero(label_array == value)
        counts[str(int(value))] = where.size
        where = np.sort(rng.choice(where, LISTED, replace=False)) if where.size > LISTED else where
        voxels[str(int(value))] = where.astype(np.uint32 if label_array.size < 2**32 else np.uint64)
    digest = ''.join(hashlib.sha256(np.ascontiguousarray(a)).hexdigest() for a in (array, label_array))
    meta = {'affine': image.affine.tolist(), 'statistics': statistics, 'hash': digest, 'counts': counts,
            'shape': label_array.shape}
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix='tmp-') as name:
            part = pathlib.Path(name) / 'case'
            part.mkdir()
            np.save(part / 'image.npy', array)
            np.save(part / 'label.npy', label_array)
            np.savez(part / 'voxels.npz', **voxels)
            (part / 'meta.json').write_text(json.dumps(meta))
            with contextlib.suppress(FileExistsError):  # another process was faster
                part.rename(folder)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            return Prepared(case, folder)
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        raise InputError(f'{root}: cannot keep prepared cases: {error.strerror}; free some space or set '
                         'config.data.cache to another folder') from error
    return Prepared(case, folder)
