"""Pairs of images that show the same anatomy, moved: what a network, or an optimisation, is to bring together."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.data.datasets.base import Parted
from medjax.data.datasets.tumour_growth import Resident
from medjax.data.io.geometry import Image, describe, resample, to_canonical
from medjax.data.io.geometry import spacing as grid_spacing
from medjax.data.io.image_files import check_finite
from medjax.data.source import Case, Source
from medjax.errors import InputError, few

BRIGHT = 99.5  # the percentile of what is brighter than the least that becomes 1


class Pair(NamedTuple):
    """What `Case.read` gives where the problem is registration.

    `fixed` and `moving` are `[X, Y, Z]` of one shape and spacing; so are their labels, where there are any. `points`
    and `targets`, `[P, 3]` voxels, are the same places of the anatomy in the one and in the other.
    """

    fixed: Image
    moving: Image
    fixed_label: Image | None = None
    moving_label: Image | None = None
    points: np.ndarray | None = None
    targets: np.ndarray | None = None


class Rows(NamedTuple):
    """Pairs as arrays of one grid.

    Attributes:
      fixed: `[N, *S, 1]` float32, from 0 to 1.
      moving: the same.
      fixed_label: `[N, *S]` uint8, 0 where nobody says anything.
      moving_label: the same.
      points: `[N, P, D]` float32, voxels.
      targets: `[N, P, D]` float32, voxels.
      points_mask: `[N, P]` float32, 1 where there is a point.
    """

    fixed: np.ndarray
    moving: np.ndarray
    fixed_label: np.ndarray
    moving_label: np.ndarray
    points: np.ndarray
    targets: np.ndarray
    points_mask: np.ndarray


@dataclasses.dataclass(frozen=True)
class Pairs(Parted):
    """A data set of pairs; `core.loop` and `data.pipeline` say what is asked of it.

    Attributes:
      source: the cases.
      rows: all of them as arrays.
      millimetres: of a voxel, along each of S.
      affines: of each fixed image's grid, `[N, 4, 4]`.
    """

    source: Source
    rows: Rows
    millimetres: tuple[float, ...]
    affines: np.ndarray

    def batch(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Pairs as a network sees them and what they are judged by, without their ids."""
        return {name: part[numbers] for name, part in self.rows._asdict().items()}

    @functools.cached_property
    def labelled(self) -> bool:
        """Whether any training pair has labels."""
        train = self.numbers('train')
        return bool(self.rows.fixed_label[train].any() and self.rows.moving_label[train].any())

    @functools.cached_property
    def warnings(self) -> list[str]:
        """What is to be minded in these data, a line each."""
        flat = [case.id for case, *both in zip(self.source.cases, self.rows.fixed, self.rows.moving)
                if any(image.min() == image.max() for image in both)]
        known = {file for case in self.source.cases if case.split == 'train' for file in case.files[:2]}
        twice = sorted({pathlib.Path(file).name for case in self.source.cases if case.split != 'train'
                        for file in case.files[:2] if file in known})
        return [f'{told}: {len(names)} ({few(names)}).' for told, names in (
            ('An image of the pair has no contrast at all', flat),
            ('Images of training pairs are in pairs of other splits too', twice)) if names]

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """What the task has to know of the training data; stored with each checkpoint."""
        return {'classes': list(self.source.classes), 'problem': self.source.problem, 'labelled': self.labelled,
                'spacing': list(self.millimetres)}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over images, labels, points, patients and splits."""
        digest = hashlib.sha256()
        for number, case in enumerate(self.source.cases):
            digest.update(f'{case.split} {case.patient} {case.id}'.encode())
            for part in self.rows:
                digest.update(np.ascontiguousarray(part[number]))
        return digest.hexdigest()

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A training pair: what `batch` has of it, and its `id`."""
        at = self._numbers['train'][number]
        return {**{name: part[0] for name, part in self.batch(np.array([at])).items()}, 'id': self.source.cases[at].id}

    def resident(self) -> Resident:
        """The training pairs as they may lie on the device."""
        return Resident(self)


