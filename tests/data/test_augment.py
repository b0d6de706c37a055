"""Augmentation: what each transform does, how often, and that a sample depends on nothing but its number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax import build
from medjax.data.augment import RECIPES, Recipe, _blur, _coarsen, _power
from medjax.errors import InputError

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
                                  'elastic'])
def test_transforms_come_as_often_as_they_should(name):
    assert abs(changed(Recipe(**{name: 0.3})).mean() - 0.3) < 0.07
    assert not changed(Recipe(**{name: 0.0})).any() and changed(Recipe(**{name: 1.0})).mean() > 0.98


@pytest.mark.parametrize('name', ['blur', 'low_resolution'])
def test_channels_take_part_by_a_half(name):
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


@pytest.mark.parametrize('recipe, shape, channels', [('nnunet', (8, 12, 10), 1), ('unet', (16, 12), 2)])
def test_samples_together_or_one_by_one_are_the_same(recipe, shape, channels, monkeypatch):
    """An accelerator computes all transforms of all samples at once, a CPU those drawn, sample after sample."""
    recipe, batch = Recipe(**{**RECIPES[recipe], 'elastic': 0.5}), batch_of(12, shape, channels)
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
                                           (Recipe(**RECIPES['unet']), (16, 16, 4))])
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


def test_flips_are_exact_and_independent_of_each_other():
    batch = batch_of(64)
    out = Recipe(flip=0.5)(batch, KEY)
    seen = set()
    for before, after, label, moved in zip(batch['image'], out['image'], batch['label'], out['label']):
        ways = [axes for axes in ((), (0,), (1,), (0, 1)) if (np.flip(before, axes) == after).all()]
        assert len(ways) == 1 and (np.flip(label, ways[0]) == moved).all()
        seen.add(ways[0])
    assert len(seen) == 4
    only = Recipe(flip=1.0, flip_axes=(1,))(batch, KEY)
    np.testing.assert_array_equal(only['image'], batch['image'][:, :, ::-1])


def test_thin_patches_keep_their_slices():
    """16 × 16 × 4: turned, zoomed and coarsened within its slices alone."""
    ramp = jnp.broadcast_to(jnp.arange(4.0), (3, 16, 16, 4))[..., None]
    batch = {'image': ramp, 'label': ramp[..., 0].astype(jnp.int32), 'index': jnp.arange(3, dtype=jnp.uint32)}
    out = Recipe(rotate=1.0, zoom=1.0, elastic=1.0, low_resolution=1.0)(batch, KEY)
    np.testing.assert_allclose(out['image'], ramp, atol=1e-5)


def test_blur_is_scipys():
    image = rng.normal(size=(9, 1, 12, 2)).astype(np.float32)
    got = _blur(jnp.asarray(image), jnp.array([0.6, 1.4]))
    for channel, sigma in enumerate((0.6, 1.4)):
        want = ndimage.gaussian_filter(image[..., channel], (sigma, 0, sigma), mode='nearest', radius=(6, 0, 6))
        np.testing.assert_allclose(got[..., channel], want, atol=1e-5)


def test_low_resolution_by_two_is_every_other_voxel_and_cubics():
    line = rng.normal(size=(16, 1)).astype(np.float32)
    got = np.asarray(_coarsen(jnp.asarray(line), jnp.array([2.0]), [0]))[:, 0]
    coarse = line[[int(np.round(2 * i + 0.5)) for i in range(8)], 0]
    # Halfway between two coarse voxels at a quarter: Keys' weights at 0.25 are (-9, 111, 29, -3) / 128.
    i = 3  # voxel 7 lies a quarter above coarse voxel 3
    want = (-9 * coarse[i - 1] + 111 * coarse[i] + 29 * coarse[i + 1] - 3 * coarse[i + 2]) / 128
    assert got[7] == pytest.approx(want, abs=1e-5)
    flat = jnp.ones((10, 6, 1))
    np.testing.assert_allclose(_coarsen(flat, jnp.array([1.7]), [0, 1]), flat, atol=1e-5)


def test_gamma_keeps_the_range():
    image = jnp.asarray(rng.normal(size=(10, 10, 2)), jnp.float32)
    for gamma in (0.7, 1.5):
        out = _power(image, gamma)
        np.testing.assert_allclose(out.min((0, 1)), image.min((0, 1)), atol=1e-5)
        np.testing.assert_allclose(out.max((0, 1)), image.max((0, 1)), atol=1e-5)
        assert (np.sign(out - image)[np.abs(out - image) > 1e-5] == (1 if gamma < 1 else -1)).all()
    np.testing.assert_allclose(_power(jnp.zeros((3, 3, 1)), 0.7), 0)  # a constant patch stays what it is


@pytest.mark.parametrize('shape, most', [((64, 192), 15), ((80, 192), 15), ((96, 96), 180)])
def test_2d_patches_turn_as_nnunet_turns_them(shape, most):
    """The angle, found from where the centre's neighbour is read."""
    recipe, found = Recipe(rotate=1.0), []
    ramp = jnp.moveaxis(jnp.indices(shape, jnp.float32), 0, -1)
    for index in range(12):
        out = recipe({'image': ramp[None], 'index': jnp.array([index], jnp.uint32)}, KEY)['image'][0]
        x, y = shape[0] // 2, shape[1] // 2
        across = np.asarray(out[x + 4, y] - out[x, y])
        found.append(np.rad2deg(np.arctan2(across[1], across[0])))
    assert most / 4 < np.abs(found).max() <= most + 0.1


def test_spacing_decides_how_far_a_turn_goes():
    batch = batch_of(2, (20, 20))
    recipe = Recipe(rotate=1.0, degrees=30.0)
    even = recipe(batch, KEY)['image']
    np.testing.assert_allclose(recipe({**batch, 'spacing': jnp.full((2, 2), 0.4)}, KEY)['image'], even, atol=1e-4)
    thick = recipe({**batch, 'spacing': jnp.array([[1.0, 3.0]] * 2)}, KEY)['image']
    assert np.abs(thick - even).max() > 0.05


@pytest.mark.parametrize('section, message', [
    (dict(name='nnunett'), "config.augment.name: 'nnunett' is not known"),
    (dict(name='nnunet', rotation=1), 'config.augment.rotation: nothing reads this key'),
    (dict(name='flip', flip=1.5), 'config.augment.flip: 1.5; expected a probability'),
    (dict(name='flip', zoom_range=(2, 1)), 'config.augment.zoom_range'),
])
def test_bad_options_are_named(section, message):
    with pytest.raises(InputError, match=message):
        build.augmentation(section)


def test_axes_that_are_not_there_are_named():
    with pytest.raises(InputError, match='config.augment.flip_axes'):
        Recipe(flip=0.5, flip_axes=(2,))(batch_of(1), KEY)
