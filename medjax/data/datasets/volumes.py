"""Segmentation of volumes: patches of the training cases, at random or centred on a class, and whole cases."""

import dataclasses
import functools
import hashlib
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data import training_ranges
from medjax.data.datasets import prepared_cache
from medjax.data.datasets.base import Dataset, check_training_cases, untrained_classes
from medjax.data.datasets.prepared_volumes import PreparedVolume, prepare_volumes
from medjax.data.datasets.resident import ResidentPatches
from medjax.data.io import geometry
from medjax.data.labels import first_stage
from medjax.data.source import Source
from medjax.data.transforms.volumes import VolumePreprocess, flat_axis, volume_preprocess, with_context
from medjax.errors import InputError
from medjax.options import Count, NonNegativeInt, Positive, Probability


@dataclasses.dataclass(frozen=True)
class VolumeDataset(Dataset):
    """A data set of volumes with a label each.

    Attributes:
      source: the cases as stored.
      prepared: the cases on the network's grid, in the source's order.
      preprocess: the network's grid and intensity scale.
      intensities: statistics of the training cases' intensities.
      patch: voxels along x, y, z; one of them 1 for a 2D network.
      foreground: the fraction of patches that are centred on a voxel of a random class.
    """

    source: Source
    prepared: tuple[PreparedVolume, ...]
    preprocess: VolumePreprocess
    intensities: Mapping[str, list[float]]
    patch: tuple[int, int, int]
    foreground: float

    @property
    def statistics(self) -> dict[str, Any]:
        """Intensities, channels, classes and ranges of the training cases; stored with each checkpoint."""
        regions = {name: list(numbers) for name, numbers in self.source.regions.items()}
        return {'intensities': dict(self.intensities), 'channels': self.prepared[0].image.shape[-1],
                'classes': list(self.source.classes), 'ranges': self.ranges,
                **({'regions': regions} if regions else {})}

    @functools.cached_property
    def ranges(self) -> dict[str, Any]:
        """The ranges of the training images; see `training_ranges.of_images`."""
        return training_ranges.of_images(volume.meta['acquired'] for volume in self.training)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the prepared arrays, patients and splits."""
        lines = [f"{p.case.split} {p.case.patient} {p.case.id} {p.meta['hash']}" for p in self.prepared]
        return hashlib.sha256('\n'.join(lines).encode()).hexdigest()

    @functools.cached_property
    def warnings(self) -> list[str]:
        """Classes that no training case has; a line each. Cases are counted, not voxels."""
        counts = {split: self._class_counts(self.cases(split)) for split in self.counts}
        return untrained_classes(self.source.classes[1:], counts, len(self.training))

    def _class_counts(self, volumes: Sequence[PreparedVolume]) -> np.ndarray:
        """In how many of some cases each class occurs, `[K - 1]`, without the background."""
        present = [[self._voxels(volume, name) > 0 for name in self.source.classes[1:]] for volume in volumes]
        return np.array(present, int).reshape(len(volumes), -1).sum(0)

    @functools.cached_property
    def case_values(self) -> dict[str, list[float]]:
        """Presence, volume or area, and connected parts of each class in every case."""
        unit, size = {'volume': ('ml', 1e-3), 'picture': ('mm²', 1.0), 'pixels': ('px', 1.0)}[self.source.grid]
        out: dict[str, list[float]] = {}
        for number, name in enumerate(self.source.classes[1:], 1):
            counts = [self._voxels(volume, name) for volume in self.prepared]
            parts = [volume.meta['parts'].get(str(number), 0) for volume in self.prepared]
            scale = [size * self._measure(volume) for volume in self.prepared]
            kind = 'Volume' if unit == 'ml' else 'Area'
            out |= {f'With {name}': [count > 0 for count in counts],
                    f'{kind} of {name} ({unit})': [count * one for count, one in zip(counts, scale)]}
            if not self.source.regions:  # the parts of a region's classes are not those of the region
                out[f'Connected parts of {name}'] = parts
        return out

    def _voxels(self, volume: PreparedVolume, name: str) -> int:
        """The number of voxels of a class, or of a region, in a case."""
        numbers = self.source.regions.get(name, (self.source.classes.index(name),))
        return sum(volume.meta['counts'].get(str(number), 0) for number in numbers)

    def _measure(self, volume: PreparedVolume) -> float:
        """The volume of a case's voxel, mm³, or the area of its pixel, mm² or px."""
        spacing = geometry.spacing(volume.affine)
        return float(np.prod(spacing if self.source.grid == 'volume' else spacing[:2]))

    def cases(self, split: str) -> list[PreparedVolume]:
        """The cases of a split, none where there is no such split."""
        return [volume for volume in self.prepared if volume.case.split == split]

    @functools.cached_property
    def training(self) -> list[PreparedVolume]:
        """The cases of the split 'train'."""
        return self.cases('train')

    @functools.cached_property
    def _items(self) -> np.ndarray:
        """The training case of each item: as many items as patches fill the case, so that all voxels are as likely."""
        return np.repeat(np.arange(len(self.training)), [
            math.prod(math.ceil(s / k) for s, k in zip(volume.shape, self.patch)) for volume in self.training])

    def __len__(self) -> int:
        """The number of patches in an epoch."""
        return len(self._items)

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A training patch: `image [*S, C]` float32, `label [*S]` int32, `spacing` mm, and the `id` of its case."""
        case, *start = self.place(number, rng)
        volume = self.training[case]
        image, label = self.patch_at(volume, np.array(start))
        return {'image': image, 'label': label, 'spacing': self.spacing(volume), 'id': volume.case.id}

    def place(self, number: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """The number of an item's training case, and the first voxel of its patch."""
        case = int(self._items[number])
        volume = self.training[case]
        room = [max(n - k, 0) for n, k in zip(volume.shape, self.patch)]
        if volume.voxels and rng.random() < self.foreground:
            listed = volume.voxels[sorted(volume.voxels)[rng.integers(len(volume.voxels))]]
            centre = np.unravel_index(listed[rng.integers(len(listed))], volume.shape)
            x, y, z = (min(max(int(c) - k // 2, 0), most) for c, k, most in zip(centre, self.patch, room))
        else:
            x, y, z = (int(rng.integers(most + 1)) for most in room)
        return case, x, y, z

    def resident(self) -> ResidentPatches:
        """The training cases for device memory."""
        shapes = [tuple(n + before + after for n, (before, after) in zip(volume.shape, self.padding(volume)))
                  for volume in self.training]
        return ResidentPatches(shapes, [self.spacing(volume) for volume in self.training],
                               self.training[0].image.shape[-1], self.patch, self.preprocess.context, self._fill,
                               self.place)

    def _fill(self, number: int, image: np.ndarray, label: np.ndarray) -> None:
        """Writes a training case and its padding, `image [X, Y, Z, C]` and `label [X, Y, Z]`, which is 0 before."""
        volume, channels = self.training[number], image.shape[-1]
        if volume.image.shape[-1] != channels:
            raise InputError(f'{volume.case.id}: {volume.image.shape[-1]} channels; expected {channels}, as the first '
                             'training case has')
        box = tuple(slice(before, before + n) for (before, _), n in zip(self.padding(volume), volume.shape))
        image[:] = self.background(volume)[:channels]
        image[box] = self.normalise(volume, volume.image)
        label[box] = volume.label

    def spacing(self, volume: PreparedVolume) -> np.ndarray:
        """A case's voxel spacing along the axes of its patches, mm, float32."""
        return np.array([s for s, k in zip(geometry.spacing(volume.affine), self.patch) if k > 1], np.float32)

    def patch_at(self, volume: PreparedVolume, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The patch that starts at a voxel; a case smaller than the patch is padded with its minimum and background.

        Returns:
          `image [*S, C]` float32 and `label [*S]` int32.
        """
        flat, context = flat_axis(self.patch), self.preprocess.context
        box = tuple(slice(s, min(s + k, n)) for s, k, n in zip(start, self.patch, volume.shape))
        padding = self.padding(volume)
        if context:
            planes = np.arange(start[flat] - context, start[flat] + context + 1)
            slab = np.take(volume.image, np.clip(planes, 0, volume.shape[flat] - 1), flat)
            slab = slab[tuple(slice(None) if axis == flat else part for axis, part in enumerate(box))]
            image = np.concatenate(np.split(slab, len(planes), flat), -1)
        else:
            image = volume.image[box]
        if np.any(padding):
            low = np.array(volume.meta['statistics']['min'] * (2 * context + 1), image.dtype)
            padded = np.tile(low, (*self.patch, 1))
            padded[tuple(slice(before, before + n) for (before, _), n in zip(padding, image.shape))] = image
            image = padded
        image = self.normalise(volume, image)
        label = np.pad(volume.label[box], padding).astype(np.int32)
        return (image, label) if flat is None else (image.squeeze(flat), label.squeeze(flat))

    def padding(self, volume: PreparedVolume) -> list[tuple[int, int]]:
        """Voxels that are added before and after a case, along each axis, so that it fills a patch."""
        lacking = [max(k - n, 0) for n, k in zip(volume.shape, self.patch)]
        return [(m // 2, m - m // 2) for m in lacking]

    def normalise(self, volume: PreparedVolume, image: np.ndarray) -> np.ndarray:
        """Intensities `[..., C * slices]` on the network's scale, each context slice by its channel's statistics."""
        channels = volume.image.shape[-1]
        image = image.reshape(*image.shape[:-1], -1, channels)
        image = self.preprocess.normalise(image, volume.meta['statistics'], self.intensities)
        return np.ascontiguousarray(image.reshape(*image.shape[:-2], -1))

    def background(self, volume: PreparedVolume) -> np.ndarray:
        """A case's minimum on the network's scale, `[C * slices]`: the value beyond the image."""
        low = np.array(volume.meta['statistics']['min'])
        return np.tile(self.normalise(volume, low), 2 * self.preprocess.context + 1)

    def network_input(self, volume: PreparedVolume) -> np.ndarray:
        """A whole case as the network takes it, `[X, Y, Z, C * slices]` float32, with context slices as channels."""
        image = self.normalise(volume, np.asarray(volume.image))
        return with_context(image, self.preprocess.context, flat_axis(self.patch) or 0)


def dataset(source: Source, *, patch: tuple[Count, Count, Count],
            spacing: tuple[Positive, Positive, Positive] | None = None, crop: bool = True,
            intensity: Mapping[str, Any] | None = None, context: NonNegativeInt = 0, foreground: Probability = 1 / 3,
            cache: str = '', previous: str = '') -> VolumeDataset:
    """The data set of a source's volumes, prepared now or found in the cache.

    Args:
      source: the cases, each with an image and a label.
      patch: voxels along x, y, z of a training patch and of an inference window.
      spacing: see `VolumePreprocess`, as for crop, intensity and context.
      crop: …
      intensity: …
      context: …
      foreground: the fraction of patches that are centred on a voxel of a random class; by default nnU-Net's third.
      cache: the folder of prepared cases; by default in the user's cache folder.
      previous: the folder of a first stage, `evaluate --ensemble --labels` of all its folds: images then have its
        labels as further channels, a cascade; see `first_stage`.

    Raises:
      InputError: a case that cannot be read or whose label is invalid; no training case; an option with an invalid
        value.
    """
    preprocess = volume_preprocess(patch=patch, spacing=spacing, crop=crop, intensity=intensity, context=context,
                                   previous=previous, classes=len(source.classes))
    check_training_cases(source)
    if previous:
        source = first_stage.with_labels(source, pathlib.Path(previous))
    prepared = prepare_volumes(source.cases, source.classes, preprocess, prepared_cache.cache_root(cache, 'volumes'))
    train = [volume for volume in prepared if volume.case.split == 'train']
    samples = (volume.image.reshape(-1, volume.image.shape[-1])[volume.sample] for volume in train if volume.voxels)
    return VolumeDataset(source, prepared, preprocess, preprocess.training_statistics(samples), tuple(patch),
                         foreground)
