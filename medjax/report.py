"""Draws the report of a run again, from the files in its workdir.

    python -m medjax.report --workdir=DIR
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from medjax import cli
from medjax.report import page


def main(_: Sequence[str]) -> None:
    """Reads the flag and draws."""
    print(f'report: {page.write(pathlib.Path(WORKDIR.value))}', flush=True)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The run.')
    flags.mark_flag_as_required('workdir')
    cli.run(main)
