"""Headers of NRRD and MetaImage from which ITK would read other values or sizes than they say, without an error."""

import math
import pathlib
import re
import zlib

from medjax.data.io.data_paths import data_files, header_lines
from medjax.errors import InputError

META = ('.mha', '.mhd')
MILLIMETRES = ('mm', 'millimeter', 'millimeters', 'millimetre', 'millimetres', '', 'none', '???')
STEP = 2**16  # bytes


def read_fields(path: pathlib.Path) -> dict[str, str]:
    """The fields of a header by their names in lower case without blanks; not the keys of a user, as `key:=value`."""
    out: dict[str, str] = {}
    for line in header_lines(path):
        field = re.match(r'\s*(\w[\w ]*?)\s*(?:=|:(?!=))\s*(.*?)\s*$', line)
        if field:
            out[field[1].lower().replace(' ', '')] = field[2]
        if not line.strip() or (field and out.keys() & {'elementdatafile'}):
            break
    return out


def check(path: pathlib.Path) -> dict[str, str]:
    """Checks that spacings, units and scales of a header are those that ITK reads; returns its fields.

    Raises:
      InputError: with the field that ITK ignores.
    """
    fields = read_fields(path)
    if path.suffix.lower() in META:
        _check_spacings(path, fields, 'elementspacing' if 'elementspacing' in fields else 'elementsize', False)
        for name, plain in (('elementtointensityfunctionslope', 1), ('elementtointensityfunctionoffset', 0)):
            if _number(fields.get(name, str(plain))) != plain:
                raise InputError(f'{path}: {name} {fields[name]}; expected {plain}: store the scaled values')
        if fields.get('elementdatafile', '').lower() == 'local' and fields.get('headersize', '-1') not in ('-1', '0'):
            raise InputError(f'{path}: HeaderSize {fields["headersize"]} with voxels in the same file; expected none')
        return fields
    _check_spacings(path, fields, 'spacings', len(fields.get('sizes', '').split()) > 3)
    units = re.findall(r'"(.*?)"', f'{fields.get("spaceunits", "")} {fields.get("units", "")}')
    wrong = [unit for unit in units if unit.strip().lower() not in MILLIMETRES]
    if wrong:
        raise InputError(f'{path}: units {", ".join(wrong)}; expected mm')
    space = fields.get('space', '')
    if any(word in space.lower() for word in ('handed', 'scanner')):
        raise InputError(f'{path}: space {space}, whose axes have no anatomical direction; expected one such as '
                         'left-posterior-superior')
    if 'axismins' in fields and not fields.keys() & {'spacings', 'spacedirections'}:
        raise InputError(f'{path}: a size by axis mins and axis maxs; expected spacings or space directions')
    return fields


def _check_spacings(path: pathlib.Path, fields: dict[str, str], name: str, channels: bool) -> None:
    """Checks that spacings are above 0; with an axis of channels, one of them may be NaN."""
    numbers = [_number(text) for text in fields.get(name, '').split()]
    missing = sum(map(math.isnan, numbers))
    if missing > channels or any(number <= 0 or number == math.inf for number in numbers):
        raise InputError(f'{path}: {name} {fields[name]}; expected numbers of mm above 0')


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def check_compressed(path: pathlib.Path, fields: dict[str, str], count: int) -> None:
    """Checks that compressed voxels are whole; ITK fills up what is missing, or reads other bytes.

    Args:
      path: of the header.
      fields: of the header.
      count: bytes of the voxels.

    Raises:
      InputError: fewer compressed bytes than are declared, or another number of voxels.
    """
    meta, files = path.suffix.lower() in META, data_files(path)
    if meta:
        packed = fields.get('compresseddata', '').lower() in ('true', 't', '1')
    else:  # those in other files are checked by ITK
        packed = fields.get('encoding', '').lower() in ('gz', 'gzip') and not fields.keys() & {'lineskip', 'byteskip'}
        packed = packed and not files
    if not packed:
        return
    if len(files) > 1:
        raise InputError(f'{path}: compressed voxels in {len(files)} files; expected one')
    stored = files[0].read_bytes() if files else _behind_header(path)
    if meta and (not files or 'compresseddatasize' in fields):
        size = fields.get('compresseddatasize', 'none')
        if not size.isdigit() or not 0 < int(size) <= len(stored):
            raise InputError(f'{path}: CompressedDataSize {size} of {len(stored)} bytes of voxels; expected the number '
                             'of bytes')
        stored = stored[: int(size)]
    inflate, found = zlib.decompressobj(47), 0  # 47: a header of zlib or gzip
    for at in range(0, len(stored), STEP):
        found += len(inflate.decompress(stored[at: at + STEP]))
    if not inflate.eof or (meta and found != count):
        raise InputError(f'{path}: {found} bytes in its compressed voxels; expected {count}: cut short?')


def _behind_header(path: pathlib.Path) -> bytes:
    """The voxels that follow a header in the same file."""
    raw, meta = path.read_bytes(), path.suffix.lower() in META
    end = re.search(rb'ElementDataFile *[=:] *(?i:local) *\r?\n' if meta else rb'\r?\n\r?\n', raw)
    return raw[end.end():] if end else b''
