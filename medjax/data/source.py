"""Cases and where they come from; splits by patient."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from medjax import whole
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
      how: whatever else decides what `read` gives, so that a case that was prepared is known again.
    """

    id: str
    patient: str
    split: str
    read: Callable[[], tuple[Image, Image | None]]
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: tuple[str, ...] = ()
    how: str = ''


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
        if not 2 <= len(set(self.classes)) == len(self.classes) <= 255:
            raise InputError(f'config.data.source.classes: {list(self.classes)}; expected 2 to 255 different names, '
                             'background first')
        seen: set[str] = set()
        for case in self.cases:
            if case.id in seen:
                raise InputError(f'case id {case.id!r} occurs twice; expected unique names')
            if not case.id or case.id.startswith('.') or '/' in case.id or not case.id.isprintable():
                raise InputError(f'case id {case.id!r}: expected a name that a file can have')
            seen.add(case.id)


def data_dir(folder: str) -> pathlib.Path:
    """Where data lies: the config's folder as seen from here, or within MEDJAX_DATA_DIR.

    Without that variable, the second is within medjax's folder in the user's cache.

    Raises:
      InputError: where there is no such folder.
    """
    here = pathlib.Path(folder).expanduser()
    if folder and here.is_dir():
        return here
    path = pathlib.Path(os.environ.get('MEDJAX_DATA_DIR') or '~/.cache/medjax/data').expanduser() / here
    if not path.is_dir():
        raise InputError(f'{path}: no such folder; expected the data there: set config.data.source.dir or '
                         'MEDJAX_DATA_DIR')
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
    if not 0 <= val < 1 or not 0 <= test < 1 or val + test >= 1 or folds < 0 or folds == 1:
        raise InputError(f'config.data.source: val={val}, test={test}, folds={folds}; expected shares that leave some '
                         'patients to train, and 2 folds or more')
    count = round(test * len(order)) or int(test > 0 and len(order) > 2)
    splits, rest = dict.fromkeys(order[:count], 'test'), order[count:]
    if folds:
        if not 0 <= fold < folds <= len(rest):
            raise InputError(f'config.data.source: fold={fold} of folds={folds} for {len(rest)} patients; expected a '
                             'fold from 0 to folds - 1, and a patient for each')
        held = set(rest[fold::folds])
    else:
        held = set(rest[: round(val * len(order)) or int(val > 0 and len(rest) > 1)])
    return {**splits, **{name: 'val' if name in held else 'train' for name in rest}}


def keep_split(path: pathlib.Path, cases: Sequence[Case]) -> str:
    """Writes the split of every case as JSON, with a hash over it.

    Returns:
      The SHA-256 of the split's content, which two runs share just where they share the split.
    """
    table = {case.id: {'patient': case.patient, 'split': case.split} for case in sorted(cases, key=lambda c: c.id)}
    whole.write_json(path, {'sha256': _digest(table), 'cases': table})
    return _digest(table)


def kept_split(path: pathlib.Path) -> dict[str, str]:
    """Reads what `keep_split` wrote: the split of each patient.

    Raises:
      InputError: where there is no such file, its cases are not those that its hash is of, or a patient is in two
        splits.
    """
    try:
        content = json.loads(path.read_text())
        table = content['cases']
        pairs = {(row['patient'], row['split']) for row in table.values()}
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error.strerror}; expected a split file') from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f'{path}: not a split file; expected JSON with sha256 and cases as a run writes it') from error
    if content.get('sha256') != _digest(table):
        raise InputError(f'{path}: its sha256 is {content.get("sha256")}, that of its cases {_digest(table)}; expected '
                         'the same: the file was changed')
    splits = dict(pairs)
    for patient, split in pairs:
        if splits[patient] != split:
            raise InputError(f'{path}: patient {patient!r} is in {split!r} and in {splits[patient]!r}; expected one '
                             'split for all cases of a patient')
    return splits


def _digest(table: Mapping[str, Mapping[str, str]]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
