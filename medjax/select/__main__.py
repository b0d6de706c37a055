"""Selects the images of a pool that should be annotated next.

    python -m medjax.select --workdir=RUN --pool=DIR --count=20 [--strategy=both] [--labelled=DIR]

The run predicts for every image of the pool. The most uncertain ones, different from each other, are written to
`selection.csv` in their order, which the service offers to annotation tools.
"""

import pathlib
from collections.abc import Sequence

from medjax import cli

cli.prepare()

from absl import flags  # noqa: E402

from medjax.select.pool import select  # noqa: E402
from medjax.statistics import selection  # noqa: E402


def main(_: Sequence[str]) -> None:
    """Reads the flags and selects."""
    pool = pathlib.Path(POOL.value)
    select(pathlib.Path(WORKDIR.value).resolve(), pool, COUNT.value,
           pathlib.Path(OUTPUT.value) if OUTPUT.value else pool.parent / 'selection.csv', strategy=STRATEGY.value,
           labelled=pathlib.Path(LABELLED.value) if LABELLED.value else None, seed=SEED.value)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The trained run.')
    POOL = flags.DEFINE_string('pool', None, 'The folder of images without labels.')
    COUNT = flags.DEFINE_integer('count', 20, 'How many images to select.', 1)
    STRATEGY = flags.DEFINE_enum('strategy', 'both', list(selection.STRATEGIES), 'How they are selected.')
    LABELLED = flags.DEFINE_string('labelled', '', 'The folder of images that have labels.')
    SEED = flags.DEFINE_integer('seed', 0, 'Of the strategy random.')
    OUTPUT = flags.DEFINE_string('output', '', 'The table; by default selection.csv beside the pool.')
    flags.mark_flags_as_required(['workdir', 'pool'])
    cli.run(main)
