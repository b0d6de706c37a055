"""Complete DICOM series on an oblique grid, as a scanner writes them, and the programs that check DICOM files."""

import importlib.util
import pathlib
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset

UIDS = '1.2.826.0.1.3680043.8.498.77'
SPACING, THICKNESS, STEP = (0.7, 0.9), 4.0, 5.0  # mm between columns and rows; of a slice; from slice to slice
CT, MR = '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.5.1.4.1.1.4'
PLAIN = np.eye(3)


def turned(degrees=(20, -15, 30)):
    """Directions of a row, a column and the slices as columns, turned about all three axes."""
    a, b, c = np.deg2rad(degrees)
    about = [np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]),
             np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]),
             np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])]
    return about[2] @ about[1] @ about[0]


def series(folder, array, axes=None, spacing_tag=2.0, patient='P7', name='Doe^Jane', study='1', number=3, step=STEP,
           **more):
    """Writes a CT series, in files whose names are in no order of slices.

    Args:
      folder: made where it is not there.
      array: HU `[columns, rows, slices]`.
      axes: `[3, 3]` directions of a row, a column and from slice to slice in LPS; oblique by default.
      spacing_tag: SpacingBetweenSlices, which is wrong by default, as some scanners write it.
      patient: PatientID.
      name: PatientName.
      study: the end of the study's UID.
      number: of the series.
      step: mm from slice to slice.
      more: further elements of all slices; None removes one.

    Returns:
      The affine of the array to LPS mm.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    axes = turned() if axes is None else axes
    count, affine = array.shape[2], np.eye(4)
    affine[:3, :3] = axes * [*SPACING, step]
    affine[:3, 3] = -30.0, 12.5, 101.0
    for place in range(count):
        meta = FileMetaDataset()
        uid = f'{UIDS}.{study}.{number}.{place + 1}'
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = more.get('SOPClassUID', CT), uid
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data = FileDataset('', {}, file_meta=meta, preamble=bytes(128))
        elements = dict(
            SOPClassUID=CT, SOPInstanceUID=uid, StudyInstanceUID=f'{UIDS}.{study}',
            SeriesInstanceUID=f'{UIDS}.{study}.{number}', FrameOfReferenceUID=f'{UIDS}.{study}.99', PatientID=patient,
            PatientName=name, PatientBirthDate='19500102', PatientSex='F', StudyID='S1', StudyDate='20250304',
            StudyTime='101112', AccessionNumber='A1', ReferringPhysicianName='Ref^R', Modality='CT',
            SeriesNumber=number, SeriesDate='20250304', SeriesTime='101112', ContentDate='20250304',
            ContentTime='101112', SeriesDescription='Abdomen', BodyPartExamined='ABDOMEN', Manufacturer='ACME',
            AcquisitionNumber=1, InstanceNumber=count - place, ImageType=['ORIGINAL', 'PRIMARY', 'AXIAL'],
            PositionReferenceIndicator='', PatientPosition='HFS',
            ImagePositionPatient=list(np.round((affine @ [0, 0, place, 1])[:3], 6)),
            ImageOrientationPatient=list(np.round(axes[:, :2].T.ravel(), 9)), PixelSpacing=[SPACING[1], SPACING[0]],
            SliceThickness=THICKNESS, SpacingBetweenSlices=spacing_tag, KVP=120, Rows=array.shape[1],
            Columns=array.shape[0], SamplesPerPixel=1, PhotometricInterpretation='MONOCHROME2', BitsAllocated=16,
            BitsStored=16, HighBit=15, PixelRepresentation=0, RescaleIntercept=-1024, RescaleSlope=1,
            RescaleType='HU', WindowCenter=40, WindowWidth=400,
            PixelData=(array[:, :, place].T + 1024).astype('<u2').tobytes()) | more
        for key, value in elements.items():
            if value is not None:
                setattr(data, key, value)
        data['PixelData'].VR = 'OW'
        data.save_as(folder / f'{(place * 7) % 97:04}.dcm', enforce_file_format=True)
    return affine


def program(package, name):
    """The path of a program that a package from PyPI has; the test is skipped where it is not installed."""
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f'{package} is not installed: pip install medjax[test]')
    return str(pathlib.Path(found.submodule_search_locations[0], 'bin', name))


def check(path, allowed=()):
    """Checks a DICOM file by dciodvfy, the validator of its standard: no errors but those that are allowed."""
    ran = subprocess.run([program('dicom3tools', 'dciodvfy'), '-new', str(path)], capture_output=True, text=True)
    lines = [line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith('Error')]
    assert not [line for line in lines if not any(part in line for part in allowed)], '\n'.join(lines[:20])
