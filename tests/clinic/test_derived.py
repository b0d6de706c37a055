"""Derived series: the values that are read back, and what they refer to."""

import numpy as np
import pydicom
import pytest

pytest.importorskip('highdicom')

from medjax.clinic import derived, source
from medjax.clinic.predictor import encoded
from medjax.core.contracts import Findings
from medjax.data.io import image_files
from medjax.errors import InputError
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


def test_other_kinds_of_images_are_refused(tmp_path):
    scans.series(tmp_path, np.zeros(SHAPE, np.int16), SOPClassUID='1.2.840.10008.5.1.4.1.1.7')
    with pytest.raises(InputError, match='Secondary Capture.*expected CT, MR or PET'):
        derived.series(source.read(tmp_path), Findings(image=np.zeros(SHAPE)), IDENTITY)
