"""Charts of classification: discrimination, confusion, calibration and selective accuracy."""

from collections.abc import Callable, Mapping

import numpy as np

from medjax.metrics import classification
from medjax.report import probability_charts, tables
from medjax.report.chapter import Chart, split_name, themed_chart
from medjax.report.probability_charts import Line, Point
from medjax.report.style import short_name
from medjax.report.tables import format_interval, format_number
from medjax.statistics import calibration
from medjax.tasks.classification.chapter_tables import CALIBRATION_METHODS, drawn_problems
from medjax.tasks.classification.family import FAMILY
from medjax.tasks.classification.operating_point import SUFFIX
from medjax.tasks.classification.split import ClassificationSplit

NAMED_CURVES = 4  # of many curves those with the lowest areas are named and coloured
SMOOTH = ('The smooth line is a logistic regression on a natural cubic spline of the predictions as they are, with its '
          'pointwise 95 % interval.')
MIN_ANSWERED = 10  # cases from which a selective accuracy is shown
SELECTIVE = {'selective': 'by the probability', 'selective_uncertainty': 'by the disagreement of the members'}

Curve = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
Problems = Mapping[str, tuple[np.ndarray, np.ndarray]]  # `[n]` whether it is true, and `[n]` its probability, by name


def discrimination_charts(split: ClassificationSplit) -> list[Chart]:
    """ROC and precision–recall curves, the confusion matrix, and the probabilities by truth."""
    if not len(split.table):
        return []
    charts = _curve_charts(split)
    if not split.table.multilabel:
        charts += [_confusion_chart(split), _probability_chart(split)]
    return charts


def uncertainty_charts(split: ClassificationSplit) -> list[Chart]:
    """The reliability diagram before and after calibration, and selective accuracy."""
    if not len(split.table):
        return []
    charts = [_reliability_chart(split)]
    if not split.table.binary:
        charts += [_smooth_chart(split, name) for name in drawn_problems(split)
                   if 'ici' in split.analysis['probability'][name]['curve']]
    if len(split.table) > MIN_ANSWERED and 'points' in split.analysis.get('selective', {}):
        charts.append(_selective_chart(split))
    return charts


def decision_charts(split: ClassificationSplit) -> list[Chart]:
    """The decision curves."""
    return [_decision_chart(split, name) for name in drawn_problems(split)]


def _smooth_chart(split: ClassificationSplit, name: str) -> Chart:
    """The smooth calibration curve of a class or label."""
    curve, short = split.analysis['probability'][name]['curve'], short_name(name)
    part, k = next((part, k) for known, part, k, _ in split.table.problems() if known == name)
    bins = {'': calibration.reliability_bins(part.probs[:, k], part.targets == k)}
    return themed_chart(
        lambda theme: probability_charts.reliability_chart(
            bins, (f'Probability of {short}', f'Share of cases with {short}'), theme, curve=curve),
        f'Smooth calibration curve of {name} in the {_cases(split)}', f'{name}: {SMOOTH} {_distances(curve)}')


def _decision_chart(split: ClassificationSplit, name: str) -> Chart:
    curve = split.analysis['probability'][name]['decision']
    low, high = curve['thresholds'][0], curve['thresholds'][-1]
    return themed_chart(
        lambda theme: probability_charts.decision_chart(curve, theme),
        f'Decision curve of {name} in the {_cases(split)}',
        f'Net benefit of decisions on {name} at thresholds from {format_number(low)} to {format_number(high)}, with '
        'its pointwise 95 % interval. Dashed: treating everybody; dotted: nobody.')


def _distances(curve: Mapping[str, float]) -> str:
    return f'Mean distance (ICI) {format_number(curve["ici"])}, 90th percentile (E90) {format_number(curve["e90"])}.'


