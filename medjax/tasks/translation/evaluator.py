"""Evaluates one contrast made of another, case by case, beside floors without a network, on the stored grid."""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image as Picture

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.metrics import column_means
from medjax.core.task import Task
from medjax.data.datasets.translation import PAIR, Limits, Translated, options, scaled, unscaled
from medjax.data.datasets.volumes import preprocessing
from medjax.data.io import image_files, raster
from medjax.data.io.geometry import Image, canonical, restore, spacing
from medjax.data.transforms.volumes import Preprocess
from medjax.errors import InputError
from medjax.metrics import image_fidelity
from medjax.ops import sliding_windows
from medjax.tasks.segmentation.evaluator import named

BINS = 64  # of the lookup table, and points of the histograms that are matched
EXACT = 100.0  # dB: the PSNR of a copy, whose own is infinite and has no mean


@dataclasses.dataclass(frozen=True)
class Translator:
    """Makes whole images with a network that sees windows.

    Attributes:
      task: the problem.
      channels: of what is made.
      patch: the window's voxels along x, y, z.
      overlap: of neighbouring windows, as a share of their extent.
      batch: windows that go through the network at once.
    """

    task: Task
    channels: int
    patch: tuple[int, int, int]
    overlap: float
    batch: int

    @functools.cached_property
    def _slide(self) -> sliding_windows.SlidingWindowInference:
        def forward(variables: Any, image: jax.Array) -> jax.Array:
            told = self.task.predict(variables, {'image': image})
            return jnp.concatenate([told[name] for name in ('made', 'cycle') if name in told], -1)

        return sliding_windows.SlidingWindowInference(forward, window=self.patch, overlap=self.overlap, batch=self.batch)

    def __call__(self, variables: Any, image: np.ndarray) -> dict[str, np.ndarray]:
        """Of an image `[X, Y, Z, C]`: `made [X, Y, Z, T]`, and of a CycleGAN `cycle [X, Y, Z, C]`; all as scaled."""
        out = self._slide.probabilities(variables, image)
        parts = {'made': out[..., :self.channels], 'cycle': out[..., self.channels:]}
        return {name: part for name, part in parts.items() if part.shape[-1]}


@dataclasses.dataclass(frozen=True)
class TranslationEvaluator(contracts.Evaluator):
    """Translates and measures the cases of a split; see `evaluator`."""

    data: Translated
    translator: Translator


    @functools.cached_property
    def floors(self) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
        """What makes a target of an image without a network, both as shares of their ranges, by name; see `fitted`."""
        of = {side: {one.case.id: one for one in getattr(self.data, side).training} for side in ('image', 'target')}

        def voxels(side: str, name: str, places: np.ndarray) -> np.ndarray:
            array = of[side][name].image
            return share(array.reshape(-1, array.shape[-1])[places], self.data.limits[side])

        lone = {side: [voxels(side, name, one.sample) for name, one in some.items() if one.voxels]
                for side, some in of.items()}
        pairs = [(voxels('image', name, one.sample), voxels('target', name, one.sample))
                 for name, one in of['image'].items() if one.case.target == PAIR and one.voxels]
        return fitted(pairs, lone['image'], lone['target'])

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per case with an image: id, patient, columns and figures; NaN where there is no target to judge by.

        `psnr`, `ssim`, `mae` and `sharpness` are the network's; with `_FLOOR` those of what needs none. Of a CycleGAN
        `cycle_mae` is the error of the image that is made again of what was made of it.

        Args:
          variables: the network's.
          split: which cases.
          quick: on the network's grid, without floors; what validation while training wants.
          snapshots: folder for each case's arrays, which the report draws.
        """
        rows = []
        for case in (self.data.source.cases[number] for number in self.data.numbers(split)):
            if not case.target[0]:
                continue
            seen, found = self._seen(case, quick), self._made(variables, case.id)
            if not quick:
                found = {name: restore(Image(array, self.data.prepared['image', case.id].affine), seen['grid'],
                                       'linear').array for name, array in found.items()}
            row = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns,
                   **judged(found['made'], seen['target'], seen['head'])}
            if 'cycle' in found:
                row['cycle_mae'] = image_fidelity.mae(found['cycle'], seen['image'], seen['head'])
            for name, make in ({} if quick or seen['target'] is None else self.floors).items():
                # Beyond the head a floor has the truth: what it cannot know there is not held against it.
                inside = seen['head'][..., None] > 0
                floor = np.where(inside, make(seen['image']), seen['target'])
                row |= {f'{key}_{name}': value for key, value in judged(floor, seen['target'], seen['head']).items()}
                found[name] = floor
            rows.append(row)
            if snapshots is not None:
                _keep(snapshots / f'{case.id}.npz', seen, found)
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Means over the cases of what is measured."""
        return column_means(rows)

    def snapshot_training(self, variables: Any, workdir: pathlib.Path, step: int) -> None:
        """Keeps the middle plane of the first validation case, in `course/STEP.npz`."""
        numbers = self.data.numbers('val')
        case = next((self.data.source.cases[n] for n in numbers if self.data.source.cases[n].target[0]), None)
        if case is None:
            return
        seen, found = self._seen(case, True), self._made(variables, case.id)
        parts = {name: part[:, :, part.shape[2] // 2].astype(np.float32) for name, part in (
            *((name, seen[name]) for name in ('image', 'target')), *found.items()) if part is not None}
        _save(workdir / 'course' / f'{step:07d}.npz', **parts)

    def _made(self, variables: Any, name: str) -> dict[str, np.ndarray]:
        """What is made of a case, on the network's grid, as shares of the ranges."""
        found = self.translator(variables, self.data.whole('image', name))
        return {key: (part + 1) / 2 for key, part in found.items()}

    def _seen(self, case: Any, quick: bool) -> dict[str, Any]:
        """A case as shares of the ranges, `image`, `target` and `head`, on the network's grid or on its own, `grid`."""
        one = self.data.prepared['image', case.id]
        if quick:
            parts = {side: self.data.whole(side, case.id) for side in ('image', 'target')}
            return {side: None if part is None else (part + 1) / 2 for side, part in parts.items()} | {
                'head': np.asarray(one.label)}
        views = case.read()
        image = canonical(views.image)
        out = {side: None if part is None else share(_channels(canonical(part).array), self.data.limits[side])
               for side, part in (('image', views.image), ('target', views.target))}
        mask = restore(Image(np.asarray(one.label), one.affine), image, 'label').array
        return {**out, 'head': mask, 'grid': image}


