"""The report of treatment response: tables, and a page with waterfall and spider plots."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from medjax import atomic_files
from medjax.errors import few
from medjax.report import page as report_page
from medjax.report.chapter import FEW_PATIENTS, Chapter, Section
from medjax.report.tables import Cell, Table, format_number
from medjax.tasks.response import charts, recist

Row = Mapping[str, Any]
FILES = ('response.csv', 'lesions.csv', 'response.html')
CONVENTIONS = '\n'.join((
    'Diameters connect the centres of two voxels of a mask in an axial slice. A lesion without such an extent, such '
    'as a single voxel, is too small to measure and counts as 5 mm. The short axis, the longest chord of a slice '
    'perpendicular to its longest diameter, is used for lymph nodes. The diameters of the parts of a lesion are added.',
    'Measurable: 10 mm, or two slices where these are thicker than 5 mm; nodes 15 mm. The longest measurable lesions '
    'of the first visit are targets, at most two of an organ where the table names the organs, and at most two nodes; '
    'all others are non-target, and nodes below 10 mm are no disease.',
    'CR: all lesions are gone and nodes are below 10 mm. PR: the sum of the target diameters is at least 30 % below '
    'that of the first visit. PD: it is 20 % and 5 mm above the smallest earlier sum, or there is a new lesion, or '
    'a lesion returns after CR (from 5 mm, nodes from 10 mm), or the volume of the non-target lesions, as one sphere, '
    'has a 20 % and 5 mm larger diameter (the guideline leaves this to the reader). SD: neither. NE: not all lesions '
    'were evaluated.',
    'New: a lesion without the place (or number) of an earlier lesion of its kind and organ, once it is measurable, by '
    'default from 10 mm (--new_mm), nodes from 15 mm; it then counts from the visit on at which it was first seen, a '
    'node from that visit on. Smaller ones are equivocal: counted, listed in lesions.csv, and no disease yet.',
    'By volume: PR from −65.7 % of the first visit, PD from +72.8 % of the smallest volume, the limits of RECIST for '
    'spheres. By uptake, similar to PERCIST: 30 % and 0.8 units of the mean over 1 ml of the hottest lesion.',
    'Tumour markers and clinical judgement, which RECIST 1.1 takes into account, are not available.',
    'RECIST 1.1: Eisenhauer 2009. Volumes: Therasse 2000. PERCIST 1.0: Wahl 2009.'))
COLUMNS = {  # of the table of visits: the key of a row, and its unit; None for text
    'patient': ('patient', None), 'visit': ('visit', None), 'week': ('weeks', 'weeks'), 'sum, mm': ('sum_mm', 'mm'),
    'from first, %': ('change_percent', '%'), 'from nadir, %': ('nadir_change_percent', '%'),
    'volume, ml': ('volume_ml', 'ml'), 'new': ('new', None), 'equivocal': ('equivocal', None),
    'response': ('response', None), 'best': ('best', None), 'by volume': ('volumetric', None),
    'by uptake': ('percist', None)}


def write_report(folder: pathlib.Path, rows: Sequence[Row], lesions: Sequence[Row],
                 about: Mapping[str, Any]) -> pathlib.Path:
    """Writes `response.csv`, `lesions.csv` and `response.html`, and returns the path of the page.

    Args:
      folder: of the files.
      rows: of visits, patient by patient, see `timeline.assess_patient`.
      lesions: of lesions and visits.
      about: `table`, its name; `command`; `options`; and `facts`, what else is needed to repeat the analysis.

    Raises:
      InputError: a file cannot be written.
    """
    atomic_files.write_table(folder / 'response.csv', rows)
    atomic_files.write_table(folder / 'lesions.csv', lesions)
    path = folder / 'response.html'
    atomic_files.write_text(path, render(rows, lesions, about))
    return path


def patient_summaries(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A summary of each patient: name (`patient`), `best` response, visits (`rows`), `progressed` and `change`.

    `progressed` is the week of the first PD, or None. `change` has the best, that is lowest, change up to then in
    percent of the first visit, of the `sum` of diameters, `volume` and `peak`; NaN where there is none.
    """
    by_patient: dict[str, list[Row]] = {}
    for row in rows:
        by_patient.setdefault(row['patient'], []).append(row)
    out = []
    for patient, visits in by_patient.items():
        last = next((number for number, row in enumerate(visits) if row['response'] == 'PD'), len(visits) - 1)
        change = {name: min((row[key] for row in visits[1:last + 1] if row[key] == row[key]), default=np.nan)
                  for name, key in charts.CHANGES.items()}
        progressed = visits[last]['weeks'] if visits[last]['response'] == 'PD' else None
        out.append({'patient': patient, 'best': visits[-1]['best'], 'rows': visits, 'change': change,
                    'progressed': progressed})
    return out


def render(rows: Sequence[Row], lesions: Sequence[Row], about: Mapping[str, Any]) -> str:
    """The page as HTML; see `write_report`."""
    patients = patient_summaries(rows)
    assessed = _assessed(patients)
    columns = {name: (key, unit) for name, (key, unit) in COLUMNS.items()
               if key in ('patient', 'visit') or any(row[key] != '' and row[key] == row[key] for row in rows)}
    cases = [{name: row[key] if unit is None else _format(row[key], unit) for name, (key, unit) in columns.items()}
             for row in rows]
    sections = [Section('Patients', 'The best change is the lowest one from the first visit up to progression.',
                        tables=[_patient_table(patients)]),
                *(Section(heading, charts=plots) for heading, plots in charts.chart_sections(assessed))]
    chapter = Chapter(
        headlines=[_headline(assessed)], method='', tables=[], sections=sections, curves={}, cases=cases,
        text_columns=[name for name, (_, unit) in columns.items() if unit is None],
        warnings=_warnings(patients, lesions, about['options']))
    return report_page.page(
        chapter, title='Treatment response',
        subtitle=f'Patients: {len(patients)} · visits: {len(rows)} · {about["table"]}', conventions=CONVENTIONS,
        max_cases=None, command=about['command'], facts=list(about['facts'].items()),
        config=json.dumps(about['options'], indent=2))


