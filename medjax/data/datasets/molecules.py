"""Molecules as arrays: tokens of their SMILES, or graphs of atoms and bonds, padded to one size."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from medjax.data.datasets import rdkit_features, smiles_tokens
from medjax.data.datasets.base import RowDataset
from medjax.data.datasets.resident import Generator, Resident, ResidentRows
from medjax.data.datasets.standardisation import divisor
from medjax.data.source import Case, Measurements, Source
from medjax.errors import InputError, few
from medjax.options import Count, NonNegativeInt

FORMS = ('graphs', 'tokens')
MAX_RANDOM_SMILES = 1000  # random SMILES of a molecule


@dataclasses.dataclass(frozen=True)
class MoleculeDataset(RowDataset):
    """A data set of molecules with measured properties.

    Attributes:
      source: the cases as stored.
      encoding: how molecules become arrays; see `encode`.
      random_smiles: the number of random SMILES of each molecule; training draws one of them or the original.
      repeat_warnings: on training molecules that are in other splits, a line each.
    """

    source: Source[Measurements]
    encoding: Mapping[str, Any]
    random_smiles: int = 0
    repeat_warnings: tuple[str, ...] = ()

    case_name, descriptor_names = 'molecule', tuple(rdkit_features.DESCRIPTORS)

    @functools.cached_property
    def inputs(self) -> dict[str, np.ndarray]:
        """The network's inputs for all molecules, each `[N, V, …]`: V SMILES, the original one first."""
        lines = [[case.columns['smiles'], *self._random_smiles(number, case)]
                 for number, case in enumerate(self.source.cases)]
        names = [case.id for case, variants in zip(self.source.cases, lines) for _ in variants]
        flat = encode([line for variants in lines for line in variants], self.encoding, names)
        return {name: value.reshape(len(lines), self.random_smiles + 1, *value.shape[1:])
                for name, value in flat.items()}

    def _random_smiles(self, number: int, case: Case) -> list[str]:
        if not self.random_smiles:
            return []
        molecule = rdkit_features.parse(case.columns['smiles'], case.id)
        return rdkit_features.random_smiles(molecule, self.random_smiles, number + 1)

    @functools.cached_property
    def targets(self) -> np.ndarray:
        """The measured properties of all molecules, `[N, K]` float32, NaN where one is missing."""
        return np.array([case.target.values for case in self.source.cases], np.float32)

    def baseline_features(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Fingerprints `[N, D]` and descriptors `[N, F]` of all molecules, for baselines; None without RDKit."""
        if not rdkit_features.is_installed():
            return None
        parsed = [rdkit_features.parse(case.columns['smiles'], case.id) for case in self.source.cases]
        return (np.stack([rdkit_features.fingerprint(molecule) for molecule in parsed]),
                np.array([rdkit_features.descriptors(molecule, self.descriptor_names) for molecule in parsed]))

    @functools.cached_property
    def warnings(self) -> list[str]:
        """Repeated molecules, missing measurements, and tokens without a training molecule; a line each."""
        out, train = list(self.repeat_warnings), self._numbers['train']
        missing = np.isnan(self.targets).mean(0)
        if missing.any():
            names = [f'{name} ({fraction:.0%})' for name, fraction in zip(self.source.classes, missing) if fraction]
            out.append(f'Not measured in some molecules, which do not count there: {few(names)}.')
        if self.encoding['representation'] == 'tokens':
            tokens = self.inputs['tokens']
            unknown = [self.source.cases[number].id for number in range(len(tokens))
                       if (tokens[number] == smiles_tokens.UNKNOWN).any() and number not in set(train.tolist())]
            if unknown:
                out.append(f'With tokens that no training molecule has: {few(unknown)}.')
        return out

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """The encoding, and mean and standard deviation of the training targets; stored with each checkpoint."""
        train = self.targets[self._numbers['train']].astype(np.float64)
        std = np.nanstd(train, 0)
        return {'classes': list(self.source.classes), 'problem': 'regression', 'unit': self.source.unit,
                'molecules': dict(self.encoding), 'mean': np.nanmean(train, 0).tolist(),
                'std': divisor(std, np.nanmax(np.abs(train), 0)).tolist()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over SMILES, targets, names and splits."""
        lines = [json.dumps([case.split, case.patient, case.id, case.columns['smiles'], list(case.target.values)])
                 for case in self.source.cases]
        return hashlib.sha256('\n'.join(lines).encode()).hexdigest()

    def batch(self, numbers: np.ndarray, variant: int = 0) -> dict[str, np.ndarray]:
        """The network's inputs for one SMILES of some molecules, and `targets [n, K]`."""
        return {**{name: value[numbers, variant] for name, value in self.inputs.items()},
                'targets': self.targets[numbers]}

    def _variant(self, number: int, rng: Generator) -> tuple[int]:
        """The number of the SMILES that training uses for an item."""
        return (int(rng().integers(self.random_smiles + 1)) if self.random_smiles else 0,)

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A training molecule as one of its SMILES, and its `id`."""
        index = self._numbers['train'][number]
        row = self.batch(np.array([index]), *self._variant(number, lambda: rng))
        return {**{name: value[0] for name, value in row.items()}, 'id': self.source.cases[index].id}

    def resident(self) -> Resident:
        """The training molecules, with all their SMILES, for device memory."""
        arrays, train = {**self.inputs, 'targets': self.targets}, self._numbers['train']
        row_bytes = sum(array[0].nbytes for array in arrays.values())
        return ResidentRows(float(len(train) * row_bytes),
                            lambda: {name: array[train] for name, array in arrays.items()},
                            self._variant, _select_variant)


def _select_variant(row: dict[str, jax.Array], variant: jax.Array) -> dict[str, jax.Array]:
    """One SMILES of a molecule; traceable."""
    return {name: value if name == 'targets' else value[variant[0]] for name, value in row.items()}


def encode(lines: Sequence[str], encoding: Mapping[str, Any], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Molecules as arrays for a network.

    Args:
      lines: n SMILES.
      encoding: `representation`; `stereo`, false where it is missing; the sizes `atoms` and `bonds` of a graph, or
        `length` in tokens; `vocabulary`; `descriptors` (names), and their `mean` and `std` over the training molecules.
      names: of the lines, for messages.

    Returns:
      'tokens': `tokens [n, max_length]` int32 and `token_mask [n, max_length]`. 'graphs': `atoms [n, max_atoms, Fa]`,
      `atom_mask [n, max_atoms]`, `bonds [n, max_bonds, 2]` int32, the two atoms of each bond or -1 for padding, and
      `bond_features [n, max_bonds, Fb]`. Both: `described [n, D]`, standardised descriptors. Arrays are float32
      unless another type is given.

    Raises:
      InputError: a line that is not a SMILES, or a molecule larger than the config's limits, with its name.
    """
    wanted = tuple(encoding['descriptors'])
    parsed = []
    if encoding['representation'] == 'graphs' or wanted:
        parsed = [rdkit_features.parse(line, name) for line, name in zip(lines, names)]
    graphs = encoding['representation'] == 'graphs'
    out = _graphs(parsed, encoding, names) if graphs else _token_arrays(lines, encoding, names)
    values = np.array([rdkit_features.descriptors(molecule, wanted) for molecule in parsed], np.float64)
    values = values.reshape(len(lines), len(wanted))
    out['described'] = ((values - np.array(encoding['mean'])) / np.array(encoding['std'])).astype(np.float32)
    return out


def _graphs(molecules: Sequence[Any], encoding: Mapping[str, Any], names: Sequence[str]) -> dict[str, np.ndarray]:
    count, stereo = len(molecules), encoding.get('stereo', False)
    atoms, bonds = encoding['max_atoms'], encoding['max_bonds']
    atom_features, bond_features = rdkit_features.feature_counts(stereo)
    out = {'atoms': np.zeros((count, atoms, atom_features), np.float32),
           'atom_mask': np.zeros((count, atoms), np.float32), 'bonds': np.full((count, bonds, 2), -1, np.int32),
           'bond_features': np.zeros((count, bonds, bond_features), np.float32)}
    for number, molecule in enumerate(molecules):
        graph = dict(zip(('atoms', 'bonds', 'bond_features'), rdkit_features.graph(molecule, stereo)))
        for key in ('atoms', 'bonds'):
            _check_size(len(graph[key]), encoding[f'max_{key}'], f'max_{key}', names[number])
        for key, value in graph.items():
            out[key][number, :len(value)] = value
        out['atom_mask'][number, :len(graph['atoms'])] = 1
    return out


def _token_arrays(lines: Sequence[str], encoding: Mapping[str, Any], names: Sequence[str]) -> dict[str, np.ndarray]:
    tokens = [_tokens(line, name) for line, name in zip(lines, names)]
    for line, name in zip(tokens, names):
        _check_size(len(line), encoding['max_length'], 'max_length', name)
    numbers = smiles_tokens.token_numbers(tokens, encoding['vocabulary'], encoding['max_length'])
    return {'tokens': numbers, 'token_mask': (numbers != smiles_tokens.PAD).astype(np.float32)}


def dataset(source: Source[Measurements], *, representation: str = 'graphs', max_atoms: Count = 48,
            max_bonds: Count = 56,
            max_length: Count = 96, descriptors: Sequence[str] = (), random_smiles: NonNegativeInt = 0,
            duplicates: Literal['drop', 'keep'] = 'drop', stereo: bool = True) -> MoleculeDataset:
    """The data set of a source's molecules.

    Args:
      source: molecules with measured properties, and their SMILES as a column.
      representation: 'graphs', which need RDKit, or 'tokens'.
      max_atoms: the number of atoms, without hydrogens, to which graphs are padded; no molecule may have more.
      max_bonds: the same for bonds.
      max_length: the number of tokens to which SMILES are padded; no molecule may have more.
      descriptors: names of `rdkit_features.DESCRIPTORS` that are further inputs (RDKit).
      random_smiles: the number of random SMILES of each molecule, from which training draws too (RDKit).
      duplicates: training molecules that are in another split too: 'drop' or 'keep'. Either way there is a warning.
        Stereoisomers are one molecule here where the network cannot distinguish them: graphs with stereo=False.
      stereo: whether graphs describe the configuration of stereocentres and double bonds, see `rdkit_features.graph`;
        tokens have what the SMILES has.

    Raises:
      InputError: an invalid option, SMILES or value; a molecule beyond a limit; a target without any training value.
    """
    if source.problem != 'regression' or not all('smiles' in case.columns for case in source.cases):
        raise InputError('config.data: molecules need a source of SMILES with measured properties, such as '
                         'molecules_csv')
    sizes = {'max_atoms': max_atoms, 'max_bonds': max_bonds, 'max_length': max_length}
    _check_options(representation, sizes, descriptors, random_smiles, duplicates)
    for case in source.cases:
        _check_case(case, source.classes)
    source, warnings = _without_duplicates(source, duplicates, representation == 'graphs' and not stereo)
    train = [case for case in source.cases if case.split == 'train']
    for number, name in enumerate(source.classes):
        if not any(np.isfinite(case.target.values[number]) for case in train):
            raise InputError(f'config.data.source: {name} is measured in none of the {len(train)} training molecules; '
                             'expected some')
    encoding = {'representation': representation, 'stereo': stereo, **sizes, 'vocabulary': [],
                'descriptors': list(descriptors),
                **_descriptor_scale(train, tuple(descriptors))}
    data = MoleculeDataset(source, encoding, random_smiles, warnings)
    if representation == 'tokens':
        lines = [line for number, case in enumerate(source.cases) if case.split == 'train'
                 for line in (case.columns['smiles'], *data._random_smiles(number, case))]
        encoding['vocabulary'] = smiles_tokens.vocabulary([_tokens(line, 'a training molecule') for line in lines])
    return data


def _check_options(representation: str, sizes: Mapping[str, int], descriptors: Sequence[str], random_smiles: int,
                   duplicates: str) -> None:
    if representation not in FORMS:
        raise InputError(f'config.data.representation: {representation!r}; expected one of: {", ".join(FORMS)}')
    if min(sizes.values()) < 1 or not 0 <= random_smiles <= MAX_RANDOM_SMILES:
        listed = ', '.join(f'{name}={size}' for name, size in sizes.items())
        raise InputError(f'config.data: {listed}, random_smiles={random_smiles}; expected at least 1 each, and 0 to '
                         f'{MAX_RANDOM_SMILES}')
    if random_smiles and representation != 'tokens':
        raise InputError(f'config.data.random_smiles: {random_smiles}; expected 0 for graphs, which do not depend '
                         'on the SMILES')
    if duplicates not in ('drop', 'keep'):
        raise InputError(f"config.data.duplicates: {duplicates!r}; expected 'drop' or 'keep'")
    for name in descriptors:
        if name not in rdkit_features.DESCRIPTORS:
            raise InputError(f'config.data.descriptors: {name!r}; expected some of: '
                             f'{", ".join(rdkit_features.DESCRIPTORS)}')


def _descriptor_scale(train: Sequence[Case], names: tuple[str, ...]) -> dict[str, list[float]]:
    """Mean and standard deviation of descriptors over the training molecules."""
    values = np.zeros((len(train), 0))
    if names:
        molecules = [rdkit_features.parse(case.columns['smiles'], case.id) for case in train]
        values = np.array([rdkit_features.descriptors(molecule, names) for molecule in molecules], np.float64)
    return {'mean': values.mean(0).tolist(), 'std': divisor(values.std(0), np.abs(values).max(0)).tolist()}


def _without_duplicates(source: Source, duplicates: str, flat: bool) -> tuple[Source, tuple[str, ...]]:
    """The source without training molecules that are in another split, unless they are kept; and a warning."""
    if rdkit_features.is_installed():
        smiles = rdkit_features.without_stereo if flat else rdkit_features.canonical_smiles
        identity = [smiles(rdkit_features.parse(case.columns['smiles'], case.id)) for case in source.cases]
    else:
        identity = [case.columns['smiles'] for case in source.cases]
    held_out = {name for name, case in zip(identity, source.cases) if case.split != 'train'}
    again = [number for number, case in enumerate(source.cases)
             if case.split == 'train' and identity[number] in held_out]
    if not again:
        return source, ()
    names = few([source.cases[number].id for number in again])
    if duplicates == 'keep':
        return source, (f'Training molecules that are in other splits as well: {len(again)} ({names}).',)
    dropped, line = set(again), (f'Left out of training, since they are in other splits as well: {len(again)} '
                                 f'molecules ({names}).')
    kept = (case for number, case in enumerate(source.cases) if number not in dropped)
    return source.only(kept, 'of training, since they are in other splits as well', line), (line,)


def _check_case(case: Case, names: Sequence[str]) -> None:
    if not isinstance(case.target, Measurements) or len(case.target.values) != len(names):
        raise InputError(f'{case.id}: {case.target}; expected a number for each of {", ".join(names)}')
    for name, value in zip(names, case.target.values):
        if np.isinf(value):
            raise InputError(f'{case.id}: {name} is {value}; expected a number, or nothing')


def _tokens(line: str, name: str) -> list[str]:
    try:
        return smiles_tokens.tokens(line)
    except ValueError as error:
        raise InputError(f'{name}: SMILES {line!r} has {error}; expected a SMILES') from error


def _check_size(count: int, most: int, key: str, name: str) -> None:
    if count > most:
        what = 'tokens' if key == 'max_length' else key.removeprefix('max_')
        raise InputError(f'{name}: {count} {what}; expected at most {most}: raise config.data.{key}')
