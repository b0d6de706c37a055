"""Splits: by patient, the same for every run, stratified, in folds, and stored with a hash that detects changes."""

import dataclasses
import json
import pathlib
import random

import pytest

from medjax.core import config
from medjax.data.source import Case
from medjax.data.sources import classification_folder, medmnist
from medjax.data.splits import (
    CrossValidation,
    Resplitting,
    Splitting,
    check_same_data,
    read_split,
    resplit,
    split_by_patient,
    write_split,
)
from medjax.errors import InputError

PATIENTS = [f'p{number:03}' for number in range(50)]


def case(id, patient='', split='train', target=None):
    return Case(id=id, patient=patient or id, split=split, read=lambda: None, target=target)


def names_in(splits, split):
    return {name for name, its in splits.items() if its == split}


@pytest.mark.parametrize('val, test, counts', [
    (0.2, 0.2, (30, 10, 10)), (0.1, 0.3, (30, 5, 15)), (0.0, 0.2, (40, 0, 10)), (0.2, 0.0, (40, 10, 0)),
    (0.001, 0.001, (48, 1, 1)),  # a share above zero is at least one patient
])
def test_shares(val, test, counts):
    splits = split_by_patient(PATIENTS, val=val, test=test)
    assert sorted(splits) == PATIENTS
    assert tuple(len(names_in(splits, split)) for split in ('train', 'val', 'test')) == counts


def test_the_split_depends_on_names_and_seed_only():
    splits = split_by_patient(PATIENTS, val=0.2, test=0.2, seed=3)
    shuffled = random.Random(0).sample(PATIENTS * 3, 150)  # several cases of each patient, in another order
    assert split_by_patient(shuffled, val=0.2, test=0.2, seed=3) == splits
    assert split_by_patient(PATIENTS, val=0.2, test=0.2, seed=4) != splits
    # A pinned draw: a new release must not move patients from test to train.
    assert sorted(names_in(split_by_patient(PATIENTS[:10], val=0.2, test=0.2), 'test')) == ['p004', 'p006']


@pytest.mark.parametrize('folds', [2, 5, 40])
def test_folds_partition_the_cases_outside_the_test_split(folds):
    drawn = [split_by_patient(PATIENTS, val=0.9 - 0.2, test=0.2, fold=fold, folds=folds) for fold in range(folds)]
    test = names_in(drawn[0], 'test')
    assert len(test) == 10 and all(names_in(splits, 'test') == test for splits in drawn)
    held = [names_in(splits, 'val') for splits in drawn]
    assert sum(map(len, held)) == 40 and set().union(*held) == set(PATIENTS) - test
    assert max(map(len, held)) - min(map(len, held)) <= 1


@pytest.mark.parametrize('count', [1, 2, 3])
def test_few_patients_leave_one_to_train(count):
    splits = split_by_patient(PATIENTS[:count], val=0.2, test=0.2)
    assert len(names_in(splits, 'train')) == 1


@pytest.mark.parametrize('options, field', [
    (dict(val=0.5, test=0.5), 'val=0.5'), (dict(val=-0.1, test=0.2), 'val=-0.1'), (dict(val=0.1, test=1.0), 'test=1.0'),
    (dict(val=float('nan'), test=0.2), 'val=nan'), (dict(val=0.1, test=0.2, folds=1), 'folds=1'),
    (dict(val=0.1, test=0.2, folds=-2), 'folds=-2'), (dict(val=0.1, test=0.2, folds=5, fold=5), 'fold=5'),
    (dict(val=0.1, test=0.2, folds=5, fold=-1), 'fold=-1'), (dict(val=0.1, test=0.2, folds=60), 'folds=60'),
])
def test_invalid_fractions_and_folds_are_refused(options, field):
    with pytest.raises(InputError, match=field) as error:
        split_by_patient(PATIENTS, **options)
    assert str(error.value).startswith('config.data.source: ') and '\n' not in str(error.value)


def test_a_kept_split_is_read_back(tmp_path):
    cases = [case('b', 'p1', 'train'), case('a', 'p1', 'train'), case('c', 'p2', 'test')]
    digest = write_split(tmp_path / 'new' / 'splits.json', cases)
    assert (tmp_path / 'new' / 'splits.json').stat().st_mode & 0o777 == 0o600  # patients' names are in it
    assert read_split(tmp_path / 'new' / 'splits.json') == {'p1': 'train', 'p2': 'test'}
    assert write_split(tmp_path / 'again.json', cases[::-1]) == digest
    assert (tmp_path / 'again.json').read_bytes() == (tmp_path / 'new' / 'splits.json').read_bytes()


