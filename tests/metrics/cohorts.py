"""Cohorts with censored and tied times, on which survival metrics are tested."""

import numpy as np

from medjax.metrics import concordance

# Four cases with a tie: an event at 1, one at 2 with a case censored at the same time, and one at 3.
TIME, EVENT = np.array([1.0, 2, 2, 3]), np.array([True, True, False, True])


def cohort(seed, n=60, kinds=3, decimals=0):
    """Times with many ties, event numbers (0 censored), risks with ties, and survival at five times."""
    rng = np.random.default_rng(seed)
    time = rng.exponential(8, n).round(decimals)
    return (time, rng.integers(0, kinds, n), (-time + rng.normal(0, 8, n)).round(decimals),
            np.sort(rng.random((n, 5)))[:, ::-1], np.array([1.0, 3, 5, 8, 13]))


def incidence(risk, crossing=0.0):
    """Proportional hazards, or curves that cross; all distinct where risks are, and none of 1."""
    power = 1 + crossing * np.abs(np.sin(risk))[:, None]
    return lambda times: 1 - np.exp(-1e-4 * np.exp(0.05 * risk)[:, None] * (0.1 + np.asarray(times)) ** power)


def concordances(weight, data):
    """All concordance indices, by name, as `[...]`."""
    time, kind, risk, *_ = data
    event = kind == 1
    return {'harrell': concordance.harrell(time, event, risk, weight),
            'uno': concordance.uno(time, event, risk, 13.0, weight),
            'antolini': concordance.antolini(time, event, incidence(risk, 1.0), None, weight)}
