"""The report's chapter on registration: overlap and folds side by side, errors before and after, the maps drawn."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection

from medjax.report import draw, tables
from medjax.report.chapter import (
    Chapter,
    Chart,
    Group,
    Section,
    caption,
    headline_splits,
    interval_method,
    non_numeric_columns,
    split_name,
    themed_chart,
)
from medjax.report.run_files import Run, snapshot
from medjax.report.split import Split, read_split
from medjax.report.style import INK, PALETTE, chart, legend, png
from medjax.report.tables import Entry, format_number
from medjax.tasks.registration.family import FAMILY
from medjax.tasks.registration.summary import FIGURES, METHODS, Table, read

COLOURS = {'': PALETTE[1], 'none': '#8a8f96', 'affine': PALETTE[0], 'bspline': PALETTE[2]}
DRAWN = (('tre', 'mm'), ('dice', ''), ('folded', '%'), ('ncc', ''))  # figures of a drawn pair, and their units
PARTS = ('fixed', 'moving', 'moved', 'displacement', 'jacobian', 'spacing')  # of a drawn pair
LINES = 5  # voxels from a line of the drawn grid to the next
SPAN = 1.0  # of the Jacobian's map: from twice as small to twice as large, as powers of two


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: where the table of predictions lacks a figure, or a snapshot is damaged.
    """
    every = [read_split(run, split, read) for split in run.splits]
    return Chapter(
        headlines=[line for of in every if of.split in headline_splits(run) for line in headlines(of)], method=interval_method(run),
        tables=[methods_table(of.entries, of.table.methods, caption(run, of.split)) for of in every],
        sections=[part for of in every[:1] for part in sections(of)], curves=learning(run), samples=[], samples_text='',
        conventions_heading='Conventions', cases=[row for of in every for row in listed(of)], text_columns=non_numeric_columns(run),
        cases_order=': the best first', warnings=(run.results.get('analysis') or {}).get('warnings', ()))


def headlines(of: Split[Table]) -> list[tuple[str, str]]:
    """The result in a sentence, and how sure it is in another."""
    entries, others = of.entries, [name for name in of.table.methods if name]

    def beside(key: str, unit: str = '') -> str:
        # Of fewer pairs a mean would be no comparison.
        said = [f'{METHODS[name]} {format_number(entries[f"{key}_{name}"]["value"], unit)}' for name in others
                if f'{key}_{name}' in entries and entries[f'{key}_{name}']['cases'] == entries[key]['cases']]
        return f' ({", ".join(said)})' * bool(said)

    parts = []
    if tables.has_value(entries['tre']):
        parts.append(f'Target registration error {format_number(entries["tre"]["value"], "mm")} mm{beside("tre", "mm")}')
    if tables.has_value(entries['dice']):
        parts.append(f'Dice {format_number(entries["dice"]["value"])}{beside("dice")}')
    if not parts:
        parts.append(f'Correlation {format_number(entries["ncc"]["value"])}{beside("ncc")}')
    text = (f'{"; ".join(parts)} on the {split_name(of.split).lower()} pairs. Folded: '
            f'{format_number(entries["folded"]["value"])} % of the cells.')
    lead = next(key for key in ('tre', 'dice', 'ncc') if tables.has_value(entries[key]))
    unit = FAMILY.metrics.describe(lead).unit
    said = tables.format_interval(entries[lead], unit)
    sure = f'95 % interval of the first figure {said} {unit}. '.replace(' .', '.') * bool(said)
    return [(text, f'{sure}n = {entries[lead]["n"]}, {len(of.rows)} pairs.')]


def methods_table(entries: Mapping[str, Entry], methods: Sequence[str], title: str) -> tables.Table:
    """Every figure of the run and of each other way: overlap beside folds; and what the run gains on it."""
    keys = {(name, METHODS[other]): entries[f'{name}_{other}' if other else name]
            for name in (*FIGURES, 'gain_dice', 'gain_tre') for other in methods
            if tables.has_value(entries.get(f'{name}_{other}' if other else name, {}))}
    return tables.metric_table(FAMILY.metrics, keys, [METHODS[other] for other in methods if ('ncc', METHODS[other]) in keys], title)