@pytest.mark.parametrize('other', [case('c', 'p2', 'val'), case('c', 'p3', 'test'), case('d', 'p2', 'test')])
def test_the_hash_changes_with_the_split(tmp_path, other):
    first = case('a', 'p1', 'train')
    assert write_split(tmp_path / 'a.json', [first, case('c', 'p2', 'test')]) != write_split(tmp_path / 'b.json',
                                                                                             [first, other])


def test_a_changed_split_file_is_refused(tmp_path):
    path = tmp_path / 'splits.json'
    write_split(path, [case('a', 'p1', 'train'), case('c', 'p2', 'test')])
    path.write_text(path.read_text().replace('"test"', '"train"'))
    with pytest.raises(InputError, match='the file was changed') as error:
        read_split(path)
    assert str(error.value).startswith(f'{path}: its sha256 is ')


@pytest.mark.parametrize('content', [
    b'', b'{', b'[]', b'3', b'null', b'{}', b'{"cases": []}', b'{"cases": {"a": 1}}',
    b'{"cases": {"a": {"patient": "p"}}}',
    b'{"cases": {"a": {"patient": ["p"], "split": "train"}}}', b'\xff\xfe\x00', b'[' * 100_000,
    json.dumps({'cases': {'a': {'patient': 'p', 'split': 'train'}}}).encode(),
])
def test_an_invalid_split_file_is_refused(tmp_path, content):
    path = tmp_path / 'splits.json'
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_split(path)
    assert str(path) in str(error.value) and 'expected' in str(error.value) and '\n' not in str(error.value)


def test_a_missing_split_file_is_refused(tmp_path):
    with pytest.raises(InputError, match='none.json: cannot be read'):
        read_split(tmp_path / 'none.json')


def test_a_patient_in_two_splits_of_a_kept_file_is_refused(tmp_path):
    write_split(tmp_path / 'splits.json', [case('a', 'p1', 'train'), case('b', 'p1', 'test')])
    with pytest.raises(InputError, match="patient 'p1'"):
        read_split(tmp_path / 'splits.json')


@pytest.mark.parametrize('folds, val, test', [(0, 0.2, 0.2), (5, 0.0, 0.2)])
def test_strata_are_split_in_equal_fractions(folds, val, test):
    strata = {name: 'rare' if number % 10 == 0 else 'common' for number, name in enumerate(PATIENTS)}
    for fold in range(folds or 1):
        splits = split_by_patient(PATIENTS, val=val, test=test, fold=fold, folds=folds, strata=strata)
        rare = [sum(strata[name] == 'rare' for name in names_in(splits, split)) for split in ('val', 'test')]
        want = sum(kind == 'rare' for kind in strata.values()) / 5
        assert all(abs(count - want) <= 1 for count in rare)


def test_nested_folds_test_everyone_once_and_validate_the_rest_once():
    tested = []
    for outer in range(4):
        held = []
        for inner in range(3):
            splits = split_by_patient(PATIENTS, val=0, test=0, fold=(outer, inner), folds=(4, 3))
            held += names_in(splits, 'val')
        tested += names_in(splits, 'test')
        assert sorted([*held, *names_in(splits, 'test')]) == sorted(PATIENTS)
    assert sorted(tested) == sorted(PATIENTS)
    with pytest.raises(InputError, match='expected two numbers each'):
        split_by_patient(PATIENTS, val=0, test=0, fold=1, folds=(4, 3))


@pytest.mark.parametrize('strata', [None, {name: 'ab'[number % 7 == 0] for number, name in enumerate(PATIENTS)}])
def test_the_first_inner_folds_validate_and_train_everyone(strata):
    folds = [split_by_patient(PATIENTS, val=0, test=0, fold=(outer, 0), folds=(5, 4), strata=strata)
             for outer in range(5)]
    for split in ('val', 'test'):  # each patient tests once and validates once
        parts = [names_in(splits, split) for splits in folds]
        assert sum(map(len, parts)) == 50 and set().union(*parts) == set(PATIENTS)
    training = [names_in(splits, 'train') for splits in folds]
    assert all(sum(name in part for part in training) == 3 for name in PATIENTS)
    assert len(set(map(frozenset, training))) == 5


def divide(splitting, rows, **options):
    return splitting.divide(rows, 'table.csv', pathlib.Path('.'), **options)


