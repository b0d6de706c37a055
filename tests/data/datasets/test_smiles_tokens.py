"""Tokens of SMILES by hand, and lines that are not SMILES."""

import pytest

from medjax.data.datasets import smiles_tokens
from medjax.data.simulated import molecules as simulated_molecules


def test_tokens_by_hand():
    assert smiles_tokens.tokens('C[N+](=O)c1cc(Cl)ccc1Br') == [
        'C', '[N+]', '(', '=', 'O', ')', 'c', '1', 'c', 'c', '(', 'Cl', ')', 'c', 'c', 'c', '1', 'Br']
    assert smiles_tokens.tokens('C%12CC%12/C=C\\F') == ['C', '%12', 'C', 'C', '%12', '/', 'C', '=', 'C', '\\', 'F']
    lines = [['C', 'O'], ['C', '[nH]']]
    assert smiles_tokens.vocabulary(lines) == ['C', 'O', '[nH]']
    numbers = smiles_tokens.token_numbers([['C', 'N', 'O']], ['C', 'O'], 4).tolist()
    assert numbers == [[2, smiles_tokens.UNKNOWN, 3, smiles_tokens.PAD]]


@pytest.mark.parametrize('line, said', [('', 'nothing'), ('C[N', 'letter 2'), ('C[]', 'letter 2'),
                                        ('C[N[H]]', 'letter 2'), ('CxC', "'x' at letter 2"), ('C%1', 'letter 2'),
                                        ('C C', "' ' at letter 2")])
def test_invalid_smiles_are_refused(line, said):
    with pytest.raises(ValueError, match=said):
        smiles_tokens.tokens(line)


def test_tokens_join_to_the_smiles():
    for case in simulated_molecules.source(cases=(30, 0, 0)).cases:
        assert ''.join(smiles_tokens.tokens(case.columns['smiles'])) == case.columns['smiles']
