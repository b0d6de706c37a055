"""Small valid files of every kind that medjax reads, each written by its own library."""

import io
import pathlib
import struct
from collections.abc import Mapping
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Picture

from medjax.data.io import image_files
from medjax.errors import InputError

VOXELS = np.random.default_rng(0).integers(-900, 3000, (6, 5, 4)).astype(np.int16)
OBLIQUE = np.array([[0.8, -0.36, 0.1, -20.0], [0.5, 1.1, -0.2, 31.0], [0.1, 0.2, 2.4, 7.5], [0, 0, 0, 1]])
SPACING, ORIGIN = (0.7, 0.8, 2.5), (-5.0, 6.0, 7.0)
FRAME = (32, 48)  # rows and columns of videos
UIDS, CT = '1.2.826.0.1.3680043.8.498.', '1.2.840.10008.5.1.4.1.1.2'
ENHANCED_MR = '1.2.840.10008.5.1.4.1.1.4.1'
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))  # directions of a row and of a column, in DICOM's LPS
CORONAL = ((0.96, 0.28, 0.0), (0.0, 0.0, -1.0))  # turned about the body's axis
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
UPRIGHT = LPS @ np.array([[0.7, 0, 0, -5.0], [0, 0.8, 0, 6.0], [0, 0, 2.5, 7.0], [0, 0, 0, 1]])  # of `volume`
TAGS = {
    'MediaStorageSOPClassUID': (0x0002, 0x0002, 'UI'), 'MediaStorageSOPInstanceUID': (0x0002, 0x0003, 'UI'),
    'TransferSyntaxUID': (0x0002, 0x0010, 'UI'), 'SOPClassUID': (0x0008, 0x0016, 'UI'),
    'SOPInstanceUID': (0x0008, 0x0018, 'UI'), 'Modality': (0x0008, 0x0060, 'CS'),
    'SliceThickness': (0x0018, 0x0050, 'DS'), 'SpacingBetweenSlices': (0x0018, 0x0088, 'DS'),
    'StudyInstanceUID': (0x0020, 0x000D, 'UI'), 'SeriesInstanceUID': (0x0020, 0x000E, 'UI'),
    'InstanceNumber': (0x0020, 0x0013, 'IS'), 'ImagePositionPatient': (0x0020, 0x0032, 'DS'),
    'ImageOrientationPatient': (0x0020, 0x0037, 'DS'), 'SamplesPerPixel': (0x0028, 0x0002, 'US'),
    'PhotometricInterpretation': (0x0028, 0x0004, 'CS'), 'Rows': (0x0028, 0x0010, 'US'),
    'Columns': (0x0028, 0x0011, 'US'), 'PixelSpacing': (0x0028, 0x0030, 'DS'), 'BitsAllocated': (0x0028, 0x0100, 'US'),
    'BitsStored': (0x0028, 0x0101, 'US'), 'HighBit': (0x0028, 0x0102, 'US'),
    'PixelRepresentation': (0x0028, 0x0103, 'US'), 'RescaleIntercept': (0x0028, 0x1052, 'DS'),
    'RescaleSlope': (0x0028, 0x1053, 'DS'), 'PixelData': (0x7FE0, 0x0010, 'OW'),
}


def volume(path: pathlib.Path, array: np.ndarray = VOXELS, packed: bool = False) -> pathlib.Path:
    """Writes NIfTI (one file or two) or MGH with an oblique affine, NRRD or MetaImage with `SPACING` and `ORIGIN`."""
    if path.name.endswith(('.nii', '.nii.gz')):
        nib.save(nib.Nifti1Image(array, OBLIQUE), path)
    elif path.name.endswith('.hdr'):
        nib.save(nib.Nifti1Pair(array, OBLIQUE), path)
    elif path.name.endswith(('.mgz', '.mgh')):
        affine = OBLIQUE.copy()
        affine[:3, :3] = np.linalg.qr(OBLIQUE[:3, :3])[0] * SPACING  # MGH knows no shear
        nib.save(nib.MGHImage(array, affine), path)
    else:
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
        image.SetSpacing(SPACING)
        image.SetOrigin(ORIGIN)
        sitk.WriteImage(image, str(path), packed)
    return path


def picture(path: pathlib.Path, array: np.ndarray) -> pathlib.Path:
    """Writes `[row, column]` or `[row, column, 3]`; 16 bits in colour by ITK, as Pillow has no such mode."""
    if array.ndim == 3 and array.dtype == np.uint16:
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(path))
    else:
        Picture.fromarray(array).save(path)
    return path


