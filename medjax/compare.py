"""What several finished runs say together: against each other, as an ensemble, as folds and seeds of one experiment."""

import collections
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from medjax import atomic_files
from medjax.core import config as configs
from medjax.data.splits import nested
from medjax.errors import InputError
from medjax.report import page, run_files
from medjax.statistics import cross_validation
from medjax.tasks.classification import summary
from medjax.tasks.classification.compare import compare, ensemble
from medjax.tasks.classification.table import PROBLEMS
from medjax.tasks.forecasting import summary as forecasting_summary
from medjax.tasks.survival import summary as survival_summary
from medjax.tasks.treatment import summary as treatment_summary

FIRST = ('auroc', 'auprc', 'accuracy', 'balanced_accuracy')  # of the figures of a comparison
# Figures of what is measured case by case that are printed begin so.
TOLD = ('dice', 'c_index', 'ap', 'r2', 'rmse', 'mase', 'pehe', 'ate_error')


def read(paths: Sequence[str]) -> list[run_files.Run]:
    """Reads two or more evaluated runs by their folders.

    Raises:
      InputError: too few of them; a folder without results; runs of different classes or problems.
    """
    if len(paths) < 2:
        raise InputError(f'{len(paths)} runs; expected two folders of runs, or more')
    runs = [run_files.read(pathlib.Path(path)) for path in paths]
    first = runs[0].results
    for path, run in zip(paths, runs):
        if not run.predictions or not run.results:
            raise InputError(f'{path}: no predictions.csv or results.json there; expected an evaluated run')
        for key in ('classes', 'problem'):
            if run.results.get(key) != first.get(key):
                raise InputError(f'{path}: {key} {run.results.get(key)}; expected {first.get(key)}, as in {paths[0]}')
    return runs


def against(paths: Sequence[str], out: pathlib.Path | None) -> None:
    """Compares two runs on the test cases that both have, prints the differences, and keeps them in `comparison.json`.

    Args:
      paths: of the two.
      out: a folder for `comparison.json`, if wanted.

    Raises:
      InputError: as `read`; not two runs; the folder is that of a run.
    """
    if len(paths) != 2:
        raise InputError(f'--compare: {len(paths)} runs; expected two folders')
    _apart(paths, out)
    (a, b), (name_a, name_b) = read(paths), paths
    found = compare(a.predictions, b.predictions, _problem(a, name_a), a.classes)
    if out is not None:
        atomic_files.write_json(out / 'comparison.json', {'a': name_a, 'b': name_b, **found})
    print(f'{name_a} (a) against {name_b} (b): {found["cases"]} {found["split"]} cases of {found["patients"]} patients')
    for name, entry in sorted(found['metrics'].items(), key=lambda pair: pair[0] not in FIRST):
        difference = entry['difference']
        limits = difference['ci95']
        sure = f' [{limits[0]:+.3f}, {limits[1]:+.3f}]' if limits else f' ({difference.get("why")})'
        print(f'{name:28} a {entry["a"]:.3f}   b {entry["b"]:.3f}   a − b {difference["value"]:+.3f}{sure}')
    for test in ('delong', 'mcnemar'):
        for label, entry in ({'': found[test]} if 'p' in found[test] else found[test]).items():
            print(f'{test} {label}  ' + (entry['why'] if entry['p'] is None else f'p = {entry["p"]:.4g}'))
    for line in found['warnings']:
        print(f'beware: {line}')


def together(paths: Sequence[str], out: pathlib.Path) -> dict[str, Any]:
    """Makes an ensemble of runs: a folder with the mean of their probabilities, its results and report.

    Args:
      paths: of the runs.
      out: a folder for it.

    Returns:
      The content of its `results.json`.

    Raises:
      InputError: as `read`; the folder is that of a run.
    """
    _apart(paths, out)
    runs = read(paths)
    first = runs[0]
    problem = _problem(first, paths[0])
    rows = ensemble([run.predictions for run in runs], problem, first.classes)
    options = first.section('evaluate')
    made = summary.summarise(rows, problem, first.classes, subgroups=options.get('subgroups') or (),
                                    sensitivity=options.get('sensitivity'), coverage=options.get('coverage', 0.9))
    notice = f'The mean of the probabilities of {len(runs)} runs: {", ".join(paths)}.'
    return _write(out, first, rows, {**made.pop('metrics'), 'analysis': made}, notice, paths)


