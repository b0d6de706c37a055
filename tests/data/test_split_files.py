import json

import pytest

from medjax.data.source import Case
from medjax.data.split_files import check_same_data, read_split, write_split
from medjax.errors import InputError


def case(id, patient='', split='train', target=None):
    return Case(id=id, patient=patient or id, split=split, read=lambda: None, target=target)


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
