"""Molecules: tokens and graphs by hand, tables that people write, splits, repeated molecules, and what is refused."""

import dataclasses

import numpy as np
import pytest

from medjax.data.datasets import molecules, rdkit_features, smiles_tokens
from medjax.data.simulated import molecules as simulated_molecules
from medjax.data.source import Case, Measured, Source
from medjax.data.sources import molecules_csv, solubility
from medjax.errors import InputError

pytest.importorskip('rdkit')
TABLE = ('id,smiles,solubility,toxic,split\na,CCO,1.5,,train\nb,c1ccccc1,-2,3,train\nc,CC(=O)O,0.5,1,val\n'
         'd,CCN,1,,test\n')


def of(lines, splits=None, values=None):
    """A source of these SMILES."""
    splits, values = splits or ['train'] * len(lines), values or [(float(n),) for n in range(len(lines))]
    return Source(cases=tuple(Case(f'm{n}', f'm{n}', split, None, columns={'smiles': line}, target=Measured(value))
                              for n, (line, split, value) in enumerate(zip(lines, splits, values))),
                  classes=tuple(f't{k}' for k in range(len(values[0]))), problem='regression')


def known(**options):
    return {'form': 'graphs', 'atoms': 5, 'bonds': 5, 'length': 9, 'vocabulary': [], 'descriptors': [], 'mean': [],
            'std': [], **options}


def written(folder, text=TABLE):
    (folder / 't.csv').write_text(text)
    return dict(table='t.csv', dir=str(folder), targets=('solubility', 'toxic'))


def test_tokens_by_hand():
    assert smiles_tokens.tokens('C[N+](=O)c1cc(Cl)ccc1Br') == [
        'C', '[N+]', '(', '=', 'O', ')', 'c', '1', 'c', 'c', '(', 'Cl', ')', 'c', 'c', 'c', '1', 'Br']
    assert smiles_tokens.tokens('C%12CC%12/C=C\\F') == ['C', '%12', 'C', 'C', '%12', '/', 'C', '=', 'C', '\\', 'F']
    lines = [['C', 'O'], ['C', '[nH]']]
    assert smiles_tokens.vocabulary(lines) == ['C', 'O', '[nH]']
    assert smiles_tokens.numbers([['C', 'N', 'O']], ['C', 'O'], 4).tolist() == [[2, smiles_tokens.UNKNOWN, 3, smiles_tokens.PAD]]


@pytest.mark.parametrize('line, said', [('', 'nothing'), ('C[N', 'letter 2'), ('C[]', 'letter 2'),
                                        ('C[N[H]]', 'letter 2'), ('CxC', "'x' at letter 2"), ('C%1', 'letter 2'),
                                        ('C C', "' ' at letter 2")])
def test_no_smiles(line, said):
    with pytest.raises(ValueError, match=said):
        smiles_tokens.tokens(line)


def test_tokens_give_every_molecule_back():
    for case in simulated_molecules.source(cases=(30, 0, 0)).cases:
        assert ''.join(smiles_tokens.tokens(case.columns['smiles'])) == case.columns['smiles']


def test_a_graph_by_hand():
    """Acetic acid: two carbons, an oxygen by a double bond, one by a single bond."""
    got = molecules.arrays(['CC(=O)O', 'C'], known(descriptors=['weight'], mean=[60.0], std=[2.0]), ['a', 'b'])
    assert got['atom_mask'].tolist() == [[1, 1, 1, 1, 0], [1, 0, 0, 0, 0]]
    assert got['bonds'][0].tolist() == [[0, 1], [1, 2], [1, 3], [-1, -1], [-1, -1]] and (got['bonds'][1] == -1).all()
    element = got['atoms'][0, :4, :len(rdkit_features.ELEMENTS)].argmax(1)
    assert [rdkit_features.ELEMENTS[k] for k in element] == ['C', 'C', 'O', 'O']
    assert not got['atoms'][0, 4].any() and got['bond_features'][0, 1, 1] == 1 and got['bond_features'][0, 0, 0] == 1
    assert got['atoms'].shape[2] == rdkit_features.ATOM_FEATURES
    assert got['bond_features'].shape[2] == rdkit_features.BOND_FEATURES
    assert got['described'][0, 0] == pytest.approx((60.052 - 60) / 2, abs=1e-3)


