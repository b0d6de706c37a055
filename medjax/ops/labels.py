"""Labels of segmentation masks: the reserved one, and regions, which consist of several classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

IGNORED = 255  # voxels with this label are excluded from losses and metrics; reports draw them as unlabelled


def region_matrix(classes: Sequence[str], regions: Mapping[str, Sequence[int]]) -> np.ndarray:
    """Which class numbers are in which region, `[regions, classes]` bool.

    Args:
      classes: names, background first.
      regions: the class numbers of each class but the background; empty where each class is itself alone.
    """
    members = [regions.get(name, (number,)) for number, name in enumerate(classes[1:], 1)]
    return np.array([[number in inner for number in range(len(classes))] for inner in members])


def last_region(probs: Any, threshold: float = 0.5) -> Any:
    """The number of the last region with a probability above a threshold at each voxel, from 1; 0 where there is none.

    Args:
      probs: `[..., R]`, of NumPy or JAX, in the order of the regions.
      threshold: 0 for logits.

    Returns:
      `[...]` of whole numbers.
    """
    inside = probs > threshold
    last = probs.shape[-1] - inside[..., ::-1].argmax(-1)
    return last * inside.any(-1).astype(last.dtype)
