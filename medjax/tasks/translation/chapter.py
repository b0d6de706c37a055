"""The report's chapter on translation: how near what was made is, beside floors; planes, and where the error lies."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from medjax import atomic_files
from medjax.errors import InputError
from medjax.report import draw, tables
from medjax.report.chapter import (
    Chapter,
    Group,
    Section,
    caption,
    entries_with_intervals,
    headline_splits,
    interval_method,
    non_numeric_columns,
    split_name,
    themed_chart,
)
from medjax.report.draw import SIDES
from medjax.report.run_files import Run, snapshot
from medjax.report.style import CHART_DPI, INK, MARKERS, PALETTE, chart, legend, png, style_axes
from medjax.report.tables import format_number
from medjax.statistics.bootstrap import parse_number
from medjax.tasks.translation import summary
from medjax.tasks.translation.family import FAMILY
from medjax.tasks.translation.summary import FIGURES, METHODS

LEAST = 0.1  # of the fullest plane's head: planes with less of it do not compete
WRONG = 0.2  # of the range: the difference that has the full colour
STEPS = 6  # of the course that are drawn
DRAWN = ('', 'lookup')  # methods whose error is drawn
COLOURS = {'': PALETTE[1], 'lookup': PALETTE[0]}


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A case as evaluated; intensities are shares of the ranges, `[X, Y, Z, C]` in RAS+, or `[columns, rows, 1, C]`.

    Attributes:
      name: of the case.
      arrays: `image` and `made`, and where they are there `target`, `lookup` and `cycle`.
      head: `[X, Y, Z]`, what is judged.
      planes: the mean absolute error in each axial plane, `[Z]`, by method of DRAWN.
      spacing: mm of a voxel along the three axes.
      first: mm, where the lowest plane lies.
      kind: 'volume' or 'image'.
    """

    name: str
    arrays: Mapping[str, np.ndarray]
    head: np.ndarray
    planes: Mapping[str, np.ndarray]
    spacing: tuple[float, ...]
    first: float
    kind: str


