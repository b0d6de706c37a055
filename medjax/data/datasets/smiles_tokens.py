"""A tokeniser of SMILES: atoms, bonds, branches and ring closures, without a chemistry library."""

from collections.abc import Sequence

import numpy as np

PAD, UNKNOWN = 0, 1  # numbers that no token of a vocabulary has
PAIRS = ('Cl', 'Br')  # atoms of two letters without brackets
SINGLE = frozenset('BCNOPSFIbcnops*' + '-=#$:/\\~' + '().' + '0123456789')


def tokens(smiles: str) -> list[str]:
    """The tokens of a SMILES: an atom in brackets is one token, as are Cl, Br and a ring closure of two digits, '%12'.

    Raises:
      ValueError: what is not valid, and where. Only the syntax is checked, not the chemistry.
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
    """All tokens of some molecules, sorted; a token's number is its index plus 2."""
    return sorted({token for line in lines for token in line})


def token_numbers(lines: Sequence[Sequence[str]], known: Sequence[str], length: int) -> np.ndarray:
    """The numbers of tokens.

    Args:
      lines: the tokens of n molecules.
      known: the vocabulary.
      length: to which lines are padded.

    Returns:
      `[n, length]` int32, PAD after the last token, UNKNOWN for tokens that are not in the vocabulary.
    """
    place = {token: number for number, token in enumerate(known, 2)}
    out = np.full((len(lines), length), PAD, np.int32)
    for row, line in zip(out, lines):
        row[:len(line)] = [place.get(token, UNKNOWN) for token in line]
    return out
