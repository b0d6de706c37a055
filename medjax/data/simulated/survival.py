"""Simulated survival cohorts, to try a config without data and for tests.

The hazard of each event is constant in time and log linear, or log quadratic, in the covariates; censoring is random.
"""

import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np

from medjax.data.io.geometry import Image
from medjax.data.source import SPLITS, Case, Outcome, Source
from medjax.data.splits import CrossValidation
from medjax.options import Count, Float, FractionBelowOne, NonNegative, NonNegativeInt

NOTICE = 'A simulated cohort. The results have no medical meaning.'
EVENTS = ('death', 'transplant')


def source(*, cases: tuple[Count, NonNegativeInt, NonNegativeInt] = (400, 100, 200), covariates: Count = 5,
           events: Literal[1, 2] = 1, quadratic_effect: Float = 0.0, log_hazard_ratio: Float = 1.0,
           censoring: NonNegative = 0.5,
           missing: FractionBelowOne = 0.0, image: bool = False, seed: NonNegativeInt = 0,
           cross_validation: CrossValidation = CrossValidation()) -> Source:
    """A survival source of a simulated cohort.

    The log hazard of the first event is `log_hazard_ratio` times the first covariate plus `quadratic_effect` times (its
    square - 1); that of the second event depends on the second covariate in the same way. At log hazard 0 the mean
    time to an event is 10 months.

    Args:
      cases: numbers of training, validation and test patients.
      covariates: number of standard normal covariates, at least as many as events.
      events: 1, or 2 competing events.
      quadratic_effect: factor of the first covariate's square, minus 1, in the log hazard of the first event.
      log_hazard_ratio: factor of the first covariate in the log hazard of the first event.
      censoring: the hazard of censoring, in units of 0.1 a month.
      missing: fraction of the covariates' values that are missing.
      image: show the second covariate as the radius of a ball in an image of 28 × 28 pixels instead of a number. It
        counts as much for the first event as the first covariate.
      seed: of all draws.
      cross_validation: replaces the split by folds.
    """
    patients = []
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        rng = np.random.default_rng((seed, part))
        x = rng.normal(size=(count, covariates))
        log_hazard = log_hazard_ratio * x[:, :events] + quadratic_effect * (x[:, :events] ** 2 - 1)
        shown = None
        if image:
            log_hazard[:, 0] += log_hazard_ratio * x[:, 1]
            shown, x = x[:, 1], np.delete(x, 1, 1)
        event_times = rng.exponential(10 * np.exp(-log_hazard))
        censoring_times = rng.exponential(10 / max(censoring, 1e-9), count)
        x[rng.random(x.shape) < missing] = np.nan
        for number in range(count):
            name = f'{split}{number:04d}'
            read = None
            if shown is not None:
                read = functools.partial(_ball, (seed, part, number), float(shown[number]))
            patients.append(Case(
                id=name, patient=name, split=split, columns={'sex': 'fm'[number % 2]},
                target=_outcome(event_times[number], censoring_times[number]), read=read,
                how=f'{seed} {part} {number}', record={f'x{k}': float(value) for k, value in enumerate(x[number])}))
    return Source(cases=tuple(cross_validation.resplit(patients, seed)), classes=EVENTS[:events],
                  problem='survival', least_classes=1, unit='months', notice=NOTICE)


def _outcome(event_times: np.ndarray, censoring_time: float) -> Outcome:
    """The first of the events `[E]`, or censoring, at a time rounded to two digits."""
    first = int(event_times.argmin())
    time = min(event_times[first], censoring_time)
    return Outcome(float(np.round(time, 2)), first + 1 if event_times[first] <= censoring_time else 0)


def _ball(seed: Sequence[int], size: float) -> tuple[Image, None]:
    """A bright ball on noise; its radius grows with a standard normal number."""
    rng = np.random.default_rng((*seed, 1))
    grid = np.stack(np.meshgrid(np.arange(28), np.arange(28), indexing='ij'), -1) - rng.uniform(10, 17, 2)
    array = rng.normal(90, 10, (28, 28)) + 80 * (np.linalg.norm(grid, axis=-1) < np.clip(5 + 1.5 * size, 1, 10))
    return Image(np.clip(np.rint(array), 0, 255).astype(np.uint8)[..., None], np.eye(4), 'simulated'), None
