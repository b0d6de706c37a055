"""Writes what became of patients under treatment: tables, and one page with waterfall and spider plots."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from medjax import atomic_files
from medjax.report import page as report_page
from medjax.report.chapter import FEW_PATIENTS, Chapter, Section
from medjax.report.tables import Cell, Table, format_number
from medjax.tasks.response import charts as response_charts
from medjax.tasks.response import recist

Row = Mapping[str, Any]
CONVENTIONS = '\n'.join((
    'Diameters join the centres of two voxels of a mask in an axial slice; what has no extent by that, as a single '
    'voxel, is too small to measure and counts as 5 mm. Of lymph nodes the short axis counts. The diameters of a '
    'lesion\'s pieces are added.',
    'Measurable: 10 mm, or two slices where these are thicker than 5 mm; nodes 15 mm. The longest measurable lesions '
    'of the first visit are targets, nodes two at most; all others are non-target, nodes below 10 mm no disease.',
    'CR: all lesions gone, nodes below 10 mm. PR: the sum of the targets\' diameters 30 % below the first visit\'s. '
    'PD: 20 % and 5 mm above the smallest sum before, a new lesion, any lesion again after CR, or non-target lesions '
    'whose volume, as one ball, has 20 % and 5 mm more diameter (the guideline leaves that to the reader). SD: '
    'neither. NE: not all lesions were evaluated.',
    'New: what has no place (or number) of a lesion of its kind seen before, once measurable; nodes from 15 mm.',
    'By volume: PR from −65.7 % of the first visit\'s, PD from +72.8 % of the smallest, RECIST\'s limits for balls. '
    'PERCIST-like: 30 % and 0.8 units of the hottest lesion\'s mean over 1 ml.',
    'Tumour markers and clinical judgement, which RECIST 1.1 counts too, are not known here.',
    'RECIST 1.1: Eisenhauer 2009. Volumes: Therasse 2000. PERCIST 1.0: Wahl 2009.'))
COLUMNS = {  # of the table of visits: a row's key, and a unit where it is a figure
    'patient': ('patient', None), 'visit': ('visit', None), 'week': ('weeks', 'weeks'), 'sum, mm': ('sum_mm', 'mm'),
    'from first, %': ('change_percent', '%'), 'from nadir, %': ('nadir_change_percent', '%'),
    'volume, ml': ('volume_ml', 'ml'), 'new': ('new', None), 'response': ('response', None), 'best': ('best', None),
    'by volume': ('volumetric', None), 'by uptake': ('percist', None)}


def write(folder: pathlib.Path, rows: Sequence[Row], lesions: Sequence[Row], about: Mapping[str, Any]) -> pathlib.Path:
    """Writes `response.csv`, `lesions.csv` and `response.html`.

    Args:
      folder: for them.
      rows: of visits, patient by patient, see `course.follow`.
      lesions: of lesions and visits.
      about: `table`, its name; `command`; `options`; and `facts`, what a repetition needs to know besides.

    Returns:
      The page's path.

    Raises:
      InputError: where they cannot be written.
    """
    atomic_files.write_table(folder / 'response.csv', rows)
    atomic_files.write_table(folder / 'lesions.csv', lesions)
    page = folder / 'response.html'
    atomic_files.write_text(page, render(rows, lesions, about))
    return page


def summaries(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A row for each patient: `best` response, visits as `rows`, week of the first PD, and best `change` up to then.

    A change is in percent of the first visit's sum of diameters (`sum`), volume or peak, and the best the lowest; NaN
    where there is none.
    """
    out = []
    for patient in dict.fromkeys(row['patient'] for row in rows):
        own = [row for row in rows if row['patient'] == patient]
        end = next((number for number, row in enumerate(own) if row['response'] == 'PD'), len(own) - 1)
        change = {name: min((row[key] for row in own[1:end + 1] if row[key] == row[key]), default=np.nan)
                  for name, key in response_charts.CHANGES.items()}
        out.append({'patient': patient, 'best': own[-1]['best'], 'rows': own, 'change': change,
                    'progressed': own[end]['weeks'] if own[end]['response'] == 'PD' else None})
    return out


