"""Augmentation: what each transform does, how often, and that a sample depends on nothing but its number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax import build
from medjax.data.transforms import boxes as box_transforms
from medjax.data.transforms.augment import RECIPES, Recipe
from medjax.errors import InputError
from medjax.ops import warp

rng = np.random.default_rng(0)
KEY = jax.random.key(3)


def batch_of(count, shape=(16, 12), channels=1, start=0):
    images = np.stack([ndimage.gaussian_filter(np.random.default_rng(start + i).normal(size=(*shape, channels)), 1)
                       for i in range(count)]).astype(np.float32)
    return {'image': jnp.asarray(images), 'label': jnp.asarray(images[..., 0] > 0, jnp.int32),
            'index': jnp.arange(start, start + count, dtype=jnp.uint32), 'mask': jnp.ones(count)}


def changed(recipe, count=400, shape=(8, 8), **more):
    """The share of samples (and, with several channels, of channels) that a recipe changes."""
    batch = batch_of(count, shape, **more)
    out = jax.jit(recipe)(batch, KEY)
    return np.abs(np.asarray(out['image'] - batch['image'])).max((1, 2)) > 1e-6


@pytest.mark.parametrize('name', ['noise', 'brightness', 'contrast', 'gamma', 'gamma_inverted', 'rotate', 'zoom',
                                  'elastic', 'shear', 'shift'])
def test_transforms_have_their_probabilities(name):
    assert abs(changed(Recipe(**{name: 0.3})).mean() - 0.3) < 0.07
    assert not changed(Recipe(**{name: 0.0})).any() and changed(Recipe(**{name: 1.0})).mean() > 0.98


@pytest.mark.parametrize('name', ['blur', 'low_resolution'])
def test_channels_are_changed_with_probability_one_half(name):
    hit = changed(Recipe(**{name: 0.4, 'low_resolution_range': (1.5, 2.0)}), channels=2)
    assert abs(hit.mean() - 0.2) < 0.05 and abs(hit.any(1).mean() - 0.3) < 0.07


def test_the_published_probabilities():
    """Isensee 2021, supplement, section 4."""
    recipe = Recipe(**RECIPES['nnunet'])
    assert (recipe.rotate, recipe.zoom, recipe.noise, recipe.blur, recipe.brightness) == (0.2, 0.2, 0.15, 0.2, 0.15)
    assert (recipe.contrast, recipe.low_resolution, recipe.gamma, recipe.gamma_inverted, recipe.flip) == (
        0.15, 0.25, 0.15, 0.15, 0.5)
    assert recipe.zoom_range == (0.7, 1.4) and recipe.gamma_range == (0.7, 1.5) and recipe.contrast_range == (0.65, 1.5)
    assert recipe.brightness_range == (0.7, 1.3) and recipe.blur_voxels == (0.5, 1.5) and recipe.noise_variance == 0.1


@pytest.mark.parametrize('recipe, shape, channels', [
    pytest.param(dict(RECIPES['nnunet'], elastic=0.5), (8, 12, 10), 1, marks=pytest.mark.slow),
    (dict(RECIPES['unet'], elastic=0.5), (16, 12), 2),
    (dict(RECIPES['keras'], randaugment_ops=2), (16, 12), 2)])
def test_samples_together_or_one_by_one_are_the_same(recipe, shape, channels, monkeypatch):
    """An accelerator computes all transforms of all samples at once, a CPU those drawn, sample after sample."""
    recipe, batch = Recipe(**recipe), batch_of(12, shape, channels)
    together = jax.jit(recipe).lower(batch, KEY)
    monkeypatch.setattr(jax, 'device_count', lambda: 1)
    jax.clear_caches()
    one_by_one = jax.jit(recipe).lower(batch, KEY)
    assert 'stablehlo.case' in one_by_one.as_text() and 'stablehlo.case' not in together.as_text()
    together, one_by_one = (lowered.compile()(batch, KEY) for lowered in (together, one_by_one))
    np.testing.assert_allclose(one_by_one['image'], together['image'], atol=2e-5)
    np.testing.assert_array_equal(one_by_one['label'], together['label'])
    jax.clear_caches()


@pytest.mark.parametrize('recipe, shape', [(Recipe(**RECIPES['nnunet'], elastic=0.5), (8, 12, 10)),
                                           (Recipe(**RECIPES['nnunet']), (16, 12)),
                                           (Recipe(**RECIPES['unet']), (16, 16, 4)),
                                           (Recipe(**RECIPES['keras'], randaugment_ops=3), (16, 12))])
def test_a_sample_is_the_same_in_any_batch(recipe, shape):
    whole = jax.jit(recipe)(batch_of(6, shape), KEY)
    part = jax.jit(recipe)(batch_of(2, shape, start=3), KEY)
    np.testing.assert_allclose(part['image'], whole['image'][3:5], atol=2e-6)
    np.testing.assert_array_equal(part['label'], whole['label'][3:5])
    again = jax.jit(recipe)(batch_of(6, shape), KEY)
    np.testing.assert_array_equal(again['image'], whole['image'])
    other = jax.jit(recipe)(batch_of(6, shape), jax.random.key(4))
    assert np.abs(other['image'] - whole['image']).max() > 0.1


@pytest.mark.parametrize('shape', [(24, 20), (12, 16, 10)])
def test_image_and_label_move_together(shape):
    """The label is the image's own threshold: where the warp and the flips keep them together, it still is."""
    batch = batch_of(8, shape)
    smooth = np.stack([ndimage.gaussian_filter(i, 2) for i in np.asarray(batch['image'][..., 0])])
    batch |= {'image': jnp.asarray(smooth)[..., None], 'label': jnp.asarray(smooth > 0, jnp.int32)}
    out = jax.jit(Recipe(flip=0.5, rotate=1.0, zoom=1.0, elastic=1.0))(batch, KEY)
    agree = (np.asarray(out['image'][..., 0]) > 0) == (np.asarray(out['label']) == 1)
    assert agree.mean() > 0.93 and (np.asarray(out['label']) != np.asarray(batch['label'])).mean() > 0.1
    assert out['label'].dtype == jnp.int32 and set(np.unique(out['label'])) <= {0, 1}


