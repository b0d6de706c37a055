import io

import numpy as np
import pytest
from matplotlib import colors
from PIL import Image as Picture

from medjax.errors import InputError
from medjax.report import anatomy, charts, draw
from medjax.report.anatomy import Snapshot, close_up, fullest, ranked, slice_dice
from medjax.report.style import CONFUSED, MISSED, SPURIOUS


def snapshot(label, pred=None, image=None, spacing=(1.0, 1.0, 1.0), kind='volume', confidence=None):
    pred = label if pred is None else pred
    image = np.zeros(label.shape, np.float32) if image is None else image
    return Snapshot('case', image, label, pred, confidence, spacing, kind)


def marked(*position, shape=(10, 12, 14), kind='volume', spacing=(1.0, 1.0, 1.0)):
    image = np.zeros(shape, np.float32)
    image[position] = 1
    return snapshot(np.zeros(shape, np.uint8), image=image, kind=kind, spacing=spacing)


# Arrays are in RAS+: a high first index is the patient's right, a high second one the front, a high third one the head.
@pytest.mark.parametrize('axis, left, right, top, bottom', [
    (2, (9, 6, 7), (0, 6, 7), (5, 11, 7), (5, 0, 7)),      # axial: right on the left, front up
    (1, (9, 6, 7), (0, 6, 7), (5, 6, 13), (5, 6, 0)),      # coronal: right on the left, head up
    (0, (5, 11, 7), (5, 0, 7), (5, 6, 13), (5, 6, 0))])    # sagittal: front on the left, head up
def test_slices_are_turned_as_radiologists_read_them(axis, left, right, top, bottom):
    for position, edge in ((left, np.s_[:, 0]), (right, np.s_[:, -1]), (top, np.s_[0]), (bottom, np.s_[-1])):
        case = marked(*position)
        plane = case.cut(case.image, axis, position[axis])
        assert plane.sum() == 1 and plane[edge].sum() == 1
    letters = anatomy.LETTERS[axis]
    assert letters == {2: ('R', 'L', 'A', 'P'), 1: ('R', 'L', 'S', 'I'), 0: ('A', 'P', 'S', 'I')}[axis]


def test_a_photograph_is_not_turned():
    case = marked(8, 1, 0, shape=(10, 12, 1), kind='image')  # column 8, row 1 from above
    plane = case.cut(case.image, 2, 0)
    assert plane.shape == (12, 10) and plane[1, 8] == 1 and case.axis == 2


def pixels(tile):
    return np.asarray(Picture.open(io.BytesIO(tile.png)).convert('RGB')).astype(int)


