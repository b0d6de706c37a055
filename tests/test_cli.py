"""Settings of a command before JAX starts."""

import os
import subprocess
import sys

import pytest

FAULTS = '''
import resource, threading
from medjax import cli
cli.prepare()
def work():
    for _ in range(3):
        b'x' * (1 << 26)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        b'x' * (1 << 26)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=work)
thread.start()
thread.join()
'''


@pytest.mark.skipif('CS_GNU_LIBC_VERSION' not in os.confstr_names, reason='the C library is not glibc')
@pytest.mark.parametrize('environment, kept', [({}, True), ({'MALLOC_ARENA_MAX': '4'}, False)])
def test_memory_given_back_is_kept_unless_the_environment_says_how(environment, kept):
    # A thread's own arena would give it to the system, and each of its 4 KB pages be faulted in again.
    bare = {name: value for name, value in os.environ.items() if not name.startswith(('MALLOC_', 'GLIBC_', 'LD_'))}
    done = subprocess.run([sys.executable, '-c', FAULTS], env=bare | environment, capture_output=True, text=True)
    assert (int(done.stdout) < 1000) == kept, done.stderr


CLOSED = '''
import os, sys
from medjax import cli
reader, writer = os.pipe()
os.dup2(writer, 1)
os.close(writer)
os.close(reader)
cli.say('lost')
cli.say('lost as well')
print('still running', file=sys.stderr)
'''
INTERRUPTED = '''
import sys
from medjax import cli
def main(arguments):
    raise {error}
sys.argv = ['command']
cli.run(main)
'''


def script(text):
    return subprocess.run([sys.executable, '-c', text], capture_output=True, text=True)


def test_a_closed_pipe_does_not_end_a_command():
    done = script(CLOSED)
    assert done.returncode == 0 and done.stderr == 'still running\n'


@pytest.mark.parametrize('error, code, line', [
    ('KeyboardInterrupt', 130, 'stopped by Ctrl-C'),
    ('FileNotFoundError(2, "No such file", "/data/a.nii")', 2, '/data/a.nii: no such file or folder'),
    ('OSError(116, "Stale file handle", "/data/a.nii")', 2, '/data/a.nii: no longer there')])
def test_what_a_user_can_mend_is_one_line(error, code, line):
    done = script(INTERRUPTED.format(error=error))
    assert done.returncode == code and done.stderr.startswith(f'medjax: {line}')
    assert len(done.stderr.splitlines()) == 1
