import pytest

from medjax import restore
from tests.report import runs


@pytest.fixture(scope='session')
def many(tmp_path_factory):
    """A run with several patients, and its report."""
    folder = runs.make(tmp_path_factory.mktemp('runs') / 'many', runs.MANY)
    restore.write_report(folder)
    return folder


@pytest.fixture(scope='session')
def one(tmp_path_factory):
    """A run with one volume of one patient, and its report."""
    folder = runs.make(tmp_path_factory.mktemp('runs') / 'one', runs.ONE)
    restore.write_report(folder)
    return folder


@pytest.fixture(scope='session')
def photographs(tmp_path_factory):
    """A run with 2D images and without validation, and its report."""
    folder = runs.make(tmp_path_factory.mktemp('runs') / 'photographs', runs.PHOTOGRAPHS, flat=True, best='')
    restore.write_report(folder)
    return folder
