"""A table of real and made images' features summed up: how near their distributions are, beside floors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import generative
from medjax.metrics.classification import weighted_mean
from medjax.statistics import bootstrap, intervals

CONVENTIONS = (
    'Made images have the labels of the real ones, one for one. Features are principal components of the training '
    "images', on one scale, so that those have a mean variance of 1: 32 of the pixels, and where a classifier is "
    'named 64 of what its logits are made of, or an eighth of the number of training images where that is fewer. So '
    'FID and KID are comparable within this report and with runs of the same features, and are no Inception '
    'figures. Pixels hardly see noise, most of which lies outside of the components. To a classifier that has '
    'learned from the training images these look surer than new ones: by its features validation images are the '
    'fairer floor. FID is of normal distributions fitted to both (Heusel 2017); of few images it is biased upwards, '
    'which is why floors have as many of each class, as far as there are: where there are fewer, in other shares of '
    'the classes perhaps, such a floor is a rough one. KID has no bias and may be below 0 (Bińkowski 2018). Precision '
    'and recall: the share of made images among real ones, and the other way round, by 3 neighbours (Kynkäänniemi '
    '2019); density and coverage by 5 neighbours of real images (Naeem 2020). Diversity: the mean distance of two '
    'made images over that of two real ones. Nearest: the mean distance of pixels to the nearest training image '
    'over that of real images of the split, well below 1 where images are copied, but also where they are smooth. '
    'Copies: the share nearer to a training image than all but 5 % of the real images are; 0.05 by chance. Label '
    'kept: the share in which the classifier sees the class that was asked for. Intervals are percentile bootstraps '
    'over patients of real images and over made images, balls of neighbours held fixed; those of FID are moved by '
    'the bias that resampling adds.')
KINDS = ('synthetic', 'train', 'val', 'blurred', 'noisy')
SPACES = ('network', 'pixels')  # the first that is there counts
SLOW = 200  # draws for FID, each of which takes roots of matrices
COPIED = 0.05  # of the real images count as being as near as a copy


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: distances between generated and real images.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    known = {'problem': 'synthesis', 'conventions': CONVENTIONS}
    if not rows:
        return known
    found = summarise(rows, evaluator.data.source.classes)
    features = evaluator.network.name if evaluator.network is not None else ''
    return {**found.pop('metrics'), **known, 'analysis': {**found, 'features': features}}


def space(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which features count: the network's where they are there, else the pixels'."""
    return next((name for name in SPACES if rows and f'{name}_00' in rows[0]), '')


