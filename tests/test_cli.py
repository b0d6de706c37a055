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
