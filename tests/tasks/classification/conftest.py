"""Runs of each problem of classification, one of them with a report."""

import pytest

from medjax import restore
from medjax.report import chapter
from medjax.tasks.classification import charts as classification_charts
from tests.tasks.classification import diagnoses


@pytest.fixture(scope='session')
def folders(tmp_path_factory):
    """A run of each problem, without a report."""
    where = tmp_path_factory.mktemp('diagnoses')
    options = {'binary': dict(tests=True, count=80), 'multiclass': dict(channels=3, shape=(10, 12))}
    return {problem: diagnoses.make(where / problem, problem, **options.get(problem, {}))
            for problem in diagnoses.KINDS}


@pytest.fixture(scope='session')
def binary(folders):
    """The run of the binary problem, with its report."""
    restore.write_report(folders['binary'])
    return folders['binary']


@pytest.fixture
def undrawn(monkeypatch):
    """Charts without pictures, for tests of their texts."""
    monkeypatch.setattr(classification_charts, 'themed_chart',
                        lambda draw_chart, *texts, **options: chapter.Chart(b'', b'', *texts))