def features(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """One kind of features of all images, `[n, F]`.

    Raises:
      InputError: one that is no number.
    """
    columns = sorted(key for key in rows[0] if key.startswith(f'{name}_')) if rows else []
    found = np.array([[bootstrap.parse_number(row.get(key)) for key in columns] for row in rows], float)
    for place in np.flatnonzero(~np.isfinite(found).all(1))[:1]:
        raise InputError(f'predictions, image {rows[place]["id"]}: a column {name}_… is empty; expected numbers')
    return found


def summarise(rows: Sequence[Mapping[str, Any]], classes: Sequence[str], *, resamples: int = 1000,
              seed: int = 0) -> dict[str, Any]:
    """Sums a table of images up.

    Args:
      rows: `split`, `id`, `patient`, `kind`, `target`, features `pixels_00` … and perhaps `network_00` …, `nearest`
        and perhaps `predicted`, as `tasks.synthesis.evaluator` gives them.
      classes: in their order.
      resamples: bootstrap draws.
      seed: of the draws.

    Returns:
      - `metrics`: {split: {name: entry}} as of `measure.entry`: `fid`, `kid`, `precision`, `recall`, `density`,
        `coverage`, `diversity`, `nearest`, `copies` and `label_kept` of made images; `NAME_KIND` of the floors;
        `kid_of_CLASS` of each class alone; `fid_pixels` and `kid_pixels` where other features count;
      - `space`: which features count;
      - `threshold`: for each split, how far the nearest training image is that is as near as a copy.
    """
    name, out = space(rows), {}
    if not name:
        raise InputError('predictions: no columns pixels_00 …; expected the features of images')
    thresholds = {}
    for split, some in bootstrap.rows_by_split(rows).items():
        real = [row for row in some if row['kind'] == 'real']
        if len(real) < 2:
            raise InputError(f'predictions, split {split}: {len(real)} real images; expected at least 2')
        far = np.array([bootstrap.parse_number(row.get('nearest')) for row in real])
        thresholds[split] = float(np.quantile(far, COPIED)) if np.isfinite(far).all() else None
        out[split] = {}
        for kind in KINDS:
            fake, end = [row for row in some if row['kind'] == kind], '' if kind == 'synthetic' else f'_{kind}'
            if len(fake) < 2:
                continue
            found = _compared(real, fake, name, resamples, seed) | _near(real, fake, thresholds[split], resamples, seed)
            if kind in KINDS[:3]:
                found |= {f'kid_of_{label}': _of_class(real, fake, label, name, resamples, seed) for label in classes}
            if name != 'pixels':
                both = _distances(real, fake, 'pixels', resamples, seed)
                found |= {f'{key}_pixels': value for key, value in both.items()}
            out[split] |= {f'{key}{end}': value for key, value in found.items()}
        out[split] |= _kept(real, '_real', resamples, seed)
    return {'metrics': out, 'space': name, 'threshold': thresholds}


def _draws(rows: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whose the images are, and how often each is drawn, `[resamples, n]`."""
    patients = np.array([row.get('patient') or row['id'] for row in rows])
    return patients, intervals.multiplicities(patients, resamples, seed).astype(np.float64)


def _distances(real: Sequence[Mapping[str, Any]], fake: Sequence[Mapping[str, Any]], name: str, resamples: int,
               seed: int) -> dict[str, Any]:
    """FID and KID by one kind of features."""
    x, y = features(real, name), features(fake, name)
    (patients, draws), (_, others) = _draws(real, resamples, seed), _draws(fake, resamples, seed + 1)
    value, kernels = generative.fid(x, y), generative.kid_kernels(x, y)
    samples = np.array([generative.frechet_distance(*generative.moments(x, a), *generative.moments(y, b))
                        for a, b in zip(draws[:SLOW], others[:SLOW])])
    # Images that are drawn twice make a sample look poorer than it is, and so further off; the spread is right.
    samples = np.maximum(samples - (samples.mean() - value), 0) if len(samples) else samples
    told = {'fid': (value, samples), 'kid': (float(kernels.distance()), kernels.distance(draws, others))}
    return {key: intervals.entry(*pair, patients, 'not defined') | {'made': len(fake)} for key, pair in told.items()}


def _compared(real: Sequence[Mapping[str, Any]], fake: Sequence[Mapping[str, Any]], name: str, resamples: int,
              seed: int) -> dict[str, Any]:
    """All figures of features."""
    x, y = features(real, name), features(fake, name)
    (patients, draws), (made, others) = _draws(real, resamples, seed), _draws(fake, resamples, seed + 1)
    precise, recalled = generative.precision_recall(x, y)
    density, covered = generative.density_coverage(x, y)
    out = _distances(real, fake, name, resamples, seed)
    for key, of, weight, whose in (('precision', precise, others, made), ('recall', recalled, draws, patients),
                                   ('density', density, others, made), ('coverage', covered, draws, patients)):
        out[key] = intervals.entry(float(of.mean()), weighted_mean(of.astype(float), weight), whose, 'no image')
    apart = [generative.pairwise_distances(of) for of in (y, x)]
    varied = [[generative.mean_over_pairs(matrix, weight) for matrix, weight in zip(apart, pair)]
              for pair in ((np.ones(len(y)), np.ones(len(x))), (others, draws))]
    value, samples = (_ratio(a, b) for a, b in varied)
    return out | {'diversity': intervals.entry(float(value), samples, made, 'real images are all alike')}


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """One over the other, NaN where that is 0."""
    return np.where(below != 0, above / np.where(below != 0, below, 1), np.nan)


def _near(real: Sequence[Mapping[str, Any]], fake: Sequence[Mapping[str, Any]], threshold: float | None,
          resamples: int, seed: int) -> dict[str, Any]:
    """How near training images are; nothing where that is not known."""
    far, known = (np.array([bootstrap.parse_number(row.get('nearest')) for row in rows]) for rows in (fake, real))
    out = {}
    if threshold is not None and np.isfinite(far).all():
        (_, draws), (made, others) = _draws(real, resamples, seed), _draws(fake, resamples, seed + 1)
        ratio, samples = _ratio(far.mean(), known.mean()), _ratio(weighted_mean(far, others), weighted_mean(known, draws))
        out['nearest'] = intervals.entry(float(ratio), samples, made, 'real images are training images')
        near = (far <= threshold).astype(float)  # which is 0 where real images are training images: so are copies then
        out['copies'] = intervals.entry(float(near.mean()), weighted_mean(near, others), made, 'no image')
    return out | _kept(fake, '', resamples, seed)


def _kept(rows: Sequence[Mapping[str, Any]], end: str, resamples: int, seed: int) -> dict[str, Any]:
    """In how many the classifier sees the class that they are of; nothing without a classifier of the same classes."""
    if not all(row.get('predicted') for row in rows):
        return {}
    whose, draws = _draws(rows, resamples, seed)
    right = np.array([row['predicted'] == row['target'] for row in rows], float)
    return {f'label_kept{end}': intervals.entry(float(right.mean()), weighted_mean(right, draws), whose, 'no image')}


def _of_class(real: Sequence[Mapping[str, Any]], fake: Sequence[Mapping[str, Any]], label: str, name: str,
              resamples: int, seed: int) -> dict[str, Any]:
    """KID of one class alone."""
    real, fake = ([row for row in rows if row['target'] == label] for rows in (real, fake))
    if min(len(real), len(fake)) < 2:
        return intervals.entry(float('nan'), np.array([]), np.array([row['id'] for row in real]),
                             'fewer than two images of the class')
    patients, draws = _draws(real, resamples, seed)
    _, others = _draws(fake, resamples, seed + 1)
    kernels = generative.kid_kernels(features(real, name), features(fake, name))
    return intervals.entry(float(kernels.distance()), kernels.distance(draws, others), patients, 'not defined')
