import pytest

from medjax.report import page
from tests.report import runs


@pytest.fixture(scope='session')
def many(tmp_path_factory):
    """Several patients, drawn."""
    folder = runs.make(tmp_path_factory.mktemp('runs') / 'many', runs.MANY)
    page.write(folder)
    return folder


@pytest.fixture(scope='session')
def one(tmp_path_factory):
    """A single volume of a single patient, drawn."""
    folder = runs.make(tmp_path_factory.mktemp('runs') / 'one', runs.ONE)
    page.write(folder)
    return folder


@pytest.fixture(scope='session')
def photographs(tmp_path_factory):
    """2D pictures, without validation, drawn."""
    folder = runs.make(tmp_path_factory.mktemp('runs') / 'photographs', runs.PHOTOGRAPHS, flat=True, best='')
    page.write(folder)
    return folder