def _assessed(patients: Sequence[Row]) -> list[Row]:
    """The patients with a response, that is, with two visits or more."""
    return [patient for patient in patients if len(patient['rows']) > 1]


def _headline(patients: Sequence[Row]) -> tuple[str, str]:
    best = [patient['best'] for patient in patients]
    counts = ', '.join(f'{best.count(name)} {name}' for name in recist.RESPONSES if name in best)
    n, responders = len(best), sum(name in ('CR', 'PR') for name in best)
    low = special.betaincinv(responders, n - responders + 1, 0.025) if responders else 0.0
    high = special.betaincinv(responders + 1, n - responders, 0.975) if responders < n else 1.0
    size = '1 patient' if n == 1 else f'{n} patients'
    return (f'Best response of {size}: {counts}.',
            f'Objective response (CR or PR): {responders} of {n}, {100 * responders / n:.0f} % (95 % interval '
            f'{100 * low:.0f} to {100 * high:.0f} %, Clopper–Pearson).')


def _patient_table(patients: Sequence[Row]) -> Table:
    headers = [('Best', 'of the responses up to progression'), ('Last', 'response at the last visit'),
               ('PD, week', 'the first visit with PD'), ('Sum (mm)', 'of diameters of the targets, at the first visit'),
               ('Best change (%)', 'of the sum'), ('Volume (ml)', 'of all lesions, at the first visit'),
               ('Best change (%)', 'of the volume'), ('Visits', 'including the first')]
    rows = []
    for patient in patients:
        first, last, change = patient['rows'][0], patient['rows'][-1], patient['change']
        texts = [patient['best'] or '–', last['response'] if last is not first else '–',
                 _format(patient['progressed'], 'weeks'), format_number(first['sum_mm'], 'mm'),
                 _format(change['sum'], '%'), format_number(first['volume_ml'], 'ml'), _format(change['volume'], '%'),
                 str(len(patient['rows']))]
        rows.append((patient['patient'], '', [Cell(text) for text in texts]))
    return Table('Response by RECIST 1.1', headers, rows)


def _format(value: float | None, unit: str) -> str:
    """A value as text; percent, with its sign, and weeks with one decimal."""
    if unit not in ('%', 'weeks') or value is None or value != value:
        return format_number(value, unit)
    text = f'{value:+.1f}' if unit == '%' else f'{value:.1f}'
    return text.replace('-', '−')


def _warnings(patients: Sequence[Row], lesions: Sequence[Row], options: Mapping[str, Any]) -> list[str]:
    out, assessed = [], _assessed(patients)
    if len(assessed) < FEW_PATIENTS:
        out.append(f'Patients with a response: {len(assessed)}. The response rate is very uncertain.')
    not_evaluated = {row['patient'] for row in lesions if row['state'] == 'not evaluated'}
    groups = {
        'With a single visit, without a response': [one for one in patients if len(one['rows']) == 1],
        'Without a measurable lesion at the first visit, and not in charts of sums':
            [one for one in patients if not one['rows'][0]['targets']],
        'Not all lesions evaluated at some visit': [one for one in patients if one['patient'] in not_evaluated]}
    out += [f'{text}: {", ".join(one["patient"] for one in group)}.' for text, group in groups.items() if group]
    out += [text for text in (unchecked_organs(lesions), equivocal_lesions(lesions, options['new_mm'])) if text]
    return out if options['numbered'] else out + _registration_warnings(assessed, lesions)


def unchecked_organs(lesions: Sequence[Row]) -> str:
    """A line on the limit of targets per organ where no organ is known; '' where one is.

    Args:
      lesions: see `write_report`.
    """
    if any(row['organ'] for row in lesions):
        return ''
    return (f'Targets per organ are not limited to {recist.PER_ORGAN}, as the table has no column organ: only the '
            'limits of targets of a patient and of nodes are checked.')


def equivocal_lesions(lesions: Sequence[Row], least: float) -> str:
    """A line on the lesions that are too small to count as new; '' where there are none.

    Args:
      lesions: see `write_report`.
      least: see `timeline.assess_patient`.
    """
    small = [row for row in lesions if row['role'] == 'equivocal' and row['state'] == 'there']
    if not small:
        return ''
    patients = list(dict.fromkeys(row['patient'] for row in small))
    count = len({(row['patient'], row['kind'], row['organ'], row['lesion']) for row in small})
    return (f'Lesions that were absent before and are too small to be new (below {least:g} mm or two thick slices, '
            f'nodes below {recist.NODE:g} mm), not counted as disease: {count}, in {few(patients)}.')


def _registration_warnings(patients: Sequence[Row], lesions: Sequence[Row]) -> list[str]:
    """Warnings of visits with new lesions at which no lesion of the first visit is at its place."""
    found = {(row['patient'], row['weeks']) for row in lesions
             if row['state'] != 'gone' and row['role'] in ('target', 'nontarget')}
    return [f'{patient["patient"]}, visit {row["visit"]}: no lesion of the first visit is at its place, new lesions: '
            f'{row["new"]}. Check that the images are registered.'
            for patient in patients for row in patient['rows'][1:]
            if row['new'] and (patient['patient'], row['weeks']) not in found]
