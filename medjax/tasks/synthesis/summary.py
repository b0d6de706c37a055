"""Results of image synthesis: distances between the distributions of generated and real images, beside baselines."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.errors import InputError
from medjax.metrics import generative
from medjax.metrics.classification import weighted_mean
from medjax.statistics import bootstrap, intervals, proportions
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
    'predicts the requested class. Shares of images have Clopper–Pearson intervals, others are bootstraps '
    'over patients of real images and over generated images, with neighbourhoods held fixed. That of FID is of its '
    'expectation at this number of images, corrected for the bias of resampling.')
KINDS = ('synthetic', 'train', 'val', 'blurred', 'noisy')  # compared with real images
REAL_KINDS = ('synthetic', 'train', 'val')  # of them those that are compared class by class
FID_RESAMPLES = 200  # at most, because each needs roots of matrices
COPY_QUANTILE = 0.05  # of the distances of real images: closer images count as copies


class Sample(NamedTuple):
    """Images with bootstrap draws.

    Attributes:
      rows: of the table.
      patients: `[n]` names.
      draws: `[resamples, n]`, how often each image is drawn.
    """

    rows: Sequence[Mapping[str, Any]]
    patients: np.ndarray
    draws: np.ndarray


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


def summarise(rows: Sequence[Mapping[str, Any]], classes: Sequence[str], *, resamples: int = 1000,
              seed: int = 0) -> dict[str, Any]:
    """Metrics of all splits of a predictions table.

    Args:
      rows: of the table; see `tasks/synthesis/table.py`.
      classes: names of the classes.
      resamples: bootstrap draws.
      seed: of the draws.

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
    for split, split_rows in bootstrap.rows_by_split(rows).items():
        by_kind = {kind: [row for row in split_rows if row['kind'] == kind] for kind in ('real', *KINDS)}
        if len(by_kind['real']) < 2:
            raise InputError(f'predictions, split {split}: {len(by_kind["real"])} real images; expected at least 2')
        distances = read_nearest(by_kind['real'])
        known = np.isfinite(distances).all()
        thresholds[split] = float(np.quantile(distances, COPY_QUANTILE)) if known else None
        metrics[split] = {}
        real = _sample(by_kind['real'], resamples, seed)
        for kind in KINDS:
            if len(by_kind[kind]) < 2:
                continue
            fake, suffix = _sample(by_kind[kind], resamples, seed + 1), '' if kind == 'synthetic' else f'_{kind}'
            entries = _distribution_metrics(real, fake, features) | _nearest_metrics(real, fake, thresholds[split])
            entries |= _label_metrics(fake, 'label_kept')
            if kind in REAL_KINDS:
                entries |= {f'kid_of_{name}': _class_kid(real, fake, name, features, resamples, seed)
                            for name in classes}
            if features != 'pixels':
                entries |= {f'{key}_pixels': entry for key, entry in _distances(real, fake, 'pixels').items()}
            metrics[split] |= {f'{key}{suffix}': entry for key, entry in entries.items()}
        metrics[split] |= _label_metrics(real, 'label_kept_real')
    return {'metrics': metrics, 'space': features, 'threshold': thresholds}


