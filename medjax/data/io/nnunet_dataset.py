"""nnU-Net's description of a data set, `dataset.json` of version 2: channels, labels, regions and the ignore label.

The format is that of nnU-Net's documentation (dataset_format.md, region_based_training.md and ignore_label.md).
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from medjax import atomic_files
from medjax.data.io.label_codes import LabelCode
from medjax.errors import InputError
from medjax.ops.labels import IGNORED

NAME = 'dataset.json'
EXPECTED = "nnU-Net's dataset.json with channel_names, labels, numTraining and file_ending"
IGNORE = 'ignore'  # the name of the label of voxels that are not annotated


@dataclasses.dataclass(frozen=True)
class Description:
    """The content of a `dataset.json`, checked.

    Attributes:
      path: of the file.
      channels: names, in the order of the files' numbers.
      code: the classes, background first, and the label values that mean them. With regions, each class is a region.
      regions: the class numbers that each region consists of, by name; empty where classes exclude each other.
      file_ending: of all images and labels.
      cases: the number of training cases.
      files: for each case its `images` and its `label`, where the file lists them; else empty.
    """

    path: pathlib.Path
    channels: tuple[str, ...]
    code: LabelCode
    regions: Mapping[str, tuple[int, ...]]
    file_ending: str
    cases: int
    files: Mapping[str, Mapping[str, Any]]


def read(path: pathlib.Path) -> Description:
    """A `dataset.json`, checked.

    Raises:
      InputError: a file of version 1; a field that is missing or inconsistent.
    """
    content = atomic_files.read_json(path, EXPECTED)
    first = next(iter(content.get('labels') or {'': 0}))
    if 'modality' in content or str(first).isdigit():
        old = 'modality' if 'modality' in content else f'labels keyed by number ({first!r})'
        raise InputError(f'{path}: {old}: a dataset.json of nnU-Net version 1 or of the Medical Segmentation '
                         "Decathlon; expected version 2, with channel_names {'0': 'CT'}, labels {'background': 0, "
                         "'liver': 1}, numTraining and file_ending; the source 'msd' reads the Decathlon's")
    for name, kind in (('channel_names', dict), ('labels', dict), ('numTraining', int), ('file_ending', str)):
        if not isinstance(content.get(name), kind) or not content[name]:
            raise InputError(f'{path}: {name}: {content.get(name)!r}; expected {EXPECTED}')
    channels = content['channel_names']
    if sorted(channels) != sorted(map(str, range(len(channels)))):
        raise InputError(f'{path}: channel_names: {channels}; expected names for the numbers 0 to {len(channels) - 1}')
    code, regions = labels(content, str(path))
    return Description(path, tuple(str(channels[str(number)]) for number in range(len(channels))), code, regions,
                       content['file_ending'], content['numTraining'], content.get('dataset') or {})


def labels(content: Mapping[str, Any], where: str) -> tuple[LabelCode, dict[str, tuple[int, ...]]]:
    """The classes that the `labels` and `regions_class_order` of a `dataset.json` describe, and their regions.

    A region is a set of label values, so that regions may contain each other. Each is a class here, whose number is its
    place in `regions_class_order`: a voxel has the last region in this order that contains its label value.

    Args:
      content: of the file.
      where: the file, for messages.

    Raises:
      InputError: values that are not consecutive from 0, or an order by which a region cannot be written.
    """
    named = {str(name): value for name, value in content['labels'].items()}
    values = {name: tuple(value) if isinstance(value, list) else (value,) for name, value in named.items()}
    if named.get('background') != 0 or next(iter(named)) != 'background':
        raise InputError(f"{where}: labels: {named}; expected 'background' with the value 0 first")
    ignored = values.pop(IGNORE, ())
    every = sorted({value for numbers in (*values.values(), ignored) for value in numbers if type(value) is int})
    if every != list(range(len(every))) or len(every) > IGNORED or len(ignored) > 1 or any(
            type(value) is not int for numbers in values.values() for value in numbers):
        raise InputError(f'{where}: labels: {named}; expected whole numbers, consecutive from 0')
    if ignored and (ignored[0] != every[-1] or any(ignored[0] in numbers for numbers in values.values())):
        raise InputError(f'{where}: labels: {IGNORE}: {ignored[0]}; expected {len(every) - 1}, the highest value, for '
                         'this label alone')
    others = {ignored[0]: IGNORED} if ignored else {}
    if all(len(numbers) == 1 for numbers in values.values()):
        if len({numbers[0] for numbers in values.values()}) < len(values):
            raise InputError(f'{where}: labels: {named}; expected a value of its own for each label')
        names = sorted(values, key=lambda name: values[name])
        return LabelCode(tuple(names), tuple(values[name][0] for name in names), others=others), {}
    return _regions(values, content.get('regions_class_order'), others, where)


def _regions(values: Mapping[str, tuple[int, ...]], order: Any, others: dict[int, int],
             where: str) -> tuple[LabelCode, dict[str, tuple[int, ...]]]:
    """The classes and regions of labels that are sets of values; see `labels`."""
    sets = {name: set(numbers) for name, numbers in values.items() if name != 'background'}
    if not isinstance(order, list) or len(order) != len(sets) or len(set(map(str, order))) != len(sets):
        raise InputError(f'{where}: regions_class_order: {order}; expected {len(sets)} different label values, one for '
                         f'each of {", ".join(sets)}')
    numbers = {}  # the class of each label value: the last region that contains it
    for number, region in enumerate(sets.values(), 1):
        numbers |= dict.fromkeys(region, number)
    for number, (name, value) in enumerate(zip(sets, order), 1):
        if numbers.get(value) != number:
            later = list(sets)[numbers[value] - 1] if value in sets[name] else None
            why = f'the later region {later!r} contains it too' if later else f'the region has {sorted(sets[name])}'
            raise InputError(f'{where}: regions_class_order: {value!r} for {name!r}, but {why}; expected a value of '
                             'this region that is in no later one: larger regions come first')
    for value, number in numbers.items():
        alike = order[number - 1]
        apart = [name for name, region in sets.items() if (value in region) != (alike in region)]
        if apart:
            raise InputError(f'{where}: labels: {value} and {alike} are both written as {alike} by '
                             f'regions_class_order, but only one of them is in {apart[0]!r}; expected an order that '
                             'separates them')
    others = others | {value: number for value, number in numbers.items() if order[number - 1] != value}
    regions = {name: tuple(number for number, value in enumerate(order, 1) if value in region)
               for name, region in sets.items()}
    return LabelCode(('background', *sets), (0, *order), others=others), regions
