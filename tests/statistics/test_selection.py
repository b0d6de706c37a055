"""Which cases to label next: hand-computed entropies, distances and orders."""

import numpy as np
import pytest

from medjax.statistics import selection


def test_entropy_is_a_share_of_its_maximum():
    found = selection.entropy(np.array([[.5, .5], [1, 0], [.25, .75]]))
    np.testing.assert_allclose(found, [1, 0, -(.25 * np.log2(.25) + .75 * np.log2(.75))])
    np.testing.assert_allclose(selection.entropy(np.full((1, 4), .25)), [1])
    # Each class by itself: certain, and undecided.
    np.testing.assert_allclose(selection.entropy(np.array([[0, .5]]), multilabel=True), [.5])


def test_the_farthest_cases_come_first():
    line = np.array([[0.0], [1], [2], [6], [10]])
    # The mean is 3.8: 2 is nearest to it; then 10 is farthest; 6 is 4 from both, 0 is 2 from 2.
    assert selection.farthest_first(line, 3) == [2, 4, 3]
    assert selection.farthest_first(line, 2, np.array([[10.0]])) == [0, 3]
    assert sorted(selection.farthest_first(line, 9)) == [0, 1, 2, 3, 4]
    assert len(set(selection.farthest_first(np.zeros((4, 2)), 3))) == 3


@pytest.mark.parametrize('strategy, expected', [('uncertainty', [3, 1]), ('diversity', [0, 2]), ('both', [1, 3])])
def test_a_strategy_orders_the_pool(strategy, expected, monkeypatch):
    monkeypatch.setattr(selection, 'PRESELECTED', 1)
    features = np.array([[9.0], [0], [5], [.5]])
    found = selection.select(strategy, 2, np.array([.1, .8, .2, .9]), features, np.array([[1.0]]))
    assert list(found) == expected


def test_random_is_a_permutation_by_seed():
    first, again, other = (selection.select('random', 5, np.zeros(20), np.zeros((20, 1)), seed=seed)
                           for seed in (0, 0, 1))
    assert first == again != other and len(set(first)) == 5
