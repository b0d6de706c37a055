"""Detection data from segmentation labels: each connected component of a class is an object with a box.

Images and labels are paired and read as in `segmentation_folder`, with the same options. Components are connected
through faces, edges and corners.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from concurrent import futures
from typing import Any

import numpy as np

from medjax.data.io.geometry import Image
from medjax.data.source import Case, Objects, Source
from medjax.data.sources import segmentation_folder
from medjax.data.transforms.component_boxes import component_boxes
from medjax.machine import cores

image_reader = segmentation_folder.image_reader


def source(**options: Any) -> Source:
    """A detection source with the connected components in a folder's labels.

    Args:
      **options: those of `segmentation_folder.source`. Its `classes` begin with the background, which is no class of
        the objects.

    Raises:
      InputError: as `segmentation_folder.source`; a label cannot be read.
    """
    segmentation = segmentation_folder.source(**options)
    count = len(segmentation.classes)
    with futures.ThreadPoolExecutor(cores()) as threads:
        targets = list(threads.map(lambda case: _case_objects(case, count), segmentation.cases))
    cases = tuple(dataclasses.replace(case, target=target, read=functools.partial(_image, case.read))
                  for case, target in zip(segmentation.cases, targets))
    return dataclasses.replace(segmentation, cases=cases, classes=segmentation.classes[1:], problem='detection',
                               least_classes=1)


source.__signature__ = inspect.signature(segmentation_folder.source)  # the config keys are checked against it


def _image(read: Callable[[], tuple[Image, Image]]) -> tuple[Image, None]:
    return read()[0], None


def _case_objects(case: Case, classes: int) -> Objects:
    """The objects of a case. In 2D images rows come first, as `Objects` has them."""
    array = case.read()[1].array
    return find_objects(array[:, :, 0].T if array.shape[2] == 1 else array, classes)


def find_objects(label: np.ndarray, classes: int) -> Objects:
    """The objects of a label `[*S]` of class numbers; 0 is background, and values from `classes` on are ignored."""
    boxes, labels = [np.zeros((0, 2 * label.ndim))], []
    for number in range(1, classes):
        class_boxes = component_boxes(label == number)
        boxes.append(class_boxes)
        labels += [number - 1] * len(class_boxes)
    return Objects(np.concatenate(boxes), np.array(labels, np.int32))