def test_a_table(tmp_path):
    found = molecules_csv.source(**written(tmp_path), unit='log')
    assert [case.split for case in found.cases] == ['train', 'train', 'val', 'test'] and found.problem == 'regression'
    assert found.cases[0].target.values[0] == 1.5 and np.isnan(found.cases[0].target.values[1])
    data = molecules.dataset(found)
    assert data.counts == {'train': 2, 'val': 1, 'test': 1} and np.isnan(data.targets).sum() == 2
    assert data.statistics['mean'] == [-0.25, 3.0] and data.statistics['std'] == [1.75, 1.0]
    assert 'toxic (50%)' in data.notice
    assert molecules_csv.smiles_of(tmp_path / 't.csv') == (list('abcd'), ['CCO', 'c1ccccc1', 'CC(=O)O', 'CCN'])


def test_the_same_molecule_is_dealt_to_one_split(tmp_path):
    lines = [f'{"C" * n}O,{n},1' for n in range(1, 9)] + [f'O{"C" * n},{n},1' for n in range(1, 9)]
    options = written(tmp_path, '\n'.join(['smiles,solubility,toxic', *lines]))
    found = molecules_csv.source(**options, val=0.25, test=0.25)
    assert len({case.patient for case in found.cases}) == 8
    assert all(a.split == b.split for a, b in zip(found.cases[:8], found.cases[8:]))
    assert {case.split for case in found.cases} == {'train', 'val', 'test'}
    other = molecules_csv.source(**options, val=0.25, test=0.25, split_seed=1)
    assert [case.split for case in other.cases] != [case.split for case in found.cases]


def test_scaffolds_stay_together(tmp_path):
    assert molecules_csv.by_scaffold({**dict.fromkeys('abcdef', 'x'), **dict.fromkeys('gh', 'y'), 'i': 'z', 'j': 'w'},
                                 val=0.2, test=0.2) == {
        **dict.fromkeys('abcdef', 'train'), 'g': 'val', 'h': 'val', 'i': 'test', 'j': 'test'}
    rows = [f'{line},1,1' for line in ('CC', 'CCC', 'CCO', 'CCN', 'CCCC', 'CCCl', 'Cc1ccccc1', 'Oc1ccccc1', 'C1CCCCC1')]
    options = written(tmp_path, '\n'.join(['smiles,solubility,toxic', *rows]))
    found = molecules_csv.source(**options, split_by='scaffold', val=0.23, test=0.1)
    assert [case.split for case in found.cases] == ['train'] * 6 + ['val'] * 2 + ['test']


def test_molecules_in_two_splits_leave_training():
    source = of(['CCO', 'CCN', 'OCC'], ['train', 'train', 'test'])
    data = molecules.dataset(source)
    assert data.counts == {'train': 1, 'test': 1} and 'm0' in data.notice and 'Left out of training' in data.notice
    kept = molecules.dataset(source, repeated='keep')
    assert kept.counts == {'train': 2, 'test': 1} and 'm0' in kept.notice


def test_rewritings_are_the_same_molecule_and_lie_on_the_device_as_they_are_read():
    data = molecules.dataset(simulated_molecules.source(cases=(12, 4, 4)), form='tokens', rewritings=4)
    case = data.source.cases[3]
    again = data._rewritten(3, case)
    assert len(set(again)) > 1 and data._rewritten(3, case) == again
    one, = {rdkit_features.canonical(rdkit_features.parse(line, '')) for line in [case.columns['smiles'], *again]}
    assert one == rdkit_features.canonical(rdkit_features.parse(case.columns['smiles'], ''))
    assert data.inputs['tokens'].shape[:2] == (len(data.source.cases), 5)
    resident, seen = data.resident(), set()
    arrays = resident.load()
    for seed in range(8):
        item = data.item(3, np.random.default_rng(seed))
        place = resident.place(3, lambda seed=seed: np.random.default_rng(seed))
        seen.add(place[1])
        for name, value in resident.pick(arrays, np.array(place)).items():
            np.testing.assert_array_equal(value, item[name])
    assert len(seen) > 1


