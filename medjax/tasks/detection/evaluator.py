"""Evaluates detection image by image: a row with the true and the found boxes of each."""

import dataclasses
import functools
import io
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.task import Task
from medjax.data.datasets.detection import ObjectImages, window
from medjax.data.datasets.region_proposals import propose
from medjax.data.io import image_files, video_frames
from medjax.data.io.geometry import Image, spacing
from medjax.data.transforms.images import Frame, framing
from medjax.errors import InputError
from medjax.metrics import box_matching, detection
from medjax.metrics.box_matching import ImageBoxes
from medjax.ops import window_stitching
from medjax.tasks.detection import summary, video
from medjax.tasks.detection.box_columns import drawn, keep_snapshot, read_row, tabulate, written

DIGITS = 6  # of a score in a table
UNSET = 0.5  # the score from which a box is taken for found where no validation case sets it

Found = tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes [N, 2D] in the network's grid, labels [N], scores [N]


@dataclasses.dataclass(frozen=True)
class Detector:
    """Finds objects in images of one size.

    Attributes:
      task: the problem.
      batch: images that go through the network at once; the last ones are filled up, so that it is compiled once.
      window: what the network sees of an image at a time; the whole of it by default.
      overlap: see `seams.tiled`, as for merge.
      merge: …
    """

    task: Task
    batch: int
    window: tuple[int, ...] = ()
    overlap: float = 0.5
    merge: float = 0.5

    def __post_init__(self):
        if self.batch < 1 or not 0 <= self.overlap < 1 or not 0 <= self.merge <= 1:
            raise InputError(f'config.evaluate: batch={self.batch}, overlap={self.overlap}, merge={self.merge}; '
                             'expected at least 1, 0 to below 1, and 0 to 1')

    @functools.cached_property
    def _compiled(self) -> Callable[..., dict[str, jax.Array]]:
        predict = self.task.predict
        if self.window:
            predict = window_stitching.tiled(predict, self.window, self.overlap, self.merge)
        return jax.jit(lambda variables, batch: predict(variables, batch))

    def __call__(self, variables: Any, inputs: Callable[[np.ndarray], Mapping[str, np.ndarray]],
                 count: int) -> Iterator[Found]:
        """What is found in each of `count` images, the surest first.

        Args:
          variables: the network's.
          inputs: gives a batch of the images of some numbers.
          count: of images.
        """
        for start in range(0, count, self.batch):
            numbers = np.minimum(np.arange(start, start + self.batch), count - 1)
            out = jax.device_get(self._compiled(variables, inputs(numbers)))
            for row in range(min(self.batch, count - start)):
                scores = np.round(out['scores'][row].astype(np.float64), DIGITS)
                real = np.flatnonzero((out['valid'][row] > 0) & (scores > 0))
                real = real[np.argsort(-scores[real], kind='stable')]
                yield out['boxes'][row][real], out['labels'][row][real], scores[real]


