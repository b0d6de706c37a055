"""Molecules: tokens and graphs by hand, tables that people write, splits, repeated molecules, and what is refused."""

import dataclasses

import numpy as np
import pytest

from medjax.data.datasets import molecules, rdkit_features, smiles_tokens
from medjax.data.simulated import molecules as simulated_molecules
from medjax.data.source import Case, Measurements, Source
from medjax.errors import InputError

pytest.importorskip('rdkit')


def of(lines, splits=None, values=None):
    """A source of these SMILES."""
    splits, values = splits or ['train'] * len(lines), values or [(float(n),) for n in range(len(lines))]
    return Source(cases=tuple(Case(f'm{n}', f'm{n}', split, None, columns={'smiles': line}, target=Measurements(value))
                              for n, (line, split, value) in enumerate(zip(lines, splits, values))),
                  classes=tuple(f't{k}' for k in range(len(values[0]))), problem='regression', least_classes=1)


def known(**options):
    return {'representation': 'graphs', 'max_atoms': 5, 'max_bonds': 5, 'max_length': 9, 'vocabulary': [],
            'descriptors': [], 'mean': [],
            'std': [], **options}


def test_a_graph_by_hand():
    """Acetic acid: two carbons, an oxygen by a double bond, one by a single bond."""
    got = molecules.encode(['CC(=O)O', 'C'], known(descriptors=['weight'], mean=[60.0], std=[2.0]), ['a', 'b'])
    assert got['atom_mask'].tolist() == [[1, 1, 1, 1, 0], [1, 0, 0, 0, 0]]
    assert got['bonds'][0].tolist() == [[0, 1], [1, 2], [1, 3], [-1, -1], [-1, -1]] and (got['bonds'][1] == -1).all()
    element = got['atoms'][0, :4, :len(rdkit_features.ELEMENTS)].argmax(1)
    assert [rdkit_features.ELEMENTS[k] for k in element] == ['C', 'C', 'O', 'O']
    assert not got['atoms'][0, 4].any() and got['bond_features'][0, 1, 1] == 1 and got['bond_features'][0, 0, 0] == 1
    assert (got['atoms'].shape[2], got['bond_features'].shape[2]) == rdkit_features.feature_counts(stereo=False)
    assert got['described'][0, 0] == pytest.approx((60.052 - 60) / 2, abs=1e-3)


def test_molecules_in_two_splits_leave_training():
    source = of(['CCO', 'CCN', 'OCC'], ['train', 'train', 'test'])
    data = molecules.dataset(source)
    assert data.counts == {'train': 1, 'test': 1} and 'm0' in data.notice and 'Left out of training' in data.notice
    kept = molecules.dataset(source, duplicates='keep')
    assert kept.counts == {'train': 2, 'test': 1} and 'm0' in kept.notice


def test_random_smiles_are_the_same_molecule_and_equal_on_host_and_device():
    data = molecules.dataset(simulated_molecules.source(cases=(12, 4, 4)), representation='tokens', random_smiles=4)
    case = data.source.cases[3]
    again = data._random_smiles(3, case)
    assert len(set(again)) > 1 and data._random_smiles(3, case) == again
    one, = {rdkit_features.canonical_smiles(rdkit_features.parse(line, ''))
            for line in [case.columns['smiles'], *again]}
    assert one == rdkit_features.canonical_smiles(rdkit_features.parse(case.columns['smiles'], ''))
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


def test_unknown_tokens_have_a_warning():
    data = molecules.dataset(of(['CCO', 'CCC', 'CS'], ['train', 'train', 'test']), representation='tokens')
    assert data.encoding['vocabulary'] == ['C', 'O']
    assert data.inputs['tokens'][2, 0, :3].tolist() == [2, smiles_tokens.UNKNOWN, 0]
    assert 'm2' in data.notice


def test_the_fingerprint_depends_on_the_data():
    source = of(['CCO', 'CCN'])
    first = molecules.dataset(source).fingerprint
    changed = dataclasses.replace(source, cases=(source.cases[0], dataclasses.replace(
        source.cases[1], target=Measurements((7.0,)))))
    assert first == molecules.dataset(source, max_atoms=9).fingerprint != molecules.dataset(changed).fingerprint


