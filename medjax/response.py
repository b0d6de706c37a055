"""Tells how tumours respond to treatment, from masks of lesions at two visits or more.

    python -m medjax.response --table=visits.csv --output=DIR [--numbered] [--confirm] [--targets=5] [--stable_weeks=6]

What the table holds is said in `medjax/data/sources/lesion_visits_csv.py`, the rules in `medjax/tasks/response/recist.py`. DIR gets
response.csv (a row for each patient and visit), lesions.csv (for each lesion and visit) and response.html.
"""

import pathlib
import sys
from collections.abc import Callable, Sequence

from absl import flags

from medjax import cli
from medjax.data.sources import lesion_visits_csv
from medjax.errors import InputError
from medjax.tasks.response import page as response_page
from medjax.tasks.response import timeline


def respond(table: pathlib.Path, output: pathlib.Path, numbered: bool = False, most: int = 5, confirm: bool = False,
            stable: float = 6.0, say: Callable[[str], None] = print) -> pathlib.Path:
    """What the command does.

    Args:
      table: see `data.sources.lesion_visits_csv`.
      output: folder for the tables and the page.
      numbered: see `data.sources.lesion_visits_csv.measured`.
      most: targets of a patient at most, see `recist.roles`.
      confirm: whether CR and PR must be confirmed, see `recist.best`.
      stable: weeks that SD must have lasted.
      say: takes a line for each patient.

    Returns:
      The page's path.

    Raises:
      InputError: at the first row, file or patient that cannot be followed; nothing is written.
    """
    patients = lesion_visits_csv.read(table)
    if all(len({row.weeks for row in rows}) < 2 for rows in patients.values()):
        raise InputError(f'{table}: one visit of each patient; expected two or more of one of them at least')
    rows, lesions = [], []
    for number, (patient, its) in enumerate(patients.items(), 1):
        seen, found = timeline.follow(patient, lesion_visits_csv.measured(patient, its, numbered), most, confirm, stable)
        rows += seen
        lesions += found
        say(f'{number}/{len(patients)}  {patient}: {len(seen)} visit{"s" * (len(seen) > 1)}, best response '
            f'{seen[-1]["best"] or "none yet"}')
    options = {'numbered': numbered, 'targets': most, 'confirm': confirm, 'stable_weeks': stable}
    return response_page.write(output, rows, lesions, {
        'table': table.name, 'options': options, 'command': ' '.join(['python -m medjax.response', *sys.argv[1:]]),
        'facts': {'data hash': lesion_visits_csv.fingerprint(table, patients), **{
            name.replace('_', ' '): str(value) for name, value in options.items()}}})


def main(_: Sequence[str]) -> None:
    """Reads the flags and follows the patients."""
    page = respond(pathlib.Path(TABLE.value), pathlib.Path(OUTPUT.value), NUMBERED.value, TARGETS.value, CONFIRM.value,
                   STABLE.value, lambda line: print(line, flush=True))
    print(f'report: {page}', flush=True)


if __name__ == '__main__':
    TABLE = flags.DEFINE_string('table', None, 'The CSV table of visits.')
    OUTPUT = flags.DEFINE_string('output', None, 'The folder that gets the tables and the page.')
    NUMBERED = flags.DEFINE_bool('numbered', False, "The masks' numbers are lesions that keep them over the visits.")
    TARGETS = flags.DEFINE_integer('targets', 5, 'Targets of a patient at most; 2 where all are of one organ.', 1)
    CONFIRM = flags.DEFINE_bool('confirm', False, 'CR and PR count once they are confirmed four weeks later.')
    STABLE = flags.DEFINE_float('stable_weeks', 6.0, 'Weeks since the first visit that stable disease needs.', 0.0)
    flags.mark_flags_as_required(['table', 'output'])
    cli.run(main)