def folds(paths: Sequence[str], out: pathlib.Path) -> dict[str, Any]:
    """Merges runs over folds and seeds: a folder with their pooled predictions, results and report.

    Args:
      paths: of the runs.
      out: a folder for them.

    Returns:
      The content of its `results.json`.

    Raises:
      InputError: as `read`; the folder is that of a run; a run is there twice; nested folds of which one is missing.
    """
    _apart(paths, out)
    runs = read(paths)
    first, tables = runs[0], {path: run.predictions for path, run in zip(paths, runs)}
    if len(tables) < len(paths):
        raise InputError(f'--merge: {" ".join(paths)}; expected each run once')
    _all_folds(paths, runs)
    problem = first.results.get('problem')
    if problem == 'treatment':
        return _realised(out, first, tables)
    # Dynamic prediction tests at several times, each of which is a split.
    tested = [split for split in first.splits if split.startswith('test')] if problem == 'survival' else ['test']
    rounds = cross_validation.rounds(tables, tested[0])
    count, analysis, shown, of = len(rounds), {}, 'the predictions of all runs', 'patient'
    rows = [{'run': path, **row} for path, table in tables.items() for row in table if row['split'] == 'test']
    if problem == 'detection':
        raise InputError('--merge: runs of detection; expected classification, segmentation, survival or regression')
    if problem == 'survival':
        rows, analysis = _averaged(tables, first, tested)
        found = {split: cross_validation.survival(tables, first.classes, analysis['horizons'], split) for split in tested}
        shown = "the mean of all runs' predictions"
    elif problem == 'regression':
        of = next(iter(first.results['test'].values()))['unit']
        figures, rows = cross_validation.regression(tables, first.classes, of)
        found, shown = {'test': figures}, "the mean of all runs' predictions"
    elif problem == 'forecast':
        known = [first.results['analysis'][key] for key in ('measured', 'within', 'leads')]
        figures, rows = cross_validation.forecast(tables, known[0], first.classes, *known[1:])
        analysis = {key: value for key, value in forecasting_summary.summarise(
            rows, known[0], first.classes, *known[1:], resamples=1).items() if key != 'metrics'}
        found, shown = {'test': figures}, "the mean of all runs' predictions"
    elif problem == 'anomaly':
        known = {key: first.results['analysis'][key] for key in ('normal', 'score')}
        figures, rows = cross_validation.anomaly(tables, **known)
        found, shown, analysis = {'test': figures}, "the mean of all runs' scores", {**known, 'threshold': None}
    elif problem and problem != 'beats':
        found = {'test': cross_validation.classification(tables, problem, first.classes)}
        analysis = _subgroups(rounds, first)
    else:
        found = {'test': cross_validation.means(tables, list(first.results['test']))}
    notice = (f'{len(runs)} runs over folds and seeds, which tested every case {count} time{"s" * (count > 1)}: '
              f'figures are means over those times, of all folds taken together; intervals are over {of}s. The '
              f'charts show {shown}.')
    single = {path: {name if split == 'test' else f'{split} {name}': entry['value'] for split in tested
                     for name, entry in run.results[split].items()} for path, run in zip(paths, runs)}
    return _write(out, first, rows, {**found, 'runs': single, 'analysis': analysis}, notice, paths)


