"""The report's chapter on forecasting: forecast errors, early warning of events, and predicted trajectories."""

from collections.abc import Mapping

import numpy as np

from medjax.report import tables
from medjax.report.chapter import (
    Chapter,
    Section,
    caption,
    headline_splits,
    interval_method,
    non_numeric_columns,
    split_name,
    themed_chart,
)
from medjax.report.run_files import Run
from medjax.report.split import Split, read_split
from medjax.report.tables import Cell, Entry, format_number, format_significant, heading
from medjax.tasks.forecasting import charts
from medjax.tasks.forecasting.family import FAMILY
from medjax.tasks.forecasting.summary import lead_spans, metric_key
from medjax.tasks.forecasting.table import (
    FORECASTS,
    METHODS,
    RISK_METHODS,
    RISKS,
    Predictions,
    read,
)

EXAMPLES = ('Best', 'Median', 'Worst')  # patients by their forecast errors
LIMITS = ('Forecasts are evaluated in patients who return and are measured; the metrics say nothing about those who do '
          'not return or die first. An event that is predicted early is not necessarily preventable, and no metric '
          'says which action to take.')
VALUE_TITLES = {'mae': 'mean absolute error of the next value', 'r2': 'R² of the next value'}


def chapter(run: Run) -> Chapter:
    """The chapter of a run, or of several merged runs.

    Raises:
      InputError: the predictions table lacks a forecast.
    """
    splits = [_read_split(run, name) for name in run.splits]
    return Chapter(
        headlines=[headline(split) for split in splits if split.split in headline_splits(run)], method=method(run),
        tables=[table for split in splits for table in result_tables(split)],
        sections=sections(splits[0]) if splits else [], curves=training_curves(),
        cases=[row for split in splits for row in case_rows(split)],
        text_columns=[*non_numeric_columns(run), 'ended'],
        warnings=run.warnings)


def headline(split: Split[Predictions]) -> tuple[str, str]:
    """The results as a sentence, and the sample and the spread over runs as others."""
    entries, parts = split.entries, []
    if 'mase' in entries:
        parts.append(_with_baselines('Error of the next values relative to carrying them forward (MASE)', entries,
                                     'mase', '', METHODS))
    within = _time(split.run, split.run.results['analysis']['horizon'])
    parts += [_with_baselines(f'AUROC of {event} within {within}', entries, 'auroc', _metric_event(split.table, event),
                              RISK_METHODS) for event in split.table.events]
    first = next(iter(entries.values()))
    patients, visits = len(np.unique(split.table.patients)), len(split.table.time)
    sample = f'95 % intervals in brackets. n = {patients} patients, {visits} visits.'
    if first.get('runs'):
        single = [f'{FAMILY.metrics.describe(key).label} {format_number(entries[key]["run_mean"])} ± '
                  f'{format_number(entries[key]["run_sd"])}' for key in ('mase', 'auroc') if key in entries]
        sample += f' Single runs (n = {first["runs"]}): {", ".join(single)}.'
    return f'{"; ".join(parts)}; on the {split_name(split.split).lower()} cases.', sample


def method(run: Run) -> str:
    """How the values and intervals of the tables are computed, and their limits."""
    baselines = 'The network is compared with baselines; its benefit is the difference from them.'
    return ' '.join(filter(None, [interval_method(run), baselines, LIMITS]))


def result_tables(split: Split[Predictions]) -> list[tables.Table]:
    """Errors of the next values, and early warning of each event, of the network and the baselines."""
    out, title = [], caption(split.run, split.split)
    if split.table.names:
        out += [_value_table(split, metric, f'{title}: {words}') for metric, words in VALUE_TITLES.items()]
    return out + [early_warning_table(split, event, title) for event in split.table.events]


def _value_table(split: Split[Predictions], metric: str, title: str) -> tables.Table:
    entries, methods = split.entries, split.table.forecasts
    rows = []
    for name in split.table.names:
        cells = [_cell(entries.get(metric_key(metric, name, method)), metric) for method in methods]
        rows.append((name, '', [*cells, Cell(str(entries[metric_key(metric, name, '')]['n']))]))
    if metric == 'mae':
        cells = [_cell(entries.get(metric_key('mase', '', method)), 'mase') for method in methods]
        rows.append(('Relative to carrying forward, mean (MASE)', '', [*cells, Cell('')]))
    headers = [*((METHODS[method], '') for method in methods), ('n (patients)', '')]
    return tables.inline_intervals(tables.Table(title, headers, rows))


def early_warning_table(split: Split[Predictions], event: str, title: str) -> tables.Table:
    """AUROC and AUPRC of an event within the horizon, also by lead time, Brier score and calibration."""
    analysis, name, rows = split.run.results['analysis'], _metric_event(split.table, event), []
    counts = analysis['positives'][split.split][event]

    def add_row(header: str, metric: str, span: str) -> None:
        cells = [_cell(split.entries[metric_key(metric + span, name, method)], metric) for method in split.table.risks]
        rows.append((header, '', [*cells, Cell(str(counts[span]))]))

    for metric in ('auroc', 'auprc', 'brier', 'calibration_slope', 'calibration_intercept'):
        if metric_key(metric, name, '') not in split.entries:
            continue
        add_row(heading(FAMILY.metrics, metric)[0], metric, '')
        if metric.startswith('au'):
            for span, (low, high) in lead_spans(analysis['lead_times']).items():
                add_row(f'… {format_significant(low)} to {_time(split.run, high)} before', metric, span)
    headers = [*((RISK_METHODS[method], '') for method in split.table.risks),
               (f'Positive of {counts["known"]} visits', 'visits for which it is known')]
    within = _time(split.run, analysis['horizon'])
    return tables.inline_intervals(tables.Table(f'{title}: early warning of {event} within {within}', headers, rows))


