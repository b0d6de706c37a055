"""Evaluates a trained run on its held-out cases, and writes predictions.csv, results.json and report.html.

    python -m medjax.evaluate --workdir=DIR [--split=test]
    python -m medjax.evaluate --compare RUN RUN … [--workdir=OUT]   runs of one family on the same cases, in pairs
    python -m medjax.evaluate --ensemble RUN RUN … --workdir=OUT    the mean of their probabilities as one result
    python -m medjax.evaluate --best RUN RUN … --workdir=OUT        likewise of those that validation cases choose
    python -m medjax.evaluate --merge RUN RUN … --workdir=OUT       folds and seeds of a cross-validation as one result
"""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medjax import cli

cli.prepare()

from absl import flags  # noqa: E402

from medjax import assemble, atomic_files, compare, restore  # noqa: E402
from medjax.core import distributed  # noqa: E402
from medjax.core.experiment import Experiment  # noqa: E402
from medjax.data import participants  # noqa: E402
from medjax.data.split_files import check_same_data  # noqa: E402
from medjax.errors import InputError  # noqa: E402
from medjax.processes import check_processes  # noqa: E402
from medjax.report.tables import headline_lines  # noqa: E402
from medjax.statistics import intervals  # noqa: E402
from medjax.tasks.family import of_config  # noqa: E402


def evaluate(config: Mapping[str, Any], experiment: Experiment, workdir: pathlib.Path,
             splits: Sequence[str] = (), from_step: int | None = None) -> dict[str, Any] | None:
    """Predicts every case of the splits and computes their metrics.

    Args:
      config: of the run.
      experiment: of the run.
      workdir: of the run; predictions and case snapshots go there.
      splits: which; all but the training split by default.
      from_step: the step of the checkpoint, in place of the best one.

    Returns:
      The content of `results.json`; None in other processes than the first, which predict a part of the cases.

    Raises:
      InputError: an unknown split; other data than the run was trained with.
    """
    data, evaluator = experiment.data, experiment.evaluator
    check_same_data(workdir, data.source.cases, data.fingerprint)
    splits = splits or [name for name in data.counts if name != 'train']
    for split in splits:
        if split not in data.counts:
            raise InputError(f'--split={split}: no such split; expected one of: {", ".join(data.counts)}')
    with restore.weights(config, workdir, from_step) as (checkpoints, step):
        abstract = experiment.plan.abstract_state(experiment.abstract_state())
        variables = experiment.plan.local(checkpoints.restore(step, abstract).variables())
    rows = _earlier(workdir, step, splits)
    keep = evaluator.snapshots_by_case or distributed.is_first()
    with distributed.splitting():
        for split in splits:
            rows += evaluator(variables, split, snapshots=workdir / 'cases' / split if keep else None)
    if not distributed.is_first():
        return None
    rows = evaluator.complete(rows)
    if not (workdir / participants.NAME).exists():  # a run of an earlier version
        atomic_files.write_json(workdir / participants.NAME, participants.describe(data))
    atomic_files.write_table(workdir / 'predictions.csv', rows)
    return {**_summary(config, experiment, rows), 'step': step, 'counts': data.counts, 'classes': data.source.classes,
            'notice': data.notice, 'source_notice': data.source.notice}


