"""Assignment of patients to training, validation, calibration and test splits: random, folds, named, or from a file."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.io.tables import check_spellings, filled
from medjax.data.source import NAMED_SPLITS, SPLITS, Case, stratum_of
from medjax.data.split_files import read_split
from medjax.errors import InputError
from medjax.options import Count, FractionBelowOne, NonNegativeInt

KEYS = 'config.data.source'


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrationSplit:
    """The option of every source whose patients can be set apart for calibration.

    Attributes:
      calibrate: the split `calibrate`, on which operating points, calibration and conformal sets are fitted, in place
        of the validation cases that select the weights: a fraction of the patients that train or validate (at least one
        patient), or their number. They are drawn from those that would train, stratified, after all other splits, which
        stay as they are. 0 for none. Where patients are given this split by name, no others are drawn.
    """

    calibrate: FractionBelowOne | Count = 0

    def set_apart(self, cases: Sequence[Case], seed: int = 0) -> list[Case]:
        """The cases with their splits after patients have been set apart, stratified by target.

        Args:
          cases: all cases of the data set, with their splits.
          seed: of the random draw.
        """
        if not self.calibrate:
            return list(cases)
        splits: dict[str, set[str]] = {}
        for case in cases:
            splits.setdefault(case.patient, set()).add(case.split)
        # A data set's own split may have a patient in several splits, which is then set apart from none of them.
        split = {patient: found.pop() if len(found) == 1 else '' for patient, found in splits.items()}
        chosen = set_apart(split, self.calibrate, seed, {case.patient: stratum_of(case.target) for case in cases})
        return [dataclasses.replace(case, split='calibrate') if chosen[case.patient] == 'calibrate' else case
                for case in cases]


@dataclasses.dataclass(frozen=True)
class Splitting(CalibrationSplit):
    """Options of a source that assigns its patients to splits itself.

    A patient's split is the one named by `splits` or by the data set's table, else the one in `split_file`, else a
    random one. With `folds` only the named test and calibration patients are kept, and with nested folds none:
    cross-validation reassigns all others.

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
      calibrate: see `CalibrationSplit`.
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
        check_spellings(table, 'patients', patients, case=False)
        known = self._known_splits(rows, table, root, patients)
        check_folds(self.fold, self.folds)
        test = self.test
        if _as_tuple(self.folds):
            # Cross-validation reassigns training and validation patients, nested cross-validation all of them.
            kept = () if is_nested(self.folds) else ('test', 'calibrate')
            known = {name: split for name, split in known.items() if split in kept}
            if 'test' in known.values():
                test = 0.0
        rest = sorted(patients - set(known))
        by_patient = dict(sorted((row['patient'], name) for row, name in zip(rows, strata))) if strata else None
        if rest:
            known |= split_by_patient(rest, val=self.val, test=test, fold=self.fold, folds=self.folds,
                                      seed=self.split_seed, strata=by_patient)
        return set_apart(known, self.calibrate, self.split_seed, by_patient)

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
            wrong = [split for split in splits if split not in NAMED_SPLITS]
            if wrong:
                raise InputError(f'{where}: split {wrong[0]!r}; expected one of: {", ".join(NAMED_SPLITS)}')
        for row in rows:
            if row.get('split') and named.setdefault(row['patient'], row['split']) != row['split']:
                raise InputError(f"{table}: patient {row['patient']!r} is in {row['split']!r} and in "
                                 f"{named[row['patient']]!r}; expected one split for all cases of a patient")
        return stored | named


@dataclasses.dataclass(frozen=True)
class Resplitting(CalibrationSplit):
    """Options of a source whose data set has a split of its own.

    Attributes:
      val: fraction of the cases outside the test split that validates; 0 keeps the data set's own split. Ignored with
        folds.
      fold: number of the fold that validates; see `Splitting`.
      folds: number of folds into which training and validation cases are split; 0 for none. Two numbers are nested
        cross-validation, which reassigns the test cases as well; see `Splitting`.
      split_seed: seed of the random assignment.
      calibrate: see `CalibrationSplit`.
    """

    val: FractionBelowOne = 0.0
    fold: NonNegativeInt | Sequence[NonNegativeInt] = 0
    folds: NonNegativeInt | Sequence[NonNegativeInt] = 0
    split_seed: NonNegativeInt = 0

    def resplit(self, cases: Sequence[Case]) -> list[Case]:
        """The cases with their new splits; see the function `resplit`."""
        return self.set_apart(resplit(cases, val=self.val, fold=self.fold, folds=self.folds, seed=self.split_seed),
                              self.split_seed)


