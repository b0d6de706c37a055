"""Molecules as arrays: tokens of their SMILES, or graphs of atoms and bonds, padded to one size."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax.data.datasets import rdkit_features, smiles_tokens
from medjax.data.datasets.base import Parted
from medjax.data.source import Case, Measured, Source
from medjax.errors import InputError, few

FORMS = ('graphs', 'tokens')
VARIED = 1000  # other SMILES of a molecule at most


@dataclasses.dataclass(frozen=True)
class Molecules(Parted):
    """A source's molecules as arrays; `core.loop` and `data.pipeline` say what else is asked of a data set.

    Attributes:
      source: the molecules, what was measured and what must be said of them.
      known: what a molecule is turned into arrays with; see `arrays`.
      rewritings: how many other SMILES of each molecule there are, of which training draws one or the first.
      told: what was found on the way, a line each.
    """

    source: Source
    known: Mapping[str, Any]
    rewritings: int = 0
    told: tuple[str, ...] = ()

    of, described = 'molecule', tuple(rdkit_features.DESCRIPTORS)  # what a case is; what simpler models are told besides

    @functools.cached_property
    def inputs(self) -> dict[str, np.ndarray]:
        """What the network sees of all molecules, each `[N, V, …]`: V the rewritings and, before them, the first."""
        lines = [[case.columns['smiles'], *self._rewritten(number, case)]
                 for number, case in enumerate(self.source.cases)]
        flat = arrays([line for of in lines for line in of], self.known, [case.id for case, of in zip(
            self.source.cases, lines) for _ in of])
        return {name: value.reshape(len(lines), self.rewritings + 1, *value.shape[1:]) for name, value in flat.items()}

    def _rewritten(self, number: int, case: Case) -> list[str]:
        if not self.rewritings:
            return []
        return rdkit_features.rewritten(rdkit_features.parse(case.columns['smiles'], case.id), self.rewritings, number + 1)

    @functools.cached_property
    def targets(self) -> np.ndarray:
        """What was measured of all molecules, `[N, K]` float32, NaN where it was not."""
        return np.array([case.target.values for case in self.source.cases], np.float32)

    def simpler(self) -> tuple[np.ndarray, np.ndarray] | None:
        """What simpler models see of all molecules: fingerprints `[N, D]` and descriptors `[N, F]`; None without RDKit.
        """
        if not rdkit_features.installed():
            return None
        parsed = [rdkit_features.parse(case.columns['smiles'], case.id) for case in self.source.cases]
        return (np.stack([rdkit_features.fingerprint(molecule) for molecule in parsed]),
                np.array([rdkit_features.described(molecule, tuple(rdkit_features.DESCRIPTORS)) for molecule in parsed]))

    @functools.cached_property
    def warnings(self) -> list[str]:
        """What is to be minded in these data, a line each."""
        out, train = list(self.told), self._numbers['train']
        gone = np.isnan(self.targets).mean(0)
        if gone.any():
            told = [f'{name} ({share:.0%})' for name, share in zip(self.source.classes, gone) if share]
            out.append(f'Not measured in some molecules, which do not count there: {few(told)}.')
        if self.known['form'] == 'tokens':
            seen = self.inputs['tokens']
            odd = [self.source.cases[n].id for n in range(len(seen))
                   if (seen[n] == smiles_tokens.UNKNOWN).any() and n not in set(train.tolist())]
            if odd:
                out.append(f'With tokens that no training molecule has: {few(odd)}.')
        return out

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """What the task and `predict` have to know of the training data; stored with each checkpoint."""
        train = self.targets[self._numbers['train']].astype(np.float64)
        std = np.nanstd(train, 0)
        return {'classes': list(self.source.classes), 'problem': 'regression', 'unit': self.source.unit,
                'molecules': dict(self.known), 'mean': np.nanmean(train, 0).tolist(),
                'std': np.where(std > 0, std, 1.0).tolist()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over SMILES, targets, names and splits."""
        lines = [json.dumps([case.split, case.patient, case.id, case.columns['smiles'], list(case.target.values)])
                 for case in self.source.cases]
        return hashlib.sha256('\n'.join(lines).encode()).hexdigest()

    def rows(self, numbers: np.ndarray, variant: np.ndarray | int = 0) -> dict[str, np.ndarray]:
        """What the network sees of some molecules, as one of their SMILES, and `targets [n, K]`."""
        return {**{name: value[numbers, variant] for name, value in self.inputs.items()},
                'targets': self.targets[numbers]}

    def variant(self, rng: Callable[[], np.random.Generator]) -> int:
        """Which SMILES of a molecule training takes this time."""
        return int(rng().integers(self.rewritings + 1)) if self.rewritings else 0

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A training molecule's row, and the `id`."""
        at = self._numbers['train'][number]
        row = self.rows(np.array([at]), self.variant(lambda: rng))
        return {**{name: value[0] for name, value in row.items()}, 'id': self.source.cases[at].id}

    def resident(self) -> 'Resident':
        """The training molecules as they may lie on the device."""
        return Resident(self)


