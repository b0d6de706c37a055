"""Evaluates registration pair by pair: overlap and folds side by side, errors in mm, beside what is simpler."""

import dataclasses
import functools
import io
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.metrics import column_means
from medjax.core.task import Task
from medjax.data.datasets.registration import Pairs, brought, check_size
from medjax.data.io import image_files
from medjax.data.io.geometry import spacing as grid_spacing
from medjax.data.source import Case
from medjax.data.sources import image_pairs_csv
from medjax.errors import InputError
from medjax.losses.image_similarity import local_correlation, measure
from medjax.ops import deformation
from medjax.ops.instance_optimisation import OptimisationOptions, optimise
from medjax.tasks.registration import bspline_baseline as splines

OF_METHOD = ('dice', 'folded', 'tre', 'tre90', 'ncc', 'consistency', 'seconds')
NAN = float('nan')
AFFINE = OptimisationOptions(steps=(0, 0, 0))  # the floor: the optimisation's affine map, without a velocity


@dataclasses.dataclass(frozen=True)
class RegistrationEvaluator(contracts.Evaluator):
    """Registers the pairs of a split; see `evaluator`."""

    data: Pairs
    task: Task
    affine: bool
    bspline: int
    window: int


    @functools.cached_property
    def _compiled(self) -> Callable[..., dict[str, jax.Array]]:
        return jax.jit(lambda variables, batch: self.task.predict(variables, batch))

    @functools.cached_property
    def _affine(self) -> Callable[..., tuple[jax.Array, jax.Array]]:
        def found(pair: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
            fixed, moving = pair['fixed'][0], pair['moving'][0]
            unlike = measure({'name': 'ncc', 'window': self.window})
            way = optimise(fixed, moving, unlike, self.data.millimetres, AFFINE)
            return deformation.displacement_field(*way, fixed.shape[:-1]), deformation.inverse_displacement_field(*way, fixed.shape[:-1])
        return jax.jit(found)

    @functools.cached_property
    def _judged(self) -> Callable[..., dict[str, jax.Array]]:
        steps, classes = self.data.millimetres, len(self.data.source.classes)

        def judged(pair: Mapping[str, jax.Array], there: jax.Array, back: jax.Array) -> dict[str, jax.Array]:
            one = {name: part[0] for name, part in pair.items()}
            moved = deformation.warp(one['moving'], there)
            label = deformation.warp(one['moving_label'][..., None], there, 'nearest')[..., 0]
            sizes = [(2 * jnp.sum((label == k) & (one['fixed_label'] == k)),
                      jnp.sum(label == k) + jnp.sum(one['fixed_label'] == k)) for k in range(1, classes)]
            overlap, size = (jnp.array([of[part] for of in sizes], jnp.float32) for part in range(2))
            return {'moved': moved, 'moved_label': label, 'overlap': overlap, 'size': size,
                    'far': deformation.target_registration_error(there, one['points'], one['targets'], steps),
                    'folded': deformation.folding_fraction(there), 'consistency': deformation.inverse_consistency_error(there, back, steps),
                    'ncc': 1 - local_correlation(one['fixed'][None], moved[None], window=self.window)[0]}
        return jax.jit(judged)

    def _by_splines(self, pair: Mapping[str, np.ndarray]) -> np.ndarray | None:
        try:
            return splines.register(pair['fixed'][0, ..., 0], pair['moving'][0, ..., 0], self.data.millimetres)
        except RuntimeError:  # nothing in common, as of an image without contrast
            return None

    def _ways(self, variables: Any, pair: Mapping[str, np.ndarray], quick: bool,
              splined: bool) -> dict[str, tuple[np.ndarray, np.ndarray | None, float]]:
        """By method displacement and inverse, `[D, *S]`, and seconds; no inverse where a method gives none."""
        def timed(find: Callable[[], Any]) -> tuple[Any, float]:
            began = time.perf_counter()
            return jax.block_until_ready(find()), time.perf_counter() - began

        shown = {name: pair[name] for name in ('fixed', 'moving')}
        out, seconds = timed(lambda: self._compiled(variables, shown))
        ways = {'': (out['displacement'][0], out['inverse'][0], seconds)}
        zero = np.zeros_like(ways[''][0])
        ways['none'] = zero, zero, 0.0
        if self.affine and not quick:
            both, seconds = timed(lambda: self._affine(shown))
            ways['affine'] = *both, seconds
        if splined and not quick:
            there, seconds = timed(lambda: self._by_splines(pair))
            if there is not None:
                ways['bspline'] = there, None, seconds
        return ways

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per pair of the split.

        It has id, patient, columns, and of each method, behind an underscore where it is not the run's own ('none',
        'affine', 'bspline'): `dice`, a mean over the classes that are there; `folded`, the share of cells that are
        turned inside out, in percent; `tre` and `tre90`, mean and 90th percentile of the target registration error,
        mm; `ncc`, the mean squared correlation in windows; `consistency`, how far from its start a voxel ends that
        goes there and back, mm; and `seconds`.

        Args:
          variables: the network's.
          split: which cases.
          quick: the run's own and no registration alone.
          snapshots: a folder that gets what the report draws of each case.
        """
        numbers, rows = self.data.numbers(split), []
        splined = 0 if split == 'val' else self.bspline  # what chose the weights is no comparison
        for place, number in enumerate(numbers):
            pair = self.data.batch(numbers[place:place + 1])
            ways = self._ways(variables, pair, quick, place < splined)
            if not place:  # the first time it was compiled as well
                ways = self._ways(variables, pair, quick, False) | {k: v for k, v in ways.items() if k == 'bspline'}
            case = self.data.source.cases[number]
            row = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns}
            judged = {}
            for name in ('', 'none', *(['affine'] if self.affine and not quick else []),
                         *(['bspline'] if splined and not quick else [])):
                figures = dict.fromkeys(OF_METHOD, NAN)
                if name in ways:
                    there, back, seconds = ways[name]
                    found = jax.device_get(self._judged(pair, there, there if back is None else back))
                    figures = self._figures(found, pair, seconds)
                    figures |= {'consistency': NAN} if back is None else {}
                    judged[name] = found
                row |= {f'{key}_{name}' if name else key: value for key, value in figures.items()}
            rows.append(row)
            if snapshots is not None and not quick:
                self._keep(snapshots, case.id, pair, np.asarray(ways[''][0]), judged)
        return rows

    def _figures(self, found: Mapping[str, np.ndarray], pair: Mapping[str, np.ndarray],
                 seconds: float) -> dict[str, float]:
        known = found['size'] > 0
        far = found['far'][pair['points_mask'][0] > 0]
        return {'dice': float((found['overlap'][known] / found['size'][known]).mean()) if known.any() else NAN,
                'folded': 100 * float(found['folded']), 'tre': float(far.mean()) if far.size else NAN,
                'tre90': float(np.percentile(far, 90)) if far.size else NAN, 'ncc': float(found['ncc']),
                'consistency': float(found['consistency']), 'seconds': seconds}

    def _keep(self, folder: pathlib.Path, name: str, pair: Mapping[str, np.ndarray], there: np.ndarray,
              judged: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """What is drawn of a pair: of a volume the plane across z that has most of the fixed image in it."""
        flat, fixed = there.ndim == 3, pair['fixed'][0, ..., 0]
        cut = 0 if flat else int((fixed > 0).sum((0, 1)).argmax())
        small = np.asarray(deformation.jacobian_determinants(jnp.asarray(there)).mean(0))

        def plane(array: np.ndarray) -> np.ndarray:
            return array if flat else array[..., min(cut, array.shape[-1] - 1)]

        kept = {'fixed': plane(fixed), 'moving': plane(pair['moving'][0, ..., 0]),
                'fixed_label': plane(pair['fixed_label'][0]), 'moved_label': plane(judged['']['moved_label']),
                'displacement': plane(there)[:2].astype(np.float32), 'jacobian': plane(small).astype(np.float32),
                'spacing': np.array(self.data.millimetres[:2])}
        kept |= {f'moved_{method}' if method else 'moved': plane(found['moved'][..., 0])
                 for method, found in judged.items() if method != 'none'}
        content = io.BytesIO()
        np.savez_compressed(content, **kept)
        atomic_files.write_bytes(folder / f'{name}.npz', content.getvalue())

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """What validation pairs say: means of what is measured of the run's own maps."""
        means = column_means(rows)
        return {name: means[name] for name in OF_METHOD if name in means and name != 'seconds'}


