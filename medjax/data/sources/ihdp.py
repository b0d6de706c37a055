"""Children of the Infant Health and Development Program with simulated outcomes, as Hill 2011 made them.

The covariates are those that the package econml ships: 985 children born early and light, of whom 377 were, by lot,
offered intensive care and home visits. The treated children of mothers who are not white are left out: of the 747 that
remain 139 are treated, and the two groups no longer overlap everywhere. The outcomes are drawn from a known response
surface, so that each child's effect is known.
"""

import csv
import importlib.util
import pathlib

import numpy as np

from medjax.data.source import Case, Source, Treated
from medjax.data.splits import split_by_patient
from medjax.errors import InputError

CONTINUOUS = ('bw', 'b.head', 'preterm', 'birth.o', 'nnhealth', 'momage')
BINARY = ('sex', 'twin', 'b.marr', 'mom.lths', 'mom.hs', 'mom.scoll', 'cig', 'first', 'booze', 'drugs', 'work.dur',
          'prenatal', *(f'site{number}' for number in range(1, 8)))
# Values of a coefficient and their chances, Hill 2011, section 4.1.
SURFACES = {'A': ((0, 1, 2, 3, 4), (0.5, 0.2, 0.15, 0.1, 0.05)),
            'B': ((0, 0.1, 0.2, 0.3, 0.4), (0.6, 0.1, 0.1, 0.1, 0.1))}
EFFECT = 4.0  # in the mean: of everybody on surface A, of the treated on surface B
NOTICE = ('Covariates of 747 children of a randomised trial (IHDP) from which the treated children of mothers who are '
          'not white were taken out. The outcomes are simulated (response surface {surface} of Hill 2011): '
          'what is found says how well effects are estimated, and nothing of the programme.')


def _path() -> pathlib.Path:
    """The table that econml ships, found without importing econml."""
    package = importlib.util.find_spec('econml')
    path = pathlib.Path(package.origin).parent / 'data' / 'ihdp' / 'sim.csv' if package and package.origin else None
    if path is None or not path.is_file():
        raise InputError('config.data.source: ihdp reads the table that the package econml ships; install it: '
                         'pip install econml --no-deps')
    return path


def _children(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Covariates `[n, 25]` and treatment `[n]`, without treated children of mothers who are not white."""
    try:
        with path.open(newline='') as file:
            rows = list(csv.DictReader(file))
        table = {name: np.array([float(row[name]) for row in rows])
                 for name in ('treat', 'momwhite', *CONTINUOUS, *BINARY)}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f'{path}: {error!r}; expected the table sim.csv of econml') from error
    kept = (table['treat'] == 0) | (table['momwhite'] == 1)
    return np.stack([table[name] for name in (*CONTINUOUS, *BINARY)], 1)[kept], table['treat'][kept].astype(int)


def surface(x: np.ndarray, treatment: np.ndarray, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The outcomes to be expected without treatment and with it (Hill 2011, section 4.1).

    A: xβ and xβ + 4. B: exp((x + ½)β) and xβ - ω, where ω makes the mean effect of the treated 4. The coefficients β
    are drawn, one for each covariate.

    Args:
      x: `[n, F]`, continuous covariates standardised, others as they are.
      treatment: `[n]`, 0 or 1.
      kind: 'A' or 'B'.
      rng: draws β.

    Returns:
      Both `[n]`.
    """
    values, chances = SURFACES[kind]
    beta = rng.choice(values, x.shape[1], p=chances)
    if kind == 'A':
        return x @ beta, x @ beta + EFFECT
    mu0 = np.exp((x + 0.5) @ beta)
    return mu0, x @ beta - ((x @ beta - mu0)[treatment == 1].mean() - EFFECT)


def source(*, surface_of: str = 'B', realisation: int = 0, val: float = 0.27, test: float = 0.1) -> Source:
    """Makes one realisation: coefficients, outcomes (with normal noise of standard deviation 1) and a split.

    Args:
      surface_of: 'A', where the effect is the same for all, or 'B'.
      realisation: its number, which seeds all draws.
      val: see `splits.split_by_patient`, as for test; both groups are dealt in equal shares.
      test: …

    Raises:
      InputError: econml is not installed, or its table is another one.
    """
    if surface_of not in SURFACES:
        raise InputError(f'config.data.source.surface_of: {surface_of!r}; expected one of: {", ".join(SURFACES)}')
    if not isinstance(realisation, int) or realisation < 0:
        raise InputError(f'config.data.source.realisation: {realisation!r}; expected a whole number of at least 0')
    path = _path()
    x, treatment = _children(path)
    rng = np.random.default_rng((realisation, list(SURFACES).index(surface_of)))
    scaled, count = x.copy(), len(CONTINUOUS)
    scaled[:, :count] = (x[:, :count] - x[:, :count].mean(0)) / x[:, :count].std(0)
    mu = np.stack(surface(scaled, treatment, surface_of, rng), 1)
    outcome = mu[np.arange(len(x)), treatment] + rng.normal(size=len(x))
    names = [f'child{number:03d}' for number in range(len(x))]
    split = split_by_patient(names, val=val, test=test, seed=realisation,
                             strata=dict(zip(names, map(str, treatment))))
    cases = tuple(Case(
        id=name, patient=name, split=split[name], read=None, files=(str(path),),
        record=dict(zip((*CONTINUOUS, *BINARY), x[number].tolist())),
        target=Treated(int(treatment[number]), float(outcome[number]), *mu[number].tolist()))
        for number, name in enumerate(names))
    return Source(cases=cases, classes=('control', 'treated'), problem='treatment',
                  notice=NOTICE.format(surface=surface_of))
