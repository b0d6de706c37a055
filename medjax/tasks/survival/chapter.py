"""The report's chapter on survival analysis: discrimination, risk groups, treatment recommendation and calibration."""

from collections.abc import Mapping, Sequence

import numpy as np

from medjax.metrics import survival
from medjax.metrics.survival import Curve
from medjax.report import tables
from medjax.report.chapter import (
    Chapter,
    Section,
    caption,
    headline_splits,
    interval_method,
    join_sentences,
    non_numeric_columns,
    split_name,
)
from medjax.report.run_files import Run
from medjax.report.tables import Cell, Table, format_interval, format_number, format_significant
from medjax.tasks.survival import charts
from medjax.tasks.survival.family import FAMILY
from medjax.tasks.survival.split import SurvivalSplit, read_survival_split
from medjax.tasks.survival.summary import GROUPS
from medjax.tasks.survival.table import INCIDENCE, RISK

OVERALL = ('c_index', 'c_uno', 'c_td', 'ibs')
NOT_REACHED = 'not reached'


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: the predictions table lacks a time, a risk or a curve.
    """
    splits = [read_survival_split(run, name) for name in run.splits]
    return Chapter(
        headlines=[headline(split) for split in splits if split.split in headline_splits(run)], method=method(run),
        tables=result_tables(splits), sections=sections(splits[0]) if splits else [], curves=training_curves(run),
        cases=[row for split in splits for row in case_rows(split)],
        text_columns=[*non_numeric_columns(run), 'event'], cases_order=': the highest risk first',
        warnings=run.warnings)


def sections(split: SurvivalSplit) -> list[Section]:
    """Charts and tables of the first split."""
    out = [Section('Discrimination', charts=charts.discrimination_charts(split)),
           Section(f'Risk groups ({split.estimator})', _groups_text(split),
                   tables=[groups_table(split, split.group_members)], charts=[charts.risk_groups_chart(split)])]
    if split.advice_members:
        out.append(Section('Treatment recommendation', _recommendation_text(split),
                           tables=[groups_table(split, split.advice_members)],
                           charts=[charts.recommendation_chart(split)]))
    calibration = (f'Predicted is the mean probability over all patients, observed its {split.estimator} estimate. At '
                   'risk are the patients followed beyond that time without any event.')
    examples = ('Patients at evenly spaced ranks of the predicted risk, from the 5th to the 95th percentile, with the '
                'predictions for each of them.')
    return [*out, Section('Calibration', calibration, tables=horizon_tables(split),
                          charts=charts.calibration_charts(split)),
            Section('Example patients', examples, tables=[patients_table(split)],
                    charts=[charts.example_patients_chart(split)])]


def headline(split: SurvivalSplit) -> tuple[str, str]:
    """The result as a sentence, and the sample and its follow-up as others."""
    table, entry = split.table, split.entries['c_index']
    c_index, ibs = ('Mean C-index', 'mean IBS') if split.competing else ('C-index', 'IBS')
    reference = ''
    if split.brier_curves:
        mean = float(np.mean([curve.means[1] for curve in split.brier_curves]))
        reference = f', that of one {split.estimator} curve for all {format_number(mean)}'
    text = (f'{tables.value_with_interval(c_index, entry)} on the {split_name(split.split).lower()} cases; '
            f'{tables.value_with_interval(ibs, split.entries["ibs"])}{reference}.')
    n, cases = entry['n'], len(table.ids)
    size = '1 patient' if n == 1 else f'{n} patients'
    if cases > n:
        size += f', {cases} cases'
    counts = [f'{name} {(table.event == number).sum()}' for number, name in enumerate(table.events, 1)]
    counts.append(f'censored {(table.event == 0).sum()}')
    follow_up = _median(survival.kaplan_meier(table.time, table.event == 0)).text
    if split.unit and follow_up != NOT_REACHED:
        follow_up += f' {split.unit}'
    return text, (f'95 % intervals in brackets. n = {size}: {", ".join(counts)}. Median follow-up (reverse '
                  f'Kaplan–Meier): {follow_up}.')


def method(run: Run) -> str:
    """How the values and intervals of the tables are computed."""
    unit = run.results.get('unit', '')
    return join_sentences({
        interval_method(run): True,
        'A C-index is the share of pairs of patients in which the one with the higher risk has the event first; 0.5 is '
        'chance. IBS, the integrated Brier score, is the mean squared error of the predicted probabilities over '
        'time.': True,
        f'The horizons of AUC, Brier score and calibration are in {unit}.': unit,
        'Metrics without the name of an event are means over the events.': len(run.classes) > 1})


def result_tables(splits: Sequence[SurvivalSplit]) -> list[Table]:
    """All metrics of all splits side by side, and with competing events those of each event."""
    keys, counts, out = {}, {}, []
    for split in splits:
        title = caption(split.run, split.split)
        keys |= {(name, title): split.entries[name] for name in (*OVERALL, *split.horizon_metrics)}
        counts[title] = f'{(split.table.event > 0).sum()} of {len(split.table.ids)}'
    if keys:
        row = 'events', 'of all cases; the others are censored', counts
        out.append(tables.inline_intervals(
            tables.metric_table(FAMILY.metrics, keys, list(counts), 'All patients', counts=row)))
    out += [_event_table(split) for split in splits
            if split.competing and split.split in headline_splits(split.run)]
    return out


def _event_table(split: SurvivalSplit) -> Table:
    events = split.table.events
    keys = {(name, event): split.entries[f'{name}_{event}'] for name in (*OVERALL, *split.horizon_metrics)
            for event in events}
    counts = {event: int((split.table.event == number).sum()) for number, event in enumerate(events, 1)}
    return tables.inline_intervals(tables.metric_table(
        FAMILY.metrics, keys, events, f'{split_name(split.split)}, by event', counts=('events', 'observed', counts)))


def groups_table(split: SurvivalSplit, members: Mapping[str, np.ndarray]) -> Table:
    """Sizes of groups and their observed curves at the horizons.

    Args:
      split: the patients.
      members: for each group `[n]` bool.
    """
    rows = []
    for name, chosen in members.items():
        curve = split.observed_curve(chosen)
        cells = [Cell(str(chosen.sum())), Cell(str(split.table.has_event(0)[chosen].sum()))]
        cells += [_curve_cell(curve, horizon) for horizon in split.horizons]
        if not split.competing:
            cells.append(_median(curve))
        rows.append((f'{name} risk' if name in GROUPS else f'treated {name}', '', cells))
    event = split.table.events[0]
    headers = [('n', 'patients'), (event, 'events'), *((split.format_time(horizon), '') for horizon in split.horizons)]
    if not split.competing:
        headers.append((f'Median, {split.unit}' if split.unit else 'Median', f'time by which half have had {event}'))
    title = 'Risk groups' if members is split.group_members else 'By recommendation'
    if split.horizons:
        title += (f': incidence of {event} by the horizons' if split.competing
                  else f': share without {event} at the horizons')
    return Table(title, headers, rows)


def horizon_tables(split: SurvivalSplit) -> list[Table]:
    """Predicted and observed probability, AUC and Brier score at each horizon, for each event."""
    out, table = [], split.table
    for k, event in enumerate(table.events):
        rows, observed = [], table.event_free(k, np.ones(len(table.ids), bool)).complement()
        for horizon in split.horizons:
            predicted = table.incidence_at(k, np.array([horizon])).mean()
            counts = ((table.has_event(k) & (table.time <= horizon)).sum(), (table.time > horizon).sum())
            scores = [split.entries[split.metric_key(f'{name}_{horizon:g}', event)] for name in ('auc', 'brier')]
            rows.append((split.format_time(horizon), '', [
                *(Cell(str(count)) for count in counts), Cell(format_number(predicted)), _curve_cell(observed, horizon),
                *(tables.cell(FAMILY.metrics, '', entry, 0) for entry in scores)]))
        headers = [(event, 'events by that time'), ('At risk', 'followed beyond that time without an event'),
                   ('Predicted', 'mean predicted probability of the event by that time'),
                   ('Observed', f'its {split.estimator} estimate'),
                   *(tables.heading(FAMILY.metrics, name) for name in ('auc', 'brier'))]
        if rows:
            title = f'By horizon: {event}' if split.competing else 'By horizon'
            out.append(tables.inline_intervals(Table(title, headers, rows)))
    return out


def patients_table(split: SurvivalSplit) -> Table:
    """Predicted probabilities and outcomes of the example patients."""
    event, rows = split.table.events[0], []
    predicted = split.table.incidence_at(0, np.array(split.horizons, float))
    for number in split.examples:
        cells = [GROUPS[split.risk_group[number]], *map(format_number, predicted[number]), split.outcome(number)]
        rows.append((str(split.table.ids[number]), '', [Cell(text) for text in cells]))
    headers = ['Risk', *(f'by {split.format_time(horizon)}' for horizon in split.horizons), 'Outcome']
    return Table(f'Predicted probability of {event}', [(header, '') for header in headers], rows)


def training_curves(run: Run) -> dict[str, dict[str, str]]:
    """The logged values to draw, see `Chapter.curves`."""
    best = run.section('checkpoint').get('best', '')
    metrics = [name for name in dict.fromkeys(('c_index', 'ibs', best)) if name not in ('', 'loss')]
    return {'Loss': {'train/loss': 'training', 'val/loss': 'validation'},
            **{f'{FAMILY.metrics.describe(name).label}, validation': {f'val/{name}': ''} for name in metrics},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def case_rows(split: SurvivalSplit) -> list[dict[str, str]]:
    """The rows of the table of cases, without the predicted curves, the highest risk of the first event first."""
    out = []
    for number in np.argsort(-split.table.risk[:, 0], kind='stable'):
        row = {key: text for key, text in split.rows[number].items() if not key.startswith(INCIDENCE)}
        out.append(row | {key: format_number(float(text)) for key, text in row.items() if key.startswith(RISK)})
    return out


def _recommendation_text(split: SurvivalSplit) -> str:
    advice = split.run.results['analysis']['advice'][split.split]
    name = split.run.section('evaluate').get('treatment_covariate')
    return (f'The network predicts the risk with and without {name} and recommends the option with the lower risk: '
            f'{name} for {advice["advised"]:.0%} of the patients. The curves compare patients who were treated as '
            'recommended with those who were not. Unless treatment was randomised, the two groups may differ in the '
            'reasons for their treatment, and the curves do not prove that the recommendation helps.')


def _groups_text(split: SurvivalSplit) -> str:
    analysis = split.run.results['analysis']
    cuts = ' and '.join(format_number(cut) for cut in split.groups['cuts'])
    source = split_name(analysis['horizons_from']).lower()
    text = f'Patients by predicted risk, cut at {cuts}: the thirds of the {source} cases.'
    if split.horizons and not analysis.get('horizons_given'):
        text += ' The horizons are the quartiles of the times of their events.'
    return text


def _curve_cell(curve: Curve, horizon: float) -> Cell:
    if horizon > curve.times[-1]:
        return Cell('–', below='no patient is followed that long')
    value, low, high = (float(part) for part in curve.at(horizon))
    return Cell(format_number(value), format_interval({'ci95': (low, high)}) if low < high else '')


def _median(curve: Curve) -> Cell:
    """The median of a curve with the 95 % interval of Brookmeyer & Crowley 1982."""
    reached = [curve.times[values <= 0.5] for values in (curve.values, curve.low, curve.high)]
    value, low, high = (format_significant(times[0]) if len(times) else NOT_REACHED for times in reached)
    return Cell(value, f'{low}–{high}' if low != NOT_REACHED else '')
