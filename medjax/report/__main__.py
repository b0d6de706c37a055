"""Draws the report of a run again from the files in its folder.

    python -m medjax.report --workdir=DIR
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from medjax import cli, restore


def main(_: Sequence[str]) -> None:
    """Reads the flag and writes the report."""
    print(f'report: {restore.write_report(pathlib.Path(WORKDIR.value))}', flush=True)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The folder of the run.')
    flags.mark_flag_as_required('workdir')
    cli.run(main)
