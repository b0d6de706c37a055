"""Eight simulated devices for every test, and public data sets for those tests alone that are marked to need them."""

import os
import pathlib

import pytest

os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
# Compiling is most of the tests' time, and running what was compiled the least.
os.environ['XLA_FLAGS'] += ' --xla_backend_optimization_level=0'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Where public data sets are, by default beside the checkout. All tests but those marked `public_data` see a folder that
# does not exist: their outcome is the same on every machine. In a variable, since a worker process starts with NOWHERE.
NOWHERE = '/nowhere'
os.environ.setdefault('MEDJAX_TEST_DATA_DIR',
                      os.environ.get('MEDJAX_DATA_DIR', str(ROOT.parent / 'shared' / 'data')) or NOWHERE)
os.environ['MEDJAX_DATA_DIR'] = NOWHERE


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Gives a test that is marked `public_data` its files, or skips it where one is missing."""
    needed = [name for marker in item.iter_markers('public_data') for name in marker.args]
    folder = os.environ['MEDJAX_TEST_DATA_DIR'] if needed else NOWHERE
    os.environ['MEDJAX_DATA_DIR'] = folder
    for name in needed:
        if not (pathlib.Path(folder) / name).exists():
            pytest.skip(f'needs the public data set {name} in MEDJAX_DATA_DIR')


LONG = ('tests', 'tests/tasks', 'tests/weights', 'tests/models', 'tests/data')  # folders with their subfolders


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Starts the longest tests first, so that no core is idle at the end."""
    folders = [ROOT / folder for folder in LONG]

    def rank(item):
        """The place of the most specific folder that holds the test."""
        found = [number for number, folder in enumerate(folders) if folder in item.path.parents]
        inner = max(found, key=lambda number: len(folders[number].parts))
        return inner if inner or item.path.parent == folders[0] else len(LONG)
    items.sort(key=rank)
