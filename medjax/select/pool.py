"""The images of a pool that should be annotated next, by a run's uncertainty and by how they differ."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files, cli, outputs, restore
from medjax.errors import InputError
from medjax.predict import find
from medjax.statistics import selection


def select(workdir: pathlib.Path, pool: pathlib.Path, count: int, output: pathlib.Path, *, strategy: str = 'both',
           labelled: pathlib.Path | None = None, seed: int = 0,
           say: Callable[[str], None] = cli.say) -> list[dict[str, Any]]:
    """Selects the images to annotate next and writes them as a table.

    Args:
      workdir: of a trained run of classification or segmentation.
      pool: a folder of images without labels.
      count: number of images.
      output: the table, with `rank`, `image` and `uncertainty`.
      strategy: see `statistics.selection.select`.
      labelled: a folder of images that have labels: new ones should differ from them.
      seed: of the strategy 'random'.
      say: takes lines for the console.

    Returns:
      The rows of the table.

    Raises:
      InputError: a run of another family, fewer images than `count`, or images that cannot be read.
    """
    run = restore.restore(workdir)
    images = find([str(pool)], run.inputs.suffixes, say, run.inputs.files)
    if not 1 <= count <= len(images):
        raise InputError(f'--count={count}: the pool {pool} has {len(images)} images; expected 1 to that number')
    outputs.check_outputs([output], images, f'--output={output}')
    uncertainty, features = _described(run, images)
    known = _described(run, find([str(labelled)], run.inputs.suffixes, say, run.inputs.files))[1] if labelled else None
    chosen = selection.select(strategy, count, uncertainty, features, known, seed)
    rows = [{'rank': rank, 'image': str(images[at]), 'uncertainty': repr(float(uncertainty[at]))}
            for rank, at in enumerate(chosen, 1)]
    atomic_files.write_table(output, rows)
    say(f'{output}: {count} of {len(images)} images by {strategy}; mean uncertainty {uncertainty[chosen].mean():.3f}, '
        f'of the pool {uncertainty.mean():.3f}')
    return rows


def _described(run: restore.Trained, images: Sequence[pathlib.Path]) -> tuple[np.ndarray, np.ndarray]:
    """The uncertainty `[n]` and the features `[n, D]` of images."""
    found = []
    for image in images:
        described = run.predictor.uncertainty_and_features(run.variables, image)
        if described is None:
            raise InputError('--workdir: a run of a family without uncertainties of images; expected one of '
                             'classification or segmentation')
        found.append(described)
    return np.array([uncertainty for uncertainty, _ in found]), np.stack([features for _, features in found])
