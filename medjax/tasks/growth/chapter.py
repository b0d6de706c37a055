"""The report's chapter on growth: how well the next scan is told, of whom best and worst, and new tumours by site."""

from collections.abc import Mapping, Sequence

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
)
from medjax.report.run_files import Run
from medjax.report.split import Split, read_split
from medjax.report.tables import Entry, format_number
from medjax.tasks.growth import charts
from medjax.tasks.growth.family import FAMILY
from medjax.tasks.growth.summary import METHODS, Table, read

COLUMNS = ('dice', 'gain_dice', 'volume_error', 'gain_volume')
SITES = {'auroc_sites': 'AUROC ↑', 'brier_sites': 'Brier score ↓', 'new': 'Sites with a new tumour',
         'auroc_sites_simulation': 'AUROC of the simulation\'s own chance'}
AGAINST = ('same', 'gompertz', 'fisher')  # that the headline names


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: where the table of predictions lacks a figure, or a snapshot is damaged.
    """
    every = [read_split(run, split, read) for split in run.splits]
    shown = next(iter(every), None)
    return Chapter(
        headlines=[line for of in every if of.split in headline_splits(run) for line in headlines(of)], method=interval_method(run),
        tables=[methods_table(of.entries, of.table.methods, caption(run, of.split)) for of in every],
        sections=[] if shown is None else sections(shown), curves=learning(run), samples=[], samples_text='',
        conventions_heading='Conventions', cases=[row for of in every for row in listed(of)], text_columns=non_numeric_columns(run),
        cases_order=': the highest Dice first', warnings=(run.results.get('analysis') or {}).get('warnings', ()))


def headlines(of: Split[Table]) -> list[tuple[str, str]]:
    """The result in a sentence, and how sure it is in another."""
    entries, methods = of.entries, of.table.methods
    others = [f'{METHODS[name]} {format_number(entries[f"dice_{name}"]["value"])}' for name in AGAINST if name in methods]
    wrong = [f'{METHODS[name]} {format_number(entries[f"volume_error_{name}"]["value"], "%")} %' for name in AGAINST
             if name in methods]
    text = (f'{tables.value_with_interval("Dice", entries["dice"])} of the next mask on the {split_name(of.split).lower()} cases'
            + f'; {", ".join(others)}' * bool(others) + '. '
            f'Volume error {format_number(entries["volume_error"]["value"], "%")} %' + f'; {", ".join(wrong)}' * bool(wrong)
            + '.')
    sure = f'In brackets the 95 % interval. n = {entries["dice"]["n"]} patients.'
    gains = [f'{METHODS[name]} {_signed(entries[f"gain_dice_{name}"])}' for name in AGAINST if name in methods]
    sure += f' Gain in Dice, patient by patient, on {"; on ".join(gains)}.' * bool(gains)
    return [(text, sure)]


def methods_table(entries: Mapping[str, Entry], methods: Sequence[str], title: str) -> tables.Table:
    """Dice and volume error of the network and of each other way, and what the network gains on it."""
    keys = {(name, METHODS[other]): entries[f'{name}_{other}' if other else name]
            for name in COLUMNS for other in methods
            if (f'{name}_{other}' if other else name) in entries}
    return tables.metric_table(FAMILY.metrics, keys, [METHODS[other] for other in methods], title)


def sections(of: Split[Table]) -> list[Section]:
    """What is drawn of the split that matters most."""
    made = [charts.pictures(of),
            Section('Volumes', 'The laws of growth know the volumes and times of the visits that were seen, and '
                    'nothing else of a patient.', charts=charts.volumes(of)),
            Section('Case by case', charts=charts.gains(of))]
    if 'auroc_sites' in of.entries:
        rows = [(words, '', [tables.cell(FAMILY.metrics, 'auroc', of.entries[name], 0)]) for name, words in SITES.items()
                if name in of.entries]
        judged, new = int((of.table.new >= 0).sum()), int((of.table.new == 1).sum())
        made.append(Section(
            'New tumours', f'The chance that a new tumour arises at a site before the next visit, of {judged} sites '
            f'without one in {int((of.table.new >= 0).any(1).sum())} patients; it arose at {new}.',
            tables=[tables.inline_intervals(tables.Table('Sites', [('Value', '')], rows))], charts=charts.sites(of)))
    return made


def learning(run: Run) -> dict[str, dict[str, str]]:
    """What was logged while training."""
    return {'Loss': {'train/loss': 'training'}, 'Dice': {'train/dice_tumour': 'training', 'val/dice': 'validation'},
            'Volume error, %': {'val/volume_error': ''}, 'AUROC of new tumours': {'val/auroc_sites': ''},
            'Penalty by the law of growth': {'train/loss_physics': ''}, 'Learning rate': {'lr': ''},
            'Gradient norm': {'train/grad_norm': ''}}


def listed(of: Split[Table]) -> list[dict[str, str]]:
    """The table of cases, rounded, the highest Dice first."""
    words, score = non_numeric_columns(of.run), np.nan_to_num(of.table.values['dice', ''], nan=-1)
    kept = [key for key in (of.rows[0] if of.rows else ()) if key in ('split', 'id', 'patient', 'visits', 'horizon')
            or key.startswith(('volume', 'dice')) or key in words]
    return [{key: text if key in (*words, 'visits') or not text else format_number(float(text))
             for key, text in ((key, of.rows[number][key]) for key in kept)}
            for number in np.argsort(-score, kind='stable')]


def _signed(entry: Entry) -> str:
    low_high = tables.format_interval(entry).replace('–', ' to ')
    return f'{entry["value"]:+.3f}'.replace('-', '−') + f' ({low_high})' * bool(low_high)
