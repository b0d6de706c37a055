"""Eight simulated devices for every test, and the real data sets where they lie beside the checkout."""

import os
import pathlib

import pytest

os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
# Compiling is most of the tests' time, and running what was compiled the least.
os.environ['XLA_FLAGS'] += ' --xla_backend_optimization_level=0'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

ROOT = pathlib.Path(__file__).resolve().parents[1]
BESIDE = ROOT.parent / 'shared' / 'data'
if 'MEDJAX_DATA_DIR' not in os.environ and BESIDE.is_dir():
    os.environ['MEDJAX_DATA_DIR'] = str(BESIDE)


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
