"""The report's chapter on segmentation: Dice in words and tables, slices of the cases, and what is below them."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from medjax.report import charts, draw, style, tables
from medjax.report.chapter import (
    FEW_PATIENTS,
    Chapter,
    Chart,
    Group,
    Section,
    caption,
    headline_splits,
    split_name,
    themed_chart,
)
from medjax.report.draw import PLANES
from medjax.report.run_files import Run
from medjax.report.tables import format_number
from medjax.statistics.bootstrap import parse_number
from medjax.tasks.segmentation.charts import (
    CERTAIN,
    calibration_error,
    slice_dice_chart,
    voxel_reliability,
    voxel_reliability_chart,
)
from medjax.tasks.segmentation.family import FAMILY
from medjax.tasks.segmentation.pictures import case_tiles, display_window
from medjax.tasks.segmentation.slices import Snapshot, largest_slice, load, ranked_slices

JUDGED = 30  # cases whose probabilities are read for the calibration
SAMPLED = ('Training patches as read, and as the first steps augmented them, in the same intensity window, with the '
           'label\'s outlines.')
WORDS = ('split', 'id', 'patient')  # columns of the table of cases


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The cases of a split that are drawn: (place, score, snapshot), and the files of all that have a score.

    Attributes:
      cases: the drawn ones.
      ranking: snapshots' paths from the best case to the worst.
    """

    cases: list[tuple[str, float, Snapshot]]
    ranking: list[pathlib.Path]


def chapter(run: Run) -> Chapter:
    """The chapter of a run; without results, what there is to say without them."""
    shown, classes = next(iter(run.splits), ''), run.classes[1:]
    chosen, tolerance = choose(run, shown), run.section('evaluate').get('tolerance_mm')
    both_tables = [(tables.overall_table(FAMILY.metrics, run.results[split], classes, caption(run, split)),
                    tables.class_table(FAMILY.metrics, run.results[split], classes, caption(run, split), tolerance))
                   for split in run.splits]
    legend = [(name, style.class_colour(i)) for i, name in enumerate(classes, 1)]
    errors = [('missed (background predicted)', style.MISSED), ('spurious (background in the truth)', style.SPURIOUS),
              *([('wrong class', style.CONFUSED)] if len(classes) > 1 else [])]
    return Chapter(
        headlines=[tables.headline(FAMILY.metrics, split_name(split).lower(), run.results[split], classes) for split in headline_splits(run)],
        method=_method(run), tables=[table for pair in both_tables for table in pair if table],
        sections=[Section('Cases', _pictured(chosen, split_name(shown).lower()),
                          [('Classes', legend), ('Errors', errors)], groups=groups(run, chosen)),
                  Section('Where it is right, and how sure it is', charts=case_charts(run, shown, chosen))],
        curves=curves(run), samples=samples(run, chosen), samples_text=SAMPLED, conventions_heading='How empty cases count',
        cases=[_rounded(row, run.classes) for split in run.splits for row in run.rows(split)], text_columns=WORDS)


def _method(run: Run) -> str:
    entries = [entry for split in run.splits for entry in run.results[split].values() if entry.get('ci95')]
    resamples, words = next((entry.get('resamples') for entry in entries), 0), []
    if resamples:
        words.append('Means over patients ± standard deviation between patients; below them the 95 % interval of the '
                     f'mean, a percentile bootstrap over patients with {resamples} resamples.')
    if resamples and any(entry['n'] < FEW_PATIENTS for entry in entries):
        words.append(f'Over fewer than {FEW_PATIENTS} patients such an interval is too narrow: it shows the spread, and proves '
                     'little.')
    if any(key.startswith(tuple(tables.COUNTS)) for split in run.splits for row in run.rows(split)[:1] for key in row):
        words.append('“Missed” and “spurious” count cases, not patients.')
    return ' '.join(words)


def _pictured(chosen: Chosen, split: str) -> str:
    volumes = any(case.kind == 'volume' for _, _, case in chosen.cases)
    words = ['Volumes in radiological convention: the patient\'s right is on the left of the picture; sagittal slices '
             'face left.'] if volumes else []
    if len(chosen.ranking) > 1:
        words.append(f'The best, median and worst of the {split} cases by mean Dice'
                     f'{", each at the slice with most of the truth" if volumes else ""}.')
    elif volumes:
        words.append('Three planes through the case where the truth is largest; then its best, median and worst slice '
                     'by mean Dice, among those with at least a tenth of the largest area in truth or prediction.')
    return ' '.join(words)


def _rounded(row: Mapping[str, str], classes: list[str]) -> dict[str, str]:
    """A row of the table of cases, rounded as the results are; flags are whole, and words stay as they are."""
    out = dict(row)
    for key, text in row.items():
        if key not in WORDS and '.' in text:
            flag, metric = key.startswith(tuple(tables.COUNTS)), FAMILY.metrics.describe(FAMILY.metrics.split_key(key, classes)[0])
            try:
                out[key] = f'{float(text):g}' if flag else tables.format_number(float(text), metric.unit)
            except ValueError:
                continue  # a column of words
    return out


def choose(run: Run, split: str) -> Chosen:
    """The best, median and worst case by the mean Dice; the only one where there is one."""
    scored = []
    for row in run.rows(split):
        keys = ['dice_mean'] if row.get('dice_mean') else [f'dice_{name}' for name in run.classes[1:]]
        values = [value for value in (parse_number(row.get(key)) for key in keys) if value == value]
        if values:
            scored.append((sum(values) / len(values), row['id']))
    scored.sort(key=lambda pair: (-pair[0], pair[1]))
    count = len(scored)
    places = {'Best': 0, 'Median': count // 2, 'Worst': count - 1} if count > 2 else {
        'Best': 0, 'Worst': 1} if count == 2 else {'Only': 0} if count else {}
    ranking = [run.folder / 'cases' / split / f'{name}.npz' for _, name in scored]
    return Chosen([(place, scored[i][0], load(ranking[i])) for place, i in places.items() if ranking[i].is_file()],
                  ranking)


