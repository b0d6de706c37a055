import numpy as np
import pytest

from medjax.report.draw import SIDES
from medjax.tasks.segmentation.slices import close_up, largest_slice, ranked_slices, slice_dice
from tests.tasks.segmentation.snapshots import snapshot


def voxel(*position, shape=(10, 12, 14), kind='volume', spacing=(1.0, 1.0, 1.0)):
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
        case = voxel(*position)
        plane = case.plane(case.image, axis, position[axis])
        assert plane.sum() == 1 and plane[edge].sum() == 1
    letters = SIDES[axis]
    assert letters == {2: ('R', 'L', 'A', 'P'), 1: ('R', 'L', 'S', 'I'), 0: ('A', 'P', 'S', 'I')}[axis]


def test_a_photograph_is_not_turned():
    case = voxel(8, 1, 0, shape=(10, 12, 1), kind='image')  # column 8, row 1 from above
    plane = case.plane(case.image, 2, 0)
    assert plane.shape == (12, 10) and plane[1, 8] == 1 and case.axis == 2


def test_thick_slices_are_shown_as_acquired():
    shape = np.zeros((4, 4, 4), np.uint8)
    assert snapshot(shape, spacing=(1.0, 1.0, 1.2)).axis == 2 and snapshot(shape, spacing=(1.0, 5.0, 1.0)).axis == 1
    assert snapshot(shape, spacing=(3.0, 1.0, 1.5)).axis == 0
    assert snapshot(shape, spacing=(3.0, 2.0, 1.5)).pixel_size(0) == (1.5, 2.0)


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
    got = ranked_slices(stack(None, 2, 9, 4, 8, 6, None), 2, 2)
    assert {place: index for place, (index, _) in got.items()} == {'Best': 2, 'Median': 5, 'Worst': 1}
    assert got['Worst'][1] == pytest.approx(4 / 12)
    assert ranked_slices(stack(None, 3, 4), 2, 2) == {}  # two slices have no median


def test_a_slice_with_a_small_part_of_a_structure_is_not_the_worst_one():
    case = stack(9, 8, 7, 0)
    case.label[1:, 0, 3] = 0  # one voxel, missed
    assert ranked_slices(case, 2, 2, share=0.2)['Worst'][0] == 2
    assert ranked_slices(case, 2, 2, share=0.05)['Worst'][0] == 3


def test_the_slice_with_the_largest_area():
    label, pred = np.zeros((5, 5, 7), np.uint8), np.zeros((5, 5, 7), np.uint8)
    assert largest_slice(snapshot(label, pred), 2) == 3
    pred[:3, :, 5] = 1
    assert largest_slice(snapshot(label, pred), 2) == 5
    label[0, 0, 1], label[:, :, 2] = 1, 255
    assert largest_slice(snapshot(label, pred), 2) == 1


def test_a_close_up_contains_the_whole_mask_and_keeps_the_aspect_ratio():
    mask = np.zeros((400, 200), bool)
    mask[390:, 20:50] = True
    rows, columns = close_up(mask)
    assert mask[rows, columns].sum() == mask.sum()
    assert (rows.stop - rows.start) / (columns.stop - columns.start) == pytest.approx(2, abs=0.05)
    mask[:250] = True
    assert close_up(mask) is None and close_up(np.zeros((9, 9), bool)) is None