def dataset(source: Source, *, size: Sequence[int], spacing: Sequence[float] | None = None) -> Pairs:
    """Reads all pairs onto grids of one size, and makes them a data set.

    Args:
      source: the cases, each with a `Pair`.
      size: voxels along x and y of pictures and single slices, or along x, y and z; what is larger is cut about the
        middle, what is smaller filled up with the image's least value, labels with the background.
      spacing: mm along x, y, z to resample to; None keeps the images' own, which then has to be the same for all.

    Raises:
      InputError: a source of something else; images of a pair with unequal size or spacing; NaN; labels that are no
        classes; pairs of several spacings.
    """
    if source.problem != 'registration':
        raise InputError('config.data: pairs need a source of pairs, such as pair_files or phantom_pairs')
    check_size(size)
    if not any(case.split == 'train' for case in source.cases):
        raise InputError(f'config.data.source: no training case among the {len(source.cases)} cases; expected split '
                         'train')
    made = [brought(case, tuple(size), spacing, len(source.classes)) for case in source.cases]
    steps = [of for _, of, _ in made]
    for case, of in zip(source.cases, steps):
        if not np.allclose(of, steps[0], rtol=1e-3):
            raise InputError(f'{case.id}: voxels of {_told(of)} mm, {source.cases[0].id} has {_told(steps[0])}; '
                             'expected the same: config.data.spacing makes them so')
    most = max(len(row.points) for row, _, _ in made)
    rows = [row._replace(**{name: _filled(getattr(row, name), most) for name in ('points', 'targets', 'points_mask')})
            for row, _, _ in made]
    return Pairs(source, Rows(*(np.stack(column) for column in zip(*rows))), steps[0],
                 np.stack([affine for _, _, affine in made]))


def check_size(size: Sequence[int]) -> None:
    """Refuses what is no size of pictures or volumes."""
    if len(size) not in (2, 3) or not all(isinstance(n, int) and n > 3 for n in size):
        raise InputError(f'config.data.size: {tuple(size)}; expected x and y, or x, y and z, of 4 voxels or more')


def brought(case: Case, size: tuple[int, ...], wanted: Sequence[float] | None,
            classes: int = 0) -> tuple[Rows, tuple[float, ...], np.ndarray]:
    """Brings a pair onto the network's grid.

    Args:
      case: with a `Pair`.
      size: see `dataset`, as for wanted (its spacing).
      wanted: …
      classes: of the labels, the background among them; 0 where labels do not matter.

    Returns:
      The pair as `Rows` without their first axis; mm along each of `size`; the fixed image's affine `[4, 4]` there.

    Raises:
      InputError: see `dataset`.
    """
    pair = case.read()
    check(pair, case.id, classes)
    flat, shape = len(size) == 2, pair.fixed.array.shape
    if flat != (shape[2] == 1):
        raise InputError(f'{case.id}: {shape[2]} slices; expected config.data.size of two numbers for one slice, and '
                         'of three for more')
    grid = to_canonical(Image(np.zeros(shape, np.uint8), pair.fixed.affine))
    if wanted:
        grid = resample(grid, wanted, 'label')
    first = [int(np.floor((n - m) / 2)) for n, m in zip(grid.array.shape, (*size, 1)[:3])]
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ first
    onward = np.linalg.inv(affine) @ pair.fixed.affine  # of voxels as stored; the same for both images

    def placed(image: Image | None, kind: str) -> np.ndarray:
        if image is None:
            return np.zeros(size, np.uint8)
        # In the fixed image's world: what the two files say of where they lie has no part in it.
        out = to_canonical(Image(image.array, pair.fixed.affine, image.path))
        out = (resample(out, wanted, kind) if wanted else out).array
        out = fitted(out, (*size, 1)[:3], first, out.min() if kind == 'linear' else 0)
        return out[..., 0] if flat else out

    def points(array: np.ndarray | None) -> np.ndarray:
        found = np.zeros((0, 3)) if array is None else np.asarray(array, float)
        return (found @ onward[:3, :3].T + onward[:3, 3])[:, :len(size)].astype(np.float32)

    row = Rows(*(normalised(placed(image, 'linear'))[..., None] for image in (pair.fixed, pair.moving)),
               *(placed(image, 'label').astype(np.uint8) for image in (pair.fixed_label, pair.moving_label)),
               points(pair.points), points(pair.targets),
               np.ones(0 if pair.points is None else len(pair.points), np.float32))
    return row, tuple(grid_spacing(affine)[:len(size)]), affine


