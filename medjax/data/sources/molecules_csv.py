"""A table of compounds: a row a molecule, with its SMILES and what was measured.

    id,smiles,solubility,toxicity,split
    ethanol,CCO,1.1,,train

An empty cell was not measured. The columns id, patient (what must stay together) and split are at will.
"""

import math
import pathlib
from collections.abc import Mapping, Sequence

from medjax.data.datasets import rdkit_features
from medjax.data.datasets.smiles_tokens import tokens
from medjax.data.io.tables import check_columns, check_fields, read_table
from medjax.data.source import Case, Measured, Source, data_dir
from medjax.data.splits import KEYS, divide
from medjax.errors import InputError

SPLITTERS = ('random', 'scaffold')


def source(*, table: str, targets: Sequence[str], dir: str = '', smiles: str = 'smiles', columns: Sequence[str] = (),
           unit: str = '', split_by: str = 'random', val: float = 0.1, test: float = 0.1,
           fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0, split_seed: int = 0,
           splits: Mapping[str, str] | None = None, split_file: str = '', notice: str = '') -> Source:
    """Reads compounds.

    Args:
      table: a CSV file within dir.
      targets: columns of what is to be told, in numbers.
      dir: its folder; see `data_dir`.
      smiles: the column of the molecules.
      columns: that go to the predictions table beside them.
      unit: of the targets.
      split_by: 'random', or 'scaffold': molecules of one scaffold stay together, rare scaffolds test (RDKit).
      val: see `splits.split_by_patient`, as for test, fold, folds and split_seed.
      test: …
      fold: …
      folds: …
      split_seed: …
      splits: the split of some or all molecules by the name of what stays together.
      split_file: a run's `splits.json`, within dir or absolute.
      notice: what the report must say of the data.

    Raises:
      InputError: a file, column or cell that is not such.
    """
    root = data_dir(dir)
    path = root / table
    rows, there = read_table(path)
    if not rows:
        raise InputError(f'{path}: no rows; expected molecules')
    check_columns(path, there, (smiles, *targets, *columns))
    if split_by not in SPLITTERS:
        raise InputError(f'{KEYS}.split_by: {split_by!r}; expected one of: {", ".join(SPLITTERS)}')
    if split_by == 'scaffold' and folds:
        raise InputError(f"{KEYS}.split_by: 'scaffold' with folds={folds}; expected 'random', or no folds")
    known = rdkit_features.installed()
    for number, row in enumerate(rows, 2):
        where = f'{path}: row {number}'
        check_fields(path, number, row, there)
        row['id'] = (row.get('id') or '').strip() or f'row{number}'
        row[smiles] = row[smiles].strip()
        if not row[smiles]:
            raise InputError(f'{where}: {smiles} is empty; expected a SMILES')
        try:
            tokens(row[smiles])
        except ValueError as error:
            raise InputError(f'{where}: {smiles} is {row[smiles]!r}, with {error}; expected a SMILES') from error
        # The same molecule stays together, however it is written, unless the table says where each row belongs.
        written = rdkit_features.canonical(rdkit_features.parse(row[smiles], where)) if known else row[smiles]
        row['patient'] = (row.get('patient') or '').strip() or (row['id'] if row.get('split') else written)
    if split_by == 'scaffold':
        of = {row['patient']: rdkit_features.scaffold(rdkit_features.parse(row[smiles], str(path))) for row in rows}
        splits = {**by_scaffold(of, val=val, test=test), **(splits or {})}
    split = divide(rows, path, dict(splits or {}), root / split_file if split_file else None, val=val, test=test,
                   fold=fold, folds=folds, seed=split_seed)
    cases = tuple(Case(
        id=row['id'], patient=row['patient'], split=split[row['patient']], read=None, files=(str(path),),
        target=Measured(tuple(_value(row[name], f'{path}: row {number}: {name}') for name in targets)),
        columns={'smiles': row[smiles], **{name: row[name] for name in columns}})
        for number, row in enumerate(rows, 2))
    return Source(cases=cases, classes=tuple(targets), problem='regression', unit=unit, notice=notice)


def by_scaffold(scaffolds: Mapping[str, str], *, val: float, test: float) -> dict[str, str]:
    """Deals molecules by their scaffolds: the commonest train, then some validate, the rarest test (Wu 2018).

    Args:
      scaffolds: of each molecule by name; '' for all that have no ring, which are one scaffold.
      val: share of the molecules, as nearly as whole scaffolds allow.
      test: …

    Returns:
      The split of each.
    """
    if not 0 <= val < 1 or not 0 <= test < 1 or val + test >= 1:
        raise InputError(f'{KEYS}: val={val}, test={test}; expected shares that leave some molecules to train')
    groups: dict[str, list[str]] = {}
    for name, scaffold in scaffolds.items():
        groups.setdefault(scaffold, []).append(name)
    out, room = {}, {'train': len(scaffolds) * (1 - val - test), 'val': len(scaffolds) * val}
    for _, names in sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        split = next((split for split, left in room.items() if len(names) <= left + 1e-9), 'test')
        room[split] = room.get(split, 0) - len(names)
        out |= dict.fromkeys(names, split)
    return out


def smiles_of(path: pathlib.Path) -> tuple[list[str], list[str]]:
    """Reads names and SMILES of molecules that a trained network is asked about, from the column smiles of a table.

    Raises:
      InputError: no such column, or an empty cell.
    """
    rows, there = read_table(path)
    if 'smiles' not in there:
        raise InputError(f"{path}: no column 'smiles'; expected one, and at will 'id'; it has: {', '.join(there)}")
    if not rows:
        raise InputError(f'{path}: no rows; expected molecules')
    for number, row in enumerate(rows, 2):
        check_fields(path, number, row, there)
        if not row['smiles'].strip():
            raise InputError(f'{path}: row {number}: smiles is empty; expected a SMILES')
    return ([(row.get('id') or '').strip() or f'row{number}' for number, row in enumerate(rows, 2)],
            [row['smiles'].strip() for row in rows])


def _value(cell: str, where: str) -> float:
    try:
        value = float(cell) if cell.strip() else math.nan
    except ValueError:
        value = math.inf
    if math.isinf(value) or (cell.strip() and math.isnan(value)):
        raise InputError(f'{where} is {cell!r}; expected a number, or nothing where it was not measured')
    return value
