"""Images in two contrasts, the one to be made of the other: pairs on one grid, or images that have no partner."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import ndimage

from medjax.data.datasets import volumes
from medjax.data.datasets.base import Parted
from medjax.data.datasets.volumes import Prepared, Volumes
from medjax.data.io.geometry import Image
from medjax.data.source import Case, Source
from medjax.errors import InputError, few

SIDES = ('image', 'target')  # what is given, and what is made of it
PAIR = (1, 1)  # a case's `target`: whether it has an image, and a target
HIGH = 99.9  # percentile of the training heads that is the top of a contrast's range
BINS = 256  # of the histogram that tells head and air apart
CLEARED = 0.3  # of an image's border with one value: it was cleared about the head
UNPAIRED = ('Training draws the two contrasts each by itself, from other places: no pair is ever shown. Pairs of '
            'validation and test cases are for judging alone.')

Limits = Mapping[str, Sequence[float]]


class Views(NamedTuple):
    """What a case's `read` gives: each on one grid, `[X, Y, Z]` or `[X, Y, Z, C]`; None where there is none."""

    image: Image | None
    target: Image | None
    head: Image | None = None


def scaled(array: Any, limits: Limits) -> Any:
    """Maps a contrast's range, `low` to `high` of each channel, to -1 … 1 for `[…, C]`; beyond it goes on."""
    low, high = (np.asarray(limits[end], np.float32) for end in ('low', 'high'))
    return (array - low) * (2 / (high - low)) - 1


def unscaled(array: Any, limits: Limits) -> Any:
    """The way back from `scaled`."""
    low, high = (np.asarray(limits[end], np.float32) for end in ('low', 'high'))
    return (array + 1) * ((high - low) / 2) + low


def head(image: Image) -> Image:
    """Where an image shows something, uint8 `[X, Y, Z]`.

    Of an image that was cleared about the head, whose border has one value mostly, what is not that value; of others
    what is brighter than Otsu's threshold (1979), the largest part of it, filled plane by plane.
    """
    first = image.array[..., 0] if image.array.ndim == 4 else image.array
    thick = [axis for axis in range(3) if first.shape[axis] > 1]
    edge = np.concatenate([np.take(first, place, axis).ravel() for axis in thick for place in (0, -1)] or [first[0, 0]])
    values, counts = np.unique(edge, return_counts=True)
    if counts.max() > CLEARED * edge.size:
        return dataclasses.replace(image, array=(first != values[counts.argmax()]).astype(np.uint8))
    parts, _ = ndimage.label(first > _otsu(first))
    sizes = np.bincount(parts.ravel())[1:]
    found = parts == 1 + sizes.argmax() if sizes.size else np.ones(first.shape, bool)
    planes = [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(found, 2, 0)]
    return dataclasses.replace(image, array=np.stack(planes, 2).astype(np.uint8))


def _otsu(values: np.ndarray) -> float:
    """The threshold whose two groups lie farthest apart for how large they are."""
    counts, edges = np.histogram(values, BINS)
    centres = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts), np.cumsum(counts * centres)
    above = below[-1] - below
    with np.errstate(invalid='ignore', divide='ignore'):
        apart = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(edges[1:][np.nan_to_num(apart).argmax()])


@dataclasses.dataclass(frozen=True)
class Translated(Parted):
    """A data set of two contrasts; `core.loop` and `data.pipeline` say what else is asked of it.

    Attributes:
      source: the cases as stored.
      image: what is given, on the network's grid; the labels are heads.
      target: the same of what is to be made.
      limits: `low` and `high` of each side's range, by channel; see `scaled`.
      paired: whether training shows pairs.
    """

    source: Source
    image: Volumes
    target: Volumes
    limits: Mapping[str, Limits]
    paired: bool

    @property
    def warnings(self) -> Sequence[str]:
        """What is to be minded in these data, a line each."""
        lone = [case.id for case in self.source.cases if case.split != 'train' and case.target != PAIR]
        told = f'Without a partner, and so without PSNR, SSIM and error: {len(lone)} cases ({few(lone)}).'
        return [*[UNPAIRED] * (not self.paired), *[told] * bool(lone)]

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """What the task and `predict` have to know of the training data; stored with each checkpoint."""
        return {'classes': list(self.source.classes), 'paired': self.paired,
                'channels': [len(self.limits[side]['low']) for side in SIDES],
                'intensities': {side: {end: list(ends) for end, ends in self.limits[side].items()} for side in SIDES}}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over both sides' arrays and the split of every case."""
        return hashlib.sha256(''.join([self.image.fingerprint, self.target.fingerprint]).encode()).hexdigest()

    @functools.cached_property
    def prepared(self) -> dict[tuple[str, str], Prepared]:
        """By side and case id, what is on the network's grid."""
        return {(side, one.case.id): one for side in SIDES for one in getattr(self, side).prepared}

    def __len__(self) -> int:
        """Patches of an epoch: those of the images."""
        return len(self.image)

    def whole(self, side: str, name: str) -> np.ndarray | None:
        """A whole case of a side as the network sees it, `[X, Y, Z, C]` float32; None where it has none."""
        one = self.prepared.get((side, name))
        return None if one is None else scaled(getattr(self, side).volume(one), self.limits[side])

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A patch of each side, `image [*S, C]` and `target [*S, T]` float32, `spacing` mm, the image's case's `id`."""
        places = np.split(np.array(self.place(number, rng)), 2)
        out: dict[str, Any] = {}
        for side, (case, *start) in zip(SIDES, places):
            of = getattr(self, side)
            patch, _ = of.cut(of.training[case], np.array(start))
            out[side] = scaled(patch, self.limits[side]).astype(np.float32)
        first = self.image.training[places[0][0]]
        return {**out, 'spacing': self.image.millimetres(first), 'id': first.case.id}

    def place(self, number: int, rng: np.random.Generator) -> tuple[int, ...]:
        """Where item `number` is cut: case and first voxel in the images, and the same in the targets.

        Of pairs both are one place. Else the target's is drawn by itself: any case, any place.
        """
        one = self.image.place(number, rng)
        return (*one, *(one if self.paired else self.target.place(int(rng.integers(len(self.target))), rng)))

    def resident(self) -> 'Resident':
        """The training cases as they may lie on the device."""
        return Resident(self)


class Resident:
    """Training cases of both sides on the device, as `pipeline.Resident` says."""

    def __init__(self, data: Translated):
        self._data, self._sides = data, {side: getattr(data, side).resident() for side in SIDES}

    @property
    def size(self) -> float:
        """Bytes on a device; infinite where 32 bits cannot number the intensities of a side."""
        return sum(side.size for side in self._sides.values())

    def place(self, number: int, rng: Callable[[], np.random.Generator]) -> tuple[int, ...]:
        """See `Translated.place`."""
        return self._data.place(number, rng())

    def load(self) -> dict[str, np.ndarray]:
        """Both sides' arrays, each name after its side."""
        return {f'{side} {name}': array for side, of in self._sides.items() for name, array in of.load().items()}

    def pick(self, arrays: Mapping[str, jax.Array], place: jax.Array) -> dict[str, Any]:
        """Cuts one item, as `Translated.item` does; traceable."""
        out = {}
        for number, (side, of) in enumerate(self._sides.items()):
            own = {name.removeprefix(f'{side} '): array for name, array in arrays.items() if name.startswith(side)}
            cut = of.pick(own, place[4 * number:4 * number + 4])
            out[side] = scaled(cut['image'], self._data.limits[side])
            out.setdefault('spacing', cut['spacing'])
        return out


