"""Eight simulated devices for every test, and public data sets for those tests alone that are marked to need them."""

import contextlib
import functools
import importlib
import importlib.metadata
import os
import pathlib
import signal

import pytest

# Compiling is most of the tests' time, and running what was compiled the least. jaxlib 0.10 takes a third of the time
# without its newer code generator, which later versions cannot do without.
FAST_COMPILE = '--xla_backend_optimization_level=0'
if importlib.metadata.version('jaxlib').startswith('0.10.'):
    FAST_COMPILE += ' --xla_cpu_use_fusion_emitters=false'
os.environ['XLA_FLAGS'] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {FAST_COMPILE}"
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Where public data sets are, by default beside the checkout. All tests but those marked `public_data` see a folder that
# does not exist: their outcome is the same on every machine. In a variable, since a worker process starts with NOWHERE.
NOWHERE = '/nowhere'
os.environ.setdefault('MEDJAX_TEST_DATA_DIR',
                      os.environ.get('MEDJAX_DATA_DIR', str(ROOT.parent / 'shared' / 'data')) or NOWHERE)
os.environ['MEDJAX_DATA_DIR'] = NOWHERE


# A shell starts background jobs with SIGINT ignored, and nohup with SIGHUP; training then leaves them ignored, and so
# would the processes that tests start.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Gives a test that is marked `public_data` its files, or skips it where one is missing."""
    needed = [name for marker in item.iter_markers('public_data') for name in marker.args]
    folder = os.environ['MEDJAX_TEST_DATA_DIR'] if needed else NOWHERE
    os.environ['MEDJAX_DATA_DIR'] = folder
    for name in needed:
        if not (pathlib.Path(folder) / name).exists():
            pytest.skip(f'needs the public data set {name} in MEDJAX_DATA_DIR')


# Folders whose tests allow implicit promotion of dtypes; all others refuse it.
PROMOTES = ('tests/oracle/',)  # they hand over arrays as other libraries make them, in integers and doubles
# Functions of other libraries that promote dtypes themselves.
PROMOTING = (
    ('optax.tree', 'bias_correction'),  # Adam raises its decay, a float, to the power of its count
    ('flax.linen', 'avg_pool'),  # the sum of a window is divided by the number of its voxels, a NumPy integer
    ('flax.linen.normalization', '_compute_stats'),  # of bfloat16 in float32
    ('flax.linen.normalization', '_normalize'),
)


@pytest.fixture(autouse=True)
def strict_promotion(request, monkeypatch):
    """Strict dtype promotion: a silent upcast fails the test in which it happens."""
    if not request.path.is_relative_to(ROOT) or str(request.path.relative_to(ROOT)).startswith(PROMOTES):
        yield
        return
    import jax

    def promoting(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            with jax.numpy_dtype_promotion('standard'):
                return function(*args, **kwargs)
        return call

    for path, name in PROMOTING:
        module = importlib.import_module(path)
        monkeypatch.setattr(module, name, promoting(getattr(module, name)))
    with jax.numpy_dtype_promotion('strict'):
        yield


@contextlib.contextmanager
def without_reports():
    """Trainings and evaluations without a report, whose drawing takes most of a short run's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('medjax.restore.write_report', lambda workdir: workdir / 'report.html')
        yield


@pytest.fixture(scope='module')
def no_report():
    """See `without_reports`."""
    with without_reports():
        yield


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
