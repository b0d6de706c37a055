"""Survival runs over folds merged: concordance within folds, and one grid of times."""

import numpy as np
import pytest

from medjax import compare
from medjax.tasks.survival import table
from tests.tasks.survival import survivals


def fold_rows(number, offset, grid, count=30):
    """A fold whose risks order the deaths perfectly, on a scale of its own, with curves at times of its own."""
    for i in range(count):
        time = 1.0 + i + number / 2
        yield {'split': 'test', 'id': f'{number}-{i:02d}', 'patient': f'{number}-{i:02d}', 'time': time,
               'event': 'death', 'risk_death': offset - i,
               **{f'incidence_death_at_{at:g}': round(min(at / (time + 10), 1.0), 6) for at in grid}}


def test_two_perfect_folds_are_perfect(tmp_path):
    folds = []
    for k, (offset, grid) in enumerate([(0.0, (5, 10, 20)), (50.0, (4, 12, 18, 25))]):
        folder = tmp_path / f'fold{k}'
        folder.mkdir()
        folds.append(str(survivals.write(folder, ('death',), list(fold_rows(k, offset, grid)))))
    found = compare.merge(folds, tmp_path / 'all')['test']
    assert found['c_index']['value'] == found['c_uno']['value'] == 1.0
    assert found['c_index']['ci95'] is None and found['c_index']['n'] == 60 and found['c_index']['runs'] == 2


def test_curves_at_the_times_of_all_runs():
    tables = {str(k): list(fold_rows(k, 0.0, grid)) for k, grid in enumerate([(5, 10, 20), (4, 12, 18, 25)])}
    found = table.on_common_grid(tables, ('death',))
    for name, rows in found.items():
        assert [key for key in rows[0] if key.startswith('incidence')] == [
            f'incidence_death_at_{at}' for at in (4, 5, 10, 12, 18, 20)]
        for before, after in zip(tables[name], rows):
            nodes = {float(key.rpartition('_')[2]): value for key, value in before.items() if key[:3] == 'inc'}
            for at in (4, 5, 10, 12, 18, 20):
                want = np.interp(at, [0.0, *nodes], [0.0, *nodes.values()])
                assert after[f'incidence_death_at_{at}'] == pytest.approx(want, abs=1e-9)
            assert {key: value for key, value in after.items() if key[:3] != 'inc'} == {
                key: value for key, value in before.items() if key[:3] != 'inc'}


def test_equal_times_are_kept_as_they_are():
    tables = {str(k): list(fold_rows(k, 0.0, (5, 10))) for k in range(2)}
    assert table.on_common_grid(tables, ('death',)) == tables
