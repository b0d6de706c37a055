"""Calibration of the probability of one class by logistic recalibration: slope, intercept, and a smooth curve.

Of an event with predicted probability p, logistic recalibration fits logit(P) = a + b · logit(p) (Cox 1958,
Biometrika). The calibration slope is b: below 1 the predictions are too extreme. Calibration-in-the-large, the
intercept, is a with b fixed to 1: above 0 the event is more frequent than predicted. Calibration in the weak sense of
Van Calster et al. (2016, Journal of Clinical Epidemiology) is an intercept of 0 and a slope of 1. The smooth curve is a
logistic regression on a natural cubic spline of logit(p) (Harrell 2015, Regression Modeling Strategies).
"""

import dataclasses

import numpy as np
from scipy import special

from medjax.metrics.classification import compute_in_blocks
from medjax.statistics.proportions import Z95

LEAST = 1e-12  # probabilities are clipped to it from 0 and 1 before a logit
KNOTS = ((0.05, 0.35, 0.65, 0.95), (0.1, 0.5, 0.9), ())  # quantiles; the first that give different knots and a fit
RANGE = (0.01, 0.99)  # quantiles of the predicted probability between which the smooth curve is given
STEPS, TOLERANCE = 60, 1e-9  # Newton's method: most steps, and gradient per case at which it ends
FARTHEST = 25.0  # of a fitted log odds; beyond, a fit has no maximum
ONE_CLASS = 'one class only in the truth'
SEPARATED = 'the probabilities separate the classes: no finite slope'
EQUAL = 'all probabilities are equal: no slope'


def logit(probability: np.ndarray) -> np.ndarray:
    """Log odds of probabilities, which are clipped to LEAST from 0 and 1."""
    return special.logit(np.clip(np.asarray(probability, np.float64), LEAST, 1 - LEAST))


def undefined_reason(positive: np.ndarray, log_odds: np.ndarray, name: str = 'slope') -> str:
    """The reason why a slope, or an intercept, is not defined; '' where it is.

    Args:
      positive: `[n]` bool.
      log_odds: `[n]`, of the prediction.
      name: 'slope' or 'intercept'.
    """
    positive = np.asarray(positive, bool)
    if not len(positive):
        return 'no case'
    if positive.all() or not positive.any():
        return ONE_CLASS
    if name == 'intercept' or _overlap(positive, log_odds, np.ones((1, len(positive))))[0]:
        return ''
    return EQUAL if np.ptp(log_odds) == 0 else SEPARATED