def test_a_drawn_slice_has_the_patients_right_on_the_left_and_the_shape_of_the_body():
    image = np.zeros((20, 30, 5), np.float32)
    image[-6:] = 1  # the patient's right third
    case = snapshot(np.zeros(image.shape, np.uint8), image=image, spacing=(2.0, 1.0, 4.0))
    drawn = pixels(draw.case_tiles(case, 2, 2, ('background', 'organ'), (0, 1))[0])
    height, width = drawn.shape[:2]
    quarter = drawn[height // 8:height // 3].mean(-1)  # between what is written at the edges
    assert quarter[:, width // 10:width // 5].min() > 200 and quarter[:, width // 2:width * 9 // 10].max() < 50
    assert height / width == pytest.approx(30 * 1.0 / (20 * 2.0), abs=0.02)


def test_thick_slices_are_shown_as_acquired():
    shape = np.zeros((4, 4, 4), np.uint8)
    assert snapshot(shape, spacing=(1.0, 1.0, 1.2)).axis == 2 and snapshot(shape, spacing=(1.0, 5.0, 1.0)).axis == 1
    assert snapshot(shape, spacing=(3.0, 1.0, 1.5)).axis == 0
    assert snapshot(shape, spacing=(3.0, 2.0, 1.5)).pixel(0) == (1.5, 2.0)


def test_errors_have_a_colour_for_each_kind():
    label, pred = np.zeros((3, 4, 1), np.uint8), np.zeros((3, 4, 1), np.uint8)
    label[0], pred[1], label[2], pred[2] = 1, 1, 1, 2
    drawn = pixels(draw.case_tiles(snapshot(label, pred, kind='image'), 2, 0, ('no', 'a', 'b'), (0, 1))[3])
    row, width = drawn[drawn.shape[0] // 2], drawn.shape[1]
    got = [colors.to_hex(row[int(width * place)] / 255).upper() for place in (1 / 6, 1 / 2, 5 / 6)]
    assert got == [MISSED, SPURIOUS, CONFUSED]


def test_what_is_not_judged_is_no_error():
    label, pred = np.full((6, 6, 1), 255, np.uint8), np.ones((6, 6, 1), np.uint8)
    case = snapshot(label, pred, kind='image')
    assert not case.marked.any() and np.isnan(slice_dice(case, 2, 2)).all()
    assert pixels(draw.case_tiles(case, 2, 0, ('no', 'a'), (0, 1))[3]).max() == 0


def stack(*overlaps):
    """A slice per number: 10 voxels of truth of which so many are found, and no other; None for an empty one."""
    label, pred = np.zeros((10, 2, len(overlaps)), np.uint8), np.zeros((10, 2, len(overlaps)), np.uint8)
    for number, found in enumerate(overlaps):
        if found is not None:
            label[:, 0, number] = 1
            pred[:found, 0, number] = 1
    return snapshot(label, pred)


def test_dice_of_slices_by_hand():
    got = slice_dice(stack(10, 5, 0, None), 2, 2)[:, 0]
    assert got[:3] == pytest.approx([1.0, 10 / 15, 0.0]) and np.isnan(got[3])


def test_best_median_and_worst_slice():
    got = ranked(stack(None, 2, 9, 4, 8, 6, None), 2, 2)
    assert {place: index for place, (index, _) in got.items()} == {'Best': 2, 'Median': 5, 'Worst': 1}
    assert got['Worst'][1] == pytest.approx(4 / 12)
    assert ranked(stack(None, 3, 4), 2, 2) == {}  # two slices have no median


def test_a_last_scrap_of_a_structure_is_not_the_worst_slice():
    case = stack(9, 8, 7, 0)
    case.label[1:, 0, 3] = 0  # one voxel, missed
    assert ranked(case, 2, 2, share=0.2)['Worst'][0] == 2 and ranked(case, 2, 2, share=0.05)['Worst'][0] == 3


def test_the_fullest_slice():
    label, pred = np.zeros((5, 5, 7), np.uint8), np.zeros((5, 5, 7), np.uint8)
    assert fullest(snapshot(label, pred), 2) == 3
    pred[:3, :, 5] = 1
    assert fullest(snapshot(label, pred), 2) == 5
    label[0, 0, 1], label[:, :, 2] = 1, 255
    assert fullest(snapshot(label, pred), 2) == 1


def test_a_close_up_holds_all_that_is_marked_in_the_pictures_proportions():
    mask = np.zeros((400, 200), bool)
    mask[390:, 20:50] = True
    rows, columns = close_up(mask)
    assert mask[rows, columns].sum() == mask.sum()
    assert (rows.stop - rows.start) / (columns.stop - columns.start) == pytest.approx(2, abs=0.05)
    mask[:250] = True
    assert close_up(mask) is None and close_up(np.zeros((9, 9), bool)) is None


def test_calibration_by_hand():
    pred = np.array([1, 1, 1, 1, 0, 0, 0, 1], np.uint8).reshape(8, 1, 1)
    label = np.array([1, 1, 1, 0, 1, 0, 0, 255], np.uint8).reshape(8, 1, 1)
    # The sixth is sure background, the seventh outside of what the network saw, the eighth not judged.
    confidence = np.array([0.75, 0.75, 0.75, 0.75, 0.55, 0.999, 0.0, 0.6]).reshape(8, 1, 1)
    bins = charts.reliability([snapshot(label, pred, confidence=confidence)], 2)
    assert bins == pytest.approx(np.array([[1, 4], [0.55, 0.75], [0.0, 0.75]]))
    assert charts.calibration_error(bins) == pytest.approx(0.55 / 5)
    assert charts.reliability([snapshot(label, pred)], 2) is None


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut short', None])
def test_a_damaged_snapshot_is_named(tmp_path, content):
    path = tmp_path / 'head.npz'
    if content is None:
        three = np.zeros((2, 2, 2))
        np.savez(path, image=three, label=three[:1], pred=three, spacing=np.ones(3), kind='volume')
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match='head.npz'):
        anatomy.load(path)
