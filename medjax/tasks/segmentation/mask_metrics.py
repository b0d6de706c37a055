"""Metrics of a predicted mask against the reference for each class, and postprocessing of predictions.

The four cases of a class in one examination:

| reference | prediction | dice, iou, nsd | hd95, assd | sensitivity | precision | counted as |
|---|---|---|---|---|---|---|
| present | present | computed | computed | computed | computed | missed if they do not overlap |
| present | absent | 0 | diagonal | 0 | none | missed |
| absent | present | 0 | diagonal | none | 0 | spurious |
| absent | absent | none | none | none | none | |

"diagonal" is the image's diagonal: no distance can be larger, so that a miss never improves a mean of distances.
"none" is NaN, an empty cell in the table: the case is left out of the mean, whose n is smaller by one.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import cc3d
import numpy as np
from scipy import ndimage

from medjax.metrics.surface_distance import ELEMENTS, VOXELS
from medjax.ops.labels import IGNORED

CONVENTIONS = (
    'A class that is present in the reference or in the prediction only has Dice, IoU and NSD 0, and the image\'s '
    'diagonal as HD95 and ASSD. It counts as missed if no voxel of the reference is predicted, even if the class is '
    'predicted elsewhere, and as spurious if it is predicted and absent in the reference. A class that is absent in '
    'both is left out of the mean; n is the number of cases that count. Sensitivity needs a reference, precision a '
    'prediction. A lesion is a connected component (26 neighbours). It is found if at least a tenth of it is '
    'predicted, and a predicted lesion is true if at least a tenth of it lies in the reference.')
MIN_OVERLAP = 0.1  # fraction of a lesion that must be covered
# Definitions of a surface for hd95, assd and nsd.
SURFACES = {
    'voxels': (VOXELS, 'Distances are between the centres of surface voxels (MONAI\'s definition)'),
    'area': (ELEMENTS, 'Distances are between surface elements weighted by their area (DeepMind\'s surface-distance)')}


class Grid(NamedTuple):
    """How sizes are measured on a grid of `data.source.GRIDS`.

    Attributes:
      size_error: the metric of the signed difference in size.
      length: the unit of distances.
      dims: the number of axes over which a size extends.
      scale: the size's unit as a power of the length's: 1000 mm³ are 1 ml.
    """

    size_error: str
    length: str
    dims: int
    scale: float = 1.0

    def voxel_size(self, spacing: Sequence[float]) -> float:
        """The size of one voxel, in the unit of `size_error`."""
        return float(np.prod(spacing[:self.dims])) / self.scale


GRIDS = {'volume': Grid('volume_error_ml', 'mm', 3, 1000.0), 'picture': Grid('area_error_mm2', 'mm', 2),
         'pixels': Grid('area_error_px', 'px', 2)}


@dataclasses.dataclass(frozen=True)
class Postprocess:
    """Postprocessing of predicted labels; none by default.

    Attributes:
      largest_component: keep the largest connected component of each class (26 neighbours).
      fill_holes: assign background that a class encloses to that class.
    """

    largest_component: bool = False
    fill_holes: bool = False

    def __call__(self, label: np.ndarray) -> np.ndarray:
        """The postprocessed labels `[X, Y, Z]`; the input is not changed."""
        out = label.copy()
        for value in np.unique(label[label > 0]):
            mask = label == value
            if self.largest_component:
                component = cc3d.largest_k(mask, k=1, connectivity=26) > 0
                out[mask & ~component] = 0
                mask = component
            if self.fill_holes:
                out[_filled(mask) & (out == 0)] = value
        return out


def _filled(mask: np.ndarray) -> np.ndarray:
    """A mask with its holes; along an axis of one voxel nothing has to enclose them."""
    flat = tuple(axis for axis, n in enumerate(mask.shape) if n == 1)
    return np.expand_dims(ndimage.binary_fill_holes(mask.squeeze(flat)), flat)


def case_metrics(pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float], classes: Sequence[str], *,
                 tolerances: Sequence[float] = (), surfaces: str | None = 'voxels', lesions: bool = False,
                 grid: str = 'volume') -> dict[str, float]:
    """The metrics of one case.

    Args:
      pred: `[X, Y, Z]` class numbers.
      truth: the same shape; voxels with 255 are ignored.
      spacing: mm along each axis.
      classes: names, background first; the background has no metrics.
      tolerances: tolerance of the normalised surface distance of each class after the background, in the grid's unit
        of length; 1 by default.
      surfaces: the definition of a surface for hd95, assd and nsd, a name in SURFACES; None computes none of them.
      lesions: whether to compute lesion_f1.
      grid: how sizes are measured, a name in GRIDS.

    Returns:
      For each class, as `METRIC_CLASS`: dice, iou, sensitivity, precision, the grid's error in size (prediction minus
      reference), missed and spurious (0 or 1), and optionally hd95 and assd (in the grid's unit of length), nsd,
      lesion_f1.

    Raises:
      ValueError: the shapes differ.
    """
    if pred.shape != truth.shape:
        raise ValueError(f'prediction {pred.shape} and truth {truth.shape} differ in shape')
    if (truth == IGNORED).any():
        pred = np.where(truth == IGNORED, 0, pred)
    out, size, names = {}, GRIDS[grid], classes[1:]
    for number, (name, tolerance) in enumerate(zip(names, tolerances or [1.0] * len(names), strict=True), 1):
        p, t = pred == number, truth == number
        both, predicted, true = (int(np.count_nonzero(mask)) for mask in (p & t, p, t))
        metrics = _overlap_metrics(both, predicted, true)
        if surfaces:
            metrics |= _surface_metrics(p, t, spacing, tolerance, surfaces)
        if lesions:
            metrics['lesion_f1'] = lesion_f1(p, t)
        metrics |= {size.size_error: (predicted - true) * size.voxel_size(spacing),
                    'missed': float(true > 0 and not both), 'spurious': float(predicted > 0 and not true)}
        out |= {f'{metric}_{name}': value for metric, value in metrics.items()}
    return out


def _overlap_metrics(both: int, predicted: int, true: int) -> dict[str, float]:
    """Dice, IoU, sensitivity and precision of the voxel numbers of the overlap, the prediction and the reference."""
    present, nan = predicted + true > 0, float('nan')
    return {'dice': 2 * both / (predicted + true) if present else nan,
            'iou': both / (predicted + true - both) if present else nan,
            'sensitivity': both / true if true else nan,
            'precision': both / predicted if predicted else nan}


def _surface_metrics(pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance: float,
                     surfaces: str) -> dict[str, float]:
    """HD95, ASSD and NSD of two masks."""
    if pred.any() and truth.any():
        surface, _ = SURFACES[surfaces]
        pred_to_truth, truth_to_pred = surface.distances(pred, truth, spacing)
        return {'hd95': surface.hausdorff(pred_to_truth, truth_to_pred),
                'assd': surface.mean_distance(pred_to_truth, truth_to_pred),
                'nsd': surface.surface_dice(pred_to_truth, truth_to_pred, tolerance)}
    extents = [n * step for n, step in zip(pred.shape, spacing, strict=True) if n > 1]
    diagonal = float(np.linalg.norm(extents))
    worst = {'hd95': diagonal, 'assd': diagonal, 'nsd': 0.0}
    return worst if pred.any() or truth.any() else dict.fromkeys(worst, float('nan'))


def lesion_f1(pred: np.ndarray, truth: np.ndarray) -> float:
    """The harmonic mean of lesion-wise sensitivity and precision; see CONVENTIONS.

    Args:
      pred: `[X, Y, Z]` bool.
      truth: `[X, Y, Z]` bool.

    Returns:
      0 if one mask has lesions and the other none, NaN if neither has any.
    """
    found, true = _covered_components(truth, pred)
    correct, predicted = _covered_components(pred, truth)
    if not true and not predicted:
        return float('nan')
    sensitivity, precision = (found / true if true else 0.0), (correct / predicted if predicted else 0.0)
    return 2 * sensitivity * precision / (sensitivity + precision) if sensitivity + precision else 0.0


def _covered_components(mask: np.ndarray, cover: np.ndarray) -> tuple[int, int]:
    """The number of components of a mask of which enough is covered by another mask, and of all its components."""
    labels, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    inside = np.bincount(labels[cover], minlength=count + 1)[1:]
    return int((inside >= MIN_OVERLAP * sizes).sum()), count
