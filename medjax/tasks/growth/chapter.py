"""The report's chapter on tumour growth: predicted masks and volumes, gains over baselines, and new tumours."""

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
from medjax.report.tables import Entry, format_interval, format_number
from medjax.tasks.growth import charts, pictures
from medjax.tasks.growth.family import FAMILY
from medjax.tasks.growth.table import METHODS, Predictions, method_column, read

METRICS = ('dice', 'gain_dice', 'volume_error', 'gain_volume')  # of the table of methods
SITE_METRICS = {'auroc_sites': 'AUROC ↑', 'brier_sites': 'Brier score ↓', 'new': 'Share of sites with a new tumour',
                'auroc_sites_simulation': 'AUROC of the true probability (simulation)'}
HEADLINE_BASELINES = ('same', 'gompertz', 'fisher')
CASE_COLUMNS = ('split', 'id', 'patient', 'visits', 'horizon')  # of the table of cases, beside the metrics


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: the predictions table lacks a metric, or a snapshot is damaged.
    """
    splits = [read_split(run, name, read) for name in run.splits]
    return Chapter(
        headlines=[headline(split) for split in splits if split.split in headline_splits(run)],
        method=interval_method(run),
        tables=[methods_table(split.entries, split.table.methods, caption(run, split.split)) for split in splits],
        sections=sections(splits[0]) if splits else [], curves=training_curves(),
        cases=[row for split in splits for row in case_rows(split)], text_columns=non_numeric_columns(run),
        cases_order=': the highest Dice first', warnings=run.warnings)


def headline(split: Split[Predictions]) -> tuple[str, str]:
    """The results as sentences, and the sample and the gains over baselines as others."""
    entries = split.entries
    baselines = [name for name in HEADLINE_BASELINES if name in split.table.methods]
    dice = [f'{METHODS[name]} {format_number(entries[f"dice_{name}"]["value"])}' for name in baselines]
    errors = [f'{METHODS[name]} {format_number(entries[f"volume_error_{name}"]["value"], "%")} %' for name in baselines]
    result = (f'{tables.value_with_interval("Dice", entries["dice"])} of the next mask on the '
              f'{split_name(split.split).lower()} cases')
    volume = f'Volume error {format_number(entries["volume_error"]["value"], "%")} %'
    if baselines:
        result, volume = f'{result}; {", ".join(dice)}', f'{volume}; {", ".join(errors)}'
    size = tables.format_count_of(entries['dice']['n'], split.run.analysis_unit)
    sample = f'95 % intervals in brackets. n = {size}.'
    if baselines:
        gains = [f'{METHODS[name]} {_signed(entries[f"gain_dice_{name}"])}' for name in baselines]
        sample += f' Paired gain in Dice over {"; over ".join(gains)}.'
    return f'{result}. {volume}.', sample


def methods_table(entries: Mapping[str, Entry], methods: Sequence[str], title: str) -> tables.Table:
    """Dice and volume error of the network and of each baseline, and the gain over it."""
    keys = {(name, METHODS[method]): entries[method_column(name, method)] for name in METRICS for method in methods
            if method_column(name, method) in entries}
    return tables.metric_table(FAMILY.metrics, keys, [METHODS[method] for method in methods], title)


def sections(split: Split[Predictions]) -> list[Section]:
    """Pictures, charts and tables of the first split."""
    cases = pictures.examples(split)
    out = [pictures.section(split, cases),
           Section('Predicted volumes', 'The growth laws use the volumes and times of the earlier visits only.',
                   charts=charts.volume_charts(split, cases)),
           Section('Dice by case', charts=charts.dice_charts(split))]
    if 'auroc_sites' in split.entries:
        out.append(_sites_section(split))
    return out


def _sites_section(split: Split[Predictions]) -> Section:
    known = split.table.new >= 0
    rows = [(label, '', [tables.cell(FAMILY.metrics, 'auroc', split.entries[name], 0)])
            for name, label in SITE_METRICS.items() if name in split.entries]
    return Section(
        'New tumours', 'The predicted probability that a new tumour arises at a site before the next visit, for '
        f'{int(known.sum())} sites without a tumour in {int(known.any(1).sum())} patients; new tumours arose at '
        f'{int((split.table.new == 1).sum())} sites.',
        tables=[tables.inline_intervals(tables.Table('Sites', [('Value', '')], rows))],
        charts=charts.site_charts(split))


def training_curves() -> dict[str, dict[str, str]]:
    """The logged values to draw, see `Chapter.curves`."""
    return {'Loss': {'train/loss': 'training'}, 'Dice': {'train/dice_tumour': 'training', 'val/dice': 'validation'},
            'Volume error, %': {'val/volume_error': ''}, 'AUROC of new tumours': {'val/auroc_sites': ''},
            'Penalty by the growth law': {'train/loss_physics': ''}, 'Learning rate': {'lr': ''},
            'Gradient norm': {'train/grad_norm': ''}}


def case_rows(split: Split[Predictions]) -> list[dict[str, str]]:
    """The rows of the table of cases, rounded, the highest Dice first."""
    text_columns, score = non_numeric_columns(split.run), np.nan_to_num(split.table.values['dice', ''], nan=-1)
    columns = [key for key in (split.rows[0] if split.rows else ())
               if key in CASE_COLUMNS or key.startswith(('volume', 'dice')) or key in text_columns]
    out = []
    for number in np.argsort(-score, kind='stable'):
        row = {key: split.rows[number][key] for key in columns}
        out.append({key: text if key in (*text_columns, 'visits') or not text else format_number(float(text))
                    for key, text in row.items()})
    return out


def _signed(entry: Entry) -> str:
    """A value with its sign and its interval."""
    value, limits = f'{entry["value"]:+.3f}'.replace('-', '−'), format_interval(entry).replace('–', ' to ')
    return f'{value} ({limits})' if limits else value
