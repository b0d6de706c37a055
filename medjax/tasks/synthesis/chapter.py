"""The report's chapter on made images: figures beside floors, pictures by class, nearest neighbours, the course."""

import io
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image as Picture

from medjax import atomic_files
from medjax.report import tables
from medjax.report.chapter import Chapter, Chart, Section, caption, headline_splits, split_name, themed_chart
from medjax.report.run_files import Run
from medjax.report.style import CHART_DPI, INK, PALETTE, SQUARE, chart, legend, png
from medjax.report.tables import Cell, Table
from medjax.tasks.classification import chapter as classification_chapter
from medjax.tasks.synthesis import summary
from medjax.tasks.synthesis.family import FAMILY

FIGURES = {
    'fid': 'distance of distributions', 'kid': 'the same by a kernel, without bias',
    'precision': 'share of the images that lie among real ones',
    'recall': 'share of real images that lie among these', 'density': 'how many real images each one lies among',
    'coverage': 'share of real images that one of these is near to',
    'diversity': 'distance of two images, over that of two real ones',
    'nearest': 'distance to the nearest training image, over that of real images',
    'copies': 'share nearer to a training image than all but 5 % of the real images',
    'label_kept': 'share in which the classifier sees the class asked for'}
KINDS = {'': ('made', 'drawn by the network'), '_train': ('training', 'real, as many of each class as there are'),
         '_val': ('validation', 'real, as many of each class as there are: no network has learned from them'),
         '_blurred': ('blurred', 'these training images, by a Gaussian of 1/28 of the extents'),
         '_noisy': ('noisy', 'these training images, with normal noise of a tenth of the range'),
         '_real': ('real', 'the images of this split themselves')}
