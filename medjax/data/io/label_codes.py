"""How labels are stored in image files: as class numbers, as other numbers, or as colours."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.io import image_files, raster
from medjax.data.io.geometry import Image
from medjax.data.splits import KEYS
from medjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class LabelCode:
    """The meaning of the values of label images.

    Attributes:
      classes: names, background first.
      label_values: the stored number of each class; None where it is the class number or a colour.
      colours: red, green and blue, 0 to 255, of each class by its name; None where labels are numbers.
      others: beside label_values, further stored numbers and what each is read as: a class number, or IGNORED.
    """

    classes: tuple[str, ...]
    label_values: tuple[int, ...] | None = None
    colours: Mapping[str, Sequence[int]] | None = None
    others: Mapping[int, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.label_values is not None and len(set(self.label_values)) != len(self.classes):
            raise InputError(f'{KEYS}.label_values: {self.label_values}; expected one for each of {self.classes}, all '
                             'different')
        if self.colours is None:
            return
        rgb = {tuple(colour) for colour in self.colours.values() if isinstance(colour, Sequence)
               and len(colour) == 3 and all(value in range(256) for value in colour)}
        if set(self.colours) != set(self.classes) or len(rgb) != len(self.classes):
            raise InputError(f'{KEYS}.colours: {dict(self.colours)}; expected [red, green, blue], 0 to 255, for '
                             f'each of {self.classes}, all different')
        if self.label_values is not None:
            raise InputError(f'{KEYS}.label_values: {self.label_values}, with colours; expected one of the two')

    def read(self, path: str | pathlib.Path) -> Image:
        """A label as class numbers, uint8 `[X, Y, Z]`; IGNORED where class numbers are stored and a voxel has it.

        Raises:
          InputError: a value that means no class, or that may mean two.
        """
        path = pathlib.Path(path)
        if self.colours:
            label = image_files.read(path)
            return dataclasses.replace(label, array=self._numbers_of_colours(label))
        label = self._numbers(path)
        label = image_files.whole_numbers(dataclasses.replace(label, array=without_copies(label.array)))
        if self.label_values is not None:
            meanings = {value: number for number, value in enumerate(self.label_values)} | self.others
            unknown = np.setdiff1d(label.array, list(meanings))
            if unknown.size:
                value = str(unknown[0]).removesuffix('.0')
                raise InputError(f'{path}: label value {value}; expected one of {tuple(sorted(meanings))}')
            numbers = np.zeros(label.array.shape, np.uint8)
            for value, number in meanings.items():
                numbers[label.array == value] = number
            label = dataclasses.replace(label, array=numbers)
        elif len(self.classes) == 2 and set(np.unique(label.array).tolist()) == {0, 255}:
            raise InputError(f'{path}: label value 255; expected 0 and 1, or {KEYS}.label_values=(0, 255)')
        return image_files.check_label(label, len(self.classes))

    def encode(self, numbers: np.ndarray) -> np.ndarray:
        """Class numbers as they are stored in label images.

        Args:
          numbers: `[X, Y, Z]` class numbers.

        Returns:
          `[X, Y, Z]` of whole numbers, or `[X, Y, Z, 3]` uint8 of colours.
        """
        if self.colours:
            return np.array([self.colours[name] for name in self.classes], np.uint8)[numbers]
        return numbers if self.label_values is None else np.array(self.label_values)[numbers]

    def _numbers(self, path: pathlib.Path) -> Image:
        """A label as stored, or of a 2D image as it is shown, whichever `label_values` refers to."""
        stored = image_files.read(path, indices=True)
        if image_files.suffix(path) not in raster.SUFFIXES or not raster.stores_indices(path):
            return stored
        shown = image_files.read(path)
        shown = dataclasses.replace(shown, array=without_copies(shown.array))
        if shown.array.ndim != 3:  # a palette of colours
            return stored
        if self.label_values is not None:
            fits = [bool(np.isin(label.array, [*self.label_values, *self.others]).all()) for label in (stored, shown)]
            if all(fits) and (stored.array != shown.array).any():
                raise InputError(f'{path}: its stored numbers and the grey values that they stand for are both among '
                                 f'{KEYS}.label_values, {self.label_values}; expected one of the two: save it with 8 '
                                 'bits and without a palette')
            return shown if fits == [False, True] else stored
        if (np.diff([int(shown.array[stored.array == number][0]) for number in np.unique(stored.array)]) < 0).any():
            raise InputError(f'{path}: its palette shows higher numbers darker than lower ones; expected grey values '
                             f'that rise with the numbers, or {KEYS}.colours')
        return stored

    def _numbers_of_colours(self, label: Image) -> np.ndarray:
        """The class numbers of a label that is stored in colours."""
        array = np.stack([label.array] * 3, -1) if label.array.ndim == 3 else label.array
        if array.shape[3] != 3:
            raise InputError(f'{label.path}: {array.shape[3]} channels; expected red, green and blue')
        out = np.full(array.shape[:3], 255, np.uint8)
        for number, name in enumerate(self.classes):
            out[(array == np.array(self.colours[name])).all(-1)] = number
        if (out == 255).any():
            first = np.unravel_index((out == 255).argmax(), out.shape)
            raise InputError(f'{label.path}: colour {array[first].tolist()} at {tuple(map(int, first))} is of no '
                             f'class; expected one of {dict(self.colours)}')
        return out


def without_copies(array: np.ndarray) -> np.ndarray:
    """One of three equal channels: a grey image that is stored as red, green and blue."""
    return array[..., 0] if array.ndim == 4 and array.shape[3] == 3 and (array == array[..., :1]).all() else array
