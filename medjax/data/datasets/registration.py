"""Registration: pairs of images of the same anatomy, a fixed and a moving one, on one grid."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.data.datasets.base import RowDataset, check_training_cases, untrained_classes
from medjax.data.io import geometry
from medjax.data.io.geometry import Image, crop_or_pad, cropped_affine, to_canonical_spacing
from medjax.data.io.image_files import check_finite
from medjax.data.source import Case, Source
from medjax.errors import InputError, few
from medjax.options import Count, Positive

BRIGHT = 99.5  # the percentile of the voxels above the minimum that becomes 1


class Pair(NamedTuple):
    """The result of `Case.read` for registration.

    Attributes:
      fixed: `[X, Y, Z]`.
      moving: `[X, Y, Z]`, of the same shape and spacing.
      fixed_label: labels of the fixed image, on its grid, if any.
      moving_label: labels of the moving image, on its grid, if any.
      points: landmarks in the fixed image, `[P, 3]` voxels, if any.
      targets: the corresponding landmarks in the moving image, `[P, 3]` voxels.
      resampled: whether the moving image was stored on another grid.
    """

    fixed: Image
    moving: Image
    fixed_label: Image | None = None
    moving_label: Image | None = None
    points: np.ndarray | None = None
    targets: np.ndarray | None = None
    resampled: bool = False

    @property
    def unaligned(self) -> bool:
        """Whether the moving image has the fixed one's size and spacing at another position, which is not used."""
        return not geometry.same_grid(self.fixed, self.moving)


class PairRows(NamedTuple):
    """Pairs as arrays on the network's grid.

    Attributes:
      fixed: `[N, *S, 1]` float32, from 0 to 1.
      moving: the same.
      fixed_label: `[N, *S]` uint8, 0 without labels.
      moving_label: the same.
      points: `[N, P, D]` float32, voxels.
      targets: `[N, P, D]` float32, voxels.
      points_mask: `[N, P]` float32, 1 for points, 0 for padding.
    """

    fixed: np.ndarray
    moving: np.ndarray
    fixed_label: np.ndarray
    moving_label: np.ndarray
    points: np.ndarray
    targets: np.ndarray
    points_mask: np.ndarray


class PreparedPair(NamedTuple):
    """A pair on the network's grid.

    Attributes:
      row: the arrays, without their first axis.
      spacing: mm along each axis.
      affine: `[4, 4]`, of the fixed image there.
      resampled: see `Pair`, as for unaligned.
      unaligned: …
    """

    row: PairRows
    spacing: tuple[float, ...]
    affine: np.ndarray
    resampled: bool
    unaligned: bool


