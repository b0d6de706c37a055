"""Pictures of registered pairs: images, differences, the deformed grid and the Jacobian determinant."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection

from medjax.report.draw import DPI, Tile, canvas
from medjax.report.style import PALETTE, png
from medjax.tasks.registration.table import METHODS

GRID_STEP = 5  # voxels between lines of the drawn grid
MAX_LOG_JACOBIAN = 1.0  # full colour: from half to twice the size, as powers of two
ARRAYS = ('fixed', 'moving', 'moved', 'displacement', 'jacobian', 'spacing')  # of a snapshot, which are drawn


def pair_tiles(case: Mapping[str, np.ndarray]) -> list[Tile]:
    """A pair as pictures: both images, the deformed one, differences, the deformed grid, and the Jacobian determinant.

    Args:
      case: ARRAYS of a snapshot, and `moved_METHOD` of other methods where present.
    """
    pixel = tuple(float(mm) for mm in case['spacing'][::-1])
    tiles = [_grey_tile(case[name], pixel, title)
             for name, title in (('fixed', 'Fixed'), ('moving', 'Moving'), ('moved', 'Moved'))]
    differences = {'moving': 'Difference before', 'moved': 'Difference after'}
    differences |= {f'moved_{method}': f'Difference, {METHODS[method]}' for method in ('affine', 'bspline')}
    tiles += [_colour_tile(case[name] - case['fixed'], pixel, title, 'PuOr', 1.0)
              for name, title in differences.items() if name in case]
    tiles.append(_grid_tile(case['moving'], case['displacement'], pixel))
    jacobian = case['jacobian']
    logarithm = np.where(jacobian > 0, np.log2(np.maximum(jacobian, 1e-3)), np.nan)
    tiles.append(_colour_tile(logarithm, pixel, 'Jacobian', 'RdBu_r', MAX_LOG_JACOBIAN))
    return tiles


def _rows(plane: np.ndarray) -> np.ndarray:
    """`[X, Y]` as rows from front to back."""
    return plane.swapaxes(0, 1)[::-1]


def _grey_tile(plane: np.ndarray, pixel: tuple[float, float], title: str) -> Tile:
    figure, _, width = canvas(_rows(plane), pixel, (0.0, 1.0))
    return Tile(png(figure, DPI), title, title, width)


def _colour_tile(plane: np.ndarray, pixel: tuple[float, float], title: str, colours: str, most: float) -> Tile:
    """Signed values up to `most`; NaN is black."""
    share = _rows(plane) / (2 * most) + 0.5
    painted = matplotlib.colormaps[colours](np.clip(share, 0, 1))[..., :3] * ~np.isnan(share)[..., None]
    figure, _, width = canvas(painted, pixel, (0.0, 1.0))
    return Tile(png(figure, DPI), title, title, width)


def _grid_tile(image: np.ndarray, displacement: np.ndarray, pixel: tuple[float, float]) -> Tile:
    """The grid of the fixed image at its positions in the moving image."""
    figure, axes, width = canvas(_rows(image), pixel, (0.0, 1.0), 0.45)
    x, y = np.meshgrid(*[np.arange(n) for n in image.shape], indexing='ij')
    x, y = x + displacement[0], image.shape[1] - 1 - (y + displacement[1])
    lines = [np.stack([x[i], y[i]], 1) for i in range(0, image.shape[0], GRID_STEP)]
    lines += [np.stack([x[:, j], y[:, j]], 1) for j in range(0, image.shape[1], GRID_STEP)]
    axes.add_collection(LineCollection(lines, colors=PALETTE[1], linewidths=0.7))
    return Tile(png(figure, DPI), 'Grid', 'The deformed grid on the moving image', width)
