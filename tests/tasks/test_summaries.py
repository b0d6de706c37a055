"""Intervals are by patient in every family: more cases of the same patients are no more information."""

import numpy as np
import pytest

from medjax.tasks import family
from tests.tasks import tables

# Decisions at thresholds that are fitted on validation cases, which repeated cases move.
FITTED = ('specificity', 'set_size')


def widths(found, path=()):
    """The widths of all intervals in results, by their place."""
    if isinstance(found, dict):
        if found.get('ci95'):
            yield path, found['ci95'][1] - found['ci95'][0]
        for key, part in found.items():
            yield from widths(part, (*path, key))


@pytest.mark.parametrize('name', [name for name in family.names() if name in tables.ROWS])
def test_repeated_cases_of_a_patient_do_not_narrow_intervals(name):
    splits = ('val', 'test') if name in ('anomaly', 'classification') else ('test',)  # those that thresholds need
    once, table = ([row for row in tables.rows(name, copies=count) if row['split'] in splits] for count in (1, 4))
    once = dict(widths(tables.results(name, once)))
    again = dict(widths(tables.results(name, table)))
    wide = {path: width for path, width in once.items() if width > 1e-9 and path[-1] not in FITTED}
    assert len(wide) > 2 and all(again[path] > 0.85 * width for path, width in wide.items())
    # The same cases, each of a patient of its own, have intervals of about half the width.
    apart = dict(widths(tables.results(name, [{**row, 'patient': row['id']} for row in table])))
    assert np.median([apart[path] / width for path, width in wide.items()]) < 0.7


def test_every_family_with_patients_is_tested():
    assert set(family.names()) - set(tables.ROWS) == {'synthesis'}  # see its own test_summary
