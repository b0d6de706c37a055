"""Image translation: images in two contrasts, pairs on one grid or unpaired."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import ndimage

from medjax.data.datasets import volumes
from medjax.data.datasets.base import Dataset
from medjax.data.datasets.prepared_volumes import PreparedVolume
from medjax.data.datasets.resident import Generator, ResidentPatches
from medjax.data.datasets.volumes import VolumeDataset
from medjax.data.io.geometry import Image
from medjax.data.source import Case, Source
from medjax.errors import InputError, few
from medjax.options import Count, Float, Positive, Probability

SIDES = ('image', 'target')  # the input contrast, and the one to generate
PAIR = (1, 1)  # the `target` of a case that has both contrasts: whether it has an image, and a target
HIGH = 99.9  # the percentile of the training heads that is the upper end of a contrast's range
BINS = 256  # of the histogram for Otsu's threshold
CLEARED = 0.3  # fraction of an image's border with one value from which the image counts as skull-stripped or masked
UNPAIRED = ('Training draws the two contrasts independently, from different places: no pair is used. Pairs of '
            'validation and test cases are used for evaluation only.')

Limits = Mapping[str, Sequence[float]]


class Contrasts(NamedTuple):
    """The result of `Case.read` for translation, on one grid.

    Attributes:
      image: the input contrast, `[X, Y, Z]` or `[X, Y, Z, C]`, if any.
      target: the contrast to generate, if any.
      head: the mask of the head, `[X, Y, Z]`, if it is known.
    """

    image: Image | None
    target: Image | None
    head: Image | None = None


def scale_to_range(array: Any, limits: Limits) -> Any:
    """Maps a contrast's range to -1 … 1, linearly also beyond it.

    Args:
      array: `[…, C]`.
      limits: `low` and `high` of each channel.
    """
    low, high = (np.asarray(limits[end], np.float32) for end in ('low', 'high'))
    return (array - low) * (2 / (high - low)) - 1


def unscale_from_range(array: Any, limits: Limits) -> Any:
    """The inverse of `scale_to_range`."""
    low, high = (np.asarray(limits[end], np.float32) for end in ('low', 'high'))
    return (array + 1) * ((high - low) / 2) + low


def head_mask(image: Image) -> Image:
    """The mask of the head, or of the visible object, in an image, uint8 `[X, Y, Z]`.

    Where most of the image's border has one value, the image was masked: all voxels with another value. Otherwise the
    largest connected component above Otsu's threshold (1979), with holes filled plane by plane.
    """
    first = image.array[..., 0] if image.array.ndim == 4 else image.array
    thick = [axis for axis in range(3) if first.shape[axis] > 1]
    edge = np.concatenate([np.take(first, place, axis).ravel() for axis in thick for place in (0, -1)] or [first[0, 0]])
    values, counts = np.unique(edge, return_counts=True)
    if counts.max() > CLEARED * edge.size:
        return dataclasses.replace(image, array=(first != values[counts.argmax()]).astype(np.uint8))
    components, _ = ndimage.label(first > _otsu_threshold(first))
    sizes = np.bincount(components.ravel())[1:]
    found = components == 1 + sizes.argmax() if sizes.size else np.ones(first.shape, bool)
    planes = [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(found, 2, 0)]
    return dataclasses.replace(image, array=np.stack(planes, 2).astype(np.uint8))


def _otsu_threshold(values: np.ndarray) -> float:
    """The threshold with the largest variance between the two classes."""
    counts, edges = np.histogram(values, BINS)
    centres = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts), np.cumsum(counts * centres)
    above = below[-1] - below
    with np.errstate(invalid='ignore', divide='ignore'):
        variance = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(edges[1:][np.nan_to_num(variance).argmax()])


@dataclasses.dataclass(frozen=True)
class TranslationDataset(Dataset):
    """A data set of two contrasts.

    Attributes:
      source: the cases as stored.
      image: the input contrast on the network's grid; its labels are head masks.
      target: the same for the contrast to generate.
      limits: `low` and `high` of each channel, for each contrast; see `scale_to_range`.
      paired: whether training uses pairs.
    """

    source: Source
    image: VolumeDataset
    target: VolumeDataset
    limits: Mapping[str, Limits]
    paired: bool

    @functools.cached_property
    def warnings(self) -> list[str]:
        """Unpaired training, and held-out cases without a partner; a line each."""
        single = [case.id for case in self.source.cases if case.split != 'train' and case.target != PAIR]
        lines = [] if self.paired else [UNPAIRED]
        if single:
            lines.append(f'Without a partner, and therefore without PSNR, SSIM and error: {len(single)} cases '
                         f'({few(single)}).')
        return lines

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """Classes, channels and intensity ranges of both contrasts; stored with each checkpoint."""
        return {'classes': list(self.source.classes), 'paired': self.paired,
                'channels': [len(self.limits[side]['low']) for side in SIDES],
                'intensities': {side: {end: list(ends) for end, ends in self.limits[side].items()} for side in SIDES},
                'ranges': self.image.ranges}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over both contrasts' arrays, patients and splits."""
        return hashlib.sha256(''.join([self.image.fingerprint, self.target.fingerprint]).encode()).hexdigest()

    @functools.cached_property
    def prepared(self) -> dict[tuple[str, str], PreparedVolume]:
        """The cases on the network's grid, by side and case id."""
        return {(side, volume.case.id): volume for side in SIDES for volume in getattr(self, side).prepared}

    def __len__(self) -> int:
        """The number of patches in an epoch: those of the input contrast."""
        return len(self.image)

    def network_input(self, side: str, name: str) -> np.ndarray | None:
        """One contrast of a whole case as the network takes it, `[X, Y, Z, C]` float32; None where it is missing."""
        volume = self.prepared.get((side, name))
        if volume is None:
            return None
        return scale_to_range(getattr(self, side).network_input(volume), self.limits[side])

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A patch of each contrast: `image [*S, C]` and `target [*S, T]` float32, `spacing` mm, the image's `id`."""
        places = np.split(np.array(self.place(number, rng)), 2)
        out: dict[str, Any] = {}
        for side, (case, *start) in zip(SIDES, places):
            data = getattr(self, side)
            patch, _ = data.patch_at(data.training[case], np.array(start))
            out[side] = scale_to_range(patch, self.limits[side]).astype(np.float32)
        first = self.image.training[places[0][0]]
        return {**out, 'spacing': self.image.spacing(first), 'id': first.case.id}

    def place(self, number: int, rng: np.random.Generator) -> tuple[int, ...]:
        """The case and the first voxel of an item's patch in the images, and the same in the targets.

        For pairs both are equal. Otherwise the target's are drawn independently, from any training case.
        """
        image = self.image.place(number, rng)
        if self.paired:
            return (*image, *image)
        return (*image, *self.target.place(int(rng.integers(len(self.target))), rng))

    def resident(self) -> 'ResidentContrasts':
        """The training cases for device memory."""
        return ResidentContrasts(self, {side: getattr(self, side).resident() for side in SIDES})


