"""Pictures of real and generated images: montages, and an animation over the training steps."""

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image as Picture

from medjax.report.chapter import Chart

PIXEL, GAP = 4, 1  # size of a drawn pixel, and pixels between the images of a montage
FRAME_MS, LAST_FRAME_MS = 500, 2000  # durations of an animation's frames


def montage(images: np.ndarray, columns: int) -> np.ndarray:
    """Images side by side.

    Args:
      images: `[n, *S, C]` uint8; of volumes the middle axial slices are shown.
      columns: images in a row.

    Returns:
      `[rows, columns, 3]` uint8.
    """
    if images.ndim == 5:
        images = images[:, :, :, images.shape[3] // 2].swapaxes(1, 2)[:, ::-1]
    if images.shape[-1] != 3:
        images = images[..., :1].repeat(3, -1)
    count, height, width, _ = images.shape
    lines = -(-count // columns)
    out = np.full((lines * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 128, np.uint8)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + GAP), (number % columns) * (width + GAP)
        out[top:top + height, left:left + width] = image
    return out


def montage_chart(array: np.ndarray, alt: str, caption: str, wide: bool = False) -> Chart:
    """A montage as a picture that is equal on light and dark pages."""
    content = io.BytesIO()
    _enlarged(array).save(content, 'png')
    return Chart(content.getvalue(), content.getvalue(), alt, caption, wide)


def animation_chart(samples: Mapping[int, np.ndarray]) -> Chart:
    """Images of the same seeds by training step, as an animated PNG; its first frame is shown where it cannot move.

    Args:
      samples: images `[n, *S, C]` uint8 by step.
    """
    steps = sorted(samples)
    columns = len(samples[steps[0]]) // 2 or 1
    frames = [_enlarged(montage(samples[step], columns)) for step in steps]
    content = io.BytesIO()
    frames[0].save(content, 'png', save_all=True, append_images=frames[1:], loop=0,
                   duration=[FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS])
    return Chart(content.getvalue(), content.getvalue(), 'Images of the same seeds as an animation',
                 f'Animation: step {steps[0]} to {steps[-1]}.')


def _enlarged(array: np.ndarray) -> Picture.Image:
    picture = Picture.fromarray(array)
    return picture.resize((PIXEL * picture.width, PIXEL * picture.height), Picture.Resampling.NEAREST)
