"""Images with boxes about what their labels show: a connected part of a class's voxels is an object.

Images and labels are paired and read as in `folder`, whose options these are; voxels touch where they share a corner.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from concurrent import futures
from typing import Any

import cc3d
import numpy as np

from medjax.data.io.geometry import Image
from medjax.data.source import Case, Objects, Source
from medjax.data.sources import segmentation_folder
from medjax.machine import cores

image_reader = segmentation_folder.image_reader


def source(**options: Any) -> Source:
    """Finds the objects in the labels of a folder.

    Args:
      **options: of `folder.source`; its `classes` begin with the background, which is no class of the objects.

    Raises:
      InputError: as `folder.source`, and for a label that cannot be read.
    """
    found = segmentation_folder.source(**options)
    with futures.ThreadPoolExecutor(cores()) as threads:
        targets = list(threads.map(_objects, found.cases, [len(found.classes)] * len(found.cases)))
    cases = tuple(dataclasses.replace(case, target=target, read=functools.partial(_image, case.read))
                  for case, target in zip(found.cases, targets))
    return dataclasses.replace(found, cases=cases, classes=found.classes[1:], problem='detection')


source.__signature__ = inspect.signature(segmentation_folder.source)  # by which the config's keys are checked


def _image(read: Callable[[], tuple[Image, Image]]) -> tuple[Image, None]:
    return read()[0], None


def _objects(case: Case, classes: int) -> Objects:
    array = case.read()[1].array
    picture = array.shape[2] == 1
    return objects_of(array[:, :, 0].T if picture else array, classes)


def objects_of(label: np.ndarray, classes: int) -> Objects:
    """The objects of a label `[*S]` of class numbers, 0 the background; what is beyond `classes` is none."""
    boxes, labels = [np.zeros((0, 2 * label.ndim))], []
    for number in range(1, classes):
        its = parts(label == number)
        boxes.append(its)
        labels += [number - 1] * len(its)
    return Objects(np.concatenate(boxes), np.array(labels, np.int32))


def parts(mask: np.ndarray) -> np.ndarray:
    """The boxes `[N, 2D]` float32 of a mask's connected parts, of two or three dimensions."""
    labels, count = cc3d.connected_components(mask, connectivity=8 if mask.ndim == 2 else 26, return_N=True)
    boxes = cc3d.statistics(labels)['bounding_boxes'][1:] if count else []
    return np.reshape([[*(s.start for s in box), *(s.stop for s in box)] for box in boxes],
                      (-1, 2 * mask.ndim)).astype(np.float32)