@dataclasses.dataclass(frozen=True)
class ResidentContrasts:
    """The training cases of both contrasts in device memory.

    Attributes:
      data: the data set.
      sides: the training cases of each contrast.
    """

    data: TranslationDataset
    sides: Mapping[str, ResidentPatches]

    @property
    def size(self) -> float:
        """Bytes on a device; infinity where the intensities of a contrast are too many for 32-bit indices."""
        return sum(side.size for side in self.sides.values())

    def place(self, number: int, rng: Generator) -> tuple[int, ...]:
        """The place of an item in both contrasts; see `TranslationDataset.place`."""
        return self.data.place(number, rng())

    def load(self) -> dict[str, np.ndarray]:
        """The arrays of both contrasts, with the contrast before each name."""
        return {f'{side} {name}': array for side, resident in self.sides.items()
                for name, array in resident.load().items()}

    def pick(self, arrays: Mapping[str, jax.Array], place: jax.Array) -> dict[str, Any]:
        """A patch of each contrast, as `TranslationDataset.item`; traceable."""
        out = {}
        for number, (side, resident) in enumerate(self.sides.items()):
            own = {name.removeprefix(f'{side} '): array for name, array in arrays.items() if name.startswith(side)}
            item = resident.pick(own, place[4 * number:4 * number + 4])
            out[side] = scale_to_range(item['image'], self.data.limits[side])
            out.setdefault('spacing', item['spacing'])
        return out


