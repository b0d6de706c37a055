"""Evaluation of classification: a row of the predictions table for each image, with its class probabilities."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.core import contracts
from medjax.core.task import Task
from medjax.data.datasets.images import ImageDataset
from medjax.data.io.geometry import Image
from medjax.data.transforms.images import image_preprocess
from medjax.errors import InputError
from medjax.metrics import classification, uncertainty
from medjax.options import Count, InnerFraction, NonNegativeInt
from medjax.tasks.classification import snapshot, table
from medjax.tasks.classification.inference import BatchedClassifier
from medjax.tasks.classification.predictor import ClassificationPredictor
from medjax.tasks.classification.probability_analysis import DECISION_THRESHOLDS, named_prevalence
from medjax.tasks.classification.saliency import methods
from medjax.tasks.classification.saliency.methods import Explain


@dataclasses.dataclass(frozen=True)
class ClassificationEvaluator(contracts.Evaluator):
    """Classifies the images of a split; see `evaluator`."""

    data: ImageDataset
    classifier: BatchedClassifier
    methods: tuple[str, ...]
    examples: int
    sensitivity: float | None
    coverage: float
    subgroups: tuple[str, ...]
    decision_thresholds: tuple[float, float] = DECISION_THRESHOLDS
    prevalence: Mapping[str, float] = dataclasses.field(default_factory=dict)
    explain: Explain | None = None

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """Returns a row for each image of a split: id, patient, columns, target and probabilities.

        Args:
          variables: the network's variables.
          split: the split's name.
          quick: whether to leave Monte Carlo samples out, for validation during training.
          snapshots: folder for snapshots of a few images with saliency maps, which the report shows.
        """
        source, numbers = self.data.source, self.data.numbers(split)
        members = self.classifier(variables, lambda places: self.data.images(numbers[places]), len(numbers),
                                  0 if quick else None)
        probs, rows = members.mean(0), []
        # In a network without dropout all samples are equal and carry no information on its uncertainty.
        unsure = None if (members == members[0]).all() else uncertainty.mutual_information(
            members, source.problem == 'multilabel')
        for place, number in enumerate(numbers):
            case = source.cases[number]
            row = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns,
                   **table.target_columns(case.target, source.classes),
                   **table.prob_columns(probs[place], source.classes)}
            if unsure is not None:
                row[table.UNCERTAINTY] = float(unsure[place])
            rows.append(row)
        if snapshots is not None:
            self._save_snapshots(variables, numbers, probs, snapshots)
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The metrics of a table; NaN where one is not defined."""
        targets, probs = table.arrays(rows, self.data.source.problem, self.data.source.classes)
        return {name: float(value) for name, value in classification.compute_metrics(targets, probs).items()
                if isinstance(name, str)}

    def check(self, task: Task, variables: Any, batch: Mapping[str, np.ndarray]) -> None:
        """Refuses saliency methods that the network does not support."""
        if self.methods:
            methods.check(self.methods, task, variables, batch['image'][:1])

    def _save_snapshots(self, variables: Any, numbers: np.ndarray, probs: np.ndarray, folder: pathlib.Path) -> None:
        """Saves snapshots of the examples with saliency maps, and removes earlier ones."""
        source = self.data.source
        examples, explained = choose_examples(probs, self.data.targets[numbers], self.examples)
        found: Mapping[str, np.ndarray] = {'maps': np.zeros((0, len(examples)))}
        if self.explain is not None:
            positive = probs.shape[1] == 1  # of a single label the maps explain its presence
            found = self.explain(self.classifier.task, variables, self.data.images(numbers[examples]),
                                 explained.astype(np.int32) + positive)
        for earlier in folder.glob('*.npz'):
            earlier.unlink()
        for place, number in enumerate(numbers[examples]):
            snapshot.save(folder / f'{source.cases[number].id}.npz', np.asarray(self.data.arrays[number]),
                          source.classes[int(explained[place])], self.methods[:len(found['maps'])],
                          {name: values[:, place] for name, values in found.items()})


