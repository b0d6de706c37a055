"""The report's chapter on regression: prediction accuracy beside baselines, and the cases with the largest errors."""

from collections.abc import Mapping

import numpy as np

from medjax.report import tables
from medjax.report.chapter import (
    Chapter,
    Group,
    Section,
    caption,
    entries_with_intervals,
    headline_splits,
    interval_method,
    join_sentences,
    non_numeric_columns,
    split_name,
)
from medjax.report.draw import Tile
from medjax.report.run_files import Run
from medjax.report.split import Split, read_split
from medjax.report.tables import format_number
from medjax.tasks.regression import charts
from medjax.tasks.regression.family import FAMILY
from medjax.tasks.regression.summary import METRICS, metric_key
from medjax.tasks.regression.table import METHODS, Predictions, read

MAX_ERRORS = 12  # cases of the largest errors
PICTURE_SIZE = (300, 200)  # of a molecule, pixels

ByTarget = Mapping[str, Predictions]


def chapter(run: Run) -> Chapter:
    """The chapter of a run, or of several merged runs.

    Raises:
      InputError: the predictions table lacks a value.
    """
    splits = [_read_split(run, name) for name in run.splits]
    return Chapter(
        headlines=[headline(split, target) for split in splits if split.split in headline_splits(run)
                   for target in run.classes],
        method=method(run, splits), tables=[table for split in splits for table in result_tables(split)],
        sections=sections(splits[0]) if splits else [], curves=training_curves(),
        cases=[row for split in splits for row in case_rows(split)],
        text_columns=[*non_numeric_columns(run), 'smiles', 'name'],
        cases_order=': the largest errors first', warnings=run.warnings)


def headline(split: Split[ByTarget], target: str) -> tuple[str, str]:
    """The results for a target as sentences, and the sample and the spread over runs as others."""
    run, table = split.run, split.table[target]
    r2, rmse = (split.entries[metric_key(metric, target, '', run.classes)] for metric in ('r2', 'rmse'))
    text = f'{tables.value_with_interval(f"{target}: R²", r2)} on the {split_name(split.split).lower()} cases'
    baselines = [f'{METHODS[name]} '
                 f'{format_number(split.entries[metric_key("r2", target, name, run.classes)]["value"])}'
                 for name in table.predicted if name]
    if baselines:
        text += f'; {", ".join(baselines)}'
    unit = f' {run.results["unit"]}' if run.results.get('unit') else ''
    text += f'. RMSE {format_number(rmse.get("value"))}{unit}.'
    n, kind = r2.get('n', 0), r2.get('unit', 'case')
    size = f'1 {kind}' if n == 1 else f'{n} {kind}s'
    sample = f'95 % intervals in brackets. n = {size}.'
    if r2.get('run_sd') is not None:
        sample += (f' Single runs: R² {format_number(r2["run_mean"])} ± {format_number(r2["run_sd"])} '
                   f'(n = {r2["runs"]}).')
    return text, sample


def method(run: Run, splits: list[Split[ByTarget]]) -> str:
    """How the values and intervals of the tables are computed.

    Args:
      run: the run.
      splits: its splits.
    """
    entries = entries_with_intervals(run)
    unit = next((entry['unit'] for entry in entries), 'case')
    merged = any(entry.get('run_sd') is not None for entry in entries)
    has_baselines = any(len(table.predicted) > 1 for split in splits for table in split.table.values())
    return join_sentences({
        interval_method(run, f'{unit}s'): True,
        'The metrics of the network are means over the runs, with their standard deviation.': merged,
        'The network is compared with baselines; its benefit is the difference from them.': has_baselines})


def result_tables(split: Split[ByTarget]) -> list[tables.Table]:
    """The metrics of each target, of the network and of the baselines."""
    targets, out = split.run.classes, []
    for target, table in split.table.items():
        keys = {}
        for metric in METRICS:
            for name in table.predicted:
                entry = split.entries[metric_key(metric, target, name, targets)]
                if not name and entry.get('run_sd') is not None:  # a mean over runs, shown with its spread
                    entry = {**entry, 'sd': entry['run_sd']}
                keys[metric, METHODS[name]] = entry
        title = caption(split.run, split.split)
        if len(targets) > 1:
            title += f', {target}'
        out.append(tables.metric_table(FAMILY.metrics, keys, [METHODS[name] for name in table.predicted], title))
    return out


