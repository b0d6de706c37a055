"""Charts of a detection: FROC, precision over recall, and the scores of hits and false positives."""

import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator

from medjax.metrics import detection
from medjax.metrics.detection import HIT, RATES
from medjax.report import probability_charts, tables
from medjax.report.chapter import Chart, split_name, themed_chart
from medjax.report.style import CHART_DPI, INK, PALETTE, SQUARE, chart, png, short_name
from medjax.report.tables import format_interval, format_number
from medjax.statistics.calibration import BINS
from medjax.tasks.detection.family import FAMILY
from medjax.tasks.detection.split import Detected

TICKS = ('⅛', '¼', '½', '1', '2', '4', '8')


def drawn(of: Detected) -> list[Chart]:
    """The charts of a split; those of which it has nothing to show are left out."""
    if not len(of.table.pooled.object_image):
        return []
    scored = [_scores(of), *_reliability(of)] if len(of.table.pooled.score) else []
    return [_froc(of), _precision(of), *scored]


def _froc(of: Detected) -> Chart:
    weight, known = np.ones((1, len(of.table.images))), of.entries
    (rate,), (sensitivity,), _ = detection.froc_curve(of.table.pooled, weight)
    x = np.geomspace(RATES[0] / 2, RATES[-1] * 2, 400)
    y, points = np.interp(x, rate, sensitivity), [known[f'froc_{rate:g}'] for rate in RATES]

    def make(theme: str) -> bytes:
        figure, axes = chart(theme, 'False positives an image', 'Sensitivity', *SQUARE)
        colour = PALETTE[3 if theme == 'light' else 0]
        axes.plot(x, y, color=colour, linewidth=1.7)
        for place, entry in zip(RATES, points):
            if entry.get('ci95'):
                axes.plot([place] * 2, entry['ci95'], color=colour, linewidth=1.2, alpha=0.7)
            if tables.has_value(entry):
                axes.plot(place, entry['value'], 'o', color=colour, markersize=5, clip_on=False)
        at = known['false_positives'], known['sensitivity']
        if all(map(tables.has_value, at)) and x[0] <= at[0]['value'] <= x[-1]:
            axes.plot(at[0]['value'], at[1]['value'], 'D', color=INK[theme], markersize=6, zorder=4, clip_on=False)
        axes.set_xscale('log', base=2)
        axes.xaxis.set_major_locator(FixedLocator(RATES))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels(TICKS)
        axes.set(xlim=(x[0], x[-1]), ylim=(-0.01, 1.02))
        return png(figure, CHART_DPI)
    return themed_chart(make, f'FROC of the {split_name(of.split).lower()} images',
                f'FROC, all classes together: sensitivity over the false positives an image that it costs, with 95 % '
                f'intervals at the seven rates whose mean is the CPM{_told(of, "cpm")}. The diamond is the operating '
                'point.')


def _precision(of: Detected) -> Chart:
    lines = []
    for number, (name, found) in enumerate(zip(of.table.classes, of.table.matched), 1):
        if not len(found.object_image):
            continue
        hits = (found.matched_object[HIT] >= 0).cumsum()
        recall, precision = hits / len(found.object_image), hits / np.arange(1, len(hits) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        first = best[:1] if len(best) else [0.0]  # nothing found: a point at the origin
        x, y = np.concatenate([[0], recall, recall[-1:]]), np.concatenate([first, best, [0] * (len(hits) > 0)])
        value = of.entries.get(f'{of.lead}_{name}', {}).get('value')
        named = number <= len(probability_charts.LINE_COLOURS)
        lines.append(probability_charts.Line(x, y, f'{short_name(name)} {format_number(value)}' if named else '',
                                 number if named else None))
    title = FAMILY.metrics.describe(of.lead).label
    return themed_chart(lambda theme: probability_charts.discrimination_chart(lines, ('Recall', 'Precision'), theme, level=float('nan')),
                f'Precision over recall of each class in the {split_name(of.split).lower()} images',
                f'The best precision at each recall or more, of each class, at an IoU of {_criterion(of)}; beside the '
                f'class its {title}, the area below.')


def _scores(of: Detected) -> Chart:
    found = of.table.pooled
    hit = found.matched_object[HIT] >= 0
    groups = {'hits': found.score[hit], 'false positives': found.score[~hit]}
    return themed_chart(lambda theme: probability_charts.histogram_chart(groups, 'Score', theme, of.operating['score']),
                f'Scores of hits and of false positives in the {split_name(of.split).lower()} images',
                'Scores of found boxes, each kind by itself, in bins of 0.05.')


def _reliability(of: Detected) -> list[Chart]:
    known = (of.run.results['analysis'].get('calibration') or {}).get(of.split)
    if not known:
        return []
    bins, told = {'as scored': known['bins']}, f'its error is {format_number(known["error"])}'
    if 'mended' in known:
        bins["after Platt's scaling"] = known['mended']['bins']
        told += f', and {format_number(known["mended"]["error"])} after Platt\'s scaling, fitted on validation boxes'
    return [themed_chart(lambda theme: probability_charts.reliability_chart(bins, ('Score', 'Share of hits'), theme),
                 f'Share of hits by score in the {split_name(of.split).lower()} images',
                 f'Whether a score is the chance that a box is a hit, in bins of 1/{BINS}: {told}.')]


def _criterion(of: Detected) -> str:
    return f'{detection.iou_thresholds(of.table.dims)[HIT]:g}'


def _told(of: Detected, key: str) -> str:
    entry = of.entries.get(key, {})
    if not tables.has_value(entry):
        return ''
    return f', {format_number(entry["value"])}' + (f' ({format_interval(entry)})' if format_interval(entry) else '')
