"""The package itself: fast to import, without starting JAX, with its public names."""

import subprocess
import sys

import pytest

import medjax


def run(code):
    """The output of a fresh interpreter."""
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_imports_nothing_else():
    code = ('import sys; import medjax; medjax.__version__; '
            'print(sorted({name.split(".")[0] for name in sys.modules} & {"jax", "numpy", "flax", "pandas", "absl"}))')
    assert run(code) == '[]'


def test_train_remains_the_function_after_use():
    code = ('import medjax; first = medjax.train; import medjax.training; '
            'print(callable(medjax.train), medjax.train is first, medjax.load.__name__)')
    assert run(code) == 'True True load'


def test_public_names():
    assert set(medjax.__all__) <= set(dir(medjax)) and medjax.Run.__name__ == 'Run'
    with pytest.raises(AttributeError, match='nothing'):
        medjax.nothing  # noqa: B018
