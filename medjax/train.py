"""Trains the experiment that a config describes, evaluates it and draws its report.

    python -m medjax.train --config=configs/NAME.py[:variant] --workdir=DIR [--config.KEY=VALUE …]
    python -m medjax.train --config=configs/NAME.py --dry_run    cost of a step; no results
"""

import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import config_dict, config_flags
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from medjax import cli, training
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


def main(_: Sequence[str]) -> None:
    """Reads the flags and trains."""
    try:
        config = {key: value for key, value in CONFIG.value.to_dict().items() if value != {}}
    except OSError as error:  # absl keeps the error until the config is used
        raise InputError('--config: cannot be read; expected a file in configs/: '
                         f'{error.__cause__ or error}') from error
    if DRY_RUN.value:
        training.rehearse(config)
    elif WORKDIR.value is None:
        raise InputError('--workdir: expected a folder for the results')
    else:
        training.train_and_evaluate(config, pathlib.Path(WORKDIR.value))


if __name__ == '__main__':
    # Any key may be given, whether the file has it or not; unknown ones are refused by name later.
    CONFIG = config_flags.DEFINE_config_file('config', None, 'The experiment, a file in configs/.', lock_config=False,
                                             accept_new_attributes=True)
    flags.FLAGS['config'].parser = ConfigParser('config', lock_config=False)
    WORKDIR = flags.DEFINE_string('workdir', None, 'The folder for results; a run that is there is resumed.')
    DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Print the cost of a step, and stop.')
    flags.mark_flag_as_required('config')
    cli.run(main)
