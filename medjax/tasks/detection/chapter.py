"""The report's chapter on detection: average precision, sensitivity by false positives, and example images."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.metrics import detection
from medjax.report import tables
from medjax.report.chapter import (
    Chapter,
    Section,
    caption,
    headline_splits,
    interval_method,
    join_sentences,
    selection_warnings,
    split_name,
)
from medjax.report.run_files import Run
from medjax.report.tables import Cell, Table, format_interval, format_number, format_significant
from medjax.tasks.detection import pictures
from medjax.tasks.detection import table as detection_table
from medjax.tasks.detection.charts import RATE_LABELS, detection_charts
from medjax.tasks.detection.family import FAMILY
from medjax.tasks.detection.split import DetectionSplit, read_split
from medjax.tasks.detection.summary import SIZES

OPERATING_METRICS = ('sensitivity', 'precision', 'f1', 'false_positives')
LOSSES = {'train/loss_classes': 'classes', 'train/loss_boxes': 'boxes', 'train/loss_proposed': 'classes of proposals',
          'train/loss_placed': 'boxes of proposals'}
HIDDEN = (detection_table.TRUTH, detection_table.FOUND, detection_table.IGNORED, detection_table.SIZE,
          detection_table.SPACING)  # JSON
HIGHER, LOWER = '\N{NO-BREAK SPACE}↑', '\N{NO-BREAK SPACE}↓'  # better values


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: the predictions table lacks boxes, or a case's snapshot is damaged.
    """
    splits = [read_split(run, name) for name in run.splits]
    return Chapter(
        headlines=[headline(split) for split in splits if split.split in headline_splits(run)], method=method(run),
        tables=result_tables(splits), sections=sections(splits[0]) if splits else [], curves=training_curves(run),
        cases=[row for split in splits for row in case_rows(split)], text_columns=text_columns(run),
        cases_order=': the lowest AP first', samples=pictures.training_samples(run),
        warnings=[*run.warnings, *selection_warnings(run, 'score calibration and the operating point')],
        samples_text='Training images with their boxes, as read and as augmented in the first steps: the first '
        'channel, in the same intensity window.')


def sections(split: DetectionSplit) -> list[Section]:
    """The sections on one split: detection performance and example images."""
    text = f'The operating point is a score of {_threshold(split)}.'
    shown = [counts_table(split), sizes_table(split), froc_table(split), *video_tables(split)]
    return [Section('Detection performance', text, tables=shown, charts=detection_charts(split)),
            pictures.example_images(split)]


def headline(split: DetectionSplit) -> tuple[str, str]:
    """The result as a sentence, and the sample and the operating point as another."""
    entries, table = split.entries, split.table
    names = dict.fromkeys([split.hit_metric, 'ap50', 'ap'])
    precisions = ', '.join(_value(split, FAMILY.metrics.describe(name).label, name) for name in names)
    mean = 'Mean ' if len(table.classes) > 1 else ''
    patients, objects = entries[split.hit_metric]['n'], sum(len(boxes.true_boxes) for boxes in table.images)
    sample = tables.format_count_of(patients, split.run.analysis_unit)
    if split.run.analysis_unit != 'image':
        sample += f', {len(table.images)} images'
    return (f'{mean}{precisions} on the {split.images_name}; {_value(split, "CPM", "cpm")}.',
            f'95 % intervals in brackets. n = {sample}, {objects} objects. At a score of '
            f'{_threshold(split)}: {_value(split, "sensitivity", "sensitivity")}, '
            f'{_value(split, "precision", "precision")}, {_value(split, "", "false_positives").strip()} false '
            'positives per image.')


def method(run: Run) -> str:
    """How the values and their intervals are computed."""
    return join_sentences({
        interval_method(run): True,
        'AP and average recall are means over the classes.': len(run.classes) > 1,
        'Sensitivity, precision, F1 and false positives are at the operating point, with all classes pooled.': True})


def result_tables(splits: Sequence[DetectionSplit]) -> list[Table]:
    """The metrics of all splits side by side, and those of each class of the splits that have a headline."""
    keys, out = {}, []
    for split in splits:
        title = caption(split.run, split.split)
        metrics = (*_precision_names(split), 'ar', 'cpm', *_luna16(split), *OPERATING_METRICS)
        keys |= {(name, title): split.entries[name] for name in metrics}
    if keys:
        titles = list(dict.fromkeys(title for _, title in keys))
        out.append(tables.inline_intervals(tables.metric_table(FAMILY.metrics, keys, titles, 'All classes')))
    for split in splits:
        classes = split.table.classes
        if len(classes) > 1 and split.split in headline_splits(split.run):
            entries = {(name, c): split.entries[f'{name}_{c}'] for name in _precision_names(split) for c in classes}
            objects = {c: split.entries[f'ap_{c}']['objects'] for c in classes}
            out.append(tables.metric_table(FAMILY.metrics, entries, classes, f'{split_name(split.split)}, each class',
                                           counts=('objects', 'true boxes', objects)))
    return out


