import pytest


@pytest.fixture
def root(tmp_path):
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
    return tmp_path
