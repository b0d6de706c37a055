"""Positive and negative predictive values, for the cases as they are and at another prevalence."""

from typing import Any

import numpy as np
from scipy import special

from medjax.statistics import proportions
from medjax.statistics.proportions import Z95

BAYES = 'Bayes, MOVER'


def at_prevalence(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """PPV and NPV by Bayes' rule; NaN where no decision is positive, or none is negative.

    Args:
      sensitivity: of the decisions.
      specificity: of the decisions.
      prevalence: share of positive cases in the population.
    """
    true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    absent, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return (true / (true + false) if true + false > 0 else float('nan'),
            absent / (absent + missed) if absent + missed > 0 else float('nan'))


def entries(positive: np.ndarray, decision: np.ndarray, patients: np.ndarray,
            prevalence: float | None = None) -> dict[str, dict[str, Any]]:
    """PPV and NPV with 95 % intervals, as in `results.json`.

    At the prevalence of the cases they are proportions of the positive and of the negative decisions, with
    Clopper–Pearson intervals. At another one they follow from sensitivity and specificity by Bayes' rule. Their
    intervals are then those of the likelihood ratio: Wilson's intervals of sensitivity and specificity, combined on its
    logarithm by the method of variance estimates recovery (MOVER; Zou & Donner 2008, Statistics in Medicine). Where
    patients have several cases, the sizes are the effective ones.

    Args:
      positive: `[n]` bool.
      decision: `[n]` bool.
      patients: `[n]`, the patient of each case.
      prevalence: share of positive cases in the population; None for that of the cases.

    Returns:
      `ppv` and `npv`, entries as of `proportions.entry`.
    """
    positive, decision = np.asarray(positive, bool), np.asarray(decision, bool)
    if prevalence is None:
        return {'ppv': proportions.entry(positive[decision], patients[decision], 'no positive decision'),
                'npv': proportions.entry(~positive[~decision], patients[~decision], 'no negative decision')}
    shared = {'n': len(np.unique(patients)), 'cases': len(positive), 'unit': 'patient'}
    if positive.all() or not positive.any():
        missing = shared | {'value': float('nan'), 'ci95': None, 'why': 'one class only in the truth'}
        return {'ppv': missing, 'npv': dict(missing)}
    rates = {}  # of positive and of negative decisions in both classes, each with the size that it is of
    for name, members in (('with', positive), ('without', ~positive)):
        share = float(decision[members].mean())
        rates[name] = share, proportions.effective_size(decision[members], patients[members])
    (sensitivity, size), (false, other_size) = rates['with'], rates['without']
    values = at_prevalence(sensitivity, 1 - false, prevalence)
    ratios = (((sensitivity, size), (false, other_size), prevalence),
              ((1 - false, other_size), (1 - sensitivity, size), 1 - prevalence))
    out = {}
    for name, value, (upper, lower, share), kind in zip(('ppv', 'npv'), values, ratios, ('positive', 'negative')):
        if np.isnan(value):
            out[name] = shared | {'value': value, 'ci95': None, 'why': f'no {kind} decision'}
        else:
            limits = special.expit(special.logit(share) + log_ratio_interval(*upper, *lower))
            out[name] = shared | {'value': value, 'ci95': limits.tolist(), 'method': BAYES}
    return out


def log_ratio_interval(share: float, size: float, other: float, other_size: float) -> np.ndarray:
    """The 95 % interval of the logarithm of a ratio of two independent proportions, by MOVER from Wilson's intervals.

    Args:
      share: the proportion above.
      size: the number of cases that it is of; it need not be whole.
      other: the proportion below.
      other_size: its number of cases.

    Returns:
      `[2]`; infinite where a proportion is 0. The other limit then is that of the two intervals' ends.
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        a, b = np.log(share), np.log(other)
        (a_low, a_high), (b_low, b_high) = np.log(wilson(share, size)), np.log(wilson(other, other_size))
        if not np.isfinite([a, b]).all():
            return np.array([a_low - b_high, a_high - b_low])
        return np.array([a - b - np.hypot(a - a_low, b_high - b), a - b + np.hypot(a_high - a, b - b_low)])


def wilson(share: float, size: float) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of a proportion of `size` cases."""
    centre = (share + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
    margin = Z95 / (1 + Z95**2 / size) * np.sqrt(share * (1 - share) / size + Z95**2 / (4 * size**2))
    return (0.0 if share == 0 else centre - margin), (1.0 if share == 1 else centre + margin)
