"""Assignment of patients to training, validation and test splits: random, in folds, named, or read from a file."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.data.io.tables import filled
from medjax.data.source import SPLITS, Case, stratum_of
from medjax.errors import InputError
from medjax.options import FractionBelowOne, NonNegativeInt

KEYS = 'config.data.source'


@dataclasses.dataclass(frozen=True)
class Splitting:
    """Options of a source that assigns its patients to splits itself.

    A patient's split is the one named by `splits` or by the data set's table, else the one in `split_file`, else a
    random one. With `folds` only the named test patients are kept, and with nested folds none: cross-validation
    reassigns all others.

    Attributes:
      val: fraction of all patients in the validation split; ignored with folds.
      test: fraction of all patients in the test split; ignored with nested folds.
      fold: number of the fold that validates, 0 to folds - 1. With nested folds two numbers: the outer fold that tests
        and the inner fold that validates.
      folds: number of folds for cross-validation; 0 for none. The test patients are the same for every fold. Two
        numbers are nested cross-validation: all patients are split into the first number of folds, each of which tests
        once, and the others into the second number of folds, each of which validates once. Inner fold 0 is the next
        one in turn after the outer fold, so that all patients validate and train.
      split_seed: seed of the random assignment.
      splits: the split of some or all patients by name, in place of a random one.
      split_file: the `splits.json` of a run, relative to the data folder or absolute, with the split of every patient.
    """

    val: FractionBelowOne = 0.2
    test: FractionBelowOne = 0.2
    fold: NonNegativeInt | Sequence[NonNegativeInt] = 0
    folds: NonNegativeInt | Sequence[NonNegativeInt] = 0
    split_seed: NonNegativeInt = 0
    splits: Mapping[str, str] | None = None
    split_file: str = ''

    def divide(self, rows: Sequence[Mapping[str, str]], table: pathlib.Path | str, root: pathlib.Path, *,
               strata: Sequence[str] = ()) -> dict[str, str]:
        """The split of each patient.

        Args:
          rows: one for each case, with the key `patient`, and `split` where the data set says it.
          table: the file or folder that the rows come from, for messages.
          root: the data folder, which `split_file` is relative to.
          strata: of each row, such as its class; without them the assignment is not stratified. A patient in several
            strata counts as of the last one in alphabetical order.

        Raises:
          InputError: an unknown split name; a patient in two splits; a patient that the split file does not contain;
            fractions or folds that leave no patient to train.
        """
        rows = [{'patient': row['patient'], 'split': filled(row.get('split'))} for row in rows]
        patients = {row['patient'] for row in rows}
        known = self._known_splits(rows, table, root, patients)
        check_folds(self.fold, self.folds)
        test = self.test
        if _as_tuple(self.folds):
            # Cross-validation reassigns training and validation patients, nested cross-validation test patients too.
            known = {name: split for name, split in known.items() if split == 'test' and not is_nested(self.folds)}
            if known:
                test = 0.0
        rest = sorted(patients - set(known))
        if not rest:
            return known
        by_patient = dict(sorted((row['patient'], name) for row, name in zip(rows, strata))) if strata else None
        return known | split_by_patient(rest, val=self.val, test=test, fold=self.fold, folds=self.folds,
                                        seed=self.split_seed, strata=by_patient)

    def _known_splits(self, rows: Sequence[Mapping[str, str]], table: pathlib.Path | str, root: pathlib.Path,
                      patients: set[str]) -> dict[str, str]:
        """The splits that are named by `splits`, by the table or by the split file."""
        named = dict(self.splits or {})
        if set(named) - patients:
            raise InputError(f'{KEYS}.splits: no patient {min(set(named) - patients)!r}; expected some of: '
                             + ', '.join(sorted(patients)[:9]))
        file = root / self.split_file if self.split_file else None
        stored = read_split(file) if file else {}
        if file and patients - set(stored):
            raise InputError(f'{file}: no patient {min(patients - set(stored))!r}; expected the split of all patients')
        for where, splits in ((f'{KEYS}.splits', named.values()), (file, stored.values()),
                              (table, [row['split'] for row in rows if row.get('split')])):
            wrong = [split for split in splits if split not in SPLITS]
            if wrong:
                raise InputError(f'{where}: split {wrong[0]!r}; expected one of: {", ".join(SPLITS)}')
        for row in rows:
            if row.get('split') and named.setdefault(row['patient'], row['split']) != row['split']:
                raise InputError(f"{table}: patient {row['patient']!r} is in {row['split']!r} and in "
                                 f"{named[row['patient']]!r}; expected one split for all cases of a patient")
        return stored | named


@dataclasses.dataclass(frozen=True)
class Resplitting:
    """Options of a source whose data set has a split of its own.

    Attributes:
      val: fraction of the cases outside the test split that validates; 0 keeps the data set's own split. Ignored with
        folds.
      fold: number of the fold that validates; see `Splitting`.
      folds: number of folds into which training and validation cases are split; 0 for none. Two numbers are nested
        cross-validation, which reassigns the test cases as well; see `Splitting`.
      split_seed: seed of the random assignment.
    """

    val: FractionBelowOne = 0.0
    fold: NonNegativeInt | Sequence[NonNegativeInt] = 0
    folds: NonNegativeInt | Sequence[NonNegativeInt] = 0
    split_seed: NonNegativeInt = 0

    def resplit(self, cases: Sequence[Case]) -> list[Case]:
        """The cases with their new splits; see the function `resplit`."""
        return resplit(cases, val=self.val, fold=self.fold, folds=self.folds, seed=self.split_seed)


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """Options of a source with a fixed split that can only be replaced by folds.

    Attributes:
      fold: number of the fold that validates; see `Splitting`.
      folds: number of folds into which training and validation cases are split; 0 keeps the data set's own split. Two
        numbers are nested cross-validation, which reassigns the test cases as well; see `Splitting`.
    """

    fold: NonNegativeInt | Sequence[NonNegativeInt] = 0
    folds: NonNegativeInt | Sequence[NonNegativeInt] = 0

    def resplit(self, cases: Sequence[Case], seed: int) -> list[Case]:
        """The cases with their new splits; see the function `resplit`."""
        return resplit(cases, fold=self.fold, folds=self.folds, seed=seed)


def resplit(cases: Sequence[Case], *, val: float = 0.0, fold: int | Sequence[int] = 0,
            folds: int | Sequence[int] = 0, seed: int = 0) -> list[Case]:
    """Reassigns training and validation cases of a data set with a split of its own, stratified by target.

    Without folds and with val = 0 the data set's own split is kept.

    Args:
      cases: all cases of the data set. Test cases keep their split unless folds are nested.
      val: see `split_by_patient`, also for fold, folds and seed.
      fold: …
      folds: …
      seed: …
    """
    check_folds(fold, folds)
    if not folds and not val:
        return list(cases)
    strata = {case.patient: stratum_of(case.target) for case in cases if case.split != 'test' or is_nested(folds)}
    split = split_by_patient(list(strata), val=val, test=0.0, fold=fold, folds=folds, seed=seed, strata=strata)
    return [dataclasses.replace(case, split=split.get(case.patient, case.split)) for case in cases]


def split_by_patient(patients: Sequence[str], *, val: float, test: float, fold: int | Sequence[int] = 0,
                     folds: int | Sequence[int] = 0, seed: int = 0,
                     strata: Mapping[str, str] | None = None) -> dict[str, str]:
    """Assigns patients to train, val and test at random.

    The random order is drawn from the sorted names. It depends neither on the order of the files nor on how many cases
    a patient has.

    Args:
      patients: names; repetitions count once.
      val: fraction of all patients that validates, without folds. A fraction above 0 is at least one patient.
      test: fraction of all patients that tests, without nested folds.
      fold: see `Splitting`.
      folds: see `Splitting`; 0 or () for none.
      seed: of the random order.
      strata: the stratum of each patient, such as its class. Each split gets its share of every stratum, as nearly as
        the sizes allow.

    Returns:
      The split of each patient.

    Raises:
      InputError: fractions or folds that leave no patient to train.
    """
    check_folds(fold, folds)
    names = sorted(set(patients))
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    if strata is not None:
        order.sort(key=lambda name: strata[name])  # stable: within a stratum the random order is kept
    counts, numbers = _as_tuple(folds), _as_tuple(fold)

    def members(names: Sequence[str], count: int, number: int) -> set[str]:
        if not 0 <= number < count <= len(names):
            raise InputError(f'{KEYS}: fold={fold} of folds={folds} for {len(order)} patients; expected a fold from 0 '
                             'to folds - 1, and at least one patient for each fold')
        return set(names[number::count])

    if is_nested(folds):
        if len(counts) != 2 or min(counts) < 2 or len(numbers) != 2:
            raise InputError(f'{KEYS}: fold={fold}, folds={folds}; expected two numbers each, folds of 2 or more')
        test_names = members(order, counts[0], numbers[0])
    else:
        if not 0 <= val < 1 or not 0 <= test < 1 or val + test >= 1 or min(counts, default=2) < 2:
            raise InputError(f'{KEYS}: val={val}, test={test}, folds={folds}; expected fractions that leave some '
                             'patients to train, and 2 folds or more')
        test_names = _fraction_of(order, _count(test, len(order), available=len(order) - 2), strata is not None)
    rest = [name for name in order if name not in test_names]
    if counts:
        number = numbers[len(counts) - 1] if numbers else 0
        val_names = members(rest, counts[-1], number)
        if is_nested(folds):  # each test fold validates on the next part in turn, so that every patient also trains
            val_names = members(rest, counts[-1], (number + numbers[0]) % counts[-1])
    else:
        val_names = _fraction_of(rest, _count(val, len(order), available=len(rest) - 1), strata is not None)
    return {name: 'test' if name in test_names else 'val' if name in val_names else 'train' for name in order}


def _count(fraction: float, total: int, available: int) -> int:
    """The number of patients that a fraction is: at least one where the fraction is above 0 and one is available."""
    count = round(fraction * total)
    if count == 0 and fraction > 0 and available > 0:
        return 1
    return count


def _fraction_of(names: Sequence[str], count: int, stratified: bool) -> set[str]:
    """The first `count` names; stratified, names at equal steps, so that each stratum gives its share."""
    if not stratified:
        return set(names[:count])
    return {names[int((number + 0.5) * len(names) / count)] for number in range(count)}


def is_nested(folds: int | Sequence[int]) -> bool:
    """Whether folds are those of nested cross-validation: two numbers, which also assign the test cases."""
    return len(_as_tuple(folds)) > 1


def check_folds(fold: int | Sequence[int], folds: int | Sequence[int]) -> None:
    """Checks that folds are whole numbers, and that a fold comes with a number of folds.

    Raises:
      InputError: they are not.
    """
    whole = all(isinstance(number, int) for number in (*_as_tuple(fold), *_as_tuple(folds)))
    if not whole or (any(_as_tuple(fold)) and not _as_tuple(folds)):
        raise InputError(f'{KEYS}: fold={fold}, folds={folds}; expected whole numbers, and folds where there is a fold')


def _as_tuple(value: int | Sequence[int]) -> tuple[int, ...]:
    """One or several numbers as a tuple; empty for 0, which means none."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(value)
    return (value,) if value else ()


