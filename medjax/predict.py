"""Labels new images with a trained run; writes each prediction as NIfTI on its input's own grid.

    python -m medjax.predict --workdir=DIR --input=PATH … --output=DIR [--largest_component] [--fill_holes]

An input is a file, a folder of files, or a folder that holds one DICOM series.
"""

import pathlib
from collections.abc import Sequence

from medjax import entry

entry.prepare()


from medjax.data import nifti  # noqa: E402
from medjax.errors import InputError  # noqa: E402


def find(paths: Sequence[str]) -> list[pathlib.Path]:
    """The images that the arguments name: files, files in folders, and folders of DICOM slices."""
    found: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        if not path.exists():
            raise InputError(f'--input={path}: no such file or folder')
        inside = sorted(p for p in path.iterdir() if nifti.is_image(p)) if path.is_dir() else []
        found += inside or [path]
    return found
