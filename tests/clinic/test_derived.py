"""Derived series: the values that are read back, and what they refer to."""

import numpy as np
import pydicom
import pytest

pytest.importorskip('highdicom')

from medjax.clinic import derived, source
from medjax.clinic.options import DicomOptions
from medjax.clinic.predictor import DicomPredictor, encoded
from medjax.core import contracts
from medjax.core.contracts import Findings
from medjax.core.task import Task
from medjax.data.io import image_files
from medjax.errors import InputError
from medjax.tasks.registration import evaluator as registration
from tests import full_disk
from tests.clinic import scans
from tests.clinic.conftest import SHAPE
from tests.clinic.test_segmentation import IDENTITY


def write(folder, scan, image):
    made = derived.series(source.read(scan), Findings(image=image, image_name='Translated image'), IDENTITY)
    folder.mkdir()
    for number, data in enumerate(made):
        (folder / f'{number}.dcm').write_bytes(encoded(data))
    return folder


@pytest.mark.parametrize('modality', ['CT', 'MR'])
@pytest.mark.parametrize('whole', [True, False])
def test_a_derived_series_has_the_values_on_the_grid_of_its_source(tmp_path, modality, whole):
    more = {} if modality == 'CT' else dict(
        SOPClassUID=scans.MR, Modality='MR', KVP=None, RescaleIntercept=None, RescaleSlope=None, RescaleType=None,
        ScanningSequence='SE', SequenceVariant='NONE', ScanOptions='', MRAcquisitionType='2D', EchoTime=10,
        RepetitionTime=500, EchoTrainLength=1, ImageType=['ORIGINAL', 'PRIMARY', 'OTHER'])
    rng = np.random.default_rng(1)
    scans.series(tmp_path / 'scan', rng.integers(0, 900, SHAPE).astype(np.int16), **more)
    image = rng.normal(3, 40, SHAPE).astype(np.float32)
    image = np.rint(image) if whole else image
    folder = write(tmp_path / 'out', tmp_path / 'scan', image)
    for path in folder.iterdir():
        scans.check(path)
    back, before = image_files.read(folder), image_files.read(tmp_path / 'scan')
    np.testing.assert_allclose(back.array, image, atol=0 if whole else np.ptp(image) / 2**16)
    np.testing.assert_allclose(back.affine, before.affine)
    slices = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, (tmp_path / 'scan').iterdir())}
    for data in map(pydicom.dcmread, folder.iterdir()):
        of = slices[data.SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert data.ImagePositionPatient == of.ImagePositionPatient and data.ImageType[:2] == ['DERIVED', 'SECONDARY']
        assert data.PatientName == of.PatientName and data.StudyInstanceUID == of.StudyInstanceUID
        assert data.SOPInstanceUID != of.SOPInstanceUID and data.FrameOfReferenceUID == of.FrameOfReferenceUID


def test_a_registered_image_has_the_place_of_the_fixed_one(tmp_path):
    """Each fixed slice shows the moving slice that is one further on and two columns further left, by a known field."""
    rng = np.random.default_rng(2)
    fixed, moving = (rng.integers(0, 900, SHAPE).astype(np.int16) for _ in range(2))
    affine = scans.series(tmp_path / 'fixed', fixed)
    scans.series(tmp_path / 'moving', moving, study='2', FrameOfReferenceUID='1.2.3')
    # The network's grid is in RAS+: its first two axes run against those of the slices. It lacks 4 columns and 1 slice.
    size = (SHAPE[0] - 4, SHAPE[1], SHAPE[2] - 1)
    field = np.zeros((1, 3, *size), np.float32)
    field[:, 0], field[:, 2] = 2, 1
    task = Task(None, None, lambda variables, batch: {'displacement': field, 'inverse': -field,
                                                      'moved': batch['moving']}, None)
    inner = registration.predictor(task=task, data=dict(size=size), statistics={
        'spacing': [*scans.SPACING, scans.STEP], 'classes': ['background']})
    (tmp_path / 'pairs.csv').write_text('fixed,moving\nfixed,moving\n')
    predict = DicomPredictor(inner, DicomOptions(), ('derived',), IDENTITY)
    line = predict({}, tmp_path / 'pairs.csv', tmp_path / 'out')
    assert '29% of the fixed image beyond the network\'s grid, deformed as its border' in line
    columns, slices = np.clip(np.arange(SHAPE[0]) - 2, 0, None), np.clip(np.arange(SHAPE[2]) + 1, None, SHAPE[2] - 1)
    files = sorted((tmp_path / 'out').iterdir())
    assert len(files) == SHAPE[2]
    for path in files:
        scans.check(path)
        data = pydicom.dcmread(path)
        place = round((np.linalg.inv(affine) @ [*np.array(data.ImagePositionPatient, float), 1])[2])
        values = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        np.testing.assert_array_equal(values, moving[columns][:, :, slices[place]].T)
        assert data.FrameOfReferenceUID == f'{scans.UIDS}.1.99' and data.StudyInstanceUID == f'{scans.UIDS}.1'
        assert [len(data.SourceImageSequence), len(data.ReferencedImageSequence)] == [SHAPE[2], 1]


def test_a_full_disk_leaves_no_part_of_a_series(tmp_path):
    """The file system has space for some of the slices."""
    class Copy(contracts.Predictor):
        finds = 'image'

        def findings(self, variables, path, probs=False):
            return Findings(image=image_files.read(path).array, image_name='Copy')

    scans.series(tmp_path / 'scan', np.random.default_rng(3).integers(0, 900, (60, 50, 9)).astype(np.int16))
    predict = DicomPredictor(Copy(), DicomOptions(), ('derived',), IDENTITY)
    with full_disk.mounted(tmp_path / 'out', 128):
        filler = full_disk.fill(tmp_path / 'out', 40000)
        with pytest.raises(InputError, match='cannot be written: no space left; expected free space'):
            predict({}, tmp_path / 'scan', tmp_path / 'out')
        assert list((tmp_path / 'out').iterdir()) == [filler]
        filler.unlink()
        predict({}, tmp_path / 'scan', tmp_path / 'out')
        assert len(list((tmp_path / 'out').iterdir())) == 9


def test_other_kinds_of_images_are_refused(tmp_path):
    scans.series(tmp_path, np.zeros(SHAPE, np.int16), SOPClassUID='1.2.840.10008.5.1.4.1.1.7')
    with pytest.raises(InputError, match='Secondary Capture.*expected CT, MR or PET'):
        derived.series(source.read(tmp_path), Findings(image=np.zeros(SHAPE)), IDENTITY)