def dicom(elements: Mapping[str, Any]) -> bytes:
    """Encodes a DICOM file of explicit little-endian elements, given by their names in `TAGS`; None leaves one out."""
    parts = {0: b'', 2: b''}
    for name, value in sorted(elements.items(), key=lambda item: TAGS[item[0]]):
        group, element, kind = TAGS[name]
        if value is None:
            continue
        if kind == 'US':
            value = struct.pack('<H', value)
        elif not isinstance(value, bytes):
            value = '\\'.join(str(v) for v in np.atleast_1d(value)).encode()
        value += (b'\0' if kind in ('UI', 'OW') else b' ') * (len(value) % 2)
        size = struct.pack('<HI', 0, len(value)) if kind == 'OW' else struct.pack('<H', len(value))
        parts[2 if group == 2 else 0] += struct.pack('<HH', group, element) + kind.encode() + size + value
    return bytes(128) + b'DICM' + struct.pack('<HH2sHI', 2, 0, b'UL', 4, len(parts[2])) + parts[2] + parts[0]


def slices(folder: pathlib.Path, places=None, rows=AXIAL, names=None, array: np.ndarray = VOXELS, series='1',
           **more) -> list[pathlib.Path]:
    """Writes a CT series, slope 1 and intercept -1024, one slice `array[:, :, k]` at each place.

    Args:
      folder: made where it is not there, with those that it is in.
      places: each slice's position in mm, LPS `[n, 3]`; by default SPACING[2] apart along the normal from ORIGIN.
      rows: the directions of a row and of a column.
      names: of the files.
      array: HU.
      series: the end of the series' UID.
      more: elements of all slices; None leaves one out.
    """
    folder.mkdir(exist_ok=True, parents=True)
    if places is None:
        places = ORIGIN + np.arange(array.shape[2])[:, None] * SPACING[2] * np.cross(*rows)
    paths = [folder / name for name in names or [f'{number:03}.dcm' for number in range(len(places))]]
    for number, (path, place) in enumerate(zip(paths, places)):
        path.write_bytes(dicom(dict(
            MediaStorageSOPClassUID=CT, MediaStorageSOPInstanceUID=f'{UIDS}{series}.{number + 1}',
            TransferSyntaxUID='1.2.840.10008.1.2.1', SOPClassUID=CT, SOPInstanceUID=f'{UIDS}{series}.{number + 1}',
            StudyInstanceUID=f'{UIDS}9', SeriesInstanceUID=f'{UIDS}{series}', Modality='CT',
            InstanceNumber=number + 1, ImagePositionPatient=np.round(place, 6), ImageOrientationPatient=np.ravel(rows),
            PixelSpacing=(SPACING[1], SPACING[0]), SliceThickness=1.0, Rows=array.shape[1], Columns=array.shape[0],
            SamplesPerPixel=1, PhotometricInterpretation='MONOCHROME2', BitsAllocated=16, BitsStored=16, HighBit=15,
            PixelRepresentation=0, RescaleSlope=1, RescaleIntercept=-1024,
            PixelData=(array[:, :, number].T + 1024).astype('<u2').tobytes()) | more))
    return paths