@dataclasses.dataclass(frozen=True)
class RegistrationDataset(RowDataset):
    """A data set of image pairs.

    Attributes:
      source: the cases as stored.
      rows: all pairs as arrays, in the source's order.
      spacing: mm of a voxel along each of S.
      affines: of each fixed image on the network's grid, `[N, 4, 4]`.
      resampled: ids of the cases whose moving image was stored on another grid.
      unaligned: ids of the cases whose moving image is stored at another position, which is not used.
    """

    source: Source
    rows: PairRows
    spacing: tuple[float, ...]
    affines: np.ndarray
    resampled: tuple[str, ...] = ()
    unaligned: tuple[str, ...] = ()

    def batch(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of `PairRows` of some cases."""
        return {name: part[numbers] for name, part in self.rows._asdict().items()}

    @functools.cached_property
    def labelled(self) -> bool:
        """Whether any training pair has labels."""
        train = self.numbers('train')
        return bool(self.rows.fixed_label[train].any() and self.rows.moving_label[train].any())

    @functools.cached_property
    def warnings(self) -> list[str]:
        """Images without contrast or on other grids, training images in other splits, and untrained classes."""
        flat = [case.id for case, *both in zip(self.source.cases, self.rows.fixed, self.rows.moving)
                if any(image.min() == image.max() for image in both)]
        known = {file for case in self.source.cases if case.split == 'train' for file in case.files[:2]}
        shared = sorted({pathlib.Path(file).name for case in self.source.cases if case.split != 'train'
                         for file in case.files[:2] if file in known})
        lines = []
        if flat:
            lines.append(f'An image of the pair has no contrast: {len(flat)} ({few(flat)}).')
        if self.resampled:
            lines.append('Moving images of another size or spacing, resampled onto the grid of the fixed image by the '
                         f'positions in mm of both: {len(self.resampled)} ({few(self.resampled)}).')
        if self.unaligned:
            lines.append('Moving images with the size and spacing of the fixed image at another position in mm, which '
                         f'is not used: {len(self.unaligned)} ({few(self.unaligned)}).')
        if shared:
            lines.append(f'Images of training pairs are in pairs of other splits too: {len(shared)} ({few(shared)}).')
        if self.labelled:
            counts = {split: self._class_counts(numbers) for split, numbers in self._numbers.items()}
            lines += untrained_classes(self.source.classes[1:], counts, len(self._numbers['train']))
        return lines

    def _class_counts(self, numbers: np.ndarray) -> np.ndarray:
        """In how many of some cases both labels have a class, `[K - 1]`, without the background."""
        return np.array([sum((self.rows.fixed_label[n] == label).any() and (self.rows.moving_label[n] == label).any()
                             for n in numbers) for label in range(1, len(self.source.classes))], int)

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """Classes, spacing, and whether there are labels; stored with each checkpoint."""
        return {'classes': list(self.source.classes), 'problem': self.source.problem, 'labelled': self.labelled,
                'spacing': list(self.spacing)}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over images, labels, points, patients and splits."""
        digest = hashlib.sha256()
        for number, case in enumerate(self.source.cases):
            digest.update(f'{case.split} {case.patient} {case.id}'.encode())
            for part in self.rows:
                digest.update(np.ascontiguousarray(part[number]))
        return digest.hexdigest()


def dataset(source: Source, *, size: Sequence[Count], spacing: Sequence[Positive] | None = None) -> RegistrationDataset:
    """The data set of a source's pairs on grids of one size.

    Args:
      source: the cases, each with a `Pair`.
      size: voxels along x and y for 2D images and single slices, or along x, y and z. Larger images are cropped about
        their centre; smaller ones are padded with their minimum, labels with the background.
      spacing: mm along x, y, z to resample to; None keeps the images' spacing, which then has to be the same for all.

    Raises:
      InputError: a source of another kind; images of a pair with different size or spacing; NaN; labels that are not
        classes; pairs of different spacing.
    """
    if source.problem != 'registration':
        raise InputError('config.data: registration needs a source of image pairs, such as image_pairs_csv or '
                         'simulated_registration')
    check_size(size)
    check_training_cases(source)
    pairs = [prepare_pair(case, tuple(size), spacing, len(source.classes)) for case in source.cases]
    first = pairs[0].spacing
    for case, pair in zip(source.cases, pairs):
        if not np.allclose(pair.spacing, first, rtol=1e-3):
            raise InputError(f'{case.id}: voxels of {_format(pair.spacing)} mm, {source.cases[0].id} has '
                             f'{_format(first)}; expected the same: set config.data.spacing')
    most = max(len(pair.row.points) for pair in pairs)
    rows = [row._replace(points=_pad(row.points, most), targets=_pad(row.targets, most),
                         points_mask=_pad(row.points_mask, most)) for row in (pair.row for pair in pairs)]
    return RegistrationDataset(source, PairRows(*(np.stack(column) for column in zip(*rows))), first,
                               np.stack([pair.affine for pair in pairs]),
                               *(tuple(case.id for case, pair in zip(source.cases, pairs) if getattr(pair, grids))
                                 for grids in ('resampled', 'unaligned')))


def check_size(size: Sequence[int]) -> None:
    """Checks the option `size` of `dataset`.

    Raises:
      InputError: it is not two or three numbers of at least 4 voxels.
    """
    if len(size) not in (2, 3) or not all(isinstance(n, int) and n > 3 for n in size):
        raise InputError(f'config.data.size: {tuple(size)}; expected x and y, or x, y and z, of 4 voxels or more')


def prepare_pair(case: Case, size: tuple[int, ...], spacing: Sequence[float] | None,
                 classes: int = 0) -> 'PreparedPair':
    """A pair on the network's grid.

    Args:
      case: with a `Pair`.
      size: see `dataset`, as for spacing.
      spacing: …
      classes: the number of the labels' classes, with the background; 0 does not check labels.

    Returns:
      The pair on this grid.

    Raises:
      InputError: see `dataset`.
    """
    pair = case.read()
    check_image_pair(pair, case.id, classes)
    flat, shape = len(size) == 2, pair.fixed.array.shape
    if flat != (shape[2] == 1):
        raise InputError(f'{case.id}: {shape[2]} slices; expected config.data.size of two numbers for one slice, and '
                         'of three for more')
    grid = to_canonical_spacing(Image(np.zeros(shape, np.uint8), pair.fixed.affine), spacing, 'label')
    full = (*size, 1)[:3]
    start = [int(np.floor((n - m) / 2)) for n, m in zip(grid.array.shape, full)]
    affine = cropped_affine(grid.affine, start)
    to_grid = np.linalg.inv(affine) @ pair.fixed.affine  # of voxels as stored; the same for both images

    def on_grid(image: Image | None, kind: str) -> np.ndarray:
        if image is None:
            return np.zeros(size, np.uint8)
        # By the fixed image's affine: the positions that the two files state are not used.
        out = to_canonical_spacing(Image(image.array, pair.fixed.affine, image.path), spacing, kind).array
        out = crop_or_pad(out, start, full, out.min() if kind == 'linear' else 0)
        return out[..., 0] if flat else out

    def points_on_grid(points: np.ndarray | None) -> np.ndarray:
        found = np.zeros((0, 3)) if points is None else np.asarray(points, float)
        return (found @ to_grid[:3, :3].T + to_grid[:3, 3])[:, :len(size)].astype(np.float32)

    count = 0 if pair.points is None else len(pair.points)
    row = PairRows(*(normalise(on_grid(image, 'linear'))[..., None] for image in (pair.fixed, pair.moving)),
                   *(on_grid(image, 'label').astype(np.uint8) for image in (pair.fixed_label, pair.moving_label)),
                   points_on_grid(pair.points), points_on_grid(pair.targets), np.ones(count, np.float32))
    return PreparedPair(row, tuple(geometry.spacing(affine)[:len(size)]), affine, pair.resampled, pair.unaligned)


def equal_steps(one: Image, other: Image) -> bool:
    """Whether two images have the same size and spacing."""
    return one.array.shape == other.array.shape and np.allclose(
        geometry.spacing(one.affine), geometry.spacing(other.affine), rtol=1e-3)


def check_image_pair(pair: Pair, name: str, classes: int = 0) -> None:
    """Checks the images, labels and points of a pair.

    Args:
      pair: the pair.
      name: for messages.
      classes: the number of the labels' classes; 0 does not check their values.

    Raises:
      InputError: images of different size or spacing; labels that are not on the grid of their image, or whose values
        are not classes; NaN; points that do not correspond.
    """
    shape = pair.fixed.array.shape
    if len(shape) != 3:
        raise InputError(f'{name}: {pair.fixed.path}: {"×".join(map(str, shape))}; expected one channel, [X, Y, Z]')
    for what in ('moving', 'fixed_label', 'moving_label'):
        image = getattr(pair, what)
        if image is not None and not equal_steps(pair.fixed, image):
            raise InputError(f'{name}: {what} {image.path} has {geometry.describe(image)}; expected the size and '
                             f'spacing of the fixed image, {geometry.describe(pair.fixed)}')
    for image in (pair.fixed, pair.moving):
        check_finite(image)
    for image in (pair.fixed_label, pair.moving_label):
        wrong = np.setdiff1d(image.array, np.arange(classes)) if image is not None and classes else []
        if len(wrong):
            raise InputError(f'{name}: {image.path}: label {str(wrong[0])}; expected whole numbers below {classes}, '
                             'those of config.data.source.classes')
    both = [np.zeros((0, 3)) if points is None else np.asarray(points) for points in (pair.points, pair.targets)]
    if both[0].shape != both[1].shape or both[0].ndim != 2 or both[0].shape[1] != 3 or not all(
            np.isfinite(points).all() for points in both):
        raise InputError(f'{name}: points {both[0].shape} and targets {both[1].shape}; expected [P, 3] finite numbers '
                         'each, of corresponding landmarks')


def normalise(image: np.ndarray) -> np.ndarray:
    """Intensities from 0, the minimum, to 1, the 99.5th percentile of the voxels above it; 0 without contrast."""
    image = image.astype(np.float32)
    low = image.min()
    above = image[image > low]
    if not above.size:
        return np.zeros_like(image)
    return np.clip((image - low) / max(np.percentile(above, BRIGHT) - low, 1e-12), 0, 1).astype(np.float32)


def _pad(array: np.ndarray, count: int) -> np.ndarray:
    """An array with zeros added to its first axis."""
    return np.pad(array, [(0, count - len(array)), *[(0, 0)] * (array.ndim - 1)])


def _format(spacing: Sequence[float]) -> str:
    return '×'.join(f'{step:.4g}' for step in spacing)
