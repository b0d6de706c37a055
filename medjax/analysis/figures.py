"""Which pictures and charts of a run go to its report, and what is written below them."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from medjax.analysis import charts, draw
from medjax.analysis.anatomy import PLANES, Snapshot, fullest, load, ranked
from medjax.analysis.bootstrap import number
from medjax.analysis.tables import figure
from medjax.analysis.workdir import Run

JUDGED = 30  # cases whose probabilities are read for the calibration


class Chart(NamedTuple):
    """A chart as PNG, for light and for dark pages."""

    light: bytes
    dark: bytes
    alt: str
    caption: str = ''
    wide: bool = False


class Group(NamedTuple):
    """The pictures of one slice under a heading."""

    heading: str
    tiles: list[draw.Tile]
    text: str


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The cases of a split that are drawn: (place, score, snapshot), and the files of all that have a score.

    Attributes:
      cases: the drawn ones.
      ranking: snapshots' paths from the best case to the worst.
    """

    cases: list[tuple[str, float, Snapshot]]
    ranking: list[pathlib.Path]


def choose(run: Run, split: str) -> Chosen:
    """The best, median and worst case by the mean Dice; the only one where there is one."""
    scored = []
    for row in run.rows(split):
        keys = ['dice_mean'] if row.get('dice_mean') else [f'dice_{name}' for name in run.classes[1:]]
        values = [value for value in (number(row.get(key)) for key in keys) if value == value]
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
        limits = draw.window(case, intensity)
        for heading, axis, index in _slices(case, len(run.classes), place, score):
            made.append(Group(heading, draw.case_tiles(case, axis, index, run.classes, limits),
                              _caption(case, axis, index, limits)))
    return made


def _slices(case: Snapshot, classes: int, place: str, score: float) -> list[tuple[str, int, int]]:
    axis = case.axis
    if place != 'Only':
        return [(f'{place} case: {case.name}, mean Dice {figure(score)}', axis, fullest(case, axis))]
    if case.kind == 'image':
        return [(f'{case.name}, mean Dice {figure(score)}', axis, 0)]
    planes = [(f'{case.name}, mean Dice {figure(score)}: {PLANES[a].lower()} plane', a, fullest(case, a))
              for a in (2, 1, 0)]
    plane = PLANES[axis].lower()
    return planes + [(f'{rank} {plane} slice of {case.name}, mean Dice {figure(dice)}', axis, index)
                     for rank, (index, dice) in ranked(case, axis, classes).items()]


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
        columns = {name: [number(row[f'dice_{name}']) for row in rows] for name in names}
        entries = {name: run.results[split].get(f'dice_{name}', {}) for name in names}
        made.append(_chart(lambda theme: charts.strip(columns, entries, 'Dice of the case', theme),
                           f'Dice of every {split} case, by class',
                           'Every case is a dot; the diamond is the mean over patients, the bar its interval.'))
    cases = [case for _, _, case in chosen.cases]
    if count == 1 and cases and cases[0].kind == 'volume':
        case, plane = cases[0], PLANES[cases[0].axis].lower()
        made.append(_chart(lambda theme: charts.along(case, case.axis, classes, theme),
                           f'Dice of each {plane} slice of {case.name}, by class',
                           f'Dice along the {plane} slices of {case.name}, over the area that the truth has in '
                           'each: where that is small, Dice says little.', wide=True))
    # Not of the drawn cases alone: the best and the worst are no fair sample.
    judged = [chosen.ranking[i] for i in np.linspace(0, count - 1, min(count, JUDGED)).round().astype(int)]
    bins = charts.reliability((load(path) for path in judged if path.is_file()), len(classes))
    if bins is not None:
        some = f'{len(judged)} of {count} cases, evenly from the best to the worst' if len(judged) < count else (
            f'all {count} cases' if count > 1 else 'the case')
        made.append(_chart(lambda theme: charts.calibration(bins, theme),
                           'Reliability: share of voxels that are right, against the predicted probability',
                           f'Calibration over {some}; dotted: perfect. Voxels predicted to be background with at least '
                           f'{charts.SURE * 100:g} % are left out; a dot\'s area is its share of the others. Expected '
                           f'calibration error {figure(charts.calibration_error(bins))}.'))
    return made


def curves(run: Run) -> list[Chart]:
    """What was logged while training: loss, validation, learning rate and gradient norm."""
    best = f"val/{run.section('checkpoint').get('best', '')}"
    logged = list(dict.fromkeys(key for record in run.metrics for key in record))
    dice = [key for key in logged if key.startswith('val/dice_')]
    validation = 'Validation Dice' if dice else f'Validation {best.removeprefix("val/")}'
    plans = {'Training loss': ['train/loss'], validation: dice or [best], 'Learning rate': ['lr'],
             'Gradient norm': ['train/grad_norm']}
    made = []
    for title, wanted in plans.items():
        lines = {key: key.removeprefix('val/dice_') for key in wanted if charts.series(run.metrics, key)[0]}
        if lines:
            chosen = run.results.get('step') if title == validation else None
            draw_it = lambda theme, a=(lines, title), c=chosen: charts.curve(run.metrics, *a, theme, c)
            made.append(_chart(draw_it, f'{title} over the training steps'))
    return made


def samples(run: Run, chosen: Chosen) -> list[tuple[draw.Tile, draw.Tile]]:
    """Training patches as read and as augmented; turned, and with voxels of the size, as the cases drawn."""
    if not run.augmented:
        return []
    case, patch = next((case for _, _, case in chosen.cases), None), list(run.section('data').get('patch') or ())
    spacing = run.section('data').get('spacing') or (case.spacing if case else (1, 1, 1))
    across, up = (spacing[a] for a in range(3) if a != (patch.index(1) if 1 in patch else 2))
    return draw.augmented_tiles(run.augmented, (up, across), flip=case is not None and case.kind == 'volume')


def _chart(make: Callable[[str], bytes], alt: str, caption: str = '', **options: Any) -> Chart:
    return Chart(make('light'), make('dark'), alt, caption, **options)
