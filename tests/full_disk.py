"""A small file system of a test's own, which can be filled."""

import contextlib
import os
import subprocess

import pytest

NEEDED = 'needs the right to mount a file system'


@contextlib.contextmanager
def mounted(folder, kilobytes, skip=True):
    """A file system in memory at `folder`; where the user may not mount one the test is skipped, or goes on."""
    folder.mkdir(mode=0o700)
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={kilobytes}k,mode=0700', 'tmpfs', str(folder)],
                          capture_output=True)
    if done.returncode:
        if skip:
            pytest.skip(NEEDED)
        yield folder
        return
    try:
        yield folder
    finally:
        subprocess.run(['umount', '-l', str(folder)], check=True)


def fill(folder, left=0):
    """Fills a file system but for some bytes; returns the file, which can be removed."""
    path = folder / 'filler'
    with path.open('wb', buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(path, max(path.stat().st_size - left, 0))
    return path