def test_tokens_that_training_lacks_are_told():
    data = molecules.dataset(of(['CCO', 'CCC', 'CS'], ['train', 'train', 'test']), form='tokens')
    assert data.known['vocabulary'] == ['C', 'O'] and data.inputs['tokens'][2, 0, :3].tolist() == [2, smiles_tokens.UNKNOWN, 0]
    assert 'm2' in data.notice


def test_the_fingerprint_is_of_what_counts():
    source = of(['CCO', 'CCN'])
    first = molecules.dataset(source).fingerprint
    changed = dataclasses.replace(source, cases=(source.cases[0], dataclasses.replace(
        source.cases[1], target=Measured((7.0,)))))
    assert first == molecules.dataset(source, atoms=9).fingerprint != molecules.dataset(changed).fingerprint


def test_solubility_of_a_folder(tmp_path):
    block = 'x\n     RDKit          2D\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n' + ''.join(
        f'    {n}.0000    0.0000    0.0000 {atom}   0  0\n' for n, atom in enumerate('CO')) + '  1  2  1  0\nM  END\n'
    for name, value in (('train', '0.5'), ('test', '-1')):
        (tmp_path / f'solubility.{name}.sdf').write_text(f'{block}>  <SOL>  (1) \n{value}\n\n$$$$\n' * 5)
    found = solubility.source(dir=str(tmp_path), val=0.4)
    assert [case.split for case in found.cases].count('val') == 2 and len(found.cases) == 10
    assert found.cases[0].columns['smiles'] == 'CO' and found.cases[-1].target.values == (-1.0,)
    (tmp_path / 'solubility.test.sdf').write_text(f'{block}>  <SOL>  (1) \nmuch\n\n$$$$\n')
    with pytest.raises(InputError, match=r'solubility.test.sdf: molecule 1: no number as SOL'):
        solubility.source(dir=str(tmp_path))


@pytest.mark.parametrize('text, said', [
    (TABLE.replace('CCN', ''), 't.csv: row 5: smiles is empty'),
    (TABLE.replace('CCN', 'CxN'), r"t.csv: row 5: smiles is 'CxN', with 'x' at letter 2"),
    (TABLE.replace('CCN', 'C1CN'), r"t.csv: row 5: SMILES 'C1CN'; expected one that RDKit can read"),
    (TABLE.replace('-2', 'nan'), "t.csv: row 3: solubility is 'nan'"),
    (TABLE.replace('-2', 'inf'), "t.csv: row 3: solubility is 'inf'"),
    (TABLE.replace('-2', 'low'), "t.csv: row 3: solubility is 'low'"),
    (TABLE.replace('toxic', 'poison'), "t.csv: no column 'toxic'"),
    (TABLE[:33], 't.csv: no rows'),
])
def test_tables_that_are_refused(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        molecules_csv.source(**written(tmp_path, text))


@pytest.mark.parametrize('options, said', [
    (dict(atoms=3), r'm1: 6 atoms; expected at most 3: raise config.data.atoms'),
    (dict(bonds=3), r'm1: 6 bonds; expected at most 3: raise config.data.bonds'),
    (dict(form='tokens', length=5), r'm1: 8 tokens; expected at most 5: raise config.data.length'),
    (dict(form='pictures'), 'config.data.form'), (dict(atoms=0), 'config.data: atoms=0'),
    (dict(rewritings=3), 'config.data.rewritings: 3'), (dict(repeated='sell'), 'config.data.repeated'),
    (dict(descriptors=('price',)), "config.data.descriptors: 'price'"),
])
def test_options_that_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        len(molecules.dataset(of(['CCO', 'c1ccccc1']), **options).inputs)


def test_targets_that_are_refused():
    with pytest.raises(InputError, match='t1 is measured in none of the 2 training'):
        molecules.dataset(of(['C', 'CC'], values=[(1.0, np.nan), (2.0, np.nan)]))
    with pytest.raises(InputError, match='m1: t0 is inf'):
        molecules.dataset(of(['C', 'CC'], values=[(1.0,), (np.inf,)]))
