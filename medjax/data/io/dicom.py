"""Which files of a folder are the slices of a DICOM series, and whether they are whole.

GDCM, which then reads them, leaves out a file that is cut short without a word, so that a volume lacks its last slice,
and takes gigabytes where a damaged length says so. Hence this walk over the data elements beforehand, from one to the
next without reading what is in them (PS3.5, chapter 7; PS3.10, chapter 7).
"""

import pathlib
import struct

from medjax.errors import InputError

LONG = frozenset((b'OB', b'OD', b'OF', b'OL', b'OV', b'OW', b'SQ', b'SV', b'UC', b'UN', b'UR', b'UT', b'UV'))
SHORT = frozenset((b'AE', b'AS', b'AT', b'CS', b'DA', b'DS', b'DT', b'FD', b'FL', b'IS', b'LO', b'LT', b'PN', b'SH',
                   b'SL', b'SS', b'ST', b'TM', b'UI', b'UL', b'US'))
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
CLASS, SYNTAX, SERIES, PIXELS = (0x0002, 0x0002), (0x0002, 0x0010), (0x0020, 0x000E), (0x7FE0, 0x0010)
IMPLICIT, BIG_ENDIAN, DEFLATED = '1.2.840.10008.1.2', '1.2.840.10008.1.2.2', '1.2.840.10008.1.2.1.99'
DIRECTORY = '1.2.840.10008.1.3.10'  # the class of a DICOMDIR
SUFFIXES = ('.dcm', '.dicom', '.ima')  # that only DICOM files have; many have none
UNDEFINED = 2**32 - 1


def find_series(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Finds the files with pixels of each series in a folder; other DICOM objects and other files do not count.

    Raises:
      InputError: where a DICOM file is damaged or cut short.
    """
    series: dict[str, list[pathlib.Path]] = {}
    without_pixels = []
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith('.')):
        found = _walk(path)
        if found is None and path.suffix.lower() in SUFFIXES:
            raise InputError(f'{path}: not DICOM; expected it by its name: damaged or cut short?')
        if found is None or found.get(CLASS) == DIRECTORY:
            continue
        if not found.get(SERIES):
            raise InputError(f'{path}: no SeriesInstanceUID (0020,000E); expected a whole DICOM file: cut short?')
        if PIXELS in found:
            series.setdefault(found[SERIES], []).append(path)
        else:
            without_pixels.append((path, found[SERIES]))
    for path, uid in without_pixels:  # reports and the like have a series of their own
        if uid in series:
            raise InputError(f'{path}: no PixelData (7FE0,0010); expected them in each file of a series: cut short?')
    return series


def _walk(path: pathlib.Path) -> dict[tuple[int, int], str] | None:
    """Goes from element to element up to the pixels; gives the few that matter, or None where it is no DICOM file."""
    size, found = path.stat().st_size, {}
    with path.open('rb') as file:
        def fits(count: int) -> int:
            if file.tell() + count > size:
                raise InputError(f'{path}: {count} bytes from byte {file.tell()} on, in a file of {size}; expected a '
                                 'whole DICOM file: damaged or cut short?')
            return count

        head = file.read(132)
        if head[128:] != b'DICM':
            if head[:2] not in (b'\2\0', b'\b\0'):
                return None
            file.seek(0)  # an old file, without preamble
        order, meta = '<', True
        explicit = [True]  # for each level of nesting, whether elements name their type
        while len(explicit) > 1 or file.tell() < size - 8 * (PIXELS in found):  # there may be padding after the pixels
            start = file.read(fits(8))
            if meta and not start.startswith(b'\2\0'):
                syntax = found.get(SYNTAX, '' if start[4:6] in SHORT else IMPLICIT)
                if syntax == DEFLATED:
                    raise InputError(f'{path}: deflated as a whole; expected DICOM of another transfer syntax')
                meta, order, explicit = False, '>' if syntax == BIG_ENDIAN else '<', [syntax != IMPLICIT]
            *tag, length = struct.unpack(order + 'HHI', start)
            tag, kind = tuple(tag), start[4:6]
            if tag in (ITEM_END, SEQUENCE_END):
                if len(explicit) > 1:
                    explicit.pop()
                continue
            if explicit[-1] and tag != ITEM:
                if kind not in LONG | SHORT:
                    raise InputError(f'{path}: an element of type {kind} before byte {file.tell()}; expected a whole '
                                     'DICOM file: damaged?')
                length = (struct.unpack(order + 'I', file.read(fits(4)))[0] if kind in LONG else
                          struct.unpack_from(order + 'H', start, 6)[0])
            outermost = len(explicit) == 1
            if length == UNDEFINED:  # up to a delimiter; elements within one of unknown type name no types
                explicit.append(explicit[-1] and (tag == ITEM or kind != b'UN'))
            elif outermost and tag in (CLASS, SYNTAX, SERIES):
                found[tag] = file.read(fits(length)).decode('ascii', 'replace').rstrip('\0 ')
            else:
                file.seek(fits(length), 1)
            if outermost and tag == PIXELS:
                found[tag] = ''
    return found
