"""Detection in new images and videos with a trained run."""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.data.datasets.region_proposals import propose_boxes
from medjax.data.io import image_files, video_frames
from medjax.data.io.geometry import Image
from medjax.data.transforms.images import ImagePreprocess
from medjax.tasks.detection import output, video
from medjax.tasks.detection.inference import BatchedDetector, Detections


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
        shape = (*(self.detector.window or self.preprocess.size), self.statistics['channels'])
        return {'image': np.zeros((1, *shape), np.float32), **self._proposed(np.zeros(shape, np.float32))}

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
        classes = self.statistics['classes']
        if self._draws and video_frames.has_several_frames(path):
            return video.track_video(path, folder, functools.partial(self._detect, variables), classes, self.score)
        image, drawing = self.read(path), folder / f'{image_files.stem(path)}.png'
        found = self._detect(variables, image).above(self.score)
        names = [classes[label] for label in found.labels]
        output.write_boxes(folder / 'predictions.csv', str(path), image.affine, found.boxes, names, found.scores)
        if self._draws:
            texts, content = [f'{name} {score:.2f}' for name, score in zip(names, found.scores)], io.BytesIO()
            output.draw_boxes(image, found.boxes, texts, found.labels).save(content, 'png')
            atomic_files.write_bytes(drawing, content.getvalue())
        return f'{path} → {folder / "predictions.csv"}   {self._counts(names)}'

    def findings(self, variables: Any, path: pathlib.Path, probs: bool = False) -> contracts.Findings:
        """The boxes in an image whose score is above the threshold; `probs` is ignored."""
        found, classes = self._detect(variables, self.read(path)).above(self.score), self.statistics['classes']
        return contracts.Findings(classes, self._counts([classes[label] for label in found.labels]), boxes=found.boxes,
                                  box_labels=found.labels, scores=found.scores)

    def _counts(self, names: Sequence[str]) -> str:
        """The number of boxes of each class as text."""
        return '  '.join(f'{name} {names.count(name)}' for name in self.statistics['classes'])

    def _detect(self, variables: Any, image: Image) -> Detections:
        """The detections of an image, in its own voxels."""
        array = self.preprocess.checked_fit(image, self.statistics)
        inputs = {'image': self.preprocess.normalise(array, self.statistics['intensities'])[None],
                  **self._proposed(array)}
        found, = self.detector(variables, lambda _: inputs, 1)
        grid = self.preprocess.grid(image.array.shape, image.affine)
        return found._replace(boxes=grid.to_stored(found.boxes))

    def _proposed(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """Region proposals of a preprocessed image `[*S, C]` as entries of a batch, where the network takes some."""
        if not self.proposals:
            return {}
        boxes = propose_boxes(array, self.proposals)
        return {'proposals': np.pad(boxes, [(0, self.proposals - len(boxes)), (0, 0)])[None].astype(np.float32),
                'proposal_mask': (np.arange(self.proposals) < len(boxes))[None].astype(np.float32)}
