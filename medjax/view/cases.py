"""The evaluated cases of a run, and what the viewer draws of each: volumes as NIfTI, pictures as PNG, and boxes."""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image as Picture

from medjax.data.io import nifti_writer
from medjax.errors import InputError
from medjax.report import run_files
from medjax.tasks.family import of_config

COLOURS = ('#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7', '#999999')  # Okabe and Ito
LISTED = 4  # columns of the table of predictions
IMAGE, LABEL, MAP = 'image', 'label', 'map'  # kinds of layers

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of a case.

    Attributes:
      name: as the viewer shows it.
      kind: 'image', in grey or colour; 'label', whole numbers with a colour each; 'map', numbers over the image.
      array: `[X, Y, Z]` in RAS+, or of a picture `[rows, columns]` or `[rows, columns, 3]`.
      spacing: mm along the axes of a volume; () for a picture.
    """

    name: str
    kind: str
    array: np.ndarray
    spacing: tuple[float, ...]

    def encode(self) -> tuple[bytes, str]:
        """The bytes of the layer and their media type: NIfTI of a volume, PNG of a picture."""
        if self.spacing:
            array = self.array.astype(np.uint8 if self.kind == LABEL else np.float32)
            return nifti_writer.encode(array, np.diag([*self.spacing, 1.0]), ''), 'application/octet-stream'
        content = io.BytesIO()
        Picture.fromarray(self.array.astype(np.uint8)).save(content, 'png')
        return content.getvalue(), 'image/png'


@dataclasses.dataclass(frozen=True)
class Drawn:
    """The layers and boxes of a case.

    Attributes:
      layers: the image first.
      boxes: of a picture, each with `rows`, `columns`, `name`, and `score`, None for a true box.
    """

    layers: Sequence[Layer]
    boxes: Sequence[Mapping[str, Any]] = ()


class Cases:
    """The cases of a run, by their number in its table of predictions.

    Attributes:
      workdir: of the run.
      drawn: the layers and boxes of a case by its number; raises `InputError` where there are none.

    Args:
      workdir: of the run.

    Raises:
      InputError: the folder holds no run.
    """

    def __init__(self, workdir: pathlib.Path):
        run = run_files.read(workdir)
        self.workdir, self._rows, self._classes = workdir, run.predictions, run.classes
        self._family = of_config(run.config)
        names = list(self._rows[0]) if self._rows else []
        metrics = [name for name in names if (metric := self._family.metrics.find(name)) and metric.headline]
        self._columns = (metrics or [name for name in names if name not in ('split', 'id', 'patient')])[:LISTED]
        self.name = run.name
        self.drawn = functools.lru_cache(2)(self._drawn)  # the layers of a case are asked for one by one

    def __len__(self) -> int:
        """The number of cases; 0 for a run that is not evaluated."""
        return len(self._rows)

    def describe(self) -> dict[str, Any]:
        """The list of cases and the classes, for the page."""
        values = [{'value': value, 'name': name, 'colour': COLOURS[(value - 1) % len(COLOURS)]}
                  for value, name in enumerate(self._classes) if value]
        return {'name': self.name, 'family': self._family.name, 'classes': values, 'columns': self._columns,
                'report': (self.workdir / 'report.html').is_file(),
                'cases': [{'split': row.get('split', ''), 'id': row.get('id', ''),
                           'patient': row.get('patient', ''), 'values': [row[name] for name in self._columns],
                           'drawn': self._path(number).is_file()} for number, row in enumerate(self._rows)]}

    def _drawn(self, number: int) -> Drawn:
        """The layers and boxes that are drawn of a case.

        Raises:
          InputError: there is no such case, or the run keeps nothing of it.
        """
        path = self._path(number) if 0 <= number < len(self._rows) else None
        if path is None or not path.is_file():
            raise InputError(f'case {number}: nothing to draw; expected a case with a file in the run\'s folder cases')
        with run_files.snapshot(path) as arrays:
            draw = DRAWINGS.get(str(arrays.get('kind', '')), _other)
            return draw(arrays, self._classes)

    def _path(self, number: int) -> pathlib.Path:
        """The file of a case; the name of one that has a folder in it leads nowhere."""
        row = self._rows[number]
        parts = pathlib.PurePath(row.get('split', '')).name, pathlib.PurePath(f'{row.get("id", "")}.npz').name
        return self.workdir.joinpath('cases', *parts)


def _segmentation(arrays: Arrays, classes: Sequence[str]) -> Drawn:
    spacing, picture = tuple(map(float, arrays['spacing'])), str(arrays['kind']) == 'image'
    layers = [('image', IMAGE, arrays['image'])]
    if 'label' in arrays:
        layers += [('reference', LABEL, arrays['label']), ('prediction', LABEL, arrays['pred'])]
    if arrays.get('confidence') is not None and 'confidence' in arrays:
        layers.append(('uncertainty', MAP, 1 - arrays['confidence'].astype(np.float32)))
    return Drawn([_picture(name, kind, array[:, :, 0].T) if picture else Layer(name, kind, array, spacing)
                  for name, kind, array in layers])


def _translation(arrays: Arrays, classes: Sequence[str]) -> Drawn:
    spacing, picture = tuple(map(float, arrays['spacing'])), str(arrays['kind']) == 'image'
    layers = [('image', IMAGE, arrays['image'])]
    layers += [('reference', MAP, arrays['target'])] if 'target' in arrays else []
    layers.append(('prediction', MAP, arrays['made']))
    firsts = [(name, kind, array[..., 0].astype(np.float32)) for name, kind, array in layers]
    return Drawn([_picture(name, kind, array[:, :, 0].T) if picture else Layer(name, kind, array, spacing)
                  for name, kind, array in firsts])


def _by_kind(arrays: Arrays, classes: Sequence[str]) -> Drawn:
    """A case of segmentation or translation, which name their kinds alike."""
    return (_segmentation if 'label' in arrays else _translation)(arrays, classes)


def _classification(arrays: Arrays, classes: Sequence[str]) -> Drawn:
    image, spacing = arrays['image'], tuple(map(float, arrays.get('spacing', (1.0, 1.0, 1.0))))
    maps = [(str(name), MAP, array) for name, array in zip(arrays['methods'], arrays['maps'])]
    if image.ndim == 4:
        return Drawn([Layer('image', IMAGE, image[..., 0], spacing),
                      *(Layer(name, kind, array, spacing) for name, kind, array in maps)])
    return Drawn([_picture('image', IMAGE, image), *(_picture(*of) for of in maps)])


def _detection(arrays: Arrays, classes: Sequence[str]) -> Drawn:
    image, found = arrays['image'], []
    for kind, labels, scores in (('truth', 'truth_labels', [None] * len(arrays['truth'])),
                                 ('found', 'found_labels', arrays['scores'].tolist())):
        for box, label, score in zip(arrays[kind], arrays[labels], scores):
            name = classes[int(label)] if int(label) < len(classes) else str(int(label))
            found.append((np.asarray(box, float), name, score))
    if image.ndim == 3:
        return Drawn([_picture('image', IMAGE, image)], [
            {'rows': [box[0], box[2]], 'columns': [box[1], box[3]], 'name': name, 'score': score}
            for box, name, score in found])
    frames = np.zeros(image.shape[:3], np.uint8)
    for box, _, score in found:
        _draw_frame(frames, box, 1 if score is None else 2)
    spacing = tuple(map(float, arrays['spacing']))
    return Drawn([Layer('image', IMAGE, image[..., 0], spacing), Layer('boxes: 1 true, 2 found', LABEL, frames,
                                                                       spacing)])


def _other(arrays: Arrays, classes: Sequence[str]) -> Drawn:
    raise InputError('cases of this family are drawn in the report alone')


DRAWINGS: dict[str, Callable[[Arrays, Sequence[str]], Drawn]] = {
    'volume': _by_kind, 'image': _by_kind, 'classification': _classification, 'detection': _detection}


def _picture(name: str, kind: str, array: np.ndarray) -> Layer:
    """A picture of bytes: labels and colours as they are, other numbers between their extremes, without outliers."""
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] != 3 else array
    if kind != LABEL and not (array.dtype == np.uint8 and array.ndim == 3):
        low, high = np.percentile(array.astype(np.float32), (0.5, 99.5))
        array = np.clip((array - low) / max(high - low, 1e-6), 0, 1) * 255
    return Layer(name, kind, array, ())


def _draw_frame(volume: np.ndarray, box: np.ndarray, value: int) -> None:
    """Draws the twelve edges of a box `[6]`, lower corner then upper one, into a volume."""
    low = np.clip(np.rint(box[:3]).astype(int), 0, np.array(volume.shape) - 1)
    high = np.clip(np.rint(box[3:]).astype(int) - 1, low, np.array(volume.shape) - 1)
    for axis in range(3):
        others = [a for a in range(3) if a != axis]
        for first in (low, high):
            for second in (low, high):
                place: list[Any] = [slice(None)] * 3
                place[axis] = slice(low[axis], high[axis] + 1)
                place[others[0]], place[others[1]] = first[others[0]], second[others[1]]
                volume[tuple(place)] = value
