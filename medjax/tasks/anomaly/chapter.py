"""The report's chapter on anomalies: how well they are told apart, and what the network makes of some images."""

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image as Picture

from medjax.report import tables
from medjax.report.chapter import Chapter, Group, Section, caption, headline_splits, split_name, themed_chart
from medjax.report.draw import Tile
from medjax.report.run_files import Run, snapshot
from medjax.report.style import CHART_DPI, INK, PALETTE, SQUARE, chart, legend, png
from medjax.report.tables import Table
from medjax.tasks.anomaly import summary
from medjax.tasks.anomaly.family import FAMILY
from medjax.tasks.classification import chapter as classification_chapter

NAMES = {'error': 'error of the image made again', 'bound': 'evidence lower bound, negative',
         'restored': 'change until the image is likely', 'foreign': 'share that does not belong',
         'distance': 'Mahalanobis distance of the latent', 'neighbours': 'distance to the nearest latents',
         'contrast': 'low contrast alone: no network', 'pca': 'left over by 8 principal components: no network'}
VOXELS = {'voxel_auprc': 'average precision', 'voxel_dice': 'Dice at the healthy threshold',
          'voxel_dice_best': 'Dice at the best threshold of each case',
          'voxel_auprc_floor': 'average precision of the distance from the mean image: no network'}
