"""Sources: case ids, classes, and the data folder."""

import pytest

from medjax.data.source import Case, Source, data_dir
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


def test_data_lies_where_the_config_or_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv('MEDJAX_DATA_DIR', str(tmp_path))
    assert data_dir('') == tmp_path
    (tmp_path / 'own').mkdir()
    assert data_dir(str(tmp_path / 'own')) == tmp_path / 'own'
    for named, environment in ((str(tmp_path / 'none'), str(tmp_path)), ('', str(tmp_path / 'none'))):
        monkeypatch.setenv('MEDJAX_DATA_DIR', environment)
        with pytest.raises(InputError, match='none: no such folder'):
            data_dir(named)
