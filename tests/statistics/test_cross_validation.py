"""Folds and seeds merged: rounds, and means over them."""

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.statistics import cross_validation


def table(ids):
    return [dict(split='test', id=f'c{i:02d}', patient=f'p{i // 2}') for i in ids] + [
        dict(split='val', id='v', patient='v')]


def test_folds_add_up_to_rounds():
    tables = {f'fold{k}_seed{s}': table(range(k, 40, 4)) for s in range(3) for k in range(4)}
    parts = cross_validation.rounds(tables)
    assert len(parts) == 3 and all([row['id'] for row in part] == [f'c{i:02d}' for i in range(40)] for part in parts)
    assert len(cross_validation.rounds({str(seed): table(range(20)) for seed in range(3)})) == 3


def test_measures_of_cases_are_averaged_over_rounds():
    tables = {str(s): [dict(split='test', id=f'c{i}', patient=f'c{i}', dice_mean=str((i + s) / 10)) for i in range(5)]
              for s in (0, 2)}
    found = cross_validation.means(tables, ['dice_mean'])['dice_mean']
    assert np.isclose(found['value'], 0.3) and found['n'] == 5
    assert np.isclose(found['run_sd'], np.std([0.2, 0.4], ddof=1))


def test_what_does_not_add_up_is_refused():
    with pytest.raises(InputError, match='expected the same folds for every seed'):
        cross_validation.rounds({'a': table(range(4)), 'b': table(range(4, 8)), 'c': table(range(4))})
    with pytest.raises(InputError, match='b: no test cases'):
        cross_validation.rounds({'a': table(range(4)), 'b': []})
