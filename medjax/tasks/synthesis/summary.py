"""Results of image synthesis: distances between the distributions of generated and real images, beside baselines."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.errors import InputError
from medjax.metrics import generative
from medjax.metrics.classification import weighted_mean
from medjax.metrics.generative import ImageDistances
from medjax.statistics import intervals, per_patient, proportions, scales
from medjax.tasks.synthesis.table import primary_features, read_features, read_nearest

CONVENTIONS = (
    'Generated images have the labels of the real images, one for one. Features are principal components of the '
    'training images, scaled to a mean variance of 1: 32 of the pixels and, with a feature network, 64 of the inputs '
    'of its logits; at most an eighth of the number of training images. FID and KID can therefore be compared within '
    'this report and with runs of the same features, but not with values from Inception features. Pixel features are '
    'insensitive to noise, most of which is outside of the components. A feature network is more confident of its own '
    'training images than of new ones, so validation images are the fairer baseline for its features. FID is the '
    'Fréchet distance of normal distributions (Heusel 2017) and biased upwards with few images; baselines therefore '
    'have as many images of each class where there are as many, and are approximate otherwise. KID is unbiased and may '
    'be negative (Bińkowski 2018). Precision and recall: the share of generated images within the distribution of real '
    'ones, and of real images within that of generated ones, with 3 neighbours (Kynkäänniemi 2019); density and '
    'coverage with 5 neighbours of real images (Naeem 2020). Diversity: the mean distance of two generated images '
    'divided by that of two real ones. Nearest: the mean pixel distance to the nearest training image divided by that '
    'of the real images; well below 1 for copies, but also for smooth images. Copies: the share closer to a training '
    'image than all but 5 % of the real images; 0.05 by chance. Label kept: the share in which the feature network '
    'predicts the requested class. Copies and label kept have Clopper–Pearson intervals. Others have the standard '
    'error of random halves of the real images, by patient, and of the generated ones (Shao & Wu 1989), because in '
    'samples with repeated images neighbours are too near. They are of the expectation at this number of images. '
    'Precision, recall and coverage have that of a proportion at the number of images which that error stands for; '
    'with fewer than 100 real or generated images they and density have none, as neighbourhoods are then too wide.')
KINDS = ('synthetic', 'train', 'val', 'blurred', 'noisy')  # compared with real images
REAL_KINDS = ('synthetic', 'train', 'val')  # of them those that are compared class by class
HALVES = 100  # random halves of the images
LEAST_IMAGES = 100  # real and generated ones, for the intervals of metrics of neighbours
METHOD = 'random halves'
COPY_QUANTILE = 0.05  # of the distances of real images: closer images count as copies


class Sample(NamedTuple):
    """Images with random halves of them.

    Attributes:
      rows: of the table.
      patients: `[n]` names.
      halves: `[HALVES, n]` bool, the images of a random half of the patients; none are chosen of a single patient.
    """

    rows: Sequence[Mapping[str, Any]]
    patients: np.ndarray
    halves: np.ndarray


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: distances between generated and real images.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    constant = {'problem': 'synthesis', 'conventions': CONVENTIONS}
    if not rows:
        return constant
    analysis = summarise(rows, evaluator.data.source.classes)
    features = evaluator.network.name if evaluator.network is not None else ''
    return {**analysis.pop('metrics'), **constant, 'analysis': {**analysis, 'features': features}}


def summarise(rows: Sequence[Mapping[str, Any]], classes: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """Metrics of all splits of a predictions table.

    Args:
      rows: of the table; see `tasks/synthesis/table.py`.
      classes: names of the classes.
      seed: of the random halves.

    Returns:
      - `metrics`: {split: {name: entry}} as of `intervals.entry`: `fid`, `kid`, `precision`, `recall`, `density`,
        `coverage`, `diversity`, `nearest`, `copies` and `label_kept` of generated images; `NAME_KIND` of baselines;
        `kid_of_CLASS` of single classes; with a feature network also `fid_pixels` and `kid_pixels`;
      - `space`: the kind of features;
      - `threshold`: for each split the distance to a training image below which an image counts as a copy.

    Raises:
      InputError: no features, or fewer than two real images in a split.
    """
    features = primary_features(rows)
    if not features:
        raise InputError('predictions: no columns pixels_00 …; expected the features of images')
    metrics, thresholds = {}, {}
    for split, split_rows in per_patient.rows_by_split(rows).items():
        by_kind = {kind: [row for row in split_rows if row['kind'] == kind] for kind in ('real', *KINDS)}
        if len(by_kind['real']) < 2:
            raise InputError(f'predictions, split {split}: {len(by_kind["real"])} real images; expected at least 2')
        distances = read_nearest(by_kind['real'])
        known = np.isfinite(distances).all()
        thresholds[split] = float(np.quantile(distances, COPY_QUANTILE)) if known else None
        metrics[split] = {}
        real = _sample(by_kind['real'], seed)
        for kind in KINDS:
            if len(by_kind[kind]) < 2:
                continue
            fake, suffix = _sample(by_kind[kind], seed + 1), '' if kind == 'synthetic' else f'_{kind}'
            entries = _distribution_metrics(real, fake, features) | _nearest_metrics(real, fake, thresholds[split])
            entries |= _label_metrics(fake, 'label_kept')
            if kind in REAL_KINDS:
                entries |= {f'kid_of_{name}': _class_kid(real, fake, name, features, seed)
                            for name in classes}
            if features != 'pixels':
                entries |= {f'{key}_pixels': entry for key, entry in _distances(real, fake, 'pixels').items()}
            metrics[split] |= {f'{key}{suffix}': entry for key, entry in entries.items()}
        metrics[split] |= _label_metrics(real, 'label_kept_real')
    return {'metrics': metrics, 'space': features, 'threshold': thresholds}


def _sample(rows: Sequence[Mapping[str, Any]], seed: int) -> Sample:
    patients = np.array([row.get('patient') or row['id'] for row in rows])
    names, where = np.unique(patients, return_inverse=True)
    order = np.random.default_rng(seed).random((HALVES, len(names))).argsort(1).argsort(1)
    return Sample(rows, patients, order[:, where] < len(names) // 2)


def _half_entry(value: float, halves: np.ndarray, patients: np.ndarray, freedom: int, reason: str,
                name: str) -> dict[str, Any]:
    """A metric with the interval of the spread between random halves.

    Half of a sample without replacement has twice the variance of the sample, of which half is between halves.

    Args:
      value: the metric of all images.
      halves: `[HALVES]`, the metric of each half; NaN where it is not defined.
      patients: `[n]`, of the images that count.
      freedom: degrees of freedom of the spread.
      reason: the reason to report where the metric is not defined.
      name: of the metric.
    """
    out = intervals.blank_entry(value, patients, reason)
    if 'why' in out:
        return out
    if np.isnan(halves).any():
        return out | {'why': f'not defined for half of the images ({reason}): no confidence interval'}
    return intervals.with_interval(out, float(np.std(halves)), freedom, scales.of_metric(name), METHOD)


def _freedom(real: Sample, fake: Sample) -> int:
    return max(min(len(np.unique(sample.patients)) for sample in (real, fake)) - 1, 1)


def _distances(real: Sample, fake: Sample, features: str) -> dict[str, Any]:
    """FID and KID by one kind of features."""
    x, y = read_features(real.rows, features), read_features(fake.rows, features)
    values = {'fid': generative.fid(x, y), 'kid': generative.kid(x, y)}
    halves = {'kid': generative.kid_kernels(x, y).distance(real.halves, fake.halves), 'fid': np.array([
        generative.frechet_distance(*generative.moments(x, a), *generative.moments(y, b))
        for a, b in zip(real.halves, fake.halves)]) if _splits(real, fake) else np.full(HALVES, np.nan)}
    return {key: _half_entry(value, halves[key], real.patients, _freedom(real, fake), 'too few images', key)
            | {'made': len(fake.rows)} for key, value in values.items()}


def _splits(real: Sample, fake: Sample) -> bool:
    """Whether halves have at least two images of both kinds."""
    return min(sample.halves.sum(1).min() for sample in (real, fake)) >= 2


def _distribution_metrics(real: Sample, fake: Sample, features: str) -> dict[str, Any]:
    """All metrics of features."""
    x, y = read_features(real.rows, features), read_features(fake.rows, features)
    distances, freedom = generative.image_distances(x, y), _freedom(real, fake)
    out = _distances(real, fake, features) | _neighbour_metrics(real, fake, distances)
    value = _diversity(distances, np.ones(len(y)), np.ones(len(x)))
    out['diversity'] = _half_entry(float(value), _diversity(distances, fake.halves, real.halves), fake.patients,
                                   freedom, 'all real images are equal', 'diversity')
    return out


def _diversity(distances: ImageDistances, fake: np.ndarray, real: np.ndarray) -> np.ndarray:
    return _ratio(generative.mean_over_pairs(distances.fake, fake), generative.mean_over_pairs(distances.real, real))


def _neighbour_metrics(real: Sample, fake: Sample, distances: ImageDistances) -> dict[str, Any]:
    """Precision, recall, density and coverage."""
    def metrics(of: ImageDistances) -> list[float]:
        return [float(part.mean()) for part in (*of.precision_recall(), *of.density_coverage())]

    images = min(len(real.rows), len(fake.rows))
    values, out = metrics(distances), {}
    halves = np.array([metrics(distances.part(a, b)) for a, b in zip(real.halves, fake.halves)]
                      if images >= LEAST_IMAGES else [])
    for place, (name, sample) in enumerate((('precision', fake), ('recall', real), ('density', fake),
                                            ('coverage', real))):
        entry = intervals.blank_entry(values[place], sample.patients, 'no image')
        if 'why' not in entry and images < LEAST_IMAGES:
            entry['why'] = f'fewer than {LEAST_IMAGES} images: no confidence interval'
        elif 'why' not in entry:
            error = float(np.std(halves[:, place]))
            if name == 'density':  # no proportion: an image may be within several neighbourhoods
                entry = intervals.with_interval(entry, error, _freedom(real, fake), scales.of_metric(name), METHOD)
            else:
                entry |= {'ci95': _proportion_limits(values[place], error, entry['n']), 'method': METHOD}
        out[name] = entry
    return out


def _proportion_limits(value: float, error: float, n: int) -> list[float]:
    """The Clopper–Pearson interval of a proportion of as many images as its standard error stands for."""
    size = value * (1 - value) / error**2 if error > 0 and 0 < value < 1 else n
    return proportions.limits(value, min(size, n))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient; NaN where the denominator is 0."""
    return np.where(denominator != 0, numerator / np.where(denominator != 0, denominator, 1), np.nan)


