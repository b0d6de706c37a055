"""Sources: case ids, classes, strata of targets, and the data folder."""

import pytest

from medjax.data.datasets.tumour_visits import FollowUp
from medjax.data.source import (
    Case,
    Measurements,
    Objects,
    Outcome,
    Source,
    TreatmentOutcome,
    check_two_classes,
    data_dir,
    stratum_of,
)
from medjax.errors import InputError


def case(id, patient='', split='train'):
    return Case(id=id, patient=patient or id, split=split, read=lambda: None)


@pytest.mark.parametrize('id', ['', '.', '..', '.hidden', 'a/b', 'a\nb', 'a\0b'])
def test_a_case_id_must_be_able_to_name_a_file(id):
    with pytest.raises(InputError, match='a valid file name'):
        Source(cases=(case(id, 'p'),), classes=('background', 'a'))


def test_case_ids_are_unique():
    with pytest.raises(InputError, match="'a' occurs twice"):
        Source(cases=(case('a'), case('a')), classes=('background', 'a'))


@pytest.mark.parametrize('classes', [(), ('background',), ('a', 'a'), tuple(map(str, range(256)))])
def test_classes_are_two_to_255_different_names(classes):
    with pytest.raises(InputError, match='classes'):
        Source(cases=(), classes=classes)


def test_a_source_of_single_classes_says_so():
    assert Source(cases=(), classes=('death',), problem='survival', least_classes=1).classes == ('death',)
    with pytest.raises(InputError, match='expected 1 to 255 different names$'):
        Source(cases=(), classes=(), problem='survival', least_classes=1)
    with pytest.raises(InputError, match='expected 2 to 255 different names, background first'):
        Source(cases=(), classes=('background',))


def test_two_classes_are_two():
    check_two_classes(Source(cases=(), classes=('no', 'yes'), problem='binary'))
    with pytest.raises(InputError, match=r"classes: \['a', 'b', 'c'\]; expected two for a treatment problem"):
        check_two_classes(Source(cases=(), classes=('a', 'b', 'c'), problem='treatment'))


@pytest.mark.parametrize('target, stratum', [
    (3, '3'), ((0, 1, -1), '(0, 1, -1)'), (Outcome(2.5, 1), '1'), (TreatmentOutcome(0, 7.0), '0'),
    (Measurements((1.0, 2.0)), ''), (FollowUp((0.0, 1.0, 2.0), ('a', 'b'), (0, 1)), '1'), (FollowUp((0.0, 1.0)), '0'),
    (Objects([[0, 0, 1, 1]] * 3, [2, 0, 2]), '0 2')])
def test_strata(target, stratum):
    assert stratum_of(target) == stratum


def test_data_lies_where_the_config_or_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv('MEDJAX_DATA_DIR', str(tmp_path))
    assert data_dir('') == tmp_path
    (tmp_path / 'own').mkdir()
    assert data_dir(str(tmp_path / 'own')) == tmp_path / 'own'
    for named, environment in ((str(tmp_path / 'none'), str(tmp_path)), ('', str(tmp_path / 'none'))):
        monkeypatch.setenv('MEDJAX_DATA_DIR', environment)
        with pytest.raises(InputError, match='none: no such folder'):
            data_dir(named)
