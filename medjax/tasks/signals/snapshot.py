"""Snapshots of signals: recordings with their true and found beats, which an evaluation keeps for the report."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.errors import InputError

ARRAYS = ('rate', 'true', 'found', 'probs', 'lead')
DIGITS = 3  # decimals of probabilities and of the lead

Snapshot = dict[str, np.ndarray]  # of a recording, by the names in ARRAYS


def recording(rate: float, true: np.ndarray, found: np.ndarray, probs: np.ndarray, lead: np.ndarray) -> dict[str, Any]:
    """The snapshot of a recording as plain JSON.

    Args:
      rate: samples per second.
      true: samples of the true beats.
      found: samples of the found beats.
      probs: `[L]`, probability of a beat.
      lead: `[L]`, the lead that the report shows.
    """
    return {'rate': rate, 'true': true.tolist(), 'found': found.tolist(), 'probs': np.round(probs, DIGITS).tolist(),
            'lead': np.round(lead, DIGITS).tolist()}


def save(cases: pathlib.Path, split: str, recordings: Mapping[str, Any]) -> None:
    """Writes `beats_SPLIT.json` with the snapshots of a split's recordings, by their ids, to the folder `cases`."""
    atomic_files.write_json(cases / f'beats_{split}.json', recordings)


def load(cases: pathlib.Path, split: str, ids: Sequence[str]) -> list[Snapshot]:
    """Reads the snapshots of some recordings; none where the split has no file.

    Args:
      cases: the run's folder `cases`.
      split: name of the split.
      ids: of the recordings.

    Raises:
      InputError: the file is damaged, or a recording is missing.
    """
    path = cases / f'beats_{split}.json'
    if not path.exists():
        return []
    try:
        recordings = json.loads(path.read_text())
        return [{key: np.array(recordings[name][key], float) for key in ARRAYS} for name in ids]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path}: not readable as recordings: {error}; evaluate again') from None
