"""Detection: images of one size with their boxes, padded to one number of boxes.

Annotations are taken as they are, except for boxes that cannot hold an object. A box with NaN or infinite coordinates,
a box whose end is before its beginning, an empty box, and a box outside its image are left out; a box that crosses the
border is clipped. Their numbers, and the cases, are among the data set's `warnings`, which are part of the report.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from medjax.data.datasets.prepared_images import PreparedImages, prepare_images
from medjax.data.datasets.region_proposals import cached_proposals
from medjax.data.datasets.resident import Generator, Resident, ResidentRows
from medjax.data.io.geometry import spacing
from medjax.data.source import Objects, Source
from medjax.data.transforms.box_grid import Grid, clip_boxes
from medjax.data.transforms.images import ImagePreprocess, image_preprocess
from medjax.errors import InputError, few
from medjax.metrics.box_matching import IgnoredRegions, no_regions
from medjax.ops.boxes import crop
from medjax.options import Count, NonNegativeInt, Probability

FAULTS = ('with a number that is NaN or infinite', 'that end before they begin', 'of no size', 'outside of their image')
ROUNDING = 1e-3  # voxels beyond the border that are attributed to rounding


@dataclasses.dataclass(frozen=True)
class DetectionDataset(PreparedImages):
    """A data set of images with boxes; its source has only valid boxes, in voxels.

    Attributes:
      max_objects: the number of boxes to which the boxes of an image are padded.
      proposals: the number of region proposals for each image; see `region_proposals.propose`.
      patch: voxels along each axis of a training patch; () for whole images.
      foreground: the fraction of patches that are centred on an object.
      box_warnings: on boxes that were left out or clipped, a line of `warnings` each.
    """

    max_objects: int = 64
    proposals: int = 0
    patch: tuple[int, ...] = ()
    foreground: float = 0.5
    box_warnings: tuple[str, ...] = ()

    @functools.cached_property
    def warnings(self) -> list[str]:
        """Problems of the boxes and of the images, a line each."""
        return [*self.box_warnings, *super().warnings]

    def _class_counts(self, numbers: np.ndarray) -> np.ndarray:
        labels = [self.source.cases[number].target.labels for number in numbers]
        return np.bincount(np.concatenate([np.zeros(0, np.int32), *labels]), minlength=len(self.source.classes))

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """Classes, intensities, size and object counts of the training images; stored with each checkpoint."""
        return {'classes': list(self.source.classes), 'problem': self.source.problem,
                'channels': self.arrays.shape[-1], 'intensities': dict(self.intensities),
                'dims': len(self.preprocess.size), 'size': list(self.preprocess.size),
                'positive': self._class_counts(self._numbers['train']).tolist(), 'ranges': self.ranges}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over images, boxes, patients and splits."""
        lines = [f'{case.split} {case.patient} {case.id} {case.target.boxes.tolist()} {case.target.labels.tolist()} '
                 f'{digest}' for case, digest in zip(self.source.cases, self.hashes)]
        lines += [f'{case.id} {[part.tolist() for part in case.target.ignored]}' for case in self.source.cases
                  if case.target.ignored is not None]
        return hashlib.sha256('\n'.join(lines).encode()).hexdigest()

    def grid(self, number: int) -> Grid:
        """The map from a case's stored image to the network's grid."""
        return self.preprocess.grid(self.shapes[number], self.affines[number])

    def truth(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A case's boxes `[N, 2D]` float32 on the network's grid, and their classes `[N]` int32."""
        target = self.source.cases[number].target
        return self.grid(number).to_network(target.boxes), target.labels

    @functools.cached_property
    def max_ignored(self) -> int:
        """The largest number of ignored regions of a case."""
        return max(0 if case.target.ignored is None else len(case.target.ignored.boxes) for case in self.source.cases)

    def ignored(self, number: int) -> IgnoredRegions | None:
        """A case's ignored regions on the network's grid; None where the data set has none."""
        if not self.max_ignored:
            return None
        regions = self.source.cases[number].target.ignored
        if regions is None:
            return no_regions(len(self.preprocess.size))
        return regions._replace(boxes=self.grid(number).to_network(regions.boxes))

    def to_stored(self, number: int, boxes: np.ndarray) -> np.ndarray:
        """Boxes `[N, 2D]` of the network's grid on that of the case's stored image, clipped to it."""
        return self.grid(number).to_stored(boxes)

    @functools.cached_property
    def _proposals(self) -> list[np.ndarray]:
        return cached_proposals(self.arrays, self.proposals)

    def proposed(self, number: int) -> np.ndarray:
        """A case's region proposals `[N, 2D]` float32 on the network's grid, at most `proposals`."""
        return self._proposals[number]

    def targets(self, numbers: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """The padded boxes of some cases.

        Returns:
          `boxes [n, max_objects, 2D]`, `box_label` int32 and `box_mask` float32 `[n, max_objects]`; with proposals also
          `proposals [n, proposals, 2D]` and `proposal_mask [n, proposals]`; where the data set has ignored regions also
          `ignored_boxes [n, max_ignored, 2D]` and `ignored_mask [n, max_ignored]`.
        """
        dims, truths = len(self.preprocess.size), [self.truth(number) for number in numbers]
        boxes, mask = _pad_boxes([box for box, _ in truths], self.max_objects, dims)
        label = np.zeros(mask.shape, np.int32)
        for row, (_, labels) in zip(label, truths):
            row[:len(labels)] = labels
        out = {'boxes': boxes, 'box_label': label, 'box_mask': mask}
        if self.proposals:
            out['proposals'], out['proposal_mask'] = _pad_boxes(
                [self.proposed(number) for number in numbers], self.proposals, dims)
        if self.max_ignored:
            out['ignored_boxes'], out['ignored_mask'] = _pad_boxes(
                [self.ignored(number).boxes for number in numbers], self.max_ignored, dims)
        return out

    def batch(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Whole images of some cases, `image [n, *S, C]` float32, and their `targets`."""
        return {'image': self.images(numbers), **self.targets(numbers)}

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A training image or patch: `image [*S, C]` float32, its boxes as in `targets`, and the `id` of its case."""
        item = super().item(number, rng)
        start = self._first_voxel(number, lambda: rng)
        box = tuple(slice(first, first + extent) for first, extent in zip(start, self.patch))
        image, name = item.pop('image'), item.pop('id')
        return {'image': image[box], 'id': name, **self._crop_targets(item, np.array(start, np.int32))}

    def _first_voxel(self, number: int, rng: Generator) -> tuple[int, ...]:
        """The first voxel of a training item's patch; () for whole images."""
        if not self.patch:
            return ()
        generator, room = rng(), np.subtract(self.preprocess.size, self.patch)
        boxes, _ = self.truth(self._numbers['train'][number])
        if len(boxes) and generator.random() < self.foreground:
            low, high = np.split(boxes[generator.integers(len(boxes))], 2)
            start = np.clip(np.rint((low + high - self.patch) / 2).astype(int), 0, room)
        else:
            start = generator.integers(room + 1)
        return tuple(start.tolist())

    def _crop_targets(self, targets: Mapping[str, Any], start: Any) -> dict[str, Any]:
        """The `targets` of an image on a patch of it; traceable."""
        if not self.patch:
            return dict(targets)
        boxes, kept = crop(targets['boxes'], start, self.patch)
        kept = kept & (targets['box_mask'] > 0)
        out = {'boxes': boxes * kept[:, None].astype(boxes.dtype),
               'box_label': targets['box_label'] * kept.astype(targets['box_label'].dtype),
               'box_mask': kept.astype(np.float32)}
        if self.max_ignored:
            regions, seen = crop(targets['ignored_boxes'], start, self.patch, min_fraction=0.0)
            out |= {'ignored_boxes': regions * seen[:, None].astype(regions.dtype),
                    'ignored_mask': targets['ignored_mask'] * seen.astype(np.float32)}
        return out

    def _crop(self, row: dict[str, jax.Array], start: jax.Array) -> dict[str, jax.Array]:
        """A patch of a training image and its targets; traceable."""
        image = row.pop('image')
        patch = jax.lax.dynamic_slice(image, (*start, 0), (*self.patch, image.shape[-1]))
        return {'image': patch, **self._crop_targets(row, start)}

    def resident(self) -> Resident | None:
        """The training images for device memory."""
        rows = super().resident()
        if not self.patch:
            return rows
        return ResidentRows(rows.size, rows.load, self._first_voxel, self._crop)


def _pad_boxes(boxes: Sequence[np.ndarray], count: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes `[n, count, 2D]` and their mask `[n, count]`, float32."""
    out, mask = np.zeros((len(boxes), count, 2 * dims), np.float32), np.zeros((len(boxes), count), np.float32)
    for number, its in enumerate(boxes):
        out[number, :len(its)], mask[number, :len(its)] = its, 1
    return out, mask


def dataset(source: Source[Objects], *, size: Sequence[Count], resize_mode: Literal['stretch', 'pad'] = 'stretch',
            channels: Literal[1, 3] | None = None, intensity: Mapping[str, Any] | None = None, cache: str = '',
            max_objects: Count = 64, proposals: NonNegativeInt = 0, patch: Sequence[Count] = (),
            foreground: Probability = 0.5) -> DetectionDataset:
    """The data set of a source's images and boxes at one size, prepared now or found in the cache.

    Args:
      source: the cases, each with `Objects`.
      size: see `ImagePreprocess`, as for resize_mode, channels and intensity.
      resize_mode: …
      channels: …
      intensity: …
      cache: the folder of prepared images; by default in the user's cache folder.
      max_objects: the number of boxes to which the boxes of an image are padded; no image may have more.
      proposals: the number of region proposals for each image; see `region_proposals.propose`.
      patch: see `DetectionDataset`, as for foreground. The network then finds the objects of a whole image in windows
        of this size. An object of which less than half is in a patch is not learned there.
      foreground: …

    Raises:
      InputError: an image that cannot be read or has other channels than the first; boxes of another dimension than
        `size`; more of them than `max_objects`; no training case; an option with an invalid value.
    """
    if source.problem != 'detection':
        raise InputError('config.data: detection needs a source of boxes, such as voc, coco or detection_csv')
    if not isinstance(max_objects, int) or max_objects < 1 or not isinstance(proposals, int) or proposals < 0:
        raise InputError(f'config.data.max_objects: {max_objects}, config.data.proposals: {proposals}; expected whole '
                         'numbers, of at least 1 and 0')
    check_patch(patch, size, proposals)
    if not 0 <= foreground <= 1:
        raise InputError(f'config.data.foreground: {foreground}; expected a fraction of the patches')
    preprocess = image_preprocess(size=size, resize_mode=resize_mode, channels=channels, intensity=intensity)
    _check_dimensions(source, preprocess)
    images = prepare_images(DetectionDataset, source, preprocess, cache, max_objects=max_objects, proposals=proposals,
                            patch=tuple(patch), foreground=foreground)
    cases, faults = [], {}
    for number, case in enumerate(source.cases):
        target, found = valid_objects(case.target, images.grid(number).shape, images.affines[number])
        cases.append(dataclasses.replace(case, target=target))
        for fault, count in found.items():
            faults.setdefault(fault, {})[case.id] = count
    most = max(cases, key=lambda case: len(case.target.labels))
    if len(most.target.labels) > max_objects:
        raise InputError(f'config.data.max_objects: {max_objects}; expected {len(most.target.labels)} or more, the '
                         f'number of boxes of {most.id}')
    lines = tuple(f'Boxes {fault}: {sum(counts.values())} (of {few(list(counts))}).'
                  for fault, counts in sorted(faults.items()))
    return dataclasses.replace(images, source=dataclasses.replace(source, cases=tuple(cases)), box_warnings=lines)


def _check_dimensions(source: Source[Objects], preprocess: ImagePreprocess) -> None:
    for case in source.cases:
        dims = case.target.boxes.shape[1] // 2
        if dims != len(preprocess.size):
            raise InputError(f'config.data.size: {preprocess.size}; expected {dims} numbers, as the boxes of {case.id} '
                             'have dimensions')


def check_patch(patch: Sequence[int], size: Sequence[int], proposals: int = 0) -> tuple[int, ...]:
    """Checks the option `patch` of `dataset`, and returns it as a tuple.

    Raises:
      InputError: it does not fit into the image, or there are proposals, which are computed for whole images.
    """
    if patch and (len(patch) != len(size) or not all(0 < part <= whole for part, whole in zip(patch, size))):
        raise InputError(f'config.data.patch: {tuple(patch)}; expected {len(size)} numbers up to those of '
                         f'config.data.size, {tuple(size)}')
    if patch and proposals:
        raise InputError(f'config.data.patch: {tuple(patch)}; expected none where config.data.proposals are given')
    return tuple(patch)


def valid_objects(objects: Objects, shape: Sequence[int], affine: np.ndarray) -> tuple[Objects, dict[str, int]]:
    """The annotated objects that have an area in their image, in voxels and clipped to it.

    Args:
      objects: in any unit.
      shape: of the image as stored: rows and columns of a 2D image, or a volume's extents.
      affine: `[4, 4]`, of the stored image.

    Returns:
      The objects; and the numbers of boxes that were left out or clipped, by the reason. Ignored regions are treated
      alike.
    """
    boxes, kept, counts = _valid_boxes(objects.boxes, objects.unit, shape, affine)
    regions = objects.ignored
    if regions is not None:
        areas, good, more = _valid_boxes(regions.boxes, objects.unit, shape, affine)
        regions = IgnoredRegions(areas.astype(np.float32), regions.labels[good], regions.crowd[good])
        counts = {fault: counts.get(fault, 0) + more.get(fault, 0) for fault in {**counts, **more}}
    return Objects(boxes, objects.labels[kept], ignored=regions), counts


def _valid_boxes(boxes: np.ndarray, unit: str, shape: Sequence[int],
                 affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """The valid boxes in voxels, which of `boxes` they are, and the counts of `valid_objects`."""
    boxes = boxes.astype(np.float64)
    if unit == 'share':
        boxes = boxes * [*shape, *shape]
    elif unit == 'mm':
        boxes = _mm_to_voxels(boxes, affine)
    low, high = np.split(boxes, 2, -1)
    inside = clip_boxes(boxes, shape)
    # In this order: a box with several faults counts for the first.
    faults = np.stack([~np.isfinite(boxes).all(-1), (high < low).any(-1), (high == low).any(-1),
                       (np.subtract(*np.split(inside, 2, -1)[::-1]) <= 0).any(-1)])
    bad, counts = faults.any(0), {}
    for name, number in zip(FAULTS, np.bincount(faults.argmax(0)[bad], minlength=len(FAULTS))):
        if number:
            counts[f'{name}, left out'] = int(number)
    crossing = np.abs(inside - boxes)[~bad].max(-1, initial=0) > ROUNDING
    if crossing.any():
        counts['that cross the border of their image, clipped'] = int(crossing.sum())
    return inside[~bad], ~bad, counts


def _mm_to_voxels(boxes: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Bounding boxes in voxels of the ellipsoids that are inscribed in boxes in mm."""
    low, high = np.split(boxes, 2, -1)
    centre = np.linalg.inv(affine) @ np.concatenate([(low + high) / 2, np.ones((len(boxes), 1))], -1).T
    centre = centre[:3].T + 0.5  # the affine is relative to the first voxel's centre
    axes = affine[:3, :3] / np.array(spacing(affine))
    # The half extent of an ellipsoid along a direction: the root of the summed squares of its projected half axes.
    half = np.sqrt(((high - low) / 2) ** 2 @ axes**2) / np.array(spacing(affine))
    half = np.where((high < low).any(-1, keepdims=True), -half, half)
    return np.concatenate([centre - half, centre + half], -1)
