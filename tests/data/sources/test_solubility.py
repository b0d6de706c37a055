"""Solubility: the two SDF files, their split, and damaged values."""

import pytest

from medjax.data.sources import solubility
from medjax.data.splits import Resplitting
from medjax.errors import InputError

pytest.importorskip('rdkit')


def test_solubility_of_a_folder(tmp_path):
    block = 'x\n     RDKit          2D\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n' + ''.join(
        f'    {n}.0000    0.0000    0.0000 {atom}   0  0\n' for n, atom in enumerate('CO')) + '  1  2  1  0\nM  END\n'
    for name, value in (('train', '0.5'), ('test', '-1')):
        (tmp_path / f'solubility.{name}.sdf').write_text(f'{block}>  <SOL>  (1) \n{value}\n\n$$$$\n' * 5)
    found = solubility.source(dir=str(tmp_path), splitting=Resplitting(val=0.4))
    assert [case.split for case in found.cases].count('val') == 2 and len(found.cases) == 10
    assert found.cases[0].columns['smiles'] == 'CO' and found.cases[-1].target.values == (-1.0,)
    (tmp_path / 'solubility.test.sdf').write_text(f'{block}>  <SOL>  (1) \nmuch\n\n$$$$\n')
    with pytest.raises(InputError, match=r'solubility.test.sdf: molecule 1: SOL is no number'):
        solubility.source(dir=str(tmp_path))
