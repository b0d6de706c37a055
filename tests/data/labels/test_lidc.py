"""Nodules of LIDC-IDRI: borders as pylidc has them, the vote of the readings, holes, and what is refused."""

import numpy as np
import pytest

from medjax.data.io import image_files
from medjax.data.io.geometry import Image
from medjax.data.labels import lidc, named_segments
from medjax.errors import InputError
from tests.data import samples

SQUARE = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (4, 1), (4, 2), (4, 3), (4, 4), (3, 4), (2, 4), (1, 4), (0, 4),
          (0, 3), (0, 2), (0, 1)]  # the pixels around a square of 3 × 3


def message(*readings):
    """A file with readings: for each nodule regions of a height, whether it is included, and the border."""
    text = '<?xml version="1.0"?><LidcReadMessage xmlns="http://www.nih.gov">'
    for nodules in readings:
        text += '<readingSession>'
        for regions in nodules:
            text += '<unblindedReadNodule><noduleID>1</noduleID>'
            for height, kept, border in regions:
                text += f'<roi><imageZposition>{height}</imageZposition><inclusion>{str(kept).upper()}</inclusion>'
                text += ''.join(f'<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>' for x, y in border)
                text += '</roi>'
            text += '</unblindedReadNodule>'
        text += '</readingSession>'
    return f'{text}</LidcReadMessage>'


@pytest.fixture
def image(tmp_path):
    """Slices at 7, 9.5, 12 and 14.5 mm."""
    samples.slices(tmp_path / 'scan')
    return image_files.read(tmp_path / 'scan')


def test_voxels_of_two_readings_are_in_the_label(tmp_path, image):
    one = [[(9.5, True, SQUARE), (12.0, True, SQUARE), (12.0, False, [(2, 1), (1, 2), (2, 3), (3, 2)])]]
    small = [[(14.5, True, [(2, 2)])]]  # below 3 mm
    (tmp_path / 'a.xml').write_text(message(one, [*one, *small], small, [[(7.0, True, SQUARE)]]))
    label = named_segments.read(tmp_path / 'a.xml', image, ('background', 'Nodule'))
    expected = np.zeros((6, 5, 4), np.uint8)
    expected[1:4, 1:4, 1:3] = 1
    expected[[2, 1, 2, 3, 2], [1, 2, 3, 2, 2], 2] = 0  # the hole and its border
    np.testing.assert_array_equal(label.array, expected)


@pytest.mark.parametrize('text, expected', [
    (message([[(8.2, True, SQUARE)]]), 'a border at z = 8.2 mm, at no slice'), ('<a/>', 'a with 0 readings'),
    (message([[(7.0, True, SQUARE)]])[:-20], 'not readable as XML'),
    ('<!DOCTYPE a [<!ENTITY b "c">]><a/>', 'with a document type'),
    (message([[(7.0, True, SQUARE)]]).replace('<inclusion>TRUE</inclusion>', ''), 'roi without inclusion')])
def test_other_files_are_refused(tmp_path, image, text, expected):
    (tmp_path / 'a.xml').write_text(text)
    with pytest.raises(InputError, match=expected):
        lidc.read(tmp_path / 'a.xml', image)


def test_borders_of_the_database_of_pylidc(tmp_path, monkeypatch):
    """All contours of some nodules, filled by pylidc."""
    monkeypatch.setattr(np, 'int', int, raising=False)  # of NumPy before 1.24
    pylidc = pytest.importorskip('pylidc')
    for number in (1, 40, 77, 500):
        annotation = pylidc.query(pylidc.Annotation).filter(pylidc.Annotation.id == number).one()
        theirs, box = annotation.boolean_mask(), annotation.bbox_matrix()
        heights = sorted({contour.image_z_position for contour in annotation.contours})
        step = min(np.diff(heights), default=1.0)
        affine = np.diag([1.0, 1.0, step, 1.0])
        affine[2, 3] = heights[0]
        regions = [(contour.image_z_position, contour.inclusion, contour.to_matrix(False)[:, ::-1])
                   for contour in annotation.contours]
        (tmp_path / 'a.xml').write_text(message([regions]))
        shape = (512, 512, round((heights[-1] - heights[0]) / step) + 1)
        label = lidc.read(tmp_path / 'a.xml', Image(np.zeros(shape, np.uint8), affine))
        (i0, i1), (j0, j1) = box[:2]
        found = label.array[j0:j1 + 1, i0:i1 + 1].transpose(1, 0, 2)  # theirs are rows and columns
        assert label.array.sum() == found.sum() > 0
        np.testing.assert_array_equal(found, theirs)
