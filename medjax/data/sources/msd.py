"""A task of the Medical Segmentation Decathlon (Antonelli 2022): `dataset.json`, `imagesTr`, `labelsTr`, `imagesTs`.

An image with several channels is one 4D file. The labels of `imagesTs` were not published, so that these cases are not
used: without further options a part of the training cases is the test split.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from medjax import atomic_files
from medjax.data.io import channel_files, data_paths, image_files
from medjax.data.io.geometry import Image, check_pair
from medjax.data.io.label_codes import LabelCode
from medjax.data.source import UNKNOWN_PATIENTS, Case, Source, data_dir
from medjax.data.splits import Splitting
from medjax.errors import InputError, few

EXPECTED = "the Decathlon's dataset.json with modality, labels, numTraining and training"


def source(*, dir: str, splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A segmentation source of a task of the Medical Segmentation Decathlon.

    Args:
      dir: the folder of the task, such as Task09_Spleen, which has `dataset.json`; see `data_dir`.
      splitting: how cases are assigned to splits; each counts as a patient of its own.
      notice: text on the data for the report.

    Raises:
      InputError: files, names or fields that do not fit each other. Images and labels are checked case by case.
    """
    root = data_dir(dir)
    path = root / 'dataset.json'
    content = _described(path)
    channels, code = _channels(content, path), _code(content, path)
    files = _files(content, path, root)
    split = splitting.divide([{'patient': name} for name in files], root, root)
    cases = tuple(Case(id=name, patient=name, split=split[name], how=f'msd {channels} {code}',
                       read=functools.partial(_pair, image, label, channels, code), files=(image, label))
                  for name, (image, label) in files.items())
    tests = content.get('test') or []
    warnings = (f'Left out of imagesTs, without labels: {len(tests)} cases.',) if tests else ()
    return Source(cases=cases, classes=code.classes, notice=f'{notice} {UNKNOWN_PATIENTS}'.strip(), channels=channels,
                  warnings=warnings, analysis_unit='image')


def image_reader(*, dir: str, **_: Any) -> Callable[[str | pathlib.Path], Image]:
    """A function that reads a new image as the cases' images are read.

    Args:
      dir: of the task, for the channels in its `dataset.json`.
      **_: further options of the source, which are ignored.
    """
    path = data_dir(dir) / 'dataset.json'
    channels = _channels(_described(path), path)
    return lambda image: channel_files.read([image], channels)


def _pair(image_path: str, label_path: str, channels: tuple[str, ...], code: LabelCode) -> tuple[Image, Image]:
    """A case and its label as class numbers, on one grid."""
    image, label = channel_files.read([image_path], channels), code.read(label_path)
    check_pair(image, label)
    return image, dataclasses.replace(label, affine=image.affine)


def _described(path: pathlib.Path) -> dict[str, Any]:
    content = atomic_files.read_json(path, EXPECTED)
    if 'channel_names' in content:
        raise InputError(f"{path}: channel_names: a dataset.json of nnU-Net version 2; expected {EXPECTED}, or the "
                         "source 'nnunet'")
    for name, kind in (('modality', dict), ('labels', dict), ('numTraining', int), ('training', list)):
        if not isinstance(content.get(name), kind) or not content[name]:
            raise InputError(f'{path}: {name}: {content.get(name)!r}; expected {EXPECTED}')
    return content


def _numbered(content: Mapping[str, Any], name: str, path: pathlib.Path) -> tuple[str, ...]:
    """The values of a field whose keys are the numbers from 0, in their order."""
    field = content[name]
    if sorted(field) != sorted(map(str, range(len(field)))):
        raise InputError(f'{path}: {name}: {field}; expected names for the numbers 0 to {len(field) - 1}')
    return tuple(str(field[str(number)]) for number in range(len(field)))


def _channels(content: Mapping[str, Any], path: pathlib.Path) -> tuple[str, ...]:
    return _numbered(content, 'modality', path)


def _code(content: Mapping[str, Any], path: pathlib.Path) -> LabelCode:
    classes = _numbered(content, 'labels', path)
    return LabelCode(classes, tuple(range(len(classes))))


def _files(content: Mapping[str, Any], path: pathlib.Path, root: pathlib.Path) -> dict[str, tuple[str, str]]:
    """The image and the label of each case, by its name."""
    if len(content['training']) != content['numTraining']:
        raise InputError(f'{path}: numTraining: {content["numTraining"]}; expected {len(content["training"])}, the '
                         'number of cases in training')
    out: dict[str, tuple[str, str]] = {}
    for number, row in enumerate(content['training']):
        where = f'{path}: training[{number}]'
        if not isinstance(row, Mapping) or not row.get('image') or not row.get('label'):
            raise InputError(f'{where}: {row}; expected image and label')
        image, label = (data_paths.inside(root, str(row[name]), f'{where}: {name}') for name in ('image', 'label'))
        for file in (image, label):
            if not image_files.exists(file):
                raise InputError(f'{where}: {file} does not exist; expected it within {root}')
        name = image_files.stem(image)
        if name != image_files.stem(label):
            raise InputError(f'{where}: image {image.name} and label {label.name}; expected one name for both')
        if name in out:
            raise InputError(f'{where}: case {name!r} is there twice; expected unique names')
        out[name] = str(image), str(label)
    used = {file for files in out.values() for file in files}
    folders = (root / 'imagesTr', root / 'labelsTr')
    beside = [str(file) for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())
              if image_files.is_image(file) and str(file) not in used]
    if beside:
        raise InputError(f'{path}: training: does not list {len(beside)} files ({few(beside)}); expected all images '
                         'and labels of imagesTr and labelsTr')
    return out
