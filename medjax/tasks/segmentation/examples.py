"""Example cases and training samples of segmentation in the report."""

import dataclasses
import pathlib
from collections.abc import Sequence

from medjax.report import draw, style
from medjax.report.chapter import Group, Section, join_sentences, split_name
from medjax.report.draw import PLANES
from medjax.report.run_files import Run
from medjax.report.tables import format_number, format_significant
from medjax.tasks.segmentation.pictures import case_tiles, display_window
from medjax.tasks.segmentation.slices import largest_slice, ranked_slices
from medjax.tasks.segmentation.snapshot import Snapshot, load
from medjax.tasks.segmentation.table import read_mean_dice


@dataclasses.dataclass(frozen=True)
class Examples:
    """The cases of a split that are shown.

    Attributes:
      cases: rank ('Best', 'Median', 'Worst' or 'Only'), mean Dice and snapshot of each.
      ranking: paths of all cases' snapshots, from the best case to the worst.
    """

    cases: list[tuple[str, float, Snapshot]]
    ranking: list[pathlib.Path]


def choose_examples(run: Run, split: str) -> Examples:
    """The best, median and worst case by the mean Dice; the only one where there is one."""
    scores = [(read_mean_dice(row, run.classes), row['id']) for row in run.rows(split)]
    ranked = sorted(((score, name) for score, name in scores if score is not None),
                    key=lambda pair: (-pair[0], pair[1]))
    count = len(ranked)
    if count > 2:
        places = {'Best': 0, 'Median': count // 2, 'Worst': count - 1}
    else:
        places = ({}, {'Only': 0}, {'Best': 0, 'Worst': 1})[count]
    paths = [run.folder / 'cases' / split / f'{name}.npz' for _, name in ranked]
    return Examples([(rank, ranked[place][0], load(paths[place])) for rank, place in places.items()
                     if paths[place].is_file()], paths)


def examples_section(run: Run, examples: Examples, split: str) -> Section:
    """The section with the examples of a split."""
    volumes = any(case.kind == 'volume' for _, _, case in examples.cases)
    several = len(examples.ranking) > 1
    which = ', each in the slice with the largest area of the reference' if volumes else ''
    name = split_name(split).lower()
    text = join_sentences({
        'Volumes are in radiological convention: the patient\'s right is on the left of the picture; sagittal slices '
        'face left.': volumes,
        f'The best, median and worst of the {name} cases by mean Dice{which}.': several,
        'Three planes through the case where the reference is largest; then its best, median and worst slice by mean '
        'Dice, among those with at least a tenth of the largest area of reference or prediction.':
            volumes and not several})
    return Section('Example cases', text, _legends(run.classes[1:]), groups=groups(run, examples))


def groups(run: Run, examples: Examples) -> list[Group]:
    """Pictures of the examples: one slice of each, or of a single volume three planes and its extreme slices."""
    intensity, out = run.section('data').get('intensity') or {}, []
    for rank, score, case in examples.cases:
        limits = display_window(case, intensity)
        for heading, axis, index in _slices(case, len(run.classes), rank, score):
            out.append(Group(heading, case_tiles(case, axis, index, run.classes, limits),
                             _slice_text(case, axis, index, limits)))
    return out


def training_samples(run: Run, examples: Examples) -> Sequence[tuple[draw.Tile, draw.Tile]]:
    """Training patches as read and as augmented, oriented like the examples and with voxels of the same proportions."""
    if not run.augmented:
        return []
    case, patch = next((case for _, _, case in examples.cases), None), list(run.section('data').get('patch') or ())
    spacing = run.section('data').get('spacing') or (case.spacing if case else (1, 1, 1))
    across, up = (spacing[a] for a in range(3) if a != (patch.index(1) if 1 in patch else 2))
    return draw.augmented_tiles(run.augmented, (up, across), flip=case is not None and case.kind == 'volume')


def _legends(classes: Sequence[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    errors = [('missed (background predicted)', style.MISSED), ('spurious (background in the truth)', style.SPURIOUS)]
    if len(classes) > 1:
        errors.append(('wrong class', style.CONFUSED))
    return [('Classes', [(name, style.class_colour(number)) for number, name in enumerate(classes, 1)]),
            ('Errors', errors)]


def _slices(case: Snapshot, classes: int, rank: str, score: float) -> list[tuple[str, int, int]]:
    """The slices to show of a case: a heading, the axis across the slice, and its index."""
    axis, dice = case.axis, f'mean Dice {format_number(score)}'
    if rank != 'Only':
        return [(f'{rank} case: {case.name}, {dice}', axis, largest_slice(case, axis))]
    if case.kind == 'image':
        return [(f'{case.name}, {dice}', axis, 0)]
    planes = [(f'{case.name}, {dice}: {PLANES[a].lower()} plane', a, largest_slice(case, a)) for a in (2, 1, 0)]
    return planes + [(f'{place} {PLANES[axis].lower()} slice of {case.name}, mean Dice {format_number(value)}', axis,
                      index) for place, (index, value) in ranked_slices(case, axis, classes).items()]


def _slice_text(case: Snapshot, axis: int, index: int, limits: tuple[float, float]) -> str:
    black, white = map(format_significant, limits)
    channel = f'Channel {case.channel}' if case.channel else ''
    window = f'Intensities {black} (black) to {white} (white).'
    if case.kind == 'image':
        return f'{channel or "The first channel"}, in grey. {window}'
    size, shown = ' × '.join(map(format_significant, case.spacing)), f'{channel}. ' if channel else ''
    return f'{shown}{PLANES[axis]} slice {index + 1} of {case.image.shape[axis]}; voxels of {size} mm. {window}'
