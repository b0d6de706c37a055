"""RandAugment's operations: Pillow's results, what magnitude 0 and any scale of intensities give, which are drawn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats

from medjax.data.transforms import randaugment
from medjax.data.transforms.augment import RECIPES, Recipe
from medjax.data.transforms.randaugment import INTENSITIES, OPERATIONS

rng = np.random.default_rng(0)
PICTURE = ndimage.gaussian_filter(rng.normal(size=(24, 20)), 1.5)
PICTURE = np.round((PICTURE - PICTURE.min()) / np.ptp(PICTURE) * 255).astype(np.uint8)  # from 0 to 255


def only(name, sign=1.0):
    return jnp.zeros(len(OPERATIONS)).at[OPERATIONS.index(name)].set(sign)


def changed(name, magnitude, sign=1.0, picture=PICTURE):
    image = jnp.asarray(picture, jnp.float32)
    change = functools.partial(INTENSITIES[name], level=magnitude / 10, sign=jnp.float32(sign))
    out = randaugment._change_scaled(change, image[..., None] if image.ndim == 2 else image)
    return np.asarray(out[..., 0] if image.ndim == 2 else out)


@pytest.mark.parametrize('magnitude, sign', [(9, 1), (9, -1), (4, 1)])
@pytest.mark.parametrize('name', ['brightness', 'contrast', 'sharpness'])
def test_factors_equal_pillow(name, magnitude, sign):
    enhance = getattr(ImageEnhance, name.capitalize())(Image.fromarray(PICTURE)).enhance(1 + 0.09 * magnitude * sign)
    inner = slice(1, -1) if name == 'sharpness' else slice(None)  # Pillow leaves the outermost pixels as they are
    want = np.asarray(enhance, np.float32)[inner, inner]
    np.testing.assert_allclose(changed(name, magnitude, sign)[inner, inner], want, atol=1.5)  # it rounds, or cuts off


def test_solarise_and_posterise_equal_pillow():
    picture = Image.fromarray(PICTURE)
    for magnitude in (0, 3, 9, 10):
        want = ImageOps.solarize(picture, 256 * (1 - magnitude / 10))
        np.testing.assert_allclose(changed('solarise', magnitude), np.asarray(want, np.float32), atol=1e-3)
    for magnitude, bits in ((3, 7), (5, 6), (9, 4)):
        kept = np.asarray(ImageOps.posterize(picture, bits)) >> (8 - bits)
        got = changed('posterise', magnitude) / 255 * (2**bits - 1)  # from 0 to 255, where Pillow's whitest is 240
        assert (np.abs(got - kept) < 1e-3).mean() > 0.9 and np.abs(got - kept).max() < 1.001
        np.testing.assert_allclose(got, np.round(got), atol=1e-3)


def test_equalised_pictures_have_each_grey_equally_often():
    rank = stats.rankdata(PICTURE, 'max').reshape(PICTURE.shape)
    np.testing.assert_allclose(changed('equalise', 9), (rank - rank.min()) / (rank.size - rank.min()) * 255, atol=1e-2)


def test_gamma_and_autocontrast_by_hand():
    np.testing.assert_allclose(changed('gamma', 10), 255 * (PICTURE / 255) ** 2, atol=1e-2)
    np.testing.assert_allclose(changed('gamma', 10, -1), 255 * (PICTURE / 255) ** 0.5, atol=1e-2)
    # 200 pixels from 100 to 140, and one each at 0 and 255, which are less than a hundredth.
    narrow = np.concatenate([[0, 255], np.linspace(100, 140, 200)]).reshape(2, 101)
    out = changed('autocontrast', 5, picture=narrow)
    assert out.min() == 0 and out.max() == 255
    np.testing.assert_allclose(out.reshape(-1)[2:], ((narrow.reshape(-1)[2:] - 100) / 40 * 255), atol=12)


def test_magnitude_0_has_no_effect_except_for_operations_without_magnitude():
    for name in INTENSITIES:
        same = np.allclose(changed(name, 0), PICTURE, atol=1e-3)
        assert same == (name not in ('autocontrast', 'equalise')), name
    for name in randaugment.GEOMETRY:
        matrix, shift = randaugment.geometric_map(only(name), 0)
        np.testing.assert_array_equal(matrix, np.eye(2))
        np.testing.assert_array_equal(shift, 0)


@pytest.mark.parametrize('name', INTENSITIES)
def test_operations_are_of_any_scale_and_of_each_channel_alone(name):
    two = np.stack([PICTURE, PICTURE[::-1] ** 2 / 255], -1)
    for sign in (1, -1):
        out = changed(name, 7, sign, two)
        moved = changed(name, 7, sign, two * [0.003, 40] - [2, -1000])  # a z-score, and HU
        np.testing.assert_allclose((moved + [2, -1000]) / [0.003, 40], out, atol=0.1)
        np.testing.assert_allclose(out[..., 1], changed(name, 7, sign, two[..., 1]), atol=1e-3)
        assert out.min() > -1e-3 and out.max() < 255.001
        flat = changed(name, 7, sign, np.full((5, 4, 1), -3.5))
        np.testing.assert_array_equal(flat, -3.5)


@pytest.mark.parametrize('name, matrix, shift', [
    ('rotate', [[np.cos(np.pi / 6), -0.5], [0.5, np.cos(np.pi / 6)]], (0, 0)),
    ('shear_rows', [[1, 0.3], [0, 1]], (0, 0)), ('shear_columns', [[1, 0], [0.3, 1]], (0, 0)),
    ('shift_rows', np.eye(2), (0.45, 0)), ('shift_columns', np.eye(2), (0, 0.45))])
def test_geometry_at_its_strongest(name, matrix, shift):
    found = randaugment.geometric_map(only(name), 10)
    np.testing.assert_allclose(found[0], matrix, atol=1e-6)
    np.testing.assert_allclose(found[1], shift, atol=1e-6)
    back = randaugment.geometric_map(only(name, -1.0), 10)
    np.testing.assert_allclose(found[0] @ back[0], np.eye(2), atol=1e-6)
    np.testing.assert_allclose(found[1] + back[1], 0, atol=1e-6)
    assert randaugment.has_geometry(only(name)) and not randaugment.has_geometry(only('gamma'))


def test_operations_drawn_are_different_and_equally_often():
    uniform = jax.random.uniform(jax.random.key(1), (4000, len(OPERATIONS), 3))
    for count in (2, len(OPERATIONS)):
        signs = np.asarray(jax.vmap(lambda u, count=count: randaugment.draw_operations(u, count))(uniform))
        assert ((signs != 0).sum(1) == count).all() and set(np.unique(signs)) <= {-1, 0, 1}
        share = count / len(OPERATIONS)
        assert np.abs((signs != 0).mean(0) - share).max() < 4.5 * np.sqrt(share * (1 - share) / 4000) + 1e-9
        assert np.abs(signs.sum(0)).max() < 4.5 * np.sqrt(4000 * share)


def test_a_recipe_has_the_operations_that_its_numbers_draw():
    """Where an operation is the only one drawn, a sample is that operation's result; some are left as they were."""
    shape, count = (24, 20), 120
    batch = {'image': jnp.broadcast_to(jnp.asarray(PICTURE, jnp.float32)[..., None], (count, *shape, 1)),
             'index': jnp.arange(count, dtype=jnp.uint32)}
    recipe = Recipe(randaugment_ops=1, randaugment_magnitude=9.0)
    out = np.asarray(jax.jit(recipe)(batch, jax.random.key(0))['image'])[..., 0]
    wants = {(name, sign): changed(name, 9, sign) for name in INTENSITIES for sign in (1, -1)}
    seen = [next((name for (name, _), want in wants.items() if np.abs(picture - want).max() < 0.1), 'moved')
            for picture in out]
    seen = ['identity' if (picture == PICTURE).all() else name for picture, name in zip(out, seen)]
    assert set(seen) == {'identity', 'moved', *INTENSITIES}
    assert abs(seen.count('moved') / count - 5 / 14) < 0.15
    assert RECIPES['randaugment']['randaugment_ops'] == 2 and RECIPES['randaugment']['randaugment_magnitude'] == 9
