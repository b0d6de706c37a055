"""Trains the experiment that a config describes, evaluates it and draws its report.

    python -m medjax.train --config=configs/NAME.py[:variant] --workdir=DIR [--config.KEY=VALUE …]
    python -m medjax.train --config=configs/NAME.py --dry_run    cost of a step; no results
    srun python -m medjax.train … --distributed=auto             one run of several processes

A training that SIGTERM, Ctrl-C or SIGHUP stopped before its end has saved its state and exits with code 75; the same
command resumes.
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from medjax import cli, training
from medjax.core import distributed, signals
from medjax.errors import InputError


def main(_: Sequence[str]) -> None:
    """Reads the flags and trains."""
    with distributed.started(DISTRIBUTED.value):
        finished = _train()
    if not finished:
        sys.exit(signals.STOPPED)


def _train() -> bool:
    """Trains; returns False where a signal stopped it."""
    config = cli.given_config(CONFIG)
    if DRY_RUN.value:
        training.rehearse(config)
    elif WORKDIR.value is None:
        raise InputError('--workdir: expected a folder for the results')
    else:
        return _train_in(config, pathlib.Path(WORKDIR.value))
    return True


def _train_in(config: dict[str, Any], workdir: pathlib.Path) -> bool:
    """Trains in a folder; returns False where a signal stopped it."""
    try:
        with signals.as_interrupt():
            return training.train_and_evaluate(config, workdir, from_step=FROM_STEP.value, evaluate=EVALUATE.value)
    except KeyboardInterrupt as stop:  # before the first step, or after the last
        cli.say(f'{stop or "SIGINT"}: stopped; rerun the same command to resume')
        if distributed.several():
            raise  # which ends the others too
        return False


if __name__ == '__main__':
    # Any key may be given, whether the file has it or not; unknown ones are refused by name later.
    CONFIG = config_flags.DEFINE_config_file('config', None, 'The experiment, a file in configs/.', lock_config=False,
                                             accept_new_attributes=True)
    flags.FLAGS['config'].parser = cli.ConfigParser('config', lock_config=False)
    WORKDIR = flags.DEFINE_string('workdir', None, 'The folder for results; a run that is there is resumed.')
    FROM_STEP = flags.DEFINE_integer('from_step', None, 'The step of the checkpoint to resume from, in place of the '
                                     'newest; later ones are moved to checkpoints/set_aside.')
    DISTRIBUTED = flags.DEFINE_string('distributed', '', "For one run of several processes: 'auto' under Slurm, Open "
                                      'MPI, GKE or Cloud TPU, or HOST:PORT,COUNT,NUMBER.')
    EVALUATE = flags.DEFINE_bool('evaluate', True, 'Evaluate the run after its last step, and draw its report.')
    DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Print the cost of a step, and stop.')
    flags.mark_flag_as_required('config')
    cli.run(main)
