"""Atomic files: temporary names, links, what a kill leaves, and JSON that is damaged."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from medjax import atomic_files
from medjax.errors import InputError

WRITE = '''
import pathlib, sys, time
from medjax import atomic_files
with atomic_files.replacing(pathlib.Path(sys.argv[1])) as file:
    file.write(b'half')
    file.flush()
    print('writing', flush=True)
    time.sleep(60)
'''


def temporary(folder):
    return list(folder.glob('.medjax-*.part'))


def test_a_file_appears_whole_with_the_users_own_permissions(tmp_path):
    path = tmp_path / 'inner' / ('x' * 250)
    with atomic_files.replacing(path) as file:
        file.write(b'content')
        assert not path.exists() and len(temporary(path.parent)) == 1
    assert path.read_bytes() == b'content' and not temporary(path.parent)
    (tmp_path / 'other').touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / 'other').stat().st_mode)


def test_new_folders_are_for_the_user_alone_and_existing_ones_are_kept(tmp_path):
    atomic_files.write_text(tmp_path / 'run' / 'results.json', '{}')
    (tmp_path / 'shared').mkdir(0o755)
    atomic_files.write_text(tmp_path / 'shared' / 'cases' / 'a.npz', '')
    atomic_files.write_text(tmp_path / 'shared' / 'results.json', '{}')
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ('run', 'shared', 'shared/cases')]
    assert modes == [0o700, 0o755, 0o700]


def test_names_are_not_repeated_and_links_are_not_followed(tmp_path, monkeypatch):
    seen = set()
    for _ in range(3):
        with atomic_files.replacing(tmp_path / 'a') as file:
            seen.add(file.name)
    assert len(seen) == 3
    victim = tmp_path / 'victim'
    victim.write_text('mine')
    monkeypatch.setattr(atomic_files.secrets, 'token_hex', lambda size: 'guessed')
    (tmp_path / '.medjax-guessed.part').symlink_to(victim)
    with pytest.raises(InputError, match='cannot be written: File exists'):
        atomic_files.write_text(tmp_path / 'b', 'text')
    assert victim.read_text() == 'mine' and not (tmp_path / 'b').exists()


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / 'a'
    path.write_text('old')
    with pytest.raises(KeyError), atomic_files.replacing(path) as file:
        file.write(b'half')
        raise KeyError
    assert path.read_text() == 'old' and not temporary(tmp_path)


def test_what_a_kill_left_is_removed_and_a_running_process_keeps_its_file(tmp_path):
    process = subprocess.Popen([sys.executable, '-c', WRITE, str(tmp_path / 'a')], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b'writing\n'
        (part,) = temporary(tmp_path)
        os.utime(part, (time.time() - 60,) * 2)
        atomic_files.write_text(tmp_path / 'b', 'text')
        assert part.exists()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    atomic_files._remove_leftovers.cache_clear()  # as in a new process
    atomic_files.write_text(tmp_path / 'b', 'text')
    assert not part.exists() and not (tmp_path / 'a').exists()


@pytest.mark.parametrize('content, message', [
    (b'{"a": 1', 'damaged, not readable as JSON'), (b'\xff\xfe\x00', 'damaged'), (b'[1]', 'contains a list'),
    (b'[' * 100_000, 'damaged')])
def test_damaged_json_is_named(tmp_path, content, message):
    path = tmp_path / 'a.json'
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf'a\.json: {message}'):
        atomic_files.read_json(path)
    with pytest.raises(InputError, match='b.json: cannot be read: No such file'):
        atomic_files.read_json(tmp_path / 'b.json')
