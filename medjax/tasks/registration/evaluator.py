"""Evaluates registration pair by pair: overlap, folding and errors, beside simpler methods."""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax import atomic_files
from medjax.core import contracts, distributed
from medjax.core.metrics import column_means
from medjax.core.task import Task
from medjax.data.datasets.registration import RegistrationDataset, check_size
from medjax.errors import InputError
from medjax.losses.image_similarity import make_dissimilarity
from medjax.ops import deformation
from medjax.ops.instance_optimisation import OptimisationOptions, optimise
from medjax.options import NonNegativeInt, Range
from medjax.tasks.registration import bspline_baseline, table
from medjax.tasks.registration.measures import Measured, make_measure, pair_metrics
from medjax.tasks.registration.predictor import RegistrationPredictor

AFFINE = OptimisationOptions(steps=(0, 0, 0))  # the baseline: the optimisation's affine map, without a velocity field


class Deformation(NamedTuple):
    """Displacement and inverse `[D, *S]` in voxels, no inverse where a method gives none, and seconds."""

    displacement: Any
    inverse: Any | None
    seconds: float


@dataclasses.dataclass(frozen=True)
class RegistrationEvaluator(contracts.Evaluator):
    """Registers the pairs of a split; see `evaluator`."""

    snapshots_by_case = True

    data: RegistrationDataset
    task: Task
    affine_baseline: bool
    bspline_pairs: int
    ncc_window: int

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """Registers every pair of a split by the network and by simpler methods.

        Args:
          variables: of the network.
          split: the split's name.
          quick: the network and no registration alone.
          snapshots: folder for the arrays of each pair, which the report draws.

        Returns:
          A row for each pair; see `tasks/registration/table.py`.
        """
        numbers = self.data.numbers(split)
        # The validation pairs selected the weights; a comparison on them would be biased.
        bspline = 0 if split == 'val' or quick else self.bspline_pairs
        methods = ['', 'none']
        if self.affine_baseline and not quick:
            methods.append('affine')
        if bspline:
            methods.append('bspline')

        def row(place: int) -> dict[str, Any]:
            pair = self.data.batch(numbers[place:place + 1])
            deformations = self._deformations(variables, pair, quick, place < bspline)
            if place < jax.process_count():  # the first call of each process included compilation
                again = self._deformations(variables, pair, quick, False)
                deformations |= again
            measured, metrics = {}, {}
            for method in methods:
                metrics[method] = {}
                if method in deformations:
                    measured[method], metrics[method] = self._measured(pair, deformations[method])
            case = self.data.source.cases[numbers[place]]
            if snapshots is not None and not quick:
                self._save_snapshot(snapshots / f'{case.id}.npz', pair, np.asarray(deformations[''].displacement),
                                    measured)
            return table.row(split, case, metrics)

        return distributed.mapped(row, range(len(numbers)))

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Means of the metrics of the network."""
        means = column_means(rows)
        return {name: means[name] for name in table.METRICS if name in means and name != 'seconds'}

    @functools.cached_property
    def _predict(self) -> Callable[..., dict[str, jax.Array]]:
        return jax.jit(lambda variables, batch: self.task.predict(variables, batch))

    @functools.cached_property
    def _register_affine(self) -> Callable[..., tuple[jax.Array, jax.Array]]:
        dissimilarity = make_dissimilarity({'name': 'ncc', 'window': self.ncc_window})

        def register(pair: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
            fixed, moving = pair['fixed'][0], pair['moving'][0]
            transform = optimise(fixed, moving, dissimilarity, self.data.spacing, AFFINE)
            shape = fixed.shape[:-1]
            return (deformation.displacement_field(*transform, shape),
                    deformation.inverse_displacement_field(*transform, shape))
        return jax.jit(register)

    @functools.cached_property
    def _measure(self) -> Callable[..., dict[str, jax.Array]]:
        return make_measure(self.data.spacing, len(self.data.source.classes), self.ncc_window)

    def _register_bspline(self, pair: Mapping[str, np.ndarray]) -> np.ndarray | None:
        fixed, moving = (pair[name][0, ..., 0] for name in ('fixed', 'moving'))
        try:
            return bspline_baseline.register(fixed, moving, self.data.spacing)
        except RuntimeError:  # for example an image without contrast
            return None

    def _deformations(self, variables: Any, pair: Mapping[str, np.ndarray], quick: bool,
                      bspline: bool) -> dict[str, Deformation]:
        """The deformation of a pair by each method."""
        images = {name: pair[name] for name in ('fixed', 'moving')}
        outputs, seconds = _timed(lambda: self._predict(variables, images))
        out = {'': Deformation(outputs['displacement'][0], outputs['inverse'][0], seconds)}
        zero = np.zeros_like(out[''].displacement)
        out['none'] = Deformation(zero, zero, 0.0)
        if self.affine_baseline and not quick:
            fields, seconds = _timed(lambda: self._register_affine(images))
            out['affine'] = Deformation(*fields, seconds)
        if bspline:
            displacement, seconds = _timed(lambda: self._register_bspline(pair))
            if displacement is not None:
                out['bspline'] = Deformation(displacement, None, seconds)
        return out

    def _measured(self, pair: Mapping[str, np.ndarray], found: Deformation) -> tuple[Measured, dict[str, float]]:
        """Measures a deformation; there is no consistency without an inverse."""
        inverse = found.displacement if found.inverse is None else found.inverse
        measured = jax.device_get(self._measure(pair, found.displacement, inverse))
        metrics = {**pair_metrics(measured, pair['points_mask'][0]), 'seconds': found.seconds}
        if found.inverse is None:
            metrics['consistency'] = math.nan
        return measured, metrics

    def _save_snapshot(self, path: pathlib.Path, pair: Mapping[str, np.ndarray], displacement: np.ndarray,
                       measured: Mapping[str, Measured]) -> None:
        """Saves what is drawn of a pair; of a volume the axial plane with the largest area of the fixed image."""
        flat, fixed = displacement.ndim == 3, pair['fixed'][0, ..., 0]
        index = 0 if flat else int((fixed > 0).sum((0, 1)).argmax())
        jacobian = np.asarray(deformation.jacobian_determinants(jnp.asarray(displacement)).mean(0))

        def plane(array: np.ndarray) -> np.ndarray:
            return array if flat else array[..., min(index, array.shape[-1] - 1)]

        arrays = {
            'fixed': plane(fixed), 'moving': plane(pair['moving'][0, ..., 0]),
            'fixed_label': plane(pair['fixed_label'][0]), 'moved_label': plane(measured['']['moved_label']),
            'displacement': plane(displacement)[:2].astype(np.float32), 'jacobian': plane(jacobian).astype(np.float32),
            'spacing': np.array(self.data.spacing[:2])}
        for method, found in measured.items():
            if method != 'none':
                arrays[f'moved_{method}' if method else 'moved'] = plane(found['moved'][..., 0])
        atomic_files.write_arrays(path, **arrays)


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a function, and seconds."""
    start = time.perf_counter()
    return jax.block_until_ready(function()), time.perf_counter() - start