def dataset(source: Source, *, patch: tuple[Count, Count, Count],
            spacing: tuple[Positive, Positive, Positive] | None = None, paired: bool = True, all_voxels: bool = False,
            ranges: Mapping[str, tuple[Float, Float]] | None = None, foreground: Probability = 0.0,
            cache: str = '') -> TranslationDataset:
    """The data set of a source's contrasts, prepared now or found in the cache.

    Args:
      source: the cases; the `target` of each says which contrasts it has, see `PAIR`.
      patch: voxels along x, y, z of a training patch and of an inference window.
      spacing: mm along x, y, z to resample to; None keeps each image's own.
      paired: use the target's patch at the place of the image's; otherwise each has its own place.
      all_voxels: evaluate all voxels, as for 2D images without background; otherwise those of the head, see
        `head_mask`.
      ranges: for each contrast the ends of the range that is -1 … 1 for the network and 0 … 1 for errors; by default
        the minimum of the training cases and the 99.9th percentile of the training heads.
      foreground: the fraction of patches that are centred on a voxel of the head.
      cache: the folder of prepared cases; by default in the user's cache folder.

    Raises:
      InputError: pairs are wanted and a training case has no partner; an empty range.
    """
    if source.problem != 'translation':
        raise InputError('config.data: translation needs a source of two contrasts, such as translation_folder or '
                         'simulated_contrast')
    for case in source.cases:
        if paired and case.split == 'train' and case.target != PAIR:
            raise InputError(f'{case.id}: no {source.classes[case.target.index(0)]} image; expected a partner for '
                             'every training case, or config.data.paired=False and a CycleGAN')
    options = {**preprocess_options({'patch': patch, 'spacing': spacing}), 'foreground': foreground, 'cache': cache}
    sides = {side: volumes.dataset(_one_contrast(source, place, all_voxels), **options)
             for place, side in enumerate(SIDES)}
    for side in ranges or {}:
        if side not in SIDES:
            raise InputError(f'config.data.ranges.{side}: not a contrast; expected some of: {", ".join(SIDES)}')
    limits = {side: _limits(data, (ranges or {}).get(side), f'config.data.ranges.{side}')
              for side, data in sides.items()}
    return TranslationDataset(source, sides['image'], sides['target'], limits, paired)


def preprocess_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `volume_preprocess` for the options of `dataset`."""
    return {'patch': data['patch'], 'spacing': data.get('spacing'), 'crop': False, 'intensity': {'name': 'none'}}


def _one_contrast(source: Source, place: int, all_voxels: bool) -> Source:
    """The source of one contrast, with head masks as labels."""
    def read(case: Case) -> tuple[Image, Image]:
        contrasts = case.read()
        mask = contrasts.head or head_mask(contrasts.image or contrasts.target)
        if all_voxels:
            mask = dataclasses.replace(mask, array=np.ones(mask.array.shape, np.uint8))
        return contrasts[place], mask

    cases = tuple(dataclasses.replace(case, read=functools.partial(read, case),
                                      how=f'{case.how} {place} {all_voxels}')
                  for case in source.cases if case.target[place])
    if not any(case.split == 'train' for case in cases):
        raise InputError(f'config.data.source: no {source.classes[place]} image in training; expected some')
    return dataclasses.replace(source, cases=cases, classes=('background', 'head'), problem='')


def _limits(data: VolumeDataset, given: Sequence[float] | None, where: str) -> dict[str, list[float]]:
    """The range of each channel of a contrast."""
    count = data.prepared[0].image.shape[-1]
    if given is not None:
        low, high = [float(given[0])] * count, [float(given[-1])] * count
    else:
        voxels = [volume.image.reshape(-1, count)[volume.sample] for volume in data.training if volume.voxels]
        low = np.min([volume.meta['statistics']['min'] for volume in data.training], 0).tolist()
        high = np.percentile(np.concatenate(voxels), HIGH, axis=0).tolist() if voxels else low
    if not all(a < b for a, b in zip(low, high)):
        raise InputError(f'{where}: {low} to {high}; expected a range of intensities, the lower end first')
    return {'low': low, 'high': high}
