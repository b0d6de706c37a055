"""Files of splits: `splits.json` of a run, its hash, and the check that a run's data has not changed."""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

from medjax import atomic_files
from medjax.data.source import Case
from medjax.errors import InputError

WRITTEN = 'JSON as a run writes it'


def write_split(path: pathlib.Path, cases: Sequence[Case]) -> str:
    """Writes the split of every case as JSON that the user alone may read, with a hash of the content.

    Returns:
      The SHA-256 of the split. Two runs have the same hash if and only if they have the same split.
    """
    table = _split_table(cases)
    atomic_files.write_json(path, {'sha256': _digest(table), 'cases': table}, private=True)
    return _digest(table)


def split_hash(cases: Sequence[Case]) -> str:
    """The SHA-256 of the split of every case, as `write_split` returns it."""
    return _digest(_split_table(cases))


def _split_table(cases: Sequence[Case]) -> dict[str, dict[str, str]]:
    return {case.id: {'patient': case.patient, 'split': case.split} for case in sorted(cases, key=lambda c: c.id)}


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
    before = atomic_files.read_optional_json(workdir / 'environment.json', WRITTEN).get('data_hash', fingerprint)
    if before == fingerprint:
        return
    old = {name: row['split'] for name, row in
           atomic_files.read_optional_json(workdir / 'splits.json', WRITTEN).get('cases', {}).items()}
    now = {case.id: case.split for case in cases}
    counts = {'new': len(now.keys() - old.keys()), 'missing': len(old.keys() - now.keys()),
              'in another split': sum(old[name] != now[name] for name in old.keys() & now.keys())}
    change = ', '.join(f'{count} {kind}' for kind, count in counts.items() if count) or 'content or order'
    raise InputError(f'config.data: cases or splits have changed since the run in {workdir} began: {change} (data_hash '
                     f'{before[:12]}, now {fingerprint[:12]}); expected the same data, or another --workdir')


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
