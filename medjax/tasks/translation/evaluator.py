"""Evaluates translation: fidelity of each translated case on its stored grid, beside baselines without a network."""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image as Picture

from medjax import atomic_files
from medjax.core import contracts, distributed
from medjax.core.metrics import column_means
from medjax.core.task import Task
from medjax.data.datasets.translation import (
    PAIR,
    Limits,
    TranslationDataset,
    preprocess_options,
    scale_to_range,
    unscale_from_range,
)
from medjax.data.io import image_files, raster
from medjax.data.io.geometry import Image, restore, to_canonical
from medjax.data.source import Case
from medjax.data.transforms.volumes import VolumePreprocess, volume_preprocess
from medjax.errors import InputError
from medjax.metrics import image_fidelity
from medjax.options import Count, FractionBelowOne
from medjax.tasks.translation import table
from medjax.tasks.translation.baselines import Baseline, fit_baselines
from medjax.tasks.translation.snapshots import CaseArrays, save_snapshot
from medjax.tasks.translation.translator import Translator

MAX_PSNR = 100.0  # dB, for a perfect copy, whose PSNR is infinite and has no mean
SIDES = ('image', 'target')


@dataclasses.dataclass(frozen=True)
class TranslationEvaluator(contracts.Evaluator):
    """Translates the cases of a split and computes their fidelity; see `evaluator`."""

    snapshots_by_case = True

    data: TranslationDataset
    translator: Translator

    @functools.cached_property
    def baselines(self) -> Mapping[str, Baseline]:
        """The baselines, fitted to training voxels as shares of their ranges."""
        sides = {side: {one.case.id: one for one in getattr(self.data, side).training} for side in SIDES}

        def voxels(side: str, name: str, places: np.ndarray) -> np.ndarray:
            array = sides[side][name].image
            return share_of_range(array.reshape(-1, array.shape[-1])[places], self.data.limits[side])

        single = {side: [voxels(side, name, one.sample) for name, one in cases.items() if one.voxels]
                  for side, cases in sides.items()}
        pairs = [(voxels('image', name, one.sample), voxels('target', name, one.sample))
                 for name, one in sides['image'].items() if one.case.target == PAIR and one.voxels]
        return fit_baselines(pairs, single['image'], single['target'])

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """Translates every case of a split that has an image.

        Args:
          variables: of the network.
          split: the split's name.
          quick: on the network's grid and without baselines, for validation during training.
          snapshots: folder for the arrays of each case, which the report draws.

        Returns:
          A row for each case; see `tasks/translation/table.py`.
        """
        def row(case: Case) -> dict[str, Any]:
            arrays = self._network_arrays(case) if quick else self._stored_arrays(case)
            outputs = self._translate(variables, case.id)
            if arrays.grid is not None:
                affine = self.data.prepared['image', case.id].affine
                outputs = {name: restore(Image(array, affine), arrays.grid, 'linear').array
                           for name, array in outputs.items()}
            metrics = {'': fidelity(outputs['translated'], arrays.target, arrays.head)}
            cycle = None
            if 'cycle' in outputs:
                cycle = image_fidelity.mae(outputs['cycle'], arrays.image, arrays.head)
            if not quick and arrays.target is not None:
                inside = arrays.head[..., None] > 0
                for name, predict in self.baselines.items():
                    # Outside of the head, which it cannot know, a baseline is given the target.
                    outputs[name] = np.where(inside, predict(arrays.image), arrays.target)
                    metrics[name] = fidelity(outputs[name], arrays.target, arrays.head)
            if snapshots is not None:
                save_snapshot(snapshots / f'{case.id}.npz', arrays, outputs)
            return table.row(split, case, metrics, cycle)

        cases = [self.data.source.cases[number] for number in self.data.numbers(split)]
        return distributed.mapped(row, [case for case in cases if case.target[0]])

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Means of the metrics over the cases."""
        return column_means(rows)

    def snapshot_training(self, variables: Any, workdir: pathlib.Path, step: int) -> None:
        """Saves the middle plane of the first validation case in `course/STEP.npz`."""
        cases = [self.data.source.cases[number] for number in self.data.numbers('val')]
        case = next((case for case in cases if case.target[0]), None)
        if case is None:
            return
        arrays, outputs = self._network_arrays(case), self._translate(variables, case.id)
        parts = {'image': arrays.image, 'target': arrays.target, 'made': outputs['translated'],
                 'cycle': outputs.get('cycle')}
        planes = {name: part[:, :, part.shape[2] // 2].astype(np.float32)
                  for name, part in parts.items() if part is not None}
        atomic_files.write_arrays(workdir / 'course' / f'{step:07d}.npz', **planes)

    def _translate(self, variables: Any, name: str) -> dict[str, np.ndarray]:
        """The network's outputs for a case, on its grid, as shares of the ranges."""
        outputs = self.translator(variables, self.data.network_input('image', name))
        return {key: (part + 1) / 2 for key, part in outputs.items()}

    def _network_arrays(self, case: Case) -> CaseArrays:
        """A case on the network's grid."""
        image, target = (self.data.network_input(side, case.id) for side in SIDES)
        return CaseArrays((image + 1) / 2, None if target is None else (target + 1) / 2,
                          np.asarray(self.data.prepared['image', case.id].label))

    def _stored_arrays(self, case: Case) -> CaseArrays:
        """A case on the grid of its stored image."""
        prepared, views = self.data.prepared['image', case.id], case.read()
        grid = to_canonical(views.image)
        image, target = (None if part is None else share_of_range(_with_channels(to_canonical(part).array), limits)
                         for part, limits in zip((views.image, views.target), (self.data.limits[s] for s in SIDES)))
        head = restore(Image(np.asarray(prepared.label), prepared.affine), grid, 'label').array
        return CaseArrays(image, target, head, grid)


