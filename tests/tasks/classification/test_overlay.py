import io

import numpy as np
import pytest
from PIL import Image as Picture

from medjax.errors import InputError
from medjax.tasks.classification import overlay
from medjax.tasks.classification.snapshot import load


def snapshot(folder, image, maps, methods, **more):
    path = folder / 'case.npz'
    np.savez_compressed(path, image=image, maps=np.asarray(maps, np.float16), methods=np.array(methods, str),
                        kind='classification', **more)
    return load(path)


def test_maps_of_either_precision_are_read_alike(tmp_path):
    image, maps, read = np.zeros((4, 6, 1), np.float32), np.random.default_rng(0).normal(size=(1, 4, 6)), []
    for dtype in (np.float16, np.float32):
        np.savez_compressed(tmp_path / 'case.npz', image=image, maps=maps.astype(dtype),
                            methods=np.array(['occlusion']), similarity=np.array([0.5], dtype))
        read.append(load(tmp_path / 'case.npz'))
    half, single = read
    assert half.maps.dtype == single.maps.dtype == np.float32 and half.tests == single.tests
    np.testing.assert_allclose(half.maps, single.maps, rtol=1e-3)
    np.testing.assert_allclose(single.maps, maps, rtol=1e-6)


def pixels(tile):
    return np.asarray(Picture.open(io.BytesIO(tile.png)).convert('RGB'), int)


def place(mask):
    """Where a mask's centre is, as shares of the picture's height and width."""
    return np.array([where.mean() for where in np.nonzero(mask)]) / mask.shape


def test_evidence_for_the_class_is_yellow_and_against_it_blue(tmp_path):
    image, maps = np.full((20, 30, 1), 0.5, np.float32), np.zeros((1, 20, 30))
    image[0, 0] = 1.0
    maps[0, 3:6, 20:24], maps[0, 14:17, 5:9] = 2.0, -2.0
    plain, shown = overlay.tiles(snapshot(tmp_path, image, maps, ['occlusion']), None)
    assert [plain.title, shown.title] == ['Image', 'Occlusion']
    assert shown.alt == 'Image of case case: Occlusion'
    red, green, blue = np.moveaxis(pixels(shown), -1, 0)
    np.testing.assert_allclose(place((red > blue + 60) & (green > blue + 60)), (4.5 / 20, 22 / 30), atol=0.03)
    np.testing.assert_allclose(place(blue > red + 60), (15.5 / 20, 7 / 30), atol=0.03)
    assert np.ptp(pixels(plain), -1).max() <= 2


def test_an_overlaid_image_is_grey_and_a_constant_map_is_transparent(tmp_path):
    image = np.zeros((12, 12, 3), np.uint8)
    image[:6] = 200, 40, 40
    plain, flat = overlay.tiles(snapshot(tmp_path, image, np.zeros((1, 12, 12)), ['grad_cam']), None)
    # Colours as stored: not stretched to the picture's own extremes.
    np.testing.assert_allclose(pixels(plain)[10, 10], (200, 40, 40), atol=1)
    assert np.ptp(pixels(flat), -1).max() <= 2 and pixels(flat)[10, 10, 0] > 50


def test_a_volume_is_cut_through_the_first_maps_maximum_and_turned_as_slices_are(tmp_path):
    image, maps = np.zeros((10, 12, 14, 1), np.float32), np.zeros((2, 10, 12, 14))
    image[0] = image[:, :, 0] = 1.0  # the first slices along the first and the last axis
    maps[0, 2, 9, 11] = maps[1, 5, 5, 5] = 1.0
    case = snapshot(tmp_path, image, maps, ['grad_cam', 'smooth_grad'])
    assert overlay.slices(case) == [(2, 11), (1, 9), (0, 2)]
    assert [overlay.slice_name(case, cut) for cut in overlay.slices(case)] == [
        'across axis 3, slice 12 of 14', 'across axis 2, slice 10 of 12', 'across axis 1, slice 3 of 10']
    axial, coronal = (pixels(overlay.tiles(case, cut)[0])[..., 0] > 128 for cut in overlay.slices(case)[:2])
    height, width = axial.shape
    assert width / height == pytest.approx(10 / 12, abs=0.02)
    # The first slice along x is at the right, where the patient's left is; the lowest one is at the bottom.
    assert axial[:, -width // 12:].all() and not axial[:, :width // 2].any()
    assert coronal[-coronal.shape[0] // 16:].all()
    peak = np.moveaxis(pixels(overlay.tiles(case, (2, 11))[1]), -1, 0)
    np.testing.assert_allclose(place(peak[0] > peak[2] + 60), (1 - 9.5 / 12, 1 - 2.5 / 10), atol=0.05)


def test_orientation_and_aspect_ratio_are_those_of_the_body_where_known(tmp_path):
    image, maps = np.zeros((10, 12, 14, 1), np.float32), np.zeros((1, 10, 12, 14))
    known = snapshot(tmp_path, image, maps, ['grad_cam'], spacing=np.array([1.0, 1.0, 3.0]))
    unknown = snapshot(tmp_path, image, maps, ['grad_cam'])
    assert overlay.slice_name(known, (2, 4)) == 'axial slice 5 of 14'
    lettered, plain = (pixels(overlay.tiles(case, (1, 0))[0]) for case in (known, unknown))
    assert lettered.max() > 200 and plain.max() < 10
    assert lettered.shape[1] / lettered.shape[0] == pytest.approx(10 / (3 * 14), abs=0.02)


def test_a_case_without_maps_is_the_image_alone(tmp_path):
    case = snapshot(tmp_path, np.zeros((4, 6, 8, 1)), np.zeros(0), [])
    assert overlay.slices(case) == [(2, 4), (1, 3), (0, 2)]
    assert [tile.title for tile in overlay.tiles(case, (2, 4))] == ['Image']


def test_an_inconsistent_snapshot_is_named(tmp_path):
    with pytest.raises(InputError, match=r'case\.npz: image \(4, 6, 1\), maps \(1, 6, 4\), 1 methods'):
        snapshot(tmp_path, np.zeros((4, 6, 1)), np.zeros((1, 6, 4)), ['grad_cam'])
    (tmp_path / 'case.npz').write_bytes(b'PK')
    with pytest.raises(InputError, match='not readable as a snapshot'):
        load(tmp_path / 'case.npz')
