"""The settings of a sweep, and the trainings that they are: every setting with every seed and fold."""

import argparse
import dataclasses
import itertools
import pathlib
import re
import shlex
from collections.abc import Sequence

from medjax import assemble, cli
from medjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
      setting: its name.
      pair: seed and fold, by which it is paired with a run of another setting.
      folder: its work folder.
      arguments: of `python -m medjax.train`, without the folder.
    """

    setting: str
    pair: tuple[int, int]
    folder: pathlib.Path
    arguments: tuple[str, ...]

    @property
    def finished(self) -> bool:
        """Whether the run has a report, which is written last."""
        return (self.folder / 'report.html').exists()


def settings(grids: Sequence[str], named: Sequence[str] = ()) -> dict[str, list[str]]:
    """The arguments of each setting, by its name: all combinations of the grids' values and of the named settings.

    Args:
      grids: each 'KEY=VALUE,VALUE'; commas in brackets belong to a value.
      named: each 'NAME: ARGUMENT ARGUMENT …', arguments as in a shell.

    Returns:
      By name, which is '' where there are neither grids nor named settings.

    Raises:
      InputError: a grid without values, or two of one key; a named setting without a name, or two of one name.
    """
    choices: list[list[tuple[str, list[str]]]] = []
    if named:
        parts = [one.partition(':') for one in named]
        names = [name.strip() for name, _, _ in parts]
        if len({*names}) < len(names) or not all(re.fullmatch(r'[\w.=,+()-]+(/[\w.=,+()-]+)*', name)
                                                 and not {'.', '..'} & {*name.split('/')} for name in names):
            raise InputError(f'--setting: {", ".join(map(repr, names))}; expected "NAME: --config.KEY=VALUE …" with '
                             'different names that are valid folders')
        choices.append([(name, words(rest, f'--setting={name}')) for name, (_, _, rest) in zip(names, parts)])
    keys = set()
    for grid in grids:
        key, _, values = grid.partition('=')
        found = re.split(r',(?![^(\[]*[)\]])', values)
        if not key or not all(found) or key in keys or len({*found}) < len(found):
            raise InputError(f'--grid={grid}; expected KEY=VALUE,VALUE with different values, and each key once')
        keys.add(key)
        choices.append([(re.sub(r'[^\w.=,+()-]', '-', f'{key}={value}'),
                         [f'--{key}={value}' if key == 'config' else f'--config.{key}={value}']) for value in found])
    return {'_'.join(name for name, _ in chosen): [argument for _, arguments in chosen for argument in arguments]
            for chosen in itertools.product(*choices)}


def words(text: str, option: str) -> list[str]:
    """The words of an option's value, as a shell has them.

    Raises:
      InputError: a quotation mark without the other one.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError(f'{option}: {text.strip()}: {error}; expected words as in a shell') from error


def runs(given: argparse.Namespace, workdir: pathlib.Path) -> list[Run]:
    """All runs of a sweep; in every argument `{seed}` and `{fold}` are the run's.

    Args:
      given: the arguments of a sweep, see `command.parser`.
      workdir: its folder.
    """
    return [training(given, workdir, name, arguments, seed, fold) for seed, (name, arguments), fold in
            itertools.product(range(given.seeds), settings(given.grid, given.setting).items(),
                              range(given.folds or 1))]


def training(given: argparse.Namespace, workdir: pathlib.Path, name: str, own: Sequence[str], seed: int, fold: int,
             nested: bool = True) -> Run:
    """The run of a setting with a seed and a fold.

    Args:
      given: see `runs`, as for workdir.
      workdir: …
      name: of the setting.
      own: its arguments.
      seed: number of the seed.
      fold: number of the fold; not used without folds.
      nested: whether each fold tests other patients; else all have the same test patients.
    """
    folds = (f'({given.folds},{given.inner})', f'({fold},0)') if nested else (str(given.folds), str(fold))
    split = [f'--config.data.folds={folds[0]}', f'--config.data.fold={folds[1]}'] if given.folds else []
    config = [f'--config={given.config}'] if given.config else []
    # The config first: the others change its keys, in their order.
    more = sorted([*own, *given.others], key=lambda argument: not argument.startswith('--config='))
    arguments = [*config, *more, f'--config.seed={seed}', *split]
    return Run(name, (seed, fold), workdir / name / (f'fold{fold}_seed{seed}' if given.folds else f'seed{seed}'),
               tuple(argument.replace('{seed}', str(seed)).replace('{fold}', str(fold)) for argument in arguments))


def check(wanted: Sequence[Run]) -> None:
    """Checks the config of each setting, without reading data.

    Raises:
      InputError: with the setting's name, and the key that the config does not have, or its value that is not valid.
    """
    first: dict[str, Run] = {}
    for run in wanted:
        first.setdefault(run.setting, run)
    for name, run in first.items():
        try:
            assemble.check_keys(cli.read_config(run.arguments))
        except InputError as error:
            raise InputError(f'setting {name}: {error}' if name else str(error)) from None