def sections(of: Split[Table]) -> list[Section]:
    """What is drawn of the split that matters most."""
    score, order = _score(of.table)
    places = dict.fromkeys([order[0], order[len(order) // 2], order[-1]]) if len(order) else {}
    groups = []
    for name, place in zip(('Best', 'Median', 'Worst'), places):
        path = of.run.folder / 'cases' / of.split / f'{of.table.ids[place]}.npz'
        if path.is_file():
            with snapshot(path) as case:
                shown = {name: case[name] for name in PARTS} | {
                    name: part for name, part in case.items() if name.startswith('moved_')}
            text = ', '.join(_told(of.table, key, unit, place) for key, unit in DRAWN
                             if not np.isnan(of.table.values[key, ''][place]))
            groups.append(Group(f'{name}: {of.table.ids[place]}', tiles(shown), f'{text}.'))
    return [Section('Pairs', 'Differences are of intensities on one scale, white where there is none. The grid is '
                    'that of the fixed image, drawn where its lines come to lie in the moving one. Of the Jacobian '
                    'blue is where tissue shrinks from the fixed to the moving image, red where it grows, up to '
                    'twice; black where it folds. Of a volume the plane across z with most of the image.',
                    groups=groups),
            Section('Pair by pair', charts=charts(of))]


def _told(table: Table, key: str, unit: str, place: int) -> str:
    before = ''
    if 'none' in table.methods and key != 'folded':
        before = f' (before {format_number(table.values[key, "none"][place], unit)})'
    return f'{FAMILY.metrics.describe(key).label} {format_number(table.values[key, ""][place], unit)} {unit}'.strip() + before


def tiles(case: Mapping[str, np.ndarray]) -> list[draw.Tile]:
    """A pair as pictures: both images, the moved one, differences before and after, the grid, the Jacobian."""
    pixel = tuple(float(mm) for mm in case['spacing'][::-1])
    made = [_grey(case[name], pixel, title) for name, title in (
        ('fixed', 'Fixed'), ('moving', 'Moving'), ('moved', 'Moved'))]
    made += [_coloured(case[name] - case['fixed'], pixel, title, 'PuOr', 1.0) for name, title in (
        ('moving', 'Difference before'), ('moved', 'Difference after'))]
    for name in ('affine', 'bspline'):
        if f'moved_{name}' in case:
            made.append(_coloured(case[f'moved_{name}'] - case['fixed'], pixel, f'Difference, {METHODS[name]}', 'PuOr',
                                  1.0))
    made.append(_grid(case['moving'], case['displacement'], pixel))
    jacobian = case['jacobian']
    logarithm = np.where(jacobian > 0, np.log2(np.maximum(jacobian, 1e-3)), np.nan)
    made.append(_coloured(logarithm, pixel, 'Jacobian', 'RdBu_r', SPAN))
    return made


def _upright(plane: np.ndarray) -> np.ndarray:
    """`[X, Y]` as rows from front to back."""
    return plane.swapaxes(0, 1)[::-1]


def _grey(plane: np.ndarray, pixel: tuple[float, float], title: str) -> draw.Tile:
    canvas, _, width = draw.canvas(_upright(plane), pixel, (0.0, 1.0))
    return draw.Tile(png(canvas, draw.DPI), title, title, width)


def _coloured(plane: np.ndarray, pixel: tuple[float, float], title: str, colours: str, most: float) -> draw.Tile:
    """Signed values; what is not defined is black."""
    share = _upright(plane) / (2 * most) + 0.5
    painted = matplotlib.colormaps[colours](np.clip(share, 0, 1))[..., :3] * ~np.isnan(share)[..., None]
    canvas, _, width = draw.canvas(painted, pixel, (0.0, 1.0))
    return draw.Tile(png(canvas, draw.DPI), title, title, width)


def _grid(image: np.ndarray, displacement: np.ndarray, pixel: tuple[float, float]) -> draw.Tile:
    """The fixed image's grid where it comes to lie in the moving one."""
    canvas, axes, width = draw.canvas(_upright(image), pixel, (0.0, 1.0), 0.45)
    x, y = np.meshgrid(*[np.arange(n) for n in image.shape], indexing='ij')
    x, y = x + displacement[0], image.shape[1] - 1 - (y + displacement[1])
    lines = [np.stack([x[i], y[i]], 1) for i in range(0, image.shape[0], LINES)]
    lines += [np.stack([x[:, j], y[:, j]], 1) for j in range(0, image.shape[1], LINES)]
    axes.add_collection(LineCollection(lines, colors=PALETTE[1], linewidths=0.7))
    return draw.Tile(png(canvas, draw.DPI), 'Grid', 'The grid on the moving image', width)


def charts(of: Split[Table]) -> list[Chart]:
    """Errors, or overlap, of each pair by each method, the pairs in the order of how hard they were."""
    made = []
    for key, title in (('tre', 'Target registration error, mm'), ('dice', 'Dice'), ('ncc', 'Correlation in windows')):
        if np.isnan(of.table.values[key, '']).all() or (key == 'ncc' and made):
            continue
        made.append(themed_chart(lambda theme, key=key, title=title: _by_pair(of.table, key, title, theme),
                         f'{title}, pair by pair', f'{title}, of each pair, in the order of what it was before.'))
    return made


def _by_pair(table: Table, key: str, title: str, theme: str) -> bytes:
    canvas, axes = chart(theme, 'Pair', title)
    first = 'none' if 'none' in table.methods else ''
    order = np.argsort(table.values[key, first], kind='stable')
    for name in table.methods:
        values = table.values[key, name][order]
        if not np.isnan(values).all():
            axes.plot(np.arange(1, len(order) + 1), values, 'o', markersize=3.5, color=COLOURS[name],
                      label=METHODS[name])
    axes.axhline(0, color=INK[theme], linewidth=0.5)
    legend(axes, theme, loc='best')
    return png(canvas, draw.DPI)


def learning(run: Run) -> dict[str, dict[str, str]]:
    """What was logged while training."""
    return {'Loss': {'train/loss': 'training'}, 'How unlike the images are': {'train/unlike': 'training'},
            'Target registration error, mm': {'val/tre': ''}, 'Dice': {'val/dice': ''},
            'Folded cells, %': {'val/folded': ''}, 'Roughness of the velocity': {'train/roughness': ''},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def listed(of: Split[Table]) -> list[dict[str, str]]:
    """The table of pairs, rounded, the best first."""
    words, (_, order) = non_numeric_columns(of.run), _score(of.table)
    kept = [key for key in (of.rows[0] if of.rows else ()) if key in words or key in FIGURES
            or key.rpartition('_')[0] in ('dice', 'tre', 'folded')]
    return [{key: text if key in words or not text or text == 'nan' else format_number(float(text))
             for key, text in ((key, of.rows[number][key]) for key in kept)} for number in order]


def _score(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """What pairs are ordered by, higher is better, and their order, the best first."""
    key = next((key for key in ('tre', 'dice') if not np.isnan(table.values[key, '']).all()), 'ncc')
    score = np.nan_to_num(table.values[key, ''] * (-1 if key == 'tre' else 1), nan=-np.inf)
    return score, np.argsort(-score, kind='stable')