def render(rows: Sequence[Row], lesions: Sequence[Row], about: Mapping[str, Any]) -> str:
    """The page as text; see `write`."""
    patients = summaries(rows)
    followed = [of for of in patients if len(of['rows']) > 1]
    columns = {name: (key, unit) for name, (key, unit) in COLUMNS.items()
               if key in ('patient', 'visit') or any(row[key] not in ('',) and row[key] == row[key] for row in rows)}
    chapter = Chapter(
        headlines=[_headline(followed)], method='', tables=[], curves={}, samples=[], samples_text='',
        sections=[Section('Patients', 'A best change is the lowest from the first visit, up to progression.',
                          tables=[_table(patients)]),
                  *(Section(heading, charts=charts) for heading, charts in response_charts.sections(followed))],
        conventions_heading='Conventions', text_columns=[name for name, (_, unit) in columns.items() if unit is None],
        cases=[{name: row[key] if unit is None else _rounded(row[key], unit) for name, (key, unit) in columns.items()}
               for row in rows], warnings=_warnings(patients, lesions, about['options']))
    return report_page.page(
        chapter, title='Treatment response', subtitle=f'Patients: {len(patients)} · visits: {len(rows)} · {about["table"]}',
        conventions=CONVENTIONS, max_cases=None, command=about['command'], facts=list(about['facts'].items()),
        config=json.dumps(about['options'], indent=2))


def _headline(followed: Sequence[Row]) -> tuple[str, str]:
    told = [of['best'] for of in followed]
    counts = ', '.join(f'{told.count(name)} {name}' for name in recist.RESPONSES if name in told)
    n, hits = len(told), sum(name in ('CR', 'PR') for name in told)
    low = special.betaincinv(hits, n - hits + 1, 0.025) if hits else 0.0
    high = special.betaincinv(hits + 1, n - hits, 0.975) if hits < n else 1.0
    return (f'Best response of {n} patient{"s" * (n != 1)}: {counts}.',
            f'Objective response (CR or PR): {hits} of {n}, {100 * hits / n:.0f} % (95 % interval {100 * low:.0f} to '
            f'{100 * high:.0f} %, Clopper–Pearson).')


def _table(patients: Sequence[Row]) -> Table:
    headers = [('Best', 'of the responses up to progression'), ('Last', 'response at the last visit'),
               ('PD, week', 'the first visit with PD'), ('Sum (mm)', 'of diameters of the targets, at the first visit'),
               ('Best change (%)', 'of the sum'), ('Volume (ml)', 'of all lesions, at the first visit'),
               ('Best change (%)', 'of the volume'), ('Visits', 'with the first')]
    made = []
    for of in patients:
        first, last = of['rows'][0], of['rows'][-1]
        texts = [of['best'] or '–', last['response'] if last is not first else '–',
                 _rounded(of['progressed'], 'weeks'), format_number(first['sum_mm'], 'mm'), _rounded(of['change']['sum'], '%'),
                 format_number(first['volume_ml'], 'ml'), _rounded(of['change']['volume'], '%'), str(len(of['rows']))]
        made.append((of['patient'], '', [Cell(text) for text in texts]))
    return Table('Response by RECIST 1.1', headers, made)


def _rounded(value: float | None, unit: str) -> str:
    """A figure as the tables have it: percent and weeks to a tenth."""
    if unit not in ('%', 'weeks') or value is None or value != value:
        return format_number(value, unit)
    return f'{value:{"+" if unit == "%" else ""}.1f}'.replace('-', '−')


def _warnings(patients: Sequence[Row], lesions: Sequence[Row], options: Mapping[str, Any]) -> list[str]:
    out = []
    followed = [of for of in patients if len(of['rows']) > 1]
    if len(followed) < FEW_PATIENTS:
        out.append(f'Patients with a response: {len(followed)}. The share of responders proves little.')
    for what, chosen in (
            ('Seen once, without a response', [of for of in patients if len(of['rows']) == 1]),
            ('Without a measurable lesion at the first visit, so in no chart of sums',
             [of for of in patients if not of['rows'][0]['targets']]),
            ('Not all lesions evaluated at some visit', [of for of in patients if any(
                row['state'] == 'not evaluated' and row['patient'] == of['patient'] for row in lesions)])):
        if chosen:
            out.append(f'{what}: {", ".join(of["patient"] for of in chosen)}.')
    if not options['numbered']:
        out += [f'{of["patient"]}, visit {row["visit"]}: no lesion of the first visit is in its place, new '
                f'ones: {row["new"]}. Are the images registered?' for of in followed for row in of['rows'][1:]
                if row['new'] and not any(
                    one['state'] != 'gone' and one['role'] in ('target', 'nontarget') for one in lesions
                    if (one['patient'], one['weeks']) == (of['patient'], row['weeks']))]
    return out
