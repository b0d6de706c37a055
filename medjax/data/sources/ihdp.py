"""The Infant Health and Development Program with simulated outcomes (Hill 2011).

The covariates are those that the package econml ships: 985 preterm children of low birth weight, 377 of them
randomised to intensive care and home visits. The treated children of mothers who are not white are left out: of the 747
that remain 139 are treated, and the two groups no longer overlap everywhere. The outcomes are drawn from a known
response surface, so the effect of each child is known.
"""

import importlib.util
import pathlib

import numpy as np

from medjax.data.io.tables import read_table
from medjax.data.source import Case, Source, TreatmentOutcome
from medjax.data.splits import split_by_patient
from medjax.errors import InputError
from medjax.options import FractionBelowOne, NonNegativeInt

CONTINUOUS = ('bw', 'b.head', 'preterm', 'birth.o', 'nnhealth', 'momage')
BINARY = ('sex', 'twin', 'b.marr', 'mom.lths', 'mom.hs', 'mom.scoll', 'cig', 'first', 'booze', 'drugs', 'work.dur',
          'prenatal', *(f'site{number}' for number in range(1, 8)))
# Values of a coefficient and their probabilities, Hill 2011, section 4.1.
SURFACES = {'A': ((0, 1, 2, 3, 4), (0.5, 0.2, 0.15, 0.1, 0.05)),
            'B': ((0, 0.1, 0.2, 0.3, 0.4), (0.6, 0.1, 0.1, 0.1, 0.1))}
EFFECT = 4.0  # mean effect: of everybody on surface A, of the treated on surface B
NOTICE = ('Covariates of 747 children of a randomised trial (IHDP) without the treated children of mothers who are '
          'not white. The outcomes are simulated (response surface {surface} of Hill 2011): '
          'the results show how well effects are estimated, and nothing about the programme.')


def _path() -> pathlib.Path:
    """The table that econml ships, located without importing econml."""
    package = importlib.util.find_spec('econml')
    path = pathlib.Path(package.origin).parent / 'data' / 'ihdp' / 'sim.csv' if package and package.origin else None
    if path is None or not path.is_file():
        raise InputError('config.data.source: ihdp reads the table that the package econml ships; install it: '
                         'pip install econml --no-deps')
    return path


def _children(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Covariates `[n, 25]` and treatment `[n]`, without treated children of mothers who are not white."""
    try:
        rows, _ = read_table(path)
        table = {name: np.array([float(row[name]) for row in rows])
                 for name in ('treat', 'momwhite', *CONTINUOUS, *BINARY)}
    except (KeyError, ValueError) as error:
        raise InputError(f'{path}: {error!r}; expected the table sim.csv of econml') from error
    kept = (table['treat'] == 0) | (table['momwhite'] == 1)
    return np.stack([table[name] for name in (*CONTINUOUS, *BINARY)], 1)[kept], table['treat'][kept].astype(int)


def surface(x: np.ndarray, treatment: np.ndarray, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The expected outcomes without and with treatment (Hill 2011, section 4.1).

    A: xβ and xβ + 4. B: exp((x + ½)β) and xβ - ω, where ω sets the mean effect of the treated to 4. One coefficient β
    is drawn for each covariate.

    Args:
      x: `[n, F]`, continuous covariates standardised, others as they are.
      treatment: `[n]`, 0 or 1.
      kind: 'A' or 'B'.
      rng: draws β.

    Returns:
      Both `[n]`.
    """
    values, probabilities = SURFACES[kind]
    beta = rng.choice(values, x.shape[1], p=probabilities)
    if kind == 'A':
        return x @ beta, x @ beta + EFFECT
    mu0 = np.exp((x + 0.5) @ beta)
    return mu0, x @ beta - ((x @ beta - mu0)[treatment == 1].mean() - EFFECT)


def source(*, response_surface: str = 'B', realisation: NonNegativeInt = 0, val: FractionBelowOne = 0.27,
           test: FractionBelowOne = 0.1) -> Source:
    """A treatment source with one realisation: coefficients, outcomes with standard normal noise, and a split.

    Args:
      response_surface: 'A', with the same effect for all children, or 'B'.
      realisation: its number, which seeds all draws.
      val: fraction of the children that validates, stratified by treatment.
      test: fraction of the children that tests.

    Raises:
      InputError: econml is not installed; its table has another form.
    """
    if response_surface not in SURFACES:
        raise InputError(f'config.data.source.response_surface: {response_surface!r}; expected one of: '
                         f'{", ".join(SURFACES)}')
    if not isinstance(realisation, int) or realisation < 0:
        raise InputError(f'config.data.source.realisation: {realisation!r}; expected a whole number of at least 0')
    path = _path()
    x, treatment = _children(path)
    rng = np.random.default_rng((realisation, list(SURFACES).index(response_surface)))
    scaled, count = x.copy(), len(CONTINUOUS)
    scaled[:, :count] = (x[:, :count] - x[:, :count].mean(0)) / x[:, :count].std(0)
    mu = np.stack(surface(scaled, treatment, response_surface, rng), 1)
    outcome = mu[np.arange(len(x)), treatment] + rng.normal(size=len(x))
    names = [f'child{number:03d}' for number in range(len(x))]
    split = split_by_patient(names, val=val, test=test, seed=realisation,
                             strata=dict(zip(names, map(str, treatment))))
    cases = tuple(Case(
        id=name, patient=name, split=split[name], read=None, files=(str(path),),
        record=dict(zip((*CONTINUOUS, *BINARY), x[number].tolist())),
        target=TreatmentOutcome(int(treatment[number]), float(outcome[number]), *mu[number].tolist()))
        for number, name in enumerate(names))
    return Source(cases=cases, classes=('control', 'treated'), problem='treatment',
                  notice=NOTICE.format(surface=response_surface))
