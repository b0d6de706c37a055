"""What a predicted mask is worth against the true one, class by class, and what is done to it before.

The four cases, for a class in one examination:

| truth | prediction | dice, iou, nsd | hd95, assd | sensitivity | precision | counted as |
|---|---|---|---|---|---|---|
| some | some | as measured | as measured | as measured | as measured | missed where they do not meet |
| some | none | 0 | diagonal | 0 | none | missed |
| none | some | 0 | diagonal | none | 0 | spurious |
| none | none | none | none | none | none | |

"diagonal" is the image's, in mm: no distance can be larger, so that a miss never improves a mean of distances. "none"
is NaN, an empty cell in the table: the case says nothing there and the mean's n is smaller by one.
"""

import dataclasses
from collections.abc import Sequence

import cc3d
import numpy as np
from scipy import ndimage

from medjax.metrics.surface_distance import ELEMENTS, VOXELS
from medjax.ops.labels import IGNORED

CONVENTIONS = (
    'A class that is only in the truth or only in the prediction counts with Dice, IoU and NSD 0, and with the '
    'image\'s diagonal as HD95 and ASSD. It is missed where nothing of the truth is predicted, even if the class is '
    'predicted elsewhere, and spurious where it is predicted and the truth has none. A class that is in neither says '
    'nothing and is left out of the mean; n tells how many cases count. Sensitivity needs a truth, precision a '
    'prediction. A lesion is a connected component (26 neighbours); it is found where at least a tenth of it is '
    'predicted, and a predicted one is true where at least a tenth of it lies in the truth.')
FOUND = 0.1
# What hd95, assd and nsd take a surface to be.
SURFACES = {
    'voxels': (VOXELS, 'Distances are between the centres of surface voxels, in mm (MONAI\'s definition).'),
    'area': (ELEMENTS, 'Distances are between surface elements counted by their area, in mm (DeepMind\'s '
             'surface-distance).')}


@dataclasses.dataclass(frozen=True)
class Postprocess:
    """What is done to a label before it is measured or written: nothing by default.

    Attributes:
      largest_component: keep each class's largest connected component (26 neighbours).
      fill_holes: give background that a class encloses to that class.
    """

    largest_component: bool = False
    fill_holes: bool = False

    def __call__(self, label: np.ndarray) -> np.ndarray:
        """Gives the label `[X, Y, Z]` after it; the input is left as it was."""
        out = label.copy()
        for value in np.unique(label[label > 0]):
            mask = label == value
            if self.largest_component:
                kept = cc3d.largest_k(mask, k=1, connectivity=26) > 0
                out[mask & ~kept] = 0
                mask = kept
            if self.fill_holes:
                out[ndimage.binary_fill_holes(mask) & (out == 0)] = value
        return out


def case_metrics(pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float], classes: Sequence[str], *,
                 tolerance_mm: float = 1.0, surfaces: str | None = 'voxels', lesions: bool = False) -> dict[str, float]:
    """Measures one case.

    Args:
      pred: `[X, Y, Z]` class numbers.
      truth: the same shape; where it is 255, nothing is judged.
      spacing: mm along each axis.
      classes: names, background first; the background is not measured.
      tolerance_mm: of the normalised surface distance.
      surfaces: measure hd95, assd and nsd between these, a name of SURFACES; None measures none of the three.
      lesions: measure lesion_f1.

    Returns:
      For each class: dice, iou, sensitivity, precision, volume_error_ml (prediction minus truth), missed and spurious
      (0 or 1), and as asked hd95 and assd (mm), nsd, lesion_f1.

    Raises:
      ValueError: where the shapes differ.
    """
    if pred.shape != truth.shape:
        raise ValueError(f'prediction {pred.shape} and truth {truth.shape} differ in shape')
    if (truth == IGNORED).any():
        pred = np.where(truth == IGNORED, 0, pred)
    diagonal = float(np.linalg.norm(np.array(pred.shape) * spacing))
    millilitres = float(np.prod(spacing)) / 1000
    nan, out = float('nan'), {}
    for number, name in enumerate(classes[1:], 1):
        p, t = pred == number, truth == number
        both, guess, true = (int(np.count_nonzero(x)) for x in (p & t, p, t))
        any_ = guess + true > 0
        row = {'dice': 2 * both / (guess + true) if any_ else nan,
               'iou': both / (guess + true - both) if any_ else nan,
               'sensitivity': both / true if true else nan,
               'precision': both / guess if guess else nan}
        if surfaces and guess and true:
            of, _ = SURFACES[surfaces]
            there, back = of.distances(p, t, spacing)
            row |= {'hd95': of.hausdorff(there, back), 'assd': of.mean_distance(there, back),
                    'nsd': of.surface_dice(there, back, tolerance_mm)}
        elif surfaces:
            worst = {'hd95': diagonal, 'assd': diagonal, 'nsd': 0.0}
            row |= worst if any_ else dict.fromkeys(worst, nan)
        if lesions:
            row['lesion_f1'] = lesion_f1(p, t)
        row |= {'volume_error_ml': (guess - true) * millilitres, 'missed': float(true > 0 and not both),
                'spurious': float(guess > 0 and not true)}
        out |= {f'{metric}_{name}': value for metric, value in row.items()}
    return out


def lesion_f1(pred: np.ndarray, truth: np.ndarray) -> float:
    """Harmonic mean of the share of true lesions found and of predicted ones that are true; see CONVENTIONS.

    0 where one side has lesions and the other none, NaN where neither has.
    """
    def share(of: np.ndarray, in_: np.ndarray) -> tuple[int, int]:
        labels, count = cc3d.connected_components(of, connectivity=26, return_N=True)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        inside = np.bincount(labels[in_], minlength=count + 1)[1:]
        return int((inside >= FOUND * sizes).sum()), count
    found, true = share(truth, pred)
    right, guessed = share(pred, truth)
    if not true and not guessed:
        return float('nan')
    sensitivity, precision = (found / true if true else 0.0), (right / guessed if guessed else 0.0)
    return 2 * sensitivity * precision / (sensitivity + precision) if sensitivity + precision else 0.0
