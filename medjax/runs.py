"""What several finished runs say together: against each other, as an ensemble, as folds and seeds of one experiment."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from medjax import whole
from medjax.analysis import classification, crossval, report, workdir
from medjax.analysis.compare import compare, ensemble
from medjax.core import config as configs
from medjax.errors import InputError

FIRST = ('auroc', 'auprc', 'accuracy', 'balanced_accuracy')  # of the figures of a comparison


def read(paths: Sequence[str]) -> list[workdir.Run]:
    """Reads two or more evaluated runs by their folders.

    Raises:
      InputError: too few of them; a folder without results; runs of different classes or problems.
    """
    if len(paths) < 2:
        raise InputError(f'{len(paths)} runs; expected two folders of runs, or more')
    runs = [workdir.read(pathlib.Path(path)) for path in paths]
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
    """
    if len(paths) != 2:
        raise InputError(f'--compare: {len(paths)} runs; expected two folders')
    (a, b), (name_a, name_b) = read(paths), paths
    found = compare(a.predictions, b.predictions, _problem(a, name_a), a.classes)
    print(f'{name_a} (a) against {name_b} (b): {found["cases"]} {found["split"]} cases of {found["patients"]} patients')
    for name, entry in sorted(found['metrics'].items(), key=lambda pair: pair[0] not in FIRST):
        difference = entry['difference']
        limits = difference['ci95']
        sure = f' [{limits[0]:+.3f}, {limits[1]:+.3f}]' if limits else f' ({difference.get("why")})'
        print(f'{name:28} a {entry["a"]:.3f}   b {entry["b"]:.3f}   a − b {difference["value"]:+.3f}{sure}')
    for test in ('delong', 'mcnemar'):
        for label, entry in ({'': found[test]} if 'p' in found[test] else found[test]).items():
            print(f'{test} {label}  p = {entry["p"]:.4g}')
    for line in found['warnings']:
        print(f'beware: {line}')
    if out is not None:
        whole.write_json(out / 'comparison.json', {'a': name_a, 'b': name_b, **found})


def together(paths: Sequence[str], out: pathlib.Path) -> dict[str, Any]:
    """Makes an ensemble of runs: a folder with the mean of their probabilities, its results and report.

    Args:
      paths: of the runs.
      out: a folder for it.

    Returns:
      The content of its `results.json`.
    """
    runs = read(paths)
    first = runs[0]
    problem = _problem(first, paths[0])
    rows = ensemble([run.predictions for run in runs], problem, first.classes)
    options = first.section('evaluate')
    made = classification.summarise(rows, problem, first.classes, subgroups=options.get('subgroups') or (),
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
    """
    runs = read(paths)
    first, tables = runs[0], {path: run.predictions for path, run in zip(paths, runs)}
    if len(tables) < len(paths):
        raise InputError(f'--merge: {" ".join(paths)}; expected each run once')
    problem = first.results.get('problem')
    if problem:
        test = crossval.classification(tables, problem, first.classes)
    else:
        test = crossval.means(tables, list(first.results['test']))
    rows = [{'run': path, **row} for path, table in tables.items() for row in table if row['split'] == 'test']
    count = len(crossval.rounds(tables))
    notice = (f'{len(runs)} runs over folds and seeds, which tested every case {count} time{"s" * (count > 1)}: '
              'figures are means over those times, of all folds taken together; intervals are over patients. The '
              'charts show the predictions of all runs.')
    single = {path: {name: entry['value'] for name, entry in run.results['test'].items()}
              for path, run in zip(paths, runs)}
    return _write(out, first, rows, {'test': test, 'runs': single}, notice, paths)


def _problem(run: workdir.Run, path: str) -> str:
    if not run.results.get('problem'):
        raise InputError(f'{path}: a run without classes of whole images; expected a classification')
    return run.results['problem']


def _write(out: pathlib.Path, first: workdir.Run, rows: Sequence[Mapping[str, Any]], results: Mapping[str, Any],
           notice: str, paths: Sequence[str]) -> dict[str, Any]:
    whole.write_table(out / 'predictions.csv', rows)
    whole.write_text(out / 'config.json', configs.to_json(first.config))
    splits = [row['split'] for row in rows]
    kept = {key: first.results[key] for key in ('classes', 'problem', 'conventions') if key in first.results}
    content = {**results, **kept, 'counts': {split: splits.count(split) for split in dict.fromkeys(splits)},
               'notice': ' '.join(filter(None, [notice, first.results.get('notice')])), 'of': list(paths)}
    whole.write_json(out / 'results.json', content)
    print(f'report: {report.write(out)}', flush=True)
    return content