@dataclasses.dataclass(frozen=True)
class ObjectEvaluator(contracts.Evaluator):
    """Finds the objects of the cases of a split; see `evaluator`."""

    data: ObjectImages
    detector: Detector
    shown: int


    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per case of the split: id, patient, columns, and in the stored image's voxels what is there and found.

        Args:
          variables: the network's.
          split: which cases.
          quick: no difference here.
          snapshots: folder for a few cases' images with their boxes, which the report draws.
        """
        source, numbers, rows, kept = self.data.source, self.data.numbers(split), [], []
        dims = len(self.data.frame.size)

        def inputs(at: np.ndarray) -> dict[str, np.ndarray]:
            given = self.data.padded(numbers[at]) if self.data.proposals else {}
            return {'image': self.data.images(numbers[at]),
                    **{name: array for name, array in given.items() if name.startswith('proposal')}}

        for number, found in zip(numbers, self.detector(variables, inputs, len(numbers))):
            case, (boxes, labels, scores) = source.cases[number], found
            row = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns,
                   'size': json.dumps(self.data.grid(number).shape)}
            if dims == 3:
                row['spacing'] = json.dumps(np.round(spacing(self.data.affines[number]), 6).tolist())
            row['truth'] = written(source.classes, case.target.labels, case.target.boxes)
            row['found'] = written(source.classes, labels, self.data.restore(number, boxes), scores)
            rows.append(row)
            kept.append(found)
        if snapshots is not None:
            self._keep(numbers, kept, rows, snapshots)
        return rows

    def complete(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Adds what is found in each image at the operating point, which validation cases set."""
        return summary.counted(rows, self.data.source.classes)

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Every figure of a table of cases, those of a class under NAME_CLASS; NaN where it is not defined."""
        classes, dims = self.data.source.classes, len(self.data.frame.size)
        images = [read_row(row, classes, dims) for row in rows]
        each = box_matching.match_classes(images, len(classes), detection.iou_thresholds(dims))
        found = detection.compute_metrics(each, dims, np.ones((1, len(images))))
        return {key if isinstance(key, str) else f'{key[0]}_{classes[key[1]]}': float(value[0])
                for key, value in found.items()}

    def _keep(self, numbers: np.ndarray, found: Sequence[Found], rows: Sequence[Mapping[str, Any]],
              folder: pathlib.Path) -> None:
        """Keeps snapshots of the best, the median and the worst images alone."""
        classes, dims = self.data.source.classes, len(self.data.frame.size)
        order = detection.rank_images([read_row(row, classes, dims) for row in rows], len(classes), dims)
        for old in folder.glob('*.npz'):
            old.unlink()
        for place in dict.fromkeys(int(place) for some in order.values() for place in some[:self.shown]):
            number, (boxes, labels, scores) = numbers[place], found[place]
            steps = spacing(self.data.affines[number]) if dims == 3 else (1.0, 1.0)
            keep_snapshot(folder / f'{self.data.source.cases[number].id}.npz', np.asarray(self.data.arrays[number]),
                          ImageBoxes(*self.data.truth(number), boxes, labels, scores), self.data.grid(number), steps)


@dataclasses.dataclass(frozen=True)
class ObjectPredictor(contracts.Predictor):
    """Finds objects in images that are no cases of the data set; see `predictor`."""

    frame: Frame
    statistics: Mapping[str, Any]
    read: Callable[[pathlib.Path], Image]
    detector: Detector
    proposals: int
    score: float

    @property
    def apart(self) -> bool:
        """Whether images must have different names: pictures are drawn under theirs, volumes are in the table alone."""
        return len(self.frame.size) == 2

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network sees."""
        shape = (*(self.detector.window or self.frame.size), self.statistics['channels'])
        return {'image': np.zeros((1, *shape), np.float32), **self._proposed(np.zeros(shape, np.float32))}

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Finds an image's objects, adds a row for each to `predictions.csv` in a folder, and draws them on a picture.

        Of a video they are followed from frame to frame; see `footage.follow`.

        Args:
          variables: the network's.
          path: of a file, or of a folder with a DICOM series.
          folder: gets the table, in which rows of an image of this name are replaced, and NAME.png of a picture.

        Returns:
          A line on what was found, for the person who waits.

        Raises:
          InputError: where the image is not such as the network was trained on, or the table cannot be written.
        """
        classes = self.statistics['classes']
        if self.file_per_input and video_frames.moves(path):
            return video.follow(path, folder, functools.partial(self._found, variables), classes, self.score)
        image, out = self.read(path), folder / f'{image_files.stem(path)}.png'
        if self.file_per_input and out.resolve() == path.resolve():
            raise InputError(f'--output={folder}: {path} would be drawn over; expected another folder')
        boxes, labels, scores = self._found(variables, image)
        sure = scores >= self.score
        boxes, names, scores = boxes[sure], [classes[label] for label in labels[sure]], scores[sure]
        tabulate(folder / 'predictions.csv', str(path), image.affine, boxes, names, scores)
        if self.file_per_input:
            content = io.BytesIO()
            drawn(image, boxes, [f'{name} {score:.2f}' for name, score in zip(names, scores)],
                  labels[sure]).save(content, 'png')
            atomic_files.write_bytes(out, content.getvalue())
        counts = '  '.join(f'{name} {names.count(name)}' for name in classes)
        return f'{path} → {folder / "predictions.csv"}   {counts}'

    def _found(self, variables: Any, image: Image) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes in the image's own grid, labels and scores."""
        image_files.check_finite(image)
        array = self.frame.fitted(image)
        if array.shape[-1] != self.statistics['channels']:
            raise InputError(f'{image.path}: {array.shape[-1]} channels; expected {self.statistics["channels"]} '
                             'channels, as in training')
        given = {'image': self.frame.normalise(array, self.statistics['intensities'])[None], **self._proposed(array)}
        (boxes, labels, scores), = self.detector(variables, lambda _: given, 1)
        return self.frame.grid(image.array.shape, image.affine).back(boxes), labels, scores

    def _proposed(self, array: np.ndarray) -> dict[str, np.ndarray]:
        if not self.proposals:
            return {}
        boxes = propose(array, self.proposals)
        return {'proposals': np.pad(boxes, [(0, self.proposals - len(boxes)), (0, 0)])[None].astype(np.float32),
                'proposal_mask': (np.arange(self.proposals) < len(boxes))[None].astype(np.float32)}