@dataclasses.dataclass(frozen=True)
class RegistrationPredictor(contracts.Predictor):
    """Registers pairs that are not of the data set; see `predictor`."""

    task: Task
    statistics: Mapping[str, Any]
    size: tuple[int, ...]
    spacing: tuple[float, ...] | None
    window: int

    file_per_input = False  # a table of pairs goes into a table of pairs

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network sees."""
        return {name: np.zeros((1, *self.size, 1), np.float32) for name in ('fixed', 'moving')}

    @functools.cached_property
    def _compiled(self) -> Callable[..., dict[str, jax.Array]]:
        return jax.jit(lambda variables, batch: self.task.predict(variables, batch))

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Reads a table of pairs as `data.sources.image_pairs_csv` does, and registers each.

        Args:
          variables: the network's.
          path: a CSV table.
          folder: gets of each pair MOVING_to_FIXED.nii.gz, the moved image on the network's grid, with `_field` behind
            its name the displacement and with `_inverse` its inverse, mm along the grid's axes; and `predictions.csv`.

        Returns:
          A line on what was found, for the person who waits.

        Raises:
          InputError: a table that is not such; images that are not as those the network was trained on.
        """
        rows, steps, listed = [], self.statistics['spacing'], image_pairs_csv.read_pairs(path)
        called = image_pairs_csv.unique_names(row[name] for row in listed for name in ('fixed', 'moving'))
        names = [image_pairs_csv.pair_name(row, called) for row in listed]
        for row, name in zip(listed, names):
            if names.count(name) > 1:
                raise InputError(f'{path}: {name}: {names.count(name)} pairs; expected each pair once')
            pair = functools.partial(image_pairs_csv.read_pair, row, path.parent)
            seen, found, affine = brought(Case(name, name, 'new', pair), self.size, self.spacing)
            if not np.allclose(found, steps, rtol=1e-3):
                raise InputError(f'{path}: {name}: voxels of {found} mm; expected {tuple(steps)}, as in training')
            shown = {key: getattr(seen, key)[None] for key in ('fixed', 'moving')}
            out = {key: np.asarray(value[0]) for key, value in self._compiled(variables, shown).items()}
            deep = (*self.size, 1)[:3]
            image_files.write(folder / f'{name}.nii.gz', out['moved'][..., 0].reshape(deep), affine)
            for key, end in (('displacement', 'field'), ('inverse', 'inverse')):
                field = np.moveaxis(out[key], 0, -1) * np.array(grid_spacing(affine)[:len(self.size)], np.float32)
                image_files.write(folder / f'{name}_{end}.nii.gz', field.reshape(*deep, -1), affine)
            fixed = jnp.asarray(shown['fixed'])
            ncc = {key: 1 - float(local_correlation(fixed, jnp.asarray(image), window=self.window)[0])
                   for key, image in (('ncc_before', shown['moving']), ('ncc', out['moved'][None]))}
            rows.append({'pair': name, **ncc, 'folded': 100 * float(deformation.folding_fraction(jnp.asarray(out['displacement'])))})
        atomic_files.write_table(folder / 'predictions.csv', rows)
        before, after = (np.mean([row[key] for row in rows]) for key in ('ncc_before', 'ncc'))
        return f'{path} → {folder / "predictions.csv"}   {len(rows)} pairs, correlation {before:.3f} → {after:.3f}'


