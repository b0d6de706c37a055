"""Scales on which the estimate of a metric is nearly symmetric, by the metric's name."""

import dataclasses
import re
from collections.abc import Callable

import numpy as np
from scipy import special

_SHARES = ('dice|iou|nsd|f1|sensitivity|specificity|precision|recall|accuracy|balanced_accuracy|ssim|ncc|auroc|auprc|'
           'ap|ap\\d+|ar|cpm|froc|c_index|c_uno|c_td|auc|brier|ibs|aurc|coverage|new')
_MAGNITUDES = ('hd95|assd|tre|tre90|consistency|mae|rmse|nrmse|mase|pehe|factual_rmse|log_loss|error|volume_error|'
               'timing_ms|seconds|sharpness|fid|density|diversity|nearest|set_size')
_COUNTS = 'false_positives|lesions_merged|lesions_split|folded'
_CORRELATIONS = 'pearson|spearman|kappa|kappa_weighted|mcc'


@dataclasses.dataclass(frozen=True)
class Scale:
    """A monotone function of a metric.

    Attributes:
      forward: the function.
      inverse: its inverse.
      slope: its derivative.
      least: the lowest value of the metric.
      most: the highest value of the metric.
      widest: the largest distance of a limit from the value, on the scale.
    """

    forward: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    least: float = -np.inf
    most: float = np.inf
    widest: float = np.inf

    def limits(self, value: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """Limits at a distance of `reach` from a value, which is turned to this scale by its slope (delta method).

        Args:
          value: `[...]`.
          reach: `[...]`, in the unit of the value.

        Returns:
          `[2, ...]`: the lower and the upper limit; where the value is at an end of the scale they are `value - reach`
          and `value + reach`, cut off at the ends; NaN where they are farther than `widest`.
        """
        value, sides = np.asarray(value, np.float64), np.array([-1.0, 1.0]).reshape(2, *[1] * np.ndim(value))
        plain = np.clip(value + sides * reach, self.least, self.most)
        inside = (value > self.least) & (value < self.most)
        known = np.where(inside, value, 0.5)
        half = reach * self.slope(known)
        with np.errstate(over='ignore', invalid='ignore'):
            turned = np.where(half > self.widest, np.nan, self.inverse(self.forward(known) + sides * half))
        return np.where(inside, turned, plain)


def _square(root: np.ndarray) -> np.ndarray:
    return np.maximum(root, 0.0)**2


IDENTITY = Scale(lambda x: x, lambda y: y, np.ones_like)
LOGIT = Scale(special.logit, special.expit, lambda x: 1 / (x * (1 - x)), 0.0, 1.0)
TENFOLD = float(np.log(10))  # the delta method is no guide beyond
LOG = Scale(np.log, np.exp, lambda x: 1 / x, 0.0, widest=TENFOLD)
ROOT = Scale(np.sqrt, _square, lambda x: 0.5 / np.sqrt(x), 0.0)
FISHER = Scale(np.arctanh, np.tanh, lambda x: 1 / (1 - x**2), -1.0, 1.0)
UNEXPLAINED = Scale(lambda x: -np.log1p(-x), lambda y: -np.expm1(-y), lambda x: 1 / (1 - x), most=1.0,
                    widest=TENFOLD)
LOG_LOG = Scale(lambda x: -np.log(-np.log(x)), lambda y: np.exp(-np.exp(-y)), lambda x: -1 / (x * np.log(x)), 0.0, 1.0)

_BY_NAME = [(re.compile(f'(?:{names})(?:_|$)'), scale) for names, scale in (
    ('(?:[a-z0-9]+_)?gain|volume_error_ml', IDENTITY), (f'(?:voxel_|lesion_|detector_)?(?:{_SHARES})', LOGIT),
    (f'(?:detector_)?(?:{_MAGNITUDES})', LOG), (_COUNTS, ROOT), (_CORRELATIONS, FISHER), ('r2', UNEXPLAINED))]


def of_metric(name: str) -> Scale:
    """The scale of a metric.

    Args:
      name: as in `results.json`, with or without the name of a class: 'dice_liver'.

    Returns:
      The logit of a share from 0 to 1, the logarithm of an error or distance, the square root of a count, Fisher's
      transformation of a correlation, the logarithm of the unexplained share for R²; for a name without a known range,
      a difference or a gain the value itself.
    """
    return next((scale for pattern, scale in _BY_NAME if pattern.match(name)), IDENTITY)