def evaluator(*, data: ObjectImages, task: Task, batch: int = 8, shown: int = 2,
              score: float | None = None, overlap: float = 0.5, merge: float = 0.5) -> ObjectEvaluator:
    """Makes the evaluator of detection.

    Args:
      data: the data set.
      task: the problem.
      batch: images at once.
      shown: how many of the best, the median and the worst images the report shows, each.
      score: for `predictor`: from which a found box is written and drawn; by default the operating point, which
        validation cases choose. The evaluation has all that are found.
      overlap: where the network was trained on patches: what a window shares with the next; see `seams.tiled`, as for
        merge.
      merge: …
    """
    _check(score or 0.0)
    return ObjectEvaluator(data, Detector(task, batch, data.patch, overlap, merge), shown)


def predictor(*, task: Task, data: Mapping[str, Any], statistics: Mapping[str, Any],
              read: Callable[[pathlib.Path], Image], folder: pathlib.Path, score: float | None = None,
              overlap: float = 0.5, merge: float = 0.5, **_: Any) -> ObjectPredictor:
    """Makes what finds objects in new images as the evaluator finds those of its cases.

    Args:
      task: the problem.
      data: the options of `data.datasets.detection.dataset`.
      statistics: of the training cases, as stored with the checkpoint.
      read: reads an image.
      folder: of the run.
      score: from which a found box is written and drawn; by default the run's operating point.
      overlap: the evaluator's, as merge.
      merge: …
      **_: its other options, of no use here.
    """
    score = _operating(folder) if score is None else score
    _check(score)
    frame, proposals = framing(**data), data.get('proposals', 0)
    detector = Detector(task, 1, window(data.get('patch', ()), frame.size, proposals), overlap, merge)
    return ObjectPredictor(frame, statistics, read, detector, proposals, score)


def _operating(folder: pathlib.Path) -> float:
    """The score that the run's validation cases chose; a half where it was not evaluated."""
    try:
        return float(json.loads((folder / 'results.json').read_text())['analysis']['operating']['score'])
    except (OSError, ValueError, KeyError, TypeError):
        return UNSET


def _check(score: float) -> None:
    if not 0 <= score <= 1:
        raise InputError(f'config.evaluate.score: {score}; expected a number from 0 to 1')