@pytest.mark.parametrize('options, said', [
    (dict(max_atoms=3), r'm1: 6 atoms; expected at most 3: raise config.data.max_atoms'),
    (dict(max_bonds=3), r'm1: 6 bonds; expected at most 3: raise config.data.max_bonds'),
    (dict(representation='tokens', max_length=5), r'm1: 8 tokens; expected at most 5: raise config.data.max_length'),
    (dict(representation='pictures'), 'config.data.representation'), (dict(max_atoms=0), 'config.data: max_atoms=0'),
    (dict(random_smiles=3), 'config.data.random_smiles: 3'), (dict(duplicates='sell'), 'config.data.duplicates'),
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


# Alanine, 2-butene, a sugar, tartaric acid (R,R, S,S and meso), a diene, and an oxime.
ISOMERS = [('C[C@H](N)C(=O)O', 'C[C@@H](N)C(=O)O', 'CC(N)C(=O)O'), ('C/C=C/C', r'C/C=C\C', 'CC=CC'),
           ('OC[C@H]1OC(O)[C@H](O)[C@@H](O)[C@@H]1O', 'OC[C@H]1OC(O)[C@H](O)[C@@H](O)[C@H]1O'),
           ('O[C@H](C(=O)O)[C@@H](O)C(=O)O', 'O[C@@H](C(=O)O)[C@H](O)C(=O)O', 'O[C@H](C(=O)O)[C@H](O)C(=O)O'),
           ('C/C=C/C=C/C', r'C/C=C/C=C\C'), ('C/C=N/O', r'C/C=N\O')]


@pytest.mark.parametrize('lines', ISOMERS, ids=lambda lines: lines[0])
def test_stereoisomers_have_graphs_of_their_own(lines):
    """Two molecules have equal graphs, as sets of atoms and of bonds, exactly where RDKit's SMILES are equal."""
    from rdkit import Chem

    def described(line, stereo):
        graph = rdkit_features.graph(rdkit_features.parse(line, ''), stereo)
        return sorted(map(tuple, graph[0])), sorted(map(tuple, graph[2]))
    for one in lines:
        for other in lines:
            same = Chem.CanonSmiles(one) == Chem.CanonSmiles(other)
            assert described(one, False) == described(other, False)
            assert (described(one, True) == described(other, True)) == same
    assert len({rdkit_features.without_stereo(rdkit_features.parse(line, '')) for line in lines}) == 1


@pytest.mark.parametrize('line, centres, double_bonds', [
    ('C[C@H](N)C(=O)O', {1: 'S'}, {}), ('C[C@@H](N)C(=O)O', {1: 'R'}, {}), ('CC(N)C(=O)O', {1: ''}, {}),
    ('C/C=C/C', {}, {1: 'E'}), (r'C/C=C\C', {}, {1: 'Z'}), ('CC=CC', {}, {1: ''}), ('C=CC', {}, {}),
    ('CC(=O)O', {}, {}), ('c1ccccc1', {}, {}), ('C[C@H](F)/C=C/Cl', {1: None}, {3: 'E'}),
])
def test_configurations_are_those_of_rdkit(line, centres, double_bonds):
    """R and S by RDKit's own assignment, D-alanine being R; E and Z by hand."""
    from rdkit import Chem
    molecule = Chem.MolFromSmiles(line)
    listed = {number: '' if label == '?' else label for number, label in Chem.FindMolChiralCenters(
        molecule, includeUnassigned=True, useLegacyImplementation=False)}
    assert all(label in (None, listed[number]) for number, label in centres.items()) and set(listed) == set(centres)
    atoms, _, bonds = rdkit_features.graph(molecule)
    for found, known, wanted in ((atoms, rdkit_features.CENTRES, listed), (bonds, rdkit_features.DOUBLE_BONDS,
                                                                           double_bonds)):
        one_hot = found[:, -len(known):]
        assert {k: known[row.argmax()] for k, row in enumerate(one_hot) if row.any()} == wanted
        assert one_hot.sum() == len(wanted)


def test_a_graph_without_stereo_is_as_before():
    molecule = rdkit_features.parse('C[C@H](N)/C=C/C', '')
    flat, full = rdkit_features.graph(molecule, False), rdkit_features.graph(molecule)
    assert (flat[0].shape[1], flat[2].shape[1]) == (rdkit_features.ATOM_FEATURES, rdkit_features.BOND_FEATURES)
    assert (full[0].shape[1], full[2].shape[1]) == rdkit_features.feature_counts(True)
    for a, b in zip(flat, full):
        np.testing.assert_array_equal(a, b[:, :a.shape[1]])
    old = molecules.encode(['C[C@H](N)F'], known(), ['a'])
    assert old['atoms'].shape[2] == rdkit_features.ATOM_FEATURES, 'of a run before the option'
    new = molecules.encode(['C[C@H](N)F', 'CC(N)F'], known(stereo=True), ['a', 'b'])
    assert (new['atoms'][0] != new['atoms'][1]).any()


def test_stereoisomers_in_two_splits_leave_training_where_they_look_alike():
    source = of(['C[C@H](N)C(=O)O', 'CCN', 'C[C@@H](N)C(=O)O'], ['train', 'train', 'test'])
    assert molecules.dataset(source).counts == {'train': 2, 'test': 1}
    flat = molecules.dataset(source, stereo=False)
    assert flat.counts == {'train': 1, 'test': 1} and 'm0' in flat.notice
