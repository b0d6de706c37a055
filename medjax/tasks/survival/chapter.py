"""The report's chapter on survival: who fares worse, and whether what is predicted for patients comes true."""

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
    split_name,
)
from medjax.report.run_files import Run
from medjax.report.tables import Cell, Table, format_interval, format_number
from medjax.tasks.classification import chapter as classification_chapter
from medjax.tasks.survival import charts
from medjax.tasks.survival.family import FAMILY
from medjax.tasks.survival.split import Followed, follow
from medjax.tasks.survival.summary import GROUPS

OVERALL = ('c_index', 'c_uno', 'c_td', 'ibs')
UNREACHED = 'not reached'
HIDDEN = 'incidence_'  # columns that are too long for the table of all cases


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: where the table of predictions lacks a time, a risk or a curve.
    """
    every = [follow(run, split) for split in run.splits]
    return Chapter(
        headlines=[headline(of) for of in every if of.split in headline_splits(run)], method=method(run),
        tables=result_tables(every), sections=[part for of in every[:1] for part in sections(of)], curves=learning(run),
        samples=[], samples_text='', conventions_heading='Conventions', cases=[row for of in every for row in listed(of)],
        text_columns=[*classification_chapter.words(run), 'event'], cases_order=': the highest risk first',
        warnings=(run.results.get('analysis') or {}).get('warnings', ()))


def sections(of: Followed) -> list[Section]:
    """What is drawn and listed of the split that matters most."""
    chosen = ('Patients spread evenly over the ranks of predicted risk, from the 5th to the 95th percentile: how far '
              'such a prediction carries for one patient.')
    share = (f'Predicted is the mean probability over all patients, observed {of.estimator}\'s estimate of the same. '
             'At risk are those followed beyond that time without any event.')
    return [
        Section('Who fares worse', _cut(of), tables=[groups_table(of, of.members)], charts=charts.parted(of)),
        *([Section('Whom the treatment would help', _advice(of), tables=[groups_table(of, of.advised)],
                   charts=[charts.advised(of)])] if of.advised else []),
        Section('Whether it comes true', share, tables=horizon_tables(of), charts=charts.trusted(of)),
        Section('Patients', chosen, tables=[patients_table(of)], charts=[charts.foretold(of)])]


def headline(of: Followed) -> tuple[str, str]:
    """The result in a sentence, and how sure it is in another."""
    table, entry = of.table, of.entries['c_index']
    c_index, ibs = ('Mean C-index', 'mean IBS') if of.several else ('C-index', 'IBS')
    plain = float(np.mean([known.means[1] for known in of.brier])) if of.brier else None
    plain = f', that of one {of.estimator} curve for all {format_number(plain)}' if of.brier else ''
    text = (f'{tables.value_with_interval(c_index, entry)} on the {split_name(of.split).lower()} cases; '
            f'{tables.value_with_interval(ibs, of.entries["ibs"])}{plain}.')
    n, size = entry['n'], len(table.ids)
    happened = [f'{name} {(table.event == number).sum()}' for number, name in enumerate(table.events, 1)]
    sure = f'In brackets 95 % intervals. n = {n} patient{"s" * (n != 1)}' + (f', {size} cases' if size > n else '')
    sure += f': {", ".join(happened)}, censored {(table.event == 0).sum()}.'
    followed = _median(survival.kaplan_meier(table.time, table.event == 0)).text
    unit = f' {of.unit}' * bool(of.unit and followed != UNREACHED)
    return text, sure + f' Median follow-up (reverse Kaplan–Meier): {followed}{unit}.'


def method(run: Run) -> str:
    """How the figures and their intervals are made."""
    unit = run.results.get('unit', '')
    return join_sentences({
        interval_method(run): True,
        'A C-index is the share of pairs of patients in which the one of higher risk has the event first; 0.5 is '
        'chance. IBS, the integrated Brier score, is the mean squared error of the predicted probabilities over '
        'time.': True,
        f'The horizons, at which AUC and Brier score are told, are in {unit}.': unit,
        'Figures without an event\'s name are means over the events.': len(run.classes) > 1})


def result_tables(every: Sequence[Followed]) -> list[Table]:
    """All figures of all splits side by side, those at horizons too; those of each event of the splits that test."""
    keys, counts, made = {}, {}, []
    for of in every:
        title = caption(of.run, of.split)
        keys |= {(name, title): of.entries[name] for name in (*OVERALL, *of.timed)}
        counts[title] = f'{(of.table.event > 0).sum()} of {len(of.table.ids)}'
    if keys:
        made.append(tables.inline_intervals(tables.metric_table(FAMILY.metrics, keys, list(counts), 'All patients', counts=(
            'events', 'of all cases, the others censored', counts))))
    for of in every:
        if of.several and of.split in headline_splits(of.run):
            events = of.table.events
            each = {(name, event): of.entries[f'{name}_{event}'] for name in (*OVERALL, *of.timed) for event in events}
            counts = {event: int((of.table.event == number).sum()) for number, event in enumerate(events, 1)}
            made.append(tables.inline_intervals(tables.metric_table(FAMILY.metrics, each, events, f'{split_name(of.split)}, each event', counts=(
                'events', 'observed', counts))))
    return made


def groups_table(of: Followed, members: Mapping[str, np.ndarray]) -> Table:
    """How many each of some groups has, and how they fare at the horizons."""
    rows = []
    for name, chosen in members.items():
        curve = of.curve(chosen)
        cells = [Cell(str(chosen.sum())), Cell(str(of.table.has(0)[chosen].sum()))]
        cells += [_share(curve, horizon) for horizon in of.horizons]
        called = f'{name} risk' if name in GROUPS else f'treated {name}'
        rows.append((called, '', cells + [_median(curve)] * (not of.several)))
    event = of.table.events[0]
    heads = [('n', 'patients'), (event, 'events'), *((of.after(horizon), '') for horizon in of.horizons),
             *[(f'Median{f", {of.unit}" * bool(of.unit)}', f'by when half have had {event}')] * (not of.several)]
    told = f': incidence of {event} by the horizons' if of.several else f': share without {event} at the horizons'
    return Table(('Risk groups' if members is of.members else 'By advice') + told * bool(of.horizons), heads, rows)


def horizon_tables(of: Followed) -> list[Table]:
    """What was predicted on average and what came at each horizon, and how well it was told apart; of each event."""
    made, table = [], of.table
    for k, event in enumerate(table.events):
        rows, everyone = [], of.table.observed(k, np.ones(len(table.ids), bool)).complement()
        for horizon in of.horizons:
            said = table.incidence_at(k, np.array([horizon])).mean()
            counts = ((table.has(k) & (table.time <= horizon)).sum(), (table.time > horizon).sum())
            scores = [of.entries[of.key(f'{name}_{horizon:g}', event)] for name in ('auc', 'brier')]
            rows.append((of.after(horizon), '', [
                *(Cell(str(count)) for count in counts), Cell(format_number(said)), _share(everyone, horizon),
                *(tables.cell(FAMILY.metrics, '', entry, 0) for entry in scores)]))
        heads = [(event, 'events until then'), ('At risk', 'still followed, without an event, after that time'),
                 ('Predicted', 'mean probability of the event until then'),
                 ('Observed', f'{of.estimator}\'s estimate of the same'),
                 *(tables.heading(FAMILY.metrics, name) for name in ('auc', 'brier'))]
        made += [tables.inline_intervals(Table(f'By horizon: {event}' if of.several else 'By horizon', heads, rows))] * bool(rows)
    return made


def patients_table(of: Followed) -> Table:
    """What was predicted for some patients, and what happened to them."""
    event, rows = of.table.events[0], []
    said = of.table.incidence_at(0, np.array(of.horizons, float))
    for number in of.examples:
        cells = [GROUPS[of.place[number]], *map(format_number, said[number]), of.fate(number)]
        rows.append((str(of.table.ids[number]), '', [Cell(text) for text in cells]))
    heads = ['Risk', *(f'by {of.after(horizon)}' for horizon in of.horizons), 'What happened']
    return Table(f'Predicted probability of {event}', [(head, '') for head in heads], rows)


def learning(run: Run) -> dict[str, dict[str, str]]:
    """What was logged while training."""
    best = run.section('checkpoint').get('best', '')
    scored = [name for name in dict.fromkeys(('c_index', 'ibs', best)) if name not in ('', 'loss')]
    return {'Loss': {'train/loss': 'training', 'val/loss': 'validation'},
            **{f'{FAMILY.metrics.describe(name).label}, validation': {f'val/{name}': ''} for name in scored},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def listed(of: Followed) -> list[dict[str, str]]:
    """The table of cases without the predicted curves, the highest risk of the first event first."""
    made = []
    for number in np.argsort(-of.table.risk[:, 0], kind='stable'):
        row = {key: text for key, text in of.rows[number].items() if not key.startswith(HIDDEN)}
        made.append(row | {key: format_number(float(text)) for key, text in row.items() if key.startswith('risk_')})
    return made


def _advice(of: Followed) -> str:
    found, name = of.run.results['analysis']['advice'][of.split], of.run.section('evaluate').get('recommend')
    return (f'The network is asked twice, with {name} and without; it advises what has the lower risk: with it for '
            f'{found["advised"]:.0%} of the patients. The curves compare those who were treated so with those who were '
            'not. Unless lots said who is treated, the two may differ in what made their doctors choose: such curves '
            'are no proof that the advice helps.')


def _cut(of: Followed) -> str:
    cuts = ' and '.join(format_number(cut) for cut in of.groups['cuts'])
    source = split_name(of.run.results['analysis']['horizons_from']).lower()
    horizons = ' The horizons are the quartiles of the times of their events.' * bool(
        of.horizons and not of.run.results['analysis'].get('horizons_given'))
    return f'Patients by predicted risk, cut at {cuts}: the thirds of the {source} cases.{horizons}'


def _share(curve: Curve, horizon: float) -> Cell:
    if horizon > curve.times[-1]:
        return Cell('–', below='nobody is followed that long')
    value, low, high = (float(part) for part in curve.at(horizon))
    return Cell(format_number(value), format_interval({'ci95': (low, high)}) if low < high else '')


def _median(curve: Curve) -> Cell:
    """When the half is reached, with the 95 % interval of Brookmeyer & Crowley 1982."""
    when = [curve.times[values <= 0.5] for values in (curve.values, curve.low, curve.high)]
    value, low, high = (f'{times[0]:.3g}' if len(times) else UNREACHED for times in when)
    return Cell(value, f'{low}–{high}' if low != UNREACHED else '')
