"""One side of one job, measured in a process of its own: `python -m medjax.bench.child JOB SIDE SECONDS OUT`."""

import json
import os
import pathlib
import resource
import sys
import time

from medjax import cli
from medjax.bench.jobs import JOBS
from medjax.machine import cores

FEWEST, MOST = 3, 50  # repetitions
LONG = 30.0  # seconds of a first repetition after which one more, already warm, has to do


def main(name: str, side: str, seconds: str, out: str) -> None:
    """Measures for about so many seconds and writes what it found as JSON."""
    job = JOBS[name]
    if job.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:job.cores])
    os.environ['OMP_NUM_THREADS'] = str(cores())  # PyTorch's; XLA takes all there are
    cli.prepare()
    made = {**job.ours, **job.peers}[side]()
    began = time.time()
    made.run()
    first = time.time()
    times: list[float] = []
    if job.value != 'first':
        long = first - began > LONG
        if not long:
            made.run()
        while len(times) < (1 if long else FEWEST) or (
                sum(times) * made.parts < float(seconds) and len(times) < MOST):
            began = time.perf_counter()
            made.run()
            times.append((time.perf_counter() - began) / made.parts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pathlib.Path(out).write_text(json.dumps({
        'first': first, 'times': times, 'parameters': made.parameters, 'flops': made.flops(), 'settings': made.settings,
        'memory_mb': peak}))


if __name__ == '__main__':
    main(*sys.argv[1:])