def test_a_partner_moves_with_the_image_and_keeps_its_intensities():
    recipe = Recipe(flip=0.5, rotate=0.5, zoom=0.5, gamma=1.0, noise=1.0)
    batch = batch_of(6)
    out = jax.jit(recipe)({**batch, 'target': 1 - 2 * batch['image']}, KEY)
    still = jax.jit(Recipe(flip=0.5, rotate=0.5, zoom=0.5))(batch, KEY)
    np.testing.assert_allclose(out['target'], 1 - 2 * still['image'], atol=1e-5)
    assert np.abs(out['image'] - still['image']).max() > 0.05


def test_flips_are_exact_and_independent_of_each_other():
    batch = batch_of(64)
    out = jax.jit(Recipe(flip=0.5))(batch, KEY)
    seen = set()
    for before, after, label, moved in zip(batch['image'], out['image'], batch['label'], out['label']):
        ways = [axes for axes in ((), (0,), (1,), (0, 1)) if (np.flip(before, axes) == after).all()]
        assert len(ways) == 1 and (np.flip(label, ways[0]) == moved).all()
        seen.add(ways[0])
    assert len(seen) == 4
    only = jax.jit(Recipe(flip=1.0, flip_axes=(1,)))(batch, KEY)
    np.testing.assert_array_equal(only['image'], batch['image'][:, :, ::-1])


@pytest.mark.slow
def test_thin_patches_keep_their_slices():
    """16 × 16 × 4: turned, zoomed and coarsened within its slices alone."""
    ramp = jnp.broadcast_to(jnp.arange(4.0), (3, 16, 16, 4))[..., None]
    batch = {'image': ramp, 'label': ramp[..., 0].astype(jnp.int32), 'index': jnp.arange(3, dtype=jnp.uint32)}
    out = Recipe(rotate=1.0, zoom=1.0, elastic=1.0, low_resolution=1.0)(batch, KEY)
    np.testing.assert_allclose(out['image'], ramp, atol=1e-5)


def read_from(recipe, shape, count, start=0):
    """For each sample the map that it is read by, `place -> matrix · place + offset` in voxels, found from a picture of
    places; the recipe's fill is 'nearest', so that what was read from inside is known."""
    ramp = jnp.broadcast_to(jnp.moveaxis(jnp.indices(shape, jnp.float32), 0, -1), (count, *shape, len(shape)))
    places = np.asarray(jax.jit(recipe)({'image': ramp, 'index': jnp.arange(start, start + count, dtype=jnp.uint32)},
                                        KEY)['image'])
    last = np.array(shape) - 1
    for picture in places:
        within = ((picture > 0.01) & (picture < last - 0.01)).all(-1)
        grid = np.argwhere(within)
        solved, *_ = np.linalg.lstsq(np.c_[grid, np.ones(len(grid))], picture[within], rcond=None)
        yield solved[:-1].T, solved[-1]


