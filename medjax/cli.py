"""How a command begins and ends: settings that must come before JAX starts, and errors as one line."""

import ctypes
import errno
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

from absl import app, flags
from absl import logging as absl_logging

from medjax.errors import InputError

MENDABLE = {errno.ENOSPC: 'no space left', errno.EDQUOT: 'no space left', errno.EACCES: 'no permission',
            errno.EROFS: 'read-only file system', errno.ENOTDIR: 'not a folder', errno.EPERM: 'no permission'}


XLA_FLAGS = {
    '--xla_gpu_deterministic_ops': 'true',
    # Matrix products by YNNPACK, but not convolutions: with fewer than 128 features it runs those on one core.
    '--xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_DOT',
}
# A step takes and gives back the same gigabyte each time. Given back to the system, it comes page by page and zeroed
# again, which was a fifth of the time of a step: glibc is told to keep it. By number, as its malloc.h has them.
MALLOPT = {
    -8: 1,  # M_ARENA_MAX: other threads' arenas take what is large from the system whatever is said below
    -4: 0,  # M_MMAP_MAX: nothing by a mapping of its own
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD
    -2: 2**26,  # M_TOP_PAD: in large steps
}


def prepare() -> None:
    """Sets the compiler's flags, its persistent cache and how memory is kept, where the environment does not."""
    if not any(name.startswith(('MALLOC_', 'GLIBC_TUNABLES', 'LD_PRELOAD')) for name in os.environ):
        # No other C library has it.
        mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if os.name == 'posix' else None
        for number, value in MALLOPT.items() if mallopt else ():
            mallopt(number, value)
    given = os.environ.get('XLA_FLAGS', '')
    ours = [f'{flag}={value}' for flag, value in XLA_FLAGS.items() if flag not in given]
    os.environ['XLA_FLAGS'] = ' '.join([given, *ours]).strip()
    cache = pathlib.Path.home() / '.cache' / 'medjax' / 'xla'
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(cache))
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.5')


def run(main: Callable[[Sequence[str]], None], unnamed: bool = False) -> None:
    """Runs a command; a user's mistake ends in one line on standard error and exit code 2.

    Args:
      main: takes the arguments without a name; the first is the command itself.
      unnamed: whether there may be others.
    """
    absl_logging.set_verbosity(absl_logging.FATAL)  # what goes wrong is raised as well
    flags.FLAGS.set_gnu_getopt(True)  # options may come after arguments

    def parse(arguments: list[str]) -> list[str]:
        try:
            return flags.FLAGS(arguments)
        except (KeyError, AttributeError) as error:
            key = str(error.args[0] if error.args else '').strip('\'"')
            named = [a for a in arguments if a.startswith('--config.') and a.split('=')[0].endswith(f'.{key}')]
            fail(f'{(named or [key])[0]}: the config has no key {key!r}; an override can change keys that the file '
                 'has: add it there')
        except (flags.Error, ValueError, TypeError, OSError) as error:
            fail(str(error))

    def guarded(arguments: Sequence[str]) -> None:
        if len(arguments) > 1 and not unnamed:
            fail(f'{arguments[1]}: unknown argument; options are written --name=value')
        try:
            main(arguments)
        except InputError as error:
            fail(str(error))
        except OSError as error:
            if error.errno not in MENDABLE:
                raise
            fail(f'{error.filename or "a file of the run"}: {MENDABLE[error.errno]}')

    app.run(guarded, flags_parser=parse)


def fail(message: str) -> None:
    """Ends the command with one line."""
    print('medjax: ' + ' '.join(message.split()), file=sys.stderr, flush=True)
    sys.exit(2)