SPACES = {'network': 'the features of {}', 'pixels': 'pixels: principal components of the training images'}
PIXEL, GAP, STRIP = 4, 1, 8  # how large a pixel is drawn, between pictures, and steps of the course that are shown


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: where the table of predictions lacks features, or a file of pictures is damaged.
    """
    known, tested = run.results.get('analysis', {}), headline_splits(run)
    course = _course(run.folder / 'course')
    return Chapter(
        headlines=[_headline(run, split) for split in tested], method=_method(run),
        tables=[table for split in run.splits for table in _tables(run, split)],
        sections=[part for split in tested[:1] for part in (
            _by_class(run, split), _neighbours(run, split), _spread(run, split))] + [_strip(course)],
        curves=_learning(run), samples=[], samples_text='', conventions_heading='Conventions',
        cases=[row for split in run.splits for row in _listed(run, split)],
        text_columns=[*classification_chapter.words(run), 'kind', 'target', 'predicted', 'nearest_id'],
        cases_order=': made images, those nearest to a training image first', warnings=known.get('warnings', ()))


def _features(run: Run) -> str:
    known = run.results.get('analysis', {})
    return SPACES[known.get('space', 'pixels')].format(known.get('features') or 'another network')


def _headline(run: Run, split: str) -> tuple[str, str]:
    entries = run.results[split]
    text = f'{tables.value_with_interval("FID", entries["fid"])} against the {split_name(split).lower()} images'
    others = [f'{tables.format_number(entries[f"fid{end}"]["value"])} of {entries[f"fid{end}"]["made"]} {word}'
              for end, word in (('_val', 'validation images'), ('_train', 'training images')) if f'fid{end}' in entries]
    sure = (f'By {_features(run)}; no Inception figure. In brackets the 95 % interval. n = {entries["fid"]["cases"]} '
            f'real and {entries["fid"]["made"]} made images. ')
    return text + f'; {" and ".join(others)}.' if others else f'{text}.', sure + tables.value_with_interval(
        'Diversity', entries['diversity']) + ', 1 where made images are as varied as real ones.'


def _method(run: Run) -> str:
    return (f'{run.results["counts"].get("train", 0)} images trained. By {_features(run)}. Intervals are of 95 %, '
            'by bootstrap over patients and made images.')


def _tables(run: Run, split: str) -> list[Table]:
    """Each figure of the made images and the floors; of the classes alone; and by pixels where others count."""
    entries, made = run.results[split], []
    keys = [key for key in FIGURES if key in entries]
    ends = [end for end in KINDS if any(f'{key}{end}' in entries for key in keys)]

    def row(key: str, inner: str, ends: Sequence[str]) -> tuple[str, str, list[Cell]]:
        return (tables.heading(FAMILY.metrics, key)[0], FIGURES[key], [
            tables.cell(FAMILY.metrics, key, entries.get(f'{key}{inner}{end}'), 0) for end in ends])
    made.append(Table(caption(run, split), [KINDS[end] for end in ends], [row(key, '', ends) for key in keys]))
    others = [key for key in ('fid', 'kid') if f'{key}_pixels' in entries]
    if others:
        ends = [end for end in ends if f'fid_pixels{end}' in entries]
        made.append(Table('By pixels', [KINDS[end] for end in ends], [row(key, '_pixels', ends) for key in others]))
    classes = [name for name in run.classes if f'kid_of_{name}' in entries]
    if classes:
        floors = [end for end in ('', '_train', '_val') if f'kid_of_{classes[0]}{end}' in entries]
        rows = [(name, '', [tables.cell(FAMILY.metrics, 'kid', entries.get(f'kid_of_{name}{end}'), 0) for end in floors])
                for name in classes]
        made.append(Table('KID of each class alone', [KINDS[end] for end in floors], rows))
    return made


def _drawn(array: np.ndarray, alt: str, text: str, wide: bool = False) -> Chart:
    """A picture, the same on light and dark pages."""
    content = io.BytesIO()
    _enlarged(array).save(content, 'png')
    return Chart(content.getvalue(), content.getvalue(), alt, text, wide)


def _by_class(run: Run, split: str) -> Section:
    kept, made = _pictures(run, split), []
    for number, name in enumerate(run.classes):
        for kind, word in (('real', 'real'), ('synthetic', 'made')):
            images = kept.get(f'{kind}_{number}')
            if images is not None and len(images):
                made.append(_drawn(_montage(images, 4), f'{name}: {word} images', f'{name}, {word}'))
    return Section('Real and made images', f'The first of the {split_name(split).lower()} images and the first made '
                   'ones of each class, by number and seed: none was chosen. Of volumes the middle slice.',
                   charts=made)


def _neighbours(run: Run, split: str) -> Section:
    kept, charts = _pictures(run, split), []
    for name, heading in (('nearest', 'Those nearest to a training image'), ('first', 'The first made images')):
        made, known = kept.get(f'{name}_made'), kept.get(f'{name}_known')
        if made is not None and len(made):
            far = ', '.join(f'{x:.3f}' for x in kept[f'{name}_distance'])
            charts.append(_drawn(
                _montage(np.concatenate([made, known]), len(made)), heading, f'{heading}; below each the nearest '
                f'training image. Distances: {far}. Training images: {", ".join(map(str, kept[f"{name}_id"]))}.', True))
    threshold = run.results['analysis']['threshold'].get(split)
    told = f' 5 % of the {split_name(split).lower()} images are nearer than {threshold:.3f}.' if threshold else ''
    return Section('Are they copies?', 'Made images and the training images nearest to them, by the root of the mean '
                   f'squared difference of pixels, as a share of the range.{told}', charts=charts)


def _spread(run: Run, split: str) -> Section:
    rows, charts = run.rows(split), []
    kinds = {kind: [row for row in rows if row['kind'] == kind] for kind in ('real', 'train', 'synthetic')}
    words = {'real': split_name(split).lower(), 'train': 'training', 'synthetic': 'made'}
    name = summary.space(rows)
    points = {words[kind]: summary.features(of, name)[:, :2] for kind, of in kinds.items() if of}
    if all(of.shape[1] == 2 for of in points.values()):
        charts.append(themed_chart(lambda theme: _scatter(points, theme), 'Images by their first two features',
                           'A dot an image, by the first two principal components of the features that count.'))
    far = {words[kind]: np.array([float(row['nearest']) for row in of if row.get('nearest')])
           for kind, of in kinds.items()}
    if all(map(len, far.values())):
        charts.append(themed_chart(lambda theme: _histogram(far, theme), 'Distance to the nearest training image',
                           'Distance to the nearest training image; of a training image to the nearest other one.'))
    return Section('Among real images', charts=charts)


def _scatter(points: dict[str, np.ndarray], theme: str) -> bytes:
    canvas, axes = chart(theme, 'First component', 'Second component', *SQUARE)
    for place, (name, at) in enumerate(points.items()):
        axes.scatter(*at.T, s=9, alpha=0.5, linewidths=0, color=PALETTE[place], label=name)
    legend(axes, theme, loc='best')
    return png(canvas, CHART_DPI)


def _histogram(groups: dict[str, np.ndarray], theme: str) -> bytes:
    canvas, axes = chart(theme, 'Distance to the nearest training image', 'Share', *SQUARE)
    every = np.concatenate(list(groups.values()))
    edges = np.linspace(every.min(), every.max() + 1e-9, 31)
    for place, (label, of) in enumerate(groups.items()):
        axes.hist(of, edges, weights=np.full(len(of), 1 / len(of)), histtype='stepfilled', alpha=0.35,
                  color=PALETTE[place], label=label)
    for place, of in enumerate(groups.values()):
        axes.axvline(of.mean(), color=PALETTE[place], linewidth=1.2, linestyle='--')
    axes.tick_params(colors=INK[theme])
    legend(axes, theme, loc='best')
    return png(canvas, CHART_DPI)


def _strip(course: dict[int, np.ndarray]) -> Section:
    """The same seeds over the steps: rows of a picture, and a picture that moves."""
    if not course:
        return Section('In the course of training')
    steps = sorted(course)
    few = [steps[k] for k in np.unique(np.linspace(0, len(steps) - 1, min(STRIP, len(steps))).round().astype(int))]
    columns = len(course[few[0]])
    rows = _montage(np.concatenate([course[step] for step in few]), columns)
    charts = [_drawn(rows, 'Images of the same seeds over the steps',
                     f'From above: steps {", ".join(map(str, few))}.', True)]
    if len(steps) > 1:
        frames = [_enlarged(_montage(course[step], columns // 2 or 1)) for step in steps]
        content = io.BytesIO()
        # An animated PNG: pages that cannot move it show its first frame.
        frames[0].save(content, 'png', save_all=True, append_images=frames[1:], loop=0,
                       duration=[500] * (len(frames) - 1) + [2000])
        charts.append(Chart(content.getvalue(), content.getvalue(), 'The same as an animation',
                            f'The same, moving: step {steps[0]} to {steps[-1]}.'))
    return Section('In the course of training', 'Images of the same seeds at each validation.', charts=charts)


def _course(folder: pathlib.Path) -> dict[int, np.ndarray]:
    found = {}
    for path in sorted(folder.glob('[0-9]*.npz')):
        found[int(path.stem)] = atomic_files.read_arrays(path, 'pictures')['sample']
    return found


def _pictures(run: Run, split: str) -> dict[str, np.ndarray]:
    path = run.folder / 'cases' / split / 'pictures.npz'
    return atomic_files.read_arrays(path, 'pictures') if path.is_file() else {}


def _montage(images: np.ndarray, columns: int) -> np.ndarray:
    """Pictures `[n, *S, C]` uint8 side by side, `[rows, columns, 3]`; of volumes their middle slices."""
    if images.ndim == 5:
        images = images[:, :, :, images.shape[3] // 2].swapaxes(1, 2)[:, ::-1]
    if images.shape[-1] != 3:
        images = images[..., :1].repeat(3, -1)
    count, height, width, _ = images.shape
    lines = -(-count // columns)
    out = np.full((lines * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 128, np.uint8)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + GAP), (number % columns) * (width + GAP)
        out[top:top + height, left:left + width] = image
    return out


def _enlarged(array: np.ndarray) -> Picture.Image:
    picture = Picture.fromarray(array)
    return picture.resize((PIXEL * picture.width, PIXEL * picture.height), Picture.Resampling.NEAREST)


def _listed(run: Run, split: str) -> list[dict[str, str]]:
    """The made images, without their features."""
    made = [row for row in run.rows(split) if row['kind'] == 'synthetic']
    return [{key: tables.format_number(float(text)) if key == 'nearest' and text else text for key, text in row.items()
             if not key.startswith(('pixels_', 'network_'))}
            for row in sorted(made, key=lambda row: float(row.get('nearest') or 'inf'))]


def _learning(run: Run) -> dict[str, dict[str, str]]:
    # The sum of two players' losses says nothing.
    alone: Sequence[str] = () if any('train/critic_loss' in line for line in run.history) else ('train/loss',)
    return {'Loss': dict.fromkeys(alone, ''),
            "The players' losses": {'train/generator_loss': 'generator', 'train/critic_loss': 'critic'},
            'What the critic says': {'train/real': 'of real images', 'train/fake': 'of made ones'},
            'Penalty': {'train/penalty': ''}, 'FID, by pixels': {'val/fid_pixels': ''},
            'KID, by pixels': {'val/kid_pixels': ''},
            'Precision and recall, by pixels': {'val/precision': 'precision', 'val/recall': 'recall'},
            'Diversity, 1 as real': {'val/diversity': ''},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}
