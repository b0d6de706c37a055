"""Evaluation of tumour growth: the next mask of every case, by the network and by baselines."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax import atomic_files
from medjax.core import contracts, distributed
from medjax.core.task import Task
from medjax.data.datasets.tumour_growth import TumourGrowthDataset
from medjax.data.datasets.tumour_visits import INPUTS, FollowUp, prepare_visits
from medjax.data.io import image_files
from medjax.data.io.geometry import Image, restore, spacing
from medjax.data.source import Case
from medjax.data.sources import lesion_visits_csv, tumour_visits_csv
from medjax.errors import InputError
from medjax.metrics.classification import auroc_and_auprc
from medjax.ops import growth_laws
from medjax.options import Count
from medjax.tasks.growth import baselines, table


@dataclasses.dataclass(frozen=True)
class GrowthEvaluator(contracts.Evaluator):
    """Predicts the next mask of every case of a split; see `evaluator`."""

    data: TumourGrowthDataset
    task: Task
    batch: int
    reaction_diffusion: bool

    @functools.cached_property
    def _compiled(self) -> Callable[..., dict[str, jax.Array]]:
        return jax.jit(lambda variables, batch: self.task.predict(variables, batch))

    @functools.cached_property
    def _curves(self) -> dict[str, growth_laws.GrowthCurve]:
        """For each growth law the curves of all cases, fitted to their earlier visits."""
        return {law: self.data.curves(law) for law in growth_laws.LAWS}

    def _outputs(self, variables: Any, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of the task, with `masks` in place of `probs`, in padded batches."""
        def predicted(start: int) -> dict[str, np.ndarray]:
            at = numbers[np.minimum(np.arange(start, start + self.batch), len(numbers) - 1)]
            out = jax.device_get(self._compiled(variables, self.data.batch(at)))
            out['masks'] = (out.pop('probs').argmax(-1) == 1).astype(np.uint8)
            return {name: part[:len(numbers) - start] for name, part in out.items()}

        parts = distributed.mapped(predicted, range(0, len(numbers), self.batch))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """The rows of the predictions table for the cases of a split; see `table`.

        Args:
          variables: the network's variables.
          split: name of the split.
          quick: with no change as the only baseline, and without snapshots.
          snapshots: a folder for what the report draws of each case.
        """
        numbers, rows, voxel = self.data.numbers(split), self.data.rows, self.data.voxel
        outputs = self._outputs(variables, numbers)
        masks = {'': outputs['masks'], 'same': rows.masks[numbers, -1]}
        volumes = {'': outputs['volume']}
        if not quick:
            law_masks, law_volumes = baselines.growth_law_masks(self.data, self._curves, numbers)
            masks, volumes = masks | law_masks, volumes | law_volumes
            if self.reaction_diffusion and rows.tissue is not None:
                masks['fisher'] = baselines.reaction_diffusion_masks(self.data, numbers)
        truth = count_voxels(rows.label[numbers]) * voxel
        last = count_voxels(rows.masks[numbers, -1]) * voxel
        scores = {name: dice(mask, rows.label[numbers]) for name, mask in masks.items()}
        volumes = {name: volumes[name] if name in volumes else count_voxels(mask) * voxel
                   for name, mask in masks.items()}
        out = []
        for place, number in enumerate(numbers):
            row = table.case_row(self.data.source.cases[number], split, int(rows.time_mask[number].sum()),
                                 float(rows.horizon[number]), float(last[place]), float(truth[place]))
            for name in masks:
                row |= table.method_columns(name, scores[name][place], volumes[name][place], truth[place])
            if 'risk' in outputs:
                row |= table.site_columns(self.data.sites, rows.new[number], outputs['risk'][place],
                                          self.data.source.cases[number].target.chance)
            out.append(row)
        if snapshots is not None and not quick:
            for place, number in enumerate(numbers):
                rates = outputs['rates'][place] if 'rates' in outputs else None
                self._write_snapshot(snapshots, number, {name: mask[place] for name, mask in masks.items()}, rates)
        return out

    def _write_snapshot(self, folder: pathlib.Path, number: int, masks: Mapping[str, np.ndarray],
                        rates: np.ndarray | None) -> None:
        """Writes what is drawn of a case: the plane `[X, Y]` with the largest area of the true mask."""
        rows, case = self.data.rows, self.data.source.cases[number]
        flat = rows.label.ndim == 3
        largest = 0 if flat else int(rows.label[number].sum((0, 1)).argmax())

        def plane(array: np.ndarray, leading: int = 0) -> np.ndarray:
            return array if flat else np.take(array, largest, axis=2 + leading)

        first = int(len(rows.time[number]) - rows.time_mask[number].sum())
        channels = case.read().image.array.shape[-1]
        arrays = {
            'image': plane(rows.image[number], 1)[first:], 'seen': plane(rows.masks[number], 1)[first:],
            'time': rows.time[number][first:], 'volume': rows.volume[number][first:],
            'horizon': rows.horizon[number], 'truth': plane(rows.label[number]), 'sites': plane(rows.sites[number]),
            'spacing': np.array(self.data.spacing[:2]),
            'channel': np.array(channels - 1 if 'image' in self.data.inputs else 0)}
        arrays |= {table.method_column('mask', name): plane(mask) for name, mask in masks.items()}
        for law, curve in self._curves.items():
            arrays[f'curve_{law}'] = np.array([float(part[number]) for part in curve])
        if rates is not None:
            arrays['rates'] = plane(rates).astype(np.float32)
        atomic_files.write_arrays(folder / f'{case.id}.npz', **arrays)

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Means over the cases of `dice` and `volume_error`, and `auroc_sites` of new tumours."""
        out = {name: float(np.nanmean([row[name] for row in rows])) for name in table.METHOD_METRICS}
        new, risk = table.known_sites(rows)
        if len(new):
            out['auroc_sites'] = float(auroc_and_auprc(new, risk)[0])
        return out


@dataclasses.dataclass(frozen=True)
class GrowthPredictor(contracts.Predictor):
    """Predicts the next mask of new patients; see `predictor`."""

    task: Task
    statistics: Mapping[str, Any]
    size: tuple[int, ...]
    spacing: tuple[float, ...] | None
    channels: tuple[str, ...]

    def outputs(self, path: pathlib.Path) -> list[str]:
        """The names of the patients' masks, and the table's."""
        return [*(f'{name}.nii.gz' for name in lesion_visits_csv.read(path)), 'predictions.csv']

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shapes that the network takes."""
        visits = self.statistics['visits']
        return {'image': np.zeros((1, visits, *self.size, self.statistics['channels']), np.float32),
                **{name: np.ones((1, visits), np.float32) for name in ('time', 'time_mask', 'volume')},
                'horizon': np.ones(1, np.float32), 'sites': np.zeros((1, *self.size), np.uint8)}

    @functools.cached_property
    def _compiled(self) -> Callable[..., dict[str, jax.Array]]:
        return jax.jit(lambda variables, batch: self.task.predict(variables, batch))

    def warm(self, variables: Any) -> None:
        """Compiles the prediction; see `contracts.Predictor`."""
        self._compiled(variables, self.example())

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Predicts for the patients of a table of visits and writes masks and a table; returns a line about the result.

        The table is as for `data.sources.tumour_visits_csv`. The last visit of each patient, which has no mask, is the
        one to predict.

        Args:
          variables: the network's variables.
          path: a CSV table with, for each patient, at least two visits with a mask and a last one without.
          folder: of PATIENT.nii.gz, the mask on the grid of the patient's first mask, and of `predictions.csv`.

        Raises:
          InputError: the table or the scans are not as in training.
        """
        rows = []
        for name, patient_rows in lesion_visits_csv.read(path, **self.statistics.get('encoding', {})).items():
            visits = tumour_visits_csv.group_by_visit(patient_rows)
            if len(visits) < tumour_visits_csv.LEAST or any(row.mask for row in visits[-1]):
                raise InputError(f'{path}: patient {name}: {len(visits)} visits; expected at least two with a mask, '
                                 'and a last one without a mask, for which the mask is predicted')
            rows.append(self._predict_patient(variables, path, name, visits[-self.statistics['visits'] - 1:], folder))
        atomic_files.write_table(folder / 'predictions.csv', rows)
        ratio = np.mean([row['volume'] / row['volume_last'] for row in rows])
        return (f'{path} → {folder / "predictions.csv"}   {len(rows)} patients, mean ratio of the predicted to the '
                f'last volume {ratio:.2f}')

    def _predict_patient(self, variables: Any, path: pathlib.Path, name: str,
                         visits: Sequence[Sequence[lesion_visits_csv.Row]], folder: pathlib.Path) -> dict[str, Any]:
        """Writes the mask of a patient and returns the row of the table."""
        scans = tumour_visits_csv.read_scans(visits, name)
        target = FollowUp(tuple(tumour_visits_csv.WEEK * rows[0].weeks for rows in visits))
        case = Case(name, name, 'new', lambda: scans, target=target)
        inputs, affine, _ = prepare_visits(case, self.size, self.spacing, self.channels, self.statistics['visits'], 0)
        if inputs.image.shape[-1] != self.statistics['channels']:
            raise InputError(f'{path}: patient {name}: {inputs.image.shape[-1]} channels; expected '
                             f'{self.statistics["channels"]}, as in training')
        batch = {key: getattr(inputs, key)[None] for key in ('image', 'time', 'time_mask', 'volume', 'sites')}
        out = self._compiled(variables, {**batch, 'horizon': np.array([inputs.horizon], np.float32)})
        probs = np.asarray(out['probs'][0])
        mask = np.asarray(probs.argmax(-1) == 1, np.uint8)
        reference = Image(scans.masks.array[..., 0], scans.masks.affine, scans.masks.path)
        label = restore(Image(mask if mask.ndim == 3 else mask[..., None], affine), reference, 'label').array
        image_files.write(folder / f'{name}.nii.gz', label, reference.affine, like=reference.path)
        return {'patient': name, 'horizon': float(inputs.horizon), 'volume_last': float(inputs.volume[-1]),
                'volume': float(probs[..., 1].sum() * np.prod(spacing(affine)) / 1000),
                'volume_mask': float(label.sum() * np.prod(spacing(reference.affine)) / 1000)}


def count_voxels(masks: np.ndarray) -> np.ndarray:
    """The number of voxels of each of masks `[n, *S]`, `[n]`."""
    return masks.reshape(len(masks), -1).sum(1, dtype=np.int64)


def dice(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The Dice coefficients of masks `[n, *S]` and true ones, `[n]`; NaN where both are empty."""
    intersection, total = count_voxels(masks & truth), count_voxels(masks) + count_voxels(truth)
    return np.where(total > 0, 2 * intersection / np.maximum(total, 1), np.nan)


def evaluator(*, data: TumourGrowthDataset, task: Task, batch: Count = 32,
              reaction_diffusion: bool = True) -> GrowthEvaluator:
    """The evaluator of tumour growth.

    Args:
      data: the data set.
      task: the task.
      batch: number of cases in a batch.
      reaction_diffusion: whether a reaction–diffusion model is fitted to each case with a known tissue map, which takes
        some seconds.

    Raises:
      InputError: an option is invalid.
    """
    if batch < 1:
        raise InputError(f'config.evaluate.batch: {batch}; expected at least 1')
    return GrowthEvaluator(data, task, batch, reaction_diffusion)


def predictor(*, task: Task, statistics: Mapping[str, Any], data: Mapping[str, Any],
              **_: Any) -> GrowthPredictor:
    """The predictor for new patients.

    Args:
      task: the task.
      statistics: of the training data, as stored with the checkpoint.
      data: the options of `data.datasets.tumour_growth.dataset`.
      **_: other options of predictors, which are not used.
    """
    spacing = data.get('spacing')
    return GrowthPredictor(task, statistics, tuple(data['size']), None if spacing is None else tuple(spacing),
                           tuple(data.get('inputs', INPUTS)))