def centred(matrix, offset, shape):
    """The shift of the centre, as a share of the extent."""
    centre = (np.array(shape) - 1) / 2
    return (matrix @ centre + offset - centre) / shape


@pytest.mark.parametrize('shape, moving', [((20, 30), (0, 1)), ((12, 14, 10), (0, 1, 2)), ((16, 16, 4), (0, 1))])
def test_shifts_go_as_far_as_they_may_along_each_axis(shape, moving):
    maps = list(read_from(Recipe(shift=1.0, shift_range=0.2, fill='nearest'), shape, 40))
    for matrix, _ in maps:
        np.testing.assert_allclose(matrix, np.eye(len(shape)), atol=1e-4)
    shifts = np.array([centred(*found, shape) for found in maps])
    still = [axis for axis in range(len(shape)) if axis not in moving]
    np.testing.assert_allclose(shifts[:, still], 0, atol=1e-5)  # a thin patch keeps its slices
    assert (np.abs(shifts[:, moving]).max(0) > 0.17).all() and np.abs(shifts).max() < 0.2001
    assert np.abs(np.corrcoef(shifts[:, moving].T) - np.eye(len(moving))).max() < 0.5


def test_shears_slide_columns_by_the_tangent():
    slopes = []
    for matrix, offset in read_from(Recipe(shear=1.0, shear_range=30.0, fill='nearest'), (20, 30), 40):
        np.testing.assert_allclose([matrix[0, 0], *matrix[1]], [1, 0, 1], atol=1e-4)
        np.testing.assert_allclose(centred(matrix, offset, (20, 30)), 0, atol=1e-4)
        slopes.append(matrix[0, 1])
    assert np.tan(np.deg2rad(26)) < np.abs(slopes).max() < np.tan(np.deg2rad(30.01)) and min(slopes) < 0 < max(slopes)
    cubes = np.array([m for m, _ in read_from(Recipe(shear=1.0, fill='nearest'), (12, 14, 10), 3)])
    np.testing.assert_allclose(np.tril(cubes), np.broadcast_to(np.eye(3), cubes.shape), atol=1e-4)
    assert (np.abs(cubes[:, (0, 0, 1), (1, 2, 2)]) > 1e-3).all()


def test_the_classic_folder_recipe():
    """What Keras' generator does: the map is a rotation · zooms of the axes by themselves, with its border going on."""
    recipe, shape = Recipe(**RECIPES['keras']), (32, 40)
    batch = batch_of(40, shape)
    out = np.asarray(jax.jit(recipe)({k: batch[k] for k in ('image', 'index')}, KEY)['image'])
    angles, zooms, shifts, flips = [], [], [], []
    for before, after, (matrix, offset) in zip(np.asarray(batch['image']), out, read_from(recipe, shape, 40)):
        want = ndimage.affine_transform(before[..., 0], matrix, offset, order=1, mode='nearest')
        np.testing.assert_allclose(after[..., 0], want, atol=2e-3)
        flips.append(np.linalg.det(matrix) < 0)
        if flips[-1]:
            offset = offset + matrix[:, 1] * (shape[1] - 1)
            matrix = matrix * [1, -1]
        zooms.append(1 / np.linalg.norm(matrix, axis=0))
        unit = matrix * zooms[-1]
        assert abs(unit[:, 0] @ unit[:, 1]) < np.sin(np.deg2rad(0.21))
        angles.append(np.rad2deg(np.arctan2(unit[1, 0], unit[0, 0])))
        shifts.append(centred(matrix, offset, shape))
    assert 17 < np.abs(angles).max() < 20.01 and 0.17 < np.abs(shifts).max() < 0.2001
    zooms = np.array(zooms)
    assert 0.7999 < zooms.min() < 0.84 and 1.16 < zooms.max() < 1.2001
    assert np.abs(zooms[:, 0] - zooms[:, 1]).max() > 0.15
    assert 10 < sum(flips) < 30


def test_a_further_transform_does_not_change_the_draws_of_others():
    batch = batch_of(4)
    few = jax.jit(Recipe(rotate=1.0, zoom=1.0, brightness=1.0, flip=0.5))(batch, KEY)
    more = jax.jit(Recipe(rotate=1.0, zoom=1.0, brightness=1.0, flip=0.5, shear=1.0, shear_range=0.0, shift=1.0,
                          shift_range=0.0))(batch, KEY)
    np.testing.assert_allclose(more['image'], few['image'], atol=1e-5)
    np.testing.assert_array_equal(more['label'], few['label'])


