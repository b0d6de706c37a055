"""Evaluates a trained run on its held-out cases, and writes predictions.csv, results.json and report.html.

    python -m medjax.evaluate --workdir=DIR [--split=test]
"""

import contextlib
import csv
import io
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medjax import entry

entry.prepare()

from absl import flags  # noqa: E402

from medjax import build, whole  # noqa: E402
from medjax.analysis import bootstrap, report  # noqa: E402
from medjax.core import config as configs  # noqa: E402
from medjax.core.checkpoint import Checkpoints  # noqa: E402
from medjax.core.experiment import Experiment  # noqa: E402
from medjax.errors import InputError  # noqa: E402


@contextlib.contextmanager
def weights(config: Mapping[str, Any], workdir: pathlib.Path) -> Iterator[tuple[Checkpoints, int]]:
    """A run's checkpoints, and the step to judge: the best by validation where one was measured, else the last."""
    if not (workdir / 'checkpoints').is_dir():
        raise InputError(f'--workdir={workdir}: no checkpoints there; expected the folder of a training run')
    keeping = config.get('checkpoint') or {}
    checkpoints = Checkpoints(workdir / 'checkpoints', best=keeping.get('best', ''), mode=keeping.get('mode', 'max'),
                              writes=False)
    try:
        step = checkpoints.best_step() or checkpoints.latest()
        if step is None:
            raise InputError(f'--workdir={workdir}: no complete checkpoint there; train first')
        yield checkpoints, step
    finally:
        checkpoints.close()


def evaluate(config: Mapping[str, Any], experiment: Experiment, workdir: pathlib.Path,
             splits: Sequence[str] = ()) -> dict[str, Any]:
    """Predicts every case of the splits and sums up.

    Args:
      config: of the run.
      experiment: of the run.
      workdir: of the run; predictions and case snapshots go there.
      splits: which; all but the training split by default.

    Returns:
      The content of `results.json`.
    """
    splits = splits or [name for name in experiment.data.counts if name != 'train']
    for split in splits:
        if split not in experiment.data.counts:
            raise InputError(f'--split={split}: no such split; expected one of: {", ".join(experiment.data.counts)}')
    with weights(config, workdir) as (checkpoints, step):
        abstract = experiment.plan.abstract(experiment.abstract())
        variables = checkpoints.restore(step, abstract).variables()
    rows = [row for split in splits
            for row in experiment.evaluator(variables, split, snapshots=workdir / 'cases' / split)]
    kept = _earlier(workdir, step, splits)
    rows = kept.pop('rows', []) + rows
    fields = list(dict.fromkeys(key for row in rows for key in row))
    table = io.StringIO()
    writer = csv.DictWriter(table, fields, lineterminator='\n')
    writer.writeheader()
    writer.writerows({k: '' if v != v else v for k, v in row.items()} for row in rows)
    whole.write_text(workdir / 'predictions.csv', table.getvalue())
    results: dict[str, Any] = kept
    for split in splits:
        part = [row for row in rows if row['split'] == split]
        results[split] = bootstrap.summarise(part, experiment.evaluator.metrics)
    return {**results, 'step': step, 'counts': experiment.data.counts, 'classes': experiment.data.source.classes,
            'notice': experiment.data.notice, 'conventions': experiment.evaluator.conventions}


def _earlier(workdir: pathlib.Path, step: int, splits: Sequence[str]) -> dict[str, Any]:
    """Results, and predictions as 'rows', of other splits by the same weights."""
    try:
        results = json.loads((workdir / 'results.json').read_text())
        with (workdir / 'predictions.csv').open(newline='') as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError):
        return {}
    others = {name for name in results.get('counts', {}) if name in results and name not in splits}
    if results.get('step') != step or not others:
        return {}
    return {**{name: results[name] for name in others}, 'rows': [row for row in rows if row['split'] in others]}


def publish(results: dict[str, Any], workdir: pathlib.Path) -> None:
    """Writes results.json and report.html, and tells the person where they are."""
    whole.write_json(workdir / 'results.json', results)
    path = report.write(workdir)
    for split, table in results.items():
        if split in results['counts']:
            print(split + '  ' + '  '.join(f'{k} {_figure(v)}' for k, v in table.items() if k.startswith(
                ('dice', 'auroc', 'c_index', 'ap'))), flush=True)
    print(f'report: {path}', flush=True)


def _figure(entry: dict[str, Any]) -> str:
    interval = f' [{entry["ci95"][0]:.3f}, {entry["ci95"][1]:.3f}]' if entry['ci95'] else ''
    return f'{entry["value"]:.3f}{interval} (n={entry["n"]})'


def load(workdir: pathlib.Path) -> Any:
    """The config that a run was trained with."""
    path = workdir / 'config.json'
    if not path.is_file():
        raise InputError(f'--workdir={workdir}: no config.json there; expected the folder of a training run')
    return configs.from_json(path.read_text())


def main(_: Sequence[str]) -> None:
    """Reads the flags and evaluates."""
    workdir = pathlib.Path(WORKDIR.value).resolve()
    # This machine's devices, not the training's; and no training data on them.
    config = {**load(workdir).to_dict(), 'parallel': 'jit', 'mesh': None, 'resident': False}
    publish(evaluate(config, build.experiment(config), workdir, SPLIT.value), workdir)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The run.')
    SPLIT = flags.DEFINE_list('split', [], 'Splits to evaluate; all but the training split by default.')
    flags.mark_flag_as_required('workdir')
    entry.run(main)
