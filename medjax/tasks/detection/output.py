"""Output files of detection in new images: a table with a row for each box, and images with the boxes drawn on them."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as Raster
from PIL import ImageDraw

from medjax import atomic_files
from medjax.data.io.geometry import Image, spacing
from medjax.errors import InputError
from medjax.tasks.detection.table import DIGITS

COLOURS = ('#56B4E9', '#E69F00', '#009E73', '#0072B2', '#F0E442', '#D55E00', '#CC79A7')  # Okabe & Ito 2008
MM_DIGITS = 3  # decimals of lengths in mm


def write_boxes(table: pathlib.Path, name: str, affine: np.ndarray, boxes: np.ndarray, names: Sequence[str],
                scores: np.ndarray) -> None:
    """Adds a row to a table for each box found in an image; rows of an image of the same name are replaced.

    Args:
      table: path of the table; without any box it is written with its header only.
      name: of the image.
      affine: `[4, 4]`, of the image; for volumes the centre and the diameters of a box are written in mm as well.
      boxes: `[N, 2D]`, in the image's voxels.
      names: `[N]`, names of the classes.
      scores: `[N]`.

    Raises:
      InputError: the table exists with other columns, or it cannot be written.
    """
    dims = boxes.shape[-1] // 2
    columns = ['image', 'label', 'score', *(f'{end}_{axis}' for end in ('low', 'high') for axis in range(dims))]
    if dims == 3:
        columns += [f'{quantity}_{axis}_mm' for quantity in ('centre', 'diameter') for axis in 'xyz']
    rows = []
    for box, label, score in zip(boxes.astype(np.float64), names, scores):
        values = [name, label, float(score), *np.round(box, DIGITS).tolist()]
        if dims == 3:
            values += _centre_and_diameters(box, affine)
        rows.append(dict(zip(columns, values)))
    rows = [row for row in _earlier_rows(table, columns) if row['image'] != name] + rows
    if rows:
        atomic_files.write_table(table, rows)
    else:
        atomic_files.write_text(table, ','.join(columns) + '\n')


def draw_boxes(image: Image, boxes: np.ndarray, texts: Sequence[str], labels: np.ndarray) -> Raster.Image:
    """An image with boxes drawn on it, each in the colour of its class, the most probable on top.

    Args:
      image: a 2D image.
      boxes: `[N, 4]`, rows and columns, by decreasing score.
      texts: `[N]`, written at each box.
      labels: `[N]` class numbers.
    """
    array = image.array[:, :, 0].swapaxes(0, 1).astype(np.float32)
    if image.array.dtype != np.uint8:
        low, high = np.percentile(array, [0.5, 99.5])
        array = 255 * (array - low) / max(high - low, 1e-6)
    array = np.clip(np.rint(array), 0, 255).astype(np.uint8)
    grey = array.ndim == 3 and array.shape[-1] == 1
    raster = Raster.fromarray(array[..., 0] if grey else array).convert('RGB')
    pen, width = ImageDraw.Draw(raster), max(1, round(max(raster.size) / 400))
    for box, text, label in list(zip(boxes, texts, labels))[::-1]:
        low, high = np.floor(box[:2]), np.maximum(np.ceil(box[2:]) - 1, np.floor(box[:2]))
        colour = COLOURS[int(label) % len(COLOURS)]
        pen.rectangle([low[1], low[0], high[1], high[0]], outline=colour, width=width)
        pen.text((low[1] + width + 1, low[0] + width), text, fill=colour, stroke_width=1, stroke_fill='black',
                 font_size=max(10, round(max(raster.size) / 50)))
    return raster


def _earlier_rows(table: pathlib.Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows that a table has already; none where there is no table."""
    if not table.exists():
        return []
    rows, found = atomic_files.read_table(table)
    if (found or list(columns)) != list(columns):
        raise InputError(f'{table}: a table of {", ".join(found)}; expected one of {", ".join(columns)}, '
                         'or another --output')
    return rows


def _centre_and_diameters(box: np.ndarray, affine: np.ndarray) -> list[float]:
    """A box's centre in mm in RAS+, and its diameters in mm along the world axes that are closest to its own axes."""
    low, high = np.split(box, 2)
    centre = affine @ [*((low + high) / 2 - 0.5), 1]  # an affine maps voxels' centres, boxes count from corners
    axes = np.abs(affine[:3, :3] / np.array(spacing(affine))).argmax(0)
    diameters = np.zeros(3)
    diameters[axes] = (high - low) * spacing(affine)
    return np.round([*centre[:3], *diameters], MM_DIGITS).tolist()
