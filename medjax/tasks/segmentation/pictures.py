"""Pictures of segmented cases: image, reference, prediction and errors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colors, patches
from matplotlib.axes import Axes

from medjax.ops.labels import IGNORED
from medjax.report.draw import DPI, PLANES, SIDES, Tile, annotate, canvas, overlay_labels
from medjax.report.style import CONFUSED, MISSED, SPURIOUS, png
from medjax.tasks.segmentation.slices import close_up
from medjax.tasks.segmentation.snapshot import Snapshot


def display_window(case: Snapshot, intensity: Mapping[str, Any]) -> tuple[float, float]:
    """The intensities drawn black and white: the config's window, else percentiles around the foreground.

    Percentiles of the whole volume would be those of the air around the patient.

    Args:
      case: the case.
      intensity: `config.data.intensity`.
    """
    if intensity.get('name') == 'window' and case.image.max() > 1:
        return float(intensity['low']), float(intensity['high'])
    image = case.image
    if case.foreground.any():
        ranges = [np.flatnonzero(case.foreground.any(tuple(b for b in range(3) if b != a))) for a in range(3)]
        image = image[tuple(slice(max(r[0] - 10, 0), r[-1] + 11) for r in ranges)]
    values = image[image > image.min()]
    low, high = np.percentile(values if values.size else image, [0.5, 99.5])
    return float(low), float(max(high, low + 1e-6))


def case_tiles(case: Snapshot, axis: int, index: int, classes: Sequence[str],
               limits: tuple[float, float]) -> list[Tile]:
    """A slice as four pictures: image, reference, prediction, errors.

    Small structures are shown as a close-up in the last three; the first one has a frame around its place.

    Args:
      case: the case.
      axis: across the slice.
      index: of the slice.
      classes: names, the background's first.
      limits: intensities drawn black and white.
    """
    image, truth, pred, foreground = (case.plane(array, axis, index)
                                      for array in (case.image, case.label, case.pred, case.foreground))
    zoom = close_up(foreground)
    box = zoom or np.s_[:, :]
    pixel = case.pixel_size(axis)
    where = f'{PLANES[axis]} slice {index + 1}' if case.kind == 'volume' else 'Image'
    tiles = []
    for title, array in (('Image', None), ('Truth', truth), ('Prediction', pred), ('Errors', None)):
        part = np.s_[:, :] if title == 'Image' else box
        figure, axes, width = canvas(image[part], pixel, limits, 0.55 if title == 'Errors' else 1.0)
        if array is not None:
            overlay_labels(axes, array[part], len(classes))
        if title == 'Errors':
            _overlay_errors(axes, truth[part], pred[part])
        if title == 'Image' and zoom:
            rows, columns = zoom
            axes.add_patch(patches.Rectangle(
                (columns.start - 0.5, rows.start - 0.5), columns.stop - columns.start, rows.stop - rows.start,
                fill=False, edgecolor='white', linewidth=1, linestyle=(0, (4, 2))))
        if case.kind == 'volume':
            annotate(axes, SIDES[axis], pixel, 'radiological' if title == 'Image' and axis else '')
        close = ', close-up' if zoom and title != 'Image' else ''
        alt = f'{where} of case {case.name}: {title.lower()}{close}'
        tiles.append(Tile(png(figure, DPI), title + close, alt, width))
    return tiles


def _overlay_errors(axes: Axes, truth: np.ndarray, pred: np.ndarray) -> None:
    """Colours the missed, the spurious and the confused pixels of a slice."""
    overlay = np.zeros((*truth.shape, 4))
    errors = (truth != pred) & (truth != IGNORED)
    overlay[errors & (pred == 0)] = colors.to_rgba(MISSED)
    overlay[errors & (truth == 0)] = colors.to_rgba(SPURIOUS)
    overlay[errors & (truth > 0) & (pred > 0)] = colors.to_rgba(CONFUSED)
    axes.imshow(overlay, aspect='auto', interpolation='nearest')
