#!/bin/bash
# One training run as a Slurm job, on one node or several. From the root of the checkout, after bash launch/local.sh:
#   sbatch --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 launch/slurm.sh --config=configs/NAME.py --workdir=DIR
# Options of sbatch take the place of those below. With GPUs, a task for each: JAX gives each task one of the node's, so
# that --gpus-per-task, which hides the others, does not work. DIR has to be on a file system that all nodes share.
# A job that is preempted, or reaches its time limit, saves its state and is queued again.

#SBATCH --job-name=medjax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
code=0
# All tasks end together by themselves; a task that ends first must not have the others killed, which may be saving.
srun --kill-on-bad-exit=0 "${PYTHON:-.venv/bin/python}" -m medjax.train --distributed=auto "$@" || code=$?
# 75: stopped before its end. Slurm takes any other end for the last one.
[ $code != 75 ] || exec scontrol requeue "$SLURM_JOB_ID"
exit $code
