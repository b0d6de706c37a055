"""Tumour growth: patients with several visits, the last of which is predicted from those before."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from medjax.data.datasets.base import RowDataset, check_training_cases
from medjax.data.datasets.tumour_visits import INPUTS, FollowUp, VisitRows, prepare_visits
from medjax.data.io import geometry
from medjax.data.source import Case, Source
from medjax.errors import InputError, few
from medjax.ops import growth_laws
from medjax.options import Count, Positive

LAW = 'gompertz'  # of the fitted curve that is part of a batch, for a physics-informed loss


@dataclasses.dataclass(frozen=True)
class TumourGrowthDataset(RowDataset):
    """A data set of patients with several visits.

    Attributes:
      source: the cases as stored.
      rows: all patients as arrays, in the source's order.
      spacing: mm of a voxel of the network's grid, along each of S, and between slices in 2D.
      inputs: the contents of the channels, some of INPUTS.
      sites: names of the sites where a new tumour may arise.
      crop_warnings: on tumours that were cropped, a line of `warnings` each.
    """

    source: Source[FollowUp]
    rows: VisitRows
    spacing: tuple[float, ...]
    inputs: tuple[str, ...]
    sites: tuple[str, ...]
    crop_warnings: tuple[str, ...] = ()

    @property
    def voxel(self) -> float:
        """The volume of a voxel of the network's grid, ml."""
        return float(np.prod(self.spacing)) / 1000

    @functools.cached_property
    def _capacities(self) -> dict[str, float]:
        return {}

    def capacity(self, law: str) -> float:
        """The capacity, ml, with which a growth law fits the volumes of the training patients best."""
        if law not in self._capacities:
            train, rows = self._numbers['train'], self.rows
            after = np.maximum(rows.label[train].reshape(len(train), -1).sum(1), 0.5) * self.voxel
            time = np.concatenate([rows.time[train], rows.horizon[train, None]], 1)
            volume = np.concatenate([rows.volume[train], after[:, None].astype(np.float32)], 1)
            mask = np.concatenate([rows.time_mask[train], np.ones((len(train), 1), np.float32)], 1)
            self._capacities[law] = growth_laws.fit_capacity(law, time, volume, mask)
        return self._capacities[law]

    def curves(self, law: str) -> growth_laws.GrowthCurve:
        """The curve of each patient, `[N]`, fitted to the volumes of the input visits; time 0 is the last of them."""
        rows, capacity = self.rows, self.capacity(law)
        curve = jax.jit(lambda *parts: growth_laws.fit(law, *parts)[0])(
            rows.time, rows.volume, rows.time_mask, np.float32(capacity))
        return growth_laws.GrowthCurve(*map(np.asarray, curve))

    @functools.cached_property
    def _targets(self) -> dict[str, np.ndarray]:
        rows, curve = self.rows, self.curves(LAW)
        return {'time': rows.time, 'time_mask': rows.time_mask, 'volume': rows.volume, 'horizon': rows.horizon,
                'label': rows.label, 'sites': rows.sites, 'new': rows.new,
                'curve': np.stack([np.log(curve.start), curve.rate, np.log(curve.capacity)], 1).astype(np.float32)}

    def batch(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Inputs and targets of some cases: the arrays of `VisitRows` except masks and tissue, and `curve [n, 3]`.

        `curve` is the fitted curve of `LAW`: logarithm of the start, rate, logarithm of the capacity.
        """
        return {'image': self.rows.image[numbers], **{name: part[numbers] for name, part in self._targets.items()}}

    @property
    def case_values(self) -> dict[str, np.ndarray]:
        """Visits of every case, the days that they cover, and the tumour's volume at the last two."""
        times = [case.target.times for case in self.source.cases]
        last = self.rows.label.reshape(len(times), -1).sum(1) * self.voxel
        return {'Visits': np.array([len(own) for own in times], np.float64),
                'Days from the first to the last visit': np.array([own[-1] - own[0] for own in times], np.float64),
                'Tumour volume at the last input visit (ml)': self.rows.volume[:, -1].astype(np.float64),
                'Tumour volume at the visit to predict (ml)': last.astype(np.float64)}

    @functools.cached_property
    def warnings(self) -> list[str]:
        """Cropped tumours, and last visits without a tumour; a line each."""
        out, present = list(self.crop_warnings), self.rows.label.reshape(len(self.rows.label), -1).any(1)
        empty = [case.id for case, some in zip(self.source.cases, present) if not some]
        if empty:
            out.append(f'No tumour is left at the visit that is to be predicted: {len(empty)} ({few(empty)}).')
        return out

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """Classes, sites, unit, voxel volume, visits, channels and encoding; stored with each checkpoint."""
        return {'classes': list(self.source.classes), 'problem': self.source.problem, 'sites': list(self.sites),
                'unit': self.source.unit, 'voxel': self.voxel, 'visits': int(self.rows.time.shape[1]),
                'channels': int(self.rows.image.shape[-1]), 'encoding': dict(self.source.encoding)}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over scans, masks, times, outcomes, patients and splits."""
        digest, rows = hashlib.sha256(), self.rows
        for number, case in enumerate(self.source.cases):
            target = repr(case.target).replace('FollowUp(', 'Followed(', 1)  # the class's first name, for equal hashes
            digest.update(f'{case.split} {case.patient} {case.id} {target}'.encode())
            for part in (rows.image, rows.masks, rows.label, rows.time, rows.new):
                digest.update(np.ascontiguousarray(part[number]))
        return digest.hexdigest()


def dataset(source: Source[FollowUp], *, size: Sequence[Count], spacing: Sequence[Positive] | None = None,
            inputs: Sequence[str] = INPUTS) -> TumourGrowthDataset:
    """The data set of a source's patients on grids of one size.

    Args:
      source: the cases, each with `FollowUp` and `Scans`.
      size: voxels along x and y for scans of one slice, or along x, y and z. Larger scans are cropped about the centre
        of the last input mask, or of the image where that is empty.
      spacing: mm along x, y, z to resample to; None keeps the scans' spacing, which then has to be the same for all.
      inputs: the network's inputs for each visit: 'image', standardised over the voxels that differ from its minimum;
        'mask'; and 'distance' from the mask's border, in cm, negative inside.

    Raises:
      InputError: scans of another dimension or spacing; times that do not increase; fewer than two input visits.
    """
    if source.problem != 'growth':
        raise InputError('config.data: tumour_growth needs a source of visits, such as tumour_visits_csv or '
                         'simulated_tumour_growth')
    if not inputs or set(inputs) - set(INPUTS):
        raise InputError(f'config.data.inputs: {tuple(inputs)}; expected some of: {", ".join(INPUTS)}')
    if len(size) not in (2, 3) or not all(isinstance(n, int) and n > 0 for n in size):
        raise InputError(f'config.data.size: {tuple(size)}; expected x and y, or x, y and z')
    check_training_cases(source)
    sites = next((case.target.sites for case in source.cases if case.target.sites), ())
    visits = max(len(case.target.times) for case in source.cases) - 1
    parts, grids, cropped, first = [], [], [], source.cases[0].id
    for case in source.cases:
        _check(case, sites)
        row, affine, lost = prepare_visits(case, tuple(size), spacing, tuple(inputs), visits, len(sites))
        parts.append(row)
        grids.append(geometry.spacing(affine))
        if lost:
            cropped.append(case.id)
        if not np.allclose(grids[-1], grids[0], rtol=1e-3):
            raise InputError(f'{case.id}: voxels of {grids[-1]} mm, {first} has {grids[0]}; expected the same: '
                             'set config.data.spacing')
        if row.image.shape != parts[0].image.shape:
            raise InputError(f'{case.id}: {row.image.shape[-1]} channels, {first} has {parts[0].image.shape[-1]}; '
                             'expected the same')
    lines = ()
    if cropped:
        lines = (f'Tumours that are cropped at the border of the network\'s grid: {len(cropped)} ({few(cropped)}).',)
    return TumourGrowthDataset(source, _stack(parts), tuple(grids[0]), tuple(inputs), sites, lines)


def _stack(parts: Sequence[VisitRows]) -> VisitRows:
    """The rows of all patients; tissue only where it is known for all."""
    columns = dict(zip(VisitRows._fields, zip(*parts)))
    tissue = columns.pop('tissue')
    return VisitRows(**{name: np.stack(column) for name, column in columns.items()},
                     tissue=np.stack(tissue) if all(part is not None for part in tissue) else None)


def _check(case: Case[FollowUp], sites: Sequence[str]) -> None:
    target = case.target
    if not isinstance(target, FollowUp) or len(target.times) < 3:
        raise InputError(f'{case.id}: {len(getattr(target, "times", ()))} visits; expected two or more, and the one '
                         'that is to be predicted from them')
    if not np.isfinite(target.times).all() or not (np.diff(target.times) > 0).all():
        raise InputError(f'{case.id}: visits at {", ".join(f"{time:g}" for time in target.times)}; expected increasing '
                         'times')
    if target.sites not in ((), tuple(sites)) or len(target.new) != len(target.sites):
        raise InputError(f'{case.id}: sites {target.sites}; expected those of the other cases: {tuple(sites)}')
