"""The lock of a run's folder: held against other trainings, freed by a kill."""

import os
import signal
import subprocess
import sys

import pytest

from medjax.core import lock
from medjax.errors import InputError
from tests.conftest import ROOT

HOLD = '''
import pathlib, sys, time
from medjax.core import lock
with lock.locked(pathlib.Path(sys.argv[1]), print):
    print('locked', flush=True)
    time.sleep(60)
'''


def test_another_process_is_named_and_a_kill_frees_the_lock(tmp_path):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    process = subprocess.Popen([sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout.readline() == b'locked\n'
        with pytest.raises(InputError, match=rf'process {process.pid} on .* is training there'), \
                lock.locked(tmp_path, print):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with lock.locked(tmp_path, print), pytest.raises(InputError, match=f'process {os.getpid()} '), \
            lock.locked(tmp_path, print):
        pass
    assert (tmp_path / lock.NAME).read_text() == ''


def test_a_file_system_without_locks_is_reported(tmp_path, monkeypatch):
    def unsupported(file, operation):
        raise OSError(95, 'Operation not supported')
    monkeypatch.setattr(lock.fcntl, 'flock', unsupported)
    lines = []
    with lock.locked(tmp_path, lines.append):
        pass
    assert len(lines) == 1 and 'no locks (Operation not supported)' in lines[0]


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / 'victim').write_text('mine')
    (tmp_path / lock.NAME).symlink_to(tmp_path / 'victim')
    with pytest.raises(OSError), lock.locked(tmp_path, print):
        pass
    assert (tmp_path / 'victim').read_text() == 'mine'
