"""The contrast of labelled voxels in the channels of images."""

from collections.abc import Iterable

import numpy as np

from medjax.ops.labels import IGNORED

CONTRAST_CASES = 20  # training cases whose labels choose the channel that is shown


def highest_contrast(cases: Iterable[tuple[np.ndarray, np.ndarray]]) -> int:
    """The number of the channel with most contrast in the labels.

    The contrast is the difference between the means of labelled and of other voxels above the channel's minimum, over
    the standard deviation of both, averaged over the cases that have both.

    Args:
      cases: image `[X, Y, Z, C]` and label `[X, Y, Z]` of each.

    Returns:
      The first of the channels with the highest one; 0 where no case has both kinds of voxels.
    """
    rows = [row for row in (contrasts(np.asarray(image), np.asarray(label)) for image, label in cases)
            if np.isfinite(row).all()]
    return int(np.mean(rows, 0).argmax()) if rows else 0


def contrasts(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The contrast of each channel of an image `[X, Y, Z, C]`, `[C]`; NaN without labelled or without other voxels."""
    out = []
    for channel in np.moveaxis(image, -1, 0):
        valid = (channel > channel.min()) & (label != IGNORED)
        inside, outside = channel[valid & (label > 0)], channel[valid & (label == 0)]
        if not inside.size or not outside.size:
            out.append(np.nan)
            continue
        difference = abs(inside.mean(dtype=np.float64) - outside.mean(dtype=np.float64))
        out.append(difference / max(np.std(channel[valid], dtype=np.float64), 1e-6))
    return np.array(out)
