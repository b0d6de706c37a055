import numpy as np
import pytest

from medjax.tasks.segmentation.mask_metrics import Postprocess, case_metrics, lesion_metrics

NAMES = ('background', 'tumour')


def test_ignored_voxels_are_not_counted():
    truth = np.zeros((6, 6, 4), np.uint8)
    truth[1:3, 1:3, 1:3] = 1
    pred = truth.copy()
    pred[4:] = 1
    truth[4:] = 255
    row = case_metrics(pred, truth, (1, 1, 1), ('background', 'lesion'), lesions=True)
    assert row['dice_lesion'] == row['precision_lesion'] == row['lesion_f1_lesion'] == 1 and row['hd95_lesion'] == 0


def cube(*box, shape=(10, 10, 10)):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(a, b) for a, b in box)] = 1
    return mask


def test_shifted_cube_by_hand():
    truth, pred = cube((2, 6), (2, 6), (2, 6)), cube((3, 7), (2, 6), (2, 6))
    got = case_metrics(pred, truth, (2.0, 1.0, 1.0), NAMES, tolerances=[1.0])
    # 64 voxels each, 48 in common; voxels are 2 mm³.
    assert got['dice_tumour'] == 0.75 and got['iou_tumour'] == 48 / 80
    assert got['sensitivity_tumour'] == got['precision_tumour'] == 0.75 and got['volume_error_ml_tumour'] == 0.0
    # Each surface has 56 voxels. Of either, the 16 of the outer face are 2 mm from the other, and the inner 4 of the
    # opposite face (not the other's surface) are 1 mm, by their side.
    assert got['hd95_tumour'] == 2.0
    assert got['nsd_tumour'] == pytest.approx(40 / 56) and got['assd_tumour'] == pytest.approx((16 * 2 + 4 * 1) / 56)


def test_surfaces_counted_by_area_by_hand():
    truth, pred = cube((2, 6), (2, 6), (0, 1), shape=(10, 10, 1)), cube((3, 7), (2, 6), (0, 1), shape=(10, 10, 1))
    got = case_metrics(pred, truth, (2.0, 1.0, 1.0), NAMES, tolerances=[1.0], surfaces='area')
    # An outline has three pieces on each side of four pixels, 2 mm or 1 mm long, and four corners of √5 / 2 mm. Of one
    # 1 mm side, the pieces and both corners are 2 mm from the other outline; of the opposite side, the middle piece.
    length, beyond = 2 * 3 * 2 + 2 * 3 * 1 + 4 * 5 ** 0.5 / 2, 3 * 1 + 2 * 5 ** 0.5 / 2 + 1
    assert got['hd95_tumour'] == 2.0
    assert got['nsd_tumour'] == pytest.approx(1 - beyond / length)


def test_a_distance_of_the_tolerance_is_within_it():
    for spacing in (1.1, 0.7, 1.3):
        for surfaces in ('voxels', 'area'):
            pred, truth = cube((3, 8), (2, 6), (2, 6)), cube((2, 7), (2, 6), (2, 6))
            got = case_metrics(pred, truth, (spacing, 1.0, 1.0), NAMES, tolerances=[spacing], surfaces=surfaces)
            assert got['nsd_tumour'] == 1.0


FULL = cube((2, 4), (2, 4), (2, 4))
EMPTY = np.zeros_like(FULL)
DIAGONAL = np.sqrt(100 + 400 + 900)


