"""Tables of the report on classification: metrics, classes, calibration, conformal sets and subgroups."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.report import tables
from medjax.report.chapter import caption, headline_splits, split_name
from medjax.report.tables import Cell, Table, format_number
from medjax.tasks.classification import fairness, probability_analysis
from medjax.tasks.classification.family import FAMILY
from medjax.tasks.classification.operating_point import SUFFIX
from medjax.tasks.classification.split import ClassificationSplit

OVERALL = ('auroc', 'auprc', 'accuracy', 'balanced_accuracy', 'sensitivity', 'specificity', 'precision', 'f1',
           'f1_micro', 'kappa', 'kappa_weighted', 'mcc', 'brier', 'log_loss', 'ece', 'ece_adaptive', 'ece_predicted',
           'calibration_slope', 'calibration_intercept')
OF_CLASS = ('auroc', 'auprc', 'sensitivity', 'specificity', 'precision', 'f1', 'ece', 'calibration_slope',
            'calibration_intercept')
THRESHOLD_METRICS = ('auroc', 'accuracy', 'sensitivity', 'specificity', 'ece')  # of groups
CLASS_METRICS = ('auroc', 'accuracy', 'balanced_accuracy', 'ece')
# Metrics that equal others of the problem: the pooled F1 is the accuracy, and so on.
REDUNDANT = {'binary': {'f1_micro'}, 'multiclass': {'f1_micro', 'sensitivity'}, 'ordinal': {'f1_micro', 'sensitivity'},
             'multilabel': set()}
CURVE_DISTANCES = {'ici': 'mean (ICI)', 'e50': 'median (E50)', 'e90': '90th percentile (E90)'}
MAX_DRAWN = 4  # classes or labels whose smooth calibration and decision curves are drawn
CALIBRATION_ERRORS = ('ece', 'brier', 'log_loss')
CALIBRATION_METHODS = {'temperature': 'temperature scaling', 'platt': 'Platt scaling',
                       'isotonic': 'isotonic regression'}


def result_tables(splits: Sequence[ClassificationSplit]) -> list[Table]:
    """The metrics of all splits side by side, and those of each class of the splits that have a headline."""
    keys, columns, out = {}, [], []
    for split in splits:
        title = caption(split.run, split.split)
        suffixes = {title: ''}
        if split.operating:
            suffixes[f'{title}, operating point'] = SUFFIX
        for column, suffix in suffixes.items():
            keys |= {(name, column): split.entries[name + suffix] for name in OVERALL
                     if name + suffix in split.entries and name not in REDUNDANT[split.table.problem]}
        columns += suffixes
        runs = {name: entry for (name, column), entry in keys.items() if column == title and 'runs' in entry}
        if runs:
            column = f'mean ± SD of {max(entry["runs"] for entry in runs.values())} runs'
            keys |= {(name, column): {'value': entry['run_mean'], 'sd': entry['run_sd'], 'n': entry['n']}
                     for name, entry in runs.items()}
            columns.append(column)
    if keys:
        name = 'All cases' if splits[0].table.binary else 'All classes'
        out.append(tables.inline_intervals(tables.metric_table(FAMILY.metrics, keys, columns, name)))
    for split in splits:
        if not split.table.binary and split.split in headline_splits(split.run):
            out += class_tables(split)
    return out


def class_tables(split: ClassificationSplit) -> list[Table]:
    """The metrics of each class or label of a split, at the operating point where labels have one."""
    classes, entries, targets = split.table.classes, split.entries, split.table.targets[split.distinct]
    chosen = {}
    for name in OF_CLASS:
        operating = any(f'{name}{SUFFIX}_{c}' in entries for c in classes)
        chosen[name] = name + SUFFIX if operating else name
    keys = {(name, c): entries[f'{key}_{c}'] for name, key in chosen.items() for c in classes
            if f'{key}_{c}' in entries}
    names = [name for name in classes if any(name == c for _, c in keys)]
    if not names:
        return []
    counts = (targets == 1).sum(0) if split.table.multilabel else np.bincount(targets, minlength=len(classes))
    title = f'{split_name(split.split)}, each {"label" if split.table.multilabel else "class against all others"}'
    labels = [FAMILY.metrics.describe(name).label for name, key in chosen.items() if key != name]
    if labels:
        title += f'; {", ".join(labels).lower()} at its operating point'
    return [tables.metric_table(FAMILY.metrics, keys, names, title,
                                counts=('cases', 'cases of the class', dict(zip(classes, counts))))]


def uncertainty_tables(split: ClassificationSplit) -> list[Table]:
    """Errors before and after calibration, conformal prediction sets, and distances of smooth calibration curves."""
    if split.table.multilabel:
        return _curve_table(split)
    calibration, conformal = split.analysis.get('calibration'), split.analysis.get('conformal')
    out = []
    if calibration:
        before = next(iter(calibration.values()))
        rows = [('as predicted', '', [Cell(format_number(before[name]['before'])) for name in CALIBRATION_ERRORS])]
        rows += [(f'after {CALIBRATION_METHODS.get(key, key)}', '',
                  [Cell(format_number(found[name]['after'])) for name in CALIBRATION_ERRORS])
                 for key, found in calibration.items()]
        headers = [tables.heading(FAMILY.metrics, name) for name in CALIBRATION_ERRORS]
        fitted_on = split_name(before['fitted_on']).lower()
        out.append(Table(f'Calibration, fitted on {fitted_on} cases', headers, rows))
    if conformal:
        single = conformal['sizes'].get('1', 0) / sum(conformal['sizes'].values())
        rows = [('nominal coverage', 'the probability that the set of a random case of a patient contains the truth',
                 [Cell(format_number(conformal['nominal_coverage']))]),
                ('observed coverage', '', [tables.cell(FAMILY.metrics, '', conformal['coverage'], 0)]),
                ('mean size', 'classes in a set', [tables.cell(FAMILY.metrics, '', conformal['set_size'], 0)]),
                ('sets of one class', 'share of the cases', [Cell(format_number(single))])]
        out.append(Table('Conformal prediction sets', [('', '')], rows))
    return out + _curve_table(split)


def _curve_table(split: ClassificationSplit) -> list[Table]:
    """Distances between the predictions and the smooth calibration curve of each class or label."""
    rows = []
    for name, found in split.analysis.get('probability', {}).items():
        curve = found['curve']
        cells = [Cell(format_number(curve[key])) for key in CURVE_DISTANCES] if 'ici' in curve else [
            Cell('–', below=curve['why']), *[Cell('')] * (len(CURVE_DISTANCES) - 1)]
        rows.append((name, '', cells))
    headers = [(text, '') for text in CURVE_DISTANCES.values()]
    return [Table('Distance from the smooth calibration curve', headers, rows)] if rows else []


def decision_tables(split: ClassificationSplit) -> list[Table]:
    """Predictive values of each class or label, and the net benefit by threshold of those whose curves are drawn."""
    analysis, drawn = split.analysis.get('probability', {}), drawn_problems(split)
    if not analysis:
        return []
    rows = []
    for name, found in analysis.items():
        for kind, text in (('own', 'of these cases'), ('stated', 'stated in the config')):
            values = found['predictive_values'].get(kind)
            if values:
                rows.append((name, '', [Cell(format_number(values['prevalence']), below=text), *(
                    tables.cell(FAMILY.metrics, '', values[key], 0) for key in ('ppv', 'npv'))]))
    chosen = any(found['predictive_values']['threshold'] is not None for found in analysis.values())
    single = split.table.binary or split.table.multilabel
    rule = 'at the operating point' if chosen else 'at a probability of 0.5' if single else 'of the predicted class'
    out = [Table(f'Predictive values {rule}', [('prevalence', ''), ('PPV', ''), ('NPV', '')], rows)]
    curves = [analysis[name]['decision'] for name in drawn]
    numbers = range(0, probability_analysis.THRESHOLDS, probability_analysis.STEP)
    if len(analysis) == 1:
        curve, headers = curves[0], [('by the network', ''), ('treat all', ''), ('gain', '')]
        cells = [[_limits_cell(curve, n, 'model', ('low', 'high')), Cell(format_number(curve['all'][n])),
                  _limits_cell(curve, n, 'gain', ('gain_low', 'gain_high'))] for n in numbers]
        title = f'Net benefit of decisions on {drawn[0]} by threshold; gain over the better of treating all and none'
    else:
        headers = [(name, '') for name in drawn]
        cells = [[_limits_cell(curve, n, 'gain', ('gain_low', 'gain_high')) for curve in curves] for n in numbers]
        title = 'Gain in net benefit over the better of treating all and none, by threshold'
    return [*out, Table(title, headers, [(format_number(curves[0]['thresholds'][n]), '', row)
                                         for n, row in zip(numbers, cells)])]


def drawn_problems(split: ClassificationSplit) -> list[str]:
    """The positive class, or the classes or labels with the most cases: those whose curves are drawn."""
    positives = {name: int((part.targets == k).sum()) for name, part, k, _ in split.table.problems()}
    known = [name for name in positives if name in split.analysis.get('probability', {})]
    chosen = sorted(known, key=positives.get, reverse=True)[:MAX_DRAWN]
    return [name for name in known if name in chosen]


def _limits_cell(curve: Mapping[str, Any], number: int, name: str, limits: tuple[str, str]) -> Cell:
    """A value of a decision curve with its interval."""
    low, high = (curve[key][number] for key in limits)
    interval = [low, high] if low is not None and low == low else None
    return Cell(format_number(curve[name][number]), below=tables.format_interval({'ci95': interval}))


def subgroup_tables(split: ClassificationSplit) -> list[Table]:
    """For each subgroup column the metrics of its groups with their largest differences, and the fairness gaps."""
    out = []
    for column, analysis in split.analysis.get('subgroups', {}).items():
        out.append(_group_table(split, column, analysis))
        gaps = _gap_table(split, column, analysis['gaps'])
        if gaps:
            out.append(gaps)
    return out


def _group_table(split: ClassificationSplit, column: str, analysis: Mapping[str, Any]) -> Table:
    """Metrics of the groups of a column, and their largest differences."""
    binary = split.table.binary
    available = {name for group in analysis['groups'].values() for name in group['metrics']}
    chosen = [name + SUFFIX if name + SUFFIX in available else name
              for name in (THRESHOLD_METRICS if binary or split.table.multilabel else CLASS_METRICS)
              if name in available]
    rows = []
    for name, group in analysis['groups'].items():
        few = min(n for count in group['counts'].values() for n in count.values()) < fairness.FEW
        cells = [Cell(str(group['n']), below='few cases' if few else '')]
        if binary:
            count = group['counts'][split.table.classes[1]]
            cells.append(Cell(str(count['positives']), below=f'of {sum(count.values())}'))
        rows.append((name, '', [*cells, *(tables.cell(FAMILY.metrics, key, group['metrics'].get(key), 0)
                                          for key in chosen)]))
    headers = [('n', f'{split.run.analysis_unit}s')]
    if binary:
        headers.append((split.table.classes[1], 'cases'))
    differences = [_difference_cell(analysis['worst'].get(key)) for key in chosen]
    rows.append(('largest difference', 'between the best and the worst group',
                 [*[Cell('')] * len(headers), *differences]))
    return Table(f'By {column}', headers + [_group_heading(key) for key in chosen], rows)


def _gap_table(split: ClassificationSplit, column: str, gaps: Mapping[str, Any]) -> Table | None:
    """The fairness gaps between the groups of a column; None where there are none."""
    single = split.table.binary or split.table.multilabel
    decisions = {'at 0.5' if single else 'most probable class': '', 'operating point': SUFFIX}
    keys = {(name, decision): gaps[name + suffix] for decision, suffix in decisions.items() for name in fairness.GAPS
            if name + suffix in gaps}
    names = [decision for decision in decisions if any(decision == c for _, c in keys)]
    title = f'Between the groups by {column}'
    if not split.table.binary:
        title += ', of the class with the largest difference'
    return tables.inline_intervals(tables.metric_table(FAMILY.metrics, keys, names, title)) if keys else None


def _group_heading(key: str) -> tuple[str, str]:
    name, _ = tables.heading(FAMILY.metrics, key.removesuffix(SUFFIX))
    return name, 'at the operating point' if key.endswith(SUFFIX) else ''


def _difference_cell(worst: Mapping[str, Any] | None) -> Cell:
    if not worst:
        return Cell('–')
    cell = tables.cell(FAMILY.metrics, '', worst['difference'], 0)
    return cell._replace(below=f'{cell.below}\nworst: {worst["group"]}'.strip())
