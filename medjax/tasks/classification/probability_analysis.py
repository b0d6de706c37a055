"""Probabilities for decisions: the smooth calibration curve, net benefit, and predictive values at a prevalence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.statistics import decision_curve, intervals, predictive_values, recalibration, scales
from medjax.tasks.classification.table import Cases

THRESHOLDS, STEP = 91, 10  # of a decision curve, and of them every tenth in its table
DECISION_THRESHOLDS = (0.05, 0.5)


def analyse(cases: Cases, without: np.ndarray, thresholds: Mapping[str, float],
            decision_thresholds: tuple[float, float], prevalence: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The analysis of the positive class, of each class against all others, or of each label, under its name.

    Args:
      cases: the cases.
      without: of `statistics.intervals.left_out`.
      thresholds: of `operating_point.choose_thresholds`; other decisions are for the most probable class.
      decision_thresholds: the lowest and the highest threshold of the decision curve.
      prevalence: by name, for predictive values in another population.

    Returns:
      For each: `curve`, see `calibration_curve`; `decision`, see `decision_results`; and `predictive_values`, see
      `predictive_results`. Empty for those without a case.
    """
    out = {}
    for name, part, k, mask in cases.problems():
        if not len(part):
            continue
        positive, probability = part.targets == k, part.probs[:, k]
        threshold = thresholds.get(name if cases.multilabel else '')
        decision = part.probs.argmax(1) == k if threshold is None else probability >= threshold
        out[name] = {'curve': calibration_curve(positive, probability, part.patients),
                     'decision': decision_results(positive, probability, part.patients, without[:, mask],
                                                  decision_thresholds),
                     'predictive_values': predictive_results(positive, decision, part.patients, threshold,
                                                             prevalence.get(name))}
    return out


def named_prevalence(prevalence: float | Mapping[str, float] | None, problem: str,
                     classes: Sequence[str]) -> dict[str, float]:
    """The prevalence of classes or labels by name, of an option that may be one number.

    Args:
      prevalence: a number for one class or label, numbers by name, or None for none.
      problem: one of `table.PROBLEMS`.
      classes: names of the classes.

    Raises:
      InputError: one number for several classes or labels, or a name that is none of them.
    """
    if prevalence is None:
        return {}
    names = classes[1:] if problem == 'binary' else classes
    given = prevalence if isinstance(prevalence, Mapping) else dict.fromkeys(names, prevalence)
    if set(given) - set(names) or (len(names) > 1 and not isinstance(prevalence, Mapping)):
        raise InputError(f'config.evaluate.prevalence: {prevalence}; expected numbers by the name of a class: '
                         + ', '.join(names))
    return dict(given)


def calibration_curve(positive: np.ndarray, probability: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    """The smooth calibration curve, and its distances from perfect calibration (Austin & Steyerberg 2019).

    Args:
      positive: `[n]` bool.
      probability: `[n]`.
      patients: `[n]`.

    Returns:
      `predicted`, `observed`, `low`, `high`, lists over the points; `knots` of the spline; and `ici`, `e50` and `e90`:
      mean, median and 90th percentile over the cases of the absolute difference between the predicted and the smoothed
      probability. Where there is no curve, `why` only.
    """
    curve = recalibration.smooth_curve(positive, probability, patients)
    if curve is None:
        why = recalibration.undefined_reason(positive, recalibration.logit(probability))
        return {'why': why or 'the fit does not converge'}
    points = {name: getattr(curve, name).tolist() for name in ('predicted', 'observed', 'low', 'high')}
    e50, e90 = np.quantile(curve.errors, [0.5, 0.9]).tolist()
    return {**points, 'knots': curve.knots, 'ici': float(curve.errors.mean()), 'e50': e50, 'e90': e90}


def decision_results(positive: np.ndarray, probability: np.ndarray, patients: np.ndarray, without: np.ndarray,
                     limits: tuple[float, float]) -> dict[str, Any]:
    """The decision curve.

    Args:
      positive: `[n]` bool.
      probability: `[n]`.
      patients: `[n]`.
      without: of `statistics.intervals.left_out`.
      limits: the lowest and the highest threshold.

    Returns:
      `thresholds`; the net benefits `model`, with the limits `low` and `high` of its pointwise 95 % interval, and
      `all`, of treating everybody (that of treating nobody is 0); `gain`, of the model over the better of these two,
      with `gain_low` and `gain_high`: lists over the thresholds. Limits are NaN where there is no interval, as of
      one patient.
    """
    thresholds = np.linspace(*limits, THRESHOLDS)
    everybody = np.ones(len(positive))
    model, treat_all = (decision_curve.net_benefit(positive, p, thresholds) for p in (probability, everybody))
    samples, of_all = (decision_curve.net_benefit(positive, p, thresholds, without) for p in (probability, everybody))
    gain = model - np.maximum(treat_all, 0)
    gains = samples - np.where(treat_all > 0, of_all, 0)
    (low, high), (gain_low, gain_high) = (_limits(*pair, patients) for pair in ((model, samples), (gain, gains)))
    return {name: values.tolist() for name, values in (
        ('thresholds', thresholds), ('model', model), ('low', low), ('high', high), ('all', treat_all), ('gain', gain),
        ('gain_low', gain_low), ('gain_high', gain_high))}


def _limits(values: np.ndarray, samples: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """`[2, T]`: the intervals of `values [T]` by `samples [rows, T]`; NaN where there is none."""
    count = len(np.unique(patients))
    if count == 1:
        return np.full((2, len(values)), np.nan)
    error, freedom = intervals.jackknife(samples, count)
    return np.where(error > 0, intervals.limits(values, error, freedom, scales.IDENTITY), np.nan)


def predictive_results(positive: np.ndarray, decision: np.ndarray, patients: np.ndarray, threshold: float | None,
                       prevalence: float | None) -> dict[str, Any]:
    """Predictive values at the prevalence of the cases, and at another one where it is given.

    Args:
      positive: `[n]` bool.
      decision: `[n]` bool.
      patients: `[n]`.
      threshold: of the decisions; None for the most probable class.
      prevalence: in another population; None for none.

    Returns:
      `threshold`; `own` and, where a prevalence is given, `stated`: each `prevalence`, `ppv` and `npv`, entries of
      `statistics.predictive_values`.
    """
    out = {'threshold': threshold, 'own': {'prevalence': float(positive.mean()),
                                           **predictive_values.entries(positive, decision, patients)}}
    if prevalence is not None:
        out['stated'] = {'prevalence': prevalence,
                         **predictive_values.entries(positive, decision, patients, prevalence)}
    return out
