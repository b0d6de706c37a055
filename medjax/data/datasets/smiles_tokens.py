"""SMILES as tokens: atoms, bonds, branches and ring closures, split by hand and without a chemistry library."""

from collections.abc import Sequence

import numpy as np

PAD, UNKNOWN = 0, 1  # places of a vocabulary that no token has
PAIRS = ('Cl', 'Br')  # atoms of two letters that stand without brackets
SINGLE = frozenset('BCNOPSFIbcnops*' + '-=#$:/\\~' + '().' + '0123456789')


def tokens(smiles: str) -> list[str]:
    """Splits a SMILES: an atom in brackets is one token, as are Cl, Br and a ring closure of two digits, '%12'.

    Raises:
      ValueError: says what is no SMILES there, and where; nothing is known of what it means.
    """
    out, place = [], 0
    while place < len(smiles):
        size = 2 if smiles[place:place + 2] in PAIRS else 1
        if smiles[place] == '[':
            size = smiles.find(']', place) - place + 1
            if size < 3 or '[' in smiles[place + 1:place + size]:
                raise ValueError(f'a bracket that opens at letter {place + 1} and does not close')
        elif smiles[place] == '%':
            size = 3
            if not (len(smiles) >= place + 3 and smiles[place + 1:place + 3].isdecimal()):
                raise ValueError(f"no two digits after the '%' at letter {place + 1}")
        elif size == 1 and smiles[place] not in SINGLE:
            raise ValueError(f'{smiles[place]!r} at letter {place + 1}')
        out.append(smiles[place:place + size])
        place += size
    if not out:
        raise ValueError('nothing')
    return out


def vocabulary(lines: Sequence[Sequence[str]]) -> list[str]:
    """All tokens of some molecules in order; the number of a token is its place and 2."""
    return sorted({token for line in lines for token in line})


def numbers(lines: Sequence[Sequence[str]], known: Sequence[str], length: int) -> np.ndarray:
    """Tokens by number, `[n, length]` int32, PAD behind the last and UNKNOWN where the vocabulary lacks one."""
    place = {token: number for number, token in enumerate(known, 2)}
    out = np.full((len(lines), length), PAD, np.int32)
    for row, line in zip(out, lines):
        row[:len(line)] = [place.get(token, UNKNOWN) for token in line]
    return out
