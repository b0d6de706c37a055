"""Measures one side of one job in a separate process: `python -m medjax.bench.worker JOB SIDE SECONDS OUT`."""

import json
import os
import pathlib
import resource
import sys
import time

from medjax import cli
from medjax.bench.jobs import JOBS
from medjax.machine import cores

LEAST, MOST = 3, 50  # number of repetitions
LONG = 30.0  # seconds; after a first repetition that takes longer, only one more is measured


def main(name: str, side: str, seconds: str, out: str) -> None:
    """Measures a side and writes the result as JSON.

    Args:
      name: the job's name.
      side: the side's name.
      seconds: approximate duration of the measurement.
      out: the file of the result.
    """
    job = JOBS[name]
    if job.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:job.cores])
    os.environ['OMP_NUM_THREADS'] = str(cores())  # for PyTorch; XLA uses all cores anyway
    cli.prepare()
    measured = {**job.own, **job.peers}[side]()
    began = time.time()
    measured.run()
    first = time.time()
    times: list[float] = []
    if job.value != 'first':
        least = LEAST
        if first - began > LONG:
            least = 1
        else:
            measured.run()
        while len(times) < least or (sum(times) * measured.units < float(seconds) and len(times) < MOST):
            began = time.perf_counter()
            measured.run()
            times.append((time.perf_counter() - began) / measured.units)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pathlib.Path(out).write_text(json.dumps({
        'first': first, 'times': times, 'parameters': measured.parameters, 'flops': measured.flops(),
        'settings': measured.settings, 'memory_mb': peak}))


if __name__ == '__main__':
    main(*sys.argv[1:])
