"""Molecular features from RDKit: graph, descriptors, fingerprint, scaffold, canonical and random SMILES.

RDKit is the extra `molecules`; it is imported when it is first needed.
"""

import types
from typing import Any

import numpy as np

from medjax.errors import InputError

ELEMENTS = ('C', 'N', 'O', 'F', 'S', 'Cl', 'Br', 'I', 'P', 'B', 'Si')
DEGREES, CHARGES, HYDROGENS, HYBRIDS = (0, 1, 2, 3, 4), (-1, 0, 1), (0, 1, 2, 3), ('SP', 'SP2', 'SP3')
BONDS = ('SINGLE', 'DOUBLE', 'TRIPLE', 'AROMATIC')
# Each list is followed by a place for other values; then aromatic, in a ring, and the mass in units of 100.
ATOM_FEATURES = sum(len(of) + 1 for of in (ELEMENTS, DEGREES, CHARGES, HYDROGENS, HYBRIDS)) + 3
BOND_FEATURES = len(BONDS) + 1 + 2  # conjugated, in a ring
# Of an atom as a stereocentre, or of a double bond, by the rules of Cahn, Ingold and Prelog; the last place is for one
# whose configuration the SMILES does not give. All are 0 for atoms and bonds without stereoisomers.
CENTRES, DOUBLE_BONDS = ('R', 'S', ''), ('E', 'Z', '')
RADIUS, BITS = 2, 2048  # of the fingerprint

# Descriptors by name: a module of rdkit.Chem, and its function.
DESCRIPTORS = {
    'logp': ('Crippen', 'MolLogP'), 'refractivity': ('Crippen', 'MolMR'), 'weight': ('Descriptors', 'MolWt'),
    'polar_surface': ('rdMolDescriptors', 'CalcTPSA'), 'donors': ('rdMolDescriptors', 'CalcNumHBD'),
    'acceptors': ('rdMolDescriptors', 'CalcNumHBA'), 'rotatable': ('rdMolDescriptors', 'CalcNumRotatableBonds'),
    'rings': ('rdMolDescriptors', 'CalcNumRings'), 'aromatic_rings': ('rdMolDescriptors', 'CalcNumAromaticRings'),
    'sp3': ('rdMolDescriptors', 'CalcFractionCSP3'), 'surface': ('rdMolDescriptors', 'CalcLabuteASA'),
    'heavy_atoms': ('rdMolDescriptors', 'CalcNumHeavyAtoms'), 'complexity': ('GraphDescriptors', 'BertzCT'),
}


def import_rdkit() -> types.ModuleType:
    """The module `rdkit.Chem`.

    Raises:
      InputError: RDKit is not installed.
    """
    try:
        from rdkit import Chem
    except ImportError as error:
        raise InputError("config.data: graphs, descriptors, fingerprints, scaffolds and the solubility set need RDKit: "
                         "pip install 'medjax[molecules]'") from error
    return Chem


def is_installed() -> bool:
    """Whether RDKit is installed."""
    try:
        return bool(import_rdkit())
    except InputError:
        return False


def parse(smiles: str, where: str) -> Any:
    """The RDKit molecule of a SMILES.

    Raises:
      InputError: RDKit cannot read it; the message begins with `where`.
    """
    Chem = import_rdkit()
    from rdkit import rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        raise InputError(f'{where}: SMILES {smiles!r}; expected one that RDKit can read')
    return molecule


def canonical_smiles(molecule: Any) -> str:
    """The canonical SMILES of a molecule, in RDKit's atom order."""
    return import_rdkit().MolToSmiles(molecule)


def without_stereo(molecule: Any) -> str:
    """The canonical SMILES of a molecule without its configuration: equal for all its stereoisomers."""
    Chem = import_rdkit()
    flat = Chem.Mol(molecule)
    Chem.RemoveStereochemistry(flat)
    return Chem.MolToSmiles(flat)


def random_smiles(molecule: Any, count: int, seed: int) -> list[str]:
    """SMILES of a molecule with a random first atom and random order of branches (Bjerrum 2017)."""
    return list(import_rdkit().MolToRandomSmilesVect(molecule, count, randomSeed=seed)) if count else []


def feature_counts(stereo: bool) -> tuple[int, int]:
    """The number of features of an atom and of a bond in `graph`."""
    return ATOM_FEATURES + stereo * len(CENTRES), BOND_FEATURES + stereo * len(DOUBLE_BONDS)


