"""Simulated cohorts: for trying a config where there are no data, and for tests.

The hazard of each event is constant in time and log linear, or with a bend, in the covariates; patients leave at
random. Nothing that is measured on them says anything of medicine.
"""

import functools
from collections.abc import Sequence

import numpy as np

from medjax.data.io.geometry import Image
from medjax.data.source import SPLITS, Case, Outcome, Source
from medjax.data.splits import dealt_anew

NOTICE = 'A simulated cohort. Its figures say nothing of medicine.'
EVENTS = ('death', 'transplant')


def source(*, cases: Sequence[int] = (400, 100, 200), covariates: int = 5, events: int = 1, bend: float = 0.0,
           strength: float = 1.0, censoring: float = 0.5, missing: float = 0.0, image: bool = False, seed: int = 0,
           fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0) -> Source:
    """Draws a cohort.

    The log hazard of the first event is `strength` times the first covariate plus `bend` times (its square - 1); of the
    second event the same of the second covariate. Without either a patient has an event after 10 months, in the mean.

    Args:
      cases: how many patients train, validate and test.
      covariates: standard normal ones, at least as many as events.
      events: 1, or 2 that compete.
      bend: see above, as for strength.
      strength: …
      censoring: the hazard of leaving, over 0.1 a month.
      missing: share of the covariates' values that is not known.
      image: the second covariate is no number but the radius of a ball in a picture of 28 × 28 pixels, and counts for
        the first event as much as the first.
      seed: of all draws.
      fold: see `splits.split_by_patient`, as for folds.
      folds: …
    """
    made = []
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        rng = np.random.default_rng((seed, part))
        x = rng.normal(size=(count, covariates))
        log = strength * x[:, :events] + bend * (x[:, :events] ** 2 - 1)
        if image:
            log[:, 0] += strength * x[:, 1]
            shown, x = x[:, 1], np.delete(x, 1, 1)
        times = rng.exponential(10 * np.exp(-log))
        left = rng.exponential(10 / max(censoring, 1e-9), count)
        x[rng.random(x.shape) < missing] = np.nan
        for number in range(count):
            first = int(times[number].argmin())
            seen = min(times[number, first], left[number])
            name = f'{split}{number:04d}'
            made.append(Case(
                id=name, patient=name, split=split, columns={'sex': 'fm'[number % 2]},
                target=Outcome(float(np.round(seen, 2)), first + 1 if times[number, first] <= left[number] else 0),
                read=functools.partial(_ball, (seed, part, number), float(shown[number])) if image else None,
                how=f'{seed} {part} {number}', record={f'x{k}': float(value) for k, value in enumerate(x[number])}))
    return Source(cases=tuple(dealt_anew(made, fold=fold, folds=folds, seed=seed)), classes=EVENTS[:events],
                  problem='survival', unit='months', notice=NOTICE)


def _ball(seed: Sequence[int], size: float) -> tuple[Image, None]:
    """A bright ball on noise whose radius grows with a number that is standard normal."""
    rng = np.random.default_rng((*seed, 1))
    grid = np.stack(np.meshgrid(np.arange(28), np.arange(28), indexing='ij'), -1) - rng.uniform(10, 17, 2)
    array = rng.normal(90, 10, (28, 28)) + 80 * (np.linalg.norm(grid, axis=-1) < np.clip(5 + 1.5 * size, 1, 10))
    return Image(np.clip(np.rint(array), 0, 255).astype(np.uint8)[..., None], np.eye(4), 'phantom'), None
