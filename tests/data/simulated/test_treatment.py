"""Simulated treatment: the effect is known, and the comparison of groups is confounded."""

import numpy as np
import pytest

from medjax.data.simulated import treatment


def test_treatment_is_confounded():
    targets = [case.target for case in treatment.source(cases=(4000, 1, 1)).cases]
    outcome, effect, given = (np.array([value(t) for t in targets]) for value in (
        lambda t: t.outcome, lambda t: t.effect, lambda t: t.treatment))
    assert effect.mean() == pytest.approx(1, abs=0.1) and effect.std() == pytest.approx(1, abs=0.1)
    assert outcome[given == 1].mean() - outcome[given == 0].mean() > 1.5
