"""Start and end of a command: settings that must precede the start of JAX, and errors as one line."""

import ctypes
import errno
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_dict
from ml_collections.config_flags import DEFINE_config_file
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from medjax import atomic_files
from medjax.errors import InputError, as_line

CLOSED = (errno.EPIPE, errno.EIO, errno.ENXIO)  # what writing to a closed pipe or terminal gives
SECTIONS = ('augment', 'checkpoint', 'debug', 'evaluate', 'init', 'log', 'mesh')  # that a config need not have
INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it


XLA_FLAGS = {
    '--xla_gpu_deterministic_ops': 'true',
    # Matrix products by YNNPACK, but not convolutions: with fewer than 128 features it runs those on one core.
    '--xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_DOT',
}
# Every step allocates and frees the same memory. Returned to the system, it would be mapped and zeroed page by page
# again, which took a fifth of the time of a step: with these options glibc keeps it. The numbers are those of malloc.h.
MALLOPT = {
    -8: 1,  # M_ARENA_MAX: arenas of other threads would map large blocks whatever the options below say
    -4: 0,  # M_MMAP_MAX: no block gets a mapping of its own
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD
    -2: 2**26,  # M_TOP_PAD: in large steps
}


def prepare() -> None:
    """Sets compiler flags, the compilation cache and memory options, where the environment does not set them."""
    if not any(name.startswith(('MALLOC_', 'GLIBC_TUNABLES', 'LD_PRELOAD')) for name in os.environ):
        # Only glibc has mallopt.
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
    """Runs a command; invalid input ends it with one line on standard error and exit code 2.

    Addresses of object storage are refused here for all commands, see `atomic_files.check_arguments`.

    Args:
      main: takes the positional arguments; the first is the command itself.
      unnamed: whether other positional arguments are allowed.
    """
    absl_logging.set_verbosity(absl_logging.FATAL)  # errors are raised too
    flags.FLAGS.set_gnu_getopt(True)  # options may come after arguments

    def parse(arguments: list[str]) -> list[str]:
        try:
            atomic_files.check_arguments(arguments[1:])
            return parse_flags(flags.FLAGS, arguments)
        except InputError as error:
            fail(str(error))

    def guarded(arguments: Sequence[str]) -> None:
        if len(arguments) > 1 and not unnamed:
            fail(f'{arguments[1]}: unknown argument; options are written --name=value')
        try:
            main(arguments)
        except KeyboardInterrupt:
            print('medjax: stopped by Ctrl-C', file=sys.stderr, flush=True)
            sys.exit(INTERRUPTED)
        except Exception as error:
            line = as_line(error)
            if line is None:
                raise
            fail(line)

    app.run(guarded, flags_parser=parse)


class ConfigParser(ConfigFileFlagParser):
    """Reads a config file, with an empty section for each one that it lacks, so that options may add keys there."""

    def parse(self, path: str) -> config_dict.ConfigDict:
        """The config of a file, `FILE.py` or `FILE.py:VARIANT`."""
        config = super().parse(path)
        if isinstance(config, config_dict.ConfigDict):
            for name in SECTIONS:
                if config.get(name) is None:
                    config[name] = config_dict.ConfigDict()
        return config


def given_config(flag: Any) -> dict[str, Any]:
    """The config of a config flag that has been parsed, without empty sections.

    Raises:
      InputError: the file cannot be read.
    """
    try:
        return {key: value for key, value in flag.value.to_dict().items() if value != {}}
    except OSError as error:  # absl keeps the error until the config is used
        raise InputError('--config: cannot be read; expected a file in configs/: '
                         f'{error.__cause__ or error}') from error


def read_config(arguments: Sequence[str]) -> dict[str, Any]:
    """The config that `python -m medjax.train` reads from arguments `--config=…` and `--config.KEY=VALUE`.

    Raises:
      InputError: the file cannot be read; an argument that does not fit it.
    """
    if not any(argument.startswith('--config=') for argument in arguments):
        raise InputError('--config: expected a file in configs/')
    values, line = flags.FlagValues(), ['', *arguments]
    flag = DEFINE_config_file('config', None, flag_values=values, lock_config=False, accept_new_attributes=True,
                              sys_argv=line)
    values['config'].parser = ConfigParser('config', lock_config=False)
    more = parse_flags(values, line)[1:]
    if more:
        raise InputError(f'{more[0]}: unknown argument; expected --config.KEY=VALUE')
    return given_config(flag)


def parse_flags(values: flags.FlagValues, arguments: Sequence[str]) -> list[str]:
    """Sets flags from a command line, the first argument of which is the command; returns the other arguments.

    Raises:
      InputError: an unknown flag, or a value that it does not take.
    """
    try:
        return values(arguments)
    except (KeyError, AttributeError) as error:
        key = str(error.args[0] if error.args else '').strip('\'"').split("'")[0]
        named = [path for path in (argument.split('=')[0] for argument in arguments)
                 if path.startswith('--config.') and key in path.split('.')]
        raise InputError(f'{(named or [key])[0]}: the config has no section {key!r}; add it to the config file'
                         ) from error
    except (flags.Error, ValueError, TypeError, OSError) as error:
        raise InputError(str(error)) from error


def check_imports(missing: str, extra: str) -> None:
    """Refuses to go on where imports of a command failed.

    Args:
      missing: the module that is not installed; '' for none.
      extra: of medjax, which has it.

    Raises:
      InputError: there is one.
    """
    if missing:
        raise InputError(f'the package {missing} is not installed; expected those of the extra: pip install '
                         f"'medjax[{extra}]'")


def say(line: str) -> None:
    """Prints a line at once; a terminal or pipe that has been closed does not end the command."""
    try:
        print(line, flush=True)
    except OSError as error:
        if error.errno not in CLOSED:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str) -> None:
    """Ends the command with one line."""
    print('medjax: ' + ' '.join(message.split()), file=sys.stderr, flush=True)
    sys.exit(2)
