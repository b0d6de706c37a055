"""Uploaded files: streamed to disk piece by piece, with limits on names, bytes and pixels, and on archives."""

import dataclasses
import pathlib
import re
import stat
import zipfile
from collections.abc import AsyncIterator
from typing import BinaryIO

from python_multipart.multipart import MultipartParser, parse_options_header

from medjax.data.io import declared_sizes
from medjax.serve.gate import Refused

NAME_BYTES = 200
MEGABYTE = 2**20


@dataclasses.dataclass(frozen=True)
class Limits:
    """The most that a request may hold.

    Attributes:
      megabytes: of an upload, and of what its archives unpack to.
      pixels: of all its images, with their slices, frames and channels.
      files: in it, and in its archives.
    """

    megabytes: int = 512
    pixels: int = 2**29
    files: int = 5000

    @property
    def bytes(self) -> int:
        """The bytes of an upload."""
        return self.megabytes * MEGABYTE


def checked_name(name: str) -> str:
    """A file's name, which names no folder.

    Raises:
      Refused: it is empty, hidden or too long, or has separators or signs that cannot be printed.
    """
    if not name or name.startswith('.') or not name.isprintable() or set('/\\:') & set(name) or (
            len(name.encode(errors='replace')) > NAME_BYTES):
        raise Refused(400, f'a file name of {len(name)} signs that is no plain name; expected one without folders, '
                           f'not hidden, of at most {NAME_BYTES} bytes')
    return name


class _Form:
    """A form as it arrives: its files go to a folder, its other fields to a dict.

    Args:
      boundary: between the parts.
      folder: for the files.
      limits: of the upload.
      paths: see `receive`.
    """

    def __init__(self, boundary: bytes, folder: pathlib.Path, limits: Limits, paths: bool):
        self.files: list[pathlib.Path] = []
        self.fields: dict[str, str] = {}
        self._folder, self._limits, self._paths = folder, limits, paths
        self._file: BinaryIO | None = None
        self._field, self._header, self._value = b'', b'', b''
        self._headers: dict[bytes, bytes] = {}
        self._name = ''
        calls = {name: getattr(self, f'_{name}') for name in (
            'on_part_begin', 'on_part_data', 'on_part_end', 'on_header_field', 'on_header_value', 'on_header_end',
            'on_headers_finished', 'on_end')}
        self.whole = False
        self.parser = MultipartParser(boundary, calls)

    def close(self) -> None:
        """Closes a file that is not complete."""
        if self._file is not None:
            self._file.close()

    def _on_part_begin(self) -> None:
        self._headers, self._field = {}, b''

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b''

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b'content-disposition', b''))
        self._name = options.get(b'name', b'').decode(errors='replace')
        if b'filename' not in options:
            return
        if len(self.files) >= self._limits.files:
            raise Refused(413, f'more than {self._limits.files} files; expected at most these')
        name = options[b'filename'].decode('utf-8', 'replace')
        path = self._folder / checked_name(re.split(r'[/\\]', name)[-1] if self._paths else name)
        if path in self.files:
            raise Refused(400, 'two files of one name; expected different names')
        self._file = path.open('xb')
        self.files.append(path)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
        elif len(self._field) + end - start > MEGABYTE:
            raise Refused(413, f'a field of more than {MEGABYTE} bytes; expected less')
        else:
            self._field += data[start:end]

    def _on_part_end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        else:
            self.fields[self._name] = self._field.decode(errors='replace')

    def _on_end(self) -> None:
        self.whole = True


async def receive(content_type: str, body: AsyncIterator[bytes], folder: pathlib.Path, limits: Limits,
                  paths: bool = False) -> tuple[list[pathlib.Path], dict[str, str]]:
    """Writes the files of a form into a folder as they arrive.

    Args:
      content_type: the header of the request.
      body: the pieces of the request's body.
      folder: exists, and is empty.
      limits: of the upload.
      paths: whether names may be paths of the client's machine, of which the last part counts; else they are refused.

    Returns:
      The files, and the form's other fields.

    Raises:
      Refused: it is no such form, is cut short, or exceeds a limit.
    """
    kind, options = parse_options_header(content_type)
    if kind != b'multipart/form-data' or not options.get(b'boundary'):
        raise Refused(415, 'no form with files; expected multipart/form-data')
    form, count = _Form(options[b'boundary'], folder, limits, paths), 0
    try:
        async for piece in body:
            count += len(piece)
            if count > limits.bytes:
                raise Refused(413, f'an upload of more than {limits.megabytes} MB; expected at most these')
            form.parser.write(piece)
        form.parser.finalize()
    except ValueError as error:  # what the parser raises
        raise Refused(400, f'a form that cannot be read: {error}') from error
    finally:
        form.close()
    if not form.whole:
        raise Refused(400, 'a form without its end; expected a whole one: cut short?')
    return form.files, form.fields


def unpack(files: list[pathlib.Path], limits: Limits) -> list[pathlib.Path]:
    """Replaces zip archives by their files, which are written beside them.

    Args:
      files: in one folder.
      limits: of all files together.

    Returns:
      The files of the archives, and those that are none.

    Raises:
      Refused: an archive is damaged or encrypted, names a place outside of the folder, or exceeds a limit.
    """
    others = [path for path in files if path.suffix.lower() != '.zip']
    left = limits.bytes - sum(path.stat().st_size for path in others)
    for path in files:
        if path.suffix.lower() == '.zip':
            try:
                with zipfile.ZipFile(path) as archive:
                    found = _unpack(archive, path.parent, limits, left)
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
                if isinstance(error, FileExistsError) or not isinstance(error, OSError):
                    raise Refused(400, f'an archive that cannot be unpacked: {type(error).__name__}; expected a whole '
                                       'zip file without a password, each file once') from error
                raise
            path.unlink()
            left -= sum(inner.stat().st_size for inner in found)
            others += found
    return others


def _unpack(archive: zipfile.ZipFile, folder: pathlib.Path, limits: Limits, left: int) -> list[pathlib.Path]:
    """Writes the files of an archive below a folder, in folders as they are named there."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_hidden(entry.filename)]
    if len(entries) > limits.files:
        raise Refused(413, f'an archive of {len(entries)} files; expected at most {limits.files}')
    if sum(entry.file_size for entry in entries) > left:
        raise Refused(413, f'an archive that unpacks to more than {limits.megabytes} MB; expected at most these')
    found = []
    for entry in entries:
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise Refused(400, 'an archive with links; expected files')
        parts = list(map(checked_name, entry.filename.split('/')))
        path = folder.joinpath(*parts)
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        with archive.open(entry) as packed, path.open('xb') as file:
            while piece := packed.read(MEGABYTE):  # zipfile stops at the size that the entry declares
                left -= len(piece)
                if left < 0:
                    raise Refused(413, f'an archive that unpacks to more than {limits.megabytes} MB; expected at most '
                                       'these')
                file.write(piece)
        found.append(path)
    return found


def _is_hidden(name: str) -> bool:
    """Whether an archive's entry is one of a file browser's own, such as .DS_Store, which is passed over."""
    parts = name.split('/')
    return '__MACOSX' in parts or any(part.startswith('.') and part.strip('.') for part in parts)


def check_pixels(files: list[pathlib.Path], limits: Limits) -> None:
    """Checks the pixels that all headers declare together, before any is decoded.

    Raises:
      Refused: there are too many.
      InputError: a header cannot be read.
    """
    left = limits.pixels
    for path in files:
        try:
            left -= declared_sizes.check(path, left)
        except declared_sizes.TooLargeError as error:
            raise Refused(413, f'{error}, of {limits.pixels} for all files') from error

