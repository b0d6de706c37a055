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
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cc3d
import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from medjax.metrics.surface_distance import ELEMENTS, VOXELS
from medjax.ops.labels import IGNORED

CONVENTIONS = (
    'A class that is present in the reference or in the prediction only has Dice, IoU and NSD 0, and the image\'s '
    'diagonal as HD95 and ASSD. It counts as missed if no voxel of the reference is predicted, even if the class is '
    'predicted elsewhere, and as spurious if it is predicted and absent in the reference. A class that is absent in '
    'both is left out of the mean; n is the number of cases that count. Where no structure of a class is missed or '
    'spurious in a sample, it cannot show how often that happens: the interval of a mean is then that of structures '
    'that are neither, and the exact interval of the share of both stands beside it. Sensitivity needs a reference, '
    'precision a prediction. A lesion is a connected component (26 neighbours). A predicted lesion finds a reference '
    'lesion if it covers at least a tenth of it and at least a tenth of itself lies in it. Each finds one and is '
    'found by one: as many pairs as possible, and of these the ones with the largest overlap (IoU). Lesion F1 is '
    'twice their number over the number of lesions in both masks. Merged lesions are predicted ones that cover at '
    'least a tenth of two or more reference lesions, split lesions those of the reference in which two or more '
    'predicted lesions lie with at least a tenth of themselves, in a case.')
MIN_OVERLAP = 0.1  # fraction of a lesion that must be covered
LESION_METRICS = ('lesion_f1', 'lesions_merged', 'lesions_split')
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
      largest_component: keep the largest connected component (26 neighbours) of each class, or of those whose numbers
        are given.
      fill_holes: assign background that a class encloses to that class.
    """

    largest_component: bool | tuple[int, ...] = False
    fill_holes: bool = False

    def __call__(self, label: np.ndarray) -> np.ndarray:
        """The postprocessed labels `[X, Y, Z]`; the input is not changed."""
        out = label.copy()
        for value in np.unique(label[label > 0]):
            mask = label == value
            if self.largest_component is True or (self.largest_component and value in self.largest_component):
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
                 grid: str = 'volume', regions: Mapping[str, Sequence[int]] | None = None) -> dict[str, float]:
    """The metrics of one case.

    Args:
      pred: `[X, Y, Z]` class numbers.
      truth: the same shape; voxels with 255 are ignored.
      spacing: mm along each axis.
      classes: names, background first; the background has no metrics.
      tolerances: tolerance of the normalised surface distance of each class after the background, in the grid's unit
        of length; 1 by default.
      surfaces: the definition of a surface for hd95, assd and nsd, a name in SURFACES; None computes none of them.
      lesions: whether to compute LESION_METRICS.
      grid: how sizes are measured, a name in GRIDS.
      regions: the class numbers of each class but the background; None where each is itself alone.

    Returns:
      For each class, as `METRIC_CLASS`: dice, iou, sensitivity, precision, the grid's error in size (prediction minus
      reference), missed and spurious (0 or 1), and optionally hd95 and assd (in the grid's unit of length), nsd,
      LESION_METRICS.

    Raises:
      ValueError: the shapes differ.
    """
    if pred.shape != truth.shape:
        raise ValueError(f'prediction {pred.shape} and truth {truth.shape} differ in shape')
    if (truth == IGNORED).any():
        pred = np.where(truth == IGNORED, 0, pred)
    out, size, names = {}, GRIDS[grid], classes[1:]
    for number, (name, tolerance) in enumerate(zip(names, tolerances or [1.0] * len(names), strict=True), 1):
        inside = (regions or {}).get(name, (number,))
        p, t = np.isin(pred, inside), np.isin(truth, inside)
        both, predicted, true = (int(np.count_nonzero(mask)) for mask in (p & t, p, t))
        metrics = _overlap_metrics(both, predicted, true)
        if surfaces:
            metrics |= _surface_metrics(p, t, spacing, tolerance, surfaces)
        if lesions:
            metrics |= lesion_metrics(p, t)
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


def lesion_metrics(pred: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The agreement of two masks in their lesions, one to one; see CONVENTIONS.

    Args:
      pred: `[X, Y, Z]` bool.
      truth: `[X, Y, Z]` bool.

    Returns:
      `lesion_f1`: 0 if one mask has lesions and the other none. `lesions_merged`, the number of predicted lesions that
      find several reference lesions, and `lesions_split`, the number of reference lesions that several predicted ones
      find. NaN if neither mask has lesions.
    """
    (true, lesions), (found, parts) = (
        cc3d.connected_components(mask, connectivity=26, return_N=True) for mask in (truth, pred))
    if not lesions and not parts:
        return dict.fromkeys(LESION_METRICS, float('nan'))
    sizes, part_sizes = (np.bincount(labels.ravel(), minlength=count + 1)[1:]
                         for labels, count in ((true, lesions), (found, parts)))
    both = truth & pred
    pairs, shared = np.unique(np.stack([true[both], found[both]]).astype(int) - 1, axis=1, return_counts=True)
    overlap = np.zeros((lesions, parts))
    overlap[tuple(pairs)] = shared
    covered, inside = overlap >= MIN_OVERLAP * sizes[:, None], overlap >= MIN_OVERLAP * part_sizes
    present = overlap > 0
    covered, inside = covered & present, inside & present
    # As many pairs as possible, and of those choices the one with the largest sum of IoU, which is below 1 here.
    iou = overlap / (sizes[:, None] + part_sizes - overlap)
    worth = (covered & inside) * (1 + iou / (1 + min(lesions, parts)))
    matched = int((worth[linear_sum_assignment(worth, maximize=True)] > 0).sum())
    return {'lesion_f1': 2 * matched / (lesions + parts), 'lesions_merged': float((covered.sum(0) > 1).sum()),
            'lesions_split': float((inside.sum(1) > 1).sum())}
