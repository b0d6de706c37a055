"""Arrays of an evaluated case, saved by the evaluator and drawn by the report."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from medjax import atomic_files
from medjax.data.io.geometry import Image, spacing
from medjax.errors import InputError
from medjax.metrics import image_fidelity
from medjax.report.run_files import snapshot

ARRAYS = ('image', 'target', 'made', 'lookup', 'cycle')
PLANE_ERRORS = {'': 'planes', 'lookup': 'planes_lookup'}  # by method, the array with its error in each axial plane


class CaseArrays(NamedTuple):
    """A case with intensities as shares of the ranges.

    Attributes:
      image: `[X, Y, Z, C]`.
      target: `[X, Y, Z, T]`; None where there is none.
      head: `[X, Y, Z]`, the voxels that count.
      grid: the stored image in RAS+; None for arrays on the network's grid.
    """

    image: np.ndarray
    target: np.ndarray | None
    head: np.ndarray
    grid: Image | None = None


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """An evaluated case; intensities are shares of the ranges, `[X, Y, Z, C]` in RAS+, or `[columns, rows, 1, C]`.

    Attributes:
      name: of the case.
      arrays: `image` and `made`, the translated image; `target`, `lookup` and `cycle` where present.
      head: `[X, Y, Z]`, the voxels that count.
      planes: the mean absolute error in each axial plane, `[Z]`, by method.
      spacing: voxel size along the three axes, mm.
      first: position of the lowest plane, mm.
      kind: 'volume' or 'image'.
    """

    name: str
    arrays: Mapping[str, np.ndarray]
    head: np.ndarray
    planes: Mapping[str, np.ndarray]
    spacing: tuple[float, ...]
    first: float
    kind: str


def save_snapshot(path: pathlib.Path, case: CaseArrays, outputs: Mapping[str, np.ndarray]) -> None:
    """Saves the arrays that the report draws of a case, and the error in each axial plane.

    Args:
      path: of the file.
      case: on the grid of its stored image.
      outputs: `translated`, and `cycle` and the baselines by name where present.
    """
    arrays = {'image': case.image, 'target': case.target, 'made': outputs['translated'],
              'lookup': outputs.get('lookup'), 'cycle': outputs.get('cycle')}
    planes = {}
    if case.target is not None:
        for method, key in PLANE_ERRORS.items():
            output = outputs.get(method or 'translated')
            if output is not None:
                planes[key] = np.array([
                    image_fidelity.mae(output[:, :, z], case.target[:, :, z], case.head[:, :, z])
                    for z in range(case.head.shape[2])])
    kind = 'image' if case.head.shape[2] == 1 else 'volume'
    atomic_files.write_arrays(
        path, **{name: array.astype(np.float16) for name, array in arrays.items() if array is not None}, **planes,
        head=case.head.astype(np.uint8), spacing=np.array(spacing(case.grid.affine)), kind=kind,
        first=case.grid.affine[2, 3])


def load_snapshot(path: pathlib.Path) -> Snapshot:
    """Reads `cases/SPLIT/ID.npz`.

    Raises:
      InputError: the file is damaged, or its arrays have different shapes.
    """
    with snapshot(path) as saved:
        arrays = {name: saved[name].astype(np.float32) for name in ARRAYS if name in saved}
        planes = {method: saved[key] for method, key in PLANE_ERRORS.items() if key in saved}
        out = Snapshot(path.stem, arrays, saved['head'], planes, tuple(map(float, saved['spacing'])),
                       float(saved['first']), str(saved['kind']))
        same_grid = all(array.ndim == 4 and array.shape[:3] == out.head.shape for array in arrays.values())
        same_planes = all(len(errors) == out.head.shape[2] for errors in planes.values())
    if not {'image', 'made'} <= set(arrays) or not same_grid or not same_planes:
        shapes = ', '.join(f'{name} {array.shape}' for name, array in arrays.items())
        raise InputError(f'{path}: {shapes}, head {out.head.shape}; expected an image and its translation on one grid')
    return out
