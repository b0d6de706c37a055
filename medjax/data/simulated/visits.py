"""Simulated longitudinal patients, to try a config without data and for tests.

A marker rises or falls along a patient's own line, and the hazard of the event is log linear in its current value.
Visits are at random times, and some measurements are missing.
"""

from collections.abc import Sequence

import numpy as np

from medjax.data.source import SPLITS, Case, Outcome, Series, Source
from medjax.data.sources.visits_csv import landmark_cases
from medjax.data.splits import CrossValidation
from medjax.options import Count, Float, FractionBelowOne, NonNegative, NonNegativeInt, Positive

NOTICE = 'Simulated patients. The results have no medical meaning.'
YEARS, STEP = 12.0, 0.05  # longest follow-up, and step at which the hazard is summed


def source(*, cases: tuple[Count, NonNegativeInt, NonNegativeInt] = (200, 60, 100),
           landmarks: Sequence[NonNegative] = (), visits_per_year: Positive = 1.0, noise: NonNegative = 0.3,
           missing: FractionBelowOne = 0.3, log_hazard_ratio: Float = 1.0, seed: NonNegativeInt = 0,
           cross_validation: CrossValidation = CrossValidation()) -> Source:
    """A survival or forecasting source of simulated patients.

    The marker is a + b t, with a and b normal with mean 0 and standard deviations 1 and 0.4; the value 'other' is
    noise. The hazard of death is 0.1 a year times exp(log_hazard_ratio × marker). Censoring is uniform within 12 years.

    Args:
      cases: numbers of training, validation and test patients.
      landmarks: see `visits_csv.source`.
      visits_per_year: mean number; the first is at 0.
      noise: standard deviation of the measurements.
      missing: fraction of the measurements that are missing.
      log_hazard_ratio: factor of the marker in the log hazard.
      seed: of all draws.
      cross_validation: replaces the split by folds.
    """
    patients = []
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        rng = np.random.default_rng((seed, part))
        patients += [_patient(rng, f'{split}{number:04d}', split, visits_per_year, noise, missing, log_hazard_ratio)
                     for number in range(count)]
    patients, measured = cross_validation.resplit(patients, seed), ('marker', 'other')
    if landmarks:
        patients = [case for patient in patients for case in landmark_cases(patient, landmarks, measured)]
    return Source(cases=tuple(patients), classes=('death',), problem='survival' if landmarks else 'forecast',
                  least_classes=1, unit='years', notice=NOTICE, measured=measured)


def _patient(rng: np.random.Generator, name: str, split: str, visits_per_year: float, noise: float, missing: float,
             log_hazard_ratio: float) -> Case:
    start, slope, sex = rng.normal(), 0.4 * rng.normal(), rng.integers(2)
    grid = np.arange(0, YEARS, STEP)
    cumulative_hazard = np.cumsum(0.1 * np.exp(log_hazard_ratio * (start + slope * grid)) * STEP)
    death, censoring = np.searchsorted(cumulative_hazard, rng.exponential()) * STEP, rng.uniform(0, YEARS)
    end = round(min(death, censoring) + STEP, 2)
    times = np.concatenate([[0.0], np.cumsum(rng.exponential(1 / visits_per_year, 40)) + 1e-3])
    times = times[times < end]
    values = np.stack([start + slope * times, np.zeros(len(times))], 1) + noise * rng.normal(size=(len(times), 2))
    values[rng.random(values.shape) < missing] = np.nan
    return Case(id=name, patient=name, split=split, read=None, columns={'sex': 'fm'[sex]},
                target=Outcome(end, int(death < censoring)), record={'sex=m': float(sex)},
                series=Series(times, values))
