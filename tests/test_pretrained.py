"""Published networks: the command, and what it says where weights are missing or others."""

import os
import pathlib
import shutil

import nibabel as nib
import numpy as np
import pytest

from medjax import pretrained
from medjax.errors import InputError
from tests import cli
from tests.conftest import ROOT


def test_weights_that_are_missing_or_others(tmp_path, monkeypatch):
    monkeypatch.setenv('MEDJAX_DATA_DIR', str(tmp_path))
    with pytest.raises(InputError, match='expected model.safetensors there, of model5_gw_ae in https'):
        pretrained.restore('meshnet_gwm')
    path = tmp_path / pretrained.NETWORKS['meshnet_gwm'].path
    path.parent.mkdir(parents=True)
    path.write_bytes(b'others')
    with pytest.raises(InputError, match='sha256 .*; expected 8b83b35b'):
        pretrained.restore('meshnet_gwm')
    with pytest.raises(InputError, match='--pretrained=other: not known; expected one of: meshnet_gwm, '):
        pretrained.restore('other')


def test_a_run_or_a_published_network():
    given = ['--input=a.nii', '--output=out']
    for more in ([], ['--workdir=run', '--pretrained=meshnet_gwm']):
        ended = cli.run('predict', *given, *more)
        assert ended.code == 2 and '--workdir, --pretrained' in ended.err and ended.err.count('\n') == 1


def test_the_catalogue_is_in_the_docs():
    page = (ROOT / 'docs' / 'pretrained.md').read_text(encoding='utf-8')
    for name, network in pretrained.NETWORKS.items():
        row = next(line for line in page.splitlines() if line.startswith(f'| `{name}`'))
        assert network.sha256 in row and str(len(network.classes)) in row and network.path in row


@pytest.mark.slow
@pytest.mark.public_data('brainchop')
def test_voxels_of_the_published_brain(tmp_path):
    """The counts are those of PyTorch's forward pass; a copy with flipped axes has the same labels in the world."""
    source = pathlib.Path(os.environ['MEDJAX_DATA_DIR']) / 'brainchop' / 't1_crop.nii.gz'
    shutil.copy(source, tmp_path / 't1.nii.gz')
    image = nib.load(tmp_path / 't1.nii.gz')
    nib.save(nib.as_closest_canonical(image), tmp_path / 'ras.nii.gz')
    ended = cli.run('predict', '--pretrained=meshnet_gwm', f'--output={tmp_path}/out', f'--input={tmp_path}/t1.nii.gz',
                    f'--input={tmp_path}/ras.nii.gz')
    assert ended.code == 0, ended.err
    label = nib.load(tmp_path / 'out' / 't1.nii.gz')
    np.testing.assert_array_equal(label.affine, image.affine)
    counts = np.bincount(np.asarray(label.dataobj).ravel())
    np.testing.assert_allclose(counts, [15523279, 502702, 751235], atol=1677)  # 99.99 % of 256³ voxels
    other = nib.as_closest_canonical(label)
    assert (np.asarray(nib.load(tmp_path / 'out' / 'ras.nii.gz').dataobj) == np.asarray(other.dataobj)).mean() > 0.9999