def multi_frame(path: pathlib.Path, places=None, array: np.ndarray = VOXELS, slopes=None, rows=AXIAL, kind: str = 'MR',
                **more) -> pathlib.Path:
    """Writes an enhanced image with functional groups: a frame `array[:, :, k]` of stored values at each place.

    Args:
      path: of the file, in a folder that is made where it is not there.
      places: each frame's position in mm, LPS `[n, 3]`; by default as for `slices`.
      array: stored values.
      slopes: of the frames.
      rows: the directions of a row and of a column.
      kind: modality.
      more: elements of the file.
    """
    pydicom = pytest.importorskip('pydicom')
    path.parent.mkdir(exist_ok=True)
    if places is None:
        places = ORIGIN + np.arange(array.shape[2])[:, None] * SPACING[2] * np.cross(*rows)
    data = pydicom.dcmread(io.BytesIO(dicom(dict(
        MediaStorageSOPClassUID=ENHANCED_MR, MediaStorageSOPInstanceUID=f'{UIDS}3.1', SOPClassUID=ENHANCED_MR,
        TransferSyntaxUID='1.2.840.10008.1.2.1', SOPInstanceUID=f'{UIDS}3.1', SeriesInstanceUID=f'{UIDS}3',
        Modality=kind, Rows=array.shape[1], Columns=array.shape[0], SamplesPerPixel=1,
        PhotometricInterpretation='MONOCHROME2', BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=1))))
    data.NumberOfFrames, data.PixelData = len(places), array.transpose(2, 1, 0).astype('<i2').tobytes()
    data['PixelData'].VR = 'OW'
    shared, data.PerFrameFunctionalGroupsSequence = pydicom.Dataset(), pydicom.Sequence()
    add_group(shared, 'PlaneOrientationSequence', ImageOrientationPatient=list(np.ravel(rows)))
    add_group(shared, 'PixelMeasuresSequence', PixelSpacing=[SPACING[1], SPACING[0]], SliceThickness=1.0)
    data.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
    for number, place in enumerate(places):
        frame = pydicom.Dataset()
        add_group(frame, 'PlanePositionSequence', ImagePositionPatient=list(np.round(place, 6)))
        if slopes is not None:
            add_group(frame, 'PixelValueTransformationSequence', RescaleSlope=slopes[number], RescaleIntercept=5)
        data.PerFrameFunctionalGroupsSequence.append(frame)
    for name, value in more.items():
        setattr(data, name, value)
    data.save_as(path)
    return path


def deflate(path: pathlib.Path) -> pathlib.Path:
    """Writes a DICOM file again in the deflated transfer syntax."""
    import pydicom
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
    return path


def add_group(groups, name: str, **elements) -> None:
    """Adds a sequence of one item, such as a functional group, to a pydicom data set."""
    import pydicom
    item = pydicom.Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    setattr(groups, name, pydicom.Sequence([item]))


def add_palette(path: pathlib.Path, tables: np.ndarray, bits: int) -> None:
    """Adds tables `[3, 256]` of red, green and blue of 8 or 16 bits to a DICOM file."""
    import pydicom
    data = pydicom.dcmread(path)
    data.PhotometricInterpretation = 'PALETTE COLOR'
    for name, table in zip(('Red', 'Green', 'Blue'), tables):
        name = f'{name}PaletteColorLookupTable'
        setattr(data, f'{name}Descriptor', [256, 0, bits])
        setattr(data, f'{name}Data', table.astype(f'<u{bits // 8}').tobytes())
        data[f'{name}Descriptor'].VR = 'US'
    data.save_as(path)


def video_frame(number: int, shape: tuple[int, int] = FRAME) -> np.ndarray:
    """A grey frame `[rows, columns, 3]` whose brightness encodes its number."""
    return np.full((*shape, 3), 20 + 16 * number, np.uint8)


def video(path: pathlib.Path, count: int = 12, codec: str = 'libx264', rate: int = 10, times=None, key_frames: int = 6,
          **options) -> pathlib.Path:
    """Writes a video of `video_frame` frames.

    Args:
      path: the suffix is the format.
      count: frames.
      codec: of FFmpeg.
      rate: frames a second.
      times: of the frames, in units of 1 / rate; by default evenly spaced.
      key_frames: frames from one key frame to the next.
      options: of the container.
    """
    av = pytest.importorskip('av')
    with av.open(str(path), 'w', format=path.suffix[1:], options=options) as container:
        stream = container.add_stream(codec, rate=rate, options={'g': str(key_frames)})
        stream.height, stream.width = FRAME
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(video_frame(number), 'rgb24')
            if times:
                frame.pts = times[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tumour_masks(folder: pathlib.Path) -> pathlib.Path:
    """Writes three masks of slabs with thick slices, under the names of the tumour files of pyradiomics."""
    for number, name in enumerate(('lung1', 'brain2', 'breast1')):
        array = np.zeros((6, 20, 20), np.uint8)
        array[1:5, 3:9 + number, 4:16] = 1
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.0, 1.0, 3.0))
        sitk.WriteImage(image, str(folder / f'{name}_label.nrrd'))
    return folder


def refused(path: pathlib.Path, *parts: str) -> None:
    """Reads a file that must be refused in one line that has its path and the given parts."""
    with pytest.raises(InputError) as error:
        image_files.read(path)
    line = str(error.value)
    assert str(path) in line and 'expected' in line and '\n' not in line, line
    for part in parts:
        assert part in line
