"""Snapshots of classification: the images and saliency maps that an evaluation keeps for the report."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from medjax import atomic_files
from medjax.errors import InputError
from medjax.report import run_files

TESTS = ('deletion', 'insertion', 'similarity', 'incomplete')  # of maps; see `saliency.faithfulness.evaluate_maps`


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A classified case.

    Attributes:
      name: of the case.
      image: `[rows, columns, C]`, or `[X, Y, Z, C]`, float32.
      maps: `[M, *S]` float32.
      methods: the names of the M maps' methods.
      limits: intensities that are drawn black and white.
      explained: the class that the maps explain; '' where it is not known.
      spacing: mm between voxels along the axes of a volume in RAS+; () where it is not known to be one.
      tests: those of TESTS that were made, `[M]` each.
    """

    name: str
    image: np.ndarray
    maps: np.ndarray
    methods: tuple[str, ...]
    limits: tuple[float, float]
    explained: str
    spacing: tuple[float, ...]
    tests: dict[str, np.ndarray]

    @property
    def is_volume(self) -> bool:
        """Whether the image has three spatial axes."""
        return self.image.ndim == 4


def save(path: pathlib.Path, image: np.ndarray, explained: str, methods: Sequence[str],
         maps_and_tests: Mapping[str, np.ndarray]) -> None:
    """Writes the snapshot of a case.

    Args:
      path: of the file.
      image: `[*S, C]`.
      explained: name of the class that the maps explain.
      methods: M names of saliency methods.
      maps_and_tests: `maps [M, *S]`, and tests of the maps, `[M]`; see `saliency.methods.explain`.
    """
    atomic_files.write_arrays(path, image=image, kind='classification', methods=np.array(methods, str),
                              explained=explained,
                              **{name: values.astype(np.float32) for name, values in maps_and_tests.items()})


def load(path: pathlib.Path) -> Snapshot:
    """Reads `cases/SPLIT/ID.npz`.

    Raises:
      InputError: the file is damaged, or its arrays do not fit together.
    """
    with run_files.snapshot(path) as arrays:
        image, maps, methods = arrays['image'], arrays['maps'], tuple(map(str, arrays['methods']))
        maps = maps if methods else np.zeros((0, *image.shape[:-1]))
    if image.ndim not in (3, 4) or maps.shape != (len(methods), *image.shape[:-1]):
        raise InputError(f'{path}: image {image.shape}, maps {maps.shape}, {len(methods)} methods; expected '
                         '[rows, columns, C] or [X, Y, Z, C], and a map of that extent for each method')
    # Colours are shown as stored; grey values, which may be any measurement, between their own extremes.
    rgb = image.dtype == np.uint8 and image.shape[-1] == 3
    low, high = (0, 255) if rgb else np.percentile(image, [0.5, 99.5])
    return Snapshot(path.stem, image.astype(np.float32), maps.astype(np.float32), methods,
                    (float(low), float(max(high, low + 1e-6))), str(arrays.get('explained', '')),
                    tuple(map(float, arrays.get('spacing', ()))) if image.ndim == 4 else (),
                    {name: np.asarray(arrays[name], np.float64) for name in TESTS if name in arrays})
