"""Several finished runs: compared with each other, averaged as an ensemble, or merged over folds and seeds."""

import collections
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from medjax import atomic_files, outputs, restore
from medjax.core import config as configs
from medjax.errors import InputError
from medjax.report import run_files
from medjax.report.run_files import Run
from medjax.report.tables import headline_lines
from medjax.tasks.family import Combined, Family, of_config

WRITTEN = ('comparison.json', 'predictions.csv', 'config.json', 'results.json', 'report.html')  # all that may be


def read(paths: Sequence[str]) -> tuple[list[Run], Family]:
    """Reads two or more evaluated runs of one family.

    Args:
      paths: the runs' folders.

    Returns:
      The runs, and their family.

    Raises:
      InputError: fewer than two; a folder without results; runs of different families, classes or problems.
    """
    if len(paths) < 2:
        raise InputError(f'{len(paths)} runs; expected two folders of runs, or more')
    runs = [run_files.read(pathlib.Path(path)) for path in paths]
    first = runs[0]
    for path, run in zip(paths, runs):
        if not run.predictions or not run.results:
            raise InputError(f'{path}: no predictions.csv or results.json there; expected an evaluated run')
        for key in ('classes', 'problem'):
            found, expected = run.results.get(key), first.results.get(key)
            if found != expected:
                raise InputError(f'{path}: {key} {found}; expected {expected}, as in {paths[0]}')
        found, expected = of_config(run.config).name, of_config(first.config).name
        if found != expected:
            raise InputError(f'{path}: a run of {found}; expected {expected}, as in {paths[0]}')
    return runs, of_config(first.config)


def compare(paths: Sequence[str], out: pathlib.Path | None) -> None:
    """Compares two runs on the test cases that both have, and prints the differences.

    Args:
      paths: the two folders.
      out: a folder for `comparison.json`, if wanted.

    Raises:
      InputError: as `read`; not two runs; `out` is the folder of a run; a family whose runs cannot be compared.
    """
    if len(paths) != 2:
        raise InputError(f'--compare: {len(paths)} runs; expected two folders')
    _check_output(paths, out)
    runs, family = read(paths)
    name_a, name_b = paths
    found = family.command('compare')(*runs)
    content = found.content
    if out is not None:
        atomic_files.write_json(out / 'comparison.json', {'a': name_a, 'b': name_b, **content})
    print(f'{name_a} (a) against {name_b} (b): {content["cases"]} {content["split"]} cases of '
          f'{content["patients"]} patients')
    metrics, classes = family.metrics, runs[0].classes
    for name, entry in sorted(content['metrics'].items(), key=lambda pair: not metrics.is_headline(pair[0], classes)):
        difference = entry['difference']
        limits = difference['ci95']
        interval = f' [{limits[0]:+.3f}, {limits[1]:+.3f}]' if limits else f' ({difference.get("why")})'
        print(f'{name:28} a {entry["a"]:.3f}   b {entry["b"]:.3f}   a − b {difference["value"]:+.3f}{interval}')
    for line in found.tests:
        print(line)
    for line in found.warnings:
        print(f'warning: {line}')


def ensemble(paths: Sequence[str], out: pathlib.Path) -> dict[str, Any]:
    """Averages the predictions of several runs: a folder with the mean prediction, its results and report.

    Args:
      paths: the runs' folders.
      out: the folder for the ensemble.

    Returns:
      The content of its `results.json`.

    Raises:
      InputError: as `read`; `out` is the folder of a run; a family whose predictions cannot be averaged.
    """
    _check_output(paths, out)
    runs, family = read(paths)
    return _write(out, paths, runs, family, family.command('ensemble')(runs, paths))


def merge(paths: Sequence[str], out: pathlib.Path) -> dict[str, Any]:
    """Merges runs over folds and seeds: a folder with their predictions, joint results and report.

    Args:
      paths: the runs' folders.
      out: the folder for the result.

    Returns:
      The content of its `results.json`.

    Raises:
      InputError: as `read`; `out` is the folder of a run; nested folds of which one is missing; a family whose runs
        cannot be merged.
    """
    _check_output(paths, out)
    if len(set(paths)) < len(paths):
        raise InputError(f'--merge: {" ".join(paths)}; expected each run once')
    runs, family = read(paths)
    by_path = dict(zip(paths, runs))
    _check_folds(by_path)
    return _write(out, paths, runs, family, family.command('merge')(by_path))


def _check_output(paths: Sequence[str], out: pathlib.Path | None) -> None:
    """Refuses an output folder that is a run's: its own files would be lost."""
    if out is not None and ((out / 'checkpoints').exists()
                            or out.resolve() in [pathlib.Path(path).resolve() for path in paths]):
        raise InputError(f'--workdir={out}: the folder of a run; expected another one for the result')
    if out is not None:
        read_files = (file for path in map(pathlib.Path, paths) if path.is_dir() for file in outputs.run_files(path))
        outputs.check_outputs([out / name for name in WRITTEN], read_files, f'--workdir={out}', ('checkpoints',))


def _check_folds(runs: Mapping[str, Run]) -> None:
    """Refuses nested folds, which test each case once, of which one is missing."""
    first, expected = next(iter(runs)), None
    found: dict[Any, collections.Counter[int]] = {}
    for path, run in runs.items():
        folds = run.section('data').get('folds')
        folds = folds if isinstance(folds, Sequence) and len(folds) > 1 else None
        if path == first:
            expected = folds
        if folds != expected:
            raise InputError(f'{path}: config.data.folds: {folds}; expected {expected}, as in {first}')
        if folds:
            found.setdefault(run.config.get('seed'), collections.Counter())[run.section('data')['fold'][0]] += 1
    for seed, times in found.items():
        for fold in range(expected[0]):
            if times[fold] < max(times.values()):
                raise InputError(f'--merge: fold {fold} of {expected[0]} with seed {seed} is missing; expected every '
                                 'fold once for each seed')


def _single_values(paths: Sequence[str], runs: Sequence[Run], splits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Each run's own metrics on some splits; those of other splits than `test` begin with the split's name."""
    return {path: {name if split == 'test' else f'{split} {name}': entry['value'] for split in splits
                   for name, entry in run.results[split].items()} for path, run in zip(paths, runs)}


def _write(out: pathlib.Path, paths: Sequence[str], runs: Sequence[Run], family: Family,
           found: Combined) -> dict[str, Any]:
    """Writes combined runs as a folder like a run's, with a report, and prints the headline metrics."""
    first = runs[0]
    atomic_files.write_table(out / 'predictions.csv', found.rows)
    atomic_files.write_text(out / 'config.json', configs.to_json(first.config))
    splits = [split for split, _ in dict.fromkeys((row['split'], row['id']) for row in found.rows)]
    kept = {key: first.results[key] for key in ('classes', 'problem', 'unit', 'length_unit', 'conventions')
            if key in first.results}
    single = {'runs': _single_values(paths, runs, found.splits)} if found.splits else {}
    notice = ' '.join(filter(None, [found.notice, first.results.get('notice')]))
    content = {**found.results, **single, **kept, 'notice': notice, 'of': list(paths),
               'counts': {split: splits.count(split) for split in dict.fromkeys(splits)}}
    atomic_files.write_json(out / 'results.json', content)
    path = restore.write_report(out)
    for line in headline_lines(content, family.metrics, first.classes):
        print(line)
    print(f'report: {path}', flush=True)
    return content
