"""How new inputs are outside of the ranges of the training data: by hand for each of the kinds."""

import numpy as np
import pytest

from medjax.data import training_ranges
from medjax.data.io.geometry import Image
from medjax.data.source import Series


def image(spacing=(1.0, 1.0, 5.0), order=(0, 1, 2), low=0, high=1000, turn=0.0, modality='CT'):
    """Values evenly from low to high; the array's axes are those of the patient in an order, turned about z."""
    affine = np.zeros((4, 4))
    affine[order, (0, 1, 2)] = np.array(spacing)[list(order)]
    angle = np.deg2rad(turn)
    affine[:2] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ affine[:2]
    affine[3, 3] = 1
    return Image(np.linspace(low, high, 10 * 11 * 6).reshape(10, 11, 6), affine, 'x', modality)


RANGES = training_ranges.of_images(map(training_ranges.of_image, [image(), image((0.8, 0.9, 4.0)), image(low=-200)]))


def test_the_ranges_of_images():
    assert RANGES['spacing'] == [[0.8, 0.9, 4.0], [1, 1, 5]] and RANGES['plane'] == ['axial']
    assert RANGES['modality'] == ['CT'] and RANGES['tilt'] == pytest.approx(0, abs=1e-4)
    assert RANGES['intensity'] == [[pytest.approx(-200 + 0.005 * 1200)], [pytest.approx(995)]]


@pytest.mark.parametrize('new, expected', [
    (image((0.9, 0.95, 4.4)), []),
    (image((0.75, 0.85, 5.4)), []),  # within 10 %
    (image(order=(2, 0, 1)), []),  # how the axes are stored does not matter
    (image((0.5, 0.5, 5.0)), ['voxels of 0.5×0.5×5 mm, in training 0.8×0.9×4 to 1×1×5']),
    (image((5.0, 1.0, 1.0)), ['voxels of 5×1×1 mm, in training 0.8×0.9×4 to 1×1×5',
                              'sagittal slices, in training axial']),
    (image((1.0, 5.0, 1.0)), ['voxels of 1×5×1 mm, in training 0.8×0.9×4 to 1×1×5',
                              'coronal slices, in training axial']),
    (image(turn=8), []), (image(turn=25), ["axes 25° from the patient's, in training at most 0°"]),
    (image(modality='MR'), ['modality MR, in training CT']), (image(modality=''), []),
    (image(low=-400, high=1200), []),  # a quarter of the width, 297, beyond either end is not reported
    (image(low=-900), ['intensities from -890.5 to 990.5, in training -194 to 995']),
    (image(high=4000), ['intensities from 20 to 3980, in training -194 to 995'])])
def test_an_image_that_is_outside(new, expected):
    assert training_ranges.differences(new, RANGES) == expected
    assert training_ranges.differences(new, {}) == []  # a run from before the ranges were recorded


def test_a_reader_notes_what_it_read():
    reader = training_ranges.CheckedReader(lambda path: image(modality=path), RANGES)
    assert reader('MR').modality == 'MR' and reader('CT').modality == 'CT'
    assert reader.notes == ['MR: modality MR, in training CT']
    other = training_ranges.CheckedReader(lambda path: [1, 2], RANGES)
    assert other('table.csv') == [1, 2] and not other.notes


def test_columns_of_tables():
    ranges = training_ranges.of_columns([{'age': 40.0, 'stage': 1.0}, {'age': 70.0, 'stage': np.nan}, {'age': 55.0}],
                                        ['age', 'stage', 'none'])
    assert ranges == {'age': [40, 70], 'stage': [1, 1]}
    known = {'columns': ranges | {'albumin': [2.0, 4.0]}, 'measured': ['albumin']}
    new = [{'age': 40.0, 'stage': 1.0}, {'age': 18.0}, {'age': 90.0, 'stage': 3.0}]
    series = [Series(np.array([0.0, 1.0]), np.array([[3.0], [9.5]]))]
    assert training_ranges.table_warning(known, new, series) == (
        '\nwarning: outside the training range: of 3 patients: age of 2 (18 to 90, in training 40 to 70), '
        'stage of 1 (1 to 3, in training 1 to 1)'
        '\nwarning: outside the training range: of 2 visits: albumin of 1 (3 to 9.5, in training 2 to 4)')
    assert training_ranges.table_warning(known, new[:1]) == '' == training_ranges.table_warning({}, new, series)
