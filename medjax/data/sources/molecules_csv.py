"""Molecules from a CSV table: a row for each, with its SMILES and measured values.

    id,smiles,solubility,toxicity,split
    ethanol,CCO,1.1,,train

A missing value was not measured: an empty cell, or a marker such as NA. The columns id, patient (rows that must be in
one split) and split are optional.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence

from medjax.data.datasets import rdkit_features
from medjax.data.datasets.smiles_tokens import tokens
from medjax.data.io.tables import check_columns, check_near_names, check_unique, filled, parse_number, read_table
from medjax.data.source import Case, Measurements, Source, data_dir
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError

SPLITTERS = ('random', 'scaffold')
STEREO_MARKS = str.maketrans('', '', '@/\\')  # of a SMILES, where RDKit does not remove them


def source(*, table: str, targets: Sequence[str], dir: str = '', smiles: str = 'smiles',
           extra_columns: Sequence[str] = (), unit: str = '', split_by: str = 'random', missing: Sequence[str] = (),
           splitting: Splitting = Splitting(val=0.1, test=0.1), notice: str = '') -> Source:
    """A regression source from a table of molecules.

    Args:
      table: a CSV file within dir.
      targets: columns of the numbers to predict.
      dir: its folder; see `data_dir`.
      smiles: the column of the SMILES.
      extra_columns: that also go to the predictions table.
      unit: of the targets.
      split_by: 'random', or 'scaffold': molecules with one scaffold (RDKit) are in one split, by MoleculeNet's rule;
        see `scaffold_split`.
      missing: further cells that stand for a missing value; see `covariates.CovariateOptions`.
      splitting: how molecules are assigned to splits; rows with the same `patient`, by default the same molecule or
        its stereoisomers, are in one split.
      notice: text on the data for the report.

    Raises:
      InputError: a file, column or cell that is not valid.
    """
    root = data_dir(dir)
    path = root / table
    rows, there = read_table(path)
    if not rows:
        raise InputError(f'{path}: no rows; expected molecules')
    used = (smiles, *targets, *extra_columns)
    check_near_names(path, there, ('id', 'patient', 'split'), used)
    check_columns(path, there, used)
    if split_by not in SPLITTERS:
        raise InputError(f'{KEYS}.split_by: {split_by!r}; expected one of: {", ".join(SPLITTERS)}')
    if split_by == 'scaffold' and splitting.folds:
        raise InputError(f"{KEYS}.split_by: 'scaffold' with folds={splitting.folds}; expected 'random', or no folds")
    has_rdkit = rdkit_features.is_installed()
    for number, row in enumerate(rows, 2):
        _complete(row, smiles, number, f'{path}: row {number}', has_rdkit)
    if split_by == 'scaffold':
        if splitting.calibrate:
            raise InputError(f"{KEYS}.calibrate: {splitting.calibrate}; expected 0 with split_by='scaffold': molecules "
                             'that are drawn at random share their scaffolds with those that train')
        by_scaffold = _split_by_scaffold(rows, smiles, path, splitting)
        splitting = dataclasses.replace(splitting, splits={**by_scaffold, **(splitting.splits or {})})
    split = splitting.divide(rows, path, root)
    cases = tuple(Case(
        id=row['id'], patient=row['patient'], split=split[row['patient']], read=None, files=(str(path),),
        target=Measurements(tuple(_value(filled(row[name], missing), f'{path}: row {number}: {name}')
                                  for name in targets)),
        columns={'smiles': row[smiles], **{name: row[name] for name in extra_columns}})
        for number, row in enumerate(rows, 2))
    return Source(cases=cases, classes=tuple(targets), problem='regression', least_classes=1, unit=unit, notice=notice)


def _complete(row: dict[str, str], smiles: str, number: int, where: str, has_rdkit: bool) -> None:
    """Checks the SMILES of a row, and fills in its id and patient."""
    row['id'] = filled(row.get('id')) or f'row{number}'
    row[smiles] = filled(row[smiles])
    if not row[smiles]:
        raise InputError(f'{where}: {smiles} is empty; expected a SMILES')
    try:
        tokens(row[smiles])
    except ValueError as error:
        raise InputError(f'{where}: {smiles} is {row[smiles]!r}, with {error}; expected a SMILES') from error
    canonical = row[smiles].translate(STEREO_MARKS)
    if has_rdkit:
        canonical = rdkit_features.without_stereo(rdkit_features.parse(row[smiles], where))
    # Rows of one molecule and of its stereoisomers, whose values are alike, are in one split, however their SMILES are
    # written, unless the table names their splits.
    row['patient'] = filled(row.get('patient')) or (row['id'] if filled(row.get('split')) else canonical)


def scaffold_split(scaffolds: Sequence[str], *, val: float, test: float) -> list[str]:
    """Splits molecules by scaffold as MoleculeNet does (Wu 2018), that is, as DeepChem's ScaffoldSplitter.

    The sets of molecules with one scaffold, the largest first and of equal ones that with the later first molecule, go
    to train where they fit into its fraction, else to val where both together fit into theirs, else to test. Nothing is
    drawn at random, and a split may stay empty.

    Args:
      scaffolds: of each molecule; '' for molecules without a ring, which count as one scaffold.
      val: fraction of the molecules.
      test: …

    Returns:
      The split of each molecule.
    """
    if not 0 <= val < 1 or not 0 <= test < 1 or val + test >= 1:
        raise InputError(f'{KEYS}: val={val}, test={test}; expected fractions that leave some molecules to train')
    groups: dict[str, list[int]] = {}
    for number, scaffold in enumerate(scaffolds):
        groups.setdefault(scaffold, []).append(number)
    out, counts = [''] * len(scaffolds), {'train': 0, 'val': 0, 'test': 0}
    train_limit, val_limit = (len(scaffolds) * share + 1e-9 for share in (1 - val - test, 1 - test))
    for numbers in sorted(groups.values(), key=lambda numbers: (len(numbers), numbers[0]), reverse=True):
        if counts['train'] + len(numbers) <= train_limit:
            split = 'train'
        else:
            split = 'val' if counts['train'] + counts['val'] + len(numbers) <= val_limit else 'test'
        counts[split] += len(numbers)
        for number in numbers:
            out[number] = split
    return out


def _split_by_scaffold(rows: Sequence[Mapping[str, str]], smiles: str, path: pathlib.Path,
                       splitting: Splitting) -> dict[str, str]:
    """The split of each patient by the scaffold of its molecules; see `scaffold_split`."""
    scaffolds: dict[str, str] = {}
    each = [rdkit_features.scaffold(rdkit_features.parse(row[smiles], str(path))) for row in rows]
    for number, (row, scaffold) in enumerate(zip(rows, each), 2):
        if scaffolds.setdefault(row['patient'], scaffold) != scaffold:
            raise InputError(f'{path}: row {number}: patient {row["patient"]!r} has molecules with the scaffolds '
                             f'{scaffolds[row["patient"]]!r} and {scaffold!r}; expected one for split_by=\'scaffold\'')
    return dict(zip((row['patient'] for row in rows), scaffold_split(each, val=splitting.val, test=splitting.test)))


def read_smiles(path: pathlib.Path) -> tuple[list[str], list[str]]:
    """Names and SMILES of new molecules, from the columns id (optional) and smiles of a table.

    Raises:
      InputError: no such column, or an empty cell.
    """
    rows, there = read_table(path)
    check_columns(path, there, ['smiles'])
    if not rows:
        raise InputError(f'{path}: no rows; expected molecules')
    for number, row in enumerate(rows, 2):
        if not filled(row['smiles']):
            raise InputError(f'{path}: row {number}: smiles is empty; expected a SMILES')
    names = [filled(row.get('id')) or f'row{number}' for number, row in enumerate(rows, 2)]
    check_unique(path, names)
    return names, [filled(row['smiles']) for row in rows]


def _value(cell: str, where: str) -> float:
    """A measured value; NaN for an empty cell."""
    if not cell:
        return math.nan
    value = parse_number(cell)
    if value is None:
        raise InputError(f'{where} is {cell!r}; expected a number, or nothing where it was not measured')
    return value
