"""Changes that gradients pass, each by hand, of images by themselves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import diffaugment

KEY = jax.random.key(0)


@pytest.mark.parametrize('shape', [(6, 16, 24, 1), (3, 8, 8, 16, 2)])
def test_images_are_moved_and_zeros_come_in(shape):
    image = 1 + jax.random.uniform(KEY, shape)  # never 0
    moved, dims = np.asarray(jax.jit(diffaugment.translated)(image, jax.random.key(1))), len(shape) - 2
    shifts = []
    for one, was in zip(moved, np.asarray(image)):
        there = one[..., 0] != 0
        at = [np.flatnonzero(there.any(tuple(a for a in range(dims) if a != axis))) for axis in range(dims)]
        low, high = [a[0] for a in at], [a[-1] + 1 for a in at]
        shift = [a if a else -(n - b) for a, b, n in zip(low, high, was.shape)]
        assert all(abs(s) <= n / 8 for s, n in zip(shift, was.shape))
        back = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, shift))
        np.testing.assert_allclose(one[tuple(map(slice, low, high))], was[back], rtol=1e-6)
        shifts.append(tuple(shift))
    assert len(set(shifts)) > 1


def test_a_box_is_taken_out():
    image = jnp.ones((32, 16, 16, 1))
    found = np.asarray(jax.jit(diffaugment.holed)(image, KEY))[..., 0]
    holes = (found == 0).sum((1, 2))
    assert holes.max() <= 64 and holes.min() >= 16 and len(set(holes.tolist())) > 3
    for one in found == 0:  # a box: all of the rows and columns that it meets
        assert one.sum() == one.any(0).sum() * one.any(1).sum()


def test_light_and_contrast_by_what_they_keep():
    image = jax.random.normal(KEY, (64, 4, 4, 1))
    lighter = np.asarray(diffaugment.lightened(image, KEY)) - np.asarray(image)
    np.testing.assert_allclose(lighter.std((1, 2, 3)), 0, atol=1e-6)
    assert -0.5 <= lighter.min() < -0.4 and 0.4 < lighter.max() <= 0.5
    changed = np.asarray(diffaugment.contrasted(image, KEY))
    np.testing.assert_allclose(changed.mean((1, 2, 3)), np.asarray(image).mean((1, 2, 3)), atol=1e-5)
    ratio = changed.std((1, 2, 3)) / np.asarray(image).std((1, 2, 3))
    assert 0.5 <= ratio.min() < 0.6 and 1.4 < ratio.max() <= 1.5


def test_gradients_pass_to_what_is_seen():
    image, kinds = jnp.ones((2, 8, 8, 1)), tuple(diffaugment.KINDS)
    found, slope = jax.jit(jax.value_and_grad(lambda x: diffaugment.augmented(x, KEY, kinds).sum()))(image)
    assert np.isfinite(found) and 0 < (np.asarray(slope) != 0).mean() <= 1
    only = jax.grad(lambda x: diffaugment.holed(x, KEY).sum())(image)
    np.testing.assert_array_equal(only, diffaugment.holed(image, KEY))


def test_nothing_is_changed_by_no_kind_and_the_order_given_says_nothing():
    image = jax.random.normal(KEY, (2, 8, 8, 1))
    assert diffaugment.augmented(image, KEY, ()) is image
    one, two = (jax.jit(functools.partial(diffaugment.augmented, kinds=kinds))(image, KEY)
                for kinds in (('cutout', 'brightness'), ('brightness', 'cutout')))
    np.testing.assert_array_equal(one, two)
