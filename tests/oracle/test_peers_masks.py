"""The numeric test cases of MONAI and of DeepMind's surface-distance for masks: inputs, and the values they expect.

Sources: MONAI tests/metrics/test_compute_meandice.py, test_compute_confusion_matrix.py, test_hausdorff_distance.py,
test_surface_distance.py and test_surface_dice.py; surface-distance surface_distance_test.py.
"""

import numpy as np
import pytest

from medjax.metrics import surface_distance
from medjax.tasks.segmentation.mask_metrics import case_metrics

VOXELS, ELEMENTS = surface_distance.VOXELS, surface_distance.ELEMENTS
NAN = float('nan')
# Three one-hot channels of two images of 2 × 2 pixels, rows one after another, predicted and true.
PREDICTED = [['0100', '0011', '1000'], ['0001', '1000', '0110']]
TRUE = [['0001', '1010', '0100'], ['0001', '1100', '0010']]
WORSE = [['1110', '0100', '0111'], ['1011', '0111', '0110']]
SPARSE = [['1111', '0000', '0000'], ['0001', '1100', '0010']]


def mask(text):
    return np.array(list(text), int).reshape(2, -1, 1)


def metrics(predicted, true, **options):
    found = case_metrics(predicted, true, (1, 1, 1), ('background', 'x'), **options)
    return {name.removesuffix('_x'): value for name, value in found.items()}


@pytest.mark.parametrize('predicted, true, dice', [
    ('1001', '1011', 0.8), (PREDICTED[0][1], TRUE[0][1], 0.5), (PREDICTED[0][2], TRUE[0][2], 0.0),
    (PREDICTED[1][1], TRUE[1][1], 0.6667), (PREDICTED[1][2], TRUE[1][2], 0.6667), ('111111111', '111111111', 1.0),
    ('111111111', '000000000', 0.0)])
def test_monai_dice(predicted, true, dice):
    size = 2 if len(predicted) == 4 else 3
    masks = (np.array(list(text), int).reshape(size, -1, 1) for text in (predicted, true))
    assert metrics(*masks, surfaces=None)['dice'] == pytest.approx(dice, abs=1e-4)


@pytest.mark.parametrize('true, by_class, mean', [(SPARSE, [0.6786, 0.4, 0.6667], 0.689683)])
def test_monai_means_of_dice_leave_out_absent_structures(true, by_class, mean):
    """MONAI leaves out each class that is not in the truth; medjax gives it 0 where it is predicted."""
    dice = np.array([[metrics(mask(p), mask(t), surfaces=None)['dice'] for p, t in zip(*pair)]
                     for pair in zip(WORSE, true)])
    absent = np.array([['1' not in text for text in image] for image in true])
    assert (dice[absent] == 0).all() and absent.sum() == 2
    kept = np.where(absent, NAN, dice)
    np.testing.assert_allclose(np.nanmean(kept, 0), by_class, atol=1e-4)
    assert np.nanmean(np.nanmean(kept, 1)) == pytest.approx(mean, abs=1e-5)


def test_convention_both_masks_empty():
    """MONAI's Dice of two empty masks is NaN, or 1 with `ignore_empty=False`; medjax's is NaN."""
    assert np.isnan(metrics(mask('0000'), mask('0000'), surfaces=None)['dice'])


RATES = {'sensitivity': [[0, 0.5, 0], [1, 0.5, 1]], 'precision': [[0, 0.5, 0], [1, 1, 0.5]],
         'iou': [[0, 1 / 3, 0], [1, 0.5, 0.5]], 'dice': [[0, 0.5, 0], [1, 2 / 3, 2 / 3]]}
MEANS = {'sensitivity': [0.5, 0.5, 0.5], 'precision': [0.5, 0.75, 0.25], 'iou': [0.5, 0.4167, 0.25],
         'dice': [0.5, 0.5833, 0.3333]}


@pytest.mark.parametrize('name', MEANS)
def test_monai_confusion_matrix(name):
    """tpr, ppv, ts and f1 of MONAI's confusion matrices, as means over two images for each of three channels."""
    got = [[metrics(mask(p), mask(t), surfaces=None)[name] for p, t in zip(*pair)] for pair in zip(PREDICTED, TRUE)]
    np.testing.assert_allclose(np.mean(got, 0), MEANS[name], atol=1e-4)
    np.testing.assert_allclose(got, RATES[name], atol=1e-4)


