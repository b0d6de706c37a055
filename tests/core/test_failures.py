import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from medjax.core.failures import KILLED
from tests.conftest import ROOT

COUNT, HOST = 3, socket.gethostname()
PROGRAM = '''
import os, pathlib, sys, time
from medjax.core import failures
folder, process, ends, how = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:4]), sys.argv[4]

def read():
    while not (folder / 'port').exists():
        time.sleep(0.01)
    return (folder / 'port').read_text()

def publish(text):
    (folder / 'part').write_text(text)
    (folder / 'part').rename(folder / 'port')

watch = failures.watch(process, 3, 'localhost', publish, read)
if how == 'close':
    watch.close()
    sys.exit()
time.sleep(0.3)
if process == ends and how == 'kill':
    os.kill(os.getpid(), 9)
if process == ends:
    watch.fail(2, 'no such file', lambda: print('medjax: no such file', file=sys.stderr))
time.sleep(60)
'''


def run(folder, ends, how):
    """Three processes, one of which ends in some way; returns their exit codes and what they print."""
    began = time.monotonic()
    started = [subprocess.Popen([sys.executable, '-c', PROGRAM, str(folder), str(number), str(ends), how], text=True,
                                env={**os.environ, 'PYTHONPATH': str(ROOT)}, stderr=subprocess.PIPE)
               for number in range(COUNT)]
    said = [process.communicate(timeout=50)[1].splitlines() for process in started]
    return [process.returncode for process in started], said, time.monotonic() - began


def test_all_end_with_the_cause_of_the_one_that_fails(tmp_path):
    codes, said, _ = run(tmp_path, 2, 'fail')
    assert codes == [2, 2, 2]
    assert said == [[f'medjax: process 2 on {HOST}: no such file'], [], ['medjax: no such file']]


def test_all_end_with_the_cause_of_process_0(tmp_path):
    codes, said, _ = run(tmp_path, 0, 'fail')
    assert codes == [2, 2, 2] and said == [['medjax: no such file'], [], []]


@pytest.mark.parametrize('ends', [0, 1])
def test_a_kill_ends_all(tmp_path, ends):
    codes, said, _ = run(tmp_path, ends, 'kill')
    assert codes == [-signal.SIGKILL if number == ends else 1 for number in range(COUNT)]
    line = f'medjax: process {ends}: {KILLED}'
    assert said == ([[], [line], [line]] if ends == 0 else [[line], [], []])


def test_processes_that_finish_end_nobody(tmp_path):
    codes, said, _ = run(tmp_path, 0, 'close')
    assert codes == [0, 0, 0] and said == [[], [], []]
