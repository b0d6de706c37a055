"""Submits the trainings of a sweep as an array of jobs of Slurm, by submitit (extra `launch`).

    python launch/submit.py --config=configs/NAME.py --workdir=runs/sweep --grid='optim.lr=1e-3,3e-4' --seeds=3 \
      [--folds=5] [--jobs=4] [--hours=24] [--sbatch='--partition=NAME --gpus-per-node=1'] [--wait] \
      [--metrics=NAME,NAME] [--config.KEY=VALUE …]

The arguments that describe the runs are those of `launch/sweep.py`, which makes the same sweep; `jobs` is how many run
at a time. A job that is preempted, or reaches its time limit, saves its state and is queued again. Runs that are
finished or in the queue are not submitted again. With `--wait`, or when all jobs have ended and the command is run
again, the table and picture of the sweep are written. `--executor=local` starts all jobs at once on this machine,
without GPUs, to try it.
"""

import sys

from medjax import cli
from medjax.errors import InputError
from medjax.sweep import submit

if __name__ == '__main__':
    try:
        sys.exit(submit.main(sys.argv[1:], __doc__))
    except InputError as error:
        cli.fail(str(error))