def _realised(out: pathlib.Path, first: run_files.Run,
              tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Merges runs on several realisations of a simulation, of which each has test cases of its own."""
    found, rows = treatment_summary.realised(tables)
    notice = (f'{len(tables)} runs, each on a realisation of its own: figures are means over them, and intervals are '
              'over realisations.')
    return _write(out, first, rows, {**found, 'realisations': len(tables)}, notice, list(tables))


def _averaged(tables: Mapping[str, Sequence[Mapping[str, Any]]], first: run_files.Run,
              tested: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Of runs of survival each patient's mean prediction, and what it comes to."""
    # Nested folds validate on other patients each time, who do not add up.
    same = all(any(row['split'] == 'val' for row in table) for table in tables.values()) and not nested(
        first.section('data').get('folds') or ())
    rows = [row for split in [*['val'] * same, *tested] for row in cross_validation.averaged(cross_validation.rounds(tables, split))]
    analysis = survival_summary.summarise(rows, first.classes, unit=first.results.get('unit', ''),
                                  horizons=first.section('evaluate').get('horizons') or ())
    return [row for row in rows if row['split'] != 'val'], {
        key: {split: value[split] for split in tested} if key in ('groups', 'calibration') else value
        for key, value in analysis.items() if key != 'metrics'}


def _apart(paths: Sequence[str], out: pathlib.Path | None) -> None:
    """Refuses a folder for results that is a run's: its own would be lost."""
    if out is not None and ((out / 'checkpoints').exists()
                            or out.resolve() in [pathlib.Path(path).resolve() for path in paths]):
        raise InputError(f'--workdir={out}: the folder of a run; expected another one for the result')


def _all_folds(paths: Sequence[str], runs: Sequence[run_files.Run]) -> None:
    """Refuses nested folds, which test each case once, of which one is missing."""
    parts = [run.section('data').get('folds') for run in runs]
    parts = [of if isinstance(of, Sequence) and len(of) > 1 else None for of in parts]
    there: dict[Any, collections.Counter[int]] = {}
    for path, run, of in zip(paths, runs, parts):
        if of != parts[0]:
            raise InputError(f'{path}: config.data.folds: {of}; expected {parts[0]}, as in {paths[0]}')
        if of:
            there.setdefault(run.config.get('seed'), collections.Counter())[run.section('data')['fold'][0]] += 1
    for seed, times in there.items():
        for fold in range(parts[0][0]):
            if times[fold] < max(times.values()):
                raise InputError(f'--merge: fold {fold} of {parts[0][0]} with seed {seed} is missing; expected every '
                                 'fold once for each seed')


def _subgroups(rounds: Sequence[Sequence[Mapping[str, Any]]], first: run_files.Run) -> dict[str, Any]:
    """The analysis by subgroup of folds that tested every case once."""
    columns = first.section('evaluate').get('subgroups') or ()
    if not columns or len(rounds) > 1:
        return {'warnings': ['every case was tested several times: not parted by subgroup']} if columns else {}
    found = summary.summarise(rounds[0], first.results['problem'], first.classes, subgroups=columns)
    return {'subgroups': found['subgroups'],
            'warnings': [line for line in found['warnings'] if line.startswith(tuple(columns))]}


def _problem(run: run_files.Run, path: str) -> str:
    if run.results.get('problem') not in PROBLEMS:
        raise InputError(f'{path}: a run without classes of whole images; expected a classification')
    return run.results['problem']


def _write(out: pathlib.Path, first: run_files.Run, rows: Sequence[Mapping[str, Any]], results: Mapping[str, Any],
           notice: str, paths: Sequence[str]) -> dict[str, Any]:
    atomic_files.write_table(out / 'predictions.csv', rows)
    atomic_files.write_text(out / 'config.json', configs.to_json(first.config))
    splits = [split for split, _ in dict.fromkeys((row['split'], row['id']) for row in rows)]  # a case counts once
    kept = {key: first.results[key] for key in ('classes', 'problem', 'unit', 'conventions') if key in first.results}
    content = {**results, **kept, 'counts': {split: splits.count(split) for split in dict.fromkeys(splits)},
               'notice': ' '.join(filter(None, [notice, first.results.get('notice')])), 'of': list(paths)}
    atomic_files.write_json(out / 'results.json', content)
    path = page.write(out)
    for split in content['counts']:
        for name, entry in content.get(split, {}).items():
            if name in FIRST or name.startswith(TOLD):
                print(_told(f'{split} {name}', entry))
    print(f'report: {path}', flush=True)
    return content


def _told(name: str, entry: Mapping[str, Any]) -> str:
    limits, spread = entry.get('ci95'), entry.get('run_sd')
    text = f'{name:25} {entry["value"]:.3f}' + (f' [{limits[0]:.3f}, {limits[1]:.3f}]' if limits else '')
    return f'{text} (n={entry["n"]})' + (
        '' if spread is None else f'   {entry["run_mean"]:.3f} ± {spread:.3f} over {entry["runs"]} runs')
