"""Areas of a ranking with their intervals: AUROC and average precision, with several cases of a patient or one."""

from typing import Any

import numpy as np

from medjax.metrics.classification import UNDEFINED, auroc_and_auprc
from medjax.statistics import delong, proportions


def area_entries(positive: np.ndarray, score: np.ndarray, patients: np.ndarray) -> dict[str, dict[str, Any]]:
    """The AUROC and the average precision, as in `results.json`.

    The interval of the AUROC is that of `delong.auroc_interval`. That of the average precision is the binomial interval
    of Boyd et al. (2013, ECML), in its exact form: that of a proportion of the positive cases, or of the patients with
    one. It has a width at an area of 1, and is wide enough where the bootstrap is too narrow, with few positives or a
    good ranking.

    Args:
      positive: `[n]` bool.
      score: `[n]`, higher for positives.
      patients: `[n]`, the patient of each case.

    Returns:
      `auroc` and `auprc`, each with `value`; `ci95` [low, high], or None with the reason in `why`; `n`, the number of
      patients; `cases`; `unit`; and `method`.
    """
    positive = np.asarray(positive, bool)
    size = {'n': len(np.unique(patients)), 'cases': len(positive), 'unit': 'patient'}
    value = float(auroc_and_auprc(positive, score)[1])
    precision: dict[str, Any] = {'value': value, 'ci95': None}
    if np.isnan(value):
        precision['why'] = UNDEFINED['auprc']
    elif size['n'] == 1:
        precision['why'] = 'one patient: no confidence interval'
    else:
        limits = proportions.limits(value, len(np.unique(patients[positive])))
        precision |= {'ci95': limits, 'method': 'binomial'}
    return {'auroc': delong.auroc_interval(positive, score, patients) | size, 'auprc': precision | size}
