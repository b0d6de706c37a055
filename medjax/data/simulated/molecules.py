"""Simulated molecules: chains with side groups whose target counts atoms, to try a config and for tests.

The SMILES are chemically valid; the target is a sum over the atoms with noise.
"""

from typing import Annotated

import numpy as np

from medjax.data.source import SPLITS, Case, Measurements, Source
from medjax.options import Count, FractionBelowOne, NonNegative, NonNegativeInt, Range

NOTICE = 'Simulated molecules: the target is a sum over atoms with noise and has no chemical meaning.'
LINKS = ('C', 'N', 'O', 'C(C)', 'C(O)', 'C(Cl)', 'c1ccccc1', 'C(=O)')
WEIGHTS = {'C': -0.5, 'c': -0.3, 'N': 0.4, 'O': 0.8, 'X': -1.0}  # of an atom in the target; X is Cl


def source(*, cases: tuple[Count, NonNegativeInt, NonNegativeInt] = (96, 32, 32),
           max_links: Annotated[int, Range(low=3)] = 6, noise: NonNegative = 0.1, targets: Count = 1,
           missing: FractionBelowOne = 0.0, seed: NonNegativeInt = 0) -> Source:
    """A regression source of simulated chains.

    Args:
      cases: numbers of training, validation and test molecules.
      max_links: largest number of links of a chain, at least 3.
      noise: standard deviation about the sum over atoms.
      targets: how many; the sum over atoms and the number of atoms alternate.
      missing: probability that a target other than the first was not measured.
      seed: of all draws.
    """
    molecules: list[Case] = []
    drawn: set[str] = set()
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        rng = np.random.default_rng((seed, part))
        number = 0
        while number < count:
            smiles = 'C' + ''.join(LINKS[k] for k in rng.integers(0, len(LINKS), rng.integers(2, max_links + 1)))
            if smiles in drawn:
                continue
            drawn.add(smiles)
            letters = smiles.replace('Cl', 'X')
            weighted = sum(letters.count(atom) * weight for atom, weight in WEIGHTS.items())
            atoms = sum(letters.count(atom) for atom in WEIGHTS)
            values = [float((weighted, atoms)[k % 2] + rng.normal(0, noise)) for k in range(targets)]
            values = [float('nan') if k and rng.random() < missing else value for k, value in enumerate(values)]
            molecules.append(Case(id=f'{split}{number:04d}', patient=f'{split}{number:04d}', split=split, read=None,
                                  target=Measurements(tuple(values)), columns={'smiles': smiles}))
            number += 1
    names = tuple(f'target{k}' if k else 'target' for k in range(targets))
    return Source(cases=tuple(molecules), classes=names, problem='regression', least_classes=1, notice=NOTICE)
