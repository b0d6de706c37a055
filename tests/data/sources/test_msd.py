"""Tasks of the Medical Segmentation Decathlon, compared with nibabel, and what is refused."""

import json

import nibabel as nib
import numpy as np
import pytest

from medjax.data.sources.msd import source
from tests.data.sources.labelled_folders import refused
from tests.data.sources.nnunet_folders import AFFINE, SHAPE, cube, save

MODALITY = {'0': 'FLAIR', '1': 'T1w'}


def task(root, **fields):
    for name in ('BRATS_001', 'BRATS_002', 'BRATS_003'):
        save(root / 'imagesTr' / f'{name}.nii.gz', np.random.default_rng(0).normal(size=(*SHAPE, 2)).astype(np.float32))
        save(root / 'labelsTr' / f'{name}.nii.gz', cube(0))
    rows = [{'image': f'./imagesTr/BRATS_00{n}.nii.gz', 'label': f'./labelsTr/BRATS_00{n}.nii.gz'} for n in (1, 2, 3)]
    content = {'modality': MODALITY, 'labels': {'0': 'background', '1': 'edema', '2': 'tumour'}, 'numTraining': 3,
               'training': rows, 'test': ['./imagesTs/BRATS_009.nii.gz'], **fields}
    (root / 'dataset.json').write_text(json.dumps(content))
    return root


def test_a_task_is_read_as_nibabel_reads_it(tmp_path):
    found = source(dir=str(task(tmp_path)))
    assert [case.id for case in found.cases] == ['BRATS_001', 'BRATS_002', 'BRATS_003']
    assert found.channels == ('FLAIR', 'T1w') and found.classes == ('background', 'edema', 'tumour')
    assert found.warnings == ('Left out of imagesTs, without labels: 1 cases.',)
    image, label = found.cases[1].read()
    np.testing.assert_array_equal(image.array, np.asarray(nib.load(tmp_path / 'imagesTr/BRATS_002.nii.gz').dataobj))
    np.testing.assert_array_equal(label.array, cube(0))
    np.testing.assert_allclose(image.affine, AFFINE)


@pytest.mark.parametrize('fields, parts', [
    (dict(channel_names={'0': 'CT'}), ['version 2', "'nnunet'"]),
    (dict(modality={}), ['modality']),
    (dict(labels={'0': 'background', '2': 'b'}), ['labels', '0 to 1']),
    (dict(numTraining=4), ['numTraining: 4; expected 3']),
    (dict(numTraining=1, training=[{'image': 'imagesTr/x.nii.gz', 'label': 'labelsTr/x.nii.gz'}]),
     ['training[0]', 'does not exist']),
    (dict(numTraining=1, training=[{'image': 'imagesTr/BRATS_001.nii.gz', 'label': 'labelsTr/BRATS_002.nii.gz'}]),
     ['one name for both']),
    (dict(numTraining=1, training=[{'image': '/etc/passwd', 'label': 'labelsTr/BRATS_002.nii.gz'}]), ['outside']),
    (dict(numTraining=1, training=[{'image': 'imagesTr/BRATS_001.nii.gz', 'label': 'labelsTr/BRATS_001.nii.gz'}]),
     ['does not list 4 files']),
])
def test_what_does_not_fit_is_refused(tmp_path, fields, parts):
    task(tmp_path, **fields)
    refused(lambda: source(dir=str(tmp_path)), tmp_path, *parts)


def test_what_only_reading_shows_is_refused(tmp_path):
    task(tmp_path)
    read = source(dir=str(tmp_path)).cases[0].read
    save(tmp_path / 'labelsTr' / 'BRATS_001.nii.gz', cube(0) * 2)
    refused(read, 'label value 4; expected one of (0, 1, 2)')
    save(tmp_path / 'imagesTr' / 'BRATS_001.nii.gz', np.zeros(SHAPE))
    refused(read, '1 channels in 1 files; expected 2 (FLAIR, T1w)')