@dataclasses.dataclass(frozen=True)
class TranslationPredictor(contracts.Predictor):
    """Makes the other contrast of images that are no cases of the data set; see `predictor`."""

    preprocess: Preprocess
    statistics: Mapping[str, Any]
    read: Callable[[pathlib.Path], Image]
    translator: Translator

    file_per_input = True  # a file for each image, of its name

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network sees."""
        extents = [n for n in self.translator.patch if n > 1]
        return {name: np.zeros((1, *extents, channels), np.float32)
                for name, channels in zip(('image', 'target'), self.statistics['channels'])}

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Translates an image and writes the other contrast, in the training targets' unit, on the image's own grid.

        Args:
          variables: the network's.
          path: of a file, or of a folder with a DICOM series.
          folder: gets NAME.nii.gz, or NAME.png for a picture, in whole numbers.

        Returns:
          A line on what was made, for the person who waits.

        Raises:
          InputError: where the image is not such as the network was trained on, or the other cannot be written.
        """
        image = self.read(path)
        image_files.check_finite(image)
        grid, _, _ = self.preprocess.to_grid(image)
        if grid.array.shape[-1] != self.statistics['channels'][0]:
            raise InputError(f'{path}: {grid.array.shape[-1]} channels; expected {self.statistics["channels"][0]}, as '
                             'in training')
        limits = self.statistics['intensities']
        made = self.translator(variables, scaled(grid.array.astype(np.float32), limits['image']))['made']
        made = restore(Image(unscaled(made, limits['target']), grid.affine), image, 'linear').array
        out = folder / named(path)
        if image_files.suffix(out) in raster.SUFFIXES:
            _write_picture(out, made, 255 if max(limits['target']['high']) < 256 else 65535)
        else:
            image_files.write(out, made[..., 0] if made.shape[-1] == 1 else made, image.affine)
        return f'{path} → {out}   {made.min():.4g} to {made.max():.4g}'


def share(array: np.ndarray, limits: Limits) -> np.ndarray:
    """Intensities `[…, C]` as shares of their range, float32: 0 and 1 are its ends."""
    return ((scaled(array.astype(np.float32), limits) + 1) / 2).astype(np.float32)


def judged(made: np.ndarray, truth: np.ndarray | None, mask: np.ndarray) -> dict[str, float]:
    """The figures of what was made, all shares of the target's range; NaN without a truth."""
    if truth is None:
        return dict.fromkeys(('psnr', 'ssim', 'mae', 'sharpness'), float('nan'))
    found = {name: float(getattr(image_fidelity, name)(made, truth, mask)) for name in ('psnr', 'ssim', 'mae', 'sharpness')}
    return {**found, 'psnr': min(found['psnr'], EXACT)}  # NaN stays