def evaluator(*, data: Pairs, task: Task, affine: bool = True, bspline: int = 0,
              window: int = 9) -> RegistrationEvaluator:
    """Makes the evaluator of registration.

    Args:
      data: the data set.
      task: the problem.
      affine: whether an affine map is sought for each pair too, as a floor.
      bspline: how many pairs of each split but the validation's, from the first, SimpleITK registers by B-splines as
        well; see `bspline.py`.
      window: of the correlation, voxels.
    """
    if not isinstance(bspline, int) or bspline < 0 or window < 3 or not window % 2:
        raise InputError(f'config.evaluate: bspline={bspline}, window={window}; expected a number of pairs, and an odd '
                         'number of 3 or more')
    return RegistrationEvaluator(data, task, affine, bspline, window)


def predictor(*, task: Task, statistics: Mapping[str, Any], data: Mapping[str, Any], window: int = 9,
              **_: Any) -> RegistrationPredictor:
    """Makes what registers new pairs.

    Args:
      task: the problem.
      statistics: of the training data, as stored with the checkpoint.
      data: the options of `pairs.dataset`.
      window: see `evaluator`.
      **_: what else predictors are offered.
    """
    check_size(data['size'])
    wanted = data.get('spacing')
    return RegistrationPredictor(task, statistics, tuple(data['size']), None if wanted is None else tuple(wanted),
                                 window)
