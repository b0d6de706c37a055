"""Ensembles of segmentations: averaged probabilities of several runs, and the choice of a configuration by validation.

The rules are those of nnU-Net (Isensee 2021). Runs of one configuration differ in fold and seed only. A validation case
is predicted by the runs that did not train with it. The candidates are each configuration, each pair, and all of them;
the one with the largest mean Dice on validation cases is chosen, at a tie the first. Then each class keeps its largest
connected component where this raises its mean Dice on those cases. Test cases are predicted by all runs of the choice.
"""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.data.io import image_files
from medjax.data.io.geometry import Image, to_canonical
from medjax.data.labels.first_stage import LABELS
from medjax.errors import InputError
from medjax.ops.labels import last_region
from medjax.report.run_files import Run
from medjax.tasks.family import Combined, Members
from medjax.tasks.segmentation import mask_metrics
from medjax.tasks.segmentation.evaluator import SegmentationEvaluator
from medjax.tasks.segmentation.predictor import SegmentationPredictor
from medjax.tasks.segmentation.summary import results
from medjax.tasks.segmentation.table import column


@dataclasses.dataclass(frozen=True)
class EnsemblePredictor(SegmentationPredictor):
    """Segments new images by the mean of several runs' probabilities; its `variables` are a list, those of each run.

    Attributes:
      members: the predictors of the runs.
    """

    members: tuple[SegmentationPredictor, ...] = ()

    def warm(self, variables: Sequence[Any]) -> None:
        """Compiles the prediction of a batch of windows of every run."""
        for predictor, one in zip(self.members, variables):
            predictor.warm(one)

    def uncertainty_and_features(self, variables: Any, path: pathlib.Path) -> tuple[float, np.ndarray]:
        """An ensemble has no common grid of its runs; see `SegmentationPredictor`."""
        raise InputError('an ensemble has no uncertainty to select images by; expected a single run')

    def probabilities(self, variables: Sequence[Any], image: Image) -> np.ndarray:
        """The mean of the runs' probabilities on an image's own grid; see `SegmentationPredictor.probabilities`."""
        total: np.ndarray | float = 0.0
        for predictor, one in zip(self.members, variables, strict=True):
            total = total + predictor.probabilities(one, image)
        return total / np.float32(len(self.members))

    def labels(self, variables: Sequence[Any], image: Image) -> np.ndarray:
        """The class numbers of an image on its own grid; see `SegmentationPredictor.labels`."""
        return self.postprocess(most_probable(self.probabilities(variables, image), self.inference.regions))


def predictor(members: Sequence[SegmentationPredictor], chosen: Mapping[str, Any]) -> EnsemblePredictor:
    """The predictor of an ensemble.

    Args:
      members: the predictors of its runs, at least one.
      chosen: the content of `ensemble.json`.
    """
    first = members[0]
    fields = {field.name: getattr(first, field.name) for field in dataclasses.fields(first)}
    post = _postprocess(chosen, first.statistics['classes'])
    return EnsemblePredictor(**{**fields, 'members': tuple(members), 'postprocess': post})


def most_probable(probs: np.ndarray, regions: bool) -> np.ndarray:
    """Class numbers `[X, Y, Z]` uint8 of probabilities `[X, Y, Z, K]`, background first also for regions."""
    return (last_region(probs[..., 1:]) if regions else probs.argmax(-1)).astype(np.uint8)


def ensemble(runs: Sequence[Run], paths: Sequence[str], members: Members, out: pathlib.Path,
             choose: bool = False, chosen: Mapping[str, Any] | None = None, labels: bool = False) -> Combined:
    """The mean of the runs' probabilities for each test case and its metrics.

    Args:
      runs: the runs; all with the same test cases.
      paths: their folders.
      members: gives their predictors and the evaluator of the first.
      out: the folder for the snapshots of the cases.
      choose: whether configurations and post-processing are chosen on validation cases.
      chosen: the content of an earlier `ensemble.json`, whose post-processing is used.
      labels: whether the labels of all cases that a run did not train with are written, for a second stage; see
        `data.labels.first_stage`.

    Raises:
      InputError: runs with other cases or test cases than the first; a validation case in the training of a run that
        is to predict it; with `choose`, no validation case that each configuration predicts.
    """
    found = _Ensemble(runs, list(paths), members)
    record: dict[str, Any] = {'runs': list(paths), 'largest_component': []}
    if choose:
        record |= found.choice()
    elif chosen:
        record |= chosen
    splits = ['test']
    rows = found.rows(record, 'test', out)
    if choose:
        rows += found.rows(record, 'val', out)
        splits.append('val')
    if labels:
        found.write_labels(record['runs'], out / LABELS)
    notice = f'The mean of the probabilities of {len(record["runs"])} runs: {", ".join(record["runs"])}.'
    if choose:
        notice += (' They were chosen, with the post-processing, by the mean Dice of validation cases, which no test '
                   'case is among: results on validation cases are too good.')
    if record['largest_component']:
        notice += f' The largest connected component was kept of: {", ".join(record["largest_component"])}.'
    return Combined(rows, results(rows, members.evaluator), notice, chosen=record)


def configurations(runs: Sequence[Run], paths: Sequence[str]) -> list[list[str]]:
    """The paths of the runs of each configuration: those whose configs differ in seed and fold only."""
    found: dict[str, list[str]] = {}
    for run, path in zip(runs, paths, strict=True):
        config = {**run.config, 'seed': None, 'data': {**run.section('data'), 'fold': None}}
        found.setdefault(json.dumps(config, sort_keys=True), []).append(path)
    return list(found.values())