@dataclasses.dataclass(frozen=True)
class CrossValidation(CalibrationSplit):
    """Options of a source with a fixed split that can only be replaced by folds, or lose training patients.

    Attributes:
      fold: number of the fold that validates; see `Splitting`.
      folds: number of folds into which training and validation cases are split; 0 keeps the data set's own split. Two
        numbers are nested cross-validation, which reassigns the test cases as well; see `Splitting`.
      calibrate: see `CalibrationSplit`.
    """

    fold: NonNegativeInt | Sequence[NonNegativeInt] = 0
    folds: NonNegativeInt | Sequence[NonNegativeInt] = 0

    def resplit(self, cases: Sequence[Case], seed: int) -> list[Case]:
        """The cases with their new splits; see the function `resplit`."""
        return self.set_apart(resplit(cases, fold=self.fold, folds=self.folds, seed=seed), seed)


def resplit(cases: Sequence[Case], *, val: float = 0.0, fold: int | Sequence[int] = 0,
            folds: int | Sequence[int] = 0, seed: int = 0) -> list[Case]:
    """Reassigns training and validation cases of a data set with a split of its own, stratified by target.

    Without folds and with val = 0 the data set's own split is kept. Where all cases are of one patient, cases are
    assigned in place of patients.

    Args:
      cases: all cases of the data set. Test cases keep their split unless folds are nested; those of other splits than
        training, validation and test always do.
      val: see `split_by_patient`, also for fold, folds and seed.
      fold: …
      folds: …
      seed: …
    """
    check_folds(fold, folds)
    if not folds and not val:
        return list(cases)
    reassigned = SPLITS if is_nested(folds) else ('train', 'val')
    one = len({case.patient for case in cases}) == 1  # whose examinations, or parts, are then split
    name = {case.id: case.id if one else case.patient for case in cases if case.split in reassigned}
    strata = {name[case.id]: stratum_of(case.target) for case in cases if case.id in name}
    split = split_by_patient(list(strata), val=val, test=0.0, fold=fold, folds=folds, seed=seed, strata=strata)
    return [dataclasses.replace(case, split=split[name[case.id]]) if case.id in name else case for case in cases]


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
    order = _random_order(patients, seed, strata)
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


def set_apart(split: Mapping[str, str], calibrate: float, seed: int = 0,
              strata: Mapping[str, str] | None = None) -> dict[str, str]:
    """Splits of patients of which some that train become the split `calibrate`; see `CalibrationSplit`.

    Args:
      split: of each patient.
      calibrate: fraction of the training and validation patients, or from 1 their number; 0 for none.
      seed: of the random order.
      strata: the stratum of each patient; see `split_by_patient`.

    Raises:
      InputError: no patient would be left to train.
    """
    if not calibrate or 'calibrate' in split.values():
        return dict(split)
    train = [name for name, part in split.items() if part == 'train']
    total = sum(part in ('train', 'val') for part in split.values())
    count = _count(calibrate, total, available=len(train) - 1) if calibrate < 1 else calibrate
    if not 0 < count < len(train):
        raise InputError(f'{KEYS}.calibrate: {calibrate}, of {len(train)} patients that train; expected a number that '
                         'leaves some of them to train')
    chosen = _fraction_of(_random_order(train, seed, strata), count, strata is not None)
    return {name: 'calibrate' if name in chosen else part for name, part in split.items()}


def _random_order(patients: Sequence[str], seed: int, strata: Mapping[str, str] | None) -> list[str]:
    """The names in random order, drawn from the sorted names; by stratum where there are strata."""
    names = sorted(set(patients))
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    if strata is not None:
        order.sort(key=lambda name: strata[name])  # stable: within a stratum the random order is kept
    return order


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
