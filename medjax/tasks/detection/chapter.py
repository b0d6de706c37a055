"""The report's chapter on detection: how well objects are found, at which cost, and how that looks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.metrics import detection
from medjax.report import draw, tables
from medjax.report.chapter import (
    Chapter,
    Section,
    caption,
    headline_splits,
    interval_method,
    join_sentences,
    split_name,
)
from medjax.report.run_files import Run
from medjax.report.style import class_colour, png
from medjax.report.tables import Cell, Table, format_interval, format_number
from medjax.tasks.detection import charts, pictures
from medjax.tasks.detection import table as detection_table
from medjax.tasks.detection.family import FAMILY
from medjax.tasks.detection.split import Detected, detect
from medjax.tasks.detection.summary import SIZES

OPERATING = ('sensitivity', 'precision', 'f1', 'false_positives')
LOSSES = {'train/loss_classes': 'classes', 'train/loss_boxes': 'boxes', 'train/loss_proposed': 'classes of proposals',
          'train/loss_placed': 'boxes of proposals'}
HIDDEN = ('truth', 'found', 'size', 'spacing')  # columns that are too long for the table of all cases, or say nothing


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: where the table of predictions lacks boxes, or a case's snapshot is damaged.
    """
    every = [detect(run, split) for split in run.splits]
    return Chapter(
        headlines=[headline(of) for of in every if of.split in headline_splits(run)], method=method(run),
        tables=result_tables(every), sections=[part for of in every[:1] for part in sections(of)], curves=learning(run),
        samples=samples(run), samples_text='Training images as read, and as the first steps augmented them with their '
        'boxes: the first channel, in the same intensity window.', conventions_heading='Conventions',
        cases=[row for of in every for row in listed(of)], cases_order=': those with the lowest AP of their own first',
        text_columns=words(run), warnings=(run.results.get('analysis') or {}).get('warnings', ()))


def sections(of: Detected) -> list[Section]:
    """What is drawn and listed of the split that matters most."""
    at = of.operating
    text = f'At the operating point, a score of {format_number(at["score"])} or more, {_chosen(at)}.'
    shown = [counts_table(of), sizes_table(of), froc_table(of), *videos_table(of)]
    return [Section('What it finds, and at which cost', text, tables=shown, charts=charts.drawn(of)),
            pictures.pictures(of)]


def headline(of: Detected) -> tuple[str, str]:
    """The result in a sentence, and how sure it is in another."""
    entries, table, at = of.entries, of.table, of.operating
    names = list(dict.fromkeys([of.lead, 'ap50', 'ap']))
    told = ', '.join(_told(of, FAMILY.metrics.describe(name).label, name) for name in names)
    mean = 'Mean ' * (len(table.classes) > 1)
    n, objects = entries[of.lead]['n'], sum(len(seen.true_boxes) for seen in table.images)
    sure = (f'In brackets 95 % intervals. n = {n} patient{"s" * (n != 1)}, {len(table.images)} images, {objects} '
            f'objects. At a score of {format_number(at["score"])} or more, {_chosen(at)}: '
            f'{_told(of, "sensitivity", "sensitivity")}, {_told(of, "precision", "precision")}, '
            f'{_told(of, "", "false_positives").strip()} false positives an image.')
    return f'{mean}{told} on the {split_name(of.split).lower()} images; {_told(of, "CPM", "cpm")}.', sure


def method(run: Run) -> str:
    """How the figures and their intervals are made."""
    return join_sentences({
        interval_method(run): True,
        'Of several classes AP and average recall are means.': len(run.classes) > 1,
        'Sensitivity, precision, F1 and false positives are those at the operating point, with all classes '
        'together.': True})


def result_tables(every: Sequence[Detected]) -> list[Table]:
    """All figures of all splits side by side; those of each class of the splits that test."""
    keys, made = {}, []
    for of in every:
        title = caption(of.run, of.split)
        keys |= {(name, title): of.entries[name] for name in (*_precisions(of), 'ar', 'cpm', *OPERATING)}
    if keys:
        names = list(dict.fromkeys(column for _, column in keys))
        made.append(tables.inline_intervals(tables.metric_table(FAMILY.metrics, keys, names, 'All classes')))
    for of in every:
        classes = of.table.classes
        if len(classes) > 1 and of.split in headline_splits(of.run):
            each = {(name, c): of.entries[f'{name}_{c}'] for name in _precisions(of) for c in classes}
            objects = {c: of.entries[f'ap_{c}']['objects'] for c in classes}
            made.append(tables.metric_table(FAMILY.metrics, each, classes, f'{split_name(of.split)}, each class', counts=(
                'objects', 'in the truth', objects)))
    return made


def counts_table(of: Detected) -> Table:
    """What is hit, missed and found without being there, of each class at the operating point."""
    found = detection_table.per_class(of.table, of.operating['score'])
    total = {key: sum(one[key] for one in found.values()) for key in next(iter(found.values()))}
    rows = []
    for name, one in {**found, 'all': total}.items() if len(found) > 1 else found.items():
        shares = [one['hits'] / n if n else float('nan') for n in (one['objects'], one['found_operating'])]
        rows.append((name, '', [*(Cell(str(one[key])) for key in ('objects', 'hits', 'missed', 'false_positives')),
                                *(Cell(format_number(share)) for share in shares)]))
    heads = [('Objects', 'in the truth'), ('Hits', ''), ('Missed', ''),
             ('False positives', 'found where there is no object of that class'),
             ('Sensitivity\N{NO-BREAK SPACE}↑', ''), ('Precision\N{NO-BREAK SPACE}↑', '')]
    return Table('At the operating point', heads, rows)


