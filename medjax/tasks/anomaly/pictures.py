"""Pictures of scored images: reconstructions, anomaly maps, and images decoded between latents."""

import io
from collections.abc import Mapping

import matplotlib
import numpy as np
from PIL import Image as Picture

from medjax.report.draw import Tile

WIDTH, INTERPOLATION_WIDTH = 140, 90  # CSS pixels of a picture, and of one between latents
CHANNELS_LAST = ('image', 'recon')  # arrays of a snapshot with channels
MAPS = {'residual': 'squared difference', 'change': 'change', 'map': 'anomaly map', 'truth': 'truth'}


def case_tiles(case: Mapping[str, np.ndarray]) -> list[Tile]:
    """Pictures of a case: the image, its reconstruction, and its maps, where the snapshot has them.

    Args:
      case: arrays of a snapshot, `[*S, C]` or `[*S]`; the middle slice of a volume is drawn.
    """
    planes = {name: middle_slice(array[..., 0] if name in CHANNELS_LAST else array) for name, array in case.items()}
    low, high = planes['image'].min(), planes['image'].max()
    difference = 0.25 * max(float(high - low), 1e-9)  # of intensities: drawn in the full colour
    full_colour = {'residual': difference**2, 'change': difference, 'map': 1.0, 'truth': 1.0}
    tiles = [Tile(_grey(planes[name], low, high), title, title, WIDTH)
             for name, title in (('image', 'image'), ('recon', 'reconstruction')) if name in planes]
    return tiles + [Tile(_heat(planes[name] / full_colour[name]), title, title, WIDTH)
                    for name, title in MAPS.items() if name in planes]


def interpolation_tiles(case: Mapping[str, np.ndarray]) -> list[Tile]:
    """The images decoded between the latent of a case and that of another one.

    Args:
      case: arrays of a snapshot, with `image [*S, C]` and `interpolated [W, *S, C]`.
    """
    low, high, steps = case['image'].min(), case['image'].max(), case['interpolated'][..., 0]
    titles = {0: 'reconstruction', len(steps) - 1: 'another case'}
    return [Tile(_grey(middle_slice(step), low, high), titles.get(place, ''), 'between two latents',
                 INTERPOLATION_WIDTH) for place, step in enumerate(steps)]


def middle_slice(array: np.ndarray) -> np.ndarray:
    """An image `[rows, columns]`, or the middle axial slice of a volume `[X, Y, Z]`, as rows and columns."""
    return array[:, :, array.shape[2] // 2].T[::-1] if array.ndim == 3 else array


def _grey(plane: np.ndarray, low: float, high: float) -> bytes:
    return _png(np.clip((plane - low) / max(high - low, 1e-9), 0, 1)[..., None].repeat(3, -1))


def _heat(plane: np.ndarray) -> bytes:
    return _png(matplotlib.colormaps['magma'](np.clip(plane, 0, 1))[..., :3])


def _png(colours: np.ndarray) -> bytes:
    """Colours `[rows, columns, 3]` from 0 to 1 as PNG, enlarged by a whole number."""
    picture = Picture.fromarray(np.rint(255 * colours).astype(np.uint8))
    factor = max(1, 2 * WIDTH // max(picture.size))
    content = io.BytesIO()
    picture.resize((picture.width * factor, picture.height * factor), Picture.Resampling.NEAREST).save(content, 'png')
    return content.getvalue()