def slope(positive: np.ndarray, log_odds: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """The calibration slope.

    Args:
      positive: `[n]` bool.
      log_odds: `[n]`, of the prediction; see `logit`.
      weight: `[..., n]`, the number of times that each case counts, or another weight; 1 by default.

    Returns:
      `[...]`; NaN where the log odds of the two classes do not overlap, so that the likelihood has no maximum.
    """
    positive, weight = np.asarray(positive, np.float64), np.ones(len(log_odds)) if weight is None else weight
    if not len(positive) or np.ptp(log_odds) == 0:
        return np.full(np.shape(weight)[:-1], np.nan)
    centre, scale = log_odds.mean(), log_odds.std()
    design = np.stack([np.ones(len(log_odds)), (log_odds - centre) / scale], -1)

    def fit(w: np.ndarray) -> dict[str, np.ndarray]:
        found = np.full(len(w), np.nan)
        defined = _overlap(positive > 0, log_odds, w)
        if defined.any():
            found[defined] = _newton(design, positive, w[defined].astype(np.float64), start)[:, 1] / scale
        return {'': found}

    start, everything = np.zeros(2), np.asarray(weight).reshape(-1, len(log_odds)).mean(0, keepdims=True)
    if _overlap(positive > 0, log_odds, everything)[0]:
        start = np.nan_to_num(_newton(design, positive, everything, start)[0])
    return compute_in_blocks(fit, np.asarray(weight))['']


def intercept(positive: np.ndarray, log_odds: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Calibration-in-the-large: the intercept of logistic recalibration with a slope of 1.

    Args:
      positive: `[n]` bool.
      log_odds: `[n]`, of the prediction.
      weight: `[..., n]`, as for `slope`.

    Returns:
      `[...]`; NaN where one class has no weight.
    """
    positive = np.asarray(positive, np.float64)
    weight = np.ones(len(log_odds)) if weight is None else np.asarray(weight)

    def fit(w: np.ndarray) -> dict[str, np.ndarray]:
        w = w.astype(np.float64)
        total, events = w.sum(1), w @ positive
        found = np.full(len(w), np.nan)
        defined = (events > 0) & (events < total)
        if defined.any():
            found[defined] = _root(log_odds, w[defined], events[defined], total[defined])
        return {'': found}

    return compute_in_blocks(fit, weight)['']


@dataclasses.dataclass(frozen=True)
class Curve:
    """A smooth calibration curve.

    Attributes:
      predicted: `[G]` predicted probabilities, rising.
      observed: `[G]` estimated probabilities of the event.
      low: `[G]` lower limits of the pointwise 95 % band.
      high: `[G]` upper limits.
      knots: number of knots of the spline; 0 for a straight line on the logit.
      errors: `[n]` absolute differences of the predicted and the estimated probability of each case.
    """

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    knots: int
    errors: np.ndarray


def smooth_curve(positive: np.ndarray, probability: np.ndarray, patients: np.ndarray,
                 points: int = 101) -> Curve | None:
    """The smooth calibration curve: logistic regression on a natural cubic spline of the predicted log odds.

    The band is the normal approximation on the logit, with the covariance of the maximum likelihood estimate; where
    patients have several cases with that clustered by patient (Liang & Zeger 1986).

    Args:
      positive: `[n]` bool.
      probability: `[n]`, predicted.
      patients: `[n]`, the patient of each case.
      points: number of points of the curve, at equal steps of the predicted probability between its 1st and 99th
        percentile, beyond which there are too few cases.

    Returns:
      None where the slope is not defined; see `undefined_reason`.
    """
    log_odds, positive = logit(probability), np.asarray(positive, np.float64)
    if undefined_reason(positive > 0, log_odds):
        return None
    grid = np.linspace(*np.quantile(probability, RANGE), points)
    for quantiles in KNOTS:
        knots = np.quantile(log_odds, quantiles)
        if len(np.unique(knots)) < len(knots):
            continue
        design = spline_basis(log_odds, knots)
        with np.errstate(all='ignore'):
            beta = _newton(design, positive, np.ones((1, len(positive))), np.zeros(design.shape[1]))[0]
            fitted = design @ beta
        if np.isfinite(beta).all() and np.abs(fitted).max() < FARTHEST:
            break
    else:
        return None
    estimated = special.expit(fitted)
    information = design.T @ (design * (estimated * (1 - estimated))[:, None])
    covariance = np.linalg.pinv(information, hermitian=True)
    names, where = np.unique(patients, return_inverse=True)
    if len(names) < len(patients):
        scores = np.zeros((len(names), design.shape[1]))
        np.add.at(scores, where, design * (positive - estimated)[:, None])
        covariance = covariance @ (scores.T @ scores) @ covariance * len(names) / max(len(names) - 1, 1)
    rows = spline_basis(logit(grid), knots)
    centre, margin = rows @ beta, Z95 * np.sqrt(np.einsum('gp,pq,gq->g', rows, covariance, rows).clip(0))
    return Curve(grid, special.expit(centre), special.expit(centre - margin), special.expit(centre + margin),
                 len(knots), np.abs(probability - estimated))


def spline_basis(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """The basis of a natural cubic spline: 1, x, and for k knots k - 2 functions that are linear beyond the last knots.

    Args:
      x: `[n]`.
      knots: `[k]`, rising; none for a straight line.

    Returns:
      `[n, max(k, 2)]`.
    """
    columns = [np.ones(len(x)), x]
    if len(knots):
        *inner, before, last = knots
        cubes = {knot: np.maximum(x - knot, 0) ** 3 for knot in knots}
        for knot in inner:
            column = (cubes[knot] - cubes[before] * (last - knot) / (last - before)
                      + cubes[last] * (before - knot) / (last - before))
            columns.append(column / (last - knots[0]) ** 2)
    return np.stack(columns, -1)


def _overlap(positive: np.ndarray, log_odds: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`[b]` bool for `weight [b, n]`: whether neither class lies wholly on one side of the other.

    Otherwise the likelihood of the slope has no maximum (Albert & Anderson 1984, Biometrika).
    """
    limits = []
    for members in (positive, ~positive):
        inside, values = weight[:, members] > 0, log_odds[members]
        limits.append((np.where(inside, values, np.inf).min(1, initial=np.inf),
                       np.where(inside, values, -np.inf).max(1, initial=-np.inf)))
    (low, high), (other_low, other_high) = limits
    return (other_high > low) & (high > other_low)


def _newton(design: np.ndarray, positive: np.ndarray, weight: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Coefficients `[b, p]` of weighted logistic regressions, for `weight [b, n]`; NaN without convergence."""
    beta, total = np.tile(start, (len(weight), 1)), weight.sum(1)
    pairs = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)

    def derivatives(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probability = special.expit(beta @ design.T)
        return (weight * (positive - probability)) @ design, weight * probability * (1 - probability)

    gradient, variance = derivatives(beta)
    for _ in range(STEPS):
        moving = np.abs(gradient).max(1) > TOLERANCE * total
        if not moving.any():
            break
        hessian = (variance @ pairs).reshape(len(beta), len(start), -1)
        step = np.linalg.solve(hessian + 1e-12 * total[:, None, None] * np.eye(len(start)), gradient[..., None])[..., 0]
        size, before = moving.astype(np.float64), (gradient * step).sum(1)
        for _ in range(STEPS):  # a step that leads too far turns the gradient: it is halved
            gradient, variance = derivatives(beta + size[:, None] * step)
            far = moving & ~(np.abs((gradient * step).sum(1)) <= before)
            if not far.any():
                break
            size[far] /= 2
        beta = beta + size[:, None] * step
    beta[np.abs(gradient).max(1) > TOLERANCE * total] = np.nan
    return beta


def _root(log_odds: np.ndarray, weight: np.ndarray, events: np.ndarray, total: np.ndarray) -> np.ndarray:
    """`[b]`: the a at which the sum of weighted expit(a + log_odds) is that of the events.

    Newton's method within a bracket that is halved where a step leaves it.
    """
    share = special.logit(events / total)
    low, high = share - log_odds.max(), share - log_odds.min()
    a = np.clip(share - weight @ log_odds / total, low, high)
    for _ in range(200):
        probability = special.expit(a[:, None] + log_odds)
        excess = events - (weight * probability).sum(1)
        low, high = np.where(excess >= 0, a, low), np.where(excess <= 0, a, high)
        slope = (weight * probability * (1 - probability)).sum(1)
        step = a + np.divide(excess, slope, out=np.full(len(a), np.inf), where=slope > 0)
        new = np.where((step > low) & (step < high), step, (low + high) / 2)
        done = np.abs(new - a).max() < 1e-12 * (1 + np.abs(a).max())
        a = new
        if done:
            break
    return a
