"""Computes the response of tumours to treatment from masks of lesions at two visits or more.

    python -m medjax.response --table=visits.csv --output=DIR [--numbered] [--confirm] [--targets=5] [--stable_weeks=6]
        [--new_mm=10] [--visit_unit=weeks] [--dates=iso]

The table is described in `medjax/data/sources/lesion_visits_csv.py`, the criteria in `medjax/tasks/response/recist.py`.
The command writes response.csv (a row for each patient and visit), lesions.csv (for each lesion and visit) and
response.html to DIR.
"""

import pathlib
import sys
from collections.abc import Callable, Sequence

from absl import flags

from medjax import cli, outputs
from medjax.data.io.dates import FORMS
from medjax.data.sources import lesion_visits_csv
from medjax.errors import InputError
from medjax.tasks.response import page as response_page
from medjax.tasks.response import timeline


def evaluate_response(table: pathlib.Path, output: pathlib.Path, numbered: bool = False, most: int = 5,
                      confirm: bool = False, stable: float = 6.0, log: Callable[[str], None] = print,
                      visit_unit: str = 'weeks', dates: str = 'iso',
                      least: float = 10.0) -> pathlib.Path:
    """Computes the response of the patients of a table, and returns the path of the written page.

    Args:
      table: see `data.sources.lesion_visits_csv`.
      output: folder of the tables and the page.
      numbered: see `data.sources.lesion_visits_csv.measure_visits`.
      most: largest number of targets of a patient, see `recist.lesion_roles`.
      confirm: whether CR and PR have to be confirmed, see `recist.best_response`.
      stable: weeks that SD has to last.
      log: takes a line about the table, and one for each patient.
      visit_unit: of visits that are numbers; see `data.sources.lesion_visits_csv.read`.
      dates: form of visits that are dates.
      least: mm from which a lesion is new, see `recist.is_measurable`.

    Raises:
      InputError: a row, file or patient is invalid; nothing is written.
    """
    times = {'visit_unit': visit_unit, 'dates': dates}
    patients = lesion_visits_csv.read(table, **times)
    outputs.check_outputs([output / name for name in response_page.FILES], outputs.input_files(table),
                          f'--output={output}')
    visits_are = lesion_visits_csv.visit_form(table, **times)
    log(f'{table.name}: visits are {visits_are}')
    if all(len({row.weeks for row in rows}) < 2 for rows in patients.values()):
        raise InputError(f'{table}: one visit of each patient; expected at least one patient with two visits or more')
    rows, lesions = [], []
    for number, (patient, patient_rows) in enumerate(patients.items(), 1):
        visits = lesion_visits_csv.measure_visits(patient, patient_rows, numbered)
        visit_rows, lesion_rows = timeline.assess_patient(patient, visits, most, confirm, stable, least)
        rows += visit_rows
        lesions += lesion_rows
        count = '1 visit' if len(visit_rows) == 1 else f'{len(visit_rows)} visits'
        log(f'{number}/{len(patients)}  {patient}: {count}, best response {visit_rows[-1]["best"] or "none yet"}')
    for line in (response_page.unchecked_organs(lesions), response_page.equivocal_lesions(lesions, least)):
        if line:
            log(line)
    options = {'numbered': numbered, 'targets': most, 'confirm': confirm, 'stable_weeks': stable, 'new_mm': least}
    facts = {'data hash': lesion_visits_csv.fingerprint(table, patients), 'visits': visits_are}
    facts |= {name.replace('_', ' '): str(value) for name, value in options.items()}
    return response_page.write_report(output, rows, lesions, {
        'table': table.name, 'options': options, 'command': ' '.join(['python -m medjax.response', *sys.argv[1:]]),
        'facts': facts})


def main(_: Sequence[str]) -> None:
    """Reads the flags and computes the response."""
    page = evaluate_response(pathlib.Path(TABLE.value), pathlib.Path(OUTPUT.value), NUMBERED.value, TARGETS.value,
                             CONFIRM.value, STABLE.value, lambda line: print(line, flush=True), UNIT.value, DATES.value,
                             NEW.value)
    print(f'report: {page}', flush=True)


if __name__ == '__main__':
    TABLE = flags.DEFINE_string('table', None, 'The CSV table of visits.')
    OUTPUT = flags.DEFINE_string('output', None, 'The folder of the tables and the page.')
    NUMBERED = flags.DEFINE_bool('numbered', False, 'The numbers in the masks identify lesions across visits.')
    TARGETS = flags.DEFINE_integer('targets', 5, 'Largest number of targets; 2 where all are in one '
                                   'organ, which the table does not name.', 1)
    CONFIRM = flags.DEFINE_bool('confirm', False, 'CR and PR count once they are confirmed four weeks later.')
    STABLE = flags.DEFINE_float('stable_weeks', 6.0, 'Weeks from the first visit that stable disease has to last.', 0.0)
    NEW = flags.DEFINE_float('new_mm', 10.0, 'Longest diameter in mm from which a lesion that was absent '
                             'before is new; nodes have 15 mm short axis.', 0.0)
    UNIT = flags.DEFINE_enum('visit_unit', 'weeks', ['days', 'weeks', 'months', 'years'], 'Unit of visits that are '
                             'numbers.')
    DATES = flags.DEFINE_enum('dates', 'iso', list(FORMS), 'Form of visits that are dates: iso is 2024-01-29 or '
                              '20240129, dmy day, month, year, mdy month, day, year.')
    flags.mark_flags_as_required(['table', 'output'])
    cli.run(main)
