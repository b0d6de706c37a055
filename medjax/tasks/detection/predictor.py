"""Detection in new images and videos with a trained run."""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.batched import TOGETHER, padded_size
from medjax.data.datasets.region_proposals import propose_boxes
from medjax.data.io import image_files, video_frames
from medjax.data.io.geometry import Image
from medjax.data.transforms.images import ImagePreprocess
from medjax.tasks.detection import video
from medjax.tasks.detection.inference import BatchedDetector, Detections
from medjax.tasks.detection.output import draw_boxes, write_boxes


class Input(NamedTuple):
    """An image and its entries of a batch of the network, `[1, …]` each."""

    image: Image
    batch: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class DetectionPredictor(contracts.Predictor):
    """Detects objects in new images; see `evaluator.predictor`.

    Attributes:
      preprocess: brings images to the network's size.
      statistics: statistics of the training data.
      read: reads an image.
      detector: detects objects in batches.
      proposals: number of region proposals per image; 0 for none.
      score: score threshold of the boxes that are written and drawn.
    """

    preprocess: ImagePreprocess
    statistics: Mapping[str, Any]
    read: Callable[[pathlib.Path], Image]
    detector: BatchedDetector
    proposals: int
    score: float

    finds = 'boxes'
    shared = ('predictions.csv',)

    @property
    def _draws(self) -> bool:
        """Whether boxes are drawn on the input: on 2D images, while volumes are only in the table."""
        return len(self.preprocess.size) == 2

    def outputs(self, path: pathlib.Path) -> tuple[str, ...]:
        """The names of a video with boxes and its table, or of an image with boxes."""
        if self._draws and video_frames.has_several_frames(path):
            return f'{path.stem}.mp4', f'{path.stem}.csv'
        return (f'{image_files.stem(path)}.png',) if self._draws else ()

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shapes that the network takes."""
        return self._empty(self.detector.window or self.preprocess.size)

    def _empty(self, size: Sequence[int]) -> dict[str, np.ndarray]:
        """A batch of an empty image of a size."""
        array = np.zeros((*size, self.statistics['channels']), np.float32)
        return {'image': array[None], **self._proposed(array)}

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Detects objects in an image, adds a row for each to `predictions.csv`, and draws them on a 2D image.

        Objects in a video are tracked over its frames; see `video.track_video`.

        Args:
          variables: the network's variables.
          path: a file, or a folder with a DICOM series.
          folder: the output folder. Rows of an image of the same name are replaced; NAME.png is a 2D image with boxes.

        Returns:
          A line about the result.

        Raises:
          InputError: the image does not fit the network, or a file cannot be written.
        """
        if not self._is_video(path):
            return super().__call__(variables, path, folder)
        detect = functools.partial(self._detect, variables)
        return video.track_video(path, folder, detect, self.statistics['classes'], self.score)

    @property
    def together(self) -> int:
        """Several images; 1 with a sliding window, since the images differ in size there."""
        return 1 if self.detector.window else TOGETHER

    @functools.cached_property
    def _detectors(self) -> dict[int, BatchedDetector]:
        """Detectors by the size of their batch."""
        return {self.detector.batch: self.detector}

    def read_input(self, path: pathlib.Path) -> Input | None:
        """An image with its network input, see `contracts.Predictor`; None for a video.

        Raises:
          InputError: the image does not fit the network.
        """
        return None if self._is_video(path) else self._prepare(self.read(path))

    def predict_together(self, variables: Any, inputs: Sequence[Input]) -> list[Detections]:
        """The detections of images, each in its own voxels."""
        batch = {name: np.concatenate([found.batch[name] for found in inputs]) for name in inputs[0].batch}

        def chosen(numbers: np.ndarray) -> dict[str, np.ndarray]:
            return {name: array[numbers] for name, array in batch.items()}

        size = padded_size(len(inputs))
        detector = self._detectors.setdefault(size, dataclasses.replace(self.detector, batch=size))
        detected = detector(variables, chosen, len(inputs))
        grids = [self.preprocess.grid(found.image.array.shape, found.image.affine) for found in inputs]
        return [found._replace(boxes=grid.to_stored(found.boxes)) for found, grid in zip(detected, grids)]

    def write_output(self, path: pathlib.Path, folder: pathlib.Path, found: Input, output: Detections) -> str:
        """Writes the rows of an image's detections, and a 2D image with boxes; see `__call__`."""
        classes, image, detections = self.statistics['classes'], found.image, output.above(self.score)
        names = [classes[label] for label in detections.labels]
        write_boxes(folder / 'predictions.csv', str(path), image.affine, detections.boxes, names, detections.scores)
        if self._draws:
            texts, content = [f'{name} {score:.2f}' for name, score in zip(names, detections.scores)], io.BytesIO()
            draw_boxes(image, detections.boxes, texts, detections.labels).save(content, 'png')
            atomic_files.write_bytes(folder / f'{image_files.stem(path)}.png', content.getvalue())
        return f'{path} → {folder / "predictions.csv"}   {self._counts(names)}'

    def findings(self, variables: Any, path: pathlib.Path, probs: bool = False) -> contracts.Findings:
        """The boxes in an image whose score is above the threshold; `probs` is ignored."""
        found, classes = self._detect(variables, self.read(path)).above(self.score), self.statistics['classes']
        return contracts.Findings(classes, self._counts([classes[label] for label in found.labels]), boxes=found.boxes,
                                  box_labels=found.labels, scores=found.scores)

    def _counts(self, names: Sequence[str]) -> str:
        """The number of boxes of each class as text."""
        return '  '.join(f'{name} {names.count(name)}' for name in self.statistics['classes'])

    def warm(self, variables: Any) -> None:
        """Compiles the prediction of each size of a batch, or with a sliding window of an image of the usual size."""
        image = Image(np.zeros((*self.preprocess.size, 1)[:3], np.float32), np.eye(4), '')
        for count in range(1, self.together + 1):
            if count == padded_size(count):
                self.predict_together(variables, [Input(image, self._empty(self.preprocess.size))] * count)

    def _is_video(self, path: pathlib.Path) -> bool:
        return self._draws and video_frames.has_several_frames(path)

    def _prepare(self, image: Image) -> Input:
        array = self.preprocess.checked_fit(image, self.statistics)
        normalised = self.preprocess.normalise(array, self.statistics['intensities'])
        return Input(image, {'image': normalised[None], **self._proposed(array)})

    def _detect(self, variables: Any, image: Image) -> Detections:
        """The detections of an image, in its own voxels."""
        return self.predict_together(variables, [self._prepare(image)])[0]

    def _proposed(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """Region proposals of a preprocessed image `[*S, C]` as entries of a batch, where the network takes some."""
        if not self.proposals:
            return {}
        boxes = propose_boxes(array, self.proposals)
        return {'proposals': np.pad(boxes, [(0, self.proposals - len(boxes)), (0, 0)])[None].astype(np.float32),
                'proposal_mask': (np.arange(self.proposals) < len(boxes))[None].astype(np.float32)}