def _sample(rows: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> Sample:
    patients = np.array([row.get('patient') or row['id'] for row in rows])
    return Sample(rows, patients, intervals.multiplicities(patients, resamples, seed).astype(np.float64))


def _distances(real: Sample, fake: Sample, features: str) -> dict[str, Any]:
    """FID and KID by one kind of features."""
    x, y = read_features(real.rows, features), read_features(fake.rows, features)
    value, kernels = generative.fid(x, y), generative.kid_kernels(x, y)
    drawn = [sample.draws[:-intervals.LEFT_OUT - 1][:FID_RESAMPLES] for sample in (real, fake)]
    samples = np.array([generative.frechet_distance(*generative.moments(x, a), *generative.moments(y, b))
                        for a, b in zip(*drawn)])
    if len(samples):
        # Repeated images make a resample less diverse and increase its distance; the spread of the samples is right.
        samples = np.maximum(samples - (samples.mean() - value), 0)
    # Without those that leave out an image, which would take as long again, the interval has no acceleration.
    samples = np.concatenate([samples, [value], np.full(intervals.LEFT_OUT, np.nan)])
    found = {'fid': (value, samples), 'kid': (float(kernels.distance()), kernels.distance(real.draws, fake.draws))}
    return {key: intervals.entry(*pair, real.patients, 'not defined') | {'made': len(fake.rows)}
            for key, pair in found.items()}


def _distribution_metrics(real: Sample, fake: Sample, features: str) -> dict[str, Any]:
    """All metrics of features."""
    x, y = read_features(real.rows, features), read_features(fake.rows, features)
    precision, recall = generative.precision_recall(x, y)
    density, coverage = generative.density_coverage(x, y)
    out = _distances(real, fake, features)
    for key, values, sample in (('precision', precision, fake), ('recall', recall, real),
                                ('density', density, fake), ('coverage', coverage, real)):
        if key == 'density':  # no proportion: an image may be within several neighbourhoods
            samples = weighted_mean(values.astype(float), sample.draws)
            out[key] = intervals.entry(float(values.mean()), samples, sample.patients, 'no image')
        else:
            out[key] = proportions.entry(values, sample.patients, 'no image')
    fake_pairs, real_pairs = generative.pairwise_distances(y), generative.pairwise_distances(x)
    value = _ratio(generative.mean_over_pairs(fake_pairs, np.ones(len(y))),
                   generative.mean_over_pairs(real_pairs, np.ones(len(x))))
    samples = _ratio(generative.mean_over_pairs(fake_pairs, fake.draws),
                     generative.mean_over_pairs(real_pairs, real.draws))
    out['diversity'] = intervals.entry(float(value), samples, fake.patients, 'all real images are equal')
    return out


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient; NaN where the denominator is 0."""
    return np.where(denominator != 0, numerator / np.where(denominator != 0, denominator, 1), np.nan)


def _nearest_metrics(real: Sample, fake: Sample, threshold: float | None) -> dict[str, Any]:
    """Metrics of the distance to the nearest training image; none where it is not known."""
    distances, real_distances = read_nearest(fake.rows), read_nearest(real.rows)
    if threshold is None or not np.isfinite(distances).all():
        return {}
    ratio = _ratio(distances.mean(), real_distances.mean())
    samples = _ratio(weighted_mean(distances, fake.draws), weighted_mean(real_distances, real.draws))
    copies = distances <= threshold  # the threshold is 0 where real images are training images
    return {
        'nearest': intervals.entry(float(ratio), samples, fake.patients, 'real images are training images'),
        'copies': proportions.entry(copies, fake.patients, 'no image')}


def _label_metrics(sample: Sample, name: str) -> dict[str, Any]:
    """The share of images with the predicted class that they should have; none without a network of these classes."""
    if not all(row.get('predicted') for row in sample.rows):
        return {}
    agrees = np.array([row['predicted'] == row['target'] for row in sample.rows])
    return {name: proportions.entry(agrees, sample.patients, 'no image')}


def _class_kid(real: Sample, fake: Sample, label: str, features: str, resamples: int, seed: int) -> dict[str, Any]:
    """KID of a single class."""
    real_rows, fake_rows = ([row for row in sample.rows if row['target'] == label] for sample in (real, fake))
    if min(len(real_rows), len(fake_rows)) < 2:
        return intervals.entry(float('nan'), np.array([]), np.array([row['id'] for row in real_rows]),
                               'fewer than two images of the class')
    real, fake = _sample(real_rows, resamples, seed), _sample(fake_rows, resamples, seed + 1)
    kernels = generative.kid_kernels(read_features(real_rows, features), read_features(fake_rows, features))
    return intervals.entry(float(kernels.distance()), kernels.distance(real.draws, fake.draws), real.patients,
                           'not defined')
