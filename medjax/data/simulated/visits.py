"""Simulated patients over time: for trying a config where there are no data, and for tests.

A marker rises or falls along a line of each patient's own, and the hazard of the event is log linear in what it is at
the time. Visits are at random times, and what is measured is missing here and there.
"""

from collections.abc import Sequence

import numpy as np

from medjax.data.source import SPLITS, Case, Outcome, Series, Source
from medjax.data.sources.visits_csv import looked_at
from medjax.data.splits import dealt_anew

NOTICE = 'Simulated patients. Their figures say nothing of medicine.'
YEARS, STEP = 12.0, 0.05  # that a patient is followed at most, and by which the hazard is summed up


def source(*, cases: Sequence[int] = (200, 60, 100), landmarks: Sequence[float] = (), visits: float = 1.0,
           noise: float = 0.3, missing: float = 0.3, strength: float = 1.0, seed: int = 0,
           fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0) -> Source:
    """Draws patients.

    A marker is a + b t, with a normal of 0 and 1, and b of 0 and 0.4; 'other' is noise. The hazard of death is 0.1 a
    year times exp(strength × marker); patients leave at random within 12 years.

    Args:
      cases: how many patients train, validate and test.
      landmarks: see `longitudinal.source`.
      visits: a year, in the mean; the first is at 0.
      noise: standard deviation of what is measured.
      missing: share of the values that are not measured.
      strength: see above.
      seed: of all draws.
      fold: see `splits.split_by_patient`, as for folds.
      folds: …
    """
    made = []
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        rng = np.random.default_rng((seed, part))
        for number in range(count):
            start, slope, sex = rng.normal(), 0.4 * rng.normal(), rng.integers(2)
            grid = np.arange(0, YEARS, STEP)
            lived = np.cumsum(0.1 * np.exp(strength * (start + slope * grid)) * STEP)
            died, left = np.searchsorted(lived, rng.exponential()) * STEP, rng.uniform(0, YEARS)
            end = round(min(died, left) + STEP, 2)
            times = np.concatenate([[0.0], np.cumsum(rng.exponential(1 / visits, 40)) + 1e-3])
            times = times[times < end]
            values = np.stack([start + slope * times, np.zeros(len(times))], 1) + noise * rng.normal(
                size=(len(times), 2))
            values[rng.random(values.shape) < missing] = np.nan
            name = f'{split}{number:04d}'
            made.append(Case(id=name, patient=name, split=split, read=None, columns={'sex': 'fm'[sex]},
                             target=Outcome(end, int(died < left)), record={'sex=m': float(sex)},
                             series=Series(times, values)))
    made, measured = dealt_anew(made, fold=fold, folds=folds, seed=seed), ('marker', 'other')
    if landmarks:
        made = [one for case in made for one in looked_at(case, landmarks, measured)]
    return Source(cases=tuple(made), classes=('death',), problem='survival' if landmarks else 'forecast', unit='years',
                  notice=NOTICE, measured=measured)
