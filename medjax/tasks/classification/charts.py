"""Which charts of a classification go to its report, and what is written below them."""

from collections.abc import Callable, Iterator

import numpy as np

from medjax.metrics import classification
from medjax.report import probability_charts, tables
from medjax.report.chapter import Chart, split_name, themed_chart
from medjax.report.style import short_name
from medjax.report.tables import format_interval, format_number
from medjax.statistics import calibration
from medjax.tasks.classification import table as classification_table
from medjax.tasks.classification.family import FAMILY
from medjax.tasks.classification.split import OPERATING, Judged

WEAKEST = 4  # of many curves, those that are coloured
ANSWERED = 10  # cases that a selective accuracy is of at least
METHODS = {'temperature': 'temperature scaling', 'platt': 'Platt scaling', 'isotonic': 'isotonic regression'}


def separation(of: Judged) -> list[Chart]:
    """ROC and precision–recall curves, the table of confusion, and the probabilities by what is true."""
    if not len(of.table):
        return []
    return [*_ranking(of), *([] if of.table.multilabel else [_confusion(of), _spread(of)])]


def sureness(of: Judged) -> list[Chart]:
    """The reliability diagram, before and after calibration; what is gained by answering where it is sure alone."""
    if not len(of.table):
        return []
    answered = len(of.table) > ANSWERED and 'points' in of.analysis.get('selective', {})
    return [_reliability(of), *([_selective(of)] if answered else [])]


def _ranking(of: Judged) -> list[Chart]:
    parts = {name: (positive, score) for name, positive, score in _one_by_one(of.table)
             if positive.any() and not positive.all()}
    areas = {name: of.entries[f'auroc_{name}']['value'] for name in parts} if not of.table.binary else {}
    many = len(parts) > len(probability_charts.LINE_COLOURS)
    named = sorted(parts, key=areas.get)[:WEAKEST] if many else list(parts)
    last = f' Only the {WEAKEST} lowest areas of {len(parts)} are named.' if many else ''
    chance, level = '', float('nan')
    if of.table.binary:
        level = float((of.table.targets == 1).mean())
        chance = f' Dotted: the share of {of.table.classes[1]}, {format_number(level)}, which chance reaches.'

    def drawn(key: str, title: str, make: Callable, axes: tuple[str, str], words: str, level: float | None) -> Chart:
        places = {name: 0 if of.table.binary else number for number, name in enumerate(named, 1)}
        lines = [probability_charts.Line(*make(*part), _legend(of, name, key) if name in named else '', places.get(name))
                 for name, part in parts.items()]
        point = _point(of, key)
        against = '' if of.table.binary or of.table.multilabel else ', each class against all others'
        marked = ' The diamond is the operating point.' if point else ''
        return themed_chart(lambda theme: probability_charts.discrimination_chart(lines, axes, theme, level=level, point=point),
                    f'{title} curves of the {_cases(of)}{against}',
                    f'{title}{against}. {_area(of, key)}{words}{marked}{last}')
    return [drawn('auroc', 'ROC', probability_charts.roc_curve, ('1 − specificity', 'Sensitivity'), ' Dotted: chance.', None),
            drawn('auprc', 'Precision–recall', probability_charts.precision_recall_curve, ('Sensitivity (recall)', 'Precision'), chance,
                  level)] if parts else []


def _point(of: Judged, key: str) -> probability_charts.Point | None:
    """The operating point on the ROC or the precision–recall curve."""
    if not of.operating:
        return None
    names = ('specificity', 'sensitivity') if key == 'auroc' else ('sensitivity', 'precision')
    if not all(tables.has_value(of.entries[name + OPERATING]) for name in names):
        return None
    x, y = (of.entries[name + OPERATING]['value'] for name in names)
    text = f'{names[0]} {format_number(x)}\n{names[1]} {format_number(y)}'
    return probability_charts.Point(1 - x if key == 'auroc' else x, y, text)


def _confusion(of: Judged) -> Chart:
    table, at, count = of.table, of.operating, len(of.table.classes)
    decided = table.probs[:, 1] >= at['threshold'] if at else table.probs.argmax(1)
    counts = classification.confusion_matrix(table.targets, decided.astype(int), count, np.ones(len(table)))
    how = 'decided at the operating point' if at else 'the most probable class decides'
    share = ' and their share of the row' if count <= probability_charts.MAX_LABELLED else ''
    return themed_chart(lambda theme: probability_charts.confusion_chart(counts, table.classes, theme), f'Table of confusion of the {_cases(of)}',
                f'Confusion of the {len(table)} {_cases(of)}; {how}. Each cell has its cases{share}; the larger the '
                'share of the row, the stronger the colour.', wide=count > probability_charts.MAX_LABELLED)