def test_named_splits_come_before_random_ones_and_folds_keep_the_test_patients():
    rows = [{'patient': name, 'split': {'p000': 'test', 'p001': 'val'}.get(name, '')} for name in PATIENTS]
    found = divide(Splitting(splits={'p002': 'test'}), rows)
    assert (found['p000'], found['p001'], found['p002']) == ('test', 'val', 'test') and sorted(found) == PATIENTS
    rest = split_by_patient(PATIENTS[3:], val=0.2, test=0.2)
    assert {name: found[name] for name in rest} == rest
    folds = [divide(Splitting(splits={'p002': 'test'}, fold=fold, folds=4), rows) for fold in range(4)]
    assert all(names_in(splits, 'test') == {'p000', 'p002'} for splits in folds)
    assert set().union(*(names_in(splits, 'val') for splits in folds)) == {'p001', *PATIENTS[3:]}
    nested = [divide(Splitting(fold=(fold, 0), folds=(5, 2)), rows) for fold in range(5)]
    assert set().union(*(names_in(splits, 'test') for splits in nested)) == set(PATIENTS)


@pytest.mark.parametrize('splitting, rows, message', [
    (Splitting(splits={'x': 'test'}), [{'patient': 'a'}], "config.data.source.splits: no patient 'x'; expected some"),
    (Splitting(splits={'a': 'dev'}), [{'patient': 'a'}], "config.data.source.splits: split 'dev'; expected one of"),
    (Splitting(), [{'patient': 'a', 'split': 'dev'}], "table.csv: split 'dev'; expected one of: train, val, test"),
    (Splitting(), [{'patient': 'a', 'split': 'val'}, {'patient': 'a', 'split': 'test'}],
     "table.csv: patient 'a' is in"),
    (Splitting(fold=1), [{'patient': 'a'}], 'fold=1, folds=0; expected whole numbers, and folds where there is a fold'),
])
def test_split_options_that_do_not_fit_the_patients_are_refused(splitting, rows, message):
    with pytest.raises(InputError, match=message):
        divide(splitting, rows)


def test_a_data_set_is_resplit_by_target_only_if_asked_for():
    cases = [case(f'{split}{n}', split=split, target=n % 2) for split, count in (('train', 20), ('val', 4), ('test', 8))
             for n in range(count)]
    splits = {c.id: c.split for c in cases}
    assert resplit(cases) == Resplitting().resplit(cases) == CrossValidation().resplit(cases, 3) == cases
    for changed in (Resplitting(val=0.25).resplit(cases), CrossValidation(fold=1, folds=4).resplit(cases, 0)):
        assert [c.id for c in changed if c.split == 'test'] == [c.id for c in cases if c.split == 'test']
        held = [c for c in changed if c.split == 'val']
        assert len(held) == 6 and sum(c.target for c in held) == 3
    nested = [Resplitting(fold=(fold, 0), folds=(4, 3)).resplit(cases) for fold in range(4)]
    assert sorted(c.id for changed in nested for c in changed if c.split == 'test') == sorted(splits)


def test_a_run_whose_data_has_changed_is_refused(tmp_path):
    old = [case(name, name, split) for name, split in (('a', 'train'), ('b', 'test'), ('c', 'val'))]
    check_same_data(tmp_path, old, 'x' * 64)  # nothing was trained there yet
    write_split(tmp_path / 'splits.json', old)
    (tmp_path / 'environment.json').write_text(json.dumps({'data_hash': 'x' * 64}))
    check_same_data(tmp_path, old, 'x' * 64)
    grown = [case('a', 'a', 'test'), *old[1:], case('d', 'd', 'train'), case('e', 'e', 'train')]
    for cases, said in ((grown, ': 2 new, 1 in another split (data_hash xxxxxxxxxxxx, now yyyyyyyyyyyy); expected the'),
                        (old[:2], ': 1 missing (data_hash'), (old, ': content or order (data_hash')):
        with pytest.raises(InputError) as error:
            check_same_data(tmp_path, cases, 'y' * 64)
        assert f'cases or splits have changed since the run in {tmp_path} began{said}' in str(error.value)
    for content in ('{"data_hash": ', '[]'):
        (tmp_path / 'environment.json').write_text(content)
        with pytest.raises(InputError, match=r'environment\.json: .*; expected JSON|environment\.json: list; expected'):
            check_same_data(tmp_path, old, 'x' * 64)


def test_markers_of_missing_values_are_no_splits():
    rows = [{'patient': name, 'split': split} for name, split in (('a', ' test '), ('b', 'NA'), ('c', ''), ('d', '.'))]
    found = divide(Splitting(val=0, test=0), rows)
    assert found == {'a': 'test', 'b': 'train', 'c': 'train', 'd': 'train'}


def test_split_options_are_keys_of_the_config():
    known = config.keys(classification_folder.source)
    assert [known[field.name].default for field in dataclasses.fields(Splitting)] == [0.2, 0.2, 0, 0, 0, None, '']
    assert 'splitting' not in known and {'fold', 'folds', 'split_seed'} < set(config.keys(medmnist.source))