@dataclasses.dataclass(frozen=True)
class TranslationPredictor(contracts.Predictor):
    """Translates images that are not in the data set; see `predictor`."""

    preprocess: VolumePreprocess
    statistics: Mapping[str, Any]
    read: Callable[[pathlib.Path], Image]
    translator: Translator

    finds = 'image'

    def outputs(self, path: pathlib.Path) -> tuple[str]:
        """The translated image's name."""
        return (image_files.output_name(path),)

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape of the network's input."""
        extents = [n for n in self.translator.patch if n > 1]
        return {name: np.zeros((1, *extents, channels), np.float32)
                for name, channels in zip(SIDES, self.statistics['channels'])}

    def warm(self, variables: Any) -> None:
        """Compiles the translation of a batch of windows; see `contracts.Predictor`."""
        self.translator(variables, np.zeros((*self.translator.patch, self.statistics['channels'][0]), np.float32))

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Translates an image and writes the result, in the unit of the training targets, on the image's own grid.

        Args:
          variables: of the network.
          path: a file, or a folder with a DICOM series.
          folder: receives NAME.nii.gz, or for 2D images NAME.png with integer intensities.

        Returns:
          A line with the file and the range of intensities.

        Raises:
          InputError: the image differs in kind from the training images, or the result cannot be written.
        """
        image, out = self._translate(variables, path)
        file = folder / image_files.output_name(path)
        if image_files.suffix(file) in raster.SUFFIXES:
            _write_picture(file, out, 255 if max(self.statistics['intensities']['target']['high']) < 256 else 65535)
        else:
            image_files.write(file, out[..., 0] if out.shape[-1] == 1 else out, image.affine, image.path)
        return f'{path} → {file}   {out.min():.4g} to {out.max():.4g}'

    def findings(self, variables: Any, path: pathlib.Path, probs: bool = False) -> contracts.Findings:
        """The translated image on the input's own grid; `probs` is ignored.

        Raises:
          InputError: an image of several channels.
        """
        _, out = self._translate(variables, path)
        if out.shape[-1] != 1:
            raise InputError(f'{path}: {out.shape[-1]} channels of the translated image; expected one in a series')
        return contracts.Findings(line=f'{out.min():.4g} to {out.max():.4g}', image=out[..., 0],
                                  image_name='Translated image')

    def _translate(self, variables: Any, path: pathlib.Path) -> tuple[Image, np.ndarray]:
        """An image as read, and its translation `[X, Y, Z, T]` on its own grid."""
        image = self.read(path)
        limits = self.statistics['intensities']
        statistics = {'channels': self.statistics['channels'][0], 'intensities': {}}  # the scale is 'none'
        volume = self.preprocess.network_input(image, statistics)
        out = self.translator(variables, scale_to_range(volume.image, limits['image']))['translated']
        return image, restore(Image(unscale_from_range(out, limits['target']), volume.affine), image, 'linear').array


def share_of_range(array: np.ndarray, limits: Limits) -> np.ndarray:
    """Intensities `[…, C]` as shares of a range, float32: 0 and 1 are its ends."""
    return ((scale_to_range(array.astype(np.float32), limits) + 1) / 2).astype(np.float32)


def fidelity(image: np.ndarray, truth: np.ndarray | None, mask: np.ndarray) -> dict[str, float]:
    """The METRICS of an image, with intensities as shares of the target's range; NaN without a truth.

    Args:
      image: `[*S, T]`.
      truth: `[*S, T]` or None.
      mask: `[*S]`.
    """
    if truth is None:
        return dict.fromkeys(table.METRICS, float('nan'))
    values = {name: float(getattr(image_fidelity, name)(image, truth, mask)) for name in table.METRICS}
    return {**values, 'psnr': min(values['psnr'], MAX_PSNR)}  # NaN stays NaN


def _with_channels(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 4 else array[..., None]


def _write_picture(path: pathlib.Path, array: np.ndarray, most: int) -> None:
    """Writes `[column, row, 1, C]` as a 2D image in grey or in colours."""
    values = np.clip(np.rint(array[:, :, 0].swapaxes(0, 1)), 0, most)
    channels = values.shape[-1]
    if channels not in (1, 3) or (channels == 3 and most > 255):
        raise InputError(f'{path}: {channels} channels up to {most}; expected a grey picture, or colours of 8 bits')
    values = values.astype(np.uint8 if most == 255 else np.uint16)
    content = io.BytesIO()
    Picture.fromarray(values.squeeze(-1) if channels == 1 else values).save(content, 'png')
    atomic_files.write_bytes(path, content.getvalue())


def evaluator(*, data: TranslationDataset, task: Task, overlap: FractionBelowOne = 0.5,
              batch: Count = 4) -> TranslationEvaluator:
    """The evaluator of translation.

    Args:
      data: the data set.
      task: the task.
      overlap: of neighbouring windows, 0 to below 1.
      batch: windows at once.

    Raises:
      InputError: a split without images, or an option out of its range.
    """
    for split in data.counts:
        if not any(data.source.cases[number].target[0] for number in data.numbers(split)):
            raise InputError(f'config.data.source: no {data.source.classes[0]} image in the split {split}; expected '
                             'some')
    channels = data.statistics['channels'][1]
    return TranslationEvaluator(data, Translator(task, channels, tuple(data.image.patch), overlap, batch))


def predictor(*, task: Task, data: Mapping[str, Any], statistics: Mapping[str, Any],
              read: Callable[[pathlib.Path], Image], overlap: FractionBelowOne = 0.5,
              batch: Count = 4) -> TranslationPredictor:
    """The predictor that translates new images as the evaluator translates its cases.

    Args:
      task: the task.
      data: the options of `data.datasets.translation.dataset`.
      statistics: of the training cases, as stored with the checkpoint.
      read: reads an image.
      overlap: see `evaluator`.
      batch: see `evaluator`.
    """
    grid = preprocess_options(data)
    translator = Translator(task, statistics['channels'][1], tuple(grid['patch']), overlap, batch)
    return TranslationPredictor(volume_preprocess(**grid), statistics, read, translator)
