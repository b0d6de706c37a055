"""Registration of new pairs with a trained run."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.task import Task
from medjax.data.datasets.registration import Pair, PreparedPair, prepare_pair
from medjax.data.io import image_files
from medjax.data.io.geometry import Image, restore
from medjax.data.io.geometry import spacing as grid_spacing
from medjax.data.io.interpolate import inside_mask
from medjax.data.source import Case
from medjax.data.sources import image_pairs_csv
from medjax.errors import InputError
from medjax.losses.image_similarity import local_correlation
from medjax.ops import deformation

# What is said of pairs whose images are on different grids, by the name of the count.
NOTES = {'resampled': 'moving images resampled onto the grid of the fixed one',
         'unaligned': 'at another position in mm than the fixed one, which is not used'}


@dataclasses.dataclass(frozen=True)
class RegistrationPredictor(contracts.Predictor):
    """Registers pairs that are not in the data set; see `evaluator.predictor`."""

    task: Task
    statistics: Mapping[str, Any]
    size: tuple[int, ...]
    spacing: tuple[float, ...] | None
    window: int

    finds = 'image'

    def outputs(self, path: pathlib.Path) -> list[str]:
        """The names of each pair's files, and the table's."""
        return [*(f'{name}{end}.nii.gz' for name in self._pairs(path) for end in ('', '_field', '_inverse')),
                'predictions.csv']

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape of the network's input."""
        return {name: np.zeros((1, *self.size, 1), np.float32) for name in ('fixed', 'moving')}

    @functools.cached_property
    def _predict(self) -> Callable[..., dict[str, jax.Array]]:
        return jax.jit(lambda variables, batch: self.task.predict(variables, batch))

    def warm(self, variables: Any) -> None:
        """Compiles the registration of a pair; see `contracts.Predictor`."""
        self._predict(variables, self.example())

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Reads a table of pairs as `data.sources.image_pairs_csv` does, and registers each of them.

        Args:
          variables: of the network.
          path: a CSV table.
          folder: receives for each pair the deformed image on the network's grid, MOVING_to_FIXED.nii.gz; the
            displacement in mm along the grid's axes, with `_field` added to that name; its inverse, with `_inverse`;
            and for all pairs `predictions.csv`.

        Returns:
          A line with the number of pairs and the mean correlation before and after.

        Raises:
          InputError: an invalid table, or images that differ in kind from the training images.
        """
        rows, counts = [], {'resampled': 0, 'unaligned': 0}
        for name, row in self._pairs(path).items():
            pair = self._prepared(f'{path}: {name}', functools.partial(image_pairs_csv.read_pair, row, path.parent))
            images = {side: getattr(pair.row, side)[None] for side in ('fixed', 'moving')}
            for grids, number in counts.items():
                counts[grids] = number + getattr(pair, grids)
            write = functools.partial(image_files.write, affine=pair.affine, like=path.parent / row['fixed'])
            rows.append({'pair': name, **self._register(variables, images, pair.affine, folder / name, write)})
        atomic_files.write_table(folder / 'predictions.csv', rows)
        before, after = (np.mean([row[key] for row in rows]) for key in ('ncc_before', 'ncc'))
        notes = ''.join(f', {number} {NOTES[grids]}' for grids, number in counts.items() if number)
        return (f'{path} → {folder / "predictions.csv"}   {len(rows)} pairs{notes}, correlation {before:.3f} → '
                f'{after:.3f}')

    def image_pairs(self, path: pathlib.Path) -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
        """The fixed and the moving image of each pair of a table; see `contracts.Predictor`."""
        return {name: (path.parent / row['fixed'], path.parent / row['moving'])
                for name, row in self._pairs(path).items()}

    def registered(self, variables: Any, fixed: pathlib.Path, moving: pathlib.Path) -> contracts.Findings:
        """The moving image on the fixed image's own grid, with its own intensities; see `contracts.Predictor`.

        Beyond the network's grid the displacement of its border is taken.

        Raises:
          InputError: as `__call__`.
        """
        pair = image_pairs_csv.read_pair({'fixed': str(fixed), 'moving': str(moving)}, pathlib.Path())
        prepared = self._prepared(str(fixed), lambda: pair)
        images = {side: getattr(prepared.row, side)[None] for side in ('fixed', 'moving')}
        displacement = np.asarray(self._predict(variables, images)['displacement'][0])
        to_network = np.linalg.inv(prepared.affine) @ pair.fixed.affine
        moved = deform(pair.moving.array, displacement, to_network)
        outside = 1 - inside_mask(to_network, moved.shape, (*self.size, 1)[:3]).mean()
        notes = [text for grids, text in NOTES.items() if getattr(prepared, grids)]
        if outside:
            notes.append(f'{outside:.0%} of the fixed image beyond the network\'s grid, deformed as its border')
        line = ', '.join([f'{moved.min():.4g} to {moved.max():.4g}', *notes])
        stored = image_files.read(fixed)
        return contracts.Findings(line=line, image=restore(Image(moved, pair.fixed.affine), stored, 'linear').array,
                                  image_name='Registered image')

    def _prepared(self, name: str, read: Callable[[], Pair]) -> PreparedPair:
        """A pair on the network's grid.

        Raises:
          InputError: other voxels than in training.
        """
        pair = prepare_pair(Case(name, name, 'new', read), self.size, self.spacing)
        if not np.allclose(pair.spacing, self.statistics['spacing'], rtol=1e-3):
            raise InputError(f'{name}: voxels of {pair.spacing} mm; expected {tuple(self.statistics["spacing"])}, as '
                             'in training')
        return pair

    def _pairs(self, path: pathlib.Path) -> dict[str, dict[str, str]]:
        """The rows of a table by the names of their pairs."""
        rows = image_pairs_csv.read_pairs(path, path.parent)
        short_names = image_pairs_csv.unique_names(row[side] for row in rows for side in ('fixed', 'moving'))
        names = [image_pairs_csv.pair_name(row, short_names) for row in rows]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f'{path}: {name}: {names.count(name)} pairs; expected each pair once')
        return dict(zip(names, rows))

    def _register(self, variables: Any, images: Mapping[str, np.ndarray], affine: np.ndarray,
                  path: pathlib.Path, write: Callable[..., None]) -> dict[str, float]:
        """Registers a pair and writes its files.

        Args:
          variables: of the network.
          images: 'fixed' and 'moving', `[1, *S, 1]`.
          affine: of the network's grid.
          path: of the files, without their suffix.
          write: writes an array on this grid to a path.

        Returns:
          The correlation before and after, and the share of folded cells in percent.
        """
        outputs = {name: np.asarray(value[0]) for name, value in self._predict(variables, images).items()}
        shape, axes = (*self.size, 1)[:3], np.array(grid_spacing(affine)[:len(self.size)], np.float32)
        write(path.with_name(f'{path.name}.nii.gz'), outputs['moved'][..., 0].reshape(shape))
        for name, suffix in (('displacement', 'field'), ('inverse', 'inverse')):
            field = np.moveaxis(outputs[name], 0, -1) * axes
            write(path.with_name(f'{path.name}_{suffix}.nii.gz'), field.reshape(*shape, -1))
        fixed = jnp.asarray(images['fixed'])
        correlations = {name: 1 - float(local_correlation(fixed, jnp.asarray(image), window=self.window)[0])
                        for name, image in (('ncc_before', images['moving']), ('ncc', outputs['moved'][None]))}
        folded = deformation.folding_fraction(jnp.asarray(outputs['displacement']))
        return {**correlations, 'folded': 100 * float(folded)}


def deform(image: np.ndarray, displacement: np.ndarray, to_network: np.ndarray) -> np.ndarray:
    """Deforms an image by a displacement that is known on another grid.

    Args:
      image: `[X, Y, Z]`.
      displacement: `[D, *S]` in voxels of the network's grid, along its first D axes.
      to_network: `[4, 4]`, from voxels of the image to those of the network's grid.

    Returns:
      `[X, Y, Z]` float32, interpolated linearly. Outside of the image, and of the displacement's grid, the outermost
      values are repeated.
    """
    dims = len(displacement)
    field = displacement.reshape(dims, *(*displacement.shape[1:], 1)[:3])
    from_network = np.linalg.inv(to_network[:3, :3])[:, :dims]
    out, array = np.empty(image.shape, np.float32), image.astype(np.float32)
    for z in range(image.shape[2]):  # by slices: the coordinates of a whole image would need much memory
        places = np.indices((*image.shape[:2], 1), np.float64)
        places[2] = z
        at = np.tensordot(to_network[:3, :3], places, 1) + to_network[:3, 3].reshape(3, 1, 1, 1)
        step = np.stack([ndimage.map_coordinates(part, at, order=1, mode='nearest') for part in field])
        out[:, :, z:z + 1] = ndimage.map_coordinates(array, places + np.tensordot(from_network, step, 1), order=1,
                                                     mode='nearest')
    return out
