"""Small trained runs, and a service of one of them as a process of its own."""

import contextlib
import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
import threading

import nibabel as nib
import numpy as np
import pytest
from ml_collections import config_dict

import medjax
from tests.conftest import FAST_COMPILE, ROOT, without_reports

NEEDED = ('fastapi', 'uvicorn', 'python_multipart', 'prometheus_client', 'httpx')
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


class SkippedModule(pytest.Module):
    """A file of tests whose imports would fail."""

    def collect(self):
        """Skips all of them, with the reason."""
        pytest.skip(f'needs {", ".join(MISSING)}, of the extras `serve` and `test`', allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    """Skips the files of this folder where packages are missing."""
    return SkippedModule.from_parent(parent, path=module_path) if MISSING else None

CLASSIFIER = dict(
    seed=0, steps=2, batch=8, model=dict(name='cnn', variant='cancer', classes=1, features=(4, 4), dense=8),
    task=dict(name='classification'), optim=dict(name='adam', lr=1e-3),
    data=dict(name='images', size=(16, 16), channels=1, intensity=dict(name='unit'),
              source=dict(name='simulated_images', classes=('small', 'large'), cases=(16, 6, 6), shape=(16, 16))),
    evaluate=dict(name='classification', saliency=(), batch=8))
AFFINE = np.diag([1.0, 1.5, 3.0, 1.0])


def volume(seed, shape=(20, 18, 3)):
    """A volume with bright voxels."""
    return np.random.default_rng(seed).integers(0, 200, shape).astype(np.int16)


@pytest.fixture(scope='session')
def classifier(tmp_path_factory):
    """A run of classification of pictures."""
    folder = tmp_path_factory.mktemp('classifier')
    config = config_dict.ConfigDict({**CLASSIFIER, 'data': {**CLASSIFIER['data'], 'cache': str(folder / 'cache')}})
    with without_reports():
        return medjax.train(config, folder / 'run').path


@pytest.fixture(scope='session')
def segmenter(tmp_path_factory):
    """A run of segmentation of volumes."""
    folder = tmp_path_factory.mktemp('segmenter')
    for kind in ('images', 'labels'):
        (folder / kind).mkdir()
    for number in range(3):
        image = volume(number)
        nib.save(nib.Nifti1Image(image, AFFINE), folder / 'images' / f'case{number}.nii.gz')
        nib.save(nib.Nifti1Image((image > 100).astype(np.uint8), AFFINE), folder / 'labels' / f'case{number}.nii.gz')
    config = dict(
        seed=0, steps=8, batch=8, model=dict(name='unet', variant='nnunet', dims=2, classes=2, base=4, levels=2,
                                             norm='batch'),
        task=dict(name='segmentation', loss=dict(cross_entropy=1.0)), optim=dict(name='adam', lr=1e-2),
        data=dict(name='volumes', patch=(16, 16, 1), crop=False, cache=str(folder / 'cache'),
                  intensity=dict(name='percentile', low=1, high=99), spacing=None,
                  source=dict(name='segmentation_folder', dir=str(folder), classes=('background', 'lesion'))),
        evaluate=dict(name='segmentation'))
    with without_reports():
        return medjax.train(config_dict.ConfigDict(config), folder / 'run').path


@dataclasses.dataclass
class Served:
    """A service in a process of its own.

    Attributes:
      url: of the service.
      process: of it.
      lines: what it printed.
    """

    url: str
    process: subprocess.Popen
    lines: list[str]


@contextlib.contextmanager
def served(module, *arguments):
    """`python -m medjax.MODULE ARGUMENTS --port=0`, from when it is ready."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'XLA_FLAGS': FAST_COMPILE, 'JAX_PLATFORMS': 'cpu'}
    process = subprocess.Popen([sys.executable, '-m', f'medjax.{module}', '--port=0', *map(str, arguments)], text=True,
                               cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines, found = [], None
    try:
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r'ready: (http://\S+)', line):
                break
        assert found, lines
        reader = threading.Thread(target=lambda: lines.extend(process.stdout))
        reader.start()
        yield Served(found[1], process, lines)
    finally:
        process.kill()
        process.wait()
        if found:
            reader.join()
        process.stdout.close()
