"""Splits: by patient, the same for every run, and kept with a hash that notices a changed file."""

import json
import random

import pytest

from medjax.data.source import Case, Source, data_dir
from medjax.data.splits import keep_split, kept_split, split_by_patient
from medjax.errors import InputError

PATIENTS = [f'p{number:03}' for number in range(50)]


def case(id, patient='', split='train'):
    return Case(id=id, patient=patient or id, split=split, read=lambda: None)


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
def test_folds_partition_what_is_not_test(folds):
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
def test_shares_and_folds_that_make_no_sense_are_refused(options, field):
    with pytest.raises(InputError, match=field) as error:
        split_by_patient(PATIENTS, **options)
    assert str(error.value).startswith('config.data.source: ') and '\n' not in str(error.value)


def test_a_kept_split_is_read_back(tmp_path):
    cases = [case('b', 'p1', 'train'), case('a', 'p1', 'train'), case('c', 'p2', 'test')]
    digest = keep_split(tmp_path / 'new' / 'splits.json', cases)
    assert kept_split(tmp_path / 'new' / 'splits.json') == {'p1': 'train', 'p2': 'test'}
    assert keep_split(tmp_path / 'again.json', cases[::-1]) == digest
    assert (tmp_path / 'again.json').read_bytes() == (tmp_path / 'new' / 'splits.json').read_bytes()


@pytest.mark.parametrize('other', [case('c', 'p2', 'val'), case('c', 'p3', 'test'), case('d', 'p2', 'test')])
def test_the_hash_changes_with_the_split(tmp_path, other):
    first = case('a', 'p1', 'train')
    assert keep_split(tmp_path / 'a.json', [first, case('c', 'p2', 'test')]) != keep_split(tmp_path / 'b.json',
                                                                                          [first, other])


def test_a_changed_split_file_is_refused(tmp_path):
    path = tmp_path / 'splits.json'
    keep_split(path, [case('a', 'p1', 'train'), case('c', 'p2', 'test')])
    path.write_text(path.read_text().replace('"test"', '"train"'))
    with pytest.raises(InputError, match='the file was changed') as error:
        kept_split(path)
    assert str(error.value).startswith(f'{path}: its sha256 is ')


@pytest.mark.parametrize('content', [
    b'', b'{', b'[]', b'3', b'null', b'{}', b'{"cases": []}', b'{"cases": {"a": 1}}',
    b'{"cases": {"a": {"patient": "p"}}}',
    b'{"cases": {"a": {"patient": ["p"], "split": "train"}}}', b'\xff\xfe\x00', b'[' * 100_000,
    json.dumps({'cases': {'a': {'patient': 'p', 'split': 'train'}}}).encode(),
])
def test_what_is_no_split_file_is_refused(tmp_path, content):
    path = tmp_path / 'splits.json'
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        kept_split(path)
    assert str(path) in str(error.value) and 'expected' in str(error.value) and '\n' not in str(error.value)


def test_a_missing_split_file_is_refused(tmp_path):
    with pytest.raises(InputError, match='none.json: cannot be read'):
        kept_split(tmp_path / 'none.json')


def test_a_patient_in_two_splits_of_a_kept_file_is_refused(tmp_path):
    keep_split(tmp_path / 'splits.json', [case('a', 'p1', 'train'), case('b', 'p1', 'test')])
    with pytest.raises(InputError, match="patient 'p1'"):
        kept_split(tmp_path / 'splits.json')


@pytest.mark.parametrize('id', ['', '.', '..', '.hidden', 'a/b', 'a\nb', 'a\0b'])
def test_a_case_id_must_be_able_to_name_a_file(id):
    with pytest.raises(InputError, match='a name that a file can have'):
        Source(cases=(case(id, 'p'),), classes=('background', 'a'))


def test_case_ids_are_unique():
    with pytest.raises(InputError, match="'a' occurs twice"):
        Source(cases=(case('a'), case('a')), classes=('background', 'a'))


@pytest.mark.parametrize('classes', [(), ('background',), ('a', 'a'), tuple(map(str, range(256)))])
def test_classes_are_two_to_255_different_names(classes):
    with pytest.raises(InputError, match='classes'):
        Source(cases=(), classes=classes)


def test_data_lies_where_the_config_or_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv('MEDJAX_DATA_DIR', str(tmp_path))
    assert data_dir('') == tmp_path
    (tmp_path / 'own').mkdir()
    assert data_dir(str(tmp_path / 'own')) == tmp_path / 'own'
    for named, environment in ((str(tmp_path / 'none'), str(tmp_path)), ('', str(tmp_path / 'none'))):
        monkeypatch.setenv('MEDJAX_DATA_DIR', environment)
        with pytest.raises(InputError, match='none: no such folder'):
            data_dir(named)


@pytest.mark.parametrize('folds, val, test', [(0, 0.2, 0.2), (5, 0.0, 0.2)])
def test_strata_are_dealt_in_equal_shares(folds, val, test):
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
