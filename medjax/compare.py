"""Several finished runs: compared with each other, averaged as an ensemble, or merged over folds and seeds."""

import collections
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from medjax import assemble, atomic_files, outputs, restore
from medjax.core import config as configs
from medjax.core import contracts
from medjax.errors import InputError
from medjax.report import comparison, run_files
from medjax.report.run_files import Run
from medjax.report.tables import headline_lines
from medjax.statistics import intervals, paired, per_patient
from medjax.tasks.family import Combined, Comparable, Family, of_config

# All files that may be written.
WRITTEN = ('comparison.json', 'comparison.csv', 'predictions.csv', 'config.json', 'results.json', 'report.html',
           'checklist.csv', restore.ENSEMBLE)


def read(paths: Sequence[str], least: int = 2) -> tuple[list[Run], Family]:
    """Reads evaluated runs of one family.

    Args:
      paths: the runs' folders.
      least: the number of runs that is needed.

    Returns:
      The runs, and their family.

    Raises:
      InputError: too few; a folder without results; runs of different families, classes or problems.
    """
    if len(paths) < least:
        expected = 'a folder of a run' if least == 1 else 'two folders of runs'
        raise InputError(f'{len(paths)} runs; expected {expected}, or more')
    runs = [run_files.read(pathlib.Path(path)) for path in paths]
    first = runs[0]
    for path, run in zip(paths, runs):
        if not run.predictions or not run.results:
            raise InputError(f'{path}: no predictions.csv or results.json there; expected an evaluated run')
        for key in ('classes', 'problem', 'length_unit'):
            found, expected = run.results.get(key), first.results.get(key)
            if found != expected:
                raise InputError(f'{path}: {key} {found}; expected {expected}, as in {paths[0]}')
        found, expected = of_config(run.config).name, of_config(first.config).name
        if found != expected:
            raise InputError(f'{path}: a run of {found}; expected {expected}, as in {paths[0]}')
    return runs, of_config(first.config)


def compare(paths: Sequence[str], out: pathlib.Path | None, every: bool = False,
            names: Sequence[str] = ()) -> dict[str, Any]:
    """Compares runs on the same test cases, and prints the differences with intervals and p values.

    Args:
      paths: the runs' folders.
      out: a folder for `comparison.json`, `comparison.csv` and `report.html`, if wanted.
      every: whether every two runs are compared, and not the first one with each other one.
      names: metrics to compare; by default all that the network has in all runs.

    Returns:
      The content of `comparison.json`.

    Raises:
      InputError: as `read`; a run is given twice; the runs have other cases, or disagree about what is known of them;
        `out` is the folder of a run; an unknown metric; a family whose runs cannot be compared.
    """
    _check_output(paths, out)
    if len(set(paths)) < len(paths):
        raise InputError(f'--compare: {" ".join(paths)}; expected each run once')
    runs, family = read(paths)
    compare_rows = family.command('compare')
    tables = {path: run.predictions for path, run in zip(paths, runs)}
    content: dict[str, Any] = {'runs': list(paths), 'family': family.name, 'splits': {}, 'comparisons': []}
    unit, warnings, resamples = runs[0].analysis_unit, [], 2000
    for split in [split for split in runs[0].splits if split.startswith('test')] or ['test']:
        rows = paired.same_cases(tables, split)
        found: Comparable = compare_rows(runs, rows)
        for path, others in zip(paths[1:], rows[1:]):
            paired.check_columns(rows[0], others, found.known, path, paths[0])
        by_path, patients = dict(zip(paths, found.tables)), per_patient.patient_numbers(rows[0])
        pairs = paired.pairs(paths, every)
        compared, left_out = paired.compare(by_path, found.metrics, found.counted, patients, pairs,
                                            hits=found.hits, names=names, resamples=resamples)
        for one in compared:
            tests = found.tests(by_path[one['a']], by_path[one['b']]) if found.tests else {}
            content['comparisons'].append({'split': split, **one, 'tests': tests})
        content['splits'][split] = {'n': int(patients.max()) + 1, 'cases': len(patients), 'unit': unit}
        warnings += found.warnings
        if left_out:
            warnings.append(f'{split}: metrics that not all runs have are left out: {", ".join(left_out)}')
    content = intervals.in_unit(content, unit)
    content['p_values'] = paired.adjust(content['comparisons'])
    content['method'] = paired.METHOD.format(unit=unit, count=content['p_values'], resamples=resamples)
    content['warnings'] = comparison.small_sample_warnings(content['splits']) + warnings
    for line in comparison.console_lines(content):
        print(line)
    if out is not None:
        _write_comparison(out, content, family, runs[0])
    return content


