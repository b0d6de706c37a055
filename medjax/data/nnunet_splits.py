"""nnU-Net's file of splits, `splits_final.json`: a list of folds with the names of their cases, `train` and `val`."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from medjax import atomic_files
from medjax.errors import InputError, few

EXPECTED = 'a list of folds, each with the names of cases in train and val'


def read(path: pathlib.Path, fold: Any, rows: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The split of each case in a fold of a `splits_final.json`.

    Args:
      path: of the file.
      fold: the number of the fold, from 0.
      rows: `id` and `patient` of each case of the data set.

    Raises:
      InputError: no such file; no such fold; a case of the file or of the data set that the other has not; a case or a
        patient in both parts.
    """
    folds = _folds(path)
    if not isinstance(fold, int) or not 0 <= fold < len(folds):
        raise InputError(f'config.data.fold: {fold}; expected 0 to {len(folds) - 1}, a fold of {path}')
    parts = {part: set(folds[fold][part]) for part in ('train', 'val')}
    patients = {row['id']: row['patient'] for row in rows}
    named = parts['train'] | parts['val']
    unknown, missing = sorted(named - set(patients)), sorted(set(patients) - named)
    if unknown or missing:
        what = f'{few(unknown)} not in the data set' if unknown else f'the data set also has {few(missing)}'
        raise InputError(f'{path}: fold {fold}: {what}; expected the {len(patients)} cases of the data set')
    both = sorted(parts['train'] & parts['val']) or sorted(
        {patients[name] for name in parts['train']} & {patients[name] for name in parts['val']})
    if both:
        raise InputError(f'{path}: fold {fold}: {few(both)} in train and in val; expected all cases of a patient '
                         'in one')
    return {name: 'val' if name in parts['val'] else 'train' for name in patients}


def _folds(path: pathlib.Path) -> list[dict[str, list[str]]]:
    try:
        folds = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error.strerror}; expected {EXPECTED}') from error
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path}: damaged, not readable as JSON: {error}; expected {EXPECTED}') from error
    fine = isinstance(folds, list) and folds and all(
        isinstance(fold, dict) and isinstance(fold.get(part), list)
        and all(isinstance(name, str) for name in fold[part]) for fold in folds for part in ('train', 'val'))
    if not fine:
        raise InputError(f'{path}: not a file of splits; expected {EXPECTED}')
    return folds


def write(path: pathlib.Path, runs: Sequence[pathlib.Path]) -> int:
    """Writes the splits of some runs as a `splits_final.json`; cases of other splits than training and validation, such
    as the test split, are in no fold, as in nnU-Net.

    Args:
      path: of the file.
      runs: the folders of the runs, a fold each.

    Returns:
      The number of cases in each fold.

    Raises:
      InputError: a run without `splits.json`; or runs of different cases.
    """
    folds = []
    for run in runs:
        table = atomic_files.read_json(run / 'splits.json', 'the splits of a run').get('cases', {})
        folds.append({part: sorted(name for name, row in table.items() if row['split'] == part)
                      for part in ('train', 'val')})
    names = [set(fold['train'] + fold['val']) for fold in folds]
    for run, found in zip(runs, names):
        if found != names[0]:
            other = few(sorted(found ^ names[0]))
            raise InputError(f'{run}: its training and validation cases are not those of {runs[0]} ({other}); expected '
                             'runs of one data set with one test split')
    atomic_files.write_text(path, json.dumps(folds, indent=4))
    return len(names[0])