def sections(split: Split[ByTarget]) -> list[Section]:
    """Charts and tables of the first split."""
    unit, out = split.run.results.get('unit', ''), []
    for target, table in split.table.items():
        if len(table.measured):
            suffix = f': {target}' if len(split.table) > 1 else ''
            out.append(Section(f'Prediction accuracy{suffix}', charts=charts.accuracy_charts(table, target, unit)))
            out.append(largest_errors(split, target, suffix))
    return out


def largest_errors(split: Split[ByTarget], target: str, suffix: str = '') -> Section:
    """The cases with the largest errors, with pictures where they are molecules and RDKit is installed.

    Args:
      split: the cases.
      target: its name.
      suffix: of the heading.
    """
    table = split.table[target]
    error = np.abs(table.predicted[''] - table.measured)
    rows, pictures = [], []
    for place in np.argsort(-error, kind='stable')[:MAX_ERRORS]:
        row = split.rows[table.cases[place]]
        name, smiles = row.get('name') or row['id'], row.get('smiles', '')
        measured, *predicted = (format_number(values[place]) for values in (table.measured, *table.predicted.values()))
        rows.append((name, smiles, [tables.Cell(text) for text in (measured, *predicted)]))
        picture = _picture(smiles, f'{name}: {measured}, predicted {format_number(table.predicted[""][place])}')
        if picture:
            pictures.append(picture)
    headers = ['Measured', 'Predicted', *(METHODS[name] for name in table.predicted if name)]
    listing = tables.Table('', [(header, '') for header in headers], rows)
    return Section(f'Largest errors{suffix}', 'Where the baselines have an equally large error, the measurement may be '
                   'wrong.', tables=[listing], groups=[Group('', pictures, '')] if pictures else [])


def training_curves() -> dict[str, dict[str, str]]:
    """The logged values to draw, see `Chapter.curves`."""
    return {'Loss': {'train/loss': 'training'},
            'RMSE in standard deviations, validation': {'val/nrmse': ''}, 'R², validation': {'val/r2': ''},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def case_rows(split: Split[ByTarget]) -> list[dict[str, str]]:
    """The rows of the table of cases, rounded.

    The case with the largest error of any target, in standard deviations of the target, is the first.
    """
    largest = np.zeros(len(split.rows))
    for table in split.table.values():
        scale = float(table.measured.std()) or 1.0 if len(table.measured) else 1.0
        error = np.abs(table.predicted[''] - table.measured) / scale
        largest[table.cases] = np.maximum(largest[table.cases], error)
    numbers = {key for key in (split.rows[0] if split.rows else ()) for target in split.table
               if key == target or key.endswith(f'_{target}') or f'_{target}_' in key}
    return [{key: format_number(float(text)) if key in numbers and text else text
             for key, text in split.rows[number].items()} for number in np.argsort(-largest, kind='stable')]


def _picture(smiles: str, title: str) -> Tile | None:
    """The structural formula of a molecule; None without RDKit, or where there is no molecule."""
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem.Draw import rdMolDraw2D
    except ImportError:
        return None
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles) if smiles else None
        if molecule is None:
            return None
        canvas = rdMolDraw2D.MolDraw2DCairo(*PICTURE_SIZE)
        rdMolDraw2D.PrepareAndDrawMolecule(canvas, molecule)
    canvas.FinishDrawing()
    return Tile(canvas.GetDrawingText(), title, f'The structure of {smiles}; {title}', PICTURE_SIZE[0] * 3 // 4)


def _read_split(run: Run, split: str) -> Split[ByTarget]:
    return read_split(run, split, lambda rows: {target: read(rows, target) for target in run.classes})