def evaluator(*, data: RegistrationDataset, task: Task, affine_baseline: bool = True, bspline_pairs: NonNegativeInt = 0,
              ncc_window: Annotated[int, Range(low=3)] = 9) -> RegistrationEvaluator:
    """The evaluator of registration.

    Args:
      data: the data set.
      task: the task.
      affine_baseline: whether each pair is also registered by an affine map, as a baseline.
      bspline_pairs: number of pairs of each split but validation, from the first, that are also registered by
        SimpleITK's B-splines; see `bspline_baseline.py`.
      ncc_window: of the correlation, voxels.

    Raises:
      InputError: an option out of its range.
    """
    if not isinstance(bspline_pairs, int) or bspline_pairs < 0 or ncc_window < 3 or not ncc_window % 2:
        raise InputError(f'config.evaluate: bspline_pairs={bspline_pairs}, ncc_window={ncc_window}; expected a number '
                         'of pairs, and an odd '
                         'number of 3 or more')
    return RegistrationEvaluator(data, task, affine_baseline, bspline_pairs, ncc_window)


def predictor(*, task: Task, statistics: Mapping[str, Any], data: Mapping[str, Any],
              ncc_window: Annotated[int, Range(low=3)] = 9, **_: Any) -> RegistrationPredictor:
    """The predictor that registers new pairs.

    Args:
      task: the task.
      statistics: of the training data, as stored with the checkpoint.
      data: the options of `data.datasets.registration.dataset`.
      ncc_window: see `evaluator`.
      **_: the evaluator's other options; not used.
    """
    check_size(data['size'])
    spacing = data.get('spacing')
    return RegistrationPredictor(task, statistics, tuple(data['size']), None if spacing is None else tuple(spacing),
                                 ncc_window)
