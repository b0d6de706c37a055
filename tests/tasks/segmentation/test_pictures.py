import io

import numpy as np
import pytest
from matplotlib import colors
from PIL import Image as Picture

from medjax.report.style import CONFUSED, MISSED, SPURIOUS
from medjax.tasks.segmentation.pictures import case_tiles
from medjax.tasks.segmentation.slices import slice_dice
from tests.tasks.segmentation.snapshots import snapshot


def pixels(tile):
    return np.asarray(Picture.open(io.BytesIO(tile.png)).convert('RGB')).astype(int)


def test_a_drawn_slice_has_the_patients_right_on_the_left_and_the_shape_of_the_body():
    image = np.zeros((20, 30, 5), np.float32)
    image[-6:] = 1  # the patient's right third
    case = snapshot(np.zeros(image.shape, np.uint8), image=image, spacing=(2.0, 1.0, 4.0))
    drawn = pixels(case_tiles(case, 2, 2, ('background', 'organ'), (0, 1))[0])
    height, width = drawn.shape[:2]
    quarter = drawn[height // 8:height // 3].mean(-1)  # between what is written at the edges
    assert quarter[:, width // 10:width // 5].min() > 200 and quarter[:, width // 2:width * 9 // 10].max() < 50
    assert height / width == pytest.approx(30 * 1.0 / (20 * 2.0), abs=0.02)


def test_errors_have_a_colour_for_each_kind():
    label, pred = np.zeros((3, 4, 1), np.uint8), np.zeros((3, 4, 1), np.uint8)
    label[0], pred[1], label[2], pred[2] = 1, 1, 1, 2
    drawn = pixels(case_tiles(snapshot(label, pred, kind='image'), 2, 0, ('no', 'a', 'b'), (0, 1))[3])
    row, width = drawn[drawn.shape[0] // 2], drawn.shape[1]
    got = [colors.to_hex(row[int(width * place)] / 255).upper() for place in (1 / 6, 1 / 2, 5 / 6)]
    assert got == [MISSED, SPURIOUS, CONFUSED]


def test_ignored_pixels_are_no_error():
    label, pred = np.full((6, 6, 1), 255, np.uint8), np.ones((6, 6, 1), np.uint8)
    case = snapshot(label, pred, kind='image')
    assert not case.foreground.any() and np.isnan(slice_dice(case, 2, 2)).all()
    assert pixels(case_tiles(case, 2, 0, ('no', 'a'), (0, 1))[3]).max() == 0