def _spread(of: Judged) -> Chart:
    table, at = of.table, of.operating
    if table.binary:
        name, by = f'Probability of {short_name(table.classes[1])}', 'what is true'
        groups = {c: table.probs[table.targets == k, 1] for k, c in enumerate(table.classes)}
    else:
        name, by = 'Probability of the most probable class', 'whether that is right'
        groups = {'right': of.confidence[of.right], 'wrong': of.confidence[~of.right]}
    return themed_chart(lambda theme: probability_charts.histogram_chart(groups, name, theme, at and at['threshold']),
                f'{name} in the {_cases(of)}, by {by}', f'{name}, by {by}; in bins of 0.05.')


def _reliability(of: Judged) -> Chart:
    table, mended = of.table, of.analysis.get('calibration', {})
    if table.multilabel:
        known, mended = table.targets >= 0, {}
        said, came = table.probs[known], table.targets[known] == 1
        axes, key = ('Probability of a label', 'Share of cases that have it'), ''
    elif table.binary:
        said, came, key = table.probs[:, 1], table.targets == 1, table.classes[1]
        axes = f'Probability of {short_name(key)}', f'Share that is {short_name(key)}'
    else:
        said, came, key = of.confidence, of.right, 'chosen'
        axes = 'Probability of the most probable class', 'Share of cases in which it is right'
    bins = {'as predicted': calibration.reliability_bins(said, came)}
    if mended:
        first = next(iter(mended))  # not the best of them: that would be chosen on test cases
        bins[f'after {METHODS.get(first, first)}'] = mended[first]['reliability'][key]
    after = f' Dashed: {list(bins)[1]}, fitted on validation cases.' if mended else ''
    error = 'Expected calibration error' + ' (of the most probable class)' * table.binary
    return themed_chart(lambda theme: probability_charts.reliability_chart(bins, axes, theme),
                f'Reliability in the {_cases(of)}: {axes[1].lower()}, against the probability',
                f'Reliability{", all labels together" if table.multilabel else ""}; dotted: perfect. A dot\'s area is '
                f'its share of the cases. {_area(of, "ece", error)}{after}')


def _selective(of: Judged) -> Chart:
    lines = []
    for number, (key, name) in enumerate((('selective', 'by the probability'),
                                          ('selective_uncertainty', 'by what the members disagree about'))):
        points = of.analysis.get(key, {}).get('points', ())
        pairs = np.array([(p['coverage'], 1 - p['risk']) for p in points if p['coverage'] * len(of.table) >= ANSWERED])
        if len(pairs):
            lines.append(probability_charts.Line(*pairs.T, name, number and number + 1))
    lost = of.analysis['selective']['aurc']
    known = f' ({format_interval(lost)})' if format_interval(lost) else ''
    return themed_chart(lambda theme: probability_charts.selective_accuracy_chart(lines, theme), 'Accuracy of the surest cases, over their share of all',
                'What is gained by leaving the least sure cases to a reader: the accuracy of the others, from '
                f'{ANSWERED} cases on. Mean error over all shares (AURC): {format_number(lost["value"])}{known}.')


def _one_by_one(table: classification_table.Cases) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The positive class, or each class, or each label: its name, `[n]` whether it is true, `[n]` its probability."""
    for name, part, _ in table.parts():
        for k in [1] if part.binary else range(len(part.classes)):
            yield name or part.classes[k], part.targets == k, part.probs[:, k]


def _cases(of: Judged) -> str:
    return f'{split_name(of.split).lower()} cases'


def _legend(of: Judged, name: str, key: str) -> str:
    if of.table.binary:
        return ''
    entry = of.entries.get(f'{key}_{name}')
    return f'{short_name(name)} {format_number(entry["value"])}' if entry else short_name(name)


def _area(of: Judged, key: str, name: str = '') -> str:
    entry = of.entries.get(key, {})
    if not tables.has_value(entry):
        return ''
    mean = 'Mean ' * (not of.table.binary and key != 'ece')
    made = ', DeLong' if entry.get('method') == 'DeLong' else ''
    known = f' (95 % CI {format_interval(entry)}{made})' if format_interval(entry) else ''
    return f'{mean}{name or FAMILY.metrics.describe(key).label} {format_number(entry["value"])}{known}.'
