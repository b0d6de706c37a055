"""Scans of patients, visit by visit: what a network is to tell the next one from."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import edt
import jax
import numpy as np
from scipy import ndimage

from medjax.data.datasets.base import Parted
from medjax.data.io.geometry import Image, resample, to_canonical
from medjax.data.io.geometry import spacing as grid_spacing
from medjax.data.source import UNKNOWN, Case, Source
from medjax.errors import InputError, few
from medjax.machine import cores
from medjax.ops import growth_laws

SEEN = ('image', 'mask', 'distance')  # what channels can be made of
FAR = 30.0  # mm, the largest distance that is told
CENTIMETRE = 10.0
THREADED = 1 << 18  # voxels, of which fewer are done before threads are made
LAW = 'gompertz'  # of the curve that a physics-informed loss may ask for


@dataclasses.dataclass(frozen=True)
class Followed:
    """When a patient was seen, and what came: the target of a case whose problem is growth.

    Attributes:
      times: of the visits in days, rising; the last one is to be told from those before.
      sites: names of the places where a new tumour may arise; none where nobody says so.
      new: for each site 1 where one arose between the last two visits, 0 where none did, UNKNOWN where there was one
        already, or nobody knows.
      chance: that it should, in a simulation; () elsewhere. No network ever sees it.
      threshold: the density of cells that bounds the masks, where that is known.
    """

    times: tuple[float, ...]
    sites: tuple[str, ...] = ()
    new: tuple[int, ...] = ()
    chance: tuple[float, ...] = ()
    threshold: float | None = None

    def __str__(self) -> str:
        """Whether something new arose: what patients are dealt by."""
        return str(int(1 in self.new))


class Scans(NamedTuple):
    """What `Case.read` gives where the problem is growth: V visits on one grid.

    `image` is `[X, Y, Z, V, C]`, `masks` `[X, Y, Z, V]`, 0 or 1; `sites [X, Y, Z]` uint8 has their numbers from 1, and
    `tissue [X, Y, Z]` float32 how fast cells wander as a share of where they are fastest. None where it is not known.
    """

    image: Image
    masks: Image
    sites: np.ndarray | None = None
    tissue: np.ndarray | None = None


class Rows(NamedTuple):
    """A split's or a data set's patients as arrays of one grid; T the most visits that are seen, the latest last.

    Attributes:
      image: `[N, T, *S, C]` float32, what the network sees; 0 where there is no visit.
      masks: `[N, T, *S]` uint8, of the visits that are seen.
      label: `[N, *S]` uint8, the mask that is to be told.
      sites: `[N, *S]` uint8.
      tissue: `[N, *S]` float32, or None.
      time: `[N, T]` float32, days, 0 at the last visit that is seen, less before.
      time_mask: `[N, T]` float32.
      volume: `[N, T]` float32, ml.
      horizon: `[N]` float32, days from there to the visit that is to be told.
      new: `[N, K]` int32.
    """

    image: np.ndarray
    masks: np.ndarray
    label: np.ndarray
    sites: np.ndarray
    tissue: np.ndarray | None
    time: np.ndarray
    time_mask: np.ndarray
    volume: np.ndarray
    horizon: np.ndarray
    new: np.ndarray


@dataclasses.dataclass(frozen=True)
class Series(Parted):
    """A data set of scans; `core.loop` and `data.pipeline` say what is asked of it.

    Attributes:
      source: the cases.
      rows: all of them as arrays.
      millimetres: of a voxel of the network's grid, along each of S; and across the plane of pictures.
      seen: what the channels are made of, some of SEEN.
      sites: names.
      told: of what was cut off, a line of `warnings` each.
    """

    source: Source
    rows: Rows
    millimetres: tuple[float, ...]
    seen: tuple[str, ...]
    sites: tuple[str, ...]
    told: tuple[str, ...] = ()

    @property
    def voxel(self) -> float:
        """Of the network's grid, ml."""
        return float(np.prod(self.millimetres)) / 1000

    @functools.cached_property
    def _capacities(self) -> dict[str, float]:
        return {}

    def capacity(self, law: str) -> float:
        """The capacity, ml, with which a law of growth fits the training patients' volumes best."""
        if law not in self._capacities:
            train, rows = self._numbers['train'], self.rows
            after = np.maximum(rows.label[train].reshape(len(train), -1).sum(1), 0.5) * self.voxel
            time = np.concatenate([rows.time[train], rows.horizon[train, None]], 1)
            volume = np.concatenate([rows.volume[train], after[:, None].astype(np.float32)], 1)
            mask = np.concatenate([rows.time_mask[train], np.ones((len(train), 1), np.float32)], 1)
            self._capacities[law] = growth_laws.fit_capacity(law, time, volume, mask)
        return self._capacities[law]

    def curves(self, law: str) -> growth_laws.GrowthCurve:
        """Each patient's curve, `[N]`, from the volumes that are seen alone; time 0 is the last of those visits."""
        rows, capacity = self.rows, self.capacity(law)
        found = jax.jit(lambda *parts: growth_laws.fit(law, *parts)[0])(
            rows.time, rows.volume, rows.time_mask, np.float32(capacity))
        return growth_laws.GrowthCurve(*map(np.asarray, found))

    @functools.cached_property
    def _targets(self) -> dict[str, np.ndarray]:
        """What a batch has beside the images; `curve [N, 3]` is the logarithms of start and capacity about the rate."""
        rows, curve = self.rows, self.curves(LAW)
        return {'time': rows.time, 'time_mask': rows.time_mask, 'volume': rows.volume, 'horizon': rows.horizon,
                'label': rows.label, 'sites': rows.sites, 'new': rows.new,
                'curve': np.stack([np.log(curve.start), curve.rate, np.log(curve.capacity)], 1).astype(np.float32)}

    def batch(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Cases as the network sees them and what they are judged by, without their ids."""
        return {'image': self.rows.image[numbers], **{name: part[numbers] for name, part in self._targets.items()}}

    @functools.cached_property
    def warnings(self) -> list[str]:
        """What is to be minded in these data, a line each."""
        out, sizes = list(self.told), self.rows.label.reshape(len(self.rows.label), -1).any(1)
        empty = [case.id for case, some in zip(self.source.cases, sizes) if not some]
        if empty:
            out.append(f'Nothing is left at the visit that is to be told: {len(empty)} ({few(empty)}).')
        return out

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """What the task has to know of the training data; stored with each checkpoint."""
        return {'classes': list(self.source.classes), 'problem': self.source.problem, 'sites': list(self.sites),
                'unit': self.source.unit, 'voxel': self.voxel, 'visits': int(self.rows.time.shape[1]),
                'channels': int(self.rows.image.shape[-1])}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over scans, masks, times, outcomes, patients and splits."""
        digest, rows = hashlib.sha256(), self.rows
        for number, case in enumerate(self.source.cases):
            digest.update(f'{case.split} {case.patient} {case.id} {case.target!r}'.encode())
            for part in (rows.image, rows.masks, rows.label, rows.time, rows.new):
                digest.update(np.ascontiguousarray(part[number]))
        return digest.hexdigest()

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A training case: what `batch` has of it, and its `id`."""
        at = self._numbers['train'][number]
        return {**{name: part[0] for name, part in self.batch(np.array([at])).items()}, 'id': self.source.cases[at].id}

    def resident(self) -> 'Resident':
        """The training cases as they may lie on the device."""
        return Resident(self)


class Resident:
    """Training cases on the device, as `pipeline.Resident` says."""

    def __init__(self, data: Series):
        self._data = data
        self.size = float(sum(part[0].nbytes for part in data.batch(np.array([0])).values()) * len(data))

    def load(self) -> Mapping[str, np.ndarray]:
        """All of them."""
        return self._data.batch(self._data.numbers('train'))

    def place(self, number: int, rng: Callable[[], np.random.Generator]) -> tuple[int]:
        """A case's number says where it lies."""
        return (number,)

    def pick(self, arrays: Mapping[str, jax.Array], place: jax.Array) -> dict[str, jax.Array]:
        """A case, as the data set's `item` gives it without its id."""
        return {name: array[place[0]] for name, array in arrays.items()}


def dataset(source: Source, *, size: Sequence[int], spacing: Sequence[float] | None = None,
            see: Sequence[str] = SEEN) -> Series:
    """Reads all scans onto grids of one size, and makes them a data set.

    Args:
      source: the cases, each with `Followed` and `Scans`.
      size: voxels along x and y of scans of one slice, or along x, y and z. What is larger is cut about the middle of
        the last mask that is seen, or of the image where that is empty.
      spacing: mm along x, y, z to resample to; None keeps each scan's own, which then have to be the same.
      see: what of each visit the network sees: 'image', standardised over the voxels that are not the least one's;
        'mask'; and 'distance' from its border, in cm, below zero within.

    Raises:
      InputError: scans of another dimension or spacing; times that do not rise; less than two visits to tell from.
    """
    if source.problem != 'growth':
        raise InputError('config.data: scans need a source of visits, such as followup or phantom_growth')
    if not see or set(see) - set(SEEN):
        raise InputError(f'config.data.see: {tuple(see)}; expected some of: {", ".join(SEEN)}')
    if len(size) not in (2, 3) or not all(isinstance(n, int) and n > 0 for n in size):
        raise InputError(f'config.data.size: {tuple(size)}; expected x and y, or x, y and z')
    if not any(case.split == 'train' for case in source.cases):
        raise InputError(f'config.data.source: no training case among the {len(source.cases)} cases; expected split '
                         'train')
    sites = next((case.target.sites for case in source.cases if case.target.sites), ())
    most = max(len(case.target.times) for case in source.cases) - 1
    parts, grids, cut = [], [], []
    for case in source.cases:
        _check(case, sites)
        row, affine, lost = brought(case, tuple(size), spacing, tuple(see), most, len(sites))
        parts.append(row)
        grids.append(grid_spacing(affine))
        cut += [case.id] * lost
        if not np.allclose(grids[-1], grids[0], rtol=1e-3):
            raise InputError(f'{case.id}: voxels of {grids[-1]} mm, {source.cases[0].id} has {grids[0]}; expected '
                             'the same: config.data.spacing makes them so')
        if row.image.shape != parts[0].image.shape:
            raise InputError(f'{case.id}: {row.image.shape[-1]} channels, {source.cases[0].id} has '
                             f'{parts[0].image.shape[-1]}; expected the same')
    known = all(row.tissue is not None for row in parts)
    rows = Rows(*(np.stack(column) if name != 'tissue' or known else None
                  for name, column in zip(Rows._fields, zip(*parts))))
    told = (f'Cut off at the border of the network\'s grid is some of the tumour of {len(cut)} ({few(cut)}).',)
    return Series(source, rows, tuple(grids[0]), tuple(see), sites, told if cut else ())


def _check(case: Case, sites: Sequence[str]) -> None:
    target = case.target
    if not isinstance(target, Followed) or len(target.times) < 3:
        raise InputError(f'{case.id}: {len(getattr(target, "times", ()))} visits; expected two or more, and the one '
                         'that is to be told from them')
    if not np.isfinite(target.times).all() or not (np.diff(target.times) > 0).all():
        raise InputError(f'{case.id}: visits at {", ".join(f"{time:g}" for time in target.times)}; expected times that '
                         'rise')
    if target.sites not in ((), tuple(sites)) or len(target.new) != len(target.sites):
        raise InputError(f'{case.id}: sites {target.sites}; expected those of the other cases: {tuple(sites)}')


def brought(case: Case, size: tuple[int, ...], wanted: Sequence[float] | None, see: Sequence[str], most: int,
            count: int) -> tuple[Rows, np.ndarray, bool]:
    """Brings a case onto the network's grid.

    Args:
      case: with `Followed` and `Scans`.
      size: see `dataset`, as for wanted (its spacing) and see.
      wanted: …
      see: …
      most: T.
      count: K.

    Returns:
      The case as `Rows` without their first axis; the grid's affine `[4, 4]`; and whether some of a mask was cut off.
    """
    scans, target = case.read(), case.target
    visits, shape, channels = len(target.times), scans.masks.array.shape[:3], scans.image.array.shape[-1]
    if scans.masks.array.shape[3:] != (visits,) or scans.image.array.shape[:4] != (*shape, visits):
        raise InputError(f'{case.id}: images {scans.image.array.shape}, masks {scans.masks.array.shape}; expected '
                         f'[X, Y, Z, {visits}, C] and [X, Y, Z, {visits}]')
    if not np.isfinite(scans.image.array).all():
        raise InputError(f'{case.id}: values that are NaN or infinite; expected images')
    if (len(size) == 2) != (shape[2] == 1):
        raise InputError(f'{case.id}: {shape[2]} slices; expected config.data.size of two numbers for one slice, and '
                         'of three for more')
    if 'image' in see and not channels:
        raise InputError(f"{case.id}: no images; expected config.data.see without 'image', or images")

    def resized(array: np.ndarray | None, kind: str) -> Image | None:
        if array is None:
            return None
        out = to_canonical(Image(array, scans.masks.affine, case.id))
        return resample(out, wanted, kind) if wanted else out

    masks = [resized(mask, 'label') for mask in np.moveaxis((scans.masks.array > 0).astype(np.uint8), -1, 0)]
    affine, masks = masks[0].affine, np.stack([mask.array for mask in masks], -1)
    image = np.zeros((*masks.shape, 0), np.float32)
    if channels:
        image = resized(scans.image.array.reshape(*shape, visits * channels).astype(np.float32), 'linear').array
        image = image.reshape(*masks.shape, channels)
    maps = resized(scans.sites, 'label'), resized(scans.tissue, 'linear')
    steps, full = grid_spacing(affine), (*size, 1)[:3]
    first, before = _box(masks[..., -2], full), int(masks.sum())
    affine = affine.copy()
    affine[:3, 3] += affine[:3, :3] @ first
    image, masks = _cut(image, first, full, image.min((0, 1, 2))), _cut(masks, first, full)
    sites, tissue = (None if part is None else _cut(part.array, first, full) for part in maps)
    parts = {'image': np.stack([_standardised(image[..., v, :]) for v in range(visits)], -2),
             'mask': masks[..., None].astype(np.float32),
             'distance': np.stack([distance(masks[..., v], steps) for v in range(visits)], -1)[..., None] / CENTIMETRE}
    x = np.moveaxis(np.concatenate([parts[name] for name in see], -1), 3, 0)[:-1].astype(np.float32)
    over_time = np.moveaxis(masks, -1, 0)
    volume = np.maximum(over_time.reshape(visits, -1).sum(1), 0.5) * np.prod(steps) / 1000
    times = np.array(target.times, np.float32)

    def led(array: np.ndarray) -> np.ndarray:
        """With empty visits before the first."""
        return np.pad(array, [(most - (visits - 1), 0), *[(0, 0)] * (array.ndim - 1)])

    def flat(array: np.ndarray) -> np.ndarray:
        """Without the axis across a picture, which is the last."""
        return array if len(size) == 3 else array[..., 0]

    return Rows(led(x if len(size) == 3 else x[:, :, :, 0]), led(flat(over_time[:-1])), flat(over_time[-1]),
                flat(np.zeros(full, np.uint8) if sites is None else sites.astype(np.uint8)),
                None if tissue is None else flat(tissue), led(times[:-1] - times[-2]),
                led(np.ones(visits - 1, np.float32)), led(volume[:-1].astype(np.float32)), times[-1] - times[-2],
                np.array(target.new or (UNKNOWN,) * count, np.int32)), affine, int(masks.sum()) < before


def distance(mask: np.ndarray, steps: Sequence[float]) -> np.ndarray:
    """The distance of each voxel's centre from the border of a mask, mm, below zero within; FAR where it is empty.

    The border lies half way between the centres of voxels in and out of it.
    """
    mask = np.array(mask) > 0
    if not mask.any():
        return np.full(mask.shape, FAR, np.float32)
    if mask.all():
        return np.full(mask.shape, -FAR, np.float32)
    steps, half = tuple(steps[:mask.ndim]), min(steps[:mask.ndim]) / 2
    if mask.size > THREADED:
        out, in_ = (edt.edt(part, anisotropy=steps, parallel=cores()) for part in (~mask, mask.copy()))
    else:
        out, in_ = (ndimage.distance_transform_edt(part, steps) for part in (~mask, mask))
    return np.clip(np.where(mask, half - in_, out - half), -FAR, FAR).astype(np.float32)


def _standardised(image: np.ndarray) -> np.ndarray:
    """Each channel less its mean, over its deviation, of the voxels that are not its least one's; those are 0."""
    out = np.zeros_like(image)
    for c in range(image.shape[-1]):
        there = image[..., c] != image[..., c].min()
        if there.any():
            values = image[..., c][there]
            out[..., c][there] = (values - values.mean()) / max(float(values.std()), 1e-6)
    return out


def _box(mask: np.ndarray, size: Sequence[int]) -> tuple[int, ...]:
    """The first voxel of a box of a size about the middle of a mask, as far within the image as there is room."""
    where = np.argwhere(mask)
    middle = (where.min(0) + where.max(0) + 1) / 2 if len(where) else np.array(mask.shape) / 2
    first = []
    for m, n, extent in zip(middle, mask.shape, size):
        spare = n - extent
        first.append(int(np.clip(round(m - extent / 2), 0, spare)) if spare > 0 else spare // 2)
    return tuple(first)


def _cut(array: np.ndarray, first: Sequence[int], size: Sequence[int], fill: np.ndarray | int = 0) -> np.ndarray:
    """A box of an array, filled where it reaches beyond."""
    out = np.empty((*size, *array.shape[3:]), array.dtype)
    out[:] = fill
    here = tuple(slice(max(-f, 0), max(-f, 0) + min(n, s)) for f, n, s in zip(first, array.shape, size))
    there = tuple(slice(max(f, 0), max(f, 0) + min(n, s)) for f, n, s in zip(first, array.shape, size))
    out[here] = array[there]
    return out