def check(pair: Pair, name: str, classes: int = 0) -> None:
    """Refuses a pair that is none.

    Raises:
      InputError: images of unequal size or spacing; labels that are not on their image's grid, or, where it is said how
        many classes there are, of none of them; NaN; unequal points.
    """
    shape, steps = pair.fixed.array.shape, grid_spacing(pair.fixed.affine)
    if len(shape) != 3:
        raise InputError(f'{name}: {pair.fixed.path}: {"×".join(map(str, shape))}; expected one channel, [X, Y, Z]')
    for what in ('moving', 'fixed_label', 'moving_label'):
        image = getattr(pair, what)
        if image is not None and (image.array.shape != shape or not np.allclose(
                grid_spacing(image.affine), steps, rtol=1e-3)):
            raise InputError(f'{name}: {what} {image.path} has {describe(image)}; expected the size and spacing of the '
                             f'fixed image, {describe(pair.fixed)}')
    for image in (pair.fixed, pair.moving):
        check_finite(image)
    for image in (pair.fixed_label, pair.moving_label):
        wrong = [] if image is None or not classes else np.setdiff1d(image.array, np.arange(classes))
        if len(wrong):
            raise InputError(f'{name}: {image.path}: label {wrong[0]:g}; expected whole numbers below {classes}, those '
                             'of config.data.source.classes')
    both = [np.zeros((0, 3)) if of is None else np.asarray(of) for of in (pair.points, pair.targets)]
    if both[0].shape != both[1].shape or both[0].ndim != 2 or both[0].shape[1] != 3 or not all(
            np.isfinite(of).all() for of in both):
        raise InputError(f'{name}: points {both[0].shape} and targets {both[1].shape}; expected [P, 3] finite numbers '
                         'each, of the same places')


def normalised(image: np.ndarray) -> np.ndarray:
    """Intensities from 0, the least, to 1, the 99.5th percentile of what is brighter; 0 where there is no contrast."""
    image = image.astype(np.float32)
    low = image.min()
    there = image[image > low]
    if not there.size:
        return np.zeros_like(image)
    return np.clip((image - low) / max(np.percentile(there, BRIGHT) - low, 1e-12), 0, 1).astype(np.float32)


def fitted(array: np.ndarray, size: Sequence[int], first: Sequence[int], fill: float) -> np.ndarray:
    """A box of `[X, Y, Z]` that begins at a voxel, filled up where it reaches beyond."""
    out = np.full(size, fill, array.dtype)
    here = tuple(slice(max(-f, 0), max(-f, 0) + min(n, s)) for f, n, s in zip(first, array.shape, size))
    there = tuple(slice(max(f, 0), max(f, 0) + min(n, s)) for f, n, s in zip(first, array.shape, size))
    out[here] = array[there]
    return out


def _filled(array: np.ndarray, count: int) -> np.ndarray:
    return np.pad(array, [(0, count - len(array)), *[(0, 0)] * (array.ndim - 1)])


def _told(steps: Sequence[float]) -> str:
    return '×'.join(f'{step:.4g}' for step in steps)
