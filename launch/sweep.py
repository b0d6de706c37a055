"""Trains a config over settings, seeds and folds, and compares the settings in one table and one picture.

    python launch/sweep.py --config=configs/NAME.py --workdir=runs/sweep --grid='optim.lr=1e-3,3e-4' \
      [--grid='KEY=VALUE,VALUE' …] [--setting='NAME: --config.KEY=VALUE …' …] [--seeds=3] [--folds=5 [--inner=4]] \
      [--jobs=2] [--by=slurm [--sbatch='--partition=NAME --gpus-per-node=1']] [--metrics=NAME,NAME] \
      [--by=sky --bucket=NAME --mount=DIR [--sky='--gpus=L4:1 --num-nodes=1']] [--config.KEY=VALUE …]

All combinations of the grids are settings; `--grid='config=a.py,b.py'` compares configs, and `--setting` gives several
keys of a setting at once. In every argument `{seed}` and `{fold}` are those of the run. `jobs` runs take place at a
time, each on a GPU of its own where there are some, or as a job of Slurm or SkyPilot. Finished runs are skipped, so
that the same command resumes after a stop, and `--seeds` may grow. The results are in `sweep.csv` and `sweep.png`, and
those of each setting in `SETTING/all`; without a grid, in the folder itself. Choose a setting by the column `val`: the
test metric of the best of several is biased.
"""

import sys

from medjax import cli
from medjax.errors import InputError
from medjax.sweep import command

if __name__ == '__main__':
    try:
        sys.exit(command.main(sys.argv[1:], __doc__))
    except InputError as error:
        cli.fail(str(error))
