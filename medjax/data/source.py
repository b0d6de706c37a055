"""Cases and where they come from; splits by patient."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from medjax.data.geometry import Image
from medjax.errors import InputError

SPLITS = ('train', 'val', 'test')


@dataclasses.dataclass(frozen=True)
class Case:
    """One examination.

    Attributes:
      id: unique in the source; names files.
      patient: whose it is: splits and confidence intervals are by patient.
      split: 'train', 'val', 'test', or another name for cases that are only evaluated.
      read: gives the image and its label (None where there is none), as stored, on one grid.
      columns: whatever else is known of it, such as sex or scanner; goes to the predictions table.
      files: that it is read from.
    """

    id: str
    patient: str
    split: str
    read: Callable[[], tuple[Image, Image | None]]
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Source:
    """The cases of a data set, and what must be known of them.

    Attributes:
      cases: with unique ids.
      classes: the labels' classes, background first.
      notice: what a report must say of the data.
      channels: the images' channels.
    """

    cases: tuple[Case, ...]
    classes: tuple[str, ...]
    notice: str = ''
    channels: tuple[str, ...] = ('image',)

    def __post_init__(self):
        seen: set[str] = set()
        for case in self.cases:
            if case.id in seen:
                raise InputError(f'case id {case.id!r} occurs twice; expected unique names')
            seen.add(case.id)


def data_dir(folder: str) -> pathlib.Path:
    """Where data lies: the config's folder, else MEDJAX_DATA_DIR, else medjax's folder in the user's cache.

    Raises:
      InputError: where that folder does not exist.
    """
    path = pathlib.Path(folder or os.environ.get('MEDJAX_DATA_DIR', '') or '~/.cache/medjax/data').expanduser()
    if not path.is_dir():
        raise InputError(f'{path}: no such folder; set config.data.source.dir or MEDJAX_DATA_DIR to where the data lies')
    return path


def split_by_patient(patients: Sequence[str], *, val: float, test: float, fold: int = 0, folds: int = 0,
                     seed: int = 0) -> dict[str, str]:
    """Deals patients into train, val and test.

    The order is drawn by `seed` from the sorted names, so that neither the files' order nor a split's other cases
    matter. The test patients come first and stay the same for every fold.

    Args:
      patients: their names; repetitions count once.
      val: share of all patients that validates, without folds.
      test: share of all patients that tests.
      fold: which part of the rest validates, 0 to folds - 1.
      folds: number of parts for cross-validation; 0 for none.
      seed: of the order.

    Returns:
      The split of each patient.
    """
    names = sorted(set(patients))
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    if not 0 <= val < 1 or not 0 <= test < 1 or val + test >= 1 or (folds and not 0 <= fold < folds):
        raise InputError(f'config.data.source: val={val}, test={test}, fold={fold} of {folds}; expected shares that '
                         'leave some patients to train, and a fold from 0 to folds - 1')
    count = round(test * len(order)) or int(test > 0 and len(order) > 2)
    splits, rest = dict.fromkeys(order[:count], 'test'), order[count:]
    if folds:
        held = rest[fold::folds]
    else:
        held = rest[: round(val * len(order)) or int(val > 0 and len(rest) > 1)]
    return {**splits, **{name: 'val' if name in set(held) else 'train' for name in rest}}


def keep_split(path: pathlib.Path, cases: Sequence[Case]) -> str:
    """Writes the split of every case as JSON, with a hash over it.

    Returns:
      The SHA-256 of the split's content, which two runs share just where they share the split.
    """
    table = {case.id: {'patient': case.patient, 'split': case.split} for case in sorted(cases, key=lambda c: c.id)}
    digest = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
    part = path.with_name(f'.{path.name}.part')
    part.write_text(json.dumps({'sha256': digest, 'cases': table}, indent=1) + '\n')
    part.replace(path)
    return digest
