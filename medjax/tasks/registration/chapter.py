"""The report's chapter on registration: overlap and folding, errors before and after, and drawn deformations."""

from collections.abc import Mapping

import numpy as np

from medjax.metrics.names import MetricList
from medjax.report import tables
from medjax.report.chapter import (
    Chapter,
    Group,
    Section,
    caption,
    headline_splits,
    interval_method,
    non_numeric_columns,
    split_name,
)
from medjax.report.run_files import Run, snapshot
from medjax.report.split import Split, read_split
from medjax.report.tables import Entry, format_interval, format_number, has_value
from medjax.tasks.registration.charts import pair_charts
from medjax.tasks.registration.family import FAMILY
from medjax.tasks.registration.pictures import ARRAYS, pair_tiles
from medjax.tasks.registration.table import METHODS, METRICS, Table, column, is_metric, read

PAIR_METRICS = ('tre', 'dice', 'folded', 'ncc')  # given with the pictures of a pair


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: the table of predictions lacks a metric, or a snapshot is damaged.
    """
    splits = [read_split(run, split, read) for split in run.splits]
    return Chapter(
        headlines=[_headline(split) for split in splits if split.split in headline_splits(run)],
        method=interval_method(run), tables=[_table(split) for split in splits],
        sections=_sections(splits[0]) if splits else [], curves=_curves(run.length_unit),
        cases=[row for split in splits for row in _cases(split)], text_columns=non_numeric_columns(run),
        cases_order=': the best first', warnings=run.warnings)


def _headline(split: Split[Table]) -> tuple[str, str]:
    """The result in a sentence, and its uncertainty in another."""
    entries, parts = split.entries, []
    if has_value(entries['tre']):
        length = split.run.length_unit
        value = format_number(entries['tre']['value'], length)
        parts.append(f'Target registration error {value} {length}{_other_methods(split, "tre", length)}')
    if has_value(entries['dice']):
        parts.append(f'Dice {format_number(entries["dice"]["value"])}{_other_methods(split, "dice")}')
    if not parts:
        parts.append(f'Correlation {format_number(entries["ncc"]["value"])}{_other_methods(split, "ncc")}')
    text = (f'{"; ".join(parts)} on the {split_name(split.split).lower()} pairs. Folded: '
            f'{format_number(entries["folded"]["value"])} % of the cells.')
    lead = next(metric for metric in ('tre', 'dice', 'ncc') if has_value(entries[metric]))
    unit = _metrics(split.run).describe(lead).unit
    limits, uncertainty = format_interval(entries[lead], unit), ''
    if limits:
        uncertainty = f'95 % interval of the first value {f"{limits} {unit}".strip()}. '
    sample = tables.format_count_of(entries[lead]['n'], split.run.analysis_unit)
    return text, f'{uncertainty}n = {sample}, {len(split.rows)} pairs.'


def _other_methods(split: Split[Table], metric: str, unit: str = '') -> str:
    """The results of the other methods in brackets, of those that were applied to the same pairs."""
    parts = []
    for method in split.table.methods:
        entry = split.entries.get(column(metric, method))
        if method and entry and entry['cases'] == split.entries[metric]['cases']:
            parts.append(f'{METHODS[method]} {format_number(entry["value"], unit)}')
    return f' ({", ".join(parts)})' if parts else ''


def _table(split: Split[Table]) -> tables.Table:
    """All metrics of the run and of the other methods, and the gains of the run."""
    keys: dict[tuple[str, str], Entry] = {}
    for metric in (*METRICS, 'gain_dice', 'gain_tre'):
        for method in split.table.methods:
            entry = split.entries.get(column(metric, method), {})
            if has_value(entry):
                keys[metric, METHODS[method]] = entry
    names = [METHODS[method] for method in split.table.methods if ('ncc', METHODS[method]) in keys]
    return tables.metric_table(_metrics(split.run), keys, names, caption(split.run, split.split))


def _sections(split: Split[Table]) -> list[Section]:
    """Pictures and charts of a split."""
    order, groups = _order(split.table), []
    places = dict.fromkeys([order[0], order[len(order) // 2], order[-1]]) if len(order) else {}
    for rank, place in zip(('Best', 'Median', 'Worst'), places):
        path = split.run.folder / 'cases' / split.split / f'{split.table.ids[place]}.npz'
        if path.is_file():
            with snapshot(path) as arrays:
                case = {name: arrays[name] for name in ARRAYS}
                case |= {name: array for name, array in arrays.items() if name.startswith('moved_')}
            groups.append(Group(f'{rank}: {split.table.ids[place]}', pair_tiles(case),
                                _pair_text(split, place)))
    return [Section('Pairs', 'Differences are of intensities on one scale, white for none. The grid is that of the '
                    'fixed image, drawn at its positions in the moving one. The Jacobian is blue where tissue shrinks '
                    'from the fixed to the moving image and red where it grows, up to twice; black where it folds. '
                    'Volumes: the axial plane with the largest area of the image.', groups=groups),
            Section('Results by pair', charts=pair_charts(split.table, split.run.length_unit))]


def _metrics(run: Run) -> MetricList:
    """The family's metrics with the run's unit of distances."""
    return FAMILY.metrics.in_unit(run.length_unit)


def _pair_text(split: Split[Table], place: int) -> str:
    """The metrics of a pair after and before registration."""
    table, metrics, parts = split.table, _metrics(split.run), []
    for metric in PAIR_METRICS:
        value = table.values[metric, ''][place]
        if np.isnan(value):
            continue
        described = metrics.describe(metric)
        text = f'{described.label} {format_number(value, described.unit)} {described.unit}'.strip()
        if 'none' in table.methods and metric != 'folded':
            text += f' (before {format_number(table.values[metric, "none"][place], described.unit)})'
        parts.append(text)
    return f'{", ".join(parts)}.'


def _order(table: Table) -> np.ndarray:
    """Pairs from the best to the worst: by TRE, else by Dice, else by the correlation."""
    metric = next((metric for metric in ('tre', 'dice') if not np.isnan(table.values[metric, '']).all()), 'ncc')
    score = np.nan_to_num(table.values[metric, ''] * (-1 if metric == 'tre' else 1), nan=-np.inf)
    return np.argsort(-score, kind='stable')


def _cases(split: Split[Table]) -> list[dict[str, str]]:
    """The rows of the table of pairs, rounded, the best first."""
    text = non_numeric_columns(split.run)

    def rounded(row: Mapping[str, str]) -> dict[str, str]:
        cells = {key: cell for key, cell in row.items() if key in text or is_metric(key)}
        return {key: cell if key in text or cell in ('', 'nan') else format_number(float(cell))
                for key, cell in cells.items()}
    return [rounded(split.rows[number]) for number in _order(split.table)]


def _curves(length: str) -> dict[str, dict[str, str]]:
    return {'Loss': {'train/loss': 'training'}, 'Dissimilarity of the images': {'train/dissimilarity': 'training'},
            f'Target registration error, {length}': {'val/tre': ''}, 'Dice': {'val/dice': ''},
            'Folded cells, %': {'val/folded': ''}, 'Roughness of the velocity': {'train/roughness': ''},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}
