"""The report's chapter on image synthesis: metrics beside baselines, images by class, nearest training images."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.report import tables
from medjax.report.chapter import (
    Chapter,
    Section,
    caption,
    headline_splits,
    non_numeric_columns,
    split_name,
    themed_chart,
)
from medjax.report.run_files import Run
from medjax.report.tables import Cell, Table, format_number, value_with_interval
from medjax.tasks.synthesis.charts import distance_chart, scatter_chart
from medjax.tasks.synthesis.family import FAMILY
from medjax.tasks.synthesis.pictures import animation_chart, montage, montage_chart
from medjax.tasks.synthesis.table import PICTURES, is_feature, primary_features, read_features, read_nearest

EXPLANATIONS = {
    'fid': 'Fréchet distance of the distributions', 'kid': 'kernel distance of the distributions, unbiased',
    'precision': 'share of the images within the distribution of real ones',
    'recall': 'share of real images within the distribution of these',
    'density': 'number of real neighbourhoods around an image, divided by the expected number',
    'coverage': 'share of real images with one of these nearby',
    'diversity': 'mean distance of two images, divided by that of two real ones',
    'nearest': 'mean distance to the nearest training image, divided by that of real images',
    'copies': 'share closer to a training image than all but 5 % of the real images',
    'label_kept': 'share in which the classifier predicts the requested class'}
# Columns of the tables: the suffix of their keys, the header, and its tooltip.
COLUMNS = {
    '': ('generated', 'sampled from the network'),
    '_train': ('training', 'real, as many of each class as there are'),
    '_val': ('validation', 'real, as many of each class as there are; no network was trained on them'),
    '_blurred': ('blurred', 'these training images, by a Gaussian of 1/28 of the extents'),
    '_noisy': ('noisy', 'these training images, with normal noise of a tenth of the range'),
    '_real': ('real', 'the images of this split')}
FEATURES = {'network': 'the features of {}', 'pixels': 'pixels: principal components of the training images'}
STEPS = 8  # training steps whose images are shown


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: the table of predictions lacks features, or a file of images is damaged.
    """
    splits = headline_splits(run)
    sections = [_class_section(run, splits[0]), _neighbour_section(run, splits[0]),
                _distribution_section(run, splits[0])] if splits else []
    return Chapter(
        headlines=[_headline(run, split) for split in splits], method=_method(run),
        tables=[table for split in run.splits for table in _tables(run, split)],
        sections=[*sections, _training_section(run.folder / 'course')], curves=_curves(run),
        cases=[row for split in run.splits for row in _cases(run, split)],
        text_columns=[*non_numeric_columns(run), 'kind', 'target', 'predicted', 'nearest_id'],
        cases_order=': generated images, those closest to a training image first',
        warnings=run.warnings)


def _analysis(run: Run) -> Mapping[str, Any]:
    return run.results.get('analysis', {})


def _features(run: Run) -> str:
    """The kind of features in words."""
    analysis = _analysis(run)
    return FEATURES[analysis.get('space', 'pixels')].format(analysis.get('features') or 'another network')


def _headline(run: Run, split: str) -> tuple[str, str]:
    entries, baselines = run.results[split], []
    for suffix, name in (('_val', 'validation images'), ('_train', 'training images')):
        entry = entries.get(f'fid{suffix}')
        if entry:
            baselines.append(f'{format_number(entry["value"])} of {entry["made"]} {name}')
    fid = entries['fid']
    text = f'{value_with_interval("FID", fid)} against the {split_name(split).lower()} images'
    if baselines:
        text += f'; {" and ".join(baselines)}'
    diversity = value_with_interval('Diversity', entries['diversity'])
    return f'{text}.', (
        f'By {_features(run)}; not comparable with FID of Inception features. In brackets the 95 % interval. '
        f'n = {fid["cases"]} real and {fid["made"]} generated images. {diversity}, 1 for generated images as diverse '
        'as real ones.')


def _method(run: Run) -> str:
    return (f'{run.results["counts"].get("train", 0)} training images. By {_features(run)}. 95 % intervals are '
            f'from random halves of the real images, by {run.analysis_unit}, and of the generated ones.')


def _tables(run: Run, split: str) -> list[Table]:
    """All metrics of generated and baseline images; KID of single classes; and metrics of pixels beside others."""
    entries, out = run.results[split], []
    keys = [key for key in EXPLANATIONS if key in entries]
    suffixes = [suffix for suffix in COLUMNS if any(f'{key}{suffix}' in entries for key in keys)]
    out.append(_table(caption(run, split), keys, suffixes, entries))
    pixel_keys = [key for key in ('fid', 'kid') if f'{key}_pixels' in entries]
    if pixel_keys:
        suffixes = [suffix for suffix in suffixes if f'fid_pixels{suffix}' in entries]
        out.append(_table('By pixels', pixel_keys, suffixes, entries, '_pixels'))
    classes = [name for name in run.classes if f'kid_of_{name}' in entries]
    if classes:
        suffixes = [suffix for suffix in ('', '_train', '_val') if f'kid_of_{classes[0]}{suffix}' in entries]
        rows = [(name, '', _cells('kid', f'kid_of_{name}', suffixes, entries)) for name in classes]
        out.append(Table('KID of each class', [COLUMNS[suffix] for suffix in suffixes], rows))
    return out


def _table(title: str, keys: Sequence[str], suffixes: Sequence[str], entries: Mapping[str, Any],
           infix: str = '') -> Table:
    """Metrics as rows, and generated and baseline images as columns."""
    rows = [(tables.heading(FAMILY.metrics, key)[0], EXPLANATIONS[key],
             _cells(key, f'{key}{infix}', suffixes, entries)) for key in keys]
    return Table(title, [COLUMNS[suffix] for suffix in suffixes], rows)


