"""Own images in two contrasts, in two folders: pairs by their names, or images without a partner.

    input/p01.nii.gz    target/p01.nii.gz      one patient, both contrasts, on one grid
    input/p02/a.png     target/p02/a.png       a folder in between is the patient of its images

Volumes (NIfTI, NRRD, MetaImage) and pictures (PNG, JPEG, TIFF, BMP) go the same way: a picture is a volume of one
slice.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medjax.data.datasets.translation import Views
from medjax.data.io import image_files
from medjax.data.io.geometry import Image, check_pair
from medjax.data.source import Case, Source, data_dir
from medjax.data.splits import divide
from medjax.errors import InputError


def source(*, dir: str = '', inputs: str = 'input', targets: str = 'target', names: Sequence[str] = ('input', 'target'),
           colour: bool = False, val: float = 0.2, test: float = 0.2, fold: int | Sequence[int] = 0,
           folds: int | Sequence[int] = 0, split_seed: int = 0, splits: Mapping[str, str] | None = None,
           split_file: str = '', notice: str = '') -> Source:
    """Finds the images of both folders; they are read case by case.

    Args:
      dir: the data set's folder; '' as `data_dir` says.
      inputs: folder of what is given, within dir.
      targets: folder of what is to be made of it.
      names: of the two contrasts.
      colour: keep three channels that are equal; else such an image is a grey one.
      val: share of the patients that validates.
      test: share of the patients that tests.
      fold: see `split_by_patient`, as for folds and split_seed.
      folds: …
      split_seed: …
      splits: the split of some or all patients by name, in place of drawing it.
      split_file: a run's `splits.json`, within dir or absolute: its split for every patient.
      notice: what the report must say of the data.

    Returns:
      A case for each name, with one image or both. Whether those of training need a partner, the data set says.

    Raises:
      InputError: a folder that is not there, or without images; names that occur twice.
    """
    root = data_dir(dir)
    if len(names) != 2:
        raise InputError(f'config.data.source.names: {tuple(names)}; expected the names of two contrasts')
    sides = [_found(root / inputs), _found(root / targets)]
    rows = [{'id': name.replace('/', '_'), 'patient': name.split('/')[0], 'name': name}
            for name in sorted(set(sides[0]) | set(sides[1]))]
    split = divide(rows, root, dict(splits or {}), root / split_file if split_file else None, val=val, test=test,
                   fold=fold, folds=folds, seed=split_seed)
    cases = []
    for row in rows:
        paths = [side.get(row['name']) for side in sides]
        cases.append(Case(id=row['id'], patient=row['patient'], split=split[row['patient']],
                          read=functools.partial(_views, *paths, colour), how=str(colour),
                          files=tuple(file for path in paths if path for file in image_files.files(path)),
                          target=tuple(int(path is not None) for path in paths)))
    return Source(cases=tuple(cases), classes=tuple(names), notice=notice, problem='translation')


def image_reader(*, colour: bool = False, **_: Any) -> Callable[[str | pathlib.Path], Image]:
    """Makes what reads a new image as the cases' images are read, of the options of `source`; needs no data set."""
    return functools.partial(_read, colour=colour)


def _found(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """A folder's images by their names, `PATIENT/NAME` for those in a folder of their patient."""
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder; expected images in it')
    out: dict[str, pathlib.Path] = {}
    for path in sorted(filter(image_files.is_image, [*folder.glob('*'), *folder.glob('*/*')])):
        name = str(path.relative_to(folder).with_name(image_files.stem(path)))
        if out.setdefault(name, path) != path:
            raise InputError(f'{path}: has the same name as {out[name].name}; expected unique names')
    if not out:
        raise InputError(f'{folder}: no image; expected some, of the kinds {", ".join(image_files.SUFFIXES)}')
    return out


def _views(image: pathlib.Path | None, target: pathlib.Path | None, colour: bool) -> Views:
    """A case's images, on one grid where there are both."""
    views = Views(*(None if path is None else _read(path, colour) for path in (image, target)))
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
