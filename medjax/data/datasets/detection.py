"""Images that show objects, each in a box: brought to one size, boxes and all, and padded to one number of boxes.

What is marked is taken as it is but for what cannot be an object. A box with a number that is none, of which the end
comes before the beginning, without area, or all outside of its image is left out, and one that crosses the border ends
there; how many of each, and in which cases, is among the data set's `warnings`, which the report prints.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax.data.datasets.images import Prepared, Resident, prepared
from medjax.data.datasets.region_proposals import kept
from medjax.data.io.geometry import spacing
from medjax.data.source import Objects, Source
from medjax.data.transforms.box_grid import Grid, clip_boxes
from medjax.data.transforms.images import image_preprocess
from medjax.errors import InputError, few
from medjax.ops.boxes import crop

FAULTS = ('with a number that is NaN or infinite', 'that end before they begin', 'of no size', 'outside of their image')
CROSSING = 1e-3  # voxels beyond the border that are nobody's fault but rounding's


@dataclasses.dataclass(frozen=True)
class ObjectImages(Prepared):
    """A data set of images with objects; its source's boxes are those that are taken, in voxels.

    Attributes:
      objects: how many boxes an image's arrays have room for.
      proposals: how many boxes are proposed in each image; see `proposals.propose`.
      patch: voxels along each axis of what is trained on; the whole image by default.
      foreground: the share of patches that are centred on an object.
      told: of boxes that were left out or clipped, a line of `warnings` each.
    """

    objects: int = 64
    proposals: int = 0
    patch: tuple[int, ...] = ()
    foreground: float = 0.5
    told: tuple[str, ...] = ()

    @functools.cached_property
    def warnings(self) -> list[str]:
        """What is to be minded in these data, a line each."""
        return [*self.told, *super().warnings]

    def _positive(self, numbers: np.ndarray) -> np.ndarray:
        labels = [self.source.cases[number].target.labels for number in numbers]
        return np.bincount(np.concatenate([np.zeros(0, np.int32), *labels]), minlength=len(self.source.classes))

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """What the task and `predict` have to know of the training data; stored with each checkpoint."""
        return {'classes': list(self.source.classes), 'problem': self.source.problem,
                'channels': self.arrays.shape[-1], 'intensities': dict(self.intensities), 'dims': len(self.preprocess.size),
                'size': list(self.preprocess.size), 'positive': self._positive(self._numbers['train']).tolist()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over images, boxes, patients and splits."""
        lines = [f'{case.split} {case.patient} {case.id} {case.target.boxes.tolist()} {case.target.labels.tolist()} '
                 f'{digest}' for case, digest in zip(self.source.cases, self.hashes)]
        return hashlib.sha256('\n'.join(lines).encode()).hexdigest()

    def grid(self, number: int) -> Grid:
        """Where a case's stored image lies in the network's."""
        return self.preprocess.grid(self.shapes[number], self.affines[number])

    def truth(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A case's boxes `[N, 2D]` float32 in the network's grid, and their classes `[N]` int32."""
        target = self.source.cases[number].target
        return self.grid(number).to_network(target.boxes), target.labels

    def restore(self, number: int, boxes: np.ndarray) -> np.ndarray:
        """Brings boxes `[N, 2D]` from the network's grid to that of the case's stored image, and clips them to it."""
        return self.grid(number).to_stored(boxes)

    @functools.cached_property
    def _proposed(self) -> list[np.ndarray]:
        return kept(self.arrays, self.proposals)

    def proposed(self, number: int) -> np.ndarray:
        """Boxes `[N, 2D]` float32 in the network's grid that a case may have objects in, at most `proposals`."""
        return self._proposed[number]

    def padded(self, numbers: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """Cases' `boxes [n, objects, 2D]`, `box_label` int32 and `box_mask` float32 `[n, objects]`.

        With proposals also `proposals [n, proposals, 2D]` and `proposal_mask [n, proposals]`.
        """
        dims, truths = len(self.preprocess.size), [self.truth(number) for number in numbers]
        boxes, mask = _filled([box for box, _ in truths], self.objects, dims)
        label = np.zeros(mask.shape, np.int32)
        for row, (_, labels) in zip(label, truths):
            row[:len(labels)] = labels
        out = {'boxes': boxes, 'box_label': label, 'box_mask': mask}
        if self.proposals:
            out['proposals'], out['proposal_mask'] = _filled(
                [self.proposed(number) for number in numbers], self.proposals, dims)
        return out

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A training image or patch: `image [*S, C]` float32, its case's `id`, and what `padded` gives of it."""
        at = self._numbers['train'][number]
        _, *start = self.place(number, rng)
        box = tuple(slice(first, first + extent) for first, extent in zip(start, self.patch))
        return {'image': self.images([at])[0][box], 'id': self.source.cases[at].id,
                **self.seen({name: value[0] for name, value in self.padded([at]).items()}, np.array(start, np.int32))}

    def place(self, number: int, rng: np.random.Generator) -> tuple[int, ...]:
        """Which part of the training images an item is: its image's number and, of a patch, the first voxel."""
        if not self.patch:
            return (number,)
        room = np.subtract(self.preprocess.size, self.patch)
        boxes, _ = self.truth(self._numbers['train'][number])
        if len(boxes) and rng.random() < self.foreground:
            low, high = np.split(boxes[rng.integers(len(boxes))], 2)
            start = np.clip(np.rint((low + high - self.patch) / 2).astype(int), 0, room)
        else:
            start = rng.integers(room + 1)
        return (number, *start.tolist())

    def seen(self, marked: Mapping[str, Any], start: Any) -> dict[str, Any]:
        """What `padded` gives of an image, as a patch of it shows it; traceable."""
        if not self.patch:
            return dict(marked)
        boxes, there = crop(marked['boxes'], start, self.patch)
        there = there & (marked['box_mask'] > 0)
        return {'boxes': boxes * there[:, None], 'box_label': marked['box_label'] * there,
                'box_mask': there.astype(np.float32)}

    def resident(self) -> Resident:
        """The training images as they may lie on the device."""
        targets = functools.partial(self.padded, self._numbers['train'])
        return Patches(self, targets) if self.patch else Resident(self, targets)


class Patches(Resident):
    """Patches of training images on the device, as `pipeline.Resident` says."""

    _data: ObjectImages

    def place(self, number: int, rng: Callable[[], np.random.Generator]) -> tuple[int, ...]:
        """See `ObjectImages.place`."""
        return self._data.place(number, rng())

    def pick(self, arrays: Mapping[str, jax.Array], place: jax.Array) -> dict[str, jax.Array]:
        """An item, as the data set's `item` gives it without its id."""
        whole, start = super().pick(arrays, place[:1]), place[1:]
        image = whole.pop('image')
        return {'image': jax.lax.dynamic_slice(image, (*start, 0), (*self._data.patch, image.shape[-1])),
                **self._data.seen(whole, start)}


def _filled(boxes: Sequence[np.ndarray], count: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    out, mask = np.zeros((len(boxes), count, 2 * dims), np.float32), np.zeros((len(boxes), count), np.float32)
    for number, its in enumerate(boxes):
        out[number, :len(its)], mask[number, :len(its)] = its, 1
    return out, mask


def dataset(source: Source, *, size: Sequence[int], fit: str = 'stretch', channels: int | None = None,
            intensity: Mapping[str, Any] | None = None, cache: str = '', objects: int = 64,
            proposals: int = 0, patch: Sequence[int] = (), foreground: float = 0.5) -> ObjectImages:
    """Brings a source's images and their boxes to one size, or finds them prepared, and makes them a data set.

    Args:
      source: the cases, each with `Objects`.
      size: see `framing.ImagePreprocess`, as for fit, channels and intensity.
      fit: …
      channels: …
      intensity: …
      cache: the folder of prepared sets; by default in the user's cache folder.
      objects: boxes that an image's arrays have room for; no image may have more.
      proposals: boxes to propose in each image; see `proposals.propose`.
      patch: see `ObjectImages`, as for foreground. Of a whole image the network then finds the objects in windows of
        this size. Of an object that is less than half in a patch nothing is learned there.
      foreground: …

    Raises:
      InputError: an image that cannot be read or has other channels than the first; boxes of another dimension than
        `size`; more of them than `objects`; no training case.
    """
    if source.problem != 'detection':
        raise InputError('config.data: objects need a source whose cases have boxes, such as voc, coco or boxes')
    if not isinstance(objects, int) or objects < 1 or not isinstance(proposals, int) or proposals < 0:
        raise InputError(f'config.data.objects: {objects}, config.data.proposals: {proposals}; expected whole numbers, '
                         'of at least 1 and 0')
    window(patch, size, proposals)
    if not 0 <= foreground <= 1:
        raise InputError(f'config.data.foreground: {foreground}; expected a share of the patches')
    frame = image_preprocess(size=size, fit=fit, channels=channels, intensity=intensity)
    for case in source.cases:
        if case.target.boxes.shape[1] != 2 * len(frame.size):
            raise InputError(f'config.data.size: {tuple(size)}; expected {case.target.boxes.shape[1] // 2} numbers, as '
                             f'the boxes of {case.id} have dimensions')
    images = prepared(ObjectImages, source, frame, cache, objects=objects, proposals=proposals, patch=tuple(patch),
                      foreground=foreground)
    cases, told = [], {}
    for number, case in enumerate(source.cases):
        target, found = taken(case.target, images.grid(number).shape, images.affines[number])
        cases.append(dataclasses.replace(case, target=target))
        for fault, count in found.items():
            told.setdefault(fault, {})[case.id] = count
    most = max(cases, key=lambda case: len(case.target.labels))
    if len(most.target.labels) > objects:
        raise InputError(f'config.data.objects: {objects}; expected {len(most.target.labels)} or more, as {most.id} '
                         'shows')
    lines = tuple(f'Boxes {fault}: {sum(told[fault].values())} (of {few(list(told[fault]))}).'
                  for fault in sorted(told))
    return dataclasses.replace(images, source=dataclasses.replace(source, cases=tuple(cases)), told=lines)


def window(patch: Sequence[int], size: Sequence[int], proposals: int = 0) -> tuple[int, ...]:
    """Checks a patch; see `dataset`.

    Raises:
      InputError: it is none of such an image, or there are proposals, which are made of whole images.
    """
    if patch and (len(patch) != len(size) or not all(0 < part <= whole for part, whole in zip(patch, size))):
        raise InputError(f'config.data.patch: {tuple(patch)}; expected {len(size)} numbers up to those of '
                         f'config.data.size, {tuple(size)}')
    if patch and proposals:
        raise InputError(f'config.data.patch: {tuple(patch)}; expected none where config.data.proposals are given')
    return tuple(patch)


def taken(marked: Objects, shape: Sequence[int], affine: np.ndarray) -> tuple[Objects, dict[str, int]]:
    """Takes what can be objects of an image, in voxels.

    Args:
      marked: in any unit.
      shape: of the image as stored: rows and columns of a picture, or a volume's extents.
      affine: `[4, 4]`, its own.

    Returns:
      The objects with an area in the image, clipped to it; and how many boxes were left out or clipped, by the reason.
    """
    boxes = marked.boxes.astype(np.float64)
    if marked.unit == 'share':
        boxes = boxes * [*shape, *shape]
    elif marked.unit == 'mm':
        boxes = _voxels(boxes, affine)
    low, high = np.split(boxes, 2, -1)
    inside = clip_boxes(boxes, shape)
    # In this order: of several faults a box has the first.
    faults = np.stack([~np.isfinite(boxes).all(-1), (high < low).any(-1), (high == low).any(-1),
                       (np.subtract(*np.split(inside, 2, -1)[::-1]) <= 0).any(-1)])
    bad, counts = faults.any(0), {}
    for name, number in zip(FAULTS, np.bincount(faults.argmax(0)[bad], minlength=len(FAULTS))):
        if number:
            counts[f'{name}, left out'] = int(number)
    crossing = np.abs(inside - boxes)[~bad].max(-1, initial=0) > CROSSING
    if crossing.any():
        counts['that cross the border of their image, clipped'] = int(crossing.sum())
    return Objects(inside[~bad], marked.labels[~bad]), counts


def _voxels(boxes: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Turns boxes about balls, in mm, into boxes of voxels."""
    low, high = np.split(boxes, 2, -1)
    centre = np.linalg.inv(affine) @ np.concatenate([(low + high) / 2, np.ones((len(boxes), 1))], -1).T
    centre = centre[:3].T + 0.5  # the affine counts from the first voxel's centre
    axes = affine[:3, :3] / np.array(spacing(affine))
    # An ellipsoid's half extent along a direction is the root of the sum of the squares of its axes' shares in it.
    half = np.sqrt(((high - low) / 2) ** 2 @ axes**2) / np.array(spacing(affine))
    half = np.where((high < low).any(-1, keepdims=True), -half, half)
    return np.concatenate([centre - half, centre + half], -1)
