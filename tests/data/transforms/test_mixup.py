"""mixup and CutMix: the shares are what the pixels say, and of the distribution that they should be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from scipy import ndimage, stats

from medjax.data.transforms import mixup
from medjax.data.transforms.augment import Recipe

KEY = jax.random.key(5)


def numbered(count, shape, start=0):
    """Image i is of the number i all over."""
    numbers = jnp.arange(start, start + count)
    image = jnp.broadcast_to(numbers.reshape(-1, *[1] * (len(shape) + 1)).astype(jnp.float32), (count, *shape, 2))
    return {'image': image, 'label': numbers * 10, 'index': numbers.astype(jnp.uint32), 'mask': jnp.ones(count)}


@pytest.mark.parametrize('alpha', [0.2, 0.5, 1.0, 4.0])
def test_shares_are_of_the_beta_distribution(alpha):
    first, second = jax.random.uniform(jax.random.key(2), (2, 20000))
    drawn = np.asarray(mixup.symmetric_beta(jnp.float32(alpha), first, second), np.float64)
    assert abs(drawn.mean() - 0.5) < 0.01 and drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
    places = np.linspace(0.005, 0.995, 100)  # beyond, float32 rounds 2 in a hundred of Beta(.2, .2) to 1
    below = np.searchsorted(np.sort(drawn), places) / len(drawn)
    np.testing.assert_allclose(below, stats.beta(alpha, alpha).cdf(places), atol=1.63 / np.sqrt(len(drawn)))


def test_shares_at_the_ends_are_shares():
    ends = jnp.array([0.0, 2.0**-23, 0.25, 0.5, 0.75, 1 - 2.0**-23])
    for alpha in (1e-3, 0.2, 1.0, 100.0):
        drawn = mixup.symmetric_beta(jnp.float32(alpha), ends[:, None], ends)
        assert ((drawn >= 0) & (drawn <= 1)).all()
    # By hand, alpha = 1/2, where T is Cauchy's: first = 1/4 and second = 1/3 make T = √15 · -1/2.
    t = -np.sqrt(15) / 2
    assert mixup.symmetric_beta(0.5, 0.25, 1 / 3) == pytest.approx(0.5 + t / (2 * np.sqrt(1 + t**2)), abs=1e-6)


@pytest.mark.parametrize('shape', [(20, 31), (9, 12, 7)])
def test_cutmix_takes_a_box_and_its_share_is_that_of_the_pixels(shape):
    count = 64
    out = jax.jit(Recipe(cutmix=1.0))(numbered(count, shape), KEY)
    image, share = np.asarray(out['image']), np.asarray(out['share'])
    np.testing.assert_array_equal(out['label'], np.arange(count) * 10)
    np.testing.assert_array_equal(out['partner'], np.roll(np.arange(count) * 10, -1))
    cut = 0
    for number, picture in enumerate(image):
        own = picture == number
        assert (own[..., 0] == own[..., 1]).all() and ((picture == (number + 1) % count) | own).all()
        assert own[..., 0].mean() == pytest.approx(share[number], abs=1e-6)
        taken = ~own[..., 0]
        if taken.any():
            edges = ndimage.find_objects(taken.astype(int))[0]
            assert taken[edges].all()
            cut += 1
    assert cut > 50 and out['share'].dtype == jnp.float32
    assert 0.6 < share.mean() < 0.85 and share.min() < 0.4  # a box cut off at the border takes less than it was drawn


def test_a_box_by_hand():
    centre = jnp.array([[0.5, 0.5], [0.0, 0.9], [0.5, 0.5], [0.3, 0.3]])
    low, high = mixup.cutmix_box(jnp.array([0.75, 0.75, 0.0, 1.0]), centre, (20, 40))
    np.testing.assert_array_equal(low, [[5, 10], [0, 26], [0, 0], [6, 12]])
    np.testing.assert_array_equal(high, [[15, 30], [5, 40], [20, 40], [6, 12]])
    solid = mixup.cutmix_box(jnp.array([1 - 1 / 8]), jnp.full((1, 3), 0.5), (8, 8, 16))
    np.testing.assert_array_equal(solid[1] - solid[0], [[4, 4, 8]])


def test_mixup_weighs_intensities_by_the_share():
    batch = numbered(32, (6, 5, 4))
    unknown = np.random.default_rng(0).choice([0, 1, np.nan], (32, 3)).astype(np.float32)
    out = jax.jit(Recipe(mixup=0.4))({**batch, 'label': jnp.asarray(unknown)}, KEY)
    share = np.asarray(out['share'])
    want = share * np.arange(32) + (1 - share) * np.roll(np.arange(32), -1)
    np.testing.assert_allclose(out['image'].mean((1, 2, 3, 4)), want, atol=1e-4)
    np.testing.assert_allclose(out['image'].std((1, 2, 3, 4)), 0, atol=1e-4)
    np.testing.assert_array_equal(out['label'], unknown)
    np.testing.assert_array_equal(out['partner'], np.roll(unknown, -1, 0))
    assert len(np.unique(share)) == 32 and share.min() < 0.2 and share.max() > 0.8


def test_with_both_each_sample_has_one_of_them_with_probability_one_half():
    out = jax.jit(Recipe(mixup=1.0, cutmix=1.0))(numbered(400, (8, 8)), KEY)
    image, share = np.asarray(out['image'])[..., 0], np.asarray(out['share'])
    whole = (image == np.floor(image)).all((1, 2))  # cut: no intensity of two images
    assert 160 < whole.sum() < 240
    own = (image == np.arange(400)[:, None, None]).mean((1, 2))
    np.testing.assert_allclose(own[whole], share[whole], atol=1e-6)
    between = share * np.arange(400) + (1 - share) * np.roll(np.arange(400), -1)
    np.testing.assert_allclose(image[~whole].mean((1, 2)), between[~whole], rtol=1e-4, atol=1e-4)
    assert abs(share[~whole].mean() - 0.5) < 0.07


def test_the_weight_depends_on_the_sample_and_the_partner_on_the_batch():
    run = jax.jit(Recipe(flip=0.5, mixup=0.4, cutmix=1.0))
    whole, part = run(numbered(8, (6, 6)), KEY), run(numbered(4, (6, 6), start=2), KEY)
    np.testing.assert_array_equal(part['share'], whole['share'][2:6])
    np.testing.assert_allclose(part['image'][:-1], whole['image'][2:5], atol=1e-6)  # the last has another partner
    assert np.abs(run(numbered(8, (6, 6)), jax.random.key(6))['share'] - whole['share']).max() > 0.1
    alone = run(numbered(1, (6, 6), start=3), KEY)
    np.testing.assert_allclose(alone['image'], 3, atol=1e-6)  # mixed with itself


def test_samples_are_mixed_after_they_were_transformed():
    options = dict(flip=0.5, rotate=1.0, brightness=1.0)
    batch = {**numbered(6, (8, 7)), 'image': jax.random.normal(jax.random.key(0), (6, 8, 7, 1))}
    plain = jax.jit(Recipe(**options))(batch, KEY)['image']
    out = jax.jit(Recipe(**options, mixup=0.5))(batch, KEY)
    share = out['share'].reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(out['image'], share * plain + (1 - share) * jnp.roll(plain, -1, 0), atol=1e-5)


def test_eight_devices_equal_one():
    batch, run = numbered(16, (6, 8)), jax.jit(Recipe(mixup=0.4, cutmix=1.0))
    mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
    spread = run(jax.device_put(batch, NamedSharding(mesh, PartitionSpec('data'))), KEY)
    for name, value in run(batch, KEY).items():
        np.testing.assert_allclose(spread[name], value, atol=1e-6)
