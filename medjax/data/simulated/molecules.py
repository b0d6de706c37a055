"""Simulated compounds: chains with side groups whose target counts atoms, for trying a config and for tests.

The SMILES are of molecules that could be; what is 'measured' is a sum over their atoms with noise, and says nothing of
chemistry.
"""

from collections.abc import Sequence

import numpy as np

from medjax.data.source import SPLITS, Case, Measured, Source

NOTICE = 'Simulated compounds: the target is a sum over atoms with noise, and says nothing of chemistry.'
LINKS = ('C', 'N', 'O', 'C(C)', 'C(O)', 'C(Cl)', 'c1ccccc1', 'C(=O)')
WORTH = {'C': -0.5, 'c': -0.3, 'N': 0.4, 'O': 0.8, 'X': -1.0}  # of an atom; X is Cl


def source(*, cases: Sequence[int] = (96, 32, 32), links: int = 6, noise: float = 0.1, targets: int = 1,
           missing: float = 0.0, seed: int = 0) -> Source:
    """Draws chains.

    Args:
      cases: how many molecules train, validate and test.
      links: most links of a chain, 3 or more.
      noise: standard deviation about the sum over atoms.
      targets: how many; the second is the number of atoms, and so on in turn.
      missing: chance that a target was not measured.
      seed: of all draws.
    """
    made: list[Case] = []
    seen: set[str] = set()
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        rng = np.random.default_rng((seed, part))
        number = 0
        while number < count:
            smiles = 'C' + ''.join(LINKS[k] for k in rng.integers(0, len(LINKS), rng.integers(2, links + 1)))
            if smiles in seen:
                continue
            seen.add(smiles)
            letters = smiles.replace('Cl', 'X')
            worth = sum(letters.count(atom) * value for atom, value in WORTH.items())
            atoms = sum(letters.count(atom) for atom in WORTH)
            values = [float((worth, atoms)[k % 2] + rng.normal(0, noise)) for k in range(targets)]
            values = [float('nan') if k and rng.random() < missing else value for k, value in enumerate(values)]
            made.append(Case(id=f'{split}{number:04d}', patient=f'{split}{number:04d}', split=split, read=None,
                             target=Measured(tuple(values)), columns={'smiles': smiles}))
            number += 1
    names = tuple(f'target{k}' if k else 'target' for k in range(targets))
    return Source(cases=tuple(made), classes=names, problem='regression', notice=NOTICE)
