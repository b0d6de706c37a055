"""Pictures of growth cases: masks of earlier visits, true and predicted next masks, and rates of new tumours."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes

from medjax.errors import InputError
from medjax.ops import growth_laws
from medjax.report import draw
from medjax.report.chapter import Group, Section
from medjax.report.run_files import snapshot
from medjax.report.split import Split
from medjax.report.style import PALETTE, SUPPORTING, png
from medjax.report.tables import format_number
from medjax.tasks.growth.table import METHODS, Predictions, method_column

TRUTH = '#ffffff'
EARLIER = PALETTE[4]
COLOURS = {'': PALETTE[1], 'same': '#8a8f96', 'exponential': PALETTE[5], 'logistic': PALETTE[3],
           'gompertz': PALETTE[0], 'fisher': PALETTE[2]}
DRAWN = ('', 'gompertz', 'fisher')  # methods whose masks are drawn


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One axial plane of an evaluated case.

    Attributes:
      name: of the case.
      image: `[V, X, Y]` float32, the earlier visits.
      masks: `[V, X, Y]`, their masks.
      time: `[V]`, days relative to the last of them, at most 0.
      volume: `[V]`, ml.
      horizon: days from the last of them to the next visit.
      truth: `[X, Y]`, the mask at the next visit.
      predicted: `[X, Y]` by method, the predicted masks.
      curve: start, rate and capacity by growth law.
      rates: `[X, Y]`, of new tumours; None where they are not predicted.
      spacing: mm along X and Y.
    """

    name: str
    image: np.ndarray
    masks: np.ndarray
    time: np.ndarray
    volume: np.ndarray
    horizon: float
    truth: np.ndarray
    predicted: Mapping[str, np.ndarray]
    curve: Mapping[str, np.ndarray]
    rates: np.ndarray | None
    spacing: tuple[float, ...]


def load(path: pathlib.Path) -> Snapshot:
    """Reads `cases/SPLIT/ID.npz`.

    Raises:
      InputError: the file is damaged, or the shapes of its arrays do not match.
    """
    with snapshot(path) as arrays:
        image = arrays['image'][..., int(arrays['channel'])]
        predicted = {name: arrays[method_column('mask', name)] for name in METHODS
                     if method_column('mask', name) in arrays}
        curve = {law: arrays[f'curve_{law}'] for law in growth_laws.LAWS if f'curve_{law}' in arrays}
        case = Snapshot(path.stem, image, arrays['seen'], arrays['time'], arrays['volume'], float(arrays['horizon']),
                        arrays['truth'], predicted, curve, arrays.get('rates'), tuple(map(float, arrays['spacing'])))
    if image.ndim != 3 or image.shape != case.masks.shape or any(
            part.shape != image.shape[1:] for part in (case.truth, *predicted.values())):
        raise InputError(f'{path}: images {image.shape}, masks {case.masks.shape}, truth {case.truth.shape}; expected '
                         'arrays of one plane')
    return case


def examples(split: Split[Predictions]) -> dict[str, tuple[int, Snapshot]]:
    """The best, the median and the worst case by the network's Dice, among those with a snapshot.

    Returns:
      For each its number in the table and its snapshot; empty for fewer than three cases.
    """
    score = split.table.values['dice', '']
    paths = [split.run.folder / 'cases' / split.split / f'{name}.npz' for name in split.table.ids]
    order = [int(number) for number in np.argsort(-np.nan_to_num(score, nan=-1), kind='stable')
             if score[number] == score[number] and paths[number].is_file()]
    if len(order) < 3:
        return {}
    places = {'Best': order[0], 'Median': order[len(order) // 2], 'Worst': order[-1]}
    return {kind: (number, load(paths[number])) for kind, number in places.items()}


def section(split: Split[Predictions], cases: Mapping[str, tuple[int, Snapshot]]) -> Section:
    """Pictures of the example cases; see `examples`."""
    groups, table = [], split.table
    for kind, (number, case) in cases.items():
        dice = ', '.join(f'{METHODS[name]} {format_number(table.values["dice", name][number])}'
                         for name in table.methods)
        text = (f'{len(case.time)} earlier visits; the next visit is {case.horizon:.0f} days after the last of them. '
                f'Volume {table.last[number]:.1f} → {table.truth[number]:.1f} ml, predicted '
                f'{table.volume[""][number]:.1f} ml. Dice: {dice}.')
        groups.append(Group(f'{kind}: {case.name}', tiles(case), text))
    keys = [('Masks', [('earlier visits', EARLIER), ('truth', '#c8ccd0'),
                       *((METHODS[name], COLOURS[name]) for name in DRAWN if name in table.methods)])]
    return Section('Predicted masks', 'The cases with the highest, the median and the lowest Dice. True and predicted '
                   'masks of the next visit are drawn on the scan of the last earlier visit. The right side of the '
                   'patient is on the left of the picture.', keys, groups=groups)


def tiles(case: Snapshot) -> list[draw.Tile]:
    """The first and the last earlier visit, the next masks, and the rates of new tumours."""
    pixel = (case.spacing[1], case.spacing[0])
    values = case.image[-1][case.image[-1] != 0]
    low, high = np.percentile(values if values.size else case.image, [0.5, 99.7])
    # The removed background is 0 in the network's input, and is drawn black as in the scan.
    planes = [_turn(np.where(plane == 0, low, plane)) for plane in case.image]
    out = []

    def add(title: str, plane: np.ndarray, masks: Mapping[str, np.ndarray], rates: np.ndarray | None = None) -> None:
        canvas, axes, width = draw.canvas(plane, pixel, (low, max(high, low + 1e-6)), 0.85 if masks else 1.0)
        if rates is not None:
            _heat_map(axes, _turn(rates))
        for colour, mask in masks.items():
            _contour(axes, _turn(mask), colour)
        draw.annotate(axes, draw.SIDES[2], pixel, '' if out else 'radiological')
        out.append(draw.Tile(png(canvas, draw.DPI), title, f'Case {case.name}: {title.lower()}', width))

    if len(case.time) > 1:
        add(f'{case.time[0]:.0f} days'.replace('-', '−'), planes[0], {EARLIER: case.masks[0]})
    add('Last earlier visit', planes[-1], {EARLIER: case.masks[-1]})
    predicted = {COLOURS[name]: case.predicted[name] for name in reversed(DRAWN) if name in case.predicted}
    add(f'+{case.horizon:.0f} days: truth, predicted', planes[-1], {TRUTH: case.truth, **predicted})
    if case.rates is not None:
        add('New tumours: risk, truth', planes[-1], {TRUTH: case.truth}, case.rates)
    return out


def _turn(plane: np.ndarray) -> np.ndarray:
    """A plane `[X, Y]` as rows and columns of a radiological picture."""
    return plane.T[::-1, ::-1]


def _contour(axes: Axes, mask: np.ndarray, colour: str) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask.astype(float), levels=[0.5], colors=[colour], linewidths=1.1)


def _heat_map(axes: Axes, rates: np.ndarray) -> None:
    """Draws rates as colours; higher rates are more opaque."""
    size = np.clip(rates / max(float(np.percentile(rates, 99.9)), 1e-12), 0, 1)
    painted = colors.LinearSegmentedColormap.from_list('', SUPPORTING)(size)
    painted[..., 3] = 0.8 * size
    axes.imshow(painted, aspect='auto', interpolation='bilinear')
