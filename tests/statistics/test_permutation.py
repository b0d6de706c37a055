"""Permuted groups: they keep patients together and the groups' sizes."""

import numpy as np
import pytest

from medjax.statistics import permutation


def test_groups_are_permuted_over_patients():
    patients = np.array([0, 0, 1, 2, 2, 2, 3])
    group = np.array(['a', 'a', 'b', 'b', 'b', 'b', 'a'])
    found = permutation.shuffled_groups(group, patients, 200, 0)
    assert found.shape == (200, 7)
    for row in found:
        by_patient = {patient: set(row[patients == patient]) for patient in range(4)}
        assert all(len(names) == 1 for names in by_patient.values())
        assert sum(names == {'a'} for names in by_patient.values()) == 2
    assert len({tuple(row) for row in found}) == 6  # 4 over 2


def test_groups_of_cases_are_permuted_over_cases():
    found = permutation.shuffled_groups(np.array(['a', 'b', 'b']), np.zeros(3), 50, 0)
    assert {tuple(row) for row in found} == {('a', 'b', 'b'), ('b', 'a', 'b'), ('b', 'b', 'a')}


def test_an_entry_beside_its_null():
    got = permutation.entry(0.5, np.array([0.1, 0.2, 0.3, 0.5, np.nan]), np.array([1, 1, 2]), 'none')
    assert got['by_chance'] == pytest.approx(0.275) and got['excess'] == pytest.approx(0.225)
    assert got['p'] == pytest.approx(2 / 5) and (got['n'], got['cases']) == (2, 3)
    assert permutation.entry(float('nan'), np.ones(3), np.array([1]), 'none')['why'] == 'none'
