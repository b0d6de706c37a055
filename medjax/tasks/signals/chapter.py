"""The report's chapter on beats in recordings: how many are found and made up, and traces with what was found."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medjax.errors import InputError
from medjax.report import tables
from medjax.report.chapter import (
    Chapter,
    Chart,
    Section,
    caption,
    headline_splits,
    interval_method,
    non_numeric_columns,
    split_name,
    themed_chart,
)
from medjax.report.run_files import Run
from medjax.report.style import CHART_DPI, INK, PALETTE, png, style_axes
from medjax.report.tables import Cell, format_number
from medjax.statistics.bootstrap import parse_number
from medjax.tasks.signals.family import FAMILY

COLUMNS = {'': 'network', 'detector_': 'detector'}
ROWS = {'f1': 'F1 ↑', 'sensitivity': 'Sensitivity ↑', 'precision': 'Precision ↑', 'timing_ms': 'Timing (ms) ↓'}


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: the file of a split's recordings is damaged.
    """
    best = run.section('checkpoint').get('best', '')
    return Chapter(
        headlines=[headline(run, split) for split in headline_splits(run)], method=method(run),
        tables=[judged_table(run, split) for split in run.splits],
        sections=[Section(f'Recordings: {split_name(split).lower()}', charts=recordings(run, split))
                  for split in headline_splits(run)],
        curves={'Loss': {'train/loss': 'training'}, 'Dice of samples': {'train/dice_beat': 'training'},
                **{f'{FAMILY.metrics.describe(name).label}, validation': {f'val/{name}': ''} for name in (best or 'f1',)},
                'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}, samples=[], samples_text='',
        conventions_heading='Conventions', cases=[_rounded(row) for split in run.splits for row in run.rows(split)],
        text_columns=[*non_numeric_columns(run), 'beats', 'found'])


def headline(run: Run, split: str) -> tuple[str, str]:
    """The result in a sentence, and how sure it is in another."""
    entries, rows = run.results[split], run.rows(split)
    text = tables.value_with_interval('F1 of beats', entries['f1'])
    if tables.has_value(entries['detector_f1']):
        text += f', a detector without training {format_number(entries["detector_f1"]["value"])}'
    beats = sum(int(parse_number(row['beats'])) for row in rows)
    n = entries['f1'].get('n', 0)
    return (f'{text}; on the {split_name(split).lower()} cases.',
            f'In brackets the 95 % interval, or why there is none. n = {n} patient{"s" * (n != 1)}, {beats} beats.')


def method(run: Run) -> str:
    """How the figures and their intervals are made."""
    return f'Means over patients. {interval_method(run)}'.strip()


def judged_table(run: Run, split: str) -> tables.Table:
    """How the network does, and the detector beside it where it is not the truth itself."""
    entries = run.results[split]
    there = [prefix for prefix in COLUMNS if not prefix or tables.has_value(entries[f'{prefix}f1'])]
    rows = [(words, '', [Cell(format_number(entries[prefix + name]['value'], unit), below=tables.format_interval(
        entries[prefix + name], unit)) for prefix in there])
        for name, words in ROWS.items() for unit in ['ms' if name.endswith('ms') else '']]
    return tables.inline_intervals(tables.Table(caption(run, split), [(COLUMNS[prefix], '') for prefix in there], rows))


def recordings(run: Run, split: str) -> list[Chart]:
    """The best and the worst recording of a split by F1, if they were kept."""
    path = run.folder / 'cases' / f'beats_{split}.json'
    if not path.exists():
        return []
    ranked = sorted((row for row in run.rows(split) if row['f1'] not in ('', 'nan')), key=lambda row: -float(row['f1']))
    names = {row['id']: float(row['f1']) for row in (ranked[:1] + ranked[1:][-1:])}
    try:
        kept = json.loads(path.read_text())
        shown = {f'{name}: F1 {format_number(score)}': {key: np.array(kept[name][key], float) for key in (
            'rate', 'true', 'found', 'probs', 'lead')} for name, score in names.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path}: not readable as recordings: {error}; evaluate again') from None
    return [themed_chart(lambda theme: traces(shown, theme), f'Recordings of the {split_name(split).lower()} cases',
                 'The first lead of the best and the worst recording, leveled: true beats are ticks below, found ones '
                 'triangles above; the filled line is the probability of a beat.', wide=True)] if shown else []


def traces(shown: Mapping[str, Mapping[str, Any]], theme: str) -> bytes:
    """A row a recording."""
    canvas = Figure(figsize=(9.4, 2.1 * len(shown)), layout='constrained')
    for axes, (name, one) in zip(np.atleast_1d(canvas.subplots(len(shown), 1)), shown.items()):
        style_axes(axes, theme)
        time, (low, high) = np.arange(len(one['lead'])) / one['rate'], _ends(one['lead'])
        axes.fill_between(time, low, low + (high - low) * one['probs'], color=PALETTE[1], alpha=0.35, linewidth=0)
        axes.plot(time, one['lead'], color=INK[theme], linewidth=0.7)
        axes.plot(one['true'] / one['rate'], np.full(len(one['true']), low), '|', color=PALETTE[2], markersize=9,
                  markeredgewidth=1.6)
        axes.plot(one['found'] / one['rate'], np.full(len(one['found']), high), 'v', color=PALETTE[3], markersize=4.5)
        axes.grid(visible=False)
        axes.set_title(name, fontsize=9.5, color=INK[theme], loc='left')
        axes.set(xlim=(0, time[-1]), yticks=[])
    axes.set_xlabel('Time, s')
    return png(canvas, CHART_DPI)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = float(np.min(values)), float(np.max(values))
    margin = 0.08 * (high - low) or 1.0
    return low - margin, high + margin


def _rounded(row: Mapping[str, str]) -> dict[str, str]:
    return {key: format_number(float(text)) if key.endswith(tuple(ROWS)) and text else text for key, text in row.items()}
