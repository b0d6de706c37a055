"""Charts of detection: FROC, precision–recall curves, and the scores of hits and false positives."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator

from medjax.metrics import detection
from medjax.metrics.detection import HIT, RATES
from medjax.report import probability_charts, tables
from medjax.report.chapter import Chart, split_name, themed_chart
from medjax.report.style import CHART_DPI, INK, PALETTE, SQUARE, chart, png, short_name
from medjax.report.tables import Entry, format_interval, format_number
from medjax.statistics.calibration import BINS
from medjax.tasks.detection.family import FAMILY
from medjax.tasks.detection.split import DetectionSplit

RATE_LABELS = ('⅛', '¼', '½', '1', '2', '4', '8')


def detection_charts(split: DetectionSplit) -> list[Chart]:
    """The charts of a split that has objects; those of scores where boxes were found."""
    matches = split.table.pooled_matches
    if not len(matches.object_image):
        return []
    charts = [_froc_chart(split), _precision_recall_chart(split)]
    if len(matches.score):
        charts += [_score_chart(split), *_reliability_charts(split)]
    return charts


def _froc_chart(split: DetectionSplit) -> Chart:
    entries = split.entries
    (rate,), (sensitivity,), _ = detection.froc_curve(split.table.pooled_matches, np.ones((1, len(split.table.images))))
    x = np.geomspace(RATES[0] / 2, RATES[-1] * 2, 400)
    y, points = np.interp(x, rate, sensitivity), [entries[f'froc_{rate:g}'] for rate in RATES]
    operating = entries['false_positives'], entries['sensitivity']

    def draw_chart(theme: str) -> bytes:
        return _draw_froc(x, y, points, operating, theme)

    cpm = entries['cpm']
    value = f', {_value_and_interval(cpm)}' if tables.has_value(cpm) else ''
    return themed_chart(
        draw_chart, f'FROC of the {split.images_name}',
        f'FROC, all classes pooled: sensitivity by false positives per image, with 95 % intervals at the seven rates '
        f'whose mean is the CPM{value}. The diamond is the operating point.')


def _draw_froc(x: np.ndarray, y: np.ndarray, points: Sequence[Entry], operating: tuple[Entry, Entry],
               theme: str) -> bytes:
    """The FROC curve as PNG.

    Args:
      x: false positives per image.
      y: sensitivity.
      points: results at RATES.
      operating: results of false positives per image and sensitivity at the operating point.
      theme: 'light' or 'dark'.
    """
    figure, axes = chart(theme, 'False positives per image', 'Sensitivity', *SQUARE)
    colour = PALETTE[3 if theme == 'light' else 0]
    axes.plot(x, y, color=colour, linewidth=1.7)
    for place, entry in zip(RATES, points):
        if entry.get('ci95'):
            axes.plot([place] * 2, entry['ci95'], color=colour, linewidth=1.2, alpha=0.7)
        if tables.has_value(entry):
            axes.plot(place, entry['value'], 'o', color=colour, markersize=5, clip_on=False)
    if all(map(tables.has_value, operating)) and x[0] <= operating[0]['value'] <= x[-1]:
        axes.plot(*(entry['value'] for entry in operating), 'D', color=INK[theme], markersize=6, zorder=4,
                  clip_on=False)
    axes.set_xscale('log', base=2)
    axes.xaxis.set_major_locator(FixedLocator(RATES))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(RATE_LABELS)
    axes.set(xlim=(x[0], x[-1]), ylim=(-0.01, 1.02))
    return png(figure, CHART_DPI)


def _precision_recall_chart(split: DetectionSplit) -> Chart:
    lines = []
    for number, (name, matches) in enumerate(zip(split.table.classes, split.table.hit_matches), 1):
        if not len(matches.object_image):
            continue
        hits = (matches.matched_object[HIT] >= 0).cumsum()
        recall, precision = hits / len(matches.object_image), hits / np.arange(1, len(hits) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        if len(hits):
            x, y = np.concatenate([[0], recall, recall[-1:]]), np.concatenate([best[:1], best, [0]])
        else:  # nothing found: a point at the origin
            x, y = np.zeros(1), np.zeros(1)
        value = split.entries.get(f'{split.hit_metric}_{name}', {}).get('value')
        named = number <= len(probability_charts.LINE_COLOURS)
        label = f'{short_name(name)} {format_number(value)}' if named else ''
        lines.append(probability_charts.Line(x, y, label, number if named else None))
    metric = FAMILY.metrics.describe(split.hit_metric).label
    iou = f'{detection.iou_thresholds(split.table.dims)[HIT]:g}'
    return themed_chart(
        lambda theme: probability_charts.discrimination_chart(lines, ('Recall', 'Precision'), theme,
                                                              level=float('nan')),
        f'Precision–recall curves of each class in the {split.images_name}',
        f'The highest precision at each recall or a higher one, for each class at an IoU of {iou}; beside the class '
        f'its {metric}, the area under the curve.')


def _score_chart(split: DetectionSplit) -> Chart:
    matches = split.table.pooled_matches
    hit = matches.matched_object[HIT] >= 0
    groups = {'hits': matches.score[hit], 'false positives': matches.score[~hit]}
    return themed_chart(
        lambda theme: probability_charts.histogram_chart(groups, 'Score', theme, split.operating['score']),
        f'Scores of hits and of false positives in the {split.images_name}',
        'Scores of found boxes, as a share of the hits and of the false positives, in bins of 0.05.')


def _reliability_charts(split: DetectionSplit) -> list[Chart]:
    """The reliability diagram of the scores, where the run has one."""
    analysis = split.run.results['analysis'].get('calibration') or {}
    calibration, fitted_on = analysis.get(split.split), split_name(analysis.get('fitted_on', 'val')).lower()
    if not calibration:
        return []
    bins = {'as predicted': calibration['bins']}
    text = f'its expected error is {format_number(calibration["error"])}'
    if 'calibrated' in calibration:
        bins['after Platt scaling'] = calibration['calibrated']['bins']
        error = format_number(calibration['calibrated']['error'])
        text += f', and {error} after Platt scaling, fitted on {fitted_on} boxes'
    return [themed_chart(
        lambda theme: probability_charts.reliability_chart(bins, ('Score', 'Share of hits'), theme),
        f'Share of hits by score in the {split.images_name}',
        f'Calibration of the score as the probability of a hit, in bins of 1/{BINS}: {text}.')]


def _value_and_interval(entry: Entry) -> str:
    limits = format_interval(entry)
    return format_number(entry['value']) + (f' ({limits})' if limits else '')
