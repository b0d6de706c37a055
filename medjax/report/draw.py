"""Pictures of images and label masks, with the patient's sides written on them."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colors, patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from medjax.report.style import class_colour, png

PLANES = ('Sagittal', 'Coronal', 'Axial')  # slices across the axes of a volume in RAS+
SIDES = (('A', 'P', 'S', 'I'), ('R', 'L', 'S', 'I'), ('R', 'L', 'A', 'P'))  # at left, right, top, bottom of a slice
DPI = 160  # an inch of a picture is 100 CSS pixels wide: sharp on fine screens as well
HALO = [patheffects.withStroke(linewidth=2, foreground='black')]


@dataclasses.dataclass(frozen=True)
class Tile:
    """One picture: PNG bytes, a title, its content in words, and its width on the page in CSS pixels."""

    png: bytes
    title: str
    alt: str
    width: int


def augmented_tiles(arrays: Mapping[str, np.ndarray], pixel: tuple[float, float],
                    flip: bool) -> list[tuple[Tile, Tile]]:
    """Pairs of a training patch as read and as augmented, the latter with its label outlined where there is one.

    Args:
      arrays: `original`, `image`, and `label` if it is an image too, each `[N, *S]`, 2D or 3D; of 3D patches the middle
        slice is drawn.
      pixel: height and width of a pixel, mm.
      flip: whether to turn the patches as axial slices of a volume are turned.
    """
    pairs, outlined = [], 'label' in arrays
    for number in range(len(arrays['image'])):
        planes = {name: _middle_slice(array[number], flip) for name, array in arrays.items()}
        low, high = np.percentile([planes['original'], planes['image']], [0.5, 99.5])
        pair = []
        for name, title in (('original', 'As read'), ('image', 'As trained on')):
            figure, axes, width = canvas(planes[name], pixel, (low, max(high, low + 1e-6)))
            alt = f'Training patch {number + 1}, {title.lower()}'
            if name == 'image' and outlined:
                overlay_labels(axes, planes['label'], int(planes['label'].max()) + 1, fill=0.0)
                alt += ', label outlined'
            pair.append(Tile(png(figure, DPI), title, alt, width))
        pairs.append(tuple(pair))
    return pairs


def _middle_slice(patch: np.ndarray, flip: bool) -> np.ndarray:
    """A patch `[X, Y]` or the middle slice of `[X, Y, Z]` as rows and columns."""
    plane = patch if patch.ndim == 2 else patch[..., patch.shape[-1] // 2]
    return plane.T[::-1, ::-1] if flip else plane.T


def canvas(plane: np.ndarray, pixel: tuple[float, float], limits: tuple[float, float],
           brightness: float = 1.0) -> tuple[Figure, Axes, int]:
    """A figure with a slice in grey or in colours and nothing around it.

    Args:
      plane: `[rows, columns]`, or `[rows, columns, 3]`.
      pixel: height and width of a pixel.
      limits: intensities drawn black and white.
      brightness: of white, from 0 to 1.

    Returns:
      The figure, its axes in pixels of the slice, and its width on the page in CSS pixels.
    """
    height, width = plane.shape[0] * pixel[0], plane.shape[1] * pixel[1]
    scale = min(2.36 / width, 4.2 / height)  # four of them fill a page's width, none is taller than a screen
    figure = Figure(figsize=(max(width * scale, 0.2), max(height * scale, 0.2)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    grey = np.clip((plane - limits[0]) / (limits[1] - limits[0]), 0, 1) * brightness
    axes.imshow(np.nan_to_num(grey), cmap='gray', vmin=0, vmax=1, aspect='auto', interpolation='antialiased')
    return figure, axes, round(figure.get_figwidth() * 100)


def overlay_labels(axes: Axes, label: np.ndarray, classes: int, fill: float = 0.45) -> None:
    """Draws the outlines of classes, and fills them.

    Args:
      axes: of `canvas`.
      label: `[rows, columns]` class numbers; 255 is drawn grey.
      classes: the number of classes with the background.
      fill: opacity of the filling; 0 for outlines alone.
    """
    painted = np.zeros((*label.shape, 4))
    for number in range(1, classes):
        mask, colour = label == number, class_colour(number)
        painted[mask] = colors.to_rgba(colour, fill)
        _outline(axes, mask, colour)
    painted[label == 255] = (0.5, 0.5, 0.5, fill)
    if fill:
        axes.imshow(painted, aspect='auto', interpolation='nearest')


def _outline(axes: Axes, mask: np.ndarray, colour: str) -> None:
    """Draws the border of a mask along the edges of its pixels."""
    padded = np.pad(mask, 1)
    row, column = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    lines = [((c - 0.5, r - 0.5), (c + 0.5, r - 0.5)) for r, c in zip(row, column)]
    row, column = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    lines += [((c - 0.5, r - 0.5), (c - 0.5, r + 0.5)) for r, c in zip(row, column)]
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.7))


def annotate(axes: Axes, letters: Sequence[str], pixel: tuple[float, float], note: str) -> None:
    """Writes the patient's sides, a scale bar and a note on a slice.

    Args:
      axes: of `canvas`.
      letters: at the left, right, top and bottom; see `SIDES`.
      pixel: height and width of a pixel, mm.
      note: at the top left; '' for none.
    """
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
