"""The files of each DICOM series in a folder, with a check that they are complete.

Readers take a truncated file for one with fewer elements, and allocate gigabytes for a damaged length. Therefore each
file's data elements are traversed beforehand, without reading their values (PS3.5, chapter 7; PS3.10, chapter 7).
"""

import io
import os
import pathlib
import struct
import zlib
from typing import BinaryIO

from medjax.errors import InputError

LONG = frozenset((b'OB', b'OD', b'OF', b'OL', b'OV', b'OW', b'SQ', b'SV', b'UC', b'UN', b'UR', b'UT', b'UV'))
SHORT = frozenset((b'AE', b'AS', b'AT', b'CS', b'DA', b'DS', b'DT', b'FD', b'FL', b'IS', b'LO', b'LT', b'PN', b'SH',
                   b'SL', b'SS', b'ST', b'TM', b'UI', b'UL', b'US'))
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
CLASS, SYNTAX, PATIENT = (0x0002, 0x0002), (0x0002, 0x0010), (0x0010, 0x0020)
SERIES, PIXELS = (0x0020, 0x000E), (0x7FE0, 0x0010)
POSITION, FRAMES = (0x0020, 0x0032), (0x0028, 0x0008)
FLOATS = ((0x7FE0, 0x0008), (0x7FE0, 0x0009))  # pixels of 32 and 64 bits, such as those of parametric maps
IMPLICIT, BIG_ENDIAN, DEFLATED = '1.2.840.10008.1.2', '1.2.840.10008.1.2.2', '1.2.840.10008.1.2.1.99'
DIRECTORY = '1.2.840.10008.1.3.10'  # the class of a DICOMDIR
SUFFIXES = ('.dcm', '.dicom', '.ima')  # suffixes of DICOM files; many files have none
UNDEFINED = 2**32 - 1
DEPTH = 20  # of folders within each other