def sections(split: Split[Predictions]) -> list[Section]:
    """Charts of the first split."""
    out, patients = [], example_patients(split.table)
    if patients:
        unit = split.run.results.get('unit', '')
        drawn = themed_chart(
            lambda theme: charts.draw_trajectories(split.table, patients, unit, theme),
            'Measured and forecast values of three patients',
            'Measured values (dots), and at each visit the forecasts for the next one by the network (diamonds) and '
            'ridge regression (crosses), joined to the last observation. The patients have the smallest, the median '
            'and the largest error among the quarter with the most forecasts.', wide=True)
        out.append(Section('Predicted trajectories', charts=[drawn]))
    if not np.isnan(split.table.next).all():
        drawn = themed_chart(
            lambda theme: charts.draw_forecasts(split.table, theme), 'Forecast against measured values',
            'Forecasts of the network against the values measured at the next visit; dotted: equal.', wide=True)
        out.append(Section('Forecast accuracy', charts=[drawn]))
    for event in split.table.events:
        bins = split.run.results['analysis']['calibration'][split.split][event]
        drawn = [charts.early_warning_chart(split, event, _metric_event(split.table, event)),
                 *charts.calibration_charts(split, event, bins)]
        out.append(Section(f'Early warning of {event}', 'Visits count where it is known whether the event occurred '
                           'within the horizon.', charts=drawn))
    return out


def example_patients(table: Predictions) -> dict[str, int]:
    """The patients with the smallest, the median and the largest forecast error, by EXAMPLES.

    Errors are relative to those of carrying forward, mean over values and visits. The patients are of the quarter with
    the most forecasts; empty where there is no forecast.
    """
    error = np.abs(table.forecasts[''] - table.next)
    scale = np.ones((1, error.shape[1]))
    if 'carried' in table.forecasts and (~np.isnan(table.next)).any(0).all():
        scale = np.nanmean(np.abs(table.forecasts['carried'] - table.next), 0, keepdims=True)
    with np.errstate(invalid='ignore', divide='ignore'):
        error = error / np.where(scale > 0, scale, 1)
    measured = (~np.isnan(error)).any(1)
    counts = {patient: int((measured & (table.patients == patient)).sum()) for patient in np.unique(table.patients)}
    if not max(counts.values(), default=0):
        return {}
    least = np.quantile([count for count in counts.values() if count], 0.75)
    patients = [patient for patient, count in counts.items() if count >= least]
    ranked = sorted(patients, key=lambda patient: float(np.nanmean(error[table.patients == patient])))
    return {name: int(ranked[place]) for name, place in zip(EXAMPLES, (0, len(ranked) // 2, -1))}


def training_curves() -> dict[str, dict[str, str]]:
    """The logged values to draw, see `Chapter.curves`."""
    return {'Loss': {'train/loss': 'training', 'val/loss': 'validation, mean over visits'},
            'Parts of the training loss': {'train/values': 'values', 'train/labels': 'events'},
            'MASE, validation': {'val/mase': ''}, 'AUROC, validation': {'val/auroc': ''},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def case_rows(split: Split[Predictions]) -> list[dict[str, str]]:
    """The rows of the table of visits, rounded, with the next values and the network's predictions only."""
    text_columns = (*non_numeric_columns(split.run), 'ended', 'visit')
    baselines = [f'{stems[method]}_' for stems in (FORECASTS, RISKS) for method in stems if method]
    return [{key: text if key in text_columns or not text else format_number(float(text), 'unit')
             for key, text in row.items() if not key.startswith(tuple(baselines)) and key not in split.table.names}
            for row in split.rows]


def _with_baselines(text: str, entries: Mapping[str, Entry], metric: str, name: str, methods: Mapping[str, str]) -> str:
    """The network's value, those of the baselines, and the gain."""
    parts = [tables.value_with_interval(text, entries[metric_key(metric, name, '')])]
    for method, label in methods.items():
        key = metric_key(metric, name, method)
        if method and key in entries:
            parts.append(f'{label} {format_number(entries[key]["value"])}')
    gain = metric_key(f'{metric}_gain', name, '')
    if gain in entries:
        parts.append(tables.value_with_interval('gain', entries[gain]))
    return ', '.join(parts)


def _cell(entry: Entry | None, metric: str) -> Cell:
    """A value with its interval; errors from 1 have about three significant digits."""
    if entry is None:
        return Cell('')
    if not tables.has_value(entry):
        return Cell('–', title=entry.get('why', ''))
    unit = 'its own' if metric in ('mae', 'rmse') and abs(entry['value']) >= 1 else ''
    return Cell(format_number(entry['value'], unit), below=tables.format_interval(entry, unit),
                title=entry.get('why', ''))


def _metric_event(table: Predictions, event: str) -> str:
    """An event's name in the keys of its metrics."""
    return event if len(table.events) > 1 else ''


def _time(run: Run, value: float) -> str:
    return f'{format_significant(value)} {run.results.get("unit") or ""}'.strip()


def _read_split(run: Run, split: str) -> Split[Predictions]:
    analysis = run.results.get('analysis') or {}
    return read_split(run, split, lambda rows: read(
        rows, analysis.get('measured', ()), run.classes, analysis.get('horizon', 0.0)))
