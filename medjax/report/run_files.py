"""Reads what a run left in its folder; of most files a run may have none."""

import contextlib
import csv
import dataclasses
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.errors import InputError

SCORES = ('dice_', 'missed_', 'spurious_', 'prob_')  # columns that are drawn or counted: numbers or empty


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's files: config, environment and results as nested mappings, metrics and predictions as rows."""

    folder: pathlib.Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    results: Mapping[str, Any]
    metrics: list[dict[str, Any]]
    predictions: list[dict[str, str]]
    augmented: Mapping[str, np.ndarray]

    @property
    def name(self) -> str:
        """The config's name: what it says itself, else its file's, else the folder's."""
        found = re.search(r'--config[= ](\S+)', self.environment.get('command', ''))
        file = pathlib.PurePath(found[1]).name if found else self.folder.resolve().name
        name = re.sub(r'\.py(?=:|$)', '', file)
        return str(self.config.get('name', name))

    def section(self, name: str) -> Mapping[str, Any]:
        """A part of the config; empty where there is none."""
        return self.config.get(name) or {}

    @property
    def chosen_by(self) -> str:
        """The validation metric that chose the weights; '' where they are simply the last ones."""
        best = self.section('checkpoint').get('best') or ''
        validated = any(record.get(f'val/{best}') is not None for record in self.metrics)
        return best if validated or not self.metrics else ''

    @property
    def classes(self) -> list[str]:
        """Names of the classes, the background's first."""
        return list(self.results.get('classes', ()))

    @property
    def splits(self) -> list[str]:
        """The evaluated splits: the test first, the validation, on which choices were made, last."""
        counted = self.results.get('counts') or {}
        found = [name for name, value in self.results.items() if name in counted and isinstance(value, dict)]
        return sorted(found, key=lambda name: (name != 'test', name == 'val', found.index(name)))

    def rows(self, split: str) -> list[dict[str, str]]:
        """The cases of a split."""
        return [row for row in self.predictions if row.get('split') == split]


def read(folder: pathlib.Path) -> Run:
    """Reads a workdir.

    Raises:
      InputError: no run is there, or a file is damaged.
    """
    if not (folder / 'config.json').is_file():
        raise InputError(f'--workdir={folder}: no config.json there; expected the folder of a training run')
    named = [_json(folder / f'{name}.json') for name in ('config', 'environment', 'results')]
    run = Run(folder, *named, _lines(folder / 'metrics.jsonl'),
              _table(folder / 'predictions.csv'), _arrays(folder / 'augmented.npz'))
    for split in run.splits:
        for metric, entry in run.results[split].items():
            if not isinstance(entry, dict) or 'value' not in entry:
                raise InputError(f"{folder / 'results.json'}: {split}.{metric} is {entry!r}; expected an object with a "
                                 'value; evaluate again')
    return run


def _json(path: pathlib.Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise InputError(f'{path}: not readable as JSON: {error}') from None
    if not isinstance(value, dict):
        raise InputError(f'{path}: holds a {type(value).__name__}; expected an object with named fields')
    return value


def _lines(path: pathlib.Path) -> list[dict[str, Any]]:
    records: dict[int, dict[str, Any]] = {}
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            records.setdefault(int(record['step']), {}).update(record)
        except (ValueError, KeyError, TypeError):
            if number < len(lines):  # the last line a kill may have cut short
                raise InputError(f'{path}: line {number} is no record of a step: {line[:60]!r}') from None
    return [records[step] for step in sorted(records)]


def _table(path: pathlib.Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    try:
        with path.open(newline='') as file:
            rows = list(csv.DictReader(file))
        for number, row in enumerate(rows, 2):
            if None in row or None in row.values() or not {'split', 'id'} <= set(row):
                raise ValueError(f'line {number} has not the cells that the header names, split and id among them')
            for key, text in row.items():
                if text and key.startswith(SCORES):
                    float(text)
        return rows
    except (ValueError, csv.Error, OSError) as error:
        raise InputError(f'{path}: not readable as a table of cases: {error}') from None


@contextlib.contextmanager
def snapshot(path: pathlib.Path) -> Iterator[dict[str, np.ndarray]]:
    """What evaluating kept of a case, by name: `with snapshot(path) as kept`, where it is only taken apart.

    Raises:
      InputError: the file is damaged, or lacks what the block asks of it.
    """
    kept = atomic_files.read_arrays(path, 'a snapshot of a case, which evaluating again writes')
    try:
        yield kept
    except (ValueError, TypeError, KeyError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'{path}: not a snapshot of a case: {error!r}; expected what evaluating wrote; evaluate again'
                         ) from error


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    kept = atomic_files.read_arrays(path, 'augmented samples')
    if not {'original', 'image'} <= set(kept):
        raise InputError(f'{path}: arrays {", ".join(sorted(kept))}; expected original and image among them')
    return kept
