"""Boxes as files have them: cells of an evaluation, rows of a new image and boxes drawn on it, and snapshots."""

import csv
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from medjax import atomic_files
from medjax.data.io.geometry import Image, spacing
from medjax.data.transforms.box_grid import Grid
from medjax.errors import InputError
from medjax.metrics.box_matching import ImageBoxes

COLOURS = ('#56B4E9', '#E69F00', '#009E73', '#0072B2', '#F0E442', '#D55E00', '#CC79A7')  # Okabe & Ito 2008


def written(classes: Sequence[str], labels: np.ndarray, boxes: np.ndarray, scores: np.ndarray | None = None) -> str:
    """Boxes as a table has them: name, score where there is one, and corners."""
    lead = [[classes[label]] for label in labels] if scores is None else [
        [classes[label], float(score)] for label, score in zip(labels, scores)]
    return json.dumps([[*first, *box] for first, box in zip(lead, np.round(boxes.astype(np.float64), 2).tolist())],
                      separators=(',', ':'), ensure_ascii=False)


def read_row(row: Mapping[str, Any], classes: Sequence[str], dims: int) -> ImageBoxes:
    """The boxes of a row that an evaluation wrote."""
    numbers = {name: number for number, name in enumerate(classes)}
    truth, found = json.loads(row['truth']), json.loads(row['found'])
    corners = lambda boxes, first: np.array([box[first:] for box in boxes], np.float64).reshape(-1, 2 * dims)
    labels = lambda boxes: np.array([numbers[box[0]] for box in boxes], int)
    return ImageBoxes(corners(truth, 1), labels(truth), corners(found, 2), labels(found),
                np.array([box[1] for box in found], np.float64))


def tabulate(table: pathlib.Path, name: str, affine: np.ndarray, boxes: np.ndarray, names: Sequence[str],
             scores: np.ndarray) -> None:
    """Adds a row for each box found in a new image to a table; those of an image of that name before are replaced.

    Args:
      table: its path; with no box it gets its columns all the same.
      name: of the image.
      affine: `[4, 4]` of the image; of a volume's boxes centre and diameters are written in mm too.
      boxes: `[N, 2D]` in the image's voxels.
      names: of their classes.
      scores: `[N]`.

    Raises:
      InputError: a table of other columns is there, or it cannot be written.
    """
    dims = boxes.shape[-1] // 2
    columns = ['image', 'label', 'score', *(f'{end}_{axis}' for end in ('low', 'high') for axis in range(dims))]
    columns += [f'{what}_{axis}_mm' for what in ('centre', 'diameter') for axis in 'xyz'] if dims == 3 else []
    rows = []
    for box, label, score in zip(boxes.astype(np.float64), names, scores):
        values = [name, label, float(score), *np.round(box, 2).tolist()]
        rows.append(dict(zip(columns, values + (_in_mm(box, affine) if dims == 3 else []))))
    old: list[dict[str, Any]] = []
    if table.exists():
        with table.open(newline='') as file:
            reader = csv.DictReader(file)
            old = list(reader)
        if (reader.fieldnames or columns) != columns:
            raise InputError(f'{table}: a table of {", ".join(reader.fieldnames)}; expected one of '
                             f'{", ".join(columns)}, or another --output')
    rows = [row for row in old if row['image'] != name] + rows
    if rows:
        atomic_files.write_table(table, rows)
    else:  # nothing found is a result too
        atomic_files.write_text(table, ','.join(columns) + '\n')


def drawn(image: Image, boxes: np.ndarray, texts: Sequence[str], labels: np.ndarray) -> Picture.Image:
    """A picture with boxes `[N, 4]` and a text at each, in the colour of its class `[N]`."""
    array = image.array[:, :, 0].swapaxes(0, 1).astype(np.float32)
    if image.array.dtype != np.uint8:
        low, high = np.percentile(array, [0.5, 99.5])
        array = 255 * (array - low) / max(high - low, 1e-6)
    array = np.clip(np.rint(array), 0, 255).astype(np.uint8)
    picture = Picture.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array).convert('RGB')
    pen, wide = ImageDraw.Draw(picture), max(1, round(max(picture.size) / 400))
    for box, text, label in list(zip(boxes, texts, labels))[::-1]:  # the surest on top
        low, high = np.floor(box[:2]), np.maximum(np.ceil(box[2:]) - 1, np.floor(box[:2]))
        colour = COLOURS[int(label) % len(COLOURS)]
        pen.rectangle([low[1], low[0], high[1], high[0]], outline=colour, width=wide)
        pen.text((low[1] + wide + 1, low[0] + wide), text, fill=colour, stroke_width=1, stroke_fill='black',
                 font_size=max(10, round(max(picture.size) / 50)))
    return picture


def keep_snapshot(path: pathlib.Path, image: np.ndarray, seen: ImageBoxes, grid: Grid, steps: Sequence[float]) -> None:
    """Writes what the report draws of a case: its image and boxes as the network has them.

    Args:
      path: of the file.
      image: `[*S, C]`.
      seen: its boxes, in its voxels.
      grid: where the stored image lies in it.
      steps: from one of the stored voxels to the next, along each axis.
    """
    inverse = np.linalg.inv(grid.matrix[:, :-1])
    atomic_files.write_arrays(
        path, image=image, kind='detection', truth=seen.true_boxes, truth_labels=seen.true_labels,
        found=seen.pred_boxes, found_labels=seen.pred_labels, scores=seen.scores,
        spacing=np.linalg.norm(np.array(steps)[:, None] * inverse, axis=0))


def _in_mm(box: np.ndarray, affine: np.ndarray) -> list[float]:
    """A box's centre in the world, RAS+, and its extents along the axes of the world that are nearest to its own."""
    low, high = np.split(box, 2)
    centre = affine @ [*((low + high) / 2 - 0.5), 1]  # an affine is of voxels' centres
    turn = np.abs(affine[:3, :3] / np.array(spacing(affine))).argmax(0)
    extents = np.zeros(3)
    extents[turn] = (high - low) * spacing(affine)
    return np.round([*centre[:3], *extents], 3).tolist()
