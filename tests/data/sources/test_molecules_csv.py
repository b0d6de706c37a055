"""Molecules from tables: values, splits by molecule and by scaffold, and what is refused."""

import numpy as np
import pytest

from medjax.data.datasets import molecules
from medjax.data.sources import molecules_csv
from medjax.data.splits import Splitting
from medjax.errors import InputError

pytest.importorskip('rdkit')


TABLE = ('id,smiles,solubility,toxic,split\na,CCO,1.5,,train\nb,c1ccccc1,-2,3,train\nc,CC(=O)O,0.5,1,val\n'
         'd,CCN,1,,test\n')


def written(folder, text=TABLE):
    (folder / 't.csv').write_text(text)
    return dict(table='t.csv', dir=str(folder), targets=('solubility', 'toxic'))


def test_a_table(tmp_path):
    found = molecules_csv.source(**written(tmp_path), unit='log')
    assert [case.split for case in found.cases] == ['train', 'train', 'val', 'test'] and found.problem == 'regression'
    assert found.cases[0].target.values[0] == 1.5 and np.isnan(found.cases[0].target.values[1])
    data = molecules.dataset(found)
    assert data.counts == {'train': 2, 'val': 1, 'test': 1} and np.isnan(data.targets).sum() == 2
    assert data.statistics['mean'] == [-0.25, 3.0] and data.statistics['std'] == [1.75, 1.0]
    assert 'toxic (50%)' in data.notice
    other = molecules_csv.source(**written(tmp_path, TABLE.replace('train\nb,c1ccccc1,-2', 'train\nb,c1ccccc1,NaN')
                                           .replace('0.5', 'unknown')), missing=('unknown',))
    assert np.isnan([case.target.values[0] for case in other.cases]).tolist() == [False, True, True, False]
    written(tmp_path)
    assert molecules_csv.read_smiles(tmp_path / 't.csv') == (list('abcd'), ['CCO', 'c1ccccc1', 'CC(=O)O', 'CCN'])


def test_the_same_molecule_is_in_one_split(tmp_path):
    lines = [f'{"C" * n}O,{n},1' for n in range(1, 9)] + [f'O{"C" * n},{n},1' for n in range(1, 9)]
    options = written(tmp_path, '\n'.join(['smiles,solubility,toxic', *lines]))
    found = molecules_csv.source(**options, splitting=Splitting(val=0.25, test=0.25))
    assert len({case.patient for case in found.cases}) == 8
    assert all(a.split == b.split for a, b in zip(found.cases[:8], found.cases[8:]))
    assert {case.split for case in found.cases} == {'train', 'val', 'test'}
    other = molecules_csv.source(**options, splitting=Splitting(val=0.25, test=0.25, split_seed=1))
    assert [case.split for case in other.cases] != [case.split for case in found.cases]


@pytest.mark.parametrize('rdkit', [True, False])
def test_stereoisomers_are_assigned_to_one_split(tmp_path, monkeypatch, rdkit):
    if not rdkit:
        monkeypatch.setattr(molecules_csv.rdkit_features, 'is_installed', lambda: False)
    pairs = [(f'C[C@H](N){"C" * n}', f'C[C@@H](N){"C" * n}') for n in range(2, 8)]
    pairs += [(f'C/C=C/{"C" * n}', f'C/C=C\\{"C" * n}') for n in range(2, 8)]
    lines = [f'{line},{n},1' for side in zip(*pairs) for n, line in enumerate(side)]
    options = written(tmp_path, '\n'.join(['smiles,solubility,toxic', *lines]))
    for seed in range(3):
        found = molecules_csv.source(**options, splitting=Splitting(val=0.25, test=0.25, split_seed=seed)).cases
        assert len({case.columns['smiles'] for case in found}) == 24 and len({case.patient for case in found}) == 12
        assert all(a.split == b.split for a, b in zip(found[:12], found[12:]))
        assert {case.split for case in found} == {'train', 'val', 'test'}


def test_scaffolds_stay_together(tmp_path):
    rows = [f'{line},1,1' for line in ('CC', 'CCC', 'CCO', 'CCN', 'CCCC', 'CCCl', 'Cc1ccccc1', 'Oc1ccccc1', 'C1CCCCC1')]
    options = written(tmp_path, '\n'.join(['smiles,solubility,toxic', *rows]))
    found = molecules_csv.source(**options, split_by='scaffold', splitting=Splitting(val=0.23, test=0.1))
    assert [case.split for case in found.cases] == ['train'] * 6 + ['val'] * 2 + ['test']
    options = written(tmp_path, 'smiles,solubility,toxic,patient\nCC,1,1,a\nC1CCCCC1,1,1,a\n')
    with pytest.raises(InputError, match="row 3: patient 'a' has molecules with the scaffolds '' and 'C1CCCCC1'"):
        molecules_csv.source(**options, split_by='scaffold')


@pytest.mark.parametrize('scaffolds, expected', [
    ('xxxxxxyyzw', 'TTTTTTVVtt'),
    ('xxxxxyyyzw', 'TTTTTVVVtT'),  # val has room for two, but train has room left; of z and w, the later comes first
    ('xxxxxxxyyz', 'VVVVVVVTTT')])
def test_the_scaffold_split_is_that_of_deepchem(scaffolds, expected):
    """By the rule of ScaffoldSplitter, applied by hand to fractions of .6, .2 and .2 of ten molecules."""
    names = {'T': 'train', 'V': 'val', 't': 'test'}
    assert molecules_csv.scaffold_split(scaffolds, val=0.2, test=0.2) == [names[letter] for letter in expected]


@pytest.mark.parametrize('text, said', [
    (TABLE.replace('CCN', ''), 't.csv: row 5: smiles is empty'),
    (TABLE.replace('CCN', 'CxN'), r"t.csv: row 5: smiles is 'CxN', with 'x' at letter 2"),
    (TABLE.replace('CCN', 'C1CN'), r"t.csv: row 5: SMILES 'C1CN'; expected one that RDKit can read"),
    (TABLE.replace('-2', '<1'), "t.csv: row 3: solubility is '<1'"), (TABLE.replace('CCN', 'NA'), 'smiles is empty'),
    (TABLE.replace('split', 'Split'), "t.csv: column 'Split'; expected 'split'"),
    (TABLE.replace('smiles', 'SMILES'), "no column 'smiles', which is written 'SMILES' there"),
    (TABLE.replace('-2', 'inf'), "t.csv: row 3: solubility is 'inf'"),
    (TABLE.replace('-2', 'low'), "t.csv: row 3: solubility is 'low'"),
    (TABLE.replace('toxic', 'poison'), "t.csv: no column 'toxic'"),
    (TABLE[:33], 't.csv: no rows'),
])
def test_tables_that_are_refused(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        molecules_csv.source(**written(tmp_path, text))
