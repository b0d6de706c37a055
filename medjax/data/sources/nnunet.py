"""A data set in nnU-Net's raw format: `DatasetXXX_NAME` with `dataset.json`, `imagesTr`, `labelsTr` and `imagesTs`.

    Dataset001_Liver/
      dataset.json
      imagesTr/CASE_0000.nii.gz, CASE_0001.nii.gz …    a file for each channel of a case
      labelsTr/CASE.nii.gz
      imagesTs, labelsTs                               optional: the test split

What nnU-Net's `verify_dataset_integrity` warns about is refused here: names, channels, labels and case numbers before
training begins; shapes, geometry and label values when a case is read, which is before the first step.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data import nnunet_splits
from medjax.data.io import channel_files, data_paths, image_files, image_folders, nnunet_dataset
from medjax.data.io.channel_files import SUFFIXES as SUFFIXES
from medjax.data.io.geometry import Image, check_pair
from medjax.data.io.image_folders import find_images, left_out
from medjax.data.io.nnunet_dataset import Description
from medjax.data.source import UNKNOWN_PATIENTS, Case, Source, data_dir
from medjax.data.sources.annotations import patient_name
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError, few

input_files, output_name = channel_files.files, channel_files.output_name  # of new cases, for `predict`


def source(*, dir: str, splits_final: str = '', patient_regex: str = '',
           splitting: Splitting = Splitting(val=0.2, test=0.0), notice: str = '') -> Source:
    """A segmentation source of an nnU-Net raw data set.

    Args:
      dir: the data set's folder, which has `dataset.json`; see `data_dir`.
      splits_final: nnU-Net's file of splits, relative to dir or absolute; `fold` chooses one of its folds, and there
        are no other split options then. Without it splits are by `splitting`.
      patient_regex: a regular expression whose first group is the patient's name in a case's name, such as
        r'^([^_]+)_'. Without it each case counts as a patient of its own, as in nnU-Net.
      splitting: how patients of `imagesTr` are assigned to splits. Cases of `imagesTs` with a label in `labelsTs` are
        the split 'test'.
      notice: text on the data for the report.

    Returns:
      A source with the classes of `dataset.json`, or its regions.

    Raises:
      InputError: files, names or fields that do not fit each other. Images and labels are checked case by case.
    """
    root = data_dir(dir)
    described = nnunet_dataset.read(root / nnunet_dataset.NAME)
    found, warnings = _training_files(root, described)
    tested, more = _test_files(root, described)
    _check_names(found, tested, root)
    files = {**found, **tested}
    patients = {name: patient_name(name, patient_regex) if patient_regex else name for name in files}
    split = _splits(root, splits_final, [{'id': name, 'patient': patients[name]} for name in found], splitting)
    reader = _Reader(described)
    cases = tuple(Case(id=name, patient=patients[name], split=split[name] if name in found else 'test',
                       read=functools.partial(reader.pair, images, label), how=repr(reader),
                       files=(*(file for image in images for file in image_files.files(image)),
                              *image_files.files(label)))
                  for name, (images, label) in files.items())
    if not patient_regex:
        notice = f'{notice} {UNKNOWN_PATIENTS}'.strip()
    paths = [images[0] for images, _ in files.values()]
    return Source(cases=cases, classes=described.code.classes, notice=notice, channels=described.channels,
                  warnings=(*warnings, *more), regions=described.regions,
                  grid=image_folders.grid(paths, None, 'one file_ending'),
                  analysis_unit='patient' if patient_regex else 'image')


def image_reader(*, dir: str, **_: Any) -> Callable[[str | pathlib.Path], Image]:
    """A function that reads a new case, by the file of its first channel, as the data set's cases are read.

    Args:
      dir: of the data set, for the channels in `dataset.json`.
      **_: further options of the source, which are ignored.
    """
    described = nnunet_dataset.read(data_dir(dir) / nnunet_dataset.NAME)
    return functools.partial(channel_files.read_case, channels=described.channels)


def label_encoder(*, dir: str, **_: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A function that turns class numbers `[X, Y, Z]` into the label values of `dataset.json`.

    Args:
      dir: of the data set.
      **_: further options of the source, which are ignored.
    """
    return nnunet_dataset.read(data_dir(dir) / nnunet_dataset.NAME).code.encode


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads the images and labels that a `dataset.json` describes."""

    described: Description

    def __repr__(self) -> str:
        """What determines the result of reading, for the cache of prepared cases."""
        return f'nnunet {self.described.channels} {self.described.code}'

    def pair(self, images: Sequence[str], label: str) -> tuple[Image, Image]:
        """A case and its label as class numbers, uint8 `[X, Y, Z]`, on one grid."""
        image, mask = channel_files.read(images, self.described.channels), self.described.code.read(label)
        check_pair(image, mask)
        return image, dataclasses.replace(mask, affine=image.affine)


Files = dict[str, tuple[list[str], str]]  # the images and the label of each case


def _training_files(root: pathlib.Path, described: Description) -> tuple[Files, tuple[str, ...]]:
    """The files of the training cases, checked, and lines on what is left out."""
    if described.files:
        files, warnings = _listed_files(root, described), ()
    else:
        files, warnings = _paired_files(root, 'imagesTr', 'labelsTr', described)
    if len(files) != described.cases:
        raise InputError(f'{described.path}: numTraining: {described.cases}; expected {len(files)}, the number of '
                         f'cases {"listed in it" if described.files else "in imagesTr"}')
    return files, warnings


def _paired_files(root: pathlib.Path, images: str, labels: str,
                  described: Description) -> tuple[Files, tuple[str, ...]]:
    """The files of the cases of a folder of images and one of labels, paired by name."""
    paths, others = _files_in(root / images, described)
    masks, more = _files_in(root / labels, described)
    cases = channel_files.by_case(paths)
    channel_files.check_channels(cases, described.channels, str(root / images))
    labelled = {image_files.stem(path): path for path in masks}
    for name in sorted(set(cases) ^ set(labelled)):
        if name in cases:
            raise InputError(f'{root / images}: case {name!r} has no label; expected {root / labels / name}'
                             f'{described.file_ending}')
        raise InputError(f'{labelled[name]}: a label without images; expected {root / images / name}_0000'
                         f'{described.file_ending}')
    files = {name: ([str(cases[name][number]) for number in sorted(cases[name])], str(labelled[name]))
             for name in sorted(cases)}
    why = f'not named as {described.file_ending} of the data set'
    return files, (*left_out(others, root / images, why), *left_out(more, root / labels, why))


def _listed_files(root: pathlib.Path, described: Description) -> Files:
    """The files of the cases that `dataset.json` lists, in its field `dataset`."""
    out: Files = {}
    for name, row in sorted(described.files.items()):
        where = f'{described.path}: dataset: {name}'
        if not isinstance(row, Mapping) or not isinstance(row.get('images'), list) or not row.get('label'):
            raise InputError(f'{where}: {row}; expected images, a list of files, and label')
        paths = [data_paths.inside(root, str(file), where) for file in (*row['images'], row['label'])]
        for path in paths:
            if not image_files.exists(path):
                raise InputError(f'{where}: {path} does not exist; expected it within {root}')
        out[name] = ([str(path) for path in paths[:-1]], str(paths[-1]))
    cases = {name: dict(enumerate(map(pathlib.Path, images))) for name, (images, _) in out.items()}
    channel_files.check_channels(cases, described.channels, str(described.path))
    return out


def _test_files(root: pathlib.Path, described: Description) -> tuple[Files, tuple[str, ...]]:
    """The files of the test cases with labels, and a line on test images without."""
    if not (root / 'imagesTs').is_dir():
        return {}, ()
    if (root / 'labelsTs').is_dir() and any((root / 'labelsTs').iterdir()):
        return _paired_files(root, 'imagesTs', 'labelsTs', described)
    paths, _ = _files_in(root / 'imagesTs', described, empty=True)
    names = sorted(channel_files.by_case(paths))
    return {}, (f'Left out of imagesTs, without labelsTs: {len(names)} cases ({few(names)}).',) if names else ()


def _files_in(folder: pathlib.Path, described: Description,
              empty: bool = False) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The files of a folder with the data set's ending, and its other files."""
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder; expected the images or labels of {described.path}')
    images, others = find_images(folder)
    named = [path for path in images if path.name.endswith(described.file_ending)]
    if not named and not empty:
        raise InputError(f'{folder}: no file that ends in {described.file_ending!r}, the file_ending of '
                         f'{described.path}; expected some, found {few([path.name for path in images + others])}')
    return named, sorted({*images, *others} - {*named})


def _check_names(training: Files, tested: Files, root: pathlib.Path) -> None:
    both = sorted(set(training) & set(tested))
    if both:
        raise InputError(f'{root}: case {both[0]!r} is in imagesTr and in imagesTs; expected different cases')


def _splits(root: pathlib.Path, splits_final: str, rows: Sequence[dict[str, str]],
            splitting: Splitting) -> dict[str, str]:
    """The split of each training case."""
    if not splits_final:
        split = splitting.divide(rows, root, root)
        return {row['id']: split[row['patient']] for row in rows}
    if splitting.folds or splitting.splits or splitting.split_file:
        raise InputError(f'{KEYS}.splits_final: {splits_final!r}, with folds, splits or split_file; expected one of '
                         'them: fold alone chooses a fold of the file')
    return nnunet_splits.read(root / splits_final, splitting.fold, rows)
