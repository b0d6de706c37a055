"""Splits: by patient, the same for every run, stratified, in folds, and stored with a hash that detects changes."""

import dataclasses
import pathlib
import random

import pytest

from medjax import build
from medjax.core import config
from medjax.data.simulated import treatment
from medjax.data.source import Case
from medjax.data.sources import classification_folder, medmnist
from medjax.data.split_files import write_split
from medjax.data.splits import (
    CrossValidation,
    Resplitting,
    Splitting,
    resplit,
    split_by_patient,
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


def test_only_the_cases_of_the_reassigned_splits_change():
    # Patient 0 trains and tests in the data set's own split, and one patient is of a further split.
    cases = [case(f'{split}{n}', f'p{n}', split) for split, count in (('train', 8), ('test', 1), ('unseen', 1))
             for n in range(count)] + [case('other', split='test_real')]
    changed = {c.id: c.split for c in resplit(cases, fold=1, folds=4)}
    assert {changed.pop(name) for name in ('unseen0', 'other')} == {'unseen', 'test_real'}
    assert changed.pop('test0') == 'test' and sorted(changed.values()) == 6 * ['train'] + 2 * ['val']
    tested = [c.id for fold in range(4) for c in resplit(cases, fold=(fold, 0), folds=(4, 3)) if c.split == 'test']
    assert sorted(tested) == sorted(c.id for c in cases if c.split in ('train', 'test'))


def test_the_parts_of_a_single_patient_are_split_as_cases():
    cases = [case(f'slab{n}', 'one') for n in range(8)]
    tested = [c.id for fold in range(4) for c in resplit(cases, fold=(fold, 0), folds=(4, 3)) if c.split == 'test']
    assert sorted(tested) == [c.id for c in cases]


def test_markers_of_missing_values_are_no_splits():
    rows = [{'patient': name, 'split': split} for name, split in (('a', ' test '), ('b', 'NA'), ('c', ''), ('d', '.'))]
    found = divide(Splitting(val=0, test=0), rows)
    assert found == {'a': 'test', 'b': 'train', 'c': 'train', 'd': 'train'}


def test_split_options_are_keys_of_the_config():
    known = config.keys(classification_folder.source)
    assert [known[field.name].default for field in dataclasses.fields(Splitting)] == [0, 0.2, 0.2, 0, 0, 0, None, '']
    assert 'splitting' not in known
    assert {'calibrate', 'fold', 'folds', 'split_seed'} < set(config.keys(medmnist.source))


def test_a_source_without_folds_of_its_own_has_them():
    section = {'name': 'tabular', 'source': {'name': 'simulated_treatment', 'cases': (16, 4, 5)}}
    assert 'folds' not in config.keys(treatment.source) and build.dataset(section).counts == {
        'train': 16, 'val': 4, 'test': 5}
    folded = build.dataset({**section, 'folds': (5, 4), 'fold': (1, 0), 'calibrate': 3})
    assert folded.counts == {'train': 12, 'val': 5, 'calibrate': 3, 'test': 5}
    assert any(line.startswith('nested cross-validation: ') for line in folded.source.warnings)
    one = build.dataset({**section, 'folds': 4, 'fold': 3})
    assert one.counts == {'train': 15, 'val': 5, 'test': 5} and not one.source.warnings
    with pytest.raises(InputError, match=r'fold=\(5, 0\) of folds=\(5, 4\) for 25 patients; expected a fold from 0'):
        build.dataset({**section, 'folds': (5, 4), 'fold': (5, 0)})
    with pytest.raises(InputError, match='config.data.source.folds: -1; expected'):
        build.dataset({**section, 'folds': -1})


STRATA = {name: 'rare' if number % 5 == 0 else 'common' for number, name in enumerate(PATIENTS)}
ROWS = [{'patient': name} for name in PATIENTS for _ in range(2)]


def strata_of(names):
    return sum(STRATA[name] == 'rare' for name in names), sum(STRATA[name] == 'common' for name in names)


@pytest.mark.parametrize('options', [{}, {'fold': 1, 'folds': 4}, {'fold': (2, 1), 'folds': (5, 4)}])
@pytest.mark.parametrize('calibrate, count', [(0.25, 10), (4, 4), (0.001, 1)])
def test_calibration_patients_are_set_apart_from_those_that_train(options, calibrate, count):
    strata = [STRATA[row['patient']] for row in ROWS]
    before = divide(Splitting(**options), ROWS, strata=strata)  # 40 patients train or validate, 8 of them rare
    found = divide(Splitting(**options, calibrate=calibrate), ROWS, strata=strata)
    chosen = names_in(found, 'calibrate')
    assert len(chosen) == count and chosen < names_in(before, 'train')
    assert {name: split for name, split in found.items() if name not in chosen} == {
        name: split for name, split in before.items() if name not in chosen}
    share = count * strata_of(names_in(before, 'train'))[0] / len(names_in(before, 'train'))
    assert abs(strata_of(chosen)[0] - share) < 1
    assert divide(Splitting(**options, calibrate=0), ROWS, strata=strata) == before
    others = divide(Splitting(**options, calibrate=calibrate, split_seed=1), ROWS, strata=strata)
    assert count < 4 or names_in(others, 'calibrate') != chosen


def test_named_calibration_patients_are_kept_and_no_others_are_drawn(tmp_path):
    rows = [{'patient': name, 'split': 'calibrate' if name in PATIENTS[:3] else ''} for name in PATIENTS]
    for options in ({}, {'calibrate': 0.2}, {'calibrate': 9, 'fold': 1, 'folds': 4}):
        assert names_in(divide(Splitting(**options), rows), 'calibrate') == set(PATIENTS[:3])
    nested = [divide(Splitting(fold=(fold, 0), folds=(5, 2)), rows) for fold in range(5)]
    assert set().union(*(names_in(splits, 'test') for splits in nested)) == set(PATIENTS)
    # The file of a run is read again, also one from before there was this split.
    for calibrate in (0, 0.2):
        first = divide(Splitting(calibrate=calibrate), ROWS)
        write_split(tmp_path / 'splits.json', [case(name, split=split) for name, split in first.items()])
        assert divide(Splitting(split_file=str(tmp_path / 'splits.json'), calibrate=calibrate), ROWS) == first


@pytest.mark.parametrize('splitting', [Resplitting(calibrate=0.25), CrossValidation(calibrate=6)])
def test_calibration_patients_of_a_data_set_with_its_own_split(splitting):
    cases = [case(f'{split}{n}_{k}', f'{split}{n}', split, n % 2) for split, count in
             (('train', 20), ('val', 4), ('test', 8)) for n in range(count) for k in range(2)]
    leaked = case('leaked', 'train0', 'test', 0)  # a patient in two splits is set apart from neither
    resplit_by = splitting.resplit
    found = resplit_by([*cases, leaked], *([0] if isinstance(splitting, CrossValidation) else []))
    chosen = {c.patient for c in found if c.split == 'calibrate'}
    assert len(chosen) == 6 and 'train0' not in chosen and sum(int(name[5:]) % 2 for name in chosen) == 3
    assert all(c.split == ('calibrate' if c.patient in chosen else old.split)
               for c, old in zip(found, [*cases, leaked]))


def test_calibration_leaves_patients_to_train():
    for calibrate, names in ((0.9, PATIENTS[:10]), (40, PATIENTS), (0.1, PATIENTS[:1])):
        with pytest.raises(InputError, match=r'calibrate: .* patients that train; expected a number that leaves'):
            divide(Splitting(calibrate=calibrate), [{'patient': name} for name in names])


def test_the_key_of_the_data_set_is_that_of_its_source():
    section = {'name': 'images', 'size': (16, 16), 'source': {'name': 'simulated_images', 'cases': (20, 5, 5)}}
    before, apart = build.dataset(section), build.dataset({**section, 'calibrate': 0.2})
    assert dict(before.counts) == {'train': 20, 'val': 5, 'test': 5}
    assert dict(apart.counts) == {'train': 15, 'val': 5, 'test': 5, 'calibrate': 5}
    assert before.fingerprint == build.dataset({**section, 'calibrate': 0}).fingerprint != apart.fingerprint
    assert apart.statistics['known'] == [15, 15]