def _cells(metric: str, key: str, suffixes: Sequence[str], entries: Mapping[str, Any]) -> list[Cell]:
    return [tables.cell(FAMILY.metrics, metric, entries.get(f'{key}{suffix}'), 0) for suffix in suffixes]


def _pictures(run: Run, split: str) -> dict[str, np.ndarray]:
    path = run.folder / 'cases' / split / PICTURES
    return atomic_files.read_arrays(path, 'pictures') if path.is_file() else {}


def _class_section(run: Run, split: str) -> Section:
    arrays, charts = _pictures(run, split), []
    for number, name in enumerate(run.classes):
        for kind, word in (('real', 'real'), ('synthetic', 'generated')):
            images = arrays.get(f'{kind}_{number}')
            if images is not None and len(images):
                charts.append(montage_chart(montage(images, 4), f'{name}: {word} images', f'{name}, {word}'))
    return Section('Real and generated images', f'The first of the {split_name(split).lower()} images and the first '
                   'generated ones of each class, in order of number and seed, without selection. Volumes: the middle '
                   'slice.', charts=charts)


def _neighbour_section(run: Run, split: str) -> Section:
    arrays, charts = _pictures(run, split), []
    for name, heading in (('nearest', 'Generated images closest to a training image'),
                          ('first', 'The first generated images')):
        generated, train = arrays.get(f'{name}_made'), arrays.get(f'{name}_known')
        if generated is not None and len(generated):
            distances = ', '.join(f'{x:.3f}' for x in arrays[f'{name}_distance'])
            charts.append(montage_chart(
                montage(np.concatenate([generated, train]), len(generated)), heading, f'{heading}; below each the '
                f'nearest training image. Distances: {distances}. Training images: '
                f'{", ".join(map(str, arrays[f"{name}_id"]))}.', wide=True))
    text = ('Generated images and their nearest training images, by the root mean squared difference of pixels, as a '
            'share of the range.')
    threshold = _analysis(run)['threshold'].get(split)
    if threshold:
        text += f' 5 % of the {split_name(split).lower()} images are closer than {threshold:.3f}.'
    return Section('Nearest training images', text, charts=charts)


def _distribution_section(run: Run, split: str) -> Section:
    rows, charts = run.rows(split), []
    names = {'real': split_name(split).lower(), 'train': 'training', 'synthetic': 'generated'}
    groups = {name: [row for row in rows if row['kind'] == kind] for kind, name in names.items()}
    kind = primary_features(rows)
    points = {name: read_features(group, kind)[:, :2] for name, group in groups.items() if group}
    if all(xy.shape[1] == 2 for xy in points.values()):
        charts.append(themed_chart(lambda theme: scatter_chart(points, theme), 'Images by their first two features',
                                   'Each dot is an image, by the first two principal components of its features.'))
    distances = {name: read_nearest([row for row in group if row.get('nearest')]) for name, group in groups.items()}
    if all(map(len, distances.values())):
        charts.append(themed_chart(lambda theme: distance_chart(distances, theme),
                                   'Distance to the nearest training image', 'Distance to the nearest training image; '
                                   'of a training image to the nearest other one.'))
    return Section('Distributions', charts=charts)


def _training_section(folder: pathlib.Path) -> Section:
    """Images of the same seeds at some training steps, and as an animation over all of them."""
    samples = {int(path.stem): atomic_files.read_arrays(path, 'pictures')['sample']
               for path in sorted(folder.glob('[0-9]*.npz'))}
    if not samples:
        return Section('Progress of training')
    steps = sorted(samples)
    places = np.linspace(0, len(steps) - 1, min(STEPS, len(steps))).round().astype(int)
    shown = [steps[place] for place in np.unique(places)]
    rows = montage(np.concatenate([samples[step] for step in shown]), len(samples[shown[0]]))
    name = 'step' if len(shown) == 1 else 'steps'
    charts = [montage_chart(rows, 'Images of the same seeds by training step',
                            f'From top to bottom: {name} {", ".join(map(str, shown))}.', wide=True)]
    if len(steps) > 1:
        charts.append(animation_chart(samples))
    return Section('Progress of training', 'Images of the same seeds at each validation.', charts=charts)


def _cases(run: Run, split: str) -> list[dict[str, str]]:
    """Rows of the generated images without their features, those closest to a training image first."""
    rows = [row for row in run.rows(split) if row['kind'] == 'synthetic']
    out = []
    for row in sorted(rows, key=lambda row: float(row.get('nearest') or 'inf')):
        out.append({key: format_number(float(text)) if key == 'nearest' and text else text
                    for key, text in row.items() if not is_feature(key)})
    return out


def _curves(run: Run) -> dict[str, dict[str, str]]:
    adversarial = any('train/discriminator_loss' in record for record in run.history)
    # The sum of the losses of generator and discriminator is not informative.
    loss = {} if adversarial else {'Loss': {'train/loss': ''}}
    return {**loss,
            'Losses': {'train/generator_loss': 'generator', 'train/discriminator_loss': 'discriminator'},
            'Output of the discriminator': {'train/real': 'real images', 'train/fake': 'generated images'},
            'Gradient penalty': {'train/penalty': ''}, 'FID, by pixels': {'val/fid_pixels': ''},
            'KID, by pixels': {'val/kid_pixels': ''},
            'Precision and recall, by pixels': {'val/precision': 'precision', 'val/recall': 'recall'},
            'Diversity, 1 for real images': {'val/diversity': ''},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}
