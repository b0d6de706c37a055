"""Folders of requests: whose they are, and when they are removed."""

import os

import pytest

from medjax.errors import InputError
from medjax.serve import folders, http_server


def test_folders_of_processes_that_ended_are_removed(tmp_path):
    own = tmp_path / 'own'
    first, lock = folders.claim(own)
    (first / 'image').write_text('x')
    second = folders.claim(own)
    assert (first / 'image').exists()  # its lock is held
    os.close(lock)
    third = folders.claim(own)
    assert not first.exists() and second[0].exists()
    for claimed in (second, third):
        folders.release(*claimed)
    assert not list(own.iterdir()) and own.stat().st_mode & 0o777 == 0o700


def test_a_request_leaves_nothing_when_it_fails(tmp_path):
    with pytest.raises(ValueError), folders.request_folder(tmp_path) as folder:
        (folder / 'image').write_text('x')
        assert folder.stat().st_mode & 0o777 == 0o700
        raise ValueError
    assert not list(tmp_path.iterdir())


def test_folders_of_others_and_links_are_refused(tmp_path):
    (tmp_path / 'open').mkdir(0o755)
    (tmp_path / 'real').mkdir(0o700)
    (tmp_path / 'link').symlink_to(tmp_path / 'real')
    for name in ('open', 'link'):
        with pytest.raises(InputError, match='expected a folder of your own with mode 0700'):
            folders.claim(tmp_path / name)
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='expected a place for a folder of uploads: --tmp'):
        folders.claim(tmp_path / 'file')


def test_a_port_in_use_is_one_line():
    with http_server.bind('127.0.0.1', 0) as first:
        first.listen()
        with pytest.raises(InputError, match='Address already in use; expected an address of this machine'):
            http_server.bind('127.0.0.1', first.getsockname()[1])
    with pytest.raises(InputError, match='--host=no.such.host.invalid'):
        http_server.bind('no.such.host.invalid', 0)
