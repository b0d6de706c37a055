"""A folder of images to annotate, with their labels: `images` and `labels`, as `segmentation_folder` reads it.

Labels of other tags than 'final' are in `labels_TAG`, and earlier versions of a label in `labels_TAG_earlier`.
"""

import itertools
import os
import pathlib
import re
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.data.io import dicom, image_files
from medjax.data.io.geometry import Image
from medjax.errors import InputError
from medjax.serve.gate import Refused
from medjax.serve.uploads import checked_name

FINAL, PICKED = 'final', 'selection.csv'
TAG = re.compile(r'(?!earlier$)[a-z0-9-]{1,30}')
MILLIMETRE_SHARE = 1e-3  # deviation of a label's grid from that of its image, as a share of a voxel


class Datastore:
    """Images and labels in a folder.

    Args:
      folder: has `images`; created where it is missing. `selection.csv` of `medjax select` there gives an order.
      read: reads an image.
    """

    def __init__(self, folder: pathlib.Path, read: Callable[[pathlib.Path], Image]):
        self.folder, self._read, self._writing = folder, read, threading.Lock()
        atomic_files.make_folder(folder / 'images')

    def images(self) -> dict[str, pathlib.Path]:
        """The images by their id, which is the name without the suffix; folders are DICOM series, by their own name."""
        paths = sorted(path for path in (self.folder / 'images').iterdir() if not path.name.startswith('.'))
        return {image_files.stem(path): path for path in paths
                if path.is_dir() or image_files.is_image(path) or dicom.is_dicom(path)}

    def image(self, name: str) -> pathlib.Path:
        """The image of an id.

        Raises:
          Refused: there is none.
        """
        found = self.images().get(name)
        if found is None:
            raise Refused(404, 'no such image in the data store; expected an id of /datastore/')
        return found

    def labels(self) -> dict[str, dict[str, pathlib.Path]]:
        """For each tag the labels by the id of their image."""
        found: dict[str, dict[str, pathlib.Path]] = {}
        for folder in sorted(self.folder.glob('labels*')):
            tag = FINAL if folder.name == 'labels' else folder.name.removeprefix('labels_')
            if not folder.name.endswith('_earlier'):
                found[tag] = {image_files.stem(path): path for path in sorted(folder.iterdir())
                              if image_files.is_image(path)}
        return found

    def label(self, name: str, tag: str) -> pathlib.Path:
        """The label of an image.

        Raises:
          Refused: there is none.
        """
        found = self.labels().get(tag or FINAL, {}).get(name)
        if found is None:
            raise Refused(404, 'no such label in the data store')
        return found

    def status(self) -> dict[str, Any]:
        """The numbers of images and labels, as MONAI Label's clients show them."""
        tags = {tag: len(found) for tag, found in self.labels().items()}
        return {'total': len(self.images()), 'completed': tags.get(FINAL, 0), 'label_tags': tags}

    def contents(self) -> dict[str, Any]:
        """All images with the tags of their labels, as MONAI Label's clients read them."""
        labels = self.labels()
        objects = {name: {
            'image': {'ext': _ending(path), 'info': {'name': path.name}},
            'labels': {tag: {'ext': _ending(found[name]), 'info': {}} for tag, found in labels.items()
                       if name in found}} for name, path in self.images().items()}
        return {'name': self.folder.name, 'description': '', 'images': {}, 'objects': objects}

    def unlabelled(self) -> list[str]:
        """The ids of images without a final label, those of `selection.csv` first, in its order."""
        done, table = self.labels().get(FINAL, {}), self.folder / PICKED
        names = [name for name in self.images() if name not in done]
        rows = atomic_files.read_table(table)[0] if table.is_file() else []
        order = {image_files.stem(pathlib.Path(row.get('image', ''))): place for place, row in enumerate(rows)}
        return sorted(names, key=lambda name: (order.get(name, len(order)), name))

    def add_image(self, name: str, upload: pathlib.Path) -> str:
        """Adds an uploaded image; returns its id.

        Args:
          name: the id; by default the name of the file.
          upload: the file.

        Raises:
          Refused: there is an image of this id.
          InputError: it cannot be read.
        """
        name = checked_name(name or image_files.stem(upload))
        self._read(upload)
        with self._writing:
            if name in self.images():
                raise Refused(409, 'an image of this id is in the data store; expected another one')
            target = self.folder / 'images' / f'{name}{_ending(upload)}'
            atomic_files.write_bytes(target, upload.read_bytes(), private=True)
        return name

    def save_label(self, name: str, tag: str, upload: pathlib.Path, values: Collection[int]) -> str:
        """Saves an uploaded label on the grid of its image; an earlier one is kept aside.

        Args:
          name: of the image.
          tag: of the label; 'final' by default.
          upload: an image file, or `.bin` with the voxels alone, 8 or 16 bits each, x fastest.
          values: those that a label may have.

        Returns:
          The id of the label, which is that of the image.

        Raises:
          Refused: there is no such image, or the tag is no plain word.
          InputError: the label has another grid, or other values.
        """
        if not TAG.fullmatch(tag := tag or FINAL):
            raise Refused(400, 'a tag that is no word of small letters and digits; expected such as "final"')
        path = self.image(name)
        image = self._read(path)
        label = _label(upload, image)
        unknown = sorted(set(np.unique(label).tolist()) - set(values))
        if unknown:
            raise InputError(f'{upload}: values {unknown[:5]}; expected some of {sorted(values)}')
        folder = self.folder / ('labels' if tag == FINAL else f'labels_{tag}')
        with self._writing:
            target = folder / f'{name}.nii.gz'
            if target.exists():
                earlier = folder.with_name(f'{folder.name}_earlier')
                atomic_files.make_folder(earlier)
                free = next(place for number in itertools.count(1)
                            if not (place := earlier / f'{name}.{number}.nii.gz').exists())
                os.link(target, free)
            image_files.write(target, label.astype(np.uint8 if max(values) < 256 else np.uint16), image.affine,
                              like=image.path)
        return name


def _ending(path: pathlib.Path) -> str:
    return image_files.suffix(path) or path.suffix


def _label(upload: pathlib.Path, image: Image) -> np.ndarray:
    """The voxels `[X, Y, Z]` of a label on the grid of its image."""
    shape = image.array.shape[:3]
    if upload.suffix == '.bin':
        stored, count = upload.read_bytes(), int(np.prod(shape))
        types: Mapping[int, type] = {count: np.uint8, 2 * count: np.uint16}
        if len(stored) not in types:
            raise InputError(f'{upload}: {len(stored)} bytes; expected {count} or {2 * count}, those of an image of '
                             f'{"×".join(map(str, shape))} voxels')
        return np.frombuffer(stored, types[len(stored)]).reshape(shape, order='F')
    label = image_files.whole_numbers(image_files.read(upload, True))
    steps = np.linalg.norm(image.affine[:3, :3], axis=0).min()
    if label.array.shape != shape or np.abs(label.affine - image.affine).max() > MILLIMETRE_SHARE * steps * max(shape):
        raise InputError(f'{upload}: a grid of {"×".join(map(str, label.array.shape))} voxels; expected that of its '
                         f'image, {"×".join(map(str, shape))}, at its place')
    return label.array
