"""Evaluates classification case by case: a row of probabilities for each image."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.task import Task
from medjax.data.datasets.images import Images
from medjax.data.io.geometry import Image
from medjax.data.source import UNKNOWN
from medjax.data.transforms.images import ImagePreprocess, image_preprocess
from medjax.errors import InputError
from medjax.metrics import classification, uncertainty
from medjax.tasks.classification import explanations
from medjax.tasks.classification.explanations import Explain


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Gives the probabilities of images of one size.

    Attributes:
      task: the problem.
      batch: images that go through the network at once; the last ones are filled up, so that it is compiled once.
      samples: predictions with dropout left on whose mean is taken (Monte Carlo dropout, Gal 2016); 0 for one without.
      flips: axes that test-time augmentation mirrors, averaging all combinations.
    """

    task: Task
    batch: int
    samples: int
    flips: tuple[int, ...]

    @functools.cached_property
    def _compiled(self) -> Callable[..., jax.Array]:
        def members(variables: Any, image: jax.Array, number: jax.Array, samples: int) -> jax.Array:
            """`[M, B, K]`: a member for each sample, or one; mirrored views are averaged within each."""
            views = [image]
            for axis in self.flips:
                views += [jnp.flip(view, axis + 1) for view in views]

            def once(*key: jax.Array) -> jax.Array:
                return sum(self.task.predict(variables, {'image': view}, *key)['probs'] for view in views) / len(views)
            if not samples:
                return once()[None]
            draws = number * samples + jnp.arange(samples)
            return jax.lax.map(lambda draw: once(jax.random.fold_in(jax.random.key(0), draw)), draws)
        return jax.jit(members, static_argnums=3)

    def __call__(self, variables: Any, images: Callable[[np.ndarray], np.ndarray], count: int,
                 samples: int | None = None) -> np.ndarray:
        """Members' probabilities `[M, count, K]` float64 of images `images(numbers) -> [n, *S, C]`."""
        parts = []
        for start in range(0, count, self.batch):
            numbers = np.minimum(np.arange(start, start + self.batch), count - 1)
            probs = self._compiled(variables, images(numbers), start, self.samples if samples is None else samples)
            parts.append(np.asarray(probs, np.float64)[:, :count - start])
        return np.concatenate(parts, 1)


@dataclasses.dataclass(frozen=True)
class ImageEvaluator(contracts.Evaluator):
    """Predicts the cases of a split; see `evaluator`."""

    data: Images
    classifier: Classifier
    methods: tuple[str, ...]
    shown: int
    sensitivity: float | None
    coverage: float
    subgroups: tuple[str, ...]
    explain: Explain | None = None

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per case of the split: id, patient, columns, target and probabilities.

        Args:
          variables: the network's.
          split: which cases.
          quick: without Monte Carlo samples, for validation while training.
          snapshots: folder for a few cases' images, and what explains them, which the report draws.
        """
        source, numbers = self.data.source, self.data.numbers(split)
        members = self.classifier(variables, lambda at: self.data.images(numbers[at]), len(numbers),
                                  0 if quick else None)
        probs, rows = members.mean(0), []
        # Without dropout in the network all samples are one, and say nothing of what it does not know.
        unsure = None if (members == members[0]).all() else uncertainty.mutual_information(
            members, source.problem == 'multilabel')
        for place, number in enumerate(numbers):
            case = source.cases[number]
            row = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns,
                   **_truth(case.target, source.classes)}
            row |= {f'prob_{name}': float(p) for name, p in zip(source.classes, probs[place])}
            rows.append(row if unsure is None else {**row, 'uncertainty': float(unsure[place])})
        if snapshots is not None:
            self._keep(variables, numbers, probs, snapshots)
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Every score of a table of cases; NaN where it is not defined."""
        classes = self.data.source.classes
        probs = np.array([[row[f'prob_{name}'] for name in classes] for row in rows], float)
        if self.data.source.problem == 'multilabel':
            known = [[row[f'target_{name}'] for name in classes] for row in rows]
            targets = np.array([[UNKNOWN if value == '' else int(value) for value in line] for line in known])
        else:
            targets = np.array([classes.index(row['target']) for row in rows])
        return {name: float(value) for name, value in classification.compute_metrics(targets, probs).items() if isinstance(name, str)}

    def check(self, task: Task, variables: Any, batch: Mapping[str, np.ndarray]) -> None:
        """Refuses methods of explanation that the network does not support."""
        if self.methods:
            explanations.check(self.methods, task, variables, batch['image'][:1])

    def _keep(self, variables: Any, numbers: np.ndarray, probs: np.ndarray, folder: pathlib.Path) -> None:
        """Keeps snapshots of the surest right, the surest wrong and the least sure cases alone, and maps of why."""
        source, targets = self.data.source, self.data.targets[numbers]
        if source.problem == 'multilabel':
            miss = np.where(targets < 0, 0, np.abs(targets - probs)).max(-1)
            right, sure, asked = miss < 0.5, np.abs(probs - 0.5).min(-1), probs.argmax(-1)
        else:
            asked = probs.argmax(-1)
            right, sure = asked == targets, probs.max(-1)
        order = np.argsort(-sure, kind='stable')
        chosen = np.array(list(dict.fromkeys([*order[right[order]][:self.shown], *order[~right[order]][:self.shown],
                                              *order[::-1][:self.shown]])), int)
        found: Mapping[str, np.ndarray] = {'maps': np.zeros((0, len(chosen)))}
        if self.explain is not None:
            found = self.explain(self.classifier.task, variables, self.data.images(numbers[chosen]),
                                 asked[chosen].astype(np.int32) + (probs.shape[1] == 1))  # one label: its positive side
        for old in folder.glob('*.npz'):
            old.unlink()
        for place, number in enumerate(numbers[chosen]):
            atomic_files.write_arrays(
                folder / f'{source.cases[number].id}.npz', image=np.asarray(self.data.arrays[number]),
                kind='classification', methods=np.array(self.methods[:len(found['maps'])], str),
                explained=source.classes[int(asked[chosen[place]])],
                **{name: values[:, place].astype(np.float32) for name, values in found.items()})