class Resident:
    """Training molecules on the device, as `pipeline.Resident` says."""

    def __init__(self, data: Molecules):
        self._data = data
        share = len(data) / len(data.source.cases)
        self.size = float(sum(array.nbytes for array in (*data.inputs.values(), data.targets)) * share)

    def load(self) -> Mapping[str, np.ndarray]:
        """All of them."""
        train = self._data.numbers('train')
        return {**{name: value[train] for name, value in self._data.inputs.items()},
                'targets': self._data.targets[train]}

    def place(self, number: int, rng: Callable[[], np.random.Generator]) -> tuple[int, int]:
        """A molecule's number, and which of its SMILES."""
        return number, self._data.variant(rng)

    def pick(self, arrays: Mapping[str, jax.Array], place: jax.Array) -> dict[str, jax.Array]:
        """A row, as the data set's `item` gives it without its id."""
        return {name: array[place[0]] if name == 'targets' else array[place[0], place[1]]
                for name, array in arrays.items()}


def arrays(lines: Sequence[str], known: Mapping[str, Any], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Molecules as a network sees them.

    Args:
      lines: n SMILES.
      known: `form`, `atoms` and `bonds` (most of a graph), `length` (most tokens), `vocabulary`, `descriptors` (names),
        and `mean` and `std` of those over the training molecules.
      names: what each line is called in a message.

    Returns:
      'tokens': `tokens [n, length]` int32 and `token_mask [n, length]`. 'graphs': `atoms [n, atoms, Fa]`, `atom_mask
      [n, atoms]`, `bonds [n, bonds, 2]` int32, the two atoms of each and -1 where there is none, and `bond_features
      [n, bonds, Fb]`. Of both `described [n, D]`, standardised. What has no type is float32.

    Raises:
      InputError: names the molecule: no SMILES, or larger than the config's limits.
    """
    out: dict[str, np.ndarray] = {}
    graphs, wanted = known['form'] == 'graphs', tuple(known['descriptors'])
    parsed = [rdkit_features.parse(*pair) for pair in zip(lines, names)] if graphs or wanted else []
    if graphs:
        shape = {'atoms': (known['atoms'], rdkit_features.ATOM_FEATURES), 'atom_mask': (known['atoms'],),
                 'bonds': (known['bonds'], 2), 'bond_features': (known['bonds'], rdkit_features.BOND_FEATURES)}
        out = {name: np.zeros((len(lines), *of), np.float32) for name, of in shape.items()}
        out['bonds'] = np.full((len(lines), *shape['bonds']), -1, np.int32)
        for number, molecule in enumerate(parsed):
            made = dict(zip(('atoms', 'bonds', 'bond_features'), rdkit_features.graph(molecule)))
            for what in ('atoms', 'bonds'):
                _fits(len(made[what]), known[what], what, names[number])
            for what, value in made.items():
                out[what][number, :len(value)] = value
            out['atom_mask'][number, :len(made['atoms'])] = 1
    else:
        split = [_tokens(line, name) for line, name in zip(lines, names)]
        for line, name in zip(split, names):
            _fits(len(line), known['length'], 'length', name)
        out['tokens'] = smiles_tokens.numbers(split, known['vocabulary'], known['length'])
        out['token_mask'] = (out['tokens'] != smiles_tokens.PAD).astype(np.float32)
    values = np.array([rdkit_features.described(molecule, wanted) for molecule in parsed], np.float64)
    values = values.reshape(len(lines), len(wanted))
    out['described'] = ((values - np.array(known['mean'])) / np.array(known['std'])).astype(np.float32)
    return out


def dataset(source: Source, *, form: str = 'graphs', atoms: int = 48, bonds: int = 56, length: int = 96,
            descriptors: Sequence[str] = (), rewritings: int = 0, repeated: str = 'drop') -> Molecules:
    """Makes a source's molecules a data set.

    Args:
      source: molecules with something measured, and their SMILES as a column.
      form: 'graphs', for which RDKit is needed, or 'tokens'.
      atoms: most atoms of a graph, without hydrogens; all are padded to as many.
      bonds: most bonds of a graph.
      length: most tokens of a SMILES.
      descriptors: names of `chemistry.DESCRIPTORS` that the network is told besides (RDKit).
      rewritings: other SMILES of each molecule, drawn at random, that training draws from as well (RDKit).
      repeated: what becomes of training molecules that validate or test as well: 'drop' or 'keep'. Both are told.

    Raises:
      InputError: an option, a SMILES or a value that is none; a molecule beyond a limit; a target that no training
        molecule has.
    """
    if source.problem != 'regression' or not all('smiles' in case.columns for case in source.cases):
        raise InputError('config.data: molecules need a source of SMILES with something measured, such as compounds')
    if form not in FORMS:
        raise InputError(f'config.data.form: {form!r}; expected one of: {", ".join(FORMS)}')
    if min(atoms, bonds, length) < 1 or not 0 <= rewritings <= VARIED:
        raise InputError(f'config.data: atoms={atoms}, bonds={bonds}, length={length}, rewritings={rewritings}; '
                         f'expected at least 1 each, and 0 to {VARIED}')
    if rewritings and form != 'tokens':
        raise InputError(f"config.data.rewritings: {rewritings}; expected 0 for graphs, which no rewriting changes")
    if repeated not in ('drop', 'keep'):
        raise InputError(f"config.data.repeated: {repeated!r}; expected 'drop' or 'keep'")
    for name in descriptors:
        if name not in rdkit_features.DESCRIPTORS:
            raise InputError(f'config.data.descriptors: {name!r}; expected some of: {", ".join(rdkit_features.DESCRIPTORS)}')
    for case in source.cases:
        _check(case, source.classes)
    source, told = _without_repeated(source, repeated)
    train = [case for case in source.cases if case.split == 'train']
    for number, name in enumerate(source.classes):
        if not any(np.isfinite(case.target.values[number]) for case in train):
            raise InputError(f'config.data.source: {name} is measured in none of the {len(train)} training molecules; '
                             'expected some')
    values = np.array([rdkit_features.described(rdkit_features.parse(case.columns['smiles'], case.id), tuple(descriptors))
                       for case in train] if descriptors else np.zeros((len(train), 0)), np.float64)
    std = values.std(0)
    known = {'form': form, 'atoms': atoms, 'bonds': bonds, 'length': length, 'vocabulary': [],
             'descriptors': list(descriptors), 'mean': values.mean(0).tolist(),
             'std': np.where(std > 0, std, 1.0).tolist()}
    made = Molecules(source, known, rewritings, told)
    if form == 'tokens':
        lines = [line for number, case in enumerate(source.cases) if case.split == 'train'
                 for line in (case.columns['smiles'], *made._rewritten(number, case))]
        known['vocabulary'] = smiles_tokens.vocabulary([_tokens(line, 'a training molecule') for line in lines])
    return made


def _without_repeated(source: Source, repeated: str) -> tuple[Source, tuple[str, ...]]:
    """Molecules that are in two splits: out of training, if so wanted, and told."""
    known = rdkit_features.installed()
    one = [rdkit_features.canonical(rdkit_features.parse(case.columns['smiles'], case.id)) if known else case.columns['smiles']
           for case in source.cases]
    held = {name: case.split for name, case in zip(one, source.cases) if case.split != 'train'}
    again = [number for number, case in enumerate(source.cases) if case.split == 'train' and one[number] in held]
    if not again:
        return source, ()
    names = few([source.cases[number].id for number in again])
    if repeated == 'keep':
        return source, (f'Training molecules that validate or test as well: {len(again)} ({names}).',)
    kept = tuple(case for number, case in enumerate(source.cases) if number not in set(again))
    return dataclasses.replace(source, cases=kept), (
        f'Left out of training, for they validate or test as well: {len(again)} molecules ({names}).',)


def _check(case: Case, names: Sequence[str]) -> None:
    if not isinstance(case.target, Measured) or len(case.target.values) != len(names):
        raise InputError(f'{case.id}: {case.target}; expected a number for each of {", ".join(names)}')
    for name, value in zip(names, case.target.values):
        if np.isinf(value):
            raise InputError(f'{case.id}: {name} is {value}; expected a number, or nothing')


def _tokens(line: str, name: str) -> list[str]:
    try:
        return smiles_tokens.tokens(line)
    except ValueError as error:
        raise InputError(f'{name}: SMILES {line!r} has {error}; expected a SMILES') from error


def _fits(count: int, most: int, key: str, name: str) -> None:
    if count > most:
        what = 'tokens' if key == 'length' else key
        raise InputError(f'{name}: {count} {what}; expected at most {most}: raise config.data.{key}')