def load(path: pathlib.Path) -> Snapshot:
    """Reads `cases/SPLIT/ID.npz`.

    Raises:
      InputError: the file is damaged, or its arrays do not fit together.
    """
    with snapshot(path) as kept:
        arrays = {name: kept[name].astype(np.float32) for name in ('image', 'target', 'made', 'lookup', 'cycle')
                  if name in kept}
        planes = {name: kept[key] for name in DRAWN for key in [f'planes_{name}' if name else 'planes'] if key in kept}
        made = Snapshot(path.stem, arrays, kept['head'], planes, tuple(map(float, kept['spacing'])),
                        float(kept['first']), str(kept['kind']))
        fits = {'image', 'made'} <= set(arrays) and all(
            part.ndim == 4 and part.shape[:3] == made.head.shape for part in arrays.values()) and all(
            len(part) == made.head.shape[2] for part in planes.values())
    if not fits:
        raise InputError(f'{path}: {", ".join(f"{name} {part.shape}" for name, part in arrays.items())}, head '
                         f'{made.head.shape}; expected an image and what was made of it, on one grid')
    return made


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: a snapshot is damaged.
    """
    shown = headline_splits(run)[:1]
    return Chapter(
        headlines=[headline(run, split) for split in headline_splits(run)], method=method(run),
        tables=[table(run, split) for split in run.splits],
        sections=[part for split in shown for part in sections(run, split)] + [course(run)],
        curves={'Loss': {'train/loss': 'training'},
                'Parts of the loss': {f'train/{name}': name for name in ('adversarial', 'critic', 'cycle', 'identity')},
                'Mean absolute error': {'train/l1': 'training, weighted'},
                'PSNR, dB': {'val/psnr': ''}, 'SSIM': {'val/ssim': ''}, 'Sharpness': {'val/sharpness': ''},
                'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}},
        samples=[], samples_text='', conventions_heading='Conventions',
        cases=[row for split in run.splits for row in _listed(run, split)], text_columns=non_numeric_columns(run),
        cases_order=': the highest PSNR first')


def headline(run: Run, split: str) -> tuple[str, str]:
    """The result in a sentence, and how sure it is in another."""
    entries, rows = run.results[split], run.rows(split)
    others = [f'{METHODS[name]} {_db(entries[f"psnr_{name}"])}' for name in summary.methods(rows) if name]
    limits = tables.format_interval(entries['psnr'], 'dB')
    text = (f'PSNR {_db(entries["psnr"])}' + f' ({limits})' * bool(limits) + f' on the {split_name(split).lower()} '
            'cases' + f'; {", ".join(others)}' * bool(others) + f'. {tables.value_with_interval("SSIM", _bare(entries["ssim"]))}, '
            f'{tables.value_with_interval("MAE", _bare(entries["mae"]))} of the range, sharpness '
            f'{format_number(entries["sharpness"]["value"])}.')
    n = entries['psnr'].get('n', 0)
    why = entries['psnr'].get('why', '')
    sure = f'In brackets the 95 % interval. n = {n} patients, {len(rows)} cases.' if limits else (
        f'{why[:1].upper()}{why[1:]}; {len(rows)} cases.')
    if 'cycle_mae' in entries:
        sure += (f' The image that is made again of what was made of it is wrong by '
                 f'{format_number(entries["cycle_mae"]["value"])} of its range.')
    return text, sure


def method(run: Run) -> str:
    """How the figures and their intervals are made."""
    return f'Means over patients. {interval_method(run)}' if entries_with_intervals(run) else (
        'One patient: no confidence intervals. The figures tell how this case was done, and of others nothing.')


def table(run: Run, split: str) -> tables.Table:
    """The figures of the network, and of what needs none."""
    entries, names = run.results[split], summary.methods(run.rows(split))
    keys = {(key, METHODS[name]): entries[f'{key}_{name}' if name else key]
            for key in (*FIGURES, 'gain_psnr') for name in names if (f'{key}_{name}' if name else key) in entries}
    return tables.metric_table(FAMILY.metrics, keys, [METHODS[name] for name in names], caption(run, split))


def sections(run: Run, split: str) -> list[Section]:
    """Planes of a split, and where its error lies."""
    paths = [run.folder / 'cases' / split / f'{row["id"]}.npz' for row in run.rows(split)]
    cases = [load(path) for path in paths if path.is_file()]
    cases = [case for case in cases if 'target' in case.arrays]
    if not cases:
        return []
    groups = [Group(f'{kind}: {case.name}{_where(case, z)}', tiles(case, z), _said(case, z))
              for kind, (case, z) in ranked(cases).items()]
    drawn = [
        themed_chart(lambda theme: _joint(cases, theme), 'What was made against the truth', 'Voxels of the heads of all cases; '
             'the darker, the more there are (logarithmic). On the line what was made is true.', wide=True)]
    if any(case.kind == 'volume' and case.head.shape[2] > 2 for case in cases):
        drawn.append(themed_chart(lambda theme: _along(cases, theme), 'Error plane by plane', 'The mean absolute error in each '
                          'axial plane, a line for each case.'))
    keys = [('Difference', [('made too bright', '#b2182b'), ('too dark', '#2166ac')])]
    return [Section('Planes', 'The planes with the lowest, the middle and the highest error in the head, of all cases. '
                    f'The difference has its full colour where it is {WRONG:g} of the range.', keys, groups=groups),
            Section('Where the error lies', charts=drawn)]


def ranked(cases: Sequence[Snapshot]) -> dict[str, tuple[Snapshot, int]]:
    """The best, the median and the worst plane of all cases by the network's error."""
    every = [(float(case.planes[''][z]), place, z) for place, case in enumerate(cases)
             for area in [case.head.sum((0, 1), dtype=np.int64)] for z in np.flatnonzero(area >= LEAST * area.max())
             if '' in case.planes and np.isfinite(case.planes[''][z])]
    every.sort()
    if not every:
        return {}
    places = dict(zip(('Best', 'Median', 'Worst'), (every[0], every[len(every) // 2], every[-1])))
    return {kind: (cases[place], int(z)) for kind, (_, place, z) in list(places.items())[:len(every)]}


def tiles(case: Snapshot, z: int) -> list[draw.Tile]:
    """A plane: given, true, made, the difference, and what comes back."""
    parts = {'given': 'image', 'true': 'target', 'made': 'made', 'difference': '', 'given, made again': 'cycle'}
    made = []
    for title, name in parts.items():
        if name and name not in case.arrays:
            continue
        if name:
            plane = _grey(case.arrays[name][:, :, z])
        else:
            apart = (case.arrays['made'] - case.arrays['target'])[:, :, z].mean(-1) * (case.head[:, :, z] > 0)
            plane = matplotlib.colormaps['RdBu_r'](0.5 + 0.5 * np.clip(apart / WRONG, -1, 1))[..., :3]
        canvas, axes, width = draw.canvas(_turned(case, plane), case.spacing[1::-1], (0.0, 1.0))
        if case.kind == 'volume':
            draw.annotate(axes, SIDES[2], case.spacing[1::-1], 'radiological' if name == 'image' else '')
        made.append(draw.Tile(png(canvas, draw.DPI), title.capitalize(), f'{case.name}{_where(case, z)}: {title}',
                              width))
    return made


def course(run: Run) -> Section:
    """One plane of a validation case as it was made at some steps of the training."""
    heading, found = 'In the course of training', sorted((run.folder / 'course').glob('[0-9]*.npz'))
    if len(found) < 2:
        return Section(heading)
    chosen = [found[k] for k in np.unique(np.linspace(0, len(found) - 1, min(STEPS, len(found))).round().astype(int))]
    drawn = []
    for path in chosen:
        kept = atomic_files.read_arrays(path, 'a plane of the course')
        if 'made' not in kept:
            raise InputError(f'{path}: arrays {", ".join(kept)}; expected made among them')
        drawn.append((f'Step {path.stem.lstrip("0") or "0"}', _grey(kept['made'])))
        last = _grey(kept['target']) if 'target' in kept else None
    drawn += [('True', last)] if last is not None else []
    made = []
    for title, plane in drawn:
        canvas, _, width = draw.canvas(np.swapaxes(plane, 0, 1)[::-1, ::-1], (1.0, 1.0), (0.0, 1.0))
        made.append(draw.Tile(png(canvas, draw.DPI / 2), title, title, width // 2))
    return Section(heading, 'The middle plane of the first validation case at some of the validations.',
                   groups=[Group('As it was made', made, '')])


def _grey(plane: np.ndarray) -> np.ndarray:
    """`[X, Y, C]` as it is drawn: colours of three channels, else the first."""
    return plane if plane.shape[-1] == 3 else plane[..., 0]


def _turned(case: Snapshot, plane: np.ndarray) -> np.ndarray:
    """A plane as rows and columns; of a volume right is left, and anterior up."""
    plane = np.swapaxes(plane, 0, 1)
    return plane if case.kind == 'image' else plane[::-1, ::-1]


def _where(case: Snapshot, z: int) -> str:
    height = f'{case.first + z * case.spacing[2]:.0f}'.replace('-', '−')
    return f', axial plane at {height} mm' if case.kind == 'volume' else ''


def _said(case: Snapshot, z: int) -> str:
    return 'MAE in the head: ' + ', '.join(f'{METHODS[name]} {format_number(float(case.planes[name][z]))}'
                                           for name in DRAWN if name in case.planes) + '.'


def _joint(cases: Sequence[Snapshot], theme: str) -> bytes:
    """Two-dimensional histograms, a panel a method."""
    names = [(name, key) for name, key in (('', 'made'), ('lookup', 'lookup')) if all(key in c.arrays for c in cases)]
    canvas = Figure(figsize=(3.6 * len(names) + 0.4, 3.5), layout='constrained')
    truth = np.concatenate([case.arrays['target'][case.head > 0].ravel() for case in cases])
    for axes, (name, key) in zip(np.atleast_1d(canvas.subplots(1, len(names))), names):
        style_axes(axes, theme)
        made = np.concatenate([case.arrays[key][case.head > 0].ravel() for case in cases])
        axes.hist2d(truth, made, bins=80, range=[[0, 1.1], [0, 1.1]], cmap='magma_r' if theme == 'light' else 'magma',
                    norm=LogNorm(vmin=1, clip=False), rasterized=True)
        axes.plot([0, 1.1], [0, 1.1], color=INK[theme], linewidth=0.8, linestyle=':')
        axes.set(xlabel='True, share of the range', ylabel='Made, share of the range')
        axes.set_title(METHODS[name], fontsize=9.5, color=INK[theme])
        axes.grid(visible=False)
    return png(canvas, CHART_DPI)


def _along(cases: Sequence[Snapshot], theme: str) -> bytes:
    canvas, axes = chart(theme, 'Position of the plane, mm, inferior to superior', 'MAE, share of the range')
    for place, case in enumerate(cases):
        position = case.first + np.arange(case.head.shape[2]) * case.spacing[2]
        for name in DRAWN:
            if name in case.planes:
                axes.plot(position, case.planes[name], color=COLOURS[name], linewidth=1.4, markersize=4,
                          marker=MARKERS[place % len(MARKERS)] if len(position) < 30 else None,
                          label=METHODS[name] if not place else None)
    axes.set_ylim(0)
    legend(axes, theme, loc='best')
    return png(canvas, CHART_DPI)


def _db(entry: tables.Entry) -> str:
    return f'{format_number(entry["value"], "dB")} dB'


def _bare(entry: tables.Entry) -> tables.Entry:
    """An entry without the reason why it has no interval, which is said once."""
    return {key: value for key, value in entry.items() if key != 'why'}


def _listed(run: Run, split: str) -> list[dict[str, str]]:
    """The table of cases, rounded, the highest PSNR first."""
    rows, shown = run.rows(split), (*FIGURES, 'cycle_mae')
    order = np.argsort([-np.nan_to_num(parse_number(row['psnr']), nan=-np.inf) for row in rows], kind='stable')
    words = non_numeric_columns(run)
    return [{key: format_number(float(text), 'dB' if key.startswith('psnr') else '') if text and key.startswith(shown)
             else text for key, text in rows[place].items() if key in words or key.startswith(shown)}
            for place in order]
