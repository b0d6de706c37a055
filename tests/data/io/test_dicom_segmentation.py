"""DICOM segmentations: label maps by segment number, slices that are left out, and what is refused."""

import numpy as np
import pydicom
import pytest

from medjax.data.io import image_files
from medjax.errors import InputError
from tests.data.samples import CORONAL, ORIGIN, SPACING, UIDS, add_group, deflate, multi_frame

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
LABEL = np.zeros((6, 5, 4), np.uint8)
LABEL[1:4, 1:3, 1:3] = 1
LABEL[3:5, 3:, 0] = 3
LABEL[:2, 4, 1:] = 3


def segmentation(path, frames, rows=((1, 0, 0), (0, 1, 0)), spacing=SPACING[2], full=1, **more):
    """Writes a segmentation.

    Args:
      path: of the file.
      frames: slice, segment and pixels `[columns, rows]` of each frame; the segment is None in a label map.
      rows: the directions of a row and of a column.
      spacing: SpacingBetweenSlices; None leaves it out.
      full: the value of pixels within a segment.
      more: elements of the file.
    """
    normal = np.cross(*rows)
    array = np.stack([pixels for _, _, pixels in frames], 2).astype(np.uint8) * full
    multi_frame(path, np.array([ORIGIN + SPACING[2] * place * normal for place, _, _ in frames]), array, rows=rows,
                kind='SEG')
    data = pydicom.dcmread(path)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = '1.2.840.10008.5.1.4.1.1.66.4'
    data.SegmentationType, data.PixelRepresentation = 'BINARY', 0
    bits = 1 if full == 1 and more.get('SegmentationType') != 'LABELMAP' else 8
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    raw = array.transpose(2, 1, 0)
    data.PixelData = (np.packbits(raw.ravel(), bitorder='little') if bits == 1 else raw).tobytes()
    data['PixelData'].VR = 'OB'
    if len(data.PixelData) % 2:
        data.PixelData += b'\0'
    if spacing:
        data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = spacing
    for number, (_, segment, _) in enumerate(frames):
        if segment is not None:
            add_group(data.PerFrameFunctionalGroupsSequence[number], 'SegmentIdentificationSequence',
                      ReferencedSegmentNumber=segment)
    for name, value in more.items():
        setattr(data, name, value)
    data.save_as(path)
    return path


def binary(label=LABEL):
    """The frames of a label that have a segment, segment by segment and from the last slice to the first."""
    return [(place, segment, label[:, :, place] == segment) for segment in (3, 1)
            for place in range(label.shape[2])[::-1] if (label[:, :, place] == segment).any()]


def refused(path, found):
    with pytest.raises(InputError, match='expected') as error:
        image_files.read(path)
    assert found in str(error.value), error.value


@pytest.mark.parametrize('rows', [((1, 0, 0), (0, 1, 0)), CORONAL], ids=['axial', 'coronal'])
@pytest.mark.parametrize('full', [1, 255], ids=['binary', 'fractional'])
@pytest.mark.parametrize('deflated', [False, True])
def test_voxels_have_the_number_of_their_segment(tmp_path, rows, full, deflated):
    more = {} if full == 1 else {'SegmentationType': 'FRACTIONAL', 'MaximumFractionalValue': full}
    path = segmentation(tmp_path / 's' / 's.dcm', binary(), rows, full=full, **more)
    got = image_files.read(deflate(path) if deflated else path)
    assert got.array.dtype == np.uint8
    np.testing.assert_array_equal(got.array, LABEL)
    wanted = np.eye(4)
    wanted[:3, :3], wanted[:3, 3] = np.stack([*rows, np.cross(*rows)], 1) * SPACING, ORIGIN
    np.testing.assert_allclose(got.affine, LPS @ wanted, atol=1e-4)


def test_slices_that_were_left_out_are_empty(tmp_path):
    label = np.zeros((6, 5, 7), np.uint8)
    label[2:4, 1, [1, 2, 6]] = 1
    frames = binary(label)
    got = image_files.read(segmentation(tmp_path / 'a' / 's.dcm', frames))
    np.testing.assert_array_equal(got.array, label[:, :, 1:])
    np.testing.assert_allclose(got.affine[:3, 3], [5, -6, ORIGIN[2] + SPACING[2]], atol=1e-4)
    refused(segmentation(tmp_path / 'b' / 's.dcm', frames, spacing=None), 'slice distances from 2.500 to 10.000 mm')
    refused(segmentation(tmp_path / 'c' / 's.dcm', frames, spacing=2.0), 'multiples of SpacingBetweenSlices')
    # Evenly spaced: every second slice by the header, each one where the header does not fit.
    frames = [(place, 1, LABEL[:, :, 1]) for place in (0, 2, 4)]
    assert image_files.read(segmentation(tmp_path / 'd' / 's.dcm', frames)).array.shape == (6, 5, 5)
    got = image_files.read(segmentation(tmp_path / 'e' / 's.dcm', frames, spacing=9.0))
    assert got.array.shape == (6, 5, 3) and got.affine[2, 2] == pytest.approx(2 * SPACING[2])


def test_segments_that_overlap_are_refused(tmp_path):
    frames = [*binary(), (1, 2, np.pad([[True]], ((2, 3), (2, 2))))]
    refused(segmentation(tmp_path / 'a' / 's.dcm', frames), 'segments 1 and 2 overlap in 1 voxels')


def test_fractions_and_frames_without_segment_are_refused(tmp_path):
    path = segmentation(tmp_path / 'a' / 's.dcm', binary(), full=100, SegmentationType='FRACTIONAL',
                        MaximumFractionalValue=255)
    refused(path, 'FRACTIONAL values between 0 and 255')
    refused(segmentation(tmp_path / 'b' / 's.dcm', [(0, None, LABEL[:, :, 1])]), 'frame 1: no ReferencedSegmentNumber')


def test_label_maps_hold_segment_numbers(tmp_path):
    frames = [(place, None, LABEL[:, :, place]) for place in (3, 0, 1, 2)]
    more = {'SegmentationType': 'LABELMAP', 'SOPClassUID': '1.2.840.10008.5.1.4.1.1.66.7'}
    path = segmentation(tmp_path / 'a' / 's.dcm', frames, **more)
    np.testing.assert_array_equal(image_files.read(path).array, LABEL)
    refused(segmentation(tmp_path / 'b' / 's.dcm', [*frames, frames[0]], **more), '5 frames at 4 positions')


def test_the_segmentation_beside_its_image_is_chosen_by_number(tmp_path):
    multi_frame(tmp_path / 'a' / 'image.dcm', SeriesNumber=1, SeriesInstanceUID=f'{UIDS}4')
    segmentation(tmp_path / 'a' / 's.dcm', binary(), SeriesNumber=300, SeriesDescription='Tumour')
    refused(tmp_path / 'a', '1 (MR, 1 file), 300 (SEG Tumour, 1 file)')
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a' / 'series=300').array, LABEL)
