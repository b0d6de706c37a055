"""Evaluates a trained run on its held-out cases, and writes predictions.csv, results.json and report.html.

    python -m medjax.evaluate --workdir=DIR [--split=test]
    python -m medjax.evaluate --compare RUN RUN [--workdir=OUT]     two classifications on the same cases
    python -m medjax.evaluate --ensemble RUN RUN … --workdir=OUT    the mean of their probabilities as one
    python -m medjax.evaluate --merge RUN RUN … --workdir=OUT       folds and seeds of a cross-validation as one
"""

import csv
import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medjax import cli as entry

entry.prepare()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

from medjax import atomic_files, build, compare, restore  # noqa: E402
from medjax.core.experiment import Experiment  # noqa: E402
from medjax.core.task import Task  # noqa: E402
from medjax.errors import InputError  # noqa: E402
from medjax.report import page  # noqa: E402
from medjax.statistics import bootstrap  # noqa: E402
from medjax.tasks.anomaly import summary  # noqa: E402
from medjax.tasks.classification import saliency
from medjax.tasks.classification import summary as classification_summary  # noqa: E402
from medjax.tasks.detection import summary as detection_summary  # noqa: E402
from medjax.tasks.detection import video  # noqa: E402
from medjax.tasks.forecasting import summary as forecasting_summary  # noqa: E402
from medjax.tasks.growth import summary as growth_summary  # noqa: E402
from medjax.tasks.registration import summary as registration_summary  # noqa: E402
from medjax.tasks.regression import summary as regression_summary  # noqa: E402
from medjax.tasks.survival import summary as survival_summary  # noqa: E402
from medjax.tasks.synthesis import summary as synthesis_summary  # noqa: E402
from medjax.tasks.translation import summary as translation_summary  # noqa: E402
from medjax.tasks.treatment import summary as treatment_summary  # noqa: E402


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
    with restore.weights(config, workdir) as (checkpoints, step):
        abstract = experiment.plan.abstract(experiment.abstract())
        variables = checkpoints.restore(step, abstract).variables()
    evaluator = experiment.evaluator
    if getattr(evaluator, 'methods', ()):
        evaluator = dataclasses.replace(evaluator, explain=_explainer(evaluator.methods))
    rows = _earlier(workdir, step, splits) + [row for split in splits for row in evaluator(
        variables, split, snapshots=workdir / 'cases' / split)]
    if evaluator.summary == 'detection':  # what counts as found, validation cases say
        rows = detection_summary.counted(rows, experiment.data.source.classes)
    atomic_files.write_table(workdir / 'predictions.csv', rows)
    return {**SUMMARIES[evaluator.summary](rows, evaluator), 'step': step, 'counts': experiment.data.counts,
            'classes': experiment.data.source.classes, 'notice': experiment.data.notice}


