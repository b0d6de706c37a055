"""Which patients train, validate and test: as named, as a table says, as an earlier run kept it, or dealt."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from medjax import atomic_files
from medjax.data.source import SPLITS, Case
from medjax.errors import InputError

KEYS = 'config.data.source'


def split_by_patient(patients: Sequence[str], *, val: float, test: float, fold: int | Sequence[int] = 0,
                     folds: int | Sequence[int] = 0, seed: int = 0,
                     strata: Mapping[str, str] | None = None) -> dict[str, str]:
    """Deals patients into train, val and test.

    The order is drawn by `seed` from the sorted names, so that neither the files' order nor a split's other cases
    matter.

    Args:
      patients: their names; repetitions count once.
      val: share of all patients that validates, without folds.
      test: share of all patients that tests.
      fold: which part validates, 0 to folds - 1; of nested folds which part tests, and which of the rest validates.
      folds: number of parts for cross-validation, 0 or () for none: the test patients are the same for every fold. Two
        numbers are nested folds: the first says into how many parts all patients are dealt, each of which tests once,
        the second into how many the rest is dealt, each of which validates once; `val` and `test` say nothing then.
      seed: of the order.
      strata: a stratum for each patient, such as the class: each part gets as nearly as possible its share of each.

    Returns:
      The split of each patient.

    Raises:
      InputError: where shares or folds leave no patient to train.
    """
    check_folds(fold, folds)
    names = sorted(set(patients))
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    if strata is not None:
        order.sort(key=lambda name: strata[name])  # stable: within a stratum the drawn order stays

    def parts(names: Sequence[str], count: int, number: int) -> set[str]:
        if not 0 <= number < count <= len(names):
            raise InputError(f'{KEYS}: fold={fold} of folds={folds} for {len(order)} patients; expected a fold from 0 '
                             'to folds - 1, and a patient for each')
        return set(names[number::count])

    def share(names: Sequence[str], part: float, enough: int) -> set[str]:
        count = round(part * len(order)) or int(part > 0 and len(names) > enough)
        if strata is None:
            return set(names[:count])
        # Evenly along the strata: as many of each as its size lets it have.
        return {names[int((number + 0.5) * len(names) / count)] for number in range(count)}

    counts, numbers = _several(folds), _several(fold)
    if nested(folds):
        if len(counts) != 2 or min(counts) < 2 or len(numbers) != 2:
            raise InputError(f'{KEYS}: fold={fold}, folds={folds}; expected two numbers each, folds of 2 or more')
        tested = parts(order, counts[0], numbers[0])
    else:
        if not 0 <= val < 1 or not 0 <= test < 1 or val + test >= 1 or min(counts, default=2) < 2:
            raise InputError(f'{KEYS}: val={val}, test={test}, folds={folds}; expected shares that leave some patients '
                             'to train, and 2 folds or more')
        tested = share(order, test, 2)
    rest = [name for name in order if name not in tested]
    last = numbers[len(counts) - 1] if numbers and counts else 0
    held = parts(rest, counts[-1], last) if counts else share(rest, val, 1)
    return {name: 'test' if name in tested else 'val' if name in held else 'train' for name in order}


def nested(folds: int | Sequence[int]) -> bool:
    """Whether folds deal the test cases as well: two numbers, where one deals training and validation cases."""
    return len(_several(folds)) > 1


def check_folds(fold: int | Sequence[int], folds: int | Sequence[int]) -> None:
    """Refuses what are no whole numbers, and a fold where there are none."""
    if any(not isinstance(n, int) for n in (*_several(fold), *_several(folds))) or (
            _several(fold) and any(_several(fold)) and not _several(folds)):
        raise InputError(f'{KEYS}: fold={fold}, folds={folds}; expected whole numbers, and folds where there is a fold')


def _several(value: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * bool(value)


def divide(rows: Sequence[Mapping[str, str]], table: pathlib.Path | str, named: Mapping[str, str],
           file: pathlib.Path | None, *, classes: Sequence[str] = (), **dealing: object) -> dict[str, str]:
    """The split of each patient: as named, as the table says, as kept in a file, or dealt, in this order.

    With folds only those who test stay as they are said to be, and with nested folds nobody.

    Args:
      rows: of cases: `patient`, and `split` where it is known.
      table: what the rows were read from, for messages.
      named: the split of patients by name.
      file: a run's `splits.json`.
      classes: of each row, where patients are to be dealt in equal shares of them; a patient of several is of the
        last by its name.
      **dealing: see `split_by_patient`.

    Raises:
      InputError: a split of another name; a patient in two of them; a patient that the file does not know.
    """
    patients = {row['patient'] for row in rows}
    if set(named) - patients:
        raise InputError(f'{KEYS}.splits: no patient {min(set(named) - patients)!r}; expected some of: '
                         + ', '.join(sorted(patients)[:9]))
    kept = kept_split(file) if file else {}
    if file and patients - set(kept):
        raise InputError(f'{file}: no patient {min(patients - set(kept))!r}; expected the split of all patients')
    for where, splits in ((f'{KEYS}.splits', named.values()), (file, kept.values()),
                          (table, [row['split'] for row in rows if row.get('split')])):
        wrong = [split for split in splits if split not in SPLITS]
        if wrong:
            raise InputError(f'{where}: split {wrong[0]!r}; expected one of: {", ".join(SPLITS)}')
    given = dict(named)
    for row in rows:
        if row.get('split') and given.setdefault(row['patient'], row['split']) != row['split']:
            raise InputError(f"{table}: patient {row['patient']!r} is in {row['split']!r} and in "
                             f"{given[row['patient']]!r}; expected one split for all cases of a patient")
    given = kept | given
    folds = dealing.get('folds', ())
    check_folds(dealing.get('fold', ()), folds)
    if _several(folds):
        # Folds deal training and validation patients anew, and nested ones those that test.
        given = {name: split for name, split in given.items() if split == 'test' and not nested(folds)}
        dealing['test'] = 0.0 if given else dealing['test']
    rest = sorted(patients - set(given))
    strata = dict(sorted((row['patient'], name) for row, name in zip(rows, classes))) if classes else None
    return given | (split_by_patient(rest, strata=strata, **dealing) if rest else {})


def dealt_anew(cases: Sequence[Case], *, val: float = 0.0, fold: int | Sequence[int] = 0,
               folds: int | Sequence[int] = 0, seed: int = 0) -> list[Case]:
    """Deals training and validation cases of a set with a split of its own anew, in equal shares of each target.

    Without folds, and without a share to validate, the set's own split stays.

    Args:
      cases: of the set; those that test stay, but where folds are nested.
      val: see `split_by_patient`, as for fold, folds and seed.
      fold: …
      folds: …
      seed: …
    """
    check_folds(fold, folds)
    if not folds and not val:
        return list(cases)
    free = {case.patient: str(case.target) for case in cases if case.split != 'test' or nested(folds)}
    split = split_by_patient(list(free), val=val, test=0.0, fold=fold, folds=folds, seed=seed, strata=free)
    return [dataclasses.replace(case, split=split.get(case.patient, case.split)) for case in cases]


def keep_split(path: pathlib.Path, cases: Sequence[Case]) -> str:
    """Writes the split of every case as JSON, with a hash over it.

    Returns:
      The SHA-256 of the split's content, which two runs share just where they share the split.
    """
    table = {case.id: {'patient': case.patient, 'split': case.split} for case in sorted(cases, key=lambda c: c.id)}
    atomic_files.write_json(path, {'sha256': _digest(table), 'cases': table})
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
