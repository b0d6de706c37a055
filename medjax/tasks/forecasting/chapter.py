"""The report's chapter on forecasts: how near next values come, how early events are told, courses of patients."""

from collections.abc import Mapping

import numpy as np

from medjax.report import tables
from medjax.report.chapter import Chapter, Section, caption, headline_splits, interval_method, split_name, themed_chart
from medjax.report.run_files import Run
from medjax.report.split import Split, read_split
from medjax.report.tables import Cell, Entry, format_number, heading
from medjax.tasks.classification import chapter as classification_chapter
from medjax.tasks.forecasting import charts
from medjax.tasks.forecasting.family import FAMILY
from medjax.tasks.forecasting.summary import CHANCES, METHODS, Table, key_of, read, spans_of

COURSES = ('Best', 'Median', 'Worst')  # of the patients by how far forecasts are off
LIMITS = ('Forecasts are judged in those who come again and are measured: of who stays away, or dies first, they say '
          'nothing. An event that is told early is not one that can be prevented: no figure here says what to do.')


def chapter(run: Run) -> Chapter:
    """The chapter of a run, or of several over seeds that were merged.

    Raises:
      InputError: where the table of predictions lacks a forecast.
    """
    every = [_split(run, split) for split in run.splits]
    return Chapter(
        headlines=[headline(of) for of in every if of.split in headline_splits(run)], method=method(run),
        tables=[made for of in every for made in result_tables(of)],
        sections=[part for of in every[:1] for part in sections(of)], curves=learning(run), samples=[], samples_text='',
        conventions_heading='Conventions', cases=[row for of in every for row in listed(of)],
        text_columns=[*classification_chapter.words(run), 'ended'], warnings=(run.results.get('analysis') or {}).get('warnings', ()))


def headline(of: Split[Table]) -> tuple[str, str]:
    """The result in a sentence, and how sure it is in another."""
    entries, parts = of.entries, []
    if 'mase' in entries:
        parts.append(_beside('Error of the next values over that of carrying them forward (MASE)', entries, 'mase', '',
                             METHODS))
    within = _time(of.run, of.run.results['analysis']['within'])
    parts += [_beside(f'AUROC of {event} within {within}', entries, 'auroc', _named(of.table, event), CHANCES)
              for event in of.table.events]
    first = next(iter(entries.values()))
    n, visits = len(np.unique(of.table.patients)), len(of.table.time)
    sure = f'In brackets the 95 % interval. n = {n} patients, {visits} visits.'
    if first.get('runs'):
        single = [f'{name} {format_number(entry["run_mean"])} ± {format_number(entry["run_sd"])}' for key, name in (
            ('mase', 'MASE'), ('auroc', 'AUROC')) if (entry := entries.get(key))]
        sure += f' Single runs (n = {first["runs"]}): {", ".join(single)}.'
    return f'{"; ".join(parts)}; on the {split_name(of.split).lower()} cases.', sure


def method(run: Run) -> str:
    """How the figures and their intervals are made, and what they cannot say."""
    return ' '.join(filter(None, [
        interval_method(run), 'Simpler models stand beside the network: what it adds is what it does better than they.',
        LIMITS]))


def result_tables(of: Split[Table]) -> list[tables.Table]:
    """Errors of the next values, and early warning, of the network and of what stands beside it."""
    made, entries, title = [], of.entries, caption(of.run, of.split)
    if of.table.names and of.table.told:
        heads = [(name, '') for name in (METHODS[method] for method in of.table.told)]
        for stem, words in (('mae', 'mean absolute error of the next value'), ('r2', 'R² of the next value')):
            rows = [(name, '', [_cell(entries.get(key_of(stem, name, method)), stem) for method in of.table.told]
                     + [Cell(str(entries[key_of(stem, name, '')]['n']))]) for name in of.table.names]
            if stem == 'mae':
                rows.append(('Over carried forward, mean (MASE)', '', [
                    _cell(entries.get(key_of('mase', '', method)), 'mase') for method in of.table.told] + [Cell('')]))
            made.append(tables.inline_intervals(tables.Table(f'{title}: {words}', [*heads, ('n (patients)', '')], rows)))
    for event in of.table.events:
        made.append(warned_table(of, event, title))
    return made


def warned_table(of: Split[Table], event: str, title: str) -> tables.Table:
    """How well an event is told within the horizon, and by how long before it is."""
    analysis, name, rows = of.run.results['analysis'], _named(of.table, event), []
    counts = analysis['positives'][of.split][event]
    for stem in ('auroc', 'auprc', 'brier'):
        rows.append((heading(FAMILY.metrics, stem)[0], '', [_cell(of.entries[key_of(stem, name, method)], stem)
                                            for method in of.table.chance] + [Cell(str(counts['']))]))
        for span, (low, high) in spans_of(analysis['leads']).items() if stem != 'brier' else ():
            rows.append((f'… {low:g} to {_time(of.run, high)} before', '', [
                _cell(of.entries[key_of(stem + span, name, method)], stem) for method in of.table.chance]
                + [Cell(str(counts[span]))]))
    heads = [*((CHANCES[method], '') for method in of.table.chance),
             (f'Positive of {counts["known"]} visits', 'of which it is known')]
    return tables.inline_intervals(tables.Table(
        f'{title}: {event} within {_time(of.run, analysis["within"])}, told at each visit', heads, rows))