def graph(molecule: Any, stereo: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The graph of a molecule, without hydrogens.

    Args:
      molecule: the molecule.
      stereo: whether the configuration of tetrahedral centres (R, S, not given) and of double bonds (E, Z, not given)
        are further features. Without it all stereoisomers have one graph. Axes and planes of chirality, as of
        atropisomers, are not described.

    Returns:
      Atom features `[N, Fa]` float32, the two atoms of each bond `[M, 2]` int32, and bond features `[M, Fb]` float32;
      see `feature_counts`.
    """
    atoms = [[*_one_of(atom.GetSymbol(), ELEMENTS), *_one_of(atom.GetDegree(), DEGREES),
              *_one_of(atom.GetFormalCharge(), CHARGES), *_one_of(atom.GetTotalNumHs(), HYDROGENS),
              *_one_of(str(atom.GetHybridization()), HYBRIDS), float(atom.GetIsAromatic()), float(atom.IsInRing()),
              atom.GetMass() / 100] for atom in molecule.GetAtoms()]
    bonds = list(molecule.GetBonds())
    ends = np.array([[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()] for bond in bonds], np.int32).reshape(-1, 2)
    features = np.array([[*_one_of(str(bond.GetBondType()), BONDS), float(bond.GetIsConjugated()),
                          float(bond.IsInRing())] for bond in bonds], np.float32).reshape(-1, BOND_FEATURES)
    if not stereo:
        return np.array(atoms, np.float32), ends, features
    centres, double_bonds = _stereo(molecule)
    centred = np.array([_described(number, centres, CENTRES) for number in range(len(atoms))], np.float32)
    turned = np.array([_described(number, double_bonds, DOUBLE_BONDS) for number in range(len(bonds))], np.float32)
    return (np.concatenate([np.array(atoms, np.float32), centred], 1), ends,
            np.concatenate([features, turned.reshape(-1, len(DOUBLE_BONDS))], 1))


def _stereo(molecule: Any) -> tuple[dict[int, str], dict[int, str]]:
    """The labels of stereocentres by their atoms' numbers, and of double bonds by their bonds'; '' where not given."""
    Chem = import_rdkit()
    from rdkit.Chem import rdCIPLabeler

    labelled = Chem.Mol(molecule)
    rdCIPLabeler.AssignCIPLabels(labelled)
    atoms, bonds = {}, {}
    for place in Chem.FindPotentialStereo(labelled):
        number = place.centeredOn
        if place.type == Chem.StereoType.Atom_Tetrahedral:
            atoms[number] = _label(labelled.GetAtomWithIdx(number))
        elif place.type == Chem.StereoType.Bond_Double:
            bonds[number] = _label(labelled.GetBondWithIdx(number))
    return atoms, bonds


def _label(part: Any) -> str:
    # Small letters are for centres that differ by other centres' configuration alone.
    return part.GetProp('_CIPCode').upper() if part.HasProp('_CIPCode') else ''


def _described(number: int, labels: dict[int, str], known: tuple[str, ...]) -> list[float]:
    return [float(number in labels and labels[number] == label) for label in known]


def descriptors(molecule: Any, names: tuple[str, ...]) -> list[float]:
    """The values of some of DESCRIPTORS."""
    from rdkit.Chem import Crippen, Descriptors, GraphDescriptors, rdMolDescriptors

    modules = {'Crippen': Crippen, 'Descriptors': Descriptors, 'GraphDescriptors': GraphDescriptors,
               'rdMolDescriptors': rdMolDescriptors}
    functions = [getattr(modules[module], function) for module, function in (DESCRIPTORS[name] for name in names)]
    return [float(function(molecule)) for function in functions]


def fingerprint(molecule: Any) -> np.ndarray:
    """Morgan's count fingerprint of circular substructures, hashed (Rogers & Hahn 2010), `[BITS]` float32."""
    import_rdkit()
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    return generator.GetCountFingerprintAsNumPy(molecule).astype(np.float32)


def scaffold(molecule: Any) -> str:
    """The SMILES of the rings and their linkers (Bemis & Murcko 1996), '' for a molecule without rings."""
    import_rdkit()
    from rdkit.Chem.Scaffolds import MurckoScaffold

    return MurckoScaffold.MurckoScaffoldSmiles(mol=molecule)


def _one_of(value: object, known: tuple[object, ...]) -> list[float]:
    """The one-hot vector of a value; the last place is for values that are not known."""
    place = known.index(value) if value in known else len(known)
    return [float(number == place) for number in range(len(known) + 1)]