def choose_examples(probs: np.ndarray, targets: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The most confident correct, the most confident wrong and the least confident cases.

    Args:
      probs: `[n, K]`.
      targets: `[n]` class numbers, or `[n, K]` for labels: 1, 0, or below 0 where unknown.
      count: number of cases of each kind.

    Returns:
      The cases' numbers `[m]` without duplicates, and the most probable class of each, `[m]`.
    """
    predicted = probs.argmax(-1)
    if targets.ndim == 2:
        error = np.where(targets < 0, 0, np.abs(targets - probs)).max(-1)
        correct, confidence = error < 0.5, np.abs(probs - 0.5).min(-1)
    else:
        correct, confidence = predicted == targets, probs.max(-1)
    order = np.argsort(-confidence, kind='stable')
    examples = dict.fromkeys([*order[correct[order]][:count], *order[~correct[order]][:count], *order[::-1][:count]])
    chosen = np.array(list(examples), int)
    return chosen, predicted[chosen]


def evaluator(*, data: ImageDataset, task: Task, batch: Count = 64, dropout_samples: NonNegativeInt = 0,
              flips: Sequence[NonNegativeInt] = (), saliency: Sequence[str] = ('grad_cam',),
              examples: NonNegativeInt = 2,
              sensitivity: InnerFraction | None = None, conformal_coverage: InnerFraction = 0.9,
              subgroups: Sequence[str] = (),
              decision_thresholds: tuple[InnerFraction, InnerFraction] = DECISION_THRESHOLDS,
              prevalence: InnerFraction | Mapping[str, InnerFraction] | None = None) -> ClassificationEvaluator:
    """The evaluator of classification.

    Args:
      data: the data set.
      task: the task.
      batch: images per batch.
      dropout_samples: number of predictions with dropout that are averaged, with their disagreement as uncertainty; 0
        for a single prediction without dropout.
      flips: axes of test-time mirroring; none by default.
      saliency: names of saliency methods whose maps the report shows; see `saliency.methods`.
      examples: number of cases of each kind that the report shows: the most confident correct, the most confident wrong
        and the least confident.
      sensitivity: sensitivity of the operating point, which is chosen on the split `calibrate`, or without one on
        validation cases; Youden's index by default.
      conformal_coverage: coverage of the conformal prediction sets, which are calibrated on the same cases.
      subgroups: columns by whose values metrics are computed separately.
      decision_thresholds: the lowest and the highest probability at which somebody might intervene: the range of the
        decision curves.
      prevalence: share of the positive class in the population in which the classifier is to be used, for positive and
        negative predictive values there; of several classes or labels a section of names and shares.

    Raises:
      InputError: an option is out of range, or a subgroup column does not exist.
    """
    columns = {name for case in data.source.cases for name in case.columns}
    for name in subgroups:
        if name not in columns:
            raise InputError(f'config.evaluate.subgroups: {name!r}; expected columns of the data: '
                             f'{", ".join(sorted(columns)) or "there are none"}')
    for key, value in (('sensitivity', sensitivity), ('conformal_coverage', conformal_coverage)):
        if value is not None and not 0 < value < 1:
            raise InputError(f'config.evaluate.{key}: {value}; expected a number between 0 and 1')
    low, high = decision_thresholds
    if low >= high:
        raise InputError(f'config.evaluate.decision_thresholds: {low}, {high}; expected the lowest and the highest')
    by_name = named_prevalence(prevalence, data.source.problem, data.source.classes)
    classifier = BatchedClassifier(task, len(data.preprocess.size), batch, dropout_samples, tuple(flips))
    explained = saliency and task.features is not None
    return ClassificationEvaluator(data, classifier, tuple(saliency), examples, sensitivity, conformal_coverage,
                                   tuple(subgroups), (low, high), by_name,
                                   functools.partial(methods.explain, tuple(saliency)) if explained else None)


def predictor(*, task: Task, data: Mapping[str, Any], statistics: Mapping[str, Any],
              read: Callable[[pathlib.Path], Image], dropout_samples: NonNegativeInt = 0,
              flips: Sequence[NonNegativeInt] = (),
              **_: Any) -> ClassificationPredictor:
    """The predictor of new images, which classifies as the evaluator does.

    Args:
      task: the task.
      data: the options of `data.datasets.images.dataset`.
      statistics: statistics of the training data, as stored with the checkpoint.
      read: reads an image.
      dropout_samples: see `evaluator`, also for flips.
      flips: …
      **_: the evaluator's other options, which are ignored.

    Raises:
      InputError: an option is out of range.
    """
    preprocess = image_preprocess(**data)
    return ClassificationPredictor(preprocess, statistics, read,
                                   BatchedClassifier(task, len(preprocess.size), 1, dropout_samples, tuple(flips)))
