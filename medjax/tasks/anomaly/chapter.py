"""The report's chapter on anomaly detection: discrimination, score histograms, and pictures of cases."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.report import tables
from medjax.report.chapter import (
    Chapter,
    Group,
    Section,
    caption,
    headline_splits,
    non_numeric_columns,
    selection_warnings,
    split_name,
    themed_chart,
)
from medjax.report.run_files import Run, snapshot
from medjax.report.tables import Table, format_count_of, format_number, format_significant, value_with_interval
from medjax.tasks.anomaly.charts import histogram_chart
from medjax.tasks.anomaly.family import FAMILY
from medjax.tasks.anomaly.pictures import case_tiles, interpolation_tiles
from medjax.tasks.anomaly.table import SCORE, score_values

SCORE_LABELS = {
    'error': 'reconstruction error', 'bound': 'negative evidence lower bound', 'restored': 'change by restoration',
    'synthetic_anomaly': 'synthetic anomaly score', 'distance': 'Mahalanobis distance of the latent',
    'neighbours': 'distance to the nearest latents', 'contrast': 'low contrast (no network)',
    'pca': 'residual of 8 principal components (no network)'}
VOXEL_LABELS = {
    'voxel_auprc': 'average precision', 'voxel_dice': 'Dice at the threshold of healthy voxels',
    'voxel_dice_best': 'Dice at the best threshold of each case',
    'voxel_auprc_baseline': 'average precision of the distance from the mean image (no network)'}
DRAWN = 3  # cases with high, medium and low scores, each


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: the table of predictions lacks a score, or a snapshot is damaged.
    """
    splits = headline_splits(run)
    return Chapter(
        headlines=[_headline(run, split) for split in splits], method=_method(run),
        tables=[table for split in run.splits for table in _tables(run, split)],
        sections=_sections(run, splits[0]) if splits else [], curves=_curves(),
        cases=[row for split in run.splits for row in _cases(run, split)], text_columns=non_numeric_columns(run),
        cases_order=': the highest scores first', warnings=[*run.warnings, *selection_warnings(run, 'thresholds')])


def _analysis(run: Run) -> Mapping[str, Any]:
    return run.results['analysis']


def _score_label(run: Run) -> str:
    """The name of the primary score."""
    return SCORE_LABELS[_analysis(run)['score']]


def _headline(run: Run, split: str) -> tuple[str, str]:
    entries, rows, normal = run.results[split], run.rows(split), _analysis(run)['normal']
    where = f'on the {split_name(split).lower()} cases'
    if not normal:
        entry = entries[_analysis(run)['score']]
        return (f'{_score_label(run).capitalize()}: {value_with_interval("mean", entry)} {where}.',
                f'In brackets the 95 % interval. n = '
                f'{format_count_of(entry["n"], run.analysis_unit)}, {len(rows)} cases.')
    anomalies = sum(row['target'] != normal for row in rows)
    return (f'{value_with_interval("AUROC", entries["auroc"])} {where}, by the {_score_label(run)}.',
            f'In brackets the 95 % interval. n = {format_count_of(entries["auroc"]["n"], run.analysis_unit)}, '
            f'{len(rows)} cases, of which {anomalies} are anomalies. The network was trained on the class {normal} '
            'alone.')


def _method(run: Run) -> str:
    counts, intervals = run.results['counts'], f'95 % intervals are over {run.analysis_unit}s.'
    if 'train' not in counts:
        return f'Each run has its own threshold. {intervals}'
    if not _analysis(run)['normal']:
        return f'{counts["train"]} training cases. {intervals}'
    number = counts.get(_analysis(run).get('threshold_split', 'val'), 0)
    return f'{counts["train"]} normal training cases; {number} {_held_out(run)} set the threshold. {intervals}'


def _held_out(run: Run) -> str:
    """The cases that set the threshold, in words."""
    return f'normal {split_name(_analysis(run).get("threshold_split") or "val").lower()} cases'


def _tables(run: Run, split: str) -> list[Table]:
    """Discrimination of each score, decisions of the primary one, and voxel metrics; none without anomalies."""
    entries, metrics = run.results[split], FAMILY.metrics
    if not _analysis(run)['normal']:
        rows = [(label, '', [tables.cell(metrics, name, entries[name], 0)])
                for name, label in SCORE_LABELS.items() if name in entries]
        return [Table(caption(run, split), [('mean', '')], rows)]
    if not tables.has_value(entries['auroc']):
        return []
    out = [_discrimination_table(run, split)]
    decisions = [key for key in ('sensitivity', 'specificity') if key in entries]
    if decisions:
        cells = [tables.cell(metrics, key, entries[key], 0) for key in decisions]
        out.append(Table(f'At the threshold that 5 % of the {_held_out(run)} exceed',
                         [tables.heading(metrics, key) for key in decisions], [(_score_label(run), '', cells)]))
    voxels = [(label, '', [tables.cell(metrics, key, entries[key], 0)])
              for key, label in VOXEL_LABELS.items() if key in entries]
    if voxels:
        out.append(Table('Voxels of cases with an anomaly', [('mean', '')], voxels))
    return [tables.inline_intervals(table) for table in out]