DRAWN, WIDTH, STEP = 3, 140, 90  # cases of a kind, and CSS pixels of a picture, and of one on a walk


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: where the table of predictions lacks a score.
    """
    known = run.results['analysis']
    tested = [split for split in run.splits if split in headline_splits(run)]
    return Chapter(
        headlines=[_headline(run, split) for split in tested], method=_method(run),
        tables=[table for split in run.splits for table in _tables(run, split)],
        sections=[part for split in tested[:1] for part in (
            *([_parted(run, split)] if known['normal'] else []), _pictures(run, split), *_walks(run, split))],
        curves=_learning(run), samples=[], samples_text='', conventions_heading='Conventions',
        cases=[row for split in run.splits for row in _listed(run, split)], text_columns=classification_chapter.words(run),
        cases_order=': the strangest first', warnings=known.get('warnings', ()))


def _headline(run: Run, split: str) -> tuple[str, str]:
    entries, rows, known = run.results[split], run.rows(split), run.results['analysis']
    if not known['normal']:
        entry = entries[known['score']]
        return (f'{NAMES[known["score"]].capitalize()}: {tables.value_with_interval("mean", entry)} on the '
                f'{split_name(split).lower()} cases.',
                f'In brackets the 95 % interval. n = {entry["n"]} patients, {len(rows)} cases.')
    strange = sum(row['target'] != known['normal'] for row in rows)
    text = (f'{tables.value_with_interval("AUROC", entries["auroc"])} on the {split_name(split).lower()} cases, by the '
            f'{NAMES[known["score"]]}.')
    return text, (f'In brackets the 95 % interval. n = {entries["auroc"]["n"]} patients, {len(rows)} cases, of which '
                  f'{strange} are anomalies. The network has learned from the class {known["normal"]} alone.')


def _method(run: Run) -> str:
    counts = run.results['counts']
    if 'train' not in counts:
        return 'Each run has a threshold of its own; intervals are of 95 %, by a percentile bootstrap over patients.'
    if not run.results['analysis']['normal']:
        return (f'{counts.get("train", 0)} cases trained; intervals are of 95 %, by a percentile bootstrap over '
                'patients.')
    return (f'{counts.get("train", 0)} normal cases trained, {counts.get("val", 0)} set the threshold; intervals are '
            'of 95 %, by a percentile bootstrap over patients.')


def _tables(run: Run, split: str) -> list[Table]:
    """Each score, and what the threshold makes of the one that counts; nothing of a split without anomalies."""
    entries, known = run.results[split], run.results['analysis']
    rows = []
    if not known['normal']:
        means = [(NAMES[name], '', [tables.cell(FAMILY.metrics, name, entries[name], 0)]) for name in NAMES if name in entries]
        return [Table(caption(run, split), [('mean', '')], means)]
    if not tables.has_value(entries['auroc']):
        return []
    for name in (name for name in NAMES if f'auroc_{name}' in entries or name == known['score']):
        main = name == known['score']
        cells = [tables.cell(FAMILY.metrics, key, entries.get(key if main else f'{key}_{name}'), 0) for key in ('auroc', 'auprc')]
        rows.append((NAMES[name], 'the score that counts' if main else '', cells))
    made = [tables.inline_intervals(Table(caption(run, split), [tables.heading(FAMILY.metrics, key) for key in ('auroc', 'auprc')], rows))]
    keys = [key for key in ('sensitivity', 'specificity') if key in entries]
    if keys:
        cells = [tables.cell(FAMILY.metrics, key, entries[key], 0) for key in keys]
        made.append(tables.inline_intervals(Table('At the threshold that 5 % of the normal validation cases exceed', [
            tables.heading(FAMILY.metrics, key) for key in keys], [(NAMES[known['score']], '', cells)])))
    voxels = [(words, '', [tables.cell(FAMILY.metrics, key, entries[key], 0)]) for key, words in VOXELS.items() if key in entries]
    if voxels:
        made.append(tables.inline_intervals(Table('Voxel by voxel, in cases with an anomaly', [('mean', '')], voxels)))
    return made


def _parted(run: Run, split: str) -> Section:
    known, rows = run.results['analysis'], run.rows(split)
    score = summary.values(rows, known['score'])
    groups = {name: score[[row['target'] == name for row in rows]] for name in run.classes}
    lowest, highest = np.quantile(score, [0.005, 0.995])
    name = NAMES[known['score']].capitalize()
    return Section('Normal and not', charts=[themed_chart(
        lambda theme: _histogram({key: np.clip(of, lowest, highest) for key, of in groups.items() if len(of)}, name,
                                 known['threshold'], theme), f'{name}, by class',
        f'{name}, by class; the outermost half per cent lie in the first and last bins.' + (
            '' if known['threshold'] is None else ' Dashed: the threshold that 5 % of the normal validation cases '
            'exceed.'))])


def _histogram(groups: dict[str, np.ndarray], name: str, threshold: float | None, theme: str) -> bytes:
    canvas, axes = chart(theme, name, 'Share of the class', *SQUARE)
    every = np.concatenate(list(groups.values()))
    edges = np.linspace(every.min(), every.max() + 1e-9, 31)
    for place, (label, of) in enumerate(groups.items()):
        axes.hist(of, edges, weights=np.full(len(of), 1 / len(of)), histtype='stepfilled', alpha=0.35,
                  color=PALETTE[place], label=f'{label} (n = {len(of)})')
    if threshold is not None:
        axes.axvline(threshold, color=INK[theme], linestyle='--', linewidth=1.2)
    legend(axes, theme, loc='best')
    return png(canvas, CHART_DPI)


def _pictures(run: Run, split: str) -> Section:
    known, rows = run.results['analysis'], run.rows(split)
    score, groups = summary.values(rows, known['score']), []
    kept = [place for place in np.argsort(-score, kind='stable')
            if (run.folder / 'cases' / split / f'{rows[place]["id"]}.npz').is_file()]
    kinds = zip(('Strangest', 'In the middle', 'Least strange'), np.array_split(np.array(kept, int), 3))
    for kind, places in kinds:
        for place in places[:DRAWN].tolist():
            with snapshot(run.folder / 'cases' / split / f'{rows[place]["id"]}.npz') as case:
                planes = _planes(case)
            groups.append(Group(f'{kind}: {rows[place]["id"]}', _tiles(planes), f'Class: {rows[place]["target"]}. '
                                f'{NAMES[known["score"]].capitalize()}: {score[place]:.3g}.'))
    return Section('What the network makes of them', 'The image; and, as the network gives them, what it makes '
                   'of it again with the squared difference, what it would change, or how much of each voxel does not '
                   'belong; each on one scale. Of a volume the middle slice.', groups=groups)


def _walks(run: Run, split: str) -> list[Section]:
    """What lies between images by their latents, where the network was asked."""
    groups = []
    for path in sorted((run.folder / 'cases' / split).glob('*.npz'))[:DRAWN]:
        with snapshot(path) as case:
            if 'walk' not in case:
                return []
            low, high, steps = case['image'].min(), case['image'].max(), case['walk'][..., 0]
        flat = [step[:, :, step.shape[2] // 2].T[::-1] if step.ndim == 3 else step for step in steps]
        ends = {0: 'made again', len(flat) - 1: 'another case'}
        groups.append(Group(path.stem, [Tile(_grey(plane, low, high), ends.get(place, ''), 'on the way', STEP)
                                        for place, plane in enumerate(flat)], ''))
    return [Section('From one latent to another', 'Images made on a straight line from a case\'s latent to that of '
                    'another one: where these are no images of the kind, the latent has holes.', groups=groups)]


def _planes(case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A case's arrays as they are drawn, the image among them."""
    flat = {'image': case['image'][..., 0], **{name: (array[..., 0] if name in ('image', 'recon') else array)
                                               for name, array in case.items()}}
    return {name: array[:, :, array.shape[2] // 2].T[::-1] if array.ndim == 3 else array
            for name, array in flat.items()}


def _tiles(flat: dict[str, np.ndarray]) -> list[Tile]:
    low, high = flat['image'].min(), flat['image'].max()
    spread = max(float(high - low), 1e-9)
    greys = [Tile(_grey(flat[name], low, high), label, label, WIDTH)
             for name, label in (('image', 'image'), ('recon', 'made again')) if name in flat]
    heats = [Tile(_heat(flat[name] / scale), label, label, WIDTH) for name, label, scale in (
        ('residual', 'squared difference', (0.25 * spread) ** 2), ('change', 'change', 0.25 * spread),
        ('map', 'what does not belong', 1.0), ('truth', 'truth', 1.0)) if name in flat]
    return greys + heats


def _grey(plane: np.ndarray, low: float, high: float) -> bytes:
    return _picture(np.clip((plane - low) / max(high - low, 1e-9), 0, 1)[..., None].repeat(3, -1))


def _heat(plane: np.ndarray) -> bytes:
    return _picture(matplotlib.colormaps['magma'](np.clip(plane, 0, 1))[..., :3])


def _picture(colours: np.ndarray) -> bytes:
    picture = Picture.fromarray(np.rint(255 * colours).astype(np.uint8))
    factor = max(1, 2 * WIDTH // max(picture.size))
    content = io.BytesIO()
    picture.resize((picture.width * factor, picture.height * factor), Picture.Resampling.NEAREST).save(content, 'png')
    return content.getvalue()


def _listed(run: Run, split: str) -> list[dict[str, str]]:
    rows = run.rows(split)
    order = np.argsort(-summary.values(rows, run.results['analysis']['score']), kind='stable')
    return [{key: tables.format_number(float(text)) if key.startswith(summary.PREFIX) else text
             for key, text in rows[place].items()} for place in order]


def _learning(run: Run) -> dict[str, dict[str, str]]:
    parts: Sequence[str] = ('fit', 'divergence', 'commitment', 'made')
    return {'Loss': {'train/loss': 'training', 'val/bound': 'validation'},
            **{name.capitalize(): {f'train/{name}': ''} for name in parts},
            'Vectors in use': {'train/usage': ''}, 'Learning rate': {'lr': ''},
            'Gradient norm': {'train/grad_norm': ''}}
