"""Image dissimilarities, compared with brute force, their invariants, and images without contrast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.losses import image_similarity

rng = np.random.default_rng(0)
correlation = jax.jit(image_similarity.local_correlation, static_argnames='window')
information = jax.jit(image_similarity.mutual_information, static_argnames='bins')


def images(*shape):
    return [rng.random((2, *shape, 1)).astype(np.float32) for _ in range(2)]


@pytest.mark.parametrize('shape, window', [((9, 7), 5), ((6, 5, 7), 3)])
def test_local_correlation_by_brute_force(shape, window):
    fixed, moved = images(*shape)
    fixed[:, 5:] = 0.25  # constant windows are excluded
    reach, want = window // 2, []
    for f, m in zip(fixed[..., 0], moved[..., 0]):
        values = []
        for place in np.ndindex(*shape):
            box = tuple(slice(max(p - reach, 0), p + reach + 1) for p in place)
            a, b = f[box].astype(float).ravel(), m[box].astype(float).ravel()
            if a.var() > 1e-3 * f.var():
                values.append(np.cov(a, b, bias=True)[0, 1]**2 / (
                    (a.var() + 1e-3 * f.var()) * (b.var() + 1e-3 * m.var())))
        want.append(1 - np.mean(values))
    np.testing.assert_allclose(correlation(fixed, moved, window=window), want, atol=2e-5)


def test_the_gradient_of_the_correlation_equals_finite_differences():
    fixed, moved = images(6, 6)
    cost = jax.jit(lambda m: image_similarity.local_correlation(fixed, m, window=3).sum())
    gradient = np.asarray(jax.jit(jax.grad(cost))(moved))
    for place in ((0, 0, 0, 0), (1, 3, 4, 0)):
        step = np.zeros_like(moved)
        step[place] = 1e-2
        difference = float(cost(moved + step) - cost(moved - step)) / 2e-2
        assert gradient[place] == pytest.approx(difference, rel=0.02, abs=1e-4)


def test_the_correlation_is_invariant_to_contrast_and_brightness():
    fixed, moved = images(8, 8)
    want = correlation(fixed, moved, window=3)
    np.testing.assert_allclose(correlation(fixed, 3 - 2 * moved, window=3), want, atol=1e-4)
    np.testing.assert_allclose(correlation(fixed, 1 - fixed, window=3), 0, atol=0.01)


def _cubic_spline(x):
    x = abs(x)
    return 2 / 3 - x**2 + x**3 / 2 if x < 1 else max(2 - x, 0)**3 / 6


def test_mutual_information_by_brute_force():
    fixed, moved = images(5, 6)
    want = []
    for f, m in zip(fixed, moved):
        joint = np.zeros((8, 8))
        for a, b in zip(f.ravel().astype(float), m.ravel().astype(float)):
            for i, j in np.ndindex(8, 8):
                joint[i, j] += (_cubic_spline(1 + 5 * (a - f.min()) / np.ptp(f) - i) / 30
                                * _cubic_spline(1 + 5 * (b - m.min()) / np.ptp(m) - j))
        assert joint.sum() == pytest.approx(1)
        positive = joint > 0
        independent = np.outer(joint.sum(1), joint.sum(0))
        want.append(-(joint[positive] * np.log(joint[positive] / independent[positive])).sum())
    np.testing.assert_allclose(information(fixed, moved, bins=8), want, rtol=1e-4)


def test_mutual_information_of_a_nonmonotonic_contrast():
    """Dark and bright voxels of one image are both bright in the other."""
    fixed = rng.random((1, 40, 40, 1)).astype(np.float32)
    related, unrelated = (float(information(fixed, image)[0])
                          for image in (np.abs(fixed - 0.5), rng.permutation(fixed.ravel()).reshape(fixed.shape)))
    assert related < -1 < -0.2 < unrelated <= 1e-6


def test_mean_squared_error_and_label_overlap_by_hand():
    moved = jnp.array([1.0, 2, 3, 0]).reshape(1, 2, 2, 1)
    assert image_similarity.mean_squared_error(jnp.zeros((1, 2, 2, 1)), moved)[0] == 3.5
    fixed = np.zeros((1, 4, 1, 3), np.float32)  # three classes with two, four and no voxels
    fixed[0, :2, 0, 0] = fixed[0, :, 0, 1] = 1
    moved = np.zeros_like(fixed)
    moved[0, 1:3, 0, 0], moved[0, :, 0, 1], moved[0, 0, 0, 2] = 1, 0.5, 1
    np.testing.assert_allclose(image_similarity.label_overlap(fixed, moved), [(0.5 + (1 - 4 / 6)) / 2], atol=1e-4)
    assert image_similarity.label_overlap(0 * fixed, moved)[0] == 0


VALUE_AND_GRADIENT = {name: jax.jit(jax.value_and_grad(lambda f, m, loss=loss: loss(f, m).sum(), (0, 1)))
                      for name, loss in image_similarity.DISSIMILARITIES.items()}


@pytest.mark.parametrize('name', image_similarity.DISSIMILARITIES)
@pytest.mark.parametrize('constant', ['fixed', 'moved', 'both'])
def test_images_without_contrast_have_finite_values_and_gradients(name, constant):
    fixed, moved = (np.full((1, 6, 6, 1), 0.3, np.float32) if constant in (which, 'both') else images(6, 6)[0][:1]
                    for which in ('fixed', 'moved'))
    value, gradients = VALUE_AND_GRADIENT[name](fixed, moved)
    assert all(np.isfinite(x).all() for x in (value, *gradients))
    assert float(value) == pytest.approx({'ncc': 1, 'mi': 0, 'mse': float(((fixed - moved)**2).mean())}[name], abs=1e-5)


@pytest.mark.parametrize('section, message', [
    (dict(name='ssd'), r"config\.task\.similarity\.name: 'ssd'; expected one of: ncc, mse, mi"),
    (dict(name='mse', window=9), r'config\.task\.similarity\.window: unknown key; mse takes: no key'),
    (dict(name='ncc', window=8), r'config\.task\.similarity\.window: 8; expected an odd number'),
    (dict(name='mi', bins=2), r'config\.task\.similarity\.bins: 2; expected a whole number from 5 to 256'),
])
def test_invalid_sections_raise(section, message):
    with pytest.raises(InputError, match=message):
        image_similarity.make_dissimilarity(section)
