"""Eight simulated devices for every test, and the real data sets where they lie beside the checkout."""

import os
import pathlib

os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
# Compiling is most of the tests' time, and running what was compiled the least.
os.environ['XLA_FLAGS'] += ' --xla_backend_optimization_level=0'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

ROOT = pathlib.Path(__file__).resolve().parents[1]
BESIDE = ROOT.parent / 'shared' / 'data'
if 'MEDJAX_DATA_DIR' not in os.environ and BESIDE.is_dir():
    os.environ['MEDJAX_DATA_DIR'] = str(BESIDE)


def pytest_collection_modifyitems(items):
    """Whole paths first: they are the longest, and one core would wait for another's at the end."""
    items.sort(key=lambda item: item.path.parent != ROOT / 'tests')
