"""What RDKit knows of a molecule: its graph, named descriptors, fingerprint, scaffold and other SMILES of it.

RDKit is the extra `molecules`; nothing here asks for it before it is needed.
"""

import types
from typing import Any

import numpy as np

from medjax.errors import InputError

ELEMENTS = ('C', 'N', 'O', 'F', 'S', 'Cl', 'Br', 'I', 'P', 'B', 'Si')
DEGREES, CHARGES, HYDROGENS, HYBRIDS = (0, 1, 2, 3, 4), (-1, 0, 1), (0, 1, 2, 3), ('SP', 'SP2', 'SP3')
BONDS = ('SINGLE', 'DOUBLE', 'TRIPLE', 'AROMATIC')
# Each list is followed by a place for all else; then aromatic, in a ring, and the mass in units of 100.
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


def rdkit() -> types.ModuleType:
    """RDKit's module of molecules.

    Raises:
      InputError: it is not installed.
    """
    try:
        from rdkit import Chem
    except ImportError as error:
        raise InputError("config.data: graphs, descriptors, fingerprints, scaffolds and the solubility set need RDKit: "
                         "pip install 'medjax[molecules]'") from error
    return Chem


def installed() -> bool:
    """Whether RDKit is there."""
    try:
        return bool(rdkit())
    except InputError:
        return False


def parse(smiles: str, where: str) -> Any:
    """A molecule from its SMILES.

    Raises:
      InputError: it is none; begins with `where`.
    """
    Chem = rdkit()
    from rdkit import rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        raise InputError(f'{where}: SMILES {smiles!r}; expected one that RDKit can read')
    return molecule


def canonical(molecule: Any) -> str:
    """The one SMILES that all ways to write a molecule lead to, in RDKit's order."""
    return rdkit().MolToSmiles(molecule)


def rewritten(molecule: Any, count: int, seed: int) -> list[str]:
    """SMILES of the same molecule that begin at atoms, and take branches, at random (Bjerrum 2017)."""
    return list(rdkit().MolToRandomSmilesVect(molecule, count, randomSeed=seed)) if count else []


def graph(molecule: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A molecule without its hydrogens as a graph.

    Returns:
      Features of the atoms `[N, ATOM_FEATURES]` float32, the atoms that each bond joins `[M, 2]` int32, and features
      of the bonds `[M, BOND_FEATURES]` float32.
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


def described(molecule: Any, names: tuple[str, ...]) -> list[float]:
    """Descriptors of DESCRIPTORS by name."""
    from rdkit.Chem import Crippen, Descriptors, GraphDescriptors, rdMolDescriptors

    rooms = {'Crippen': Crippen, 'Descriptors': Descriptors, 'GraphDescriptors': GraphDescriptors,
             'rdMolDescriptors': rdMolDescriptors}
    return [float(getattr(rooms[room], function)(molecule)) for room, function in (DESCRIPTORS[name] for name in names)]


def fingerprint(molecule: Any) -> np.ndarray:
    """How often each circle of atoms occurs, by a hash: Morgan's fingerprint (Rogers & Hahn 2010), `[BITS]` float32."""
    rdkit()
    from rdkit.Chem import rdFingerprintGenerator

    make = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    return make.GetCountFingerprintAsNumPy(molecule).astype(np.float32)


def scaffold(molecule: Any) -> str:
    """The rings and what links them as a SMILES (Bemis & Murcko 1996), '' where there is no ring."""
    rdkit()
    from rdkit.Chem.Scaffolds import MurckoScaffold

    return MurckoScaffold.MurckoScaffoldSmiles(mol=molecule)


def _one_of(value: object, known: tuple[object, ...]) -> list[float]:
    """1 at the place of a value, or at the last place where it is none of those that are known."""
    place = known.index(value) if value in known else len(known)
    return [float(number == place) for number in range(len(known) + 1)]