def sphere(radius=20.0, centre=(49, 49, 49), spacing=(1.0, 1.0, 1.0)):
    place = [np.arange(99) * step - at for step, at in zip(spacing, centre)]
    return sum(np.meshgrid(*(part**2 for part in place), indexing='ij')) <= radius**2


OBLIQUE = (0.85, 1.2, 0.9)
SPHERES = {  # two spheres, spacing, percentile, MONAI's distance in one direction and in both
    'equal': ((20, (49, 49, 49)), (20, (49, 49, 49)), None, 100, 0, 0),
    'moved': ((20, (20, 20, 20)), (20, (19, 19, 19)), None, 100, 1.7320508, 1.7320508),
    'cut off': ((33, (19, 33, 22)), (33, (20, 33, 22)), None, 100, 1, 1),
    'larger': ((20, (20, 33, 22)), (40, (20, 33, 22)), None, 100, 20.09975124, 20.22374842),
    'larger, 95 %': ((20, (20, 33, 22)), (40, (20, 33, 22)), None, 95, 19.92485885, 20.09975124),
    'moved, spacing': ((20, (20, 20, 20)), (20, (19, 19, 19)), OBLIQUE, 100, 2.0808651, 2.2671568),
    'larger, spacing': ((15, (20, 33, 22)), (30, (20, 33, 22)), OBLIQUE, 100, 15.43964100, 15.62594)}


@pytest.mark.parametrize('name', SPHERES)
def test_monai_hausdorff(name):
    a, b, spacing, percentile, directed, both = SPHERES[name]
    spacing = spacing or (1.0, 1.0, 1.0)
    forward, backward = VOXELS.distances(sphere(*a, spacing), sphere(*b, spacing), spacing)
    assert VOXELS.hausdorff(forward, backward, percentile) == pytest.approx(both, abs=1e-4)
    assert np.percentile(forward, percentile) == pytest.approx(directed, abs=1e-4)


@pytest.mark.parametrize('a, b, spacing, both, directed', [
    ((20, (49, 49, 49)), (20, (49, 49, 49)), None, 0, 0),
    ((33, (19, 33, 22)), (33, (20, 33, 22)), None, 0.350217, 0.34832788),
    ((20, (20, 33, 22)), (40, (20, 33, 22)), None, 15.117741, 12.04003351),
    ((33, (42, 45, 52)), (33, (43, 45, 52)), OBLIQUE, 0.4951, 0.4951)])
def test_monai_average_surface_distance(a, b, spacing, both, directed):
    """MONAI measures one direction from the prediction's surface."""
    spacing = spacing or (1.0, 1.0, 1.0)
    forward, backward = VOXELS.distances(sphere(*a, spacing), sphere(*b, spacing), spacing)
    assert VOXELS.mean_distance(forward, backward) == pytest.approx(both, abs=1e-4)
    assert forward.mean(dtype=float) == pytest.approx(directed, abs=1e-4)


def test_convention_one_mask_empty():
    """MONAI's distances are infinite and left out of means; medjax gives the image's diagonal, and NSD 0."""
    pred, true = np.zeros((99, 99, 99), int), sphere(40, (20, 33, 22)).astype(int)
    got = metrics(pred, true)
    assert (got['hd95'], got['assd'], got['nsd'], got['missed']) == (pytest.approx(99 * 3**0.5),) * 2 + (0, 1)
    both = metrics(pred, pred)
    assert np.isnan([both['hd95'], both['assd'], both['nsd']]).all()


def test_monai_surface_dice_of_half_planes():
    """Two half planes ten pixels apart: outlines of 976 pixels are not shared, of all the outlines of both."""
    pred, true = np.zeros((2, 480, 640, 1), int)
    pred[:, 50:], true[:, 60:] = 1, 1
    apart = 478 + 480 + 9 * 2
    for swap, total in ((0, 480 * 4 + 588 * 2 + 578 * 2), (1, 480 * 4 + 48 * 2 + 58 * 2)):
        values = [metrics(abs(swap - pred), abs(swap - true), tolerances=[limit])['nsd'] for limit in (0, 1, 9, 10, 11)]
        assert values[0] == pytest.approx(1 - apart / total)
        assert values[0] < values[1] < values[2] < values[3] == values[4] == 1