def _write_comparison(out: pathlib.Path, content: Mapping[str, Any], family: Family, first: Run) -> None:
    """Writes a comparison as JSON, CSV and HTML."""
    atomic_files.write_json(out / 'comparison.json', content)
    atomic_files.write_table(out / 'comparison.csv', comparison.table_rows(content))
    metrics = family.metrics.in_unit(first.length_unit)
    command = f'python -m medjax.evaluate --compare {" ".join(content["runs"])} --workdir={out}'
    atomic_files.write_text(out / 'report.html', comparison.render(content, metrics, first.classes, command))
    print(f'report: {out / "report.html"}', flush=True)


class Members:
    """The networks of several runs, restored when they are asked for; see `tasks.family.Members`.

    Attributes:
      first: the folder of the run whose evaluator measures.
    """

    def __init__(self, first: str):
        self.first = first
        self._trained: dict[str, tuple[contracts.Predictor, Any]] = {}

    @functools.cached_property
    def evaluator(self) -> contracts.Evaluator:
        """The evaluator of the first run, with its data set."""
        return assemble.of_run(pathlib.Path(self.first).resolve())[1].evaluator

    def trained(self, path: str) -> tuple[contracts.Predictor, Any]:
        """The predictor of a run and its variables."""
        if path not in self._trained:
            found = restore.restore(pathlib.Path(path).resolve())
            self._trained[path] = found.predictor, found.variables
        return self._trained[path]


def ensemble(paths: Sequence[str], out: pathlib.Path, choose: bool = False,
             labels: bool = False) -> dict[str, Any]:
    """Averages the predictions of several runs: a folder with the mean prediction, its results and report.

    Args:
      paths: the runs' folders.
      out: the folder for the ensemble. With `ensemble.json` there, `predict` and `evaluate` use it like a run.
      choose: whether configurations and post-processing are chosen by the validation cases.
      labels: whether the labels of all cases are written, by runs that did not train with them, for a second stage.

    Returns:
      The content of its `results.json`.

    Raises:
      InputError: as `read`; `out` is the folder of a run; a family whose predictions cannot be averaged.
    """
    _check_output(paths, out)
    runs, family = read(paths, 1 if choose else 2)
    return _write(out, paths, runs, family, _averaged(family, runs, paths, out, choose=choose, labels=labels))


def evaluate_again(out: pathlib.Path) -> dict[str, Any]:
    """Evaluates an ensemble again by its `ensemble.json`: its runs with its post-processing.

    Args:
      out: the folder of the ensemble.

    Returns:
      The content of its `results.json`.

    Raises:
      InputError: as `read`.
    """
    chosen = restore.read_ensemble(out)
    runs = [run_files.read(pathlib.Path(path)) for path in chosen['runs']]
    family = of_config(runs[0].config)
    return _write(out, chosen['runs'], runs, family, _averaged(family, runs, chosen['runs'], out, chosen=chosen))


def _averaged(family: Family, runs: Sequence[Run], paths: Sequence[str], out: pathlib.Path,
              **options: Any) -> Combined:
    """The mean prediction of runs as one result."""
    return family.command('ensemble')(runs, paths, Members(paths[0]), out, **options)


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
    if found.chosen:
        restore.write_ensemble(out, found.chosen)
    splits = [split for split, _ in dict.fromkeys((row['split'], row['id']) for row in found.rows)]
    kept = {key: first.results[key] for key in ('classes', 'problem', 'unit', 'length_unit', 'conventions')
            if key in first.results}
    single = {'runs': _single_values(paths, runs, found.splits)} if found.splits else {}
    notice = ' '.join(filter(None, [found.notice, first.results.get('notice')]))
    content = {**intervals.in_unit(found.results, first.analysis_unit), **single, **kept, 'notice': notice,
               'of': list(paths), 'counts': {split: splits.count(split) for split in dict.fromkeys(splits)}}
    atomic_files.write_json(out / 'results.json', content)
    path = restore.write_report(out)
    for line in headline_lines(content, family.metrics, first.classes):
        print(line)
    print(f'report: {path}', flush=True)
    return content
