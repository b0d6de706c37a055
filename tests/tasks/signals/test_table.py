"""Metrics of beats by hand."""

import numpy as np
import pytest

from medjax.tasks.signals import table


def test_scores_by_hand():
    """Of three beats two are found, one by 20 ms too late; one is made up."""
    got = table.beat_metrics(np.array([10, 52, 80]), np.array([10, 50, 200]), 100.0)
    assert got == pytest.approx({'f1': 4 / 6, 'sensitivity': 2 / 3, 'precision': 2 / 3, 'timing_ms': 10})
    none = table.beat_metrics(np.zeros(0, int), np.array([3]), 100.0)
    assert none['f1'] == none['sensitivity'] == none['precision'] == 0 and np.isnan(none['timing_ms'])
    assert all(np.isnan(value) for value in table.beat_metrics([], [], 100.0).values())
