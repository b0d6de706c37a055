"""The config that arguments of a command line describe."""

from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_dict
from ml_collections.config_flags import DEFINE_config_file
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from medjax import cli
from medjax.errors import InputError

SECTIONS = ('augment', 'checkpoint', 'debug', 'evaluate', 'init', 'log', 'mesh')  # that a config need not have


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


def given(flag: Any) -> dict[str, Any]:
    """The config of a config flag that has been parsed, without empty sections.

    Raises:
      InputError: the file cannot be read.
    """
    try:
        return {key: value for key, value in flag.value.to_dict().items() if value != {}}
    except OSError as error:  # absl keeps the error until the config is used
        raise InputError('--config: cannot be read; expected a file in configs/: '
                         f'{error.__cause__ or error}') from error


def read(arguments: Sequence[str]) -> dict[str, Any]:
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
    more = cli.parse_flags(values, line)[1:]
    if more:
        raise InputError(f'{more[0]}: unknown argument; expected --config.KEY=VALUE')
    return given(flag)