def fitted(pairs: Sequence[tuple[np.ndarray, np.ndarray]], images: Sequence[np.ndarray],
           targets: Sequence[np.ndarray]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What tells a voxel's target by its image's value alone.

    Args:
      pairs: for each training case its voxels in both contrasts, `[n, C]` and `[n, T]`.
      images: voxels of training images, `[n, C]`.
      targets: of training targets, `[m, T]`.

    Returns:
      `[…, C] -> […, T]` by name: 'linear', least squares; 'lookup', the mean target in each of 64 bins with as many
      voxels each, and between their middles a straight line, for one channel; 'matched', which needs no pairs: the
      target of the same rank, channel by channel.
    """
    made: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    if pairs:
        x, y = (np.concatenate(part).astype(np.float64) for part in zip(*pairs))
        weights = np.linalg.lstsq(np.pad(x, [(0, 0), (0, 1)], constant_values=1), y, rcond=None)[0]
        made['linear'] = lambda image: image @ weights[:-1] + weights[-1]
        if x.shape[1] == 1:
            order = np.argsort(x[:, 0], kind='stable')
            parts = [part for part in np.array_split(order, BINS) if len(part)]
            # Bins of one and the same value, as of what lies about a head, are one.
            middles, place = np.unique([x[part, 0].mean() for part in parts], return_inverse=True)
            means = [y[np.concatenate([part for part, at in zip(parts, place) if at == number])].mean(0)
                     for number in range(len(middles))]
            made['lookup'] = lambda image: np.stack([np.interp(image[..., 0], middles, column)
                                                     for column in np.transpose(means)], -1)
    if images and targets and images[0].shape[1] == targets[0].shape[1]:
        ranks = np.linspace(0, 1, BINS + 1)
        first, second = (np.quantile(np.concatenate(part), ranks, axis=0) for part in (images, targets))
        made['matched'] = lambda image: np.stack([np.interp(image[..., c], first[:, c], second[:, c])
                                                  for c in range(image.shape[-1])], -1)
    return made


def _channels(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 4 else array[..., None]


def _keep(path: pathlib.Path, seen: Mapping[str, Any], found: Mapping[str, np.ndarray]) -> None:
    """Writes what the report draws of a case, and how large the error is in each axial plane."""
    arrays = {name: part for name, part in (*((side, seen[side]) for side in ('image', 'target')), *found.items())
              if part is not None and name in ('image', 'target', 'made', 'cycle', 'lookup')}
    kind = 'image' if seen['head'].shape[2] == 1 else 'volume'
    more = {}
    if seen['target'] is not None:
        planes = range(seen['head'].shape[2])
        more = {f'planes{end}': np.array([image_fidelity.mae(found[name][:, :, z], seen['target'][:, :, z],
                                                       seen['head'][:, :, z]) for z in planes])
                for name, end in (('made', ''), ('lookup', '_lookup')) if name in found}
    _save(path, **{name: part.astype(np.float16) for name, part in arrays.items()}, **more,
          head=seen['head'].astype(np.uint8), spacing=np.array(spacing(seen['grid'].affine)), kind=kind,
          first=seen['grid'].affine[2, 3])


def _save(path: pathlib.Path, **arrays: Any) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    atomic_files.write_bytes(path, content.getvalue())


def _write_picture(path: pathlib.Path, array: np.ndarray, most: int) -> None:
    """Writes `[column, row, 1, C]` as a picture in grey or in colours."""
    values = np.clip(np.rint(array[:, :, 0].swapaxes(0, 1)), 0, most)
    if values.shape[-1] not in (1, 3) or (values.shape[-1] == 3 and most > 255):
        raise InputError(f'{path}: {values.shape[-1]} channels up to {most}; expected a grey picture, or colours of 8 '
                         'bits')
    content = io.BytesIO()
    Picture.fromarray(values.squeeze(-1).astype(np.uint8 if most == 255 else np.uint16) if values.shape[-1] == 1
                      else values.astype(np.uint8)).save(content, 'png')
    atomic_files.write_bytes(path, content.getvalue())


def _translator(task: Task, channels: int, patch: Sequence[int], overlap: float, batch: int) -> Translator:
    if batch < 1:
        raise InputError(f'config.evaluate.batch: {batch}; expected at least 1')
    return Translator(task, channels, tuple(patch), overlap, batch)


def evaluator(*, data: Translated, task: Task, overlap: float = 0.5, batch: int = 4) -> TranslationEvaluator:
    """Makes the evaluator of translations.

    Args:
      data: the data set.
      task: the problem.
      overlap: of neighbouring windows, 0 to below 1.
      batch: windows at once.
    """
    for split in data.counts:
        if not any(data.source.cases[number].target[0] for number in data.numbers(split)):
            raise InputError(f'config.data.source: no {data.source.classes[0]} image in the split {split}; expected '
                             'some')
    return TranslationEvaluator(data, _translator(task, data.statistics['channels'][1], data.image.patch, overlap,
                                                  batch))


def predictor(*, task: Task, data: Mapping[str, Any], statistics: Mapping[str, Any],
              read: Callable[[pathlib.Path], Image], overlap: float = 0.5, batch: int = 4) -> TranslationPredictor:
    """Makes what translates new images as the evaluator translates its cases.

    Args:
      task: the problem.
      data: the options of `data.datasets.translation.dataset`.
      statistics: of the training cases, as stored with the checkpoint.
      read: reads an image.
      overlap: see `evaluator`, as for batch.
      batch: …
    """
    known = options(data)
    return TranslationPredictor(preprocessing(**known), statistics, read, _translator(
        task, statistics['channels'][1], known['patch'], overlap, batch))