@pytest.mark.parametrize('name, shape', [('flip', (6, 5, 7)), ('unet', (8, 9)), ('keras', (8, 9)),
                                         ('randaugment', (8, 9))])
def test_labels_of_whole_images_stay(name, shape):
    """Also with as many classes as there are rows, or samples; and the image is what it is with no label at all."""
    run = jax.jit(Recipe(**{**RECIPES[name], 'flip': 1.0}))
    batch = {k: v for k, v in batch_of(8, shape).items() if k != 'label'}
    plain = run(batch, KEY)
    assert set(plain) == set(batch) and np.abs(plain['image'] - batch['image']).max() > 0.1
    several = np.array(rng.random((8, shape[0])) > 0.5, np.float32)
    several[rng.random(several.shape) > 0.7] = np.nan  # not known
    for label in (np.arange(8, dtype=np.int32), several):
        out = run({**batch, 'label': jnp.asarray(label)}, KEY)
        np.testing.assert_array_equal(out['label'], label)
        np.testing.assert_array_equal(out['image'], plain['image'])
        assert out['label'].dtype == label.dtype


def test_other_batches_and_keys_do_not_recompile():
    run = jax.jit(Recipe(**RECIPES['randaugment'], mixup=0.2, cutmix=1.0))
    for start in range(3):
        run({**batch_of(2, start=start), 'label': jnp.arange(2)}, jax.random.key(start))
    assert run._cache_size() == 1


@pytest.mark.parametrize('name', ['unet', 'keras', 'randaugment', 'nnunet'])
def test_constant_images_remain_finite(name):
    flat = {'image': jnp.full((16, 8, 8, 2), 3.0), 'label': jnp.zeros(16, jnp.int32),
            'index': jnp.arange(16, dtype=jnp.uint32)}
    out = jax.jit(Recipe(**RECIPES[name], mixup=0.4, cutmix=1.0))(flat, KEY)
    assert all(np.isfinite(out[k]).all() for k in ('image', 'share'))
    if name in ('keras', 'randaugment'):
        np.testing.assert_allclose(out['image'], 3, atol=1e-5)


@pytest.mark.parametrize('shape, most', [((64, 192), 15), ((80, 192), 15),
                                         pytest.param((96, 96), 180, marks=pytest.mark.slow)])
def test_2d_patches_turn_as_nnunet_turns_them(shape, most):
    """The angle, found from where the centre's neighbour is read."""
    recipe, found = jax.jit(Recipe(rotate=1.0)), []
    ramp = jnp.moveaxis(jnp.indices(shape, jnp.float32), 0, -1)
    for index in range(12):
        out = recipe({'image': ramp[None], 'index': jnp.array([index], jnp.uint32)}, KEY)['image'][0]
        x, y = shape[0] // 2, shape[1] // 2
        across = np.asarray(out[x + 4, y] - out[x, y])
        found.append(np.rad2deg(np.arctan2(across[1], across[0])))
    assert most / 4 < np.abs(found).max() <= most + 0.1


def test_spacing_decides_how_far_a_turn_goes():
    batch = batch_of(2, (20, 20))
    recipe = jax.jit(Recipe(rotate=1.0, degrees=30.0))
    even = recipe(batch, KEY)['image']
    np.testing.assert_allclose(recipe({**batch, 'spacing': jnp.full((2, 2), 0.4)}, KEY)['image'], even, atol=1e-4)
    thick = recipe({**batch, 'spacing': jnp.array([[1.0, 3.0]] * 2)}, KEY)['image']
    assert np.abs(thick - even).max() > 0.05


@pytest.mark.parametrize('section, message', [
    (dict(name='nnunett'), "config.augment.name: 'nnunett' is not known"),
    (dict(name='nnunet', rotation=1), 'config.augment.rotation: unknown key'),
    (dict(name='flip', flip=1.5), 'config.augment.flip: 1.5; expected a number from 0 to 1'),
    (dict(name='flip', zoom_range=(2, 1)), 'config.augment.zoom_range'),
    (dict(name='keras', fill='constant'), "config.augment.fill: 'constant'; expected 'mirror', 'nearest' or ''"),
    (dict(name='keras', shear_range=90), 'config.augment.shear_range: 90; expected a number of at least 0'),
    (dict(name='keras', shift_range=12), 'config.augment.shift_range: 12; expected a number from 0 to 1'),
    (dict(name='randaugment', randaugment_ops=15), 'config.augment.randaugment_ops: 15; expected at most 14'),
    (dict(name='randaugment', randaugment_magnitude=30), 'config.augment.randaugment_magnitude: 30; expected'),
    (dict(name='flip', cutmix=-1), 'config.augment.cutmix: -1; expected'),
])
def test_bad_options_are_named(section, message):
    with pytest.raises(InputError, match=message):
        build.augmentation(section)


