"""Images in two contrasts, in two folders: pairs by name, or images without a partner.

    input/p01.nii.gz    target/p01.nii.gz      one patient, both contrasts, on one grid
    input/p02/a.png     target/p02/a.png       a folder in between names the patient of its images

Volumes (NIfTI, NRRD, MetaImage) and 2D images (PNG, JPEG, TIFF, BMP, GIF) are read alike: a 2D image is a volume of one
slice.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from medjax.data.datasets.translation import Contrasts
from medjax.data.io import image_files
from medjax.data.io.geometry import Image, check_pair
from medjax.data.io.image_folders import find_images, left_out
from medjax.data.source import UNKNOWN_PATIENTS, Case, Source, data_dir
from medjax.data.splits import Splitting
from medjax.errors import InputError


def source(*, dir: str = '', inputs: str = 'input', targets: str = 'target', names: Sequence[str] = ('input', 'target'),
           colour: bool = False, splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A translation source with the images of both folders, read case by case.

    Args:
      dir: the data set's folder; see `data_dir`.
      inputs: folder of the input images, within dir.
      targets: folder of the target images, within dir.
      names: of the two contrasts.
      colour: keep three equal channels; otherwise such an image is a grey one.
      splitting: how patients are assigned to splits.
      notice: text on the data for the report.

    Returns:
      A source with a case for each name, with one image or both. The data set decides whether training images need a
      partner.

    Raises:
      InputError: a folder that is missing or has no images; names that occur twice.
    """
    root = data_dir(dir)
    if len(names) != 2:
        raise InputError(f'config.data.source.names: {tuple(names)}; expected the names of two contrasts')
    sides, warnings = zip(*[_paths_by_name(root / folder) for folder in (inputs, targets)])
    rows = [{'id': name.replace('/', '_'), 'patient': name.split('/')[0], 'name': name}
            for name in sorted(set(sides[0]) | set(sides[1]))]
    known = any('/' in row['name'] for row in rows)
    if not known:
        notice = f'{notice} {UNKNOWN_PATIENTS}'.strip()
    split = splitting.divide(rows, root, root)
    cases = []
    for row in rows:
        paths = [side.get(row['name']) for side in sides]
        cases.append(Case(id=row['id'], patient=row['patient'], split=split[row['patient']],
                          read=functools.partial(_read_views, *paths, colour), how=str(colour),
                          files=tuple(file for path in paths if path for file in image_files.files(path)),
                          target=tuple(int(path is not None) for path in paths)))
    return Source(cases=tuple(cases), classes=tuple(names), notice=notice, problem='translation',
                  warnings=warnings[0] + warnings[1],
                  analysis_unit='patient' if known else 'image')


def image_reader(*, colour: bool = False, **_: Any) -> Callable[[str | pathlib.Path], Image]:
    """A function that reads a new image as the cases' images are read.

    Args:
      colour: see `source`; other options of it are ignored. No data set is needed.
    """
    return functools.partial(_read, colour=colour)


def _paths_by_name(folder: pathlib.Path) -> tuple[dict[str, pathlib.Path], tuple[str, ...]]:
    """A folder's images by name, `PATIENT/NAME` for those in the folder of a patient; and lines on other files."""
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder; expected images in it')
    images, others = find_images(folder, depth=1)
    out: dict[str, pathlib.Path] = {}
    for path in images:
        name = str(path.relative_to(folder).with_name(image_files.stem(path)))
        if out.setdefault(name, path) != path:
            raise InputError(f'{path}: has the same name as {out[name].name}; expected unique names')
    if not out:
        raise InputError(f'{folder}: no image; expected some, of the formats {", ".join(image_files.SUFFIXES)}')
    return out, left_out(others, folder)


def _read_views(image: pathlib.Path | None, target: pathlib.Path | None, colour: bool) -> Contrasts:
    """The images of a case; where there are both, their grids must be the same."""
    views = Contrasts(*(None if path is None else _read(path, colour) for path in (image, target)))
    if views.image is not None and views.target is not None:
        check_pair(views.image, views.target)
    return views


def _read(path: str | pathlib.Path, colour: bool) -> Image:
    image = image_files.read(path)
    array = image.array
    if not colour and array.ndim == 4 and array.shape[3] == 3 and (array == array[..., :1]).all():
        image = dataclasses.replace(image, array=array[..., 0])
    image_files.check_finite(image)
    return image
