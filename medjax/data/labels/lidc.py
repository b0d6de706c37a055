"""Nodules in the XML files of LIDC-IDRI (Armato 2011, Med Phys 38:915), with the readings of up to four radiologists.

A reading lists for each nodule of 3 mm or more the border on each slice: the first pixels outside of it. Regions with
`inclusion` FALSE are holes. Nodules below 3 mm, which have a point alone, and other findings are no part of the label.
"""

import pathlib
from xml.etree import ElementTree

import numpy as np

from medjax.data.io.geometry import Image, describe
from medjax.data.labels.polygons import inside
from medjax.errors import InputError

READERS = 2  # of the readings that a voxel has to be in: half of the usual four
OFF = 0.25  # of the distance between slices: how far a border may be from its slice


def read(path: pathlib.Path, image: Image) -> Image:
    """The voxels that at least two readings have in a nodule.

    Args:
      path: of the XML file.
      image: the CT series that was read, on its own axial grid.

    Returns:
      uint8 `[X, Y, Z]` on the image's grid, 1 in nodules.

    Raises:
      InputError: another file, or borders that are on no slice of the image.
    """
    content = path.read_bytes()
    if b'<!DOCTYPE' in content or b'<!ENTITY' in content:
        raise InputError(f'{path}: XML with a document type; expected a file of LIDC-IDRI')
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise InputError(f'{path}: not readable as XML ({error}); expected a whole file of LIDC-IDRI') from error
    sessions = _all(root, 'readingSession')
    if _name(root) != 'LidcReadMessage' or not sessions:
        raise InputError(f'{path}: {_name(root)} with {len(sessions)} readings; expected a LidcReadMessage with some')
    votes = sum(_reading(path, session, image).astype(np.uint8) for session in sessions)
    return Image((votes >= min(READERS, len(sessions))).astype(np.uint8), image.affine, str(path))


def _reading(path: pathlib.Path, session: ElementTree.Element, image: Image) -> np.ndarray:
    """The voxels that one reading has in a nodule, `[X, Y, Z]` bool."""
    out = np.zeros(image.array.shape[:3], bool)
    for nodule in _all(session, 'unblindedReadNodule'):
        mask, holes = np.zeros_like(out), np.zeros_like(out)
        for region in _all(nodule, 'roi'):
            corners = np.array([[float(_text(path, point, axis)) for axis in ('xCoord', 'yCoord')]
                                for point in _all(region, 'edgeMap')]).reshape(-1, 2)
            if len(corners) < 3:
                continue
            place = _place(path, float(_text(path, region, 'imageZposition')), image)
            kept = inside(corners, out.shape[:2]) & ~_border(corners, out.shape[:2])
            if _text(path, region, 'inclusion').strip().upper() == 'TRUE':
                mask[:, :, place] |= kept
            else:  # the border of a hole is outside of the hole's outline in the same way, and no part of the nodule
                holes[:, :, place] |= inside(corners, out.shape[:2]) | _border(corners, out.shape[:2])
        out |= mask & ~holes
    return out


def _border(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels of a border, also those that are on the way from one that is listed to the next."""
    out, ends = np.zeros(shape, bool), np.rint(corners).astype(int)
    steps = [(start, end, max(int(np.gcd(*(end - start))), 1)) for start, end in zip(ends, np.roll(ends, -1, 0))]
    x, y = np.concatenate([start + np.arange(count)[:, None] * (end - start) // count
                           for start, end, count in steps]).T
    within = (x >= 0) & (y >= 0) & (x < shape[0]) & (y < shape[1])
    out[x[within], y[within]] = True
    return out


def _place(path: pathlib.Path, height: float, image: Image) -> int:
    """The slice at a height in mm."""
    step, origin = image.affine[:3, 2], image.affine[2, 3]
    if abs(step[2]) < 0.99 * np.linalg.norm(step):
        raise InputError(f'{path}: {describe(image)}; expected axial slices, as in LIDC-IDRI')
    place = (height - origin) / step[2]
    if abs(place - round(place)) > OFF or not 0 <= round(place) < image.array.shape[2]:
        raise InputError(f'{path}: a border at z = {height:g} mm, at no slice of {image.path}: {describe(image)}; '
                         'expected the CT series that was read')
    return round(place)


def _name(element: ElementTree.Element) -> str:
    """The name of an element without its name space."""
    return element.tag.rpartition('}')[2]


def _all(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """The elements of a name within another, at any depth."""
    return [inner for inner in element.iter() if _name(inner) == name]


def _text(path: pathlib.Path, element: ElementTree.Element, name: str) -> str:
    """The text of an element's child."""
    found = next((inner.text for inner in element if _name(inner) == name), None)
    if not found:
        raise InputError(f'{path}: {_name(element)} without {name}; expected a file of LIDC-IDRI')
    return found
