"""Resources of the machine that this process may use."""

import os
import pathlib
import platform


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def processor() -> str:
    """The name of the processor; '' where the system does not say it."""
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    names = [value.strip() for key, _, value in (line.partition(':') for line in lines) if key.strip() == 'model name']
    return names[0] if names else platform.processor()
