"""Baselines of forecasting, fitted to the training patients' visits: ridge and logistic regression."""

import dataclasses

import numpy as np

from medjax.data.datasets.time_series import TimeSeriesDataset
from medjax.metrics import survival
from medjax.ops import time_series

ALPHAS = tuple(10.0**power for power in range(-2, 5))  # of ridge regression, chosen by leave-one-out


@dataclasses.dataclass(frozen=True)
class Visits:
    """All visits of all patients of a data set, one after another.

    Attributes:
      patient: `[n]` int, number of the patient from 0.
      visit: `[n]` int, number of the visit from 0.
      last: `[n, V]`, standardised values, the last observation carried forward.
      features: `[n, F]`: `last`, which values are missing, which were never measured, the covariates, and the time
        since the first visit.
      ahead: `[n]`, time until the next visit in units of the clock; NaN where there is none.
      next: `[n, V]`, standardised values of the next visit; NaN where not measured.
      gap: `[n]`, time until the event or the end of observation, in the source's unit.
      event: `[n]` int, number of the event from 1, 0 for none.
    """

    patient: np.ndarray
    visit: np.ndarray
    last: np.ndarray
    features: np.ndarray
    ahead: np.ndarray
    next: np.ndarray
    gap: np.ndarray
    event: np.ndarray


def all_visits(data: TimeSeriesDataset) -> Visits:
    """All visits of a data set, in float64."""
    cases = data.source.cases
    inputs = data.network_inputs(np.arange(len(cases)))
    observed, mask = inputs['observed'] > 0, inputs['time_mask'] > 0
    last = time_series.carry_forward(inputs['values'], observed)
    never = ~np.maximum.accumulate(observed, 1)
    covariates = np.broadcast_to(inputs['covariates'][:, None], (*mask.shape, inputs['covariates'].shape[1]))
    # A feature that is constant has no effect on the fit.
    features = np.concatenate([last, ~observed, never, covariates, inputs['times'][..., None]], -1)
    follows = np.concatenate([mask[:, 1:], np.zeros((len(mask), 1), bool)], 1)
    ahead = np.where(follows, np.diff(inputs['times'], axis=1, append=0), np.nan)
    values = np.where(observed, inputs['values'], np.nan)
    following = np.concatenate([values[:, 1:], np.full((len(mask), 1, values.shape[2]), np.nan)], 1)
    patient, visit = np.nonzero(mask)
    gap = [cases[p].target.time - (cases[p].series.times[v] - cases[p].series.times[0])
           for p, v in zip(patient.tolist(), visit.tolist())]
    last, features, ahead, following = (array[mask].astype(np.float64) for array in (last, features, ahead, following))
    return Visits(patient, visit, last, features, ahead, following, np.maximum(gap, 0),
                  np.array([cases[p].target.event for p in patient.tolist()], int))


def ridge_forecasts(visits: Visits, training: np.ndarray) -> np.ndarray:
    """Standardised forecasts of the next values by ridge regression, `[n, V]`.

    The features are those of `Visits` and the time until the next visit. A value with fewer than two training visits is
    carried forward.

    Args:
      visits: the visits.
      training: `[n]` bool, visits of training patients.
    """
    from sklearn.linear_model import RidgeCV  # slow to import

    features = np.column_stack([visits.features, np.nan_to_num(visits.ahead)])
    out = visits.last.copy()
    for k, following in enumerate(visits.next.T):
        known = training & ~np.isnan(following)
        if known.sum() > 1:
            out[:, k] = RidgeCV(ALPHAS).fit(features[known], following[known]).predict(features)
    return out


def logistic_risks(visits: Visits, training: np.ndarray, occurs: np.ndarray, known: np.ndarray,
                   horizon: float) -> np.ndarray:
    """Probabilities of each event within the horizon by logistic regression, `[n, E]`.

    An event that occurs after all or none of the training visits has its training frequency. Visits count by the
    inverse probability of censoring, see `metrics.survival.horizon_weights`.

    Args:
      visits: the visits.
      training: `[n]` bool, visits of training patients.
      occurs: `[n, E]` bool, whether the event occurs within the horizon.
      known: `[n, E]` bool, whether that is known.
      horizon: the horizon.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import

    out, weight = np.zeros(occurs.shape), np.zeros(len(training))
    weight[training] = survival.horizon_weights(visits.gap[training], visits.event[training] > 0, horizon)
    for k in range(occurs.shape[1]):
        chosen = training & known[:, k]
        labels = occurs[chosen, k]
        if len(np.unique(labels)) == 2:
            fit = LogisticRegression(max_iter=2000).fit(visits.features[chosen], labels, weight[chosen])
            out[:, k] = fit.predict_proba(visits.features)[:, 1]
        elif chosen.any():
            out[:, k] = np.average(labels, weights=weight[chosen])
    return out
