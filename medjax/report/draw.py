"""Pictures of cases: image, truth, prediction and what differs, with the patient's sides written on them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colors, patches, patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from medjax.report.anatomy import LETTERS, PLANES, Snapshot, close_up
from medjax.report.style import CONFUSED, MISSED, SPURIOUS, class_colour, png

DPI = 160  # a picture's inch is 100 CSS pixels wide: sharp on fine screens as well
HALO = [patheffects.withStroke(linewidth=2, foreground='black')]


@dataclasses.dataclass(frozen=True)
class Tile:
    """One picture: PNG bytes, a title, what it shows in words, its width on the page in CSS pixels."""

    png: bytes
    title: str
    alt: str
    width: int


def window(case: Snapshot, intensity: Mapping[str, Any]) -> tuple[float, float]:
    """The intensities drawn black and white: the config's window, else percentiles around what is labelled.

    Percentiles of the whole volume would be those of the air around the patient.
    """
    if intensity.get('name') == 'window' and case.image.max() > 1:
        return float(intensity['low']), float(intensity['high'])
    image = case.image
    if case.marked.any():
        where = [np.flatnonzero(case.marked.any(tuple(b for b in range(3) if b != a))) for a in range(3)]
        image = image[tuple(slice(max(w[0] - 10, 0), w[-1] + 11) for w in where)]
    values = image[image > image.min()]
    low, high = np.percentile(values if values.size else image, [0.5, 99.5])
    return float(low), float(max(high, low + 1e-6))


def case_tiles(case: Snapshot, axis: int, index: int, classes: Sequence[str],
               limits: tuple[float, float]) -> list[Tile]:
    """A slice as four pictures: image, truth, prediction, errors.

    Small structures are shown as a close-up in the last three, whose place the first one marks.

    Args:
      case: of which the slice is.
      axis: across the slice.
      index: of the slice.
      classes: names, the background's first.
      limits: intensities drawn black and white.
    """
    image, truth, pred, marked = (case.cut(array, axis, index)
                                  for array in (case.image, case.label, case.pred, case.marked))
    zoom = close_up(marked)
    box = zoom or np.s_[:, :]
    pixel = case.pixel(axis)
    where = f'{PLANES[axis]} slice {index + 1}' if case.kind == 'volume' else 'Picture'
    tiles = []
    for title, array in (('Image', None), ('Truth', truth), ('Prediction', pred), ('Errors', None)):
        part = np.s_[:, :] if title == 'Image' else box
        figure, axes, width = canvas(image[part], pixel, limits, 0.55 if title == 'Errors' else 1.0)
        if array is not None:
            _classes(axes, array[part], len(classes))
        if title == 'Errors':
            _errors(axes, truth[part], pred[part])
        if title == 'Image' and zoom:
            rows, columns = zoom
            axes.add_patch(patches.Rectangle(
                (columns.start - 0.5, rows.start - 0.5), columns.stop - columns.start, rows.stop - rows.start,
                fill=False, edgecolor='white', linewidth=1, linestyle=(0, (4, 2))))
        if case.kind == 'volume':
            annotate(axes, LETTERS[axis], pixel, 'radiological' if title == 'Image' and axis else '')
        close = ', close-up' if zoom and title != 'Image' else ''
        alt = f'{where} of case {case.name}: {title.lower()}{close}'
        tiles.append(Tile(png(figure, DPI), title + close, alt, width))
    return tiles


def augmented_tiles(arrays: Mapping[str, np.ndarray], pixel: tuple[float, float],
                    flip: bool) -> list[tuple[Tile, Tile]]:
    """Pairs of a training patch as read and as augmented, the label outlined on the latter where there is one.

    Args:
      arrays: `original`, `image`, and `label` if it is an image too, each `[N, *S]`, 2D or 3D; of 3D patches the middle
        slice is drawn.
      pixel: height and width of a picture element, mm.
      flip: turn the patches as a volume's axial slices are turned.
    """
    pairs, outlined = [], 'label' in arrays
    for number in range(len(arrays['image'])):
        planes = {k: v[number] if v.ndim == 3 else v[number, ..., v.shape[-1] // 2] for k, v in arrays.items()}
        planes = {k: v.T[::-1, ::-1] if flip else v.T for k, v in planes.items()}
        low, high = np.percentile(planes['original'], [0.5, 99.5])
        pair = []
        for name, title in (('original', 'As read'), ('image', 'As trained on')):
            figure, axes, width = canvas(planes[name], pixel, (low, max(high, low + 1e-6)))
            if name == 'image' and outlined:
                _classes(axes, planes['label'], int(planes['label'].max()) + 1, fill=0.0)
            alt = f'Training patch {number + 1}, {title.lower()}{", label outlined" * (name == "image" and outlined)}'
            pair.append(Tile(png(figure, DPI), title, alt, width))
        pairs.append(tuple(pair))
    return pairs


def canvas(plane: np.ndarray, pixel: tuple[float, float], limits: tuple[float, float],
           light: float = 1.0) -> tuple[Figure, Axes, int]:
    """A slice in grey, or in colours, without anything around it.

    Args:
      plane: `[rows, columns]`, or `[rows, columns, 3]`.
      pixel: height and width of a picture element.
      limits: intensities drawn black and white.
      light: how bright white is.

    Returns:
      The figure, its axes in picture elements, and its width on the page in CSS pixels.
    """
    height, width = plane.shape[0] * pixel[0], plane.shape[1] * pixel[1]
    scale = min(2.36 / width, 4.2 / height)  # four of them fill a page's width, none is taller than a screen
    figure = Figure(figsize=(max(width * scale, 0.2), max(height * scale, 0.2)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    grey = np.clip((plane - limits[0]) / (limits[1] - limits[0]), 0, 1) * light
    axes.imshow(np.nan_to_num(grey), cmap='gray', vmin=0, vmax=1, aspect='auto', interpolation='antialiased')
    return figure, axes, round(figure.get_figwidth() * 100)


def _classes(axes: Axes, label: np.ndarray, classes: int, fill: float = 0.45) -> None:
    painted = np.zeros((*label.shape, 4))
    for number in range(1, classes):
        mask, colour = label == number, class_colour(number)
        painted[mask] = colors.to_rgba(colour, fill)
        _outline(axes, mask, colour)
    painted[label == 255] = (0.5, 0.5, 0.5, fill)
    if fill:
        axes.imshow(painted, aspect='auto', interpolation='nearest')


def _outline(axes: Axes, mask: np.ndarray, colour: str) -> None:
    """Draws along the borders of picture elements, where the mask really ends."""
    inside = np.pad(mask, 1)
    row, column = np.nonzero(inside[1:, 1:-1] != inside[:-1, 1:-1])
    lines = [((c - 0.5, r - 0.5), (c + 0.5, r - 0.5)) for r, c in zip(row, column)]
    row, column = np.nonzero(inside[1:-1, 1:] != inside[1:-1, :-1])
    lines += [((c - 0.5, r - 0.5), (c - 0.5, r + 0.5)) for r, c in zip(row, column)]
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.7))


def _errors(axes: Axes, truth: np.ndarray, pred: np.ndarray) -> None:
    painted = np.zeros((*truth.shape, 4))
    wrong = (truth != pred) & (truth != 255)
    painted[wrong & (pred == 0)] = colors.to_rgba(MISSED)
    painted[wrong & (truth == 0)] = colors.to_rgba(SPURIOUS)
    painted[wrong & (truth > 0) & (pred > 0)] = colors.to_rgba(CONFUSED)
    axes.imshow(painted, aspect='auto', interpolation='nearest')


def annotate(axes: Axes, letters: Sequence[str], pixel: tuple[float, float], note: str) -> None:
    """Writes the patient's sides (left, right, top, bottom), a bar of known length, and the convention."""
    style = dict(color='white', fontsize=8, path_effects=HALO, transform=axes.transAxes)
    places = ((0.02, 0.5, 'left', 'center'), (0.98, 0.5, 'right', 'center'),
              (0.5, 0.985, 'center', 'top'), (0.5, 0.015, 'center', 'bottom'))
    for letter, (x, y, ha, va) in zip(letters, places):
        axes.text(x, y, letter, ha=ha, va=va, weight='bold', **style)
    if note:
        axes.text(0.02, 0.985, note, ha='left', va='top', **{**style, 'fontsize': 6})
    columns = np.ptp(axes.get_xlim()) * pixel[1]
    bar = max(length for length in (1, 2, 5, 10, 20, 50, 100) if length <= max(columns / 3, 1))
    share = bar / columns
    axes.plot([0.97 - share, 0.97], [0.02, 0.02], color='white', linewidth=1.5, transform=axes.transAxes,
              path_effects=[patheffects.withStroke(linewidth=3, foreground='black')])
    axes.text(0.97, 0.03, f'{bar} mm', ha='right', va='bottom', **{**style, 'fontsize': 6.5})
