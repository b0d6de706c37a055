"""The cache of prepared arrays: keys, atomic writes, another process that is faster, and folders without room."""

import fcntl
import os
import re

import pytest

from medjax.data.datasets import prepared_cache
from medjax.errors import InputError


def write(text):
    return lambda folder: (folder / 'a.txt').write_text(text)


def test_an_entry_is_named_by_files_and_options(tmp_path):
    (tmp_path / 'a.png').write_text('1')
    states = prepared_cache.file_states([str(tmp_path / 'a.png')])
    first = prepared_cache.entry(tmp_path, [1, states, {'size': (4, 4)}])
    assert first == prepared_cache.entry(tmp_path, [1, states, {'size': (4, 4)}])
    assert first != prepared_cache.entry(tmp_path, [1, states, {'size': (4, 5)}])
    (tmp_path / 'a.png').write_text('12')
    assert first != prepared_cache.entry(tmp_path, [1, prepared_cache.file_states([str(tmp_path / 'a.png')]),
                                                    {'size': (4, 4)}])


def test_an_entry_is_complete_or_absent(tmp_path):
    folder = tmp_path / 'new' / 'entry'
    with pytest.raises(ZeroDivisionError):
        prepared_cache.store(folder, lambda part: (write('x')(part), 1 / 0), 'cases')
    assert not folder.exists() and not list(folder.parent.iterdir())
    prepared_cache.store(folder, write('first'), 'cases')
    prepared_cache.store(folder, write('second'), 'cases')  # as by another process, which was slower
    assert (folder / 'a.txt').read_text() == 'first' and list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='file: cannot keep prepared cases: .*set config.data.cache to another'):
        prepared_cache.store(tmp_path / 'file' / 'entry', write('x'), 'cases')
    with pytest.raises(InputError, match=': cannot keep prepared images: .*bytes needed'):
        prepared_cache.store(tmp_path / 'entry', lambda part: prepared_cache.check_free_space(part, 2**80), 'images')


def test_a_file_that_is_missing_is_named(tmp_path):
    (tmp_path / 'a.png').symlink_to('gone')
    with pytest.raises(InputError, match=r'a\.png, a link to gone: No such file or directory; expected a file'):
        prepared_cache.file_states([str(tmp_path / 'a.png')])


def flipped(path):
    """Flips one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize('damage, message', [
    (flipped, 'a.txt was changed after it was written'),
    (lambda path: path.write_bytes(path.read_bytes()[:-1]), 'a.txt was changed'),
    (lambda path: path.unlink(), 'a.txt is missing'),
    (lambda path: path.with_name('digests.json').unlink(), 'digests.json is missing'),
    (lambda path: path.with_name('digests.json').write_text('{"a.txt": '), 'digests.json is damaged'),
    (lambda path: path.with_name('digests.json').write_text('[]'), 'digests.json is damaged'),
    (lambda path: path.with_name('digests.json').write_text('{}'), 'digests.json is empty'),
    (lambda path: flipped(path.with_name('digests.json')), 'was changed|is missing|is damaged'),
])
def test_a_damaged_entry_is_reported_and_replaced(tmp_path, capsys, damage, message):
    folder = tmp_path / 'entry'
    prepared_cache.store(folder, write('first'), 'cases')
    assert prepared_cache.found(folder, 'cases') and not capsys.readouterr().err
    damage(folder / 'a.txt')
    assert not prepared_cache.found(folder, 'cases')
    line, = capsys.readouterr().err.splitlines()
    assert re.search(f'warning: {folder}: .*({message}).*; the prepared cases are prepared again', line)
    prepared_cache.store(folder, write('second'), 'cases')
    assert (folder / 'a.txt').read_text() == 'second' and prepared_cache.found(folder, 'cases')
    assert list(tmp_path.iterdir()) == [folder]


def test_prepared_data_is_readable_by_the_user_alone(tmp_path):
    folder = tmp_path / 'new' / 'entry'
    before = os.umask(0)
    try:
        prepared_cache.store(folder, write('x'), 'cases')
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in (folder.parent, folder, *folder.iterdir())} == {
        'new': 0o700, 'entry': 0o700, 'a.txt': 0o600, 'digests.json': 0o600}


def test_what_a_kill_left_is_removed_and_what_is_being_written_stays(tmp_path):
    for name in ('tmp-killed', 'tmp-running', 'tmp-new'):
        (tmp_path / name / 'part').mkdir(parents=True)
        (tmp_path / name / 'lock').touch()
        if name != 'tmp-new':
            os.utime(tmp_path / name / 'lock', (1, 1))
    with (tmp_path / 'tmp-running' / 'lock').open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        prepared_cache.store(tmp_path / 'entry', write('x'), 'cases')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['entry', 'tmp-new', 'tmp-running']