def test_missing_axes_are_named():
    with pytest.raises(InputError, match='config.augment.flip_axes'):
        Recipe(flip=0.5, flip_axes=(2,))(batch_of(1), KEY)


@pytest.mark.parametrize('options, shape, label, message', [
    (dict(randaugment_ops=2), (4, 4, 4), (2,),
     'config.augment.randaugment_ops: 2; expected 0 for images that are not 2D'),
    (dict(mixup=0.2), (4, 4), (2, 4, 4), 'config.augment.mixup: 0.2; expected 0 where'),
    (dict(cutmix=1.0), (4, 4), None, 'config.augment.cutmix: 1.0; expected 0 where')])
def test_unsupported_options_of_a_batch_are_named(options, shape, label, message):
    batch = {k: v for k, v in batch_of(2, shape).items() if k != 'label'}
    with pytest.raises(InputError, match=message):
        Recipe(**options)(batch if label is None else {**batch, 'label': jnp.zeros(label, jnp.int32)}, KEY)


def boxed(shape, boxes, extra=0, **more):
    """A batch in which each sample shows one bright cuboid, in its box and among padding, on black."""
    images = np.zeros((len(boxes), *shape, 1), np.float32)
    for image, box in zip(images, boxes):
        low, high = np.split(np.asarray(box), 2)
        image[tuple(slice(a, b) for a, b in zip(low, high))] = 1
    padded = np.zeros((len(boxes), 1 + extra, 2 * len(shape)), np.float32)
    padded[:, 0] = boxes
    mask = np.eye(1 + extra, dtype=np.float32)[:1].repeat(len(boxes), 0)
    return {'image': jnp.asarray(images), 'boxes': jnp.asarray(padded), 'box_mask': jnp.asarray(mask),
            'index': jnp.arange(len(boxes), dtype=jnp.uint32), **more}


def drawn(image):
    """The box about what is bright, to a part of a voxel: half of the light of a border voxel is half a voxel."""
    sides = []
    for axis in range(image.ndim):
        profile = image.max(tuple(a for a in range(image.ndim) if a != axis))
        bright = np.flatnonzero(profile > 0.02)
        sides.append((bright[0] + 1 - min(profile[bright[0]], 1), bright[-1] + min(profile[bright[-1]], 1)))
    return np.array(sides).T.ravel()


BOXES2 = [[10, 14, 17, 22], [12, 9, 20, 15], [8, 18, 13, 27], [15, 15, 19, 20]]
BOXES3 = [[6, 5, 6, 10, 9, 12], [5, 8, 7, 11, 12, 11]]


@pytest.mark.parametrize('shape, boxes', [((28, 36), BOXES2), ((16, 18, 20), BOXES3)])
def test_a_box_follows_its_object(shape, boxes):
    """Each transform comes in half of the samples, so that some have one alone."""
    batch = boxed(shape, boxes * 8, extra=2)
    out = jax.jit(Recipe(flip=0.5, zoom=0.5, zoom_range=(0.8, 1.25), zoom_per_axis=True, shift=0.5, shift_range=0.05))(
        batch, KEY)
    for image, box in zip(np.asarray(out['image'][..., 0]), np.asarray(out['boxes'][:, 0])):
        np.testing.assert_allclose(box, drawn(image), atol=0.51)
    assert (np.abs(out['boxes'][:, 0] - batch['boxes'][:, 0]).max(-1) > 0.3).mean() > 0.8
    assert not np.any(out['boxes'][:, 1:]) and np.array_equal(out['box_mask'], batch['box_mask'])


@pytest.mark.parametrize('shape, boxes, angles', [((30, 30), BOXES2, [-np.pi / 2]),
                                                  ((18, 18, 18), BOXES3, [np.pi / 2, np.pi / 2, 0])])
