"""Evaluates growth patient by patient: the next mask as told by the network, by laws of growth and by no change."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.task import Task
from medjax.data.datasets.tumour_growth import SEEN, Followed, Series, brought, distance
from medjax.data.io import image_files
from medjax.data.io.geometry import Image, restore, spacing
from medjax.data.source import UNKNOWN, Case
from medjax.data.sources import lesion_visits_csv as visits
from medjax.data.sources import tumour_visits_csv
from medjax.errors import InputError
from medjax.metrics.classification import auroc_and_auprc
from medjax.ops import growth_laws, reaction_diffusion
from medjax.tasks.growth.mask_growth import grown, inside

COMMON = (0.1, 0.016)  # diffusion, mm² / day, and rate, 1 / day, near which fitted ones are held
MOST = 0.6  # mm² / day, the largest diffusion that is looked for
FASTEST = 0.1  # 1 / day, of a rate that is looked for
TOGETHER = 16  # simulations


@dataclasses.dataclass(frozen=True)
class GrowthEvaluator(contracts.Evaluator):
    """Tells the patients of a split their next masks; see `evaluator`."""

    data: Series
    task: Task
    batch: int
    simulate: bool


    @functools.cached_property
    def _compiled(self) -> Callable[..., dict[str, jax.Array]]:
        return jax.jit(lambda variables, batch: self.task.predict(variables, batch))

    @functools.cached_property
    def _curves(self) -> dict[str, growth_laws.GrowthCurve]:
        return {law: self.data.curves(law) for law in growth_laws.LAWS}

    def _predicted(self, variables: Any, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """What the network tells; batches are filled up, so that it is compiled once."""
        parts = []
        for start in range(0, len(numbers), self.batch):
            at = numbers[np.minimum(np.arange(start, start + self.batch), len(numbers) - 1)]
            out = jax.device_get(self._compiled(variables, self.data.batch(at)))
            out['masks'] = (out.pop('probs').argmax(-1) == 1).astype(np.uint8)
            parts.append({name: part[:len(numbers) - start] for name, part in out.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _baselines(self, numbers: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Masks `[n, *S]` and volumes `[n]` (ml) of all that is not the network, by name."""
        rows, voxel = self.data.rows, self.data.voxel
        last, masks, volumes = rows.masks[numbers, -1], {}, {}
        masks['same'] = last
        rooms = ([inside(image) for image in rows.image[numbers, -1]] if 'image' in self.data.seen
                 else np.ones(last.shape, bool))
        for law, curve in self._curves.items():
            of = growth_laws.GrowthCurve(*(part[numbers] for part in curve))
            told = np.asarray(growth_laws.volume(law, of, rows.horizon[numbers]), np.float64)
            masks[law] = np.stack([grown(mask, self.data.millimetres, round(ml / voxel), room)
                                   for mask, ml, room in zip(last, told, rooms)])
            volumes[law] = told
        if self.simulate and rows.tissue is not None:
            masks['fisher'] = self._simulated(numbers)
        return masks, {name: volumes.get(name, sizes(mask) * voxel) for name, mask in masks.items()}

    def _simulated(self, numbers: np.ndarray) -> np.ndarray:
        """Masks by a reaction–diffusion fitted to the last two visits, `[n, *S]`."""
        rows, steps = self.data.rows, self.data.millimetres[:self.data.rows.label.ndim - 1]
        threshold = np.array([self.data.source.cases[number].target.threshold for number in numbers])
        if not (threshold == threshold[0]).all() or threshold[0] is None:
            raise InputError('config.evaluate.simulate: True; expected False, or masks of one known threshold')
        longest = max(float(-rows.time[numbers, -2].min()), float(rows.horizon[numbers].max()))
        count = reaction_diffusion.stable_steps(longest, MOST, FASTEST, steps)
        limit = float(threshold[0])

        def one(each: tuple[jax.Array, ...]) -> jax.Array:
            before, at, after, tissue, gap, horizon = each
            found = reaction_diffusion.fit_masks(before, after, tissue, gap, steps, steps=count, max_diffusion=MOST, threshold=limit,
                                        start=COMMON)
            u = jnp.where(tissue > 0, reaction_diffusion.front_profile(at, found.diffusion, found.rate, limit), 0)
            return reaction_diffusion.simulate(u, found.diffusion * tissue, found.rate, horizon, steps, count) > limit

        far = [np.stack([distance(mask, steps) for mask in rows.masks[numbers, place]]) for place in (-2, -1)]
        told = jax.jit(lambda *parts: jax.lax.map(one, parts, batch_size=TOGETHER))(
            *far, rows.masks[numbers, -1].astype(np.float32), rows.tissue[numbers], -rows.time[numbers, -2],
            rows.horizon[numbers])
        return np.asarray(told).astype(np.uint8)

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per case of the split.

        It has id, patient, columns, `visits` that were seen, `horizon` in days, `volume_last` and `volume_true` in ml;
        `dice`, `volume`, which the network expects, and `volume_error`, in percent of the true volume; and with the
        name of another method behind an underscore its own: 'same' (the last mask), the laws of `ops.growth_laws`, 'fisher';
        and for each site `new_SITE`, `risk_SITE` and in a simulation `chance_SITE`, where nothing was there before.

        Args:
          variables: the network's.
          split: which cases.
          quick: with no other method than no change.
          snapshots: a folder that gets what the report draws of each case.
        """
        numbers, rows, voxel = self.data.numbers(split), self.data.rows, self.data.voxel
        out = self._predicted(variables, numbers)
        masks, volumes = ({'same': rows.masks[numbers, -1]}, {}) if quick else self._baselines(numbers)
        masks, volumes = {'': out['masks'], **masks}, {'': out['volume'], **volumes}
        true = sizes(rows.label[numbers]) * voxel
        scores = {name: dice(mask, rows.label[numbers]) for name, mask in masks.items()}
        made = []
        for place, number in enumerate(numbers):
            case = self.data.source.cases[number]
            row = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns,
                   'visits': int(rows.time_mask[number].sum()), 'horizon': float(rows.horizon[number]),
                   'volume_last': float(sizes(rows.masks[number, -1:])[0] * voxel), 'volume_true': float(true[place])}
            for name, mask in masks.items():
                volume = volumes[name][place] if name in volumes else sizes(mask[place:place + 1])[0] * voxel
                end = f'_{name}' if name else ''
                row |= {f'dice{end}': float(scores[name][place]), f'volume{end}': float(volume),
                        f'volume_error{end}': float(100 * abs(volume - true[place]) / true[place]) if true[place]
                        else float('nan')}
            made.append(row | self._sites(out, place, number))
        if snapshots is not None and not quick:
            for place, number in enumerate(numbers):
                self._keep(snapshots, number, {name: mask[place] for name, mask in masks.items()},
                           out['rates'][place] if 'rates' in out else None)
        return made

    def _sites(self, out: Mapping[str, np.ndarray], place: int, number: int) -> dict[str, Any]:
        """Of each site whether something arose there, and its chance; nothing where nobody knows."""
        target, row = self.data.source.cases[number].target, {}
        if 'risk' not in out:
            return row
        for k, name in enumerate(self.data.sites):
            known, key = self.data.rows.new[number, k] != UNKNOWN, name.replace(' ', '_')
            row |= {f'new_{key}': int(self.data.rows.new[number, k]) if known else '',
                    f'risk_{key}': float(out['risk'][place, k]) if known else ''}
            row |= {f'chance_{key}': float(target.chance[k]) if known else ''} if target.chance else {}
        return row

    def _keep(self, folder: pathlib.Path, number: int, masks: Mapping[str, np.ndarray],
              rates: np.ndarray | None) -> None:
        """What is drawn of a case: the plane `[X, Y]` in which most of the truth is."""
        rows, case = self.data.rows, self.data.source.cases[number]
        flat = rows.label.ndim == 3
        cut = 0 if flat else int(rows.label[number].sum((0, 1)).argmax())

        def plane(array: np.ndarray, axes: int = 0) -> np.ndarray:
            return array if flat else np.take(array, cut, axis=2 + axes)

        first = int(len(rows.time[number]) - rows.time_mask[number].sum())
        scans = case.read().image.array
        axes = self.data.millimetres[:2]
        kept = {'image': plane(rows.image[number], 1)[first:], 'seen': plane(rows.masks[number], 1)[first:],
                'time': rows.time[number][first:], 'volume': rows.volume[number][first:],
                'horizon': rows.horizon[number], 'truth': plane(rows.label[number]), 'sites': plane(rows.sites[number]),
                'spacing': np.array(axes), 'channel': np.array(scans.shape[-1] - 1 if 'image' in self.data.seen else 0)}
        kept |= {f'mask_{name}' if name else 'mask': plane(mask) for name, mask in masks.items()}
        curve = {law: [float(part[number]) for part in of] for law, of in self._curves.items()}
        kept |= {f'curve_{law}': np.array(parts) for law, parts in curve.items()}
        kept |= {} if rates is None else {'rates': plane(rates).astype(np.float32)}
        atomic_files.write_arrays(folder / f'{case.id}.npz', **kept)

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """What validation cases say: means over patients of `dice` and `volume_error`, and `auroc_sites`."""
        out = {name: float(np.nanmean([row[name] for row in rows])) for name in ('dice', 'volume_error')}
        keys = [key for key in rows[0] if key.startswith('new_')]
        pairs = [(row[key], row['risk_' + key[4:]]) for row in rows for key in keys if row[key] != '']
        if pairs:
            new, risk = (np.array(column, np.float64) for column in zip(*pairs))
            out['auroc_sites'] = float(auroc_and_auprc(new > 0, risk)[0])
        return out


@dataclasses.dataclass(frozen=True)
class GrowthPredictor(contracts.Predictor):
    """Tells patients that are not of the data set their next mask; see `predictor`."""

    task: Task
    statistics: Mapping[str, Any]
    size: tuple[int, ...]
    spacing: tuple[float, ...] | None
    see: tuple[str, ...]

    file_per_input = False  # a table of visits goes into a table of patients

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network sees."""
        visits = self.statistics['visits']
        return {'image': np.zeros((1, visits, *self.size, self.statistics['channels']), np.float32),
                **{name: np.ones((1, visits), np.float32) for name in ('time', 'time_mask', 'volume')},
                'horizon': np.ones(1, np.float32), 'sites': np.zeros((1, *self.size), np.uint8)}

    @functools.cached_property
    def _compiled(self) -> Callable[..., dict[str, jax.Array]]:
        return jax.jit(lambda variables, batch: self.task.predict(variables, batch))

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Reads a table of visits as `data.sources.tumour_visits_csv` does, and tells each patient's last one, which has no mask.

        Args:
          variables: the network's.
          path: a CSV table; of each patient two visits with a mask or more, and one without.
          folder: gets PATIENT.nii.gz, the mask on the grid of the first one, and `predictions.csv`.

        Returns:
          A line on what was found, for the person who waits.

        Raises:
          InputError: a table that is not such; scans that are not as those the network was trained on.
        """
        rows = []
        for name, of in visits.read(path).items():
            by = tumour_visits_csv.group_by_visit(of)
            if len(by) < tumour_visits_csv.LEAST or any(row.mask for row in by[-1]):
                raise InputError(f'{path}: patient {name}: {len(by)} visits; expected two with a mask or more, and as '
                                 'the last one that which is to be told, without a mask')
            by = by[-self.statistics['visits'] - 1:]
            scans = tumour_visits_csv.read_scans(by, name)
            target = Followed(tuple(tumour_visits_csv.WEEK * each[0].weeks for each in by))
            case = Case(name, name, 'new', lambda scans=scans: scans, target=target)
            row, affine, _ = brought(case, self.size, self.spacing, self.see, self.statistics['visits'], 0)
            if row.image.shape[-1] != self.statistics['channels']:
                raise InputError(f'{path}: patient {name}: {row.image.shape[-1]} channels; expected '
                                 f'{self.statistics["channels"]}, as in training')
            batch = {key: getattr(row, key)[None] for key in ('image', 'time', 'time_mask', 'volume', 'sites')}
            out = self._compiled(variables, {**batch, 'horizon': np.array([row.horizon], np.float32)})
            probs = np.asarray(out['probs'][0])
            mask = np.asarray(probs.argmax(-1) == 1, np.uint8)
            reference = Image(scans.masks.array[..., 0], scans.masks.affine)
            label = restore(Image(mask if mask.ndim == 3 else mask[..., None], affine), reference, 'label').array
            image_files.write(folder / f'{name}.nii.gz', label, reference.affine)
            rows.append({'patient': name, 'horizon': float(row.horizon), 'volume_last': float(row.volume[-1]),
                         'volume': float(probs[..., 1].sum() * np.prod(spacing(affine)) / 1000),
                         'volume_mask': float(label.sum() * np.prod(spacing(reference.affine)) / 1000)})
        atomic_files.write_table(folder / 'predictions.csv', rows)
        grows = np.mean([row['volume'] / row['volume_last'] for row in rows])
        return f'{path} → {folder / "predictions.csv"}   {len(rows)} patients, volumes times {grows:.2f} in the mean'


def sizes(masks: np.ndarray) -> np.ndarray:
    """Voxels of masks `[n, *S]`, `[n]`."""
    return masks.reshape(len(masks), -1).sum(1, dtype=np.int64)


def dice(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice of masks `[n, *S]` and true ones, `[n]`; NaN where both are empty, which says nothing."""
    both, total = sizes(masks & truth), sizes(masks) + sizes(truth)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), np.nan)


def evaluator(*, data: Series, task: Task, batch: int = 32, simulate: bool = True) -> GrowthEvaluator:
    """Makes the evaluator of growth.

    Args:
      data: the data set.
      task: the problem.
      batch: cases at once.
      simulate: whether a simulation is fitted to each case where the tissue is known, which takes some seconds.
    """
    if batch < 1:
        raise InputError(f'config.evaluate.batch: {batch}; expected at least 1')
    return GrowthEvaluator(data, task, batch, simulate)


def predictor(*, task: Task, statistics: Mapping[str, Any], data: Mapping[str, Any],
              **_: Any) -> GrowthPredictor:
    """Makes what tells new patients their next mask.

    Args:
      task: the problem.
      statistics: of the training data, as stored with the checkpoint.
      data: the options of `scans.dataset`.
      **_: what else predictors are offered.
    """
    wanted = data.get('spacing')
    return GrowthPredictor(task, statistics, tuple(data['size']), None if wanted is None else tuple(wanted),
                           tuple(data.get('see', SEEN)))
