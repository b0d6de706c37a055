"""The report's chapter on segmentation: metrics by class, example cases, and calibration."""

from collections.abc import Mapping, Sequence

import numpy as np

from medjax.report import charts, tables
from medjax.report.chapter import (
    FEW_PATIENTS,
    Chapter,
    Chart,
    Section,
    caption,
    entries_with_intervals,
    headline_splits,
    join_sentences,
    split_name,
    themed_chart,
)
from medjax.report.draw import PLANES
from medjax.report.run_files import Run
from medjax.report.tables import format_number
from medjax.statistics.per_patient import parse_number
from medjax.tasks.segmentation.charts import (
    CERTAIN,
    calibration_error,
    slice_dice_chart,
    voxel_reliability,
    voxel_reliability_chart,
)
from medjax.tasks.segmentation.examples import Examples, choose_examples, examples_section, training_samples
from medjax.tasks.segmentation.family import FAMILY
from medjax.tasks.segmentation.snapshot import load
from medjax.tasks.segmentation.table import FLAGS, column

CALIBRATION_CASES = 30  # cases whose probabilities are read for the calibration
TEXT_COLUMNS = ('split', 'id', 'patient')


def chapter(run: Run) -> Chapter:
    """The chapter of a run, which may have no results yet.

    Raises:
      InputError: a case's snapshot is damaged.
    """
    shown, classes = next(iter(run.splits), ''), run.classes[1:]
    examples = choose_examples(run, shown)
    return Chapter(
        headlines=[tables.headline(FAMILY.metrics, split_name(split).lower(), run.results[split], classes)
                   for split in headline_splits(run)],
        method=method(run), tables=result_tables(run),
        sections=[examples_section(run, examples, shown),
                  Section('Performance by case and calibration', charts=case_charts(run, shown, examples))],
        curves=training_curves(run), samples=training_samples(run, examples),
        samples_text='Training patches as read and as augmented in the first steps, in the same intensity window, with '
        'the outlines of the label.',
        cases=[_rounded_row(row, run.classes) for split in run.splits for row in run.rows(split)],
        text_columns=TEXT_COLUMNS)


def result_tables(run: Run) -> list[tables.Table]:
    """The metrics over all classes and those of each class, for each split."""
    classes, tolerance, out = run.classes[1:], run.section('evaluate').get('tolerance_mm'), []
    unit = run.length_unit
    metrics = FAMILY.metrics.in_unit(unit)
    text = 'by class' if isinstance(tolerance, Mapping) else f'{tolerance:g} {unit}' if tolerance else ''
    for split in run.splits:
        entries, title = run.results[split], caption(run, split)
        pair = (tables.overall_table(metrics, entries, classes, title),
                tables.class_table(metrics, entries, classes, title, text))
        out += [table for table in pair if table]
    return out


def method(run: Run) -> str:
    """How the values and their intervals are computed."""
    entries = entries_with_intervals(run)
    few = any(entry['n'] < FEW_PATIENTS for entry in entries)
    columns = {name for split in run.splits for row in run.rows(split)[:1] for name in row}
    units = f'{run.analysis_unit}s'
    return join_sentences({
        f'Means over {units} ± standard deviation between {units}; below them the 95 % interval of the mean, a t '
        f'interval over {units}.': entries,
        f'With fewer than {FEW_PATIENTS} {units} such an interval may be too narrow.': few,
        f'“Missed” and “spurious” count cases, not {units}.': any(name.startswith(FLAGS) for name in columns)})


def case_charts(run: Run, split: str, examples: Examples) -> list[Chart]:
    """Dice by case, or along the slices of a single volume, and the calibration of the probabilities."""
    count, cases, out = len(examples.ranking), [case for _, _, case in examples.cases], []
    if count > 1:
        out += _dice_charts(run, split)
    elif count == 1 and cases and cases[0].kind == 'volume':
        case, plane = cases[0], PLANES[cases[0].axis].lower()
        out.append(themed_chart(
            lambda theme: slice_dice_chart(case, case.axis, run.classes, theme),
            f'Dice of each {plane} slice of {case.name}, by class',
            f'Dice along the {plane} slices of {case.name}, above the area of the reference in each slice. Where the '
            'area is small, Dice is unreliable.', wide=True))
    return out + _calibration_charts(examples, len(run.classes))


def _dice_charts(run: Run, split: str) -> list[Chart]:
    """The Dice of every case by class."""
    rows = run.rows(split)
    names = [name for name in run.classes[1:] if column('dice', name) in rows[0]]
    columns = {name: [parse_number(row[column('dice', name)]) for row in rows] for name in names}
    entries = {name: run.results[split].get(column('dice', name), {}) for name in names}
    note = f'Each dot is a case; the diamond is the mean over {run.analysis_unit}s, the bar its interval.'
    return [themed_chart(lambda theme: charts.strip_chart(columns, entries, 'Dice of the case', theme),
                         f'Dice of every {split} case, by class', note)] if names else []


def _calibration_charts(examples: Examples, classes: int) -> list[Chart]:
    """The reliability diagram over cases from the whole ranking: the examples shown are no unbiased sample."""
    count = len(examples.ranking)
    places = np.linspace(0, count - 1, min(count, CALIBRATION_CASES)).round().astype(int)
    paths = [examples.ranking[place] for place in places]
    bins = voxel_reliability((load(path) for path in paths if path.is_file()), classes)
    if bins is None:
        return []
    over = 'the case' if count == 1 else f'all {count} cases'
    if len(paths) < count:
        over = f'{len(paths)} of {count} cases, evenly from the best to the worst'
    return [themed_chart(
        lambda theme: voxel_reliability_chart(bins, theme),
        'Reliability: share of correct voxels, by the predicted probability',
        f'Calibration over {over}; dotted: perfect calibration. Voxels predicted to be background with a probability '
        f'of at least {CERTAIN * 100:g} % are left out; the area of a dot is its share of the others. Expected '
        f'calibration error {format_number(calibration_error(bins))}.')]


def training_curves(run: Run) -> dict[str, dict[str, str]]:
    """The training curves; see `Chapter.curves`."""
    selected = f"val/{run.section('checkpoint').get('best', '')}"
    logged = list(dict.fromkeys(key for record in run.history for key in record))
    dice = [key for key in logged if key.startswith('val/dice_')]
    validation = 'Validation Dice' if dice else f'Validation {selected.removeprefix("val/")}'
    curves = {'Training loss': ['train/loss'], validation: dice or [selected], 'Learning rate': ['lr'],
              'Gradient norm': ['train/grad_norm']}
    return {title: {key: key.removeprefix('val/dice_') for key in keys} for title, keys in curves.items()}


def _rounded_row(row: Mapping[str, str], classes: Sequence[str]) -> dict[str, str]:
    """A row of the table of cases with numbers rounded like the results; flags are integers."""
    out = dict(row)
    for key, text in row.items():
        if key not in TEXT_COLUMNS and '.' in text:
            metric = FAMILY.metrics.describe(FAMILY.metrics.split_key(key, classes)[0])
            try:
                out[key] = f'{float(text):g}' if key.startswith(FLAGS) else format_number(float(text), metric.unit)
            except ValueError:
                continue  # a column of text
    return out