def groups(run: Run, chosen: Chosen) -> list[Group]:
    """The slices to show: of several cases one each, of a single volume three planes and extreme slices."""
    intensity, made = run.section('data').get('intensity') or {}, []
    for place, score, case in chosen.cases:
        limits = display_window(case, intensity)
        for heading, axis, index in _slices(case, len(run.classes), place, score):
            made.append(Group(heading, case_tiles(case, axis, index, run.classes, limits),
                              _caption(case, axis, index, limits)))
    return made


def _slices(case: Snapshot, classes: int, place: str, score: float) -> list[tuple[str, int, int]]:
    axis = case.axis
    if place != 'Only':
        return [(f'{place} case: {case.name}, mean Dice {format_number(score)}', axis, largest_slice(case, axis))]
    if case.kind == 'image':
        return [(f'{case.name}, mean Dice {format_number(score)}', axis, 0)]
    planes = [(f'{case.name}, mean Dice {format_number(score)}: {PLANES[a].lower()} plane', a, largest_slice(case, a))
              for a in (2, 1, 0)]
    plane = PLANES[axis].lower()
    return planes + [(f'{rank} {plane} slice of {case.name}, mean Dice {format_number(dice)}', axis, index)
                     for rank, (index, dice) in ranked_slices(case, axis, classes).items()]


def _caption(case: Snapshot, axis: int, index: int, limits: tuple[float, float]) -> str:
    black, white = (f'{v:.3g}'.replace('-', '−') for v in limits)
    shown = f'Intensities {black} (black) to {white} (white).'
    if case.kind == 'image':
        return f'The first channel, in grey. {shown}'
    size = ' × '.join(f'{v:.3g}' for v in case.spacing)
    return f'{PLANES[axis]} slice {index + 1} of {case.image.shape[axis]}; voxels of {size} mm. {shown}'


def case_charts(run: Run, split: str, chosen: Chosen) -> list[Chart]:
    """Dice over the cases, or along the slices of a single volume, and the probabilities' calibration."""
    made, rows, classes = [], run.rows(split), run.classes
    names = [name for name in classes[1:] if rows and f'dice_{name}' in rows[0]]
    count = len(chosen.ranking)
    if count > 1 and names:
        columns = {name: [parse_number(row[f'dice_{name}']) for row in rows] for name in names}
        entries = {name: run.results[split].get(f'dice_{name}', {}) for name in names}
        made.append(themed_chart(lambda theme: charts.strip_chart(columns, entries, 'Dice of the case', theme),
                           f'Dice of every {split} case, by class',
                           'Every case is a dot; the diamond is the mean over patients, the bar its interval.'))
    cases = [case for _, _, case in chosen.cases]
    if count == 1 and cases and cases[0].kind == 'volume':
        case, plane = cases[0], PLANES[cases[0].axis].lower()
        made.append(themed_chart(lambda theme: slice_dice_chart(case, case.axis, classes, theme),
                           f'Dice of each {plane} slice of {case.name}, by class',
                           f'Dice along the {plane} slices of {case.name}, over the area that the truth has in '
                           'each: where that is small, Dice says little.', wide=True))
    # Not of the drawn cases alone: the best and the worst are no fair sample.
    judged = [chosen.ranking[i] for i in np.linspace(0, count - 1, min(count, JUDGED)).round().astype(int)]
    bins = voxel_reliability((load(path) for path in judged if path.is_file()), len(classes))
    if bins is not None:
        some = f'{len(judged)} of {count} cases, evenly from the best to the worst' if len(judged) < count else (
            f'all {count} cases' if count > 1 else 'the case')
        made.append(themed_chart(lambda theme: voxel_reliability_chart(bins, theme),
                           'Reliability: share of voxels that are right, against the predicted probability',
                           f'Calibration over {some}; dotted: perfect. Voxels predicted to be background with at least '
                           f'{CERTAIN * 100:g} % are left out; a dot\'s area is its share of the others. Expected '
                           f'calibration error {format_number(calibration_error(bins))}.'))
    return made


def curves(run: Run) -> dict[str, dict[str, str]]:
    """What was logged while training: loss, validation, learning rate and gradient norm."""
    best = f"val/{run.section('checkpoint').get('best', '')}"
    logged = list(dict.fromkeys(key for record in run.history for key in record))
    dice = [key for key in logged if key.startswith('val/dice_')]
    validation = 'Validation Dice' if dice else f'Validation {best.removeprefix("val/")}'
    plans = {'Training loss': ['train/loss'], validation: dice or [best], 'Learning rate': ['lr'],
             'Gradient norm': ['train/grad_norm']}
    return {title: {key: key.removeprefix('val/dice_') for key in keys} for title, keys in plans.items()}


def samples(run: Run, chosen: Chosen) -> list[tuple[draw.Tile, draw.Tile]]:
    """Training patches as read and as augmented; turned, and with voxels of the size, as the cases drawn."""
    if not run.augmented:
        return []
    case, patch = next((case for _, _, case in chosen.cases), None), list(run.section('data').get('patch') or ())
    spacing = run.section('data').get('spacing') or (case.spacing if case else (1, 1, 1))
    across, up = (spacing[a] for a in range(3) if a != (patch.index(1) if 1 in patch else 2))
    return draw.augmented_tiles(run.augmented, (up, across), flip=case is not None and case.kind == 'volume')
