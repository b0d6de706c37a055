"""Pictures and charts of growth: seen, true and told masks, volumes over time, gains patient by patient, risks."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from medjax.errors import InputError
from medjax.ops import growth_laws
from medjax.report import charts, draw, probability_charts
from medjax.report.chapter import Chart, Group, Section, themed_chart
from medjax.report.draw import SIDES
from medjax.report.run_files import snapshot
from medjax.report.split import Split
from medjax.report.style import CHART_DPI, INK, PALETTE, SQUARE, SUPPORTING, chart, legend, png
from medjax.report.tables import format_number
from medjax.tasks.growth.summary import METHODS, Table

TRUTH = '#ffffff'
COLOURS = {'': PALETTE[1], 'same': '#8a8f96', 'exponential': PALETTE[5], 'logistic': PALETTE[3],
           'gompertz': PALETTE[0], 'fisher': PALETTE[2]}
DRAWN = ('', 'gompertz', 'fisher')  # methods whose masks are drawn
DASHES = {'exponential': ':', 'logistic': '--', 'gompertz': '-'}


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A case as evaluated, one axial plane of it.

    Attributes:
      name: of the case.
      image: `[V, X, Y]` float32 of the visits that were seen.
      seen: `[V, X, Y]`, their masks.
      time: `[V]`, days before the last of them, below zero.
      volume: `[V]`, ml.
      horizon: days from there to the one that was told.
      truth: `[X, Y]`, its mask.
      masks: `[X, Y]` by method.
      curve: start, rate and capacity by law of growth.
      rates: `[X, Y]`, of new tumours; None where they are not told.
      spacing: mm along X and Y.
    """

    name: str
    image: np.ndarray
    seen: np.ndarray
    time: np.ndarray
    volume: np.ndarray
    horizon: float
    truth: np.ndarray
    masks: Mapping[str, np.ndarray]
    curve: Mapping[str, np.ndarray]
    rates: np.ndarray | None
    spacing: tuple[float, ...]


def load(path: pathlib.Path) -> Snapshot:
    """Reads `cases/SPLIT/ID.npz`.

    Raises:
      InputError: the file is damaged, or its arrays do not fit together.
    """
    with snapshot(path) as kept:
        image = kept['image'][..., int(kept['channel'])]
        masks = {name: kept[f'mask_{name}' if name else 'mask'] for name in METHODS
                 if (f'mask_{name}' if name else 'mask') in kept}
        made = Snapshot(path.stem, image, kept['seen'], kept['time'], kept['volume'], float(kept['horizon']),
                        kept['truth'], masks, {law: kept[f'curve_{law}'] for law in growth_laws.LAWS
                                               if f'curve_{law}' in kept},
                        kept.get('rates'), tuple(map(float, kept['spacing'])))
    if image.ndim != 3 or image.shape != made.seen.shape or any(
            part.shape != image.shape[1:] for part in (made.truth, *masks.values())):
        raise InputError(f'{path}: images {image.shape}, masks {made.seen.shape}, truth {made.truth.shape}; expected '
                         'arrays of one plane')
    return made