def write_split(path: pathlib.Path, cases: Sequence[Case]) -> str:
    """Writes the split of every case as JSON that the user alone may read, with a hash of the content.

    Returns:
      The SHA-256 of the split. Two runs have the same hash if and only if they have the same split.
    """
    table = {case.id: {'patient': case.patient, 'split': case.split} for case in sorted(cases, key=lambda c: c.id)}
    atomic_files.write_json(path, {'sha256': _digest(table), 'cases': table}, private=True)
    return _digest(table)


def check_same_data(workdir: pathlib.Path, cases: Sequence[Case], fingerprint: str) -> None:
    """Checks that a run's data is what it was trained with: content and split of every case.

    After a table has grown, patients without a split of their own are assigned at random again, so that some of the
    training patients would be evaluated as test patients.

    Args:
      workdir: of the run; without its `environment.json`, as before the first step, nothing is checked.
      cases: as they are now.
      fingerprint: of the data set as it is now, see `Dataset.fingerprint`.

    Raises:
      InputError: with the number of cases that are new, missing or in another split.
    """
    before = _read_json(workdir / 'environment.json').get('data_hash', fingerprint)
    if before == fingerprint:
        return
    old = {name: row['split'] for name, row in _read_json(workdir / 'splits.json').get('cases', {}).items()}
    now = {case.id: case.split for case in cases}
    counts = {'new': len(now.keys() - old.keys()), 'missing': len(old.keys() - now.keys()),
              'in another split': sum(old[name] != now[name] for name in old.keys() & now.keys())}
    change = ', '.join(f'{count} {kind}' for kind, count in counts.items() if count) or 'content or order'
    raise InputError(f'config.data: cases or splits have changed since the run in {workdir} began: {change} (data_hash '
                     f'{before[:12]}, now {fingerprint[:12]}); expected the same data, or another --workdir')


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    """A JSON file of a run; empty where it is missing."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f'{path}: not readable: {error}; expected JSON as a run writes it') from error
    if not isinstance(content, dict):
        raise InputError(f'{path}: {type(content).__name__}; expected a JSON object as a run writes it')
    return content


def read_split(path: pathlib.Path) -> dict[str, str]:
    """The split of each patient in a file that `write_split` wrote.

    Raises:
      InputError: the file is missing or no split file; its cases do not match its hash; a patient is in two splits.
    """
    pairs = _read_pairs(path)
    splits = dict(pairs)
    for patient, split in pairs:
        if splits[patient] != split:
            raise InputError(f'{path}: patient {patient!r} is in {split!r} and in {splits[patient]!r}; expected one '
                             'split for all cases of a patient')
    return splits


def check_split(path: pathlib.Path) -> None:
    """Checks that a file which `write_split` wrote has not been changed; one that is missing is no change.

    Raises:
      InputError: no split file; its cases do not match its hash.
    """
    if path.exists():
        _read_pairs(path)


def _read_pairs(path: pathlib.Path) -> set[tuple[str, str]]:
    """Each patient with each split that it is in."""
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
    return pairs


def _digest(table: Mapping[str, Mapping[str, str]]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