class _Ensemble:
    """The runs of an ensemble with the cases of the first one's data set."""

    def __init__(self, runs: Sequence[Run], paths: list[str], members: Members):
        self.runs, self.paths, self.members = dict(zip(paths, runs)), paths, members
        self.evaluator: SegmentationEvaluator = members.evaluator
        self.volumes = {volume.case.id: volume for volume in self.evaluator.data.prepared}
        self.splits = {path: _splits(path) for path in paths}
        first = self.splits[paths[0]]
        for path, split in self.splits.items():
            if set(split) != set(first):
                raise InputError(f'{path}: cases {len(split)}; expected the {len(first)} cases of {paths[0]}')
            differ = [name for name in first if (first[name] == 'test') != (split[name] == 'test')]
            if differ:
                raise InputError(f'{path}: {len(differ)} test cases are not those of {paths[0]}; expected the same in '
                                 'all: of nested folds one outer fold at a time')
        self.regions = bool(self.evaluator.data.source.regions)

    def choice(self) -> dict[str, Any]:
        """The chosen runs and post-processing, with the mean Dice of all candidates on validation cases."""
        groups, classes = configurations(list(self.runs.values()), self.paths), self.evaluator.data.source.classes[1:]
        candidates = list(dict.fromkeys(
            [*((one,) for one in range(len(groups))), *itertools.combinations(range(len(groups)), 2),
             tuple(range(len(groups)))]))
        cases = [name for name in self.volumes if all(self._predicting(group, name, 'val') for group in groups)]
        if not cases:
            raise InputError(f'--best: no validation case that each of {len(groups)} configurations predicts; expected '
                             'the same folds of all of them')
        dice = {one: {kept: [] for kept in (False, True)} for one in candidates}
        for name in cases:
            image, truth = map(to_canonical, self.volumes[name].case.read())
            probs = [self._mean(self._predicting(group, name, 'val'), image) for group in groups]
            for one in candidates:
                label = most_probable(np.mean([probs[number] for number in one], 0), self.regions)
                for kept in dice[one]:
                    dice[one][kept].append(self._dice(label, truth.array, kept))
        means = {one: {kept: np.nanmean(np.array(rows, float), 0) for kept, rows in of.items()}
                 for one, of in dice.items()}
        best = max(candidates, key=lambda one: float(np.nanmean(means[one][False])))
        largest = [] if self.regions else [name for number, name in enumerate(classes)
                                           if means[best][True][number] > means[best][False][number]]
        return {'runs': [path for number in best for path in groups[number]], 'largest_component': largest,
                'validation_cases': len(cases), 'candidates': [
                    {'runs': [path for number in one for path in groups[number]], **{
                        key: {name: float(value) for name, value in zip(classes, means[one][kept])}
                        for key, kept in (('dice', False), ('dice_largest_component', True))}} for one in candidates]}

    def rows(self, record: Mapping[str, Any], split: str, out: pathlib.Path) -> list[dict[str, Any]]:
        """The rows of the predictions table of a split; validation cases are predicted by the runs they validate."""
        post, found = _postprocess(record, self.evaluator.data.source.classes), []
        for name, volume in self.volumes.items():
            paths = self._predicting(record['runs'], name, split)
            if paths:
                image, truth = map(to_canonical, volume.case.read())
                probs = self._mean(paths, image)
                label = post(most_probable(probs, self.regions))
                found.append(self.evaluator.measured(volume, split, image, truth.array, label, probs.max(-1),
                                                     out / 'cases' / split))
        return found

    def write_labels(self, paths: Sequence[str], folder: pathlib.Path) -> None:
        """Writes the labels of each case by the runs in which it validates, and of test cases by all runs."""
        for name, volume in self.volumes.items():
            predicting = self._predicting(paths, name, 'val') or self._predicting(paths, name, 'test')
            if predicting:
                image = to_canonical(volume.case.read()[0])
                label = most_probable(self._mean(predicting, image), self.regions)
                image_files.write(folder / f'{name}.nii.gz', label, image.affine)

    def _predicting(self, paths: Sequence[str], name: str, split: str) -> list[str]:
        """Of some runs those in which a case is in a split."""
        return [path for path in paths if self.splits[path][name] == split]

    def _mean(self, paths: Sequence[str], image: Image) -> np.ndarray:
        """The mean of some runs' probabilities on an image's grid, `[X, Y, Z, K]` float32."""
        total: np.ndarray | float = 0.0
        for path in paths:
            trained, variables = self.members.trained(path)
            total = total + trained.probabilities(variables, image)
        return total / np.float32(len(paths))

    def _dice(self, label: np.ndarray, truth: np.ndarray, kept: bool) -> list[float]:
        """Dice of each class, of all voxels or of the largest components."""
        source = self.evaluator.data.source
        if kept and not self.regions:
            label = mask_metrics.Postprocess(largest_component=True)(label)
        metrics = mask_metrics.case_metrics(label, truth, (1, 1, 1), source.classes, surfaces=None, grid=source.grid,
                                            regions=source.regions)
        return [metrics[column('dice', name)] for name in source.classes[1:]]


def _splits(path: str) -> dict[str, str]:
    """The split of each case of a run."""
    table = atomic_files.read_json(pathlib.Path(path) / 'splits.json', 'the splits of a run').get('cases', {})
    return {name: row['split'] for name, row in table.items()}


def _postprocess(chosen: Mapping[str, Any], classes: Sequence[str]) -> mask_metrics.Postprocess:
    """The post-processing that `ensemble.json` names."""
    numbers = tuple(list(classes).index(name) for name in chosen.get('largest_component') or ())
    return mask_metrics.Postprocess(largest_component=numbers)
