"""Differentiable augmentation: ranges, invariants and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import diffaugment

KEY = jax.random.key(0)


@pytest.mark.parametrize('shape', [(6, 16, 24, 1), (3, 8, 8, 16, 2)])
def test_translation_shifts_images_and_fills_with_zeros(shape):
    image = 1 + jax.random.uniform(KEY, shape)  # never 0
    shifted, dims = np.asarray(jax.jit(diffaugment.random_translation)(image, jax.random.key(1))), len(shape) - 2
    shifts = []
    for one, original in zip(shifted, np.asarray(image)):
        inside = one[..., 0] != 0
        at = [np.flatnonzero(inside.any(tuple(a for a in range(dims) if a != axis))) for axis in range(dims)]
        low, high = [a[0] for a in at], [a[-1] + 1 for a in at]
        shift = [a if a else -(n - b) for a, b, n in zip(low, high, original.shape)]
        assert all(abs(s) <= n / 8 for s, n in zip(shift, original.shape))
        back = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, shift))
        np.testing.assert_allclose(one[tuple(map(slice, low, high))], original[back], rtol=1e-6)
        shifts.append(tuple(shift))
    assert len(set(shifts)) > 1


def test_cutout_removes_a_box():
    image = jnp.ones((32, 16, 16, 1))
    cut = np.asarray(jax.jit(diffaugment.random_cutout)(image, KEY))[..., 0]
    holes = (cut == 0).sum((1, 2))
    assert holes.max() <= 64 and holes.min() >= 16 and len(set(holes.tolist())) > 3
    for one in cut == 0:  # a box is the product of its rows and columns
        assert one.sum() == one.any(0).sum() * one.any(1).sum()


def test_brightness_and_contrast_by_their_invariants():
    image = jax.random.normal(KEY, (64, 4, 4, 1))
    change = np.asarray(diffaugment.random_brightness(image, KEY)) - np.asarray(image)
    np.testing.assert_allclose(change.std((1, 2, 3)), 0, atol=1e-6)
    assert -0.5 <= change.min() < -0.4 and 0.4 < change.max() <= 0.5
    changed = np.asarray(diffaugment.random_contrast(image, KEY))
    np.testing.assert_allclose(changed.mean((1, 2, 3)), np.asarray(image).mean((1, 2, 3)), atol=1e-5)
    ratio = changed.std((1, 2, 3)) / np.asarray(image).std((1, 2, 3))
    assert 0.5 <= ratio.min() < 0.6 and 1.4 < ratio.max() <= 1.5


def test_gradients_reach_visible_voxels():
    image, kinds = jnp.ones((2, 8, 8, 1)), tuple(diffaugment.KINDS)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: diffaugment.augment(x, KEY, kinds).sum()))(image)
    assert np.isfinite(value) and 0 < (np.asarray(gradient) != 0).mean() <= 1
    cutout_gradient = jax.grad(lambda x: diffaugment.random_cutout(x, KEY).sum())(image)
    np.testing.assert_array_equal(cutout_gradient, diffaugment.random_cutout(image, KEY))


def test_no_kinds_change_nothing_and_their_order_does_not_matter():
    image = jax.random.normal(KEY, (2, 8, 8, 1))
    assert diffaugment.augment(image, KEY, ()) is image
    one, two = (jax.jit(functools.partial(diffaugment.augment, kinds=kinds))(image, KEY)
                for kinds in (('cutout', 'brightness'), ('brightness', 'cutout')))
    np.testing.assert_array_equal(one, two)