def test_boxes_turned_by_right_angles_are_those_of_turned_images(shape, boxes, angles):
    """Places and boxes come from one matrix: the way there and the way back."""
    batch = boxed(shape, boxes)

    @jax.jit
    @jax.vmap
    def turned(image, box, mask):
        matrix, spacing = warp.rotation_matrix(jnp.array(angles, jnp.float32)), jnp.ones(len(shape))
        where = warp.sampling_positions(shape, spacing, matrix)
        return warp.sample(image, where, 'linear', 'nearest'), box_transforms.warp_boxes(
            box, mask, shape, spacing, matrix, jnp.zeros(len(shape)))

    images, (moved, kept) = turned(batch['image'], batch['boxes'], batch['box_mask'])
    np.testing.assert_allclose(moved[:, 0], [drawn(image) for image in np.asarray(images[..., 0])], atol=1e-3)
    assert kept.tolist() == [[1]] * len(boxes)


@pytest.mark.parametrize('shape, boxes', [((28, 36), BOXES2), ((16, 18, 20), BOXES3)])
def test_a_rotated_box_is_the_bounding_box_of_its_corners(shape, boxes):
    """On voxels that are no cubes; the corners of a box at 45 degrees are beyond those of nothing else."""
    batch = boxed(shape, boxes, spacing=jnp.tile(jnp.array([1.0, 1.3, 0.8][:len(shape)]), (len(boxes), 1)))
    recipe = Recipe(rotate=1.0, degrees=40.0, shear=1.0, shear_range=10.0)
    out = jax.jit(recipe)(batch, KEY)
    for image, box in zip(np.asarray(out['image'][..., 0]), np.asarray(out['boxes'][:, 0])):
        np.testing.assert_allclose(box, drawn(image), atol=1.2)  # a corner is a point, which few voxels show
    assert np.abs(np.asarray(out['boxes'] - batch['boxes'])).max() > 1


def test_boxes_that_leave_the_image_lose_their_masks():
    """Moved by half the image down, of which a third of the first box, a quarter of the second stays, none of the last;
    zeros that pad boxes stay zeros, and a mask that was 0 stays 0."""
    boxes = jnp.array([[13.0, 2, 16, 4], [13, 2, 17, 4], [17, 2, 19, 4], [2, 5, 4, 6], [0, 0, 0, 0], [2, 5, 4, 6]])
    mask = jnp.array([1.0, 1, 1, 1, 0, 0])
    got, kept = box_transforms.warp_boxes(boxes, mask, (24, 8), jnp.array([2.0, 1.0]), jnp.eye(2),
                                          jnp.array([-20.0, 0.0]))
    assert kept.tolist() == [1, 0, 0, 1, 0, 0]
    np.testing.assert_allclose(got, [[23, 2, 24, 4], [0] * 4, [0] * 4, [12, 5, 14, 6], [0] * 4, [0] * 4], atol=1e-5)


def test_proposals_move_as_boxes_do_and_outside_is_no_mirror():
    batch = boxed((28, 36), BOXES2)
    batch |= {'proposals': batch['boxes'], 'proposal_mask': batch['box_mask']}
    batch |= {'ignored_boxes': batch['boxes'], 'ignored_mask': batch['box_mask']}
    out = jax.jit(Recipe(flip=0.5, zoom=1.0, zoom_range=(0.4, 0.5), rotate=1.0))(batch, KEY)
    np.testing.assert_array_equal(out['proposals'], out['boxes'])
    here = out['box_mask'] > 0  # a region also stays where most of it is outside
    np.testing.assert_array_equal(out['ignored_boxes'][here], out['boxes'][here])
    np.testing.assert_array_equal(out['proposal_mask'], out['box_mask'])
    for image in np.asarray(out['image'][..., 0]):
        assert ndimage.label(image > 0.02)[1] == 1  # a mirror would show the cuboid again, without a box
    without = jax.jit(Recipe(flip=0.5, zoom=1.0, zoom_range=(0.4, 0.5), rotate=1.0, fill='nearest'))(
        {name: batch[name] for name in ('image', 'index')}, KEY)
    np.testing.assert_array_equal(without['image'], out['image'])


@pytest.mark.parametrize('recipe', [dict(elastic=0.2), dict(mixup=0.2), dict(cutmix=1.0)])
def test_transforms_that_boxes_cannot_follow_are_refused(recipe):
    name, = recipe
    with pytest.raises(InputError, match=f'config.augment.{name}: .*expected 0 where images have boxes'):
        Recipe(**recipe)(boxed((28, 36), BOXES2), KEY)
