"""The report's chapter on regression: how near predictions come, and in which cases they are far off."""

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
from medjax.tasks.regression.summary import METHODS, Table, key_of, read

SHOWN = ('r2', 'rmse', 'mae', 'pearson', 'spearman', 'bias')
WORST = 12  # cases of the largest errors that are drawn
SIZE = (300, 200)  # of a drawn molecule

Tables = Mapping[str, Table]


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: where the table of predictions lacks a value.
    """
    every = [_split(run, split) for split in run.splits]
    return Chapter(
        headlines=[headline(of, name) for of in every if of.split in headline_splits(run) for name in run.classes],
        method=method(run), tables=[made for of in every for made in result_tables(of)],
        sections=[part for of in every[:1] for part in sections(of)], curves=learning(run), samples=[], samples_text='',
        conventions_heading='Conventions', cases=[row for of in every for row in listed(of)],
        text_columns=[*non_numeric_columns(run), 'smiles', 'name'], cases_order=': the largest errors first',
        warnings=(run.results.get('analysis') or {}).get('warnings', ()))


def headline(of: Split[Tables], name: str) -> tuple[str, str]:
    """The result for a target in a sentence, and how sure it is in another."""
    run, table = of.run, of.table[name]
    entry, rmse = (of.entries[key_of(key, name, '', run.classes)] for key in ('r2', 'rmse'))
    unit = f' {run.results["unit"]}' if run.results.get('unit') else ''
    text = f'{tables.value_with_interval(f"{name}: R²", entry)} on the {split_name(of.split).lower()} cases'
    others = [f'{METHODS[method]} {format_number(of.entries[key_of("r2", name, method, run.classes)]["value"])}'
              for method in table.predicted if method]
    text += f'; {", ".join(others)}' * bool(others)
    text += f'. RMSE {format_number(rmse.get("value"))}{unit}.'
    n, who = entry.get('n', 0), entry.get('unit', 'case')
    sure = f'In brackets the 95 % interval. n = {n} {who}{"s" * (n != 1)}.'
    if entry.get('run_sd') is not None:
        sure += f' Single runs: R² {format_number(entry["run_mean"])} ± {format_number(entry["run_sd"])} (n = {entry["runs"]}).'
    return text, sure


def method(run: Run) -> str:
    """How the figures and their intervals are made."""
    entries = entries_with_intervals(run)
    of = next((entry['unit'] for entry in entries), 'case')
    said = {interval_method(run, f'{of}s'): True,
            'The network\'s figures are means over the runs, with their standard deviation.': any(
                entry.get('run_sd') is not None for entry in entries),
            'Simpler models stand beside the network: what it adds is what it does better than they.': any(
                len(table.predicted) > 1 for split in run.splits for table in _split(run, split).table.values())}
    return join_sentences(said)


def result_tables(of: Split[Tables]) -> list[tables.Table]:
    """The figures of each target, of the network and of the simpler models beside it."""
    names, made = of.run.classes, []
    for name, table in of.table.items():
        keys = {(metric, METHODS[other]): of.entries[key_of(metric, name, other, names)] for metric in SHOWN
                for other in table.predicted}
        # Of several runs the figures are means over them, and their standard deviation stands beside.
        keys |= {place: {**entry, 'sd': entry['run_sd']} for place, entry in keys.items()
                 if place[1] == METHODS[''] and entry.get('run_sd') is not None}
        columns = [METHODS[other] for other in table.predicted]
        title = caption(of.run, of.split) + f', {name}' * (len(names) > 1)
        made.append(tables.metric_table(FAMILY.metrics, keys, columns, title))
    return made


def sections(of: Split[Tables]) -> list[Section]:
    """What is drawn of the split that matters most."""
    unit, made = of.run.results.get('unit', ''), []
    for name, table in of.table.items():
        if len(table.measured):
            which = f': {name}' * (len(of.table) > 1)
            made.append(Section(f'How near it comes{which}', charts=charts.nearness(table, name, unit)))
            made.append(worst(of, name, which))
    return made


def worst(of: Split[Tables], name: str, which: str = '') -> Section:
    """The cases of the largest errors; drawn, where they are molecules and RDKit is there."""
    table = of.table[name]
    off = table.predicted[''] - table.measured
    order = np.argsort(-np.abs(off), kind='stable')[:WORST]
    rows = [of.rows[table.cases[place]] for place in order]
    heads = [('Measured', ''), ('Predicted', ''), *[(METHODS[other], '') for other in table.predicted if other]]
    listing = tables.Table('', heads, [
        (row.get('name') or row['id'], row.get('smiles', ''), [tables.Cell(format_number(value)) for value in (
            table.measured[place], *(predicted[place] for predicted in table.predicted.values()))])
        for place, row in zip(order, rows)])
    tiles = [tile for place, row in zip(order, rows) if (tile := _drawn(
        row.get('smiles', ''), f'{row.get("name") or row["id"]}: {format_number(table.measured[place])}, predicted '
        f'{format_number(table.predicted[""][place])}'))]
    return Section(f'The largest errors{which}', 'Where simpler models are as far off, the measurement may be odd.',
                   tables=[listing], groups=[Group('', tiles, '')] if tiles else [])


def learning(run: Run) -> dict[str, dict[str, str]]:
    """What was logged while training."""
    return {'Loss': {'train/loss': 'training'},
            'RMSE in standard deviations, validation': {'val/nrmse': ''}, 'R², validation': {'val/r2': ''},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def listed(of: Split[Tables]) -> list[dict[str, str]]:
    """The table of cases, rounded, the largest error of any target first, in its standard deviations."""
    worst = np.zeros(len(of.rows))
    for table in of.table.values():
        scale = float(table.measured.std()) or 1.0 if len(table.measured) else 1.0
        off = np.abs(table.predicted[''] - table.measured) / scale
        worst[table.cases] = np.maximum(worst[table.cases], off)
    numbers = {key for name in of.table for key in of.rows[0] if key == name or key.endswith(f'_{name}')
               or f'_{name}_' in key} if of.rows else set()
    return [{key: format_number(float(text)) if key in numbers and text else text for key, text in of.rows[number].items()}
            for number in np.argsort(-worst, kind='stable')]


def _drawn(smiles: str, title: str) -> Tile | None:
    """A molecule as a chemist draws it; None without RDKit, or where it is none."""
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem.Draw import rdMolDraw2D
    except ImportError:
        return None
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles) if smiles else None
        if molecule is None:
            return None
        canvas = rdMolDraw2D.MolDraw2DCairo(*SIZE)
        rdMolDraw2D.PrepareAndDrawMolecule(canvas, molecule)
    canvas.FinishDrawing()
    return Tile(canvas.GetDrawingText(), title, f'The structure of {smiles}; {title}', SIZE[0] * 3 // 4)


def _split(run: Run, split: str) -> Split[Tables]:
    return read_split(run, split, lambda rows: {name: read(rows, name) for name in run.classes})