@dataclasses.dataclass(frozen=True)
class ImagePredictor(contracts.Predictor):
    """Classifies images that are no cases of the data set; see `predictor`."""

    preprocess: ImagePreprocess
    statistics: Mapping[str, Any]
    read: Callable[[pathlib.Path], Image]
    classifier: Classifier

    file_per_input = False  # one table for all images, by their paths

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network sees."""
        return {'image': np.zeros((1, *self.preprocess.size, self.statistics['channels']), np.float32)}

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Classifies an image and adds a row with its probabilities to `predictions.csv` in a folder.

        Args:
          variables: the network's.
          path: of a file, or of a folder with a DICOM series.
          folder: gets the table; a row of an image of this name is replaced.

        Returns:
          A line on what was found, for the person who waits.

        Raises:
          InputError: where the image is not such as the network was trained on, or the table cannot be written.
        """
        array = self.preprocess.network_input(self.read(path), self.statistics)
        members = self.classifier(variables, lambda at: array[None].repeat(len(at), 0), 1)
        probs, classes = members.mean(0)[0], self.statistics['classes']
        row = {'image': str(path), **{f'prob_{name}': repr(float(p)) for name, p in zip(classes, probs)}}
        table = folder / 'predictions.csv'
        atomic_files.add_row(table, row)
        found = '  '.join(f'{name} {p:.3f}' for name, p in sorted(zip(classes, probs), key=lambda pair: -pair[1])[:5])
        return f'{path} → {table}   {found}'


def _truth(target: Any, classes: Sequence[str]) -> dict[str, Any]:
    if not isinstance(target, Sequence):
        return {'target': classes[target]}
    return {f'target_{name}': '' if value == UNKNOWN else value for name, value in zip(classes, target)}


def _classifier(task: Task, dims: int, batch: int, samples: int, flips: Sequence[int]) -> Classifier:
    if batch < 1 or samples < 0 or not set(flips) <= set(range(dims)):
        raise InputError(f'config.evaluate: batch={batch}, samples={samples}, flips={tuple(flips)}; expected at least '
                         f'1, at least 0, and some of the axes 0 to {dims - 1}')
    return Classifier(task, batch, samples, tuple(flips))


def evaluator(*, data: Images, task: Task, batch: int = 64, samples: int = 0, flips: Sequence[int] = (),
              explain: Sequence[str] = ('grad_cam',), shown: int = 2, sensitivity: float | None = None,
              coverage: float = 0.9, subgroups: Sequence[str] = ()) -> ImageEvaluator:
    """Makes the evaluator of classification.

    Args:
      data: the data set.
      task: the problem.
      batch: images at once.
      samples: predictions with dropout left on, whose mean is taken and whose disagreement is told; 0 for none.
      flips: axes of test-time mirroring; none by default.
      explain: methods of `tasks.classification.saliency` whose maps the report shows.
      shown: how many of the surest right, the surest wrong and the least sure cases it shows, each.
      sensitivity: of the operating point that validation cases choose; Youden's point by default.
      coverage: of the conformal prediction sets that validation cases set.
      subgroups: columns whose groups are scored by themselves.
    """
    columns = {name for case in data.source.cases for name in case.columns}
    for name in subgroups:
        if name not in columns:
            raise InputError(f'config.evaluate.subgroups: {name!r}; expected columns of the data: '
                             f'{", ".join(sorted(columns)) or "there are none"}')
    for key, value in (('sensitivity', sensitivity), ('coverage', coverage)):
        if value is not None and not 0 < value < 1:
            raise InputError(f'config.evaluate.{key}: {value}; expected a number between 0 and 1')
    explain_by = explanations.explainer(explain) if explain and task.features is not None else None
    return ImageEvaluator(data, _classifier(task, len(data.preprocess.size), batch, samples, flips), tuple(explain), shown,
                          sensitivity, coverage, tuple(subgroups), explain_by)


def predictor(*, task: Task, data: Mapping[str, Any], statistics: Mapping[str, Any],
              read: Callable[[pathlib.Path], Image], samples: int = 0, flips: Sequence[int] = (),
              **_: Any) -> ImagePredictor:
    """Makes what classifies new images as the evaluator classifies its cases.

    Args:
      task: the problem.
      data: the options of `data.datasets.images.dataset`.
      statistics: of the training cases, as stored with the checkpoint.
      read: reads an image.
      samples: see `evaluator`, as for flips.
      flips: …
      **_: the evaluator's other options, of no use here.
    """
    preprocess = image_preprocess(**data)
    return ImagePredictor(preprocess, statistics, read, _classifier(task, len(preprocess.size), 1, samples, flips))