@pytest.mark.parametrize('pred, truth, want', [
    (FULL, FULL, dict(dice=1, iou=1, nsd=1, hd95=0, assd=0, sensitivity=1, precision=1, missed=0, spurious=0,
                      volume_error_ml=0)),
    (EMPTY, FULL, dict(dice=0, iou=0, nsd=0, hd95=DIAGONAL, assd=DIAGONAL, sensitivity=0, precision=None, missed=1,
                       spurious=0, volume_error_ml=-8 * 6 / 1000)),
    (FULL, EMPTY, dict(dice=0, iou=0, nsd=0, hd95=DIAGONAL, assd=DIAGONAL, sensitivity=None, precision=0, missed=0,
                       spurious=1, volume_error_ml=8 * 6 / 1000)),
    (EMPTY, EMPTY, dict(dice=None, iou=None, nsd=None, hd95=None, assd=None, sensitivity=None, precision=None, missed=0,
                        spurious=0, volume_error_ml=0)),
])
@pytest.mark.parametrize('surfaces', ['voxels', 'area'])
def test_the_four_empty_cases(pred, truth, want, surfaces):
    got = case_metrics(pred, truth, (1.0, 2.0, 3.0), NAMES, surfaces=surfaces)
    assert {k.removesuffix('_tumour') for k in got} == set(want)
    for name, value in want.items():
        assert np.isnan(got[f'{name}_tumour']) if value is None else got[f'{name}_tumour'] == pytest.approx(value), name


def test_a_lesion_that_is_only_predicted_elsewhere_is_missed():
    got = case_metrics(cube((6, 8), (6, 8), (6, 8)), FULL, (1, 1, 1), NAMES)
    assert got['missed_tumour'] == 1 and got['spurious_tumour'] == 0 and got['dice_tumour'] == 0


def test_a_miss_makes_every_mean_worse():
    good = case_metrics(FULL, FULL, (1, 1, 1), NAMES)
    miss = case_metrics(EMPTY, FULL, (1, 1, 1), NAMES)
    assert miss['hd95_tumour'] > good['hd95_tumour'] and miss['dice_tumour'] < good['dice_tumour']


def test_classes_are_measured_separately():
    truth = cube((0, 4), (0, 4), (0, 4)) + 2 * cube((5, 9), (5, 9), (5, 9))
    pred = cube((0, 4), (0, 4), (0, 4))
    got = case_metrics(pred, truth, (1, 1, 1), ('background', 'a', 'b'))
    assert got['dice_a'] == 1 and got['dice_b'] == 0 and got['missed_b'] == 1


def test_lesions_by_hand():
    truth = cube((0, 2), (0, 2), (0, 2)) | cube((4, 6), (4, 6), (4, 6)) | cube((8, 9), (8, 9), (8, 9))
    pred = cube((0, 2), (0, 2), (0, 1)) | cube((4, 5), (0, 1), (0, 1))
    # One of three found; one of two predicted ones is true: 2 · 1/3 · 1/2 / (1/3 + 1/2) = .4.
    assert lesion_metrics(pred > 0, truth > 0)['lesion_f1'] == pytest.approx(0.4)
    empty, full = EMPTY > 0, FULL > 0
    assert np.isnan(list(lesion_metrics(empty, empty).values())).all()
    for masks in ((full, empty), (empty, full)):
        assert lesion_metrics(*masks) == {'lesion_f1': 0, 'lesions_merged': 0, 'lesions_split': 0}


def bars(*spans):
    """A mask of bars along the first axis, each from a first to a last voxel."""
    mask = np.zeros((40, 1, 1), bool)
    for first, last in spans:
        mask[first:last + 1] = True
    return mask


@pytest.mark.parametrize('pred, truth, f1, merged, split', [
    ([(0, 19)], [(0, 7), (10, 19)], 2 / 3, 1, 0),  # one blob on two lesions finds one of them
    ([(0, 7), (10, 19)], [(0, 19)], 2 / 3, 0, 1),  # of two parts of a lesion one is false
    ([(0, 7), (10, 19)], [(0, 7), (10, 19)], 1, 0, 0),
    # The second part alone finds the second lesion, so the first has to take the first, though they overlap less.
    ([(0, 1), (4, 20)], [(0, 11), (14, 20)], 1, 1, 1),
    ([(0, 39)], [(0, 1)], 0, 0, 0),  # a twentieth of it lies in the lesion
    ([(0, 0)], [(0, 19)], 0, 0, 0)])  # a twentieth of the lesion is covered
def test_lesions_are_matched_one_to_one(pred, truth, f1, merged, split):
    got = lesion_metrics(bars(*pred), bars(*truth))
    assert got == {'lesion_f1': pytest.approx(f1), 'lesions_merged': merged, 'lesions_split': split}