def _nearest_metrics(real: Sample, fake: Sample, threshold: float | None) -> dict[str, Any]:
    """Metrics of the distance to the nearest training image; none where it is not known."""
    distances, real_distances = read_nearest(fake.rows), read_nearest(real.rows)
    if threshold is None or not np.isfinite(distances).all():
        return {}
    ratio = _ratio(distances.mean(), real_distances.mean())
    halves = _ratio(weighted_mean(distances, fake.halves), weighted_mean(real_distances, real.halves))
    copies = distances <= threshold  # the threshold is 0 where real images are training images
    return {
        'nearest': _half_entry(float(ratio), halves, fake.patients, _freedom(real, fake),
                               'real images are training images', 'nearest'),
        'copies': proportions.entry(copies, fake.patients, 'no image')}


def _label_metrics(sample: Sample, name: str) -> dict[str, Any]:
    """The share of images with the predicted class that they should have; none without a network of these classes."""
    if not all(row.get('predicted') for row in sample.rows):
        return {}
    agrees = np.array([row['predicted'] == row['target'] for row in sample.rows])
    return {name: proportions.entry(agrees, sample.patients, 'no image')}


def _class_kid(real: Sample, fake: Sample, label: str, features: str, seed: int) -> dict[str, Any]:
    """KID of a single class."""
    real_rows, fake_rows = ([row for row in sample.rows if row['target'] == label] for sample in (real, fake))
    if min(len(real_rows), len(fake_rows)) < 2:
        return intervals.blank_entry(float('nan'), np.array([row['id'] for row in real_rows]),
                                     'fewer than two images of the class')
    real, fake = _sample(real_rows, seed), _sample(fake_rows, seed + 1)
    kernels = generative.kid_kernels(read_features(real_rows, features), read_features(fake_rows, features))
    return _half_entry(float(kernels.distance()), kernels.distance(real.halves, fake.halves), real.patients,
                       _freedom(real, fake), 'too few images', 'kid')