def dataset(source: Source, *, patch: tuple[int, int, int], spacing: tuple[float, float, float] | None = None,
            paired: bool = True, whole: bool = False, ranges: Mapping[str, Sequence[float]] | None = None,
            foreground: float = 0.0, cache: str = '') -> Translated:
    """Brings both contrasts onto the network's grid, or finds them prepared, and makes them a data set.

    Args:
      source: the cases; what each has its `target` says, see `PAIR`.
      patch: voxels along x, y, z of a training patch and of an inference window.
      spacing: mm along x, y, z to resample to; None keeps each image's own.
      paired: show a target's patch from where the image's is; else each from a place of its own.
      whole: judge all voxels, as of pictures without air; else those of the head, see `head`.
      ranges: by side the ends of what is -1 … 1 for the network, and 0 … 1 for errors; a side that is not named goes
        from its least training voxel to the 99.9th percentile of the training heads.
      foreground: the share of patches centred on a voxel of the head.
      cache: the folder of prepared cases; by default in the user's cache folder.

    Raises:
      InputError: pairs are wanted and a training case has no partner; a range without extent.
    """
    if source.problem != 'translation':
        raise InputError('config.data: translated needs a source of two contrasts, such as domains or phantom_contrast')
    for case in source.cases:
        if paired and case.split == 'train' and case.target != PAIR:
            raise InputError(f'{case.id}: no {source.classes[case.target.index(0)]} image; expected a partner for '
                             'every training case, or config.data.paired=False and a CycleGAN')
    options = dict(patch=patch, spacing=spacing, crop=False, intensity={'name': 'none'}, foreground=foreground,
                   cache=cache)
    sides = {side: volumes.dataset(_side(source, place, whole), **options) for place, side in enumerate(SIDES)}
    for side in ranges or {}:
        if side not in SIDES:
            raise InputError(f'config.data.ranges.{side}: no side; expected some of: {", ".join(SIDES)}')
    limits = {side: _limits(of, (ranges or {}).get(side), f'config.data.ranges.{side}') for side, of in sides.items()}
    return Translated(source, sides['image'], sides['target'], limits, paired)


def _side(source: Source, place: int, whole: bool) -> Source:
    """One of a source's contrasts with the heads as labels, as volumes take it."""
    def read(case: Case) -> tuple[Image, Image]:
        views = case.read()
        shown = views.head or head(views.image or views.target)
        if whole:
            shown = dataclasses.replace(shown, array=np.ones(shown.array.shape, np.uint8))
        return views[place], shown

    cases = tuple(dataclasses.replace(case, read=functools.partial(read, case), how=f'{case.how} {place} {whole}')
                  for case in source.cases if case.target[place])
    if not any(case.split == 'train' for case in cases):
        raise InputError(f'config.data.source: no {source.classes[place]} image in training; expected some')
    return dataclasses.replace(source, cases=cases, classes=('background', 'head'), problem='')


def _limits(of: Volumes, given: Sequence[float] | None, where: str) -> dict[str, list[float]]:
    """A side's range, for each channel."""
    count = of.prepared[0].image.shape[-1]
    if given is not None:
        low, high = [float(given[0])] * count, [float(given[-1])] * count
    else:
        voxels = [one.image.reshape(-1, count)[one.sample] for one in of.training if one.voxels]
        low = np.min([one.meta['statistics']['min'] for one in of.training], 0).tolist()
        high = np.percentile(np.concatenate(voxels), HIGH, axis=0).tolist() if voxels else low
    if not all(a < b for a, b in zip(low, high)):
        raise InputError(f'{where}: {low} to {high}; expected a range of intensities, the lower end first')
    return {'low': low, 'high': high}


def options(data: Mapping[str, Any]) -> dict[str, Any]:
    """Of the options of `dataset`, those of `volumes.preprocessing`, for a new image."""
    return {'patch': data['patch'], 'spacing': data.get('spacing'), 'crop': False, 'intensity': {'name': 'none'}}
