"""Pictures of translated planes."""

import matplotlib
import numpy as np

from medjax.report import draw
from medjax.report.style import png
from medjax.tasks.translation.snapshots import Snapshot

FULL_COLOUR = 0.2  # difference with the full colour, as a share of the range
TITLES = {'image': 'Input', 'target': 'True', 'made': 'Translated', 'difference': 'Difference', 'cycle': 'Cycle'}


def plane_tiles(case: Snapshot, z: int) -> list[draw.Tile]:
    """An axial plane as pictures: input, true and translated image, their difference, and the image translated back."""
    tiles = []
    for name, title in TITLES.items():
        if name == 'difference':
            difference = (case.arrays['made'] - case.arrays['target'])[:, :, z].mean(-1) * (case.head[:, :, z] > 0)
            shares = 0.5 + 0.5 * np.clip(difference / FULL_COLOUR, -1, 1)
            plane = matplotlib.colormaps['RdBu_r'](shares)[..., :3]
        elif name in case.arrays:
            plane = grey_or_colours(case.arrays[name][:, :, z])
        else:
            continue
        pixel = case.spacing[1::-1]
        figure, axes, width = draw.canvas(_oriented(case, plane), pixel, (0.0, 1.0))
        if case.kind == 'volume':
            draw.annotate(axes, draw.SIDES[2], pixel, 'radiological' if name == 'image' else '')
        alt = f'{case.name}{plane_position(case, z)}: {title.lower()}'
        tiles.append(draw.Tile(png(figure, draw.DPI), title, alt, width))
    return tiles


def training_tile(title: str, plane: np.ndarray) -> draw.Tile:
    """A plane `[X, Y, C]` that was saved during training."""
    rows = np.swapaxes(grey_or_colours(plane), 0, 1)[::-1, ::-1]
    figure, _, width = draw.canvas(rows, (1.0, 1.0), (0.0, 1.0))
    return draw.Tile(png(figure, draw.DPI / 2), title, title, width // 2)


def plane_position(case: Snapshot, z: int) -> str:
    """The position of an axial plane in words; '' for a 2D image."""
    height = f'{case.first + z * case.spacing[2]:.0f}'.replace('-', '−')
    return f', axial plane at {height} mm' if case.kind == 'volume' else ''


def grey_or_colours(plane: np.ndarray) -> np.ndarray:
    """Three channels of a plane `[X, Y, C]` as colours, else its first channel `[X, Y]`."""
    return plane if plane.shape[-1] == 3 else plane[..., 0]


def _oriented(case: Snapshot, plane: np.ndarray) -> np.ndarray:
    """A plane as rows and columns; in volumes right is left, and anterior up."""
    plane = np.swapaxes(plane, 0, 1)
    return plane if case.kind == 'image' else plane[::-1, ::-1]
