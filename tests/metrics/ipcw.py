"""Inverse probability of censoring weights of events by a horizon, by their definition."""

import numpy as np


def horizon_weights(gap, ended, horizon):
    """One over the probability of being uncensored just before an event, or at the horizon; 0 where it is unknown."""
    gap, ended = np.asarray(gap, float), np.asarray(ended, bool)

    def uncensored(until, including):
        out = 1.0
        for time in sorted(set(gap[~ended])):
            if time < until or (including and time == until):
                lost = ((gap == time) & ~ended).sum()
                out *= 1 - lost / ((gap > time).sum() + lost)  # those with the event at this time are gone
        return out
    return np.array([1 / uncensored(horizon, True) if time > horizon else 1 / uncensored(time, False) if event else 0.0
                     for time, event in zip(gap, ended)])
