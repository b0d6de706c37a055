"""The report's chapter on translation: image fidelity beside baselines, planes, and where the error is."""

import pathlib
from collections.abc import Sequence

import numpy as np

from medjax import atomic_files
from medjax.errors import InputError
from medjax.report import tables
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
from medjax.report.run_files import Run
from medjax.report.tables import Entry, format_count_of, format_interval, format_number, value_with_interval
from medjax.tasks.translation.charts import joint_histogram_chart, plane_error_chart
from medjax.tasks.translation.family import FAMILY
from medjax.tasks.translation.pictures import FULL_COLOUR, plane_position, plane_tiles, training_tile
from medjax.tasks.translation.snapshots import Snapshot, load_snapshot
from medjax.tasks.translation.table import CYCLE, GAIN, METHODS, METRICS, column, is_metric, methods, psnr

MIN_HEAD = 0.1  # of the largest plane's head: planes with less of it are not ranked
STEPS = 6  # training steps that are drawn


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: a snapshot is damaged.
    """
    splits = headline_splits(run)
    sections = _sections(run, splits[0]) if splits else []
    return Chapter(
        headlines=[_headline(run, split) for split in splits], method=_method(run),
        tables=[_table(run, split) for split in run.splits],
        sections=[*sections, _training_section(run.folder / 'course')],
        curves={'Loss': {'train/loss': 'training'},
                'Parts of the loss': {'train/adversarial': 'adversarial', 'train/discriminator': 'discriminator',
                                      'train/cycle': 'cycle', 'train/identity': 'identity'},
                'Mean absolute error': {'train/l1': 'training, weighted'},
                'PSNR, dB': {'val/psnr': ''}, 'SSIM': {'val/ssim': ''}, 'Sharpness': {'val/sharpness': ''},
                'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}},
        cases=[row for split in run.splits for row in _cases(run, split)], text_columns=non_numeric_columns(run),
        cases_order=': the highest PSNR first')


def _headline(run: Run, split: str) -> tuple[str, str]:
    """The result in a sentence, and its uncertainty in another."""
    entries, rows = run.results[split], run.rows(split)
    entry, limits = entries['psnr'], format_interval(entries['psnr'], 'dB')
    text = f'PSNR {_decibels(entry)}'
    if limits:
        text += f' ({limits})'
    text += f' on the {split_name(split).lower()} cases'
    baselines = [f'{METHODS[method]} {_decibels(entries[column("psnr", method)])}'
                 for method in methods(rows) if method]
    if baselines:
        text += f'; {", ".join(baselines)}'
    text += (f'. {value_with_interval("SSIM", _without_reason(entries["ssim"]))}, '
             f'{value_with_interval("MAE", _without_reason(entries["mae"]))} of the range, sharpness '
             f'{format_number(entries["sharpness"]["value"])}.')
    if limits:
        size = format_count_of(entry.get('n', 0), run.analysis_unit)
        uncertainty = f'In brackets the 95 % interval. n = {size}, {len(rows)} cases.'
    else:
        reason = entry.get('why', '')
        uncertainty = f'{reason[:1].upper()}{reason[1:]}; {len(rows)} cases.'
    if CYCLE in entries:
        uncertainty += (f' Images translated forth and back have an error of {format_number(entries[CYCLE]["value"])} '
                        'of their range.')
    return text, uncertainty


def _method(run: Run) -> str:
    """How the values and their intervals are computed."""
    if entries_with_intervals(run):
        return f'Means over {run.analysis_unit}s. {interval_method(run)}'
    return f'One {run.analysis_unit}: no confidence intervals. The values describe this case alone.'


def _table(run: Run, split: str) -> tables.Table:
    """The metrics of the network and of the baselines."""
    entries, names = run.results[split], methods(run.rows(split))
    keys = {(metric, METHODS[method]): entries[column(metric, method)]
            for metric in (*METRICS, GAIN) for method in names if column(metric, method) in entries}
    return tables.metric_table(FAMILY.metrics, keys, [METHODS[method] for method in names], caption(run, split))


def _sections(run: Run, split: str) -> list[Section]:
    """Planes of a split, and where its error is."""
    paths = [run.folder / 'cases' / split / f'{row["id"]}.npz' for row in run.rows(split)]
    cases = [load_snapshot(path) for path in paths if path.is_file()]
    cases = [case for case in cases if 'target' in case.arrays]
    if not cases:
        return []
    groups = [Group(f'{rank}: {case.name}{plane_position(case, z)}', plane_tiles(case, z), _plane_errors(case, z))
              for rank, (case, z) in ranked_planes(cases).items()]
    charts = [themed_chart(lambda theme: joint_histogram_chart(cases, theme), 'Translated against true intensities',
                           'Voxels in the heads of all cases; darker where there are more of them (logarithmic). On '
                           'the line the translation is exact.', wide=True)]
    if any(case.kind == 'volume' and case.head.shape[2] > 2 for case in cases):
        charts.append(themed_chart(lambda theme: plane_error_chart(cases, theme), 'Error by plane',
                                   'The mean absolute error in each axial plane, a line for each case.'))
    keys = [('Difference', [('too bright', '#b2182b'), ('too dark', '#2166ac')])]
    return [Section('Planes', 'The planes with the lowest, the median and the highest error in the head, of all cases. '
                    f'A difference of {FULL_COLOUR:g} of the range has the full colour.', keys, groups=groups),
            Section('Error analysis', charts=charts)]


def ranked_planes(cases: Sequence[Snapshot]) -> dict[str, tuple[Snapshot, int]]:
    """The best, the median and the worst axial plane of all cases by the network's error."""
    planes = []
    for place, case in enumerate(cases):
        area = case.head.sum((0, 1), dtype=np.int64)
        for z in np.flatnonzero(area >= MIN_HEAD * area.max()):
            if '' in case.planes and np.isfinite(case.planes[''][z]):
                planes.append((float(case.planes[''][z]), place, int(z)))
    planes.sort()
    if not planes:
        return {}
    ranks = dict(zip(('Best', 'Median', 'Worst'), (planes[0], planes[len(planes) // 2], planes[-1])))
    return {rank: (cases[place], z) for rank, (_, place, z) in list(ranks.items())[:len(planes)]}


def _plane_errors(case: Snapshot, z: int) -> str:
    errors = [f'{METHODS[method]} {format_number(float(values[z]))}' for method, values in case.planes.items()]
    return f'MAE in the head: {", ".join(errors)}.'


def _training_section(folder: pathlib.Path) -> Section:
    """One plane of a validation case as translated at some training steps."""
    heading, paths = 'Progress of training', sorted(folder.glob('[0-9]*.npz'))
    if len(paths) < 2:
        return Section(heading)
    places = np.linspace(0, len(paths) - 1, min(STEPS, len(paths))).round().astype(int)
    tiles, target = [], None
    for path in [paths[place] for place in np.unique(places)]:
        arrays = atomic_files.read_arrays(path, 'a plane saved during training')
        if 'made' not in arrays:
            raise InputError(f'{path}: arrays {", ".join(arrays)}; expected made among them')
        tiles.append(training_tile(f'Step {path.stem.lstrip("0") or "0"}', arrays['made']))
        target = arrays.get('target')
    if target is not None:
        tiles.append(training_tile('True', target))
    return Section(heading, 'The middle plane of the first validation case at some of the validations.',
                   groups=[Group('Translated', tiles, '')])


def _decibels(entry: Entry) -> str:
    return f'{format_number(entry["value"], "dB")} dB'


def _without_reason(entry: Entry) -> Entry:
    """An entry without the reason for a missing interval, which the headline gives once."""
    return {key: value for key, value in entry.items() if key != 'why'}


def _cases(run: Run, split: str) -> list[dict[str, str]]:
    """The rows of the table of cases, rounded, the highest PSNR first."""
    rows, text, out = run.rows(split), non_numeric_columns(run), []
    for place in np.argsort([-np.nan_to_num(psnr(row), nan=-np.inf) for row in rows], kind='stable'):
        cells = {}
        for key, value in rows[place].items():
            if is_metric(key):
                unit = 'dB' if key.startswith('psnr') else ''
                cells[key] = format_number(float(value), unit) if value else value
            elif key in text:
                cells[key] = value
        out.append(cells)
    return out