def sizes_table(of: Detected) -> Table:
    """Sensitivity at the operating point by the objects' size."""
    known = of.run.results['analysis']['sizes']
    (low, high), unit = known['limits'][of.split], known['unit']
    limits = [f'{value:.0f}' if value >= 10 else f'{value:.3g}' for value in (low, high)]
    names = {'small': f'below {limits[0]} {unit}', 'medium': 'between', 'large': f'{limits[1]} {unit} or more'}
    rows = []
    for size in SIZES:
        entry = of.entries[f'sensitivity_{size}']
        rows.append((size, names[size], [Cell(str(entry['objects'])), _cell(entry)]))
    return Table('By size of the true box', [('Objects', ''), ('Sensitivity\N{NO-BREAK SPACE}↑', '')],
                 [(f'{name}, {words}', '', cells) for name, words, cells in rows])


def videos_table(of: Detected) -> list[Table]:
    """What is found of each lesion over the frames of videos; none where cases are no frames."""
    known = (of.run.results['analysis'].get('videos') or {}).get(of.split)
    if not known:
        return []
    rows = [('Lesions', 'tracks of the true boxes, of which a lesion out of sight for long begins another',
             f'{known["lesions"]:.0f}'),
            ('Sensitivity by lesion\N{NO-BREAK SPACE}↑', 'found in a frame or more',
             format_number(known['lesion_sensitivity'])),
            ('Latency\N{NO-BREAK SPACE}↓', 'seconds from a lesion\'s first frame to the first that it is found in, the '
             'median of those found', 'none found' if known['latency'] is None else f'{known["latency"]:.2f}'),
            ('Alarms a minute\N{NO-BREAK SPACE}↓', f'tracks of no lesion, over {known["minutes"]:.2g} minutes',
             f'{known["alarms_per_minute"]:.2f}')]
    return [Table('Over frames, without intervals', [('', '')],
                  [(name, words, [Cell(text)]) for name, words, text in rows])]


def froc_table(of: Detected) -> Table:
    """Sensitivity at seven rates of false positives, and their mean."""
    rows = [(tick, 'false positives an image', [_cell(of.entries[f'froc_{rate:g}'])])
            for tick, rate in zip(charts.TICKS, detection.RATES)]
    return Table('By false positives an image (FROC)', [('Sensitivity\N{NO-BREAK SPACE}↑', '')],
                 [*rows, ('CPM', 'their mean', [_cell(of.entries['cpm'])])])


def learning(run: Run) -> dict[str, dict[str, str]]:
    """What was logged while training."""
    best = run.section('checkpoint').get('best', '')
    scored = {f'val/{name}': FAMILY.metrics.describe(name).label for name in ('ap10', 'ap50', 'ap', 'cpm')}
    if best and f'val/{best}' not in (*scored, 'val/loss'):
        scored[f'val/{best}'] = best
    each = {f'val/ap50_{name}': name for name in run.classes}
    return {'Loss': {'train/loss': 'training', 'val/loss': 'validation'}, 'Parts of the loss': LOSSES,
            'Validation': scored, **({'AP50 of each class, validation': each} if len(each) > 1 else {}),
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def samples(run: Run) -> list[tuple[draw.Tile, draw.Tile]]:
    """Training images as read and as augmented, with their boxes; of volumes the middle slice, without."""
    names = ('original', 'image', 'original_boxes', 'boxes', 'box_mask')
    if not run.augmented or not set(names) <= set(run.augmented):
        return []
    before, after, *placed, there = (run.augmented[name] for name in names)
    if before.ndim == 4:
        return draw.augmented_tiles({'original': before, 'image': after}, (1, 1), flip=True)
    pairs = []
    for number in range(len(before)):
        limits, pair = np.percentile(before[number], [0.5, 99.5]), []
        for title, image, its in zip(('As read', 'As trained on'), (before, after), placed):
            canvas, axes, width = draw.canvas(image[number], (1, 1), (limits[0], max(limits[1], limits[0] + 1e-6)))
            for box in its[number][there[number] > 0]:
                pictures.outline(axes, box, class_colour(1))
            pair.append(draw.Tile(png(canvas, draw.DPI), title, f'Training image {number + 1}, {title.lower()}', width))
        pairs.append(tuple(pair))
    return pairs


def listed(of: Detected) -> list[dict[str, str]]:
    """The table of cases without the boxes, the worst first; images without objects last."""
    worst = of.ranked['worst'].tolist()
    order = worst + sorted(set(range(len(of.rows))) - set(worst))
    return [{key: text for key, text in of.rows[number].items() if key not in HIDDEN} for number in order]


def words(run: Run) -> list[str]:
    """Columns of the table of cases that are no numbers."""
    numbers = ('objects', 'found_operating', 'hits', 'false_positives')
    return [name for name in (run.predictions[0] if run.predictions else ()) if name not in numbers]


def _precisions(of: Detected) -> list[str]:
    return [*detection.reported_thresholds(of.table.dims), 'ap']


def _chosen(at: Mapping[str, Any]) -> str:
    if at['split'] is None:
        return 'by default: no validation case chose it'
    return f'chosen on the {split_name(at["split"]).lower()} images by the {at["rule"]}'


def _told(of: Detected, name: str, key: str) -> str:
    return tables.value_with_interval(name, of.entries[key])


def _cell(entry: Mapping[str, Any]) -> Cell:
    if not tables.has_value(entry):
        return Cell('–', below=entry.get('why', ''))
    return Cell(format_number(entry['value']), format_interval(entry))
