"""Simulated patients with confounded treatment, to try a config without data and for tests.

The first covariate raises both the outcome and the probability of treatment, so a comparison of the groups
overestimates the effect; the second one modifies the effect.
"""

from typing import Annotated

import numpy as np

from medjax.data.source import SPLITS, Case, Source, TreatmentOutcome
from medjax.errors import InputError
from medjax.options import Count, Float, NonNegative, NonNegativeInt, Range

NOTICE = 'Simulated patients. The results have no medical meaning.'


def source(*, cases: tuple[Count, NonNegativeInt, NonNegativeInt] = (400, 100, 200),
           covariates: Annotated[int, Range(low=3)] = 5, effect: Float = 1.0, effect_modification: Float = 1.0,
           confounding: Float = 1.0, noise: NonNegative = 0.5, realisation: NonNegativeInt = 0) -> Source:
    """A treatment source of simulated patients.

    The expected outcome without treatment is the first covariate plus the square of the third; the effect is `effect`
    plus `effect_modification` times the second.

    Args:
      cases: numbers of training, validation and test patients.
      covariates: number of standard normal covariates, at least 3.
      effect: mean effect of the treatment on the outcome.
      effect_modification: change of the effect per unit of the second covariate.
      confounding: increase of the log odds of treatment per unit of the first covariate.
      noise: standard deviation of an outcome about its expectation.
      realisation: seeds all draws.
    """
    if covariates < 3:
        raise InputError(f'config.data.source.covariates: {covariates}; expected at least 3')
    patients: list[Case] = []
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        rng = np.random.default_rng((realisation, part))
        x = rng.normal(size=(count, covariates))
        treated = (rng.random(count) < 1 / (1 + np.exp(-confounding * x[:, 0]))).astype(int)
        mu0 = x[:, 0] + x[:, 2]**2
        mu1 = mu0 + effect + effect_modification * x[:, 1]
        outcome = np.where(treated, mu1, mu0) + rng.normal(0, noise, count)
        patients += [Case(id=f'{split}{n:04d}', patient=f'{split}{n:04d}', split=split, read=None,
                          columns={'sex': 'fm'[n % 2]}, record={f'x{k}': float(value) for k, value in enumerate(x[n])},
                          target=TreatmentOutcome(int(treated[n]), float(outcome[n]), float(mu0[n]), float(mu1[n])))
                     for n in range(count)]
    return Source(cases=tuple(patients), classes=('control', 'treated'), problem='treatment', notice=NOTICE)