def _curve_charts(split: ClassificationSplit) -> list[Chart]:
    """The ROC and the precision–recall curves of the classes that have cases with and without them."""
    truth = {name: (part.targets == k, part.probs[:, k]) for name, part, k, _ in split.table.problems()}
    problems = {name: pair for name, pair in truth.items() if pair[0].any() and not pair[0].all()}
    if not problems:
        return []
    chance, level = '', float('nan')
    if split.table.binary:
        level = float((split.table.targets == 1).mean())
        chance = f' Dotted: the share of {split.table.classes[1]}, {format_number(level)}, which is chance level.'
    return [
        _curve_chart(split, problems, 'auroc', 'ROC', probability_charts.roc_curve, ('1 − specificity', 'Sensitivity'),
                     ' Dotted: chance level.', None),
        _curve_chart(split, problems, 'auprc', 'Precision–recall', probability_charts.precision_recall_curve,
                     ('Sensitivity (recall)', 'Precision'), chance, level)]


def _curve_chart(split: ClassificationSplit, problems: Problems, key: str, title: str, curve: Curve,
                 axes_names: tuple[str, str], chance: str, level: float | None) -> Chart:
    """A chart with a curve for each binary problem.

    Args:
      split: the split.
      problems: truth and probability by name.
      key: of the area under the curve in the results.
      title: name of the curve.
      curve: its points.
      axes_names: of x and y.
      chance: sentence on the level of chance.
      level: see `probability_charts.discrimination_chart`.
    """
    named, note = list(problems), ''
    if len(problems) > len(probability_charts.LINE_COLOURS):
        areas = {name: split.entries[f'auroc_{name}']['value'] for name in problems}
        named = sorted(problems, key=areas.get)[:NAMED_CURVES]
        note = f' Only the {NAMED_CURVES} lowest areas of {len(problems)} are named.'
    places = {name: 0 if split.table.binary else number for number, name in enumerate(named, 1)}
    lines = [Line(*curve(*problem), _curve_name(split, name, key) if name in named else '', places.get(name))
             for name, problem in problems.items()]
    point = _operating_point(split, key)
    against = '' if split.table.binary or split.table.multilabel else ', each class against all others'
    diamond = ' The diamond is the operating point.' if point else ''
    return themed_chart(
        lambda theme: probability_charts.discrimination_chart(lines, axes_names, theme, level=level, point=point),
        f'{title} curves of the {_cases(split)}{against}',
        f'{title}{against}. {_area(split, key)}{chance}{diamond}{note}')


def _operating_point(split: ClassificationSplit, key: str) -> Point | None:
    """The operating point on the ROC ('auroc') or the precision–recall curve ('auprc')."""
    if not split.operating:
        return None
    names = ('specificity', 'sensitivity') if key == 'auroc' else ('sensitivity', 'precision')
    if not all(tables.has_value(split.entries[name + SUFFIX]) for name in names):
        return None
    x, y = (split.entries[name + SUFFIX]['value'] for name in names)
    text = f'{names[0]} {format_number(x)}\n{names[1]} {format_number(y)}'
    return Point(1 - x if key == 'auroc' else x, y, text)


def _confusion_chart(split: ClassificationSplit) -> Chart:
    cases, operating, count = split.table, split.operating, len(split.table.classes)
    predicted = cases.probs[:, 1] >= operating['threshold'] if operating else cases.probs.argmax(1)
    counts = classification.confusion_matrix(cases.targets, predicted.astype(int), count, np.ones(len(cases)))
    labelled = count <= probability_charts.MAX_LABELLED
    rule = 'predicted at the operating point' if operating else 'the most probable class is predicted'
    share = ' and their share of the row' if labelled else ''
    return themed_chart(
        lambda theme: probability_charts.confusion_chart(counts, cases.classes, theme),
        f'Confusion matrix of the {_cases(split)}',
        f'Confusion matrix of the {len(cases)} {_cases(split)}; {rule}. Each cell has its cases{share}; a stronger '
        'colour is a larger share of the row.', wide=not labelled)


def _probability_chart(split: ClassificationSplit) -> Chart:
    """Histograms of the probability of the positive class by truth, or of the predicted class by correctness."""
    cases, operating = split.table, split.operating
    if cases.binary:
        name, by = f'Probability of {short_name(cases.classes[1])}', 'the truth'
        groups = {c: cases.probs[cases.targets == k, 1] for k, c in enumerate(cases.classes)}
    else:
        name, by = 'Probability of the predicted class', 'whether it is correct'
        groups = {'correct': split.confidence[split.correct], 'wrong': split.confidence[~split.correct]}
    threshold = operating['threshold'] if operating else None
    return themed_chart(lambda theme: probability_charts.histogram_chart(groups, name, theme, threshold),
                        f'{name} in the {_cases(split)}, by {by}', f'{name}, by {by}, in bins of 0.05.')


