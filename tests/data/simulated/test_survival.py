"""Simulated survival cohorts: covariates raise the hazard of their event."""

import numpy as np

from medjax.data.simulated import survival


def test_a_covariate_raises_the_hazard_of_its_event():
    made = survival.source(cases=(600, 10, 10), events=2, censoring=0.3)
    first = np.array([case.record['x0'] for case in made.cases if case.split == 'train'])
    second = np.array([case.record['x1'] for case in made.cases if case.split == 'train'])
    event = np.array([case.target.event for case in made.cases if case.split == 'train'])
    assert first[event == 1].mean() > 0.2 + first[event != 1].mean()
    assert second[event == 2].mean() > 0.2 + second[event != 2].mean()
    assert 'imulated' in made.notice
