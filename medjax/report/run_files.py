"""Reads the files in a run's folder; only `config.json` has to exist."""

import contextlib
import csv
import dataclasses
import json
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.errors import InputError

NUMERIC_PREFIXES = ('dice_', 'missed_', 'spurious_', 'prob_')  # columns that must be numbers or empty


@dataclasses.dataclass(frozen=True)
class Run:
    """The files of a run.

    Attributes:
      folder: the run's folder.
      config: `config.json`.
      environment: `environment.json`; empty where there is none, as for the files below.
      results: `results.json`.
      history: `metrics.jsonl`, a record for each logged step.
      predictions: `predictions.csv`, a row for each case.
      augmented: the arrays of `augmented.npz`.
      participants: `participants.json`, which runs of earlier versions do not have.
    """

    folder: pathlib.Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    results: Mapping[str, Any]
    history: list[dict[str, Any]]
    predictions: list[dict[str, str]]
    augmented: Mapping[str, np.ndarray]
    participants: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run's name: the config's `name`, else that of the config's file, else that of the folder."""
        match = re.search(r'--config[= ](\S+)', self.environment.get('command', ''))
        file = pathlib.PurePath(match[1]).name if match else self.folder.resolve().name
        name = re.sub(r'\.py(?=:|$)', '', file)
        return str(self.config.get('name', name))

    def section(self, name: str) -> Mapping[str, Any]:
        """A part of the config; empty where there is none."""
        return self.config.get(name) or {}

    @property
    def selection_metric(self) -> str:
        """The validation metric that selected the weights; '' where the last step's weights were evaluated."""
        best = self.section('checkpoint').get('best') or ''
        validated = any(record.get(f'val/{best}') is not None for record in self.history)
        return best if validated or not self.history else ''

    @property
    def warnings(self) -> Sequence[str]:
        """Lines that qualify the results; they are in `analysis` of results.json."""
        return (self.results.get('analysis') or {}).get('warnings', ())

    @property
    def classes(self) -> list[str]:
        """Names of the classes; with a background its name is the first."""
        return list(self.results.get('classes', ()))

    @property
    def splits(self) -> list[str]:
        """The evaluated splits: test first, validation last."""
        counts = self.results.get('counts') or {}
        found = [name for name, value in self.results.items() if name in counts and isinstance(value, dict)]
        return sorted(found, key=lambda name: (name != 'test', name in ('val', 'calibrate'), found.index(name)))

    @property
    def length_unit(self) -> str:
        """The unit of distances: mm, or px where the images have no pixel size."""
        return self.results.get('length_unit', 'mm')

    @property
    def analysis_unit(self) -> str:
        """The unit that `n` counts in the results: 'patient', or another word where patients are not known."""
        entries = (entry for split in self.splits for entry in self.results[split].values())
        return next((entry['unit'] for entry in entries if 'unit' in entry), 'patient')

    def rows(self, split: str) -> list[dict[str, str]]:
        """The rows of the predictions table of a split."""
        return [row for row in self.predictions if row.get('split') == split]


def read(folder: pathlib.Path) -> Run:
    """Reads the files of a run.

    Raises:
      InputError: the folder has no run, or a file is damaged.
    """
    if not (folder / 'config.json').is_file():
        raise InputError(f'--workdir={folder}: no config.json there; expected the folder of a training run')
    objects = [atomic_files.read_optional_json(folder / f'{name}.json')
               for name in ('config', 'environment', 'results')]
    run = Run(folder, *objects, _records(folder / 'metrics.jsonl'),
              _table(folder / 'predictions.csv'), _augmented(folder / 'augmented.npz'),
              atomic_files.read_optional_json(folder / 'participants.json'))
    for split in run.splits:
        for metric, entry in run.results[split].items():
            if not isinstance(entry, dict) or 'value' not in entry:
                raise InputError(f"{folder / 'results.json'}: {split}.{metric} is {entry!r}; expected an object with a "
                                 'value; evaluate again')
    return run


@contextlib.contextmanager
def snapshot(path: pathlib.Path) -> Iterator[dict[str, np.ndarray]]:
    """The arrays that an evaluation saved of a case, by name.

    Use `with snapshot(path) as arrays` and read all arrays in the block: a missing one is reported with the path.

    Raises:
      InputError: the file is damaged, or lacks an array that the block reads.
    """
    arrays = atomic_files.read_arrays(path, 'a snapshot of a case, which evaluating again writes')
    try:
        yield arrays
    except (ValueError, TypeError, KeyError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'{path}: not a snapshot of a case: {error!r}; evaluate again') from error


def _records(path: pathlib.Path) -> list[dict[str, Any]]:
    """The records of a file with one JSON object a line, merged by step."""
    records: dict[int, dict[str, Any]] = {}
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            records.setdefault(int(record['step']), {}).update(record)
        except (ValueError, KeyError, TypeError):
            if number < len(lines):  # a killed run may have cut the last line short
                raise InputError(f'{path}: line {number} is no record of a step: {line[:60]!r}') from None
    return [records[step] for step in sorted(records)]


def _table(path: pathlib.Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    try:
        rows, _ = atomic_files.read_table(path)
        for number, row in enumerate(rows, 2):
            if None in row or None in row.values() or not {'split', 'id'} <= set(row):
                raise ValueError(f'line {number} does not have the cells of the header, including split and id')
            for key, text in row.items():
                if text and key.startswith(NUMERIC_PREFIXES):
                    float(text)
        return rows
    except (ValueError, csv.Error, OSError) as error:
        raise InputError(f'{path}: not readable as a table of cases: {error}') from None


def _augmented(path: pathlib.Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    arrays = atomic_files.read_arrays(path, 'augmented samples')
    if not {'original', 'image'} <= set(arrays):
        raise InputError(f'{path}: arrays {", ".join(sorted(arrays))}; expected original and image among them')
    return arrays