def _discrimination_table(run: Run, split: str) -> Table:
    """AUROC and AUPRC of each score."""
    entries, metrics, primary, rows = run.results[split], FAMILY.metrics, _analysis(run)['score'], []
    for name, label in SCORE_LABELS.items():
        if name == primary:
            cells = [tables.cell(metrics, key, entries.get(key), 0) for key in ('auroc', 'auprc')]
            rows.append((label, 'the primary score', cells))
        elif f'auroc_{name}' in entries:
            cells = [tables.cell(metrics, key, entries.get(f'{key}_{name}'), 0) for key in ('auroc', 'auprc')]
            rows.append((label, '', cells))
    return Table(caption(run, split), [tables.heading(metrics, key) for key in ('auroc', 'auprc')], rows)


def _sections(run: Run, split: str) -> list[Section]:
    sections = [_histogram_section(run, split)] if _analysis(run)['normal'] else []
    sections.append(_picture_section(run, split))
    interpolations = _interpolation_section(run, split)
    return sections + ([interpolations] if interpolations else [])


def _histogram_section(run: Run, split: str) -> Section:
    analysis, rows = _analysis(run), run.rows(split)
    score = score_values(rows, analysis['score'])
    lowest, highest = np.quantile(score, [0.005, 0.995])
    classes = {name: score[[row['target'] == name for row in rows]] for name in run.classes}
    groups = {name: np.clip(values, lowest, highest) for name, values in classes.items() if len(values)}
    name, threshold = _score_label(run).capitalize(), analysis['threshold']
    text = f'{name} by class. The lowest and highest 0.5 % are in the first and last bins.'
    if threshold is not None:
        text += f' Dashed: the threshold that 5 % of the {_held_out(run)} exceed.'
    return Section('Scores by class', charts=[themed_chart(
        lambda theme: histogram_chart(groups, name, threshold, theme), f'{name}, by class', text)])


def _picture_section(run: Run, split: str) -> Section:
    rows, groups = run.rows(split), []
    score = score_values(rows, _analysis(run)['score'])
    paths = [run.folder / 'cases' / split / f'{row["id"]}.npz' for row in rows]
    saved = [place for place in np.argsort(-score, kind='stable') if paths[place].is_file()]
    thirds = np.array_split(np.array(saved, int), 3)
    for kind, places in zip(('High score', 'Medium score', 'Low score'), thirds):
        for place in places[:DRAWN].tolist():
            with snapshot(paths[place]) as case:
                tiles = case_tiles(case)
            groups.append(Group(f'{kind}: {rows[place]["id"]}', tiles, f'Class: {rows[place]["target"]}. '
                                f'{_score_label(run).capitalize()}: {format_significant(score[place])}.'))
    return Section('Cases', 'The image and, where the network has them, its reconstruction with the squared '
                   'difference, the change by restoration, or the anomaly map; each on one scale. Volumes: the middle '
                   'slice.', groups=groups)


def _interpolation_section(run: Run, split: str) -> Section | None:
    """Images decoded between latents; None where the run has none."""
    groups = []
    for path in sorted((run.folder / 'cases' / split).glob('*.npz'))[:DRAWN]:
        with snapshot(path) as case:
            if 'interpolated' not in case:
                return None
            groups.append(Group(path.stem, interpolation_tiles(case), ''))
    return Section('Interpolation between latents', 'Images decoded on a straight line from the latent of a case to '
                   'that of another one.', groups=groups)


def _cases(run: Run, split: str) -> list[dict[str, str]]:
    """The rows of the table of cases, rounded, the highest primary score first."""
    rows, out = run.rows(split), []
    for place in np.argsort(-score_values(rows, _analysis(run)['score']), kind='stable'):
        out.append({key: format_number(float(text)) if key.startswith(SCORE) else text
                    for key, text in rows[place].items()})
    return out


def _curves() -> dict[str, dict[str, str]]:
    parts = {name.capitalize(): {f'train/{name}': ''} for name in ('fit', 'divergence', 'commitment')}
    return {'Loss': {'train/loss': 'training', 'val/bound': 'validation'}, **parts,
            'Codebook vectors in use': {'train/usage': ''}, 'Learning rate': {'lr': ''},
            'Gradient norm': {'train/grad_norm': ''}}