def counts_table(split: DetectionSplit) -> Table:
    """Hits, missed objects and false positives of each class at the operating point."""
    counts = detection_table.class_counts(split.table, split.operating['score'])
    if len(counts) > 1:
        counts['all'] = {key: sum(of_class[key] for of_class in counts.values())
                         for key in next(iter(counts.values()))}
    rows = []
    for name, count in counts.items():
        cells = [Cell(str(count[key])) for key in (
            'objects', 'hits', 'missed', 'false_positives', 'merged', 'split')]
        for total in (count['objects'], count['found_operating']):
            cells.append(Cell(format_number(count['hits'] / total if total else None)))
        rows.append((name, '', cells))
    headers = [('Objects', 'true boxes'), ('Hits', ''), ('Missed', ''),
               ('False positives', 'found boxes without an object of that class'),
               ('Merged', 'found boxes that hold at least half of each of several smaller objects'),
               ('Split', 'objects that hold at least half of each of several smaller found boxes'),
               (f'Sensitivity{HIGHER}', ''),
               (f'Precision{HIGHER}', '')]
    return Table('At the operating point', headers, rows)


def sizes_table(split: DetectionSplit) -> Table:
    """Sensitivity at the operating point by the size of the objects."""
    sizes = split.run.results['analysis']['sizes']
    low, high = (f'{value:.0f}' if value >= 10 else format_significant(value)
                 for value in sizes['limits'][split.split])
    ranges = {'small': f'below {low} {sizes["unit"]}', 'medium': 'between', 'large': f'{high} {sizes["unit"]} or more'}
    rows = []
    for size in SIZES:
        entry = split.entries[f'sensitivity_{size}']
        rows.append((f'{size}, {ranges[size]}', '', [Cell(str(entry['objects'])), _cell(entry)]))
    return Table('By size of the true box', [('Objects', ''), (f'Sensitivity{HIGHER}', '')], rows)


def video_tables(split: DetectionSplit) -> list[Table]:
    """Metrics by lesion over the frames of videos; none where the cases are not frames."""
    metrics = (split.run.results['analysis'].get('videos') or {}).get(split.split)
    if not metrics:
        return []
    latency = 'none found' if metrics['latency'] is None else f'{metrics["latency"]:.2f}'
    rows = [
        ('Lesions', 'tracks of the true boxes; a lesion that returns after a long time counts as another one',
         f'{metrics["lesions"]:.0f}'),
        (f'Sensitivity by lesion{HIGHER}', 'found in at least one frame', format_number(metrics['lesion_sensitivity'])),
        (f'Latency (s){LOWER}', 'from the first frame that shows a lesion to the first in which it is found; median of '
         'those found', latency),
        (f'False alarms per minute{LOWER}', 'tracks that are on no lesion, over '
         f'{format_significant(metrics["minutes"], 2)} minutes', f'{metrics["alarms_per_minute"]:.2f}')]
    return [Table('By lesion, over the frames of videos, without intervals', [('', '')],
                  [(name, tooltip, [Cell(text)]) for name, tooltip, text in rows])]


def froc_table(split: DetectionSplit) -> Table:
    """Sensitivity at seven rates of false positives, and their mean."""
    rows = [(label, 'false positives per image', [_cell(split.entries[f'froc_{rate:g}'])])
            for label, rate in zip(RATE_LABELS, detection.RATES)]
    rows.append(('CPM', 'mean of these', [_cell(split.entries['cpm'])]))
    rows += [(FAMILY.metrics.describe(name).label, 'the same mean, with hits by the centre of a box',
              [_cell(split.entries[name])]) for name in _luna16(split)]
    return Table('By false positives per image (FROC)', [(f'Sensitivity{HIGHER}', '')], rows)


def training_curves(run: Run) -> dict[str, dict[str, str]]:
    """The training curves; see `Chapter.curves`."""
    selected = run.section('checkpoint').get('best', '')
    validation = {f'val/{name}': FAMILY.metrics.describe(name).label for name in ('ap10', 'ap50', 'ap', 'cpm')}
    if selected and f'val/{selected}' not in (*validation, 'val/loss'):
        validation[f'val/{selected}'] = FAMILY.metrics.describe(selected).label
    curves = {'Loss': {'train/loss': 'training', 'val/loss': 'validation'}, 'Parts of the loss': LOSSES,
              'Validation': validation}
    if len(run.classes) > 1:
        curves['AP50 of each class, validation'] = {f'val/ap50_{name}': name for name in run.classes}
    return {**curves, 'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def case_rows(split: DetectionSplit) -> list[dict[str, str]]:
    """Rows of the table of cases without the boxes, the lowest AP first; images without objects last."""
    worst = split.ranks['worst'].tolist()
    order = worst + sorted(set(range(len(split.rows))) - set(worst))
    return [{key: text for key, text in split.rows[number].items() if key not in HIDDEN} for number in order]


def text_columns(run: Run) -> list[str]:
    """The columns of the table of cases that hold text: all but the counts."""
    return [name for name in (run.predictions[0] if run.predictions else ()) if name not in detection_table.COUNTS]


def _luna16(split: DetectionSplit) -> list[str]:
    """CPM by LUNA16's rule, which volumes have."""
    return [name for name in ('cpm_luna16',) if name in split.entries]


def _precision_names(split: DetectionSplit) -> list[str]:
    return [*detection.reported_thresholds(split.table.dims), 'ap']


def _threshold(split: DetectionSplit) -> str:
    """The operating point in words."""
    operating = split.operating
    origin = f'the default, since {operating["rule"]}'
    if operating['split'] is not None:
        origin = f'chosen on the {split_name(operating["split"]).lower()} images by the {operating["rule"]}'
    return f'{format_number(operating["score"])} or more, {origin}'


def _value(split: DetectionSplit, name: str, key: str) -> str:
    return tables.value_with_interval(name, split.entries[key])


def _cell(entry: Mapping[str, Any]) -> Cell:
    if not tables.has_value(entry):
        return Cell('–', below=entry.get('why', ''))
    return Cell(format_number(entry['value']), format_interval(entry))