def _explainer(methods: Sequence[str]) -> Callable[..., dict[str, np.ndarray]]:
    """Makes what draws a map of each image by each method, and tests the maps."""
    def explained(task: Task, variables: Any, image: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        def one(name: str, variables: Any, image: jax.Array, target: jax.Array) -> dict[str, jax.Array]:
            method = saliency.METHODS[name]
            maps = method(functools.partial(task.features, variables), image, target)
            return {'maps': maps, **saliency.tests(
                method, task.features, lambda variables, image: task.predict(variables, {'image': image})['probs'],
                variables, image, target, maps, jax.random.key(0))}
        compiled = jax.jit(one, static_argnums=0)
        # One image at a time: as one batch large volumes would not fit.
        made = [[compiled(name, variables, image[i:i + 1], target[i:i + 1]) for i in range(len(image))]
                for name in methods]
        return jax.tree.map(np.asarray, {key: np.stack([np.concatenate([found[key] for found in of]) for of in made])
                                         for key in made[0][0]})
    return explained


def _means(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Means over patients of what was measured case by case."""
    return {**{split: bootstrap.summarise(some, evaluator.metrics) for split, some in bootstrap.by_split(rows).items()},
            'conventions': evaluator.conventions}


def _classification(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Scores of probabilities, and what validation cases make of them."""
    source = evaluator.data.source
    if not rows:
        return {'problem': source.problem, 'conventions': classification_summary.CONVENTIONS}
    found = classification_summary.summarise(rows, source.problem, source.classes, subgroups=evaluator.subgroups,
                                     sensitivity=evaluator.sensitivity, coverage=evaluator.coverage)
    return {**found.pop('metrics'), 'problem': source.problem, 'analysis': found,
            'conventions': classification_summary.CONVENTIONS}


def _detection(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Average precision, FROC, and what is found at the operating point that validation cases choose."""
    known = {'problem': 'detection', 'conventions': detection_summary.CONVENTIONS}
    if not rows:
        return known
    classes = evaluator.data.source.classes
    found = detection_summary.summarise(rows, classes)
    videos = {split: video.scored(some, classes, found['operating']['score'])
              for split, some in bootstrap.by_split(rows).items()}
    found |= {'videos': videos} if any(videos.values()) else {}
    return {**found.pop('metrics'), **known, 'analysis': found}


def _survival(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Concordance, Brier scores, risk groups and calibration."""
    source = evaluator.data.source
    known = {'problem': 'survival', 'unit': source.unit, 'conventions': survival_summary.CONVENTIONS}
    if not rows:
        return known
    found = survival_summary.summarise(rows, source.classes, unit=source.unit, horizons=evaluator.horizons)
    return {**found.pop('metrics'), **known, 'analysis': found}


def _treatment(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Errors of predicted effects, what they are worth for choosing a treatment, and how the groups compare."""
    known = {'problem': 'treatment', 'conventions': treatment_summary.CONVENTIONS}
    if not rows:
        return known
    found = treatment_summary.summarise(rows, evaluator.groups)
    return {**found.pop('metrics'), **known, 'analysis': found}


def _regression(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Errors and correlations of predicted numbers, beside simpler models'."""
    source = evaluator.data.source
    known = {'problem': 'regression', 'unit': source.unit, 'conventions': regression_summary.CONVENTIONS.format(
        of=evaluator.data.of, descriptors=', '.join(evaluator.data.described))}
    if not rows:
        return known
    found = regression_summary.summarise(rows, source.classes, of=evaluator.data.of)
    return {**found.pop('metrics'), **known, 'analysis': found}


def _growth(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Dice and volume error against simpler ways to tell them, and who is told to have new tumours."""
    known = {'problem': 'growth', 'unit': evaluator.data.source.unit, 'conventions': growth_summary.CONVENTIONS}
    if not rows:
        return known
    found = growth_summary.summarise(rows)
    return {**found.pop('metrics'), **known, 'analysis': found}


def _forecast(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Errors of the next values, and how early events are told, beside simpler models."""
    source = evaluator.data.source
    known = {'problem': 'forecast', 'unit': source.unit, 'conventions': forecasting_summary.CONVENTIONS}
    if not rows:
        return known
    found = forecasting_summary.summarise(rows, source.measured, source.classes, evaluator.data.within, evaluator.leads)
    return {**found.pop('metrics'), **known, 'analysis': found}


def _anomaly(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """How well anomalies are told from normal cases by each score."""
    told = summary.CONVENTIONS if evaluator.normal else summary.REMADE
    known = {'problem': 'anomaly', 'conventions': told}
    if not rows:
        return known
    found = summary.summarise(rows, evaluator.normal, evaluator.score)
    return {**found.pop('metrics'), **known, 'analysis': found}


def _synthesis(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """How like real images made ones are."""
    known = {'problem': 'synthesis', 'conventions': synthesis_summary.CONVENTIONS}
    if not rows:
        return known
    found = synthesis_summary.summarise(rows, evaluator.data.source.classes)
    return {**found.pop('metrics'), **known, 'analysis': {**found, 'features': getattr(evaluator.network, 'name', '')}}


def _beats(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Means over patients of how many beats were found."""
    return {**_means(rows, evaluator), 'problem': 'beats'}


def _translation(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """How near what was made is to the truth, beside floors without a network."""
    known = {'problem': 'translation', 'conventions': translation_summary.CONVENTIONS}
    return {**translation_summary.summarise(rows)['metrics'], **known}


def _registration(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Overlap, folds and errors of each pair's map, beside no and affine registration."""
    known = {'problem': 'registration', 'conventions': registration_summary.CONVENTIONS}
    if not rows:
        return known
    found = registration_summary.summarise(rows)
    return {**found.pop('metrics'), **known, 'analysis': found}


SUMMARIES = {'means': _means, 'classification': _classification, 'detection': _detection,
             'survival': _survival, 'treatment': _treatment, 'growth': _growth,
             'regression': _regression, 'forecast': _forecast, 'anomaly': _anomaly,
             'beats': _beats, 'translation': _translation, 'synthesis': _synthesis,
             'registration': _registration}  # by an evaluator's `summary`


def _earlier(workdir: pathlib.Path, step: int, splits: Sequence[str]) -> list[dict[str, Any]]:
    """Predictions of other splits by the same weights."""
    try:
        results = json.loads((workdir / 'results.json').read_text())
        with (workdir / 'predictions.csv').open(newline='') as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError):
        return []
    others = {name for name in results.get('counts', {}) if name in results and name not in splits}
    return [row for row in rows if row['split'] in others] if results.get('step') == step else []


# Figures that are printed: those whose names begin so, and these.
STEMS = ('dice', 'c_index', 'ap')
PRINTED = ('fid', 'kid', 'psnr', 'ssim', 'r2', 'auroc', 'accuracy', 'cpm', 'mase', 'pehe', 'ate_doubly_robust')


def publish(results: dict[str, Any], workdir: pathlib.Path) -> None:
    """Writes results.json and report.html, and tells the person where they are."""
    atomic_files.write_json(workdir / 'results.json', results)
    path = page.write(workdir)
    for split, table in results.items():
        if split in results['counts']:
            print(split + '  ' + '  '.join(f'{k} {_figure(v)}' for k, v in table.items()
                                           if k.startswith(STEMS) or k in PRINTED), flush=True)
    print(f'report: {path}', flush=True)


def _figure(entry: dict[str, Any]) -> str:
    interval = f' [{entry["ci95"][0]:.3f}, {entry["ci95"][1]:.3f}]' if entry['ci95'] else ''
    return f'{entry["value"]:.3f}{interval} (n={entry["n"]})'


def main(more: Sequence[str]) -> None:
    """Reads the flags and evaluates."""
    wanted = [flag.name for flag in (COMPARE, ENSEMBLE, MERGE) if flag.value]
    if len(wanted) > 1 or (len(more) > 1 and not wanted):
        raise InputError(f'{" ".join(more[1:]) or wanted}: expected folders of runs after one of --compare, --ensemble '
                         'and --merge')
    if WORKDIR.value is None and wanted != ['compare']:
        raise InputError('--workdir: expected the folder of a run, or one for the result')
    workdir = pathlib.Path(WORKDIR.value).resolve() if WORKDIR.value else None
    if wanted:
        {'compare': compare.against, 'ensemble': compare.together, 'merge': compare.folds}[wanted[0]](more[1:], workdir)
        return
    # This machine's devices, not the training's; and no training data on them.
    config = {**restore.load(workdir).to_dict(), 'parallel': 'jit', 'mesh': None, 'resident': False}
    publish(evaluate(config, build.experiment(config), workdir, SPLIT.value), workdir)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The run.')
    SPLIT = flags.DEFINE_list('split', [], 'Splits to evaluate; all but the training split by default.')
    COMPARE = flags.DEFINE_bool('compare', False, 'Compare two runs, which are the arguments.')
    ENSEMBLE = flags.DEFINE_bool('ensemble', False, 'Average the probabilities of the runs that are the arguments.')
    MERGE = flags.DEFINE_bool('merge', False, 'Merge the folds and seeds that are the arguments.')
    entry.run(main, unnamed=True)