def test_postprocessing_by_class():
    label = cube((0, 5), (0, 5), (0, 5)) + 2 * cube((6, 9), (6, 9), (6, 9))
    label[2, 2, 2], label[9, 0, 0], label[0, 9, 9] = 0, 1, 2
    got = Postprocess(largest_component=True, fill_holes=True)(label)
    assert got[2, 2, 2] == 1 and got[9, 0, 0] == 0 and got[0, 9, 9] == 0 and label[9, 0, 0] == 1
    assert (got == 1).sum() == 125 and (got == 2).sum() == 27
    np.testing.assert_array_equal(Postprocess()(label), label)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match='differ in shape'):
        case_metrics(FULL, FULL[:5], (1, 1, 1), NAMES)


def disc(radius, shape=(64, 60)):
    x, y = np.ogrid[:shape[0], :shape[1]]
    return ((x - 30)**2 + (y - 28)**2 <= radius**2).astype(np.uint8)


def outline_distances(a, b):
    """All distances from each pixel of a's outline to the nearest of b's, by the definition."""
    def outline(mask):
        inside = {tuple(p) for p in np.argwhere(mask)}
        return np.array([p for p in inside if not {(p[0] + i, p[1] + j) for i, j in
                                                   ((1, 0), (-1, 0), (0, 1), (0, -1))} <= inside], float)
    a, b = outline(a), outline(b)
    return np.linalg.norm(a[:, None] - b[None], axis=-1).min(1)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_the_surface_of_a_2d_mask_is_its_outline(axis):
    small, large = disc(20), disc(25)
    there, back = outline_distances(small, large), outline_distances(large, small)
    pred, truth = (np.expand_dims(mask, axis) for mask in (small, large))
    got = case_metrics(pred, truth, (1.0, 1.0, 1.0), NAMES, tolerances=[2.0])
    assert got['hd95_tumour'] == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert got['assd_tumour'] == pytest.approx(np.concatenate([there, back]).mean())
    assert got['hd95_tumour'] == pytest.approx(5.10, abs=0.005) and got['assd_tumour'] == pytest.approx(4.81, abs=0.03)
    assert got['nsd_tumour'] == 0


def test_a_slice_of_a_volume_is_a_surface_on_both_sides():
    mask = np.zeros((9, 9, 5), np.uint8)
    mask[2:7, 2:7, 2] = 1
    other = np.roll(mask, 1, 2)
    got = case_metrics(mask, other, (1.0, 1.0, 4.0), NAMES, tolerances=[2.0])
    assert got['hd95_tumour'] == got['assd_tumour'] == 4.0


def test_a_hole_of_a_2d_mask_is_filled():
    ring = (disc(20) - disc(8))[:, :, None]
    assert (Postprocess(fill_holes=True)(ring)[:, :, 0] == disc(20)).all()
    volume = np.repeat(ring, 5, 2)  # a tube is open at both ends
    assert (Postprocess(fill_holes=True)(volume) == volume).all()


@pytest.mark.parametrize('grid, name, size', [('volume', 'volume_error_ml', 0.6 * 0.5 * 4 / 1000),
                                              ('picture', 'area_error_mm2', 0.6 * 0.5), ('pixels', 'area_error_px', 1)])
def test_sizes_by_grid(grid, name, size):
    spacing = (1.0, 1.0, 1.0) if grid == 'pixels' else (0.6, 0.5, 4.0)
    got = case_metrics(disc(9)[:, :, None], disc(5)[:, :, None], spacing, NAMES, grid=grid)
    assert got[f'{name}_tumour'] == pytest.approx((int(disc(9).sum()) - int(disc(5).sum())) * size)


def test_the_diagonal_of_an_image_has_no_thickness():
    got = case_metrics(disc(5)[:, :, None], np.zeros((64, 60, 1)), (0.5, 0.5, 7.0), NAMES, grid='picture')
    assert got['hd95_tumour'] == pytest.approx(0.5 * np.hypot(64, 60))
