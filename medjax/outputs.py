"""Checks, before a command starts, that the files it writes are none of its inputs and none of a run's own files."""

import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from medjax import atomic_files
from medjax.data.io import image_files
from medjax.data.io.tables import read_table
from medjax.errors import InputError

RUN_FOLDERS = ('cases', 'checkpoints', 'course', 'tensorboard')  # those that a run writes within its own


def input_files(path: pathlib.Path) -> list[pathlib.Path]:
    """All files that an input is read from: its own, and for a table those that its cells name.

    Args:
      path: an image, a video, a folder with a DICOM series, or a table, CSV or TSV.
    """
    if path.suffix.lower() not in ('.csv', '.tsv'):
        return [path, *map(pathlib.Path, image_files.files(path))]
    cells = {cell.strip() for row in read_table(path)[0] for cell in row.values() if isinstance(cell, str)}
    named = [path.parent / cell for cell in sorted(cells) if cell and os.path.exists(path.parent / cell)]
    return [path, *(pathlib.Path(file) for name in named for file in image_files.files(name))]


def run_files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The files that a run wrote into its folder."""
    for path in folder.iterdir():
        if path.is_dir() and path.name in RUN_FOLDERS:
            yield from (inner for inner in path.rglob('*') if inner.is_file())
        elif path.is_file():
            yield path


def check_outputs(outputs: Iterable[pathlib.Path], inputs: Iterable[pathlib.Path], where: str,
                  marks: Sequence[str] = ('checkpoints', 'results.json')) -> None:
    """Checks that no output is an input, by any name or link, or among the files of a run.

    Args:
      outputs: the files that will be written.
      inputs: the files that are read.
      where: the option that the outputs' place comes from, for messages.
      marks: names that, beside `config.json`, only a run's folder has, or also that with the result of several runs.

    Raises:
      InputError: with the first file that would be overwritten; or they are on object storage.
    """
    there: dict[tuple[int, int], pathlib.Path] = {}
    for output in outputs:
        atomic_files.check_local(output, where)
        for path in (output.parent.resolve() / output.name, output.resolve()):
            run = _run_of(path, marks)
            if run:
                raise InputError(f'{where}: {output} would be among the files of the run {run}; expected another place')
        if os.path.exists(output):
            there[_file_id(output)] = output
    for path in inputs if there else ():
        if os.path.exists(path) and _file_id(path) in there:
            raise InputError(f'{where}: {path} would be overwritten by {there[_file_id(path)]}, which is the same '
                             'file; expected another place')


def _file_id(path: pathlib.Path) -> tuple[int, int]:
    """The device and number of a file: equal for all links to it."""
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino


def _run_of(path: pathlib.Path, marks: Sequence[str]) -> pathlib.Path | None:
    """The run's folder among whose own files a path is; None where it is in none."""
    for folder in path.parents:
        if (folder / 'config.json').is_file() and any((folder / mark).exists() for mark in marks):
            inner = path.relative_to(folder).parts
            return folder if len(inner) == 1 or inner[0] in RUN_FOLDERS else None
    return None