def sections(of: Split[Table]) -> list[Section]:
    """What is drawn of the split that matters most."""
    made = []
    there = ~np.isnan(of.table.next)
    chosen = examples(of.table)
    if chosen:
        drawn = themed_chart(lambda theme: charts.courses(of.table, chosen, of.run.results.get('unit', ''), theme),
                     'Measured and forecast values of three patients',
                     'What was measured (dots), and at each visit the forecast for the next one: the network\'s '
                     '(diamonds) and ridge regression\'s (crosses), joined to the value as it was last measured. The '
                     'patients are those of the least, the median and the largest error among the quarter with '
                     'the most forecasts.', wide=True)
        made.append(Section('Courses of patients', charts=[drawn]))
    if there.any():
        made.append(Section('How near the next values come', charts=[themed_chart(
            lambda theme: charts.against_truth(of.table, theme), 'Forecast against measured values',
            'The network\'s forecasts against what was measured at the next visit; dotted: equal.', wide=True)]))
    for event in of.table.events:
        bins = of.run.results['analysis']['calibration'][of.split][event]
        leads = [charts.warned(of, event, _named(of.table, event))]
        made.append(Section(f'Early warning of {event}', 'A visit counts where it is known whether the event came '
                            'within the horizon.', charts=[*leads, *charts.trusted(of, event, bins)]))
    return made


def examples(table: Table) -> dict[str, int]:
    """Patients by how far their forecasts are off in units of what carrying forward is off by, by COURSES.

    Of the quarter of the patients with the most forecasts.
    """
    off = np.abs(table.told[''] - table.next)
    plain = np.nanmean(np.abs(table.told['carried'] - table.next), 0, keepdims=True) if (
        'carried' in table.told and (~np.isnan(table.next)).any(0).all()) else np.ones((1, off.shape[1]))
    with np.errstate(invalid='ignore', divide='ignore'):
        each = off / np.where(plain > 0, plain, 1)
    there = (~np.isnan(each)).any(1)
    counts = {patient: int((there & (table.patients == patient)).sum()) for patient in np.unique(table.patients)}
    most = max(counts.values(), default=0)
    if not most:
        return {}
    least = np.quantile([count for count in counts.values() if count], 0.75)
    some = [patient for patient, count in counts.items() if count >= least]
    ranked = sorted(some, key=lambda patient: float(np.nanmean(each[table.patients == patient])))
    return {name: int(ranked[place]) for name, place in zip(COURSES, (0, len(ranked) // 2, -1))}


def learning(run: Run) -> dict[str, dict[str, str]]:
    """What was logged while training."""
    return {'Loss': {'train/loss': 'training', 'val/loss': 'validation, in means over visits'},
            'Parts of the training loss': {'train/values': 'values', 'train/labels': 'events'},
            'MASE, validation': {'val/mase': ''}, 'AUROC, validation': {'val/auroc': ''},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def listed(of: Split[Table]) -> list[dict[str, str]]:
    """The table of visits, rounded, the network's and what came alone."""
    words = (*classification_chapter.words(of.run), 'ended', 'visit')
    return [{key: text if key in words or not text else format_number(float(text), 'unit') for key, text in row.items()
             if not key.startswith(('carried_', 'ridge_', 'logistic_')) and key not in of.table.names}
            for row in of.rows]


def _beside(words: str, entries: Mapping[str, Entry], stem: str, name: str, names: Mapping[str, str]) -> str:
    others = [f'{names[method]} {format_number(entries[key_of(stem, name, method)]["value"])}' for method in names
              if method and key_of(stem, name, method) in entries]
    gain = entries.get(key_of(f'{stem}_gain', name, ''))
    others += [tables.value_with_interval('gain', gain)] * (gain is not None)
    return tables.value_with_interval(words, entries[key_of(stem, name, '')]) + f', {", ".join(others)}' * bool(others)


def _cell(entry: Entry | None, stem: str) -> Cell:
    """A figure with its interval; errors in a value's unit with about three digits."""
    if entry is None:
        return Cell('')
    unit = 'its own' if stem in ('mae', 'rmse') and abs(entry.get('value') or 0) >= 1 else ''
    if not tables.has_value(entry):
        return Cell('–', title=entry.get('why', ''))
    return Cell(format_number(entry['value'], unit), below=tables.format_interval(entry, unit), title=entry.get('why', ''))


def _named(table: Table, event: str) -> str:
    """An event's name in the names of its figures."""
    return event if len(table.events) > 1 else ''


def _time(run: Run, value: float) -> str:
    return f'{value:g} {run.results.get("unit") or ""}'.strip()


def _split(run: Run, split: str) -> Split[Table]:
    analysis = run.results.get('analysis') or {}
    return read_split(run, split, lambda rows: read(
        rows, analysis.get('measured', ()), run.classes, analysis.get('within', 0.0)))
