"""Simulated patients of whom some are treated: for trying a config where there are no data, and for tests.

The first covariate makes the outcome better, and the treatment more likely, so that the treated seem to fare better
than the treatment makes them; the second one says whom it helps. Nothing that is measured on them says anything of
medicine.
"""

from collections.abc import Sequence

import numpy as np

from medjax.data.source import SPLITS, Case, Source, Treated
from medjax.errors import InputError

NOTICE = 'Simulated patients. Their figures say nothing of medicine.'


def source(*, cases: Sequence[int] = (400, 100, 200), covariates: int = 5, effect: float = 1.0, spread: float = 1.0,
           confounding: float = 1.0, noise: float = 0.5, realisation: int = 0) -> Source:
    """Draws patients.

    Without treatment the expected outcome is the first covariate plus the square of the third; the effect is `effect`
    plus `spread` times the second.

    Args:
      cases: how many patients train, validate and test.
      covariates: standard normal ones, at least 3.
      effect: see above, as for spread.
      spread: …
      confounding: by how much the first covariate raises the log odds to be treated.
      noise: the standard deviation of an outcome about what is expected.
      realisation: seeds all draws.
    """
    if covariates < 3:
        raise InputError(f'config.data.source.covariates: {covariates}; expected at least 3')
    made = []
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        rng = np.random.default_rng((realisation, part))
        x = rng.normal(size=(count, covariates))
        treated = (rng.random(count) < 1 / (1 + np.exp(-confounding * x[:, 0]))).astype(int)
        mu0 = x[:, 0] + x[:, 2]**2
        mu1 = mu0 + effect + spread * x[:, 1]
        outcome = np.where(treated, mu1, mu0) + rng.normal(0, noise, count)
        made += [Case(id=f'{split}{n:04d}', patient=f'{split}{n:04d}', split=split, read=None,
                      columns={'sex': 'fm'[n % 2]}, record={f'x{k}': float(value) for k, value in enumerate(x[n])},
                      target=Treated(int(treated[n]), float(outcome[n]), float(mu0[n]), float(mu1[n])))
                 for n in range(count)]
    return Source(cases=tuple(made), classes=('control', 'treated'), problem='treatment', notice=NOTICE)
