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


def random_smiles(molecule: Any, count: int, seed: int) -> list[str]:
    """SMILES of a molecule with a random first atom and random order of branches (Bjerrum 2017)."""
    return list(import_rdkit().MolToRandomSmilesVect(molecule, count, randomSeed=seed)) if count else []


def graph(molecule: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The graph of a molecule, without hydrogens.

    Returns:
      Atom features `[N, ATOM_FEATURES]` float32, the two atoms of each bond `[M, 2]` int32, and bond features
      `[M, BOND_FEATURES]` float32.
    """
    atoms = [[*_one_of(atom.GetSymbol(), ELEMENTS), *_one_of(atom.GetDegree(), DEGREES),
              *_one_of(atom.GetFormalCharge(), CHARGES), *_one_of(atom.GetTotalNumHs(), HYDROGENS),
              *_one_of(str(atom.GetHybridization()), HYBRIDS), float(atom.GetIsAromatic()), float(atom.IsInRing()),
              atom.GetMass() / 100] for atom in molecule.GetAtoms()]
    bonds = list(molecule.GetBonds())
    ends = np.array([[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()] for bond in bonds], np.int32).reshape(-1, 2)
    features = np.array([[*_one_of(str(bond.GetBondType()), BONDS), float(bond.GetIsConjugated()),
                          float(bond.IsInRing())] for bond in bonds], np.float32).reshape(-1, BOND_FEATURES)
    return np.array(atoms, np.float32), ends, features


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