def measure(config: Mapping[str, Any], experiment: Experiment, workdir: pathlib.Path,
            variables: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of other weights on the validation and test cases of a run; nothing is written.

    Args:
      config: of the run.
      experiment: of the run.
      workdir: of the run.
      variables: of the network.

    Returns:
      For each split its metrics, as in `results.json`.

    Raises:
      InputError: other data than the run was trained with.
    """
    data, evaluator = experiment.data, experiment.evaluator
    check_same_data(workdir, data.source.cases, data.fingerprint)
    rows = [row for split in ('val', 'test') if split in data.counts for row in evaluator(variables, split)]
    return _summary(config, experiment, evaluator.complete(rows))


def _summary(config: Mapping[str, Any], experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The family's results of a predictions table, with n of what counts as one in the data."""
    results = of_config(config).function('summary', 'results')(rows, experiment.evaluator)
    unit = experiment.data.source.analysis_unit
    if unit != 'patient':
        results = intervals.in_unit(results, unit)
        results['conventions'] += f' In these results each {unit} counts as a patient of its own.'
    return results


def _earlier(workdir: pathlib.Path, step: int, splits: Sequence[str]) -> list[dict[str, Any]]:
    """Predictions of other splits by the same weights."""
    try:
        results = atomic_files.read_json(workdir / 'results.json')
        rows, _ = atomic_files.read_table(workdir / 'predictions.csv')
    except (OSError, ValueError):
        return []
    if results.get('step') != step:
        return []
    others = {name for name in results.get('counts', {}) if name in results and name not in splits}
    return [row for row in rows if row['split'] in others]


def publish(results: Mapping[str, Any], config: Mapping[str, Any], workdir: pathlib.Path,
            say: Callable[[str], None] = cli.say) -> None:
    """Writes results.json and report.html, and prints the headline metrics and the report's path."""
    atomic_files.write_json(workdir / 'results.json', results)
    path = restore.write_report(workdir)
    for line in headline_lines(results, of_config(config).metrics, results['classes']):
        say(line)
    say(f'report: {path}')


def main(more: Sequence[str]) -> None:
    """Reads the flags and evaluates."""
    wanted = [flag.name for flag in (COMPARE, ENSEMBLE, BEST, MERGE) if flag.value]
    if len(wanted) > 1 or (len(more) > 1 and not wanted):
        raise InputError(f'{" ".join(more[1:]) or wanted}: expected folders of runs after one of --compare, '
                         '--ensemble, --best and --merge')
    if WORKDIR.value is None and wanted != ['compare']:
        raise InputError('--workdir: expected the folder of a run, or one for the result')
    workdir = pathlib.Path(WORKDIR.value).resolve() if WORKDIR.value else None
    if wanted:
        if wanted == ['compare']:
            compare.compare(more[1:], workdir, ALL_PAIRS.value, METRICS.value)
        else:
            ensemble = functools.partial(compare.ensemble, labels=LABELS.value)
            {'ensemble': ensemble, 'best': functools.partial(ensemble, choose=True),
             'merge': compare.merge}[wanted[0]](more[1:], workdir)
        return
    if (workdir / restore.ENSEMBLE).is_file():
        if SPLIT.value or FROM_STEP.value is not None:
            raise InputError(f'--split, --from_step: {workdir} is an ensemble; expected neither')
        compare.evaluate_again(workdir)
        return
    with distributed.started(DISTRIBUTED.value):
        config, experiment = assemble.of_run(workdir)
        check_processes(config, experiment)
        results = evaluate(config, experiment, workdir, SPLIT.value, FROM_STEP.value)
        if results is not None:
            publish(results, config, workdir)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The folder of the run, or one for the result.')
    SPLIT = flags.DEFINE_list('split', [], 'Splits to evaluate; all but the training split by default.')
    FROM_STEP = flags.DEFINE_integer('from_step', None, 'The step of the checkpoint to evaluate, in place of the best '
                                     'or last one.')
    DISTRIBUTED = flags.DEFINE_string('distributed', '', 'Several processes predict a part of the cases each; see '
                                      'medjax.train.')
    COMPARE = flags.DEFINE_bool('compare', False, 'Compare the runs that are the arguments: the first with each other '
                                'one.')
    ALL_PAIRS = flags.DEFINE_bool('all_pairs', False, 'With --compare: compare every two of the runs.')
    METRICS = flags.DEFINE_list('metrics', [], 'With --compare: the metrics to compare; all by default.')
    ENSEMBLE = flags.DEFINE_bool('ensemble', False, 'Average the probabilities of the runs that are the arguments.')
    BEST = flags.DEFINE_bool('best', False, 'Choose among the runs that are the arguments, their ensembles and '
                             'post-processing by validation cases, and average what is chosen.')
    LABELS = flags.DEFINE_bool('labels', False, 'With --ensemble and --best: write the labels of each case by the runs '
                               'that did not train with it, for the second stage of a cascade.')
    MERGE = flags.DEFINE_bool('merge', False, 'Merge the folds and seeds that are the arguments.')
    cli.run(main, unnamed=True)