def test_monai_surface_dice_of_half_spaces():
    pred, true = np.zeros((2, 100, 55, 40), int)
    pred[..., 10:], true[..., 20:] = 1, 1
    # MONAI's case at half its size: faces, and rims of nine planes.
    apart = 100 * 55 + 98 * 53 + 9 * 100 * 2 + 9 * 53 * 2
    total = 100 * 55 * 4 + (28 + 18) * 100 * 2 + (28 + 18) * 53 * 2
    values = [metrics(pred, true, tolerances=[limit])['nsd'] for limit in (0, 1, 10, 11)]
    assert values[0] == pytest.approx(1 - apart / total) and values[0] < values[1] < values[2] == values[3] == 1


@pytest.mark.parametrize('inverted, tolerance, want', [
    (True, 0, 1 - 12 / 84), (True, 2.8, 1 - 3 / 84), (True, 3, 1 - 1 / 84), (False, 0, 0), (False, 5.5, 2 / 6),
    (False, 6, 4 / 6)])
def test_monai_surface_dice_at_euclidean_tolerances(inverted, tolerance, want):
    pred, true = np.zeros((2, 10, 10, 1), int)
    pred[1:4, 1], true[5:8, 6] = 1, 1
    got = metrics(1 - pred, 1 - true, tolerances=[tolerance]) if inverted else metrics(pred, true,
                                                                                       tolerances=[tolerance])
    assert got['nsd'] == pytest.approx(want)


@pytest.mark.parametrize('shape, a, b, spacing', [
    ((128, 128, 1), (50, 70, 0), (50, 72, 0), (2, 1, 1)), ((128, 128, 128), (50, 60, 70), (50, 60, 72), (3, 2, 1))])
def test_surface_distance_of_two_voxels(shape, a, b, spacing):
    pred, true = np.zeros((2, *shape), bool)
    true[a], pred[b] = True, True
    found = ELEMENTS.distances(true, pred, spacing)
    for distances, areas in found:
        assert np.average(distances, weights=areas) == pytest.approx(1.5, abs=1e-3)
        assert areas[distances <= 1].sum() / areas.sum() == pytest.approx(0.5)
    assert ELEMENTS.hausdorff(*found, 100) == ELEMENTS.hausdorff(*found, 95) == 2
    assert ELEMENTS.surface_dice(*found, 1) == pytest.approx(0.5)
    if shape[2] == 1:  # four pieces of outline, each half the diagonal of a pixel
        assert found[0][1].tolist() == pytest.approx([0.5 * 5**0.5] * 4) and sorted(found[0][0]) == [1, 1, 2, 2]


def test_surface_distance_of_two_squares():
    true, pred = np.zeros((2, 6, 6, 1), bool)
    true[1:3, 1:3], pred[1:4, 1:3] = True, True
    (forward, areas), (backward, pred_areas) = ELEMENTS.distances(true, pred, (2, 1, 1))
    half = 0.5 * 5**0.5
    assert sorted(areas) == pytest.approx(sorted([half, 1, half, 2, half, 1, half, 2]))
    assert sorted(pred_areas) == pytest.approx(sorted([half, 1, half, 2, 2, half, 1, half, 2, 2]))
    assert sorted(forward) == [0] * 7 + [1] and sorted(backward) == [0] * 7 + [2] * 3


def test_surface_distance_of_two_cubes():
    true, pred = np.zeros((2, 100, 100, 100), bool)
    true[:50], pred[:51] = True, True
    found = ELEMENTS.distances(true, pred, (2, 1, 1))
    means = [np.average(distances, weights=areas) for distances, areas in found]
    overlap = [areas[distances <= 1].sum() / areas.sum() for distances, areas in found]
    assert means == pytest.approx([0.322, 0.339], abs=1e-3) and overlap == pytest.approx([0.842, 0.830], abs=1e-3)
    assert ELEMENTS.hausdorff(*found, 100) == ELEMENTS.hausdorff(*found, 95) == 2
    assert ELEMENTS.surface_dice(*found, 1) == pytest.approx(0.836, abs=1e-3)
    assert metrics(pred.astype(int), true.astype(int), surfaces=None)['dice'] == pytest.approx(0.990, abs=1e-3)