def _reliability_chart(split: ClassificationSplit) -> Chart:
    cases, calibrated = split.table, split.analysis.get('calibration', {})
    if cases.multilabel:
        known, calibrated = cases.targets >= 0, {}
        predicted, observed = cases.probs[known], cases.targets[known] == 1
        axes_names, key = ('Probability of a label', 'Share of cases with the label'), ''
    elif cases.binary:
        predicted, observed, key = cases.probs[:, 1], cases.targets == 1, cases.classes[1]
        axes_names = f'Probability of {short_name(key)}', f'Share of cases with {short_name(key)}'
    else:
        predicted, observed, key = split.confidence, split.correct, 'predicted_class'
        axes_names = 'Probability of the predicted class', 'Share of cases in which it is correct'
    bins, after = {'as predicted': calibration.reliability_bins(predicted, observed)}, ''
    if calibrated:
        first = next(iter(calibrated))  # not the best method, which would be selected on test cases
        name = f'after {CALIBRATION_METHODS.get(first, first)}'
        bins[name] = calibrated[first]['reliability'][key]
        after = f' Dashed: {name}, fitted on {split_name(calibrated[first]["fitted_on"]).lower()} cases.'
    pooled = ', all labels pooled' if cases.multilabel else ''
    error = 'Expected calibration error' + (' (of the positive class)' if cases.binary else '')
    curve = split.analysis.get('probability', {}).get(key, {}).get('curve', {}) if cases.binary else {}
    if 'ici' in curve:
        after += f' {SMOOTH} {_distances(curve)}'
    return themed_chart(
        lambda theme: probability_charts.reliability_chart(bins, axes_names, theme,
                                                           curve=curve if 'ici' in curve else None),
        f'Reliability in the {_cases(split)}: {axes_names[1].lower()}, by the probability',
        f'Reliability{pooled}; dotted: perfect calibration. The area of a dot is its share of the cases. '
        f'{_area(split, "ece", error)}{after}')


def _selective_chart(split: ClassificationSplit) -> Chart:
    lines = []
    for number, (key, name) in enumerate(SELECTIVE.items()):
        points = split.analysis.get(key, {}).get('points', ())
        pairs = np.array([(point['coverage'], 1 - point['risk']) for point in points
                          if point['coverage'] * len(split.table) >= MIN_ANSWERED])
        if len(pairs):
            lines.append(Line(*pairs.T, name, number + 1 if number else 0))
    area = split.analysis['selective']['aurc']
    limits = f' ({format_interval(area)})' if format_interval(area) else ''
    return themed_chart(
        lambda theme: probability_charts.selective_accuracy_chart(lines, theme),
        'Accuracy of the most confident cases, by their share of all cases',
        'Selective classification: accuracy of the most confident cases if the others are referred to a reader, from '
        f'{MIN_ANSWERED} cases on. Area under the risk–coverage curve (AURC): {format_number(area["value"])}{limits}.')


def _cases(split: ClassificationSplit) -> str:
    return f'{split_name(split.split).lower()} cases'


def _curve_name(split: ClassificationSplit, name: str, key: str) -> str:
    """The legend of a class's curve; '' for a single curve."""
    if split.table.binary:
        return ''
    entry = split.entries.get(f'{key}_{name}')
    return f'{short_name(name)} {format_number(entry["value"])}' if entry else short_name(name)


def _area(split: ClassificationSplit, key: str, name: str = '') -> str:
    """The area under a curve, or an error, with its interval as a sentence; '' where it is not defined."""
    entry = split.entries.get(key, {})
    if not tables.has_value(entry):
        return ''
    mean = 'Mean ' if not split.table.binary and key != 'ece' else ''
    limits, method = format_interval(entry), ', DeLong' if entry.get('method') == 'DeLong' else ''
    interval = f' (95 % CI {limits}{method})' if limits else ''
    return f'{mean}{name or FAMILY.metrics.describe(key).label} {format_number(entry["value"])}{interval}.'