def find_series(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Finds the files with pixel data of each series in a folder and its subfolders, as archives export them.

    Other DICOM objects, such as reports and the DICOMDIR, and other files are skipped.

    Returns:
      The files of each SeriesInstanceUID, by name.

    Raises:
      InputError: a DICOM file is damaged or truncated, or a link leads nowhere.
    """
    series: dict[str, list[pathlib.Path]] = {}
    without_pixels = []
    for path in list_files(folder):
        found = read_tags(path)
        if found is None or found.get(CLASS) == DIRECTORY:
            continue
        if not found.get(SERIES):
            raise InputError(f'{path}: no SeriesInstanceUID (0020,000E); expected a whole DICOM file: cut short?')
        if PIXELS in found:
            series.setdefault(found[SERIES], []).append(path)
        else:
            without_pixels.append((path, found[SERIES]))
    for path, uid in without_pixels:  # reports and other objects have their own series
        if uid in series:
            raise InputError(f'{path}: no PixelData (7FE0,0010); expected them in each file of a series: cut short?')
    return series


def projections(folder: pathlib.Path) -> list[pathlib.Path]:
    """The DICOM images of a folder where each is a 2D image of its own, such as a radiograph; else nothing.

    Each is a series of its own, with one frame and no position of a slice, ImagePositionPatient (0020,0032).

    Raises:
      InputError: see `find_series`.
    """
    files: list[pathlib.Path] = []
    for paths in find_series(folder).values():
        tags = read_tags(paths[0]) or {}
        if len(paths) > 1 or POSITION in tags or tags.get(FRAMES, '1').strip() not in ('', '1'):
            return []
        files += paths
    return sorted(files)


def list_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files of a folder and its subfolders, sorted; hidden ones are skipped.

    Raises:
      InputError: a link leads nowhere, since a slice may be missing.
    """
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        found += [pathlib.Path(parent, name) for name in sorted(names) if not name.startswith('.')]
        if len(pathlib.Path(parent).relative_to(folder).parts) > DEPTH:
            raise InputError(f'{parent}: folders within each other to a depth of {DEPTH}; expected fewer: does a link '
                             'lead back?')
    for path in found:
        if not path.exists():
            raise InputError(f'{path}: a link to a file that is not there; expected every file of the folder')
    return [path for path in found if path.is_file()]


def is_dicom(path: pathlib.Path) -> bool:
    """Whether a path is a DICOM file by its suffix or by the mark behind its preamble."""
    if not path.is_file():
        return False
    with path.open('rb') as file:
        return path.suffix.lower() in SUFFIXES or file.read(132)[128:] == b'DICM'


class _Elements:
    """The data elements of an open DICOM file, in order; values are skipped.

    Args:
      file: at the file's beginning.
      path: of the file, for messages.
    """

    def __init__(self, file: BinaryIO, path: pathlib.Path):
        self._file, self._path, self._size = file, path, path.stat().st_size
        self.order, self._in_meta = '<', True
        self.explicit = [True]  # for each level of nesting, whether elements name their type

    @property
    def outermost(self) -> bool:
        """Whether the next element is not within a sequence."""
        return len(self.explicit) == 1

    def ends_before(self, count: int) -> bool:
        """Whether fewer than `count` bytes are left."""
        return self._file.tell() >= self._size - count

    def only_zeros(self) -> bool:
        """Whether all bytes that are left are 0."""
        start = self._file.tell()
        zeros = not any(self._file.read(8)) and all(not any(part) for part in iter(lambda: self._file.read(2**20), b''))
        self._file.seek(start)
        return zeros

    def _checked(self, count: int) -> int:
        if self._file.tell() + count > self._size:
            raise InputError(f'{self._path}: {count} bytes from byte {self._file.tell()} on, in a file of '
                             f'{self._size}; expected a whole DICOM file: damaged or cut short?')
        return count

    def start(self, syntax: str | None) -> tuple[tuple[int, int], bytes, bytes]:
        """Reads the next element's tag and type; returns them with the first eight bytes.

        Args:
          syntax: the transfer syntax that the meta information declares, None if it declares none.
        """
        first = self._file.read(self._checked(8))
        if self._in_meta and not first.startswith(b'\2\0'):
            if syntax is None:
                syntax = '' if first[4:6] in SHORT else IMPLICIT
            if syntax == DEFLATED:  # all that follows the meta information (PS3.5, A.5)
                self._file.seek(-8, os.SEEK_CUR)
                content = _inflate(self._file.read(), self._path)
                self._file, self._size = io.BytesIO(content), len(content)
                first = self._file.read(self._checked(8))
            self._in_meta, self.order, self.explicit = False, '>' if syntax == BIG_ENDIAN else '<', [syntax != IMPLICIT]
        group, element = struct.unpack_from(f'{self.order}HH', first)
        return (group, element), first[4:6], first

    def length(self, tag: tuple[int, int], kind: bytes, first: bytes) -> int:
        """The length of the value of the element that `start` returned."""
        if not self.explicit[-1] or tag == ITEM:
            return struct.unpack_from(f'{self.order}I', first, 4)[0]
        if kind in LONG:
            return struct.unpack(f'{self.order}I', self._file.read(self._checked(4)))[0]
        if kind in SHORT:
            return struct.unpack_from(f'{self.order}H', first, 6)[0]
        raise InputError(f'{self._path}: an element of type {kind} before byte {self._file.tell()}; expected a whole '
                         'DICOM file: damaged?')

    def text(self, length: int) -> str:
        """Reads a value as text."""
        return self._file.read(self._checked(length)).decode('ascii', 'replace').rstrip('\0 ')

    def skip(self, length: int) -> None:
        """Skips a value."""
        self._file.seek(self._checked(length), 1)


def _inflate(packed: bytes, path: pathlib.Path) -> bytes:
    """The data set that was deflated without a header (RFC 1951)."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(packed)
    except zlib.error as error:
        raise InputError(f'{path}: its deflated data set is damaged ({error}); expected a whole DICOM file') from error
    if not inflate.eof:
        raise InputError(f'{path}: its deflated data set has no end; expected a whole DICOM file: cut short?')
    return content


def read_tags(path: pathlib.Path) -> dict[tuple[int, int], str] | None:
    """The values of some elements, '' for PIXELS, where present; None for what is not DICOM.

    The elements are CLASS, SYNTAX, PATIENT, SERIES, POSITION and FRAMES.

    Raises:
      InputError: the file is damaged or truncated, or it is not DICOM although it has such a suffix.
    """
    found: dict[tuple[int, int], str] = {}
    with path.open('rb') as file:
        head = file.read(132)
        if head[128:] != b'DICM':
            if head[:2] not in (b'\2\0', b'\b\0'):
                if path.suffix.lower() in SUFFIXES:
                    raise InputError(f'{path}: not DICOM; expected a DICOM file, as its suffix says: damaged or cut '
                                     'short?')
                return None
            file.seek(0)  # an old file, without preamble
        elements = _Elements(file, path)
        # Up to eight bytes of padding may follow the pixels, or any number of zeros, which are no element.
        while not elements.outermost or not elements.ends_before(8 if PIXELS in found else 0):
            if elements.outermost and PIXELS in found and elements.only_zeros():
                break
            tag, kind, first = elements.start(found.get(SYNTAX))
            if tag in (ITEM_END, SEQUENCE_END):
                if not elements.outermost:
                    elements.explicit.pop()
                continue
            length, outermost = elements.length(tag, kind, first), elements.outermost
            if length == UNDEFINED:  # up to a delimiter; within an element of unknown type, elements name no types
                elements.explicit.append(elements.explicit[-1] and (tag == ITEM or kind != b'UN'))
            elif outermost and tag in (CLASS, SYNTAX, PATIENT, SERIES, POSITION, FRAMES):
                found[tag] = elements.text(length)
            else:
                elements.skip(length)
            if outermost and tag in (PIXELS, *FLOATS):
                found[PIXELS] = ''
    return found