def chosen(of: Split[Table]) -> dict[str, int]:
    """The best, the median and the worst case by the network's Dice, of those that have a snapshot."""
    score = of.table.values['dice', '']
    there = [number for number in np.argsort(-np.nan_to_num(score, nan=-1), kind='stable')
             if score[number] == score[number] and _path(of, number).is_file()]
    if len(there) < 3:
        return {}
    return {'Best': int(there[0]), 'Median': int(there[len(there) // 2]), 'Worst': int(there[-1])}


def pictures(of: Split[Table]) -> Section:
    """The best, the median and the worst case: first and last seen, and the next."""
    groups = []
    for kind, number in chosen(of).items():
        case, table = load(_path(of, number)), of.table
        said = ', '.join(f'{METHODS[name]} {format_number(table.values["dice", name][number])}' for name in table.methods)
        text = (f'{len(case.time)} visits were seen; the next was {case.horizon:.0f} days after the last. Volume '
                f'{table.last[number]:.1f} → {table.truth[number]:.1f} ml, told '
                f'{table.volume[""][number]:.1f}. Dice: {said}.')
        groups.append(Group(f'{kind}: {case.name}', tiles(case), text))
    keys = [('Masks', [('when seen', PALETTE[4]), ('truth', '#c8ccd0'),
                       *((METHODS[name], COLOURS[name]) for name in DRAWN if name in of.table.methods)])]
    return Section('Scans', 'The cases with the highest, the middle and the lowest Dice. The next scan\'s masks are '
                   'drawn on the last scan that was seen: there is no image of what was told. The patient\'s right is '
                   'on the left of the picture.', keys, groups=groups)


def tiles(case: Snapshot) -> list[draw.Tile]:
    """First and last seen, the next as it was and as told, and where new tumours were thought to arise."""
    pixel = (case.spacing[1], case.spacing[0])
    values = case.image[-1][case.image[-1] != 0]
    low, high = np.percentile(values if values.size else case.image, [0.5, 99.7])
    # What was cleared about the head is 0 as the network sees it, and black as it was.
    turned = [np.where(plane == 0, low, plane).T[::-1, ::-1] for plane in case.image]
    made = []

    def add(title: str, plane: np.ndarray, masks: Mapping[str, np.ndarray], rates: np.ndarray | None = None) -> None:
        canvas, axes, width = draw.canvas(plane, pixel, (low, max(high, low + 1e-6)), 0.85 if masks else 1.0)
        if rates is not None:
            _heat(axes, rates.T[::-1, ::-1])
        for colour, mask in masks.items():
            _contour(axes, mask.T[::-1, ::-1], colour)
        draw.annotate(axes, SIDES[2], pixel, 'radiological' if not made else '')
        made.append(draw.Tile(png(canvas, draw.DPI), title, f'Case {case.name}: {title.lower()}', width))

    if len(case.time) > 1:
        add(f'{case.time[0]:.0f} days'.replace('-', '−'), turned[0], {PALETTE[4]: case.seen[0]})
    add('Last seen', turned[-1], {PALETTE[4]: case.seen[-1]})
    add(f'+{case.horizon:.0f} days: truth, told', turned[-1], {
        TRUTH: case.truth, **{COLOURS[name]: case.masks[name] for name in reversed(DRAWN) if name in case.masks}})
    if case.rates is not None:
        add('New tumours: risk, truth', turned[-1], {TRUTH: case.truth}, case.rates)
    return made


def volumes(of: Split[Table]) -> list[Chart]:
    """Told against true volumes, and the curves of the cases that are drawn."""
    table = of.table
    made = [themed_chart(lambda theme: against_truth(table, theme), 'Told volumes against true ones',
                 'Each case\'s volume at the next visit as told, and as it was; dotted: equal.')]
    cases = {kind: load(_path(of, number)) for kind, number in chosen(of).items()}
    for kind, number in chosen(of).items():
        case = cases[kind]
        if case.curve:
            points = (table.truth[number], table.volume[''][number])
            made.append(themed_chart(lambda theme, a=(case, *points): course(*a, theme), f'Volumes of {case.name} over time',
                             f'{kind} by Dice, {case.name}: volumes that were seen (dots) and the laws fitted to them; '
                             'ring: the truth; diamond: as the network told.'))
    return made


def gains(of: Split[Table]) -> list[Chart]:
    """Each case's Dice by each method."""
    columns = {METHODS[name]: of.table.values['dice', name] for name in of.table.methods}
    entries = {METHODS[name]: of.entries[f'dice_{name}' if name else 'dice'] for name in of.table.methods}
    own, made = of.table.values['dice', ''], []
    made.append(themed_chart(lambda theme: charts.strip_chart(columns, entries, 'Dice of the next mask', theme), 'Dice of each case',
                     'Dots: cases; diamonds: means with 95 % intervals.', wide=len(columns) > 4))
    rival = next((name for name in ('gompertz', 'same') if name in of.table.methods), None)
    if rival:
        gain = own - of.table.values['dice', rival]
        won = int((gain > 0).sum())
        made.append(themed_chart(lambda theme: by_growth(of.table, rival, theme), f'Gain in Dice on {METHODS[rival]}',
                         f'The network\'s Dice less that of {METHODS[rival]}, over how much the tumour grew; better in '
                         f'{won} of {len(gain)} cases.'))
    return made


def sites(of: Split[Table]) -> list[Chart]:
    """How well sites with a new tumour are told from the others."""
    known = of.table.new >= 0
    new, scores = of.table.new[known] == 1, {'network': of.table.risk[known]}
    if of.table.chance is not None:
        scores['the simulation\'s own chance'] = of.table.chance[known]
    if not new.any() or new.all():
        return []

    def make(theme: str) -> bytes:
        canvas, axes = chart(theme, '1 − specificity', 'Sensitivity', *SQUARE)
        for (name, score), colour, dash in zip(scores.items(), (PALETTE[1], '#8a8f96'), ('-', '--')):
            axes.plot(*probability_charts.roc_curve(new, score), color=colour, linewidth=1.7, linestyle=dash, label=name)
        axes.plot([0, 1], [0, 1], color=INK[theme], linewidth=0.8, linestyle=':')
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        legend(axes, theme, loc='lower right')
        return png(canvas, CHART_DPI)
    return [themed_chart(make, 'ROC of new tumours by site', 'Sites of all patients together.')]


def against_truth(table: Table, theme: str) -> bytes:
    """A dot a case and method, on logarithmic axes."""
    canvas, axes = chart(theme, 'True volume, ml', 'Told volume, ml', *SQUARE)
    shown = [name for name in ('same', 'gompertz', '') if name in table.methods]
    least = max(float(table.truth[table.truth > 0].min(initial=np.inf)) / 3, 1e-3)
    least = least if np.isfinite(least) else 1e-3
    for name in shown:
        axes.scatter(np.maximum(table.truth, least), np.maximum(table.volume[name], least), s=13, linewidths=0,
                     color=COLOURS[name], alpha=0.75, label=METHODS[name])
    ends = [least, max(float(table.truth.max(initial=least)), 2 * least) * 1.2]
    axes.plot(ends, ends, color=INK[theme], linewidth=0.8, linestyle=':')
    axes.set(xscale='log', yscale='log')
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter('{x:g}')
        axis.set_minor_locator(NullLocator())
    legend(axes, theme, loc='upper left')
    return png(canvas, CHART_DPI)


def course(case: Snapshot, truth: float, told: float, theme: str) -> bytes:
    """Volumes over time, with the laws of growth."""
    canvas, axes = chart(theme, 'Days from the last visit that was seen', 'Volume, ml', *SQUARE)
    time = np.linspace(case.time[0], case.horizon, 80)
    for law, parts in case.curve.items():
        line = np.asarray(growth_laws.volume(law, growth_laws.GrowthCurve(*map(float, parts)), time))
        axes.plot(time, line, color=COLOURS[law], linewidth=1.4, linestyle=DASHES[law], label=METHODS[law])
    axes.plot(case.time, case.volume, 'o', color=INK[theme], markersize=5, clip_on=False)
    axes.plot(case.horizon, truth, 'o', color=INK[theme], fillstyle='none', markersize=9, clip_on=False)
    axes.plot(case.horizon, told, 'D', color=COLOURS[''], markersize=6, clip_on=False)
    axes.set_ylim(0, 1.6 * max(truth, told, float(case.volume.max())))  # a law may leave the picture
    legend(axes, theme, loc='upper left')
    return png(canvas, CHART_DPI)


def by_growth(table: Table, rival: str, theme: str) -> bytes:
    """A dot a case: gain in Dice over growth."""
    canvas, axes = chart(theme, 'True volume over that last seen', f'Gain in Dice on {METHODS[rival]}', *SQUARE)
    gain, ratio = table.values['dice', ''] - table.values['dice', rival], table.truth / np.maximum(table.last, 1e-9)
    axes.axhline(0, color=INK[theme], linewidth=0.8, linestyle=':')
    axes.scatter(ratio, gain, s=14, color=COLOURS[''], alpha=0.75, linewidths=0)
    axes.set_xscale('log')
    axes.set_xticks([1, 2, 4, 8], ['1', '2', '4', '8'])
    axes.minorticks_off()
    return png(canvas, CHART_DPI)


def _contour(axes: Axes, mask: np.ndarray, colour: str) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask.astype(float), levels=[0.5], colors=[colour], linewidths=1.1)


def _heat(axes: Axes, rates: np.ndarray) -> None:
    """Rates as colours, the more solid the larger."""
    size = np.clip(rates / max(float(np.percentile(rates, 99.9)), 1e-12), 0, 1)
    painted = colors.LinearSegmentedColormap.from_list('', SUPPORTING)(size)
    painted[..., 3] = 0.8 * size
    axes.imshow(painted, aspect='auto', interpolation='bilinear')


def _path(of: Split[Table], number: int) -> pathlib.Path:
    return of.run.folder / 'cases' / of.split / f'{of.table.ids[number]}.npz'
