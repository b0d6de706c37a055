"""Figures of made images: against scipy and scikit-learn, closed forms and plain loops."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel

from medjax.errors import InputError
from medjax.metrics import generative


def drawn(seed, count, size=4, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(shift, scale, (count, size))


def test_frechet_distance_of_diagonal_normals_by_hand():
    # (3 - 1)² + (2 - 1)² + (3 - 1)²: means apart by 2, deviations 2 and 1, 3 and 1
    found = generative.frechet_distance(np.array([3.0, 0]), np.diag([4.0, 9.0]), np.array([1.0, 0]), np.eye(2))
    assert found == pytest.approx(4 + 1 + 4)


def test_fid_equals_the_matrix_square_root():
    real, fake = drawn(0, 50) @ drawn(2, 4), drawn(1, 40, shift=0.3)
    one, two = np.cov(real.T), np.cov(fake.T)
    want = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(one + two - 2 * np.real(sqrtm(one @ two)))
    assert generative.fid(real, fake) == pytest.approx(want, rel=1e-8)
    assert generative.fid(real, real) == pytest.approx(0, abs=1e-8)
    few = generative.fid(real[:3], fake[:3])  # covariances that have no full rank
    assert np.isfinite(few) and few > 0


def test_moments_count_an_image_as_often_as_it_is_drawn():
    x, times = drawn(0, 5), np.array([2, 0, 1, 3, 1])
    mean, covariance = generative.moments(x, times)
    again = x.repeat(times, 0)
    np.testing.assert_allclose(mean, again.mean(0))
    np.testing.assert_allclose(covariance, np.cov(again.T))


def test_kid_is_the_mean_over_pairs():
    real, fake = drawn(0, 7), drawn(1, 6, shift=0.5)

    def within(x):
        k = polynomial_kernel(x, degree=3)
        return np.mean([k[i, j] for i in range(len(x)) for j in range(len(x)) if i != j])
    want = within(real) + within(fake) - 2 * polynomial_kernel(real, fake, degree=3).mean()
    assert generative.kid(real, fake) == pytest.approx(want, rel=1e-10)


def test_kid_has_no_bias_and_fid_has():
    """Of two halves of one distribution, over many draws."""
    pairs = [(drawn(2 * seed, 12), drawn(2 * seed + 1, 12)) for seed in range(300)]
    found = np.array([generative.kid(*pair) for pair in pairs])
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(len(found))
    assert np.mean([generative.fid(*pair) for pair in pairs]) > 0.5


def test_drawn_images_count_as_often_but_are_no_pairs_of_themselves():
    real, fake = drawn(0, 4), drawn(1, 5, shift=1)
    kernels, times = generative.kid_kernels(real, fake), np.array([[1, 1, 1, 1], [2, 0, 1, 1]])
    both = kernels.distance(times, np.ones((2, 5)))
    assert both[0] == pytest.approx(generative.kid(real, fake))
    k, at = kernels.real, [0, 0, 2, 3]
    within = np.mean([k[i, j] for m, i in enumerate(at) for n, j in enumerate(at) if i != j])
    other = np.mean([kernels.fake[i, j] for i in range(5) for j in range(5) if i != j])
    assert both[1] == pytest.approx(within + other - 2 * kernels.across[at].mean())


def test_pairs_of_one_image_are_not_counted():
    assert np.isnan(generative.mean_over_pairs(np.ones((2, 2)), np.array([3, 0])))


@pytest.mark.parametrize('near', [1, 3])
def test_precision_and_recall_equal_plain_loops(near):
    real, fake = drawn(0, 20, 2), drawn(1, 15, 2, shift=0.8)

    def ball(x, i):
        return sorted(np.linalg.norm(x[i] - x[j]) for j in range(len(x)) if j != i)[near - 1]

    def among(x, others):
        return [[np.linalg.norm(one - others[i]) <= ball(others, i) for i in range(len(others))] for one in x]
    in_real, in_fake = np.array(among(fake, real)), np.array(among(real, fake))
    precise, recalled = generative.precision_recall(real, fake, near)
    np.testing.assert_array_equal(precise, in_real.any(1))
    np.testing.assert_array_equal(recalled, in_fake.any(1))
    density, covered = generative.density_coverage(real, fake, near)
    np.testing.assert_allclose(density, in_real.sum(1) / near)
    np.testing.assert_array_equal(covered, in_real.any(0))
    assert 0 < precise.mean() < 1 and 0 < covered.mean() < 1


def test_a_collapsed_generator_is_precise_and_recalls_nothing():
    real = drawn(0, 60, 2)
    fake = real[:1] + drawn(1, 60, 2, scale=1e-3)
    precise, recalled = generative.precision_recall(real, fake)
    density, covered = generative.density_coverage(real, fake)
    assert precise.all() and recalled.mean() < 0.05 and covered.mean() < 0.2 and density.mean() > 0.5
    distances = generative.image_distances(real, fake)
    varied = [generative.mean_over_pairs(x, np.ones(60)) for x in (distances.real, distances.fake)]
    assert varied[1] < 0.01 * varied[0]


def test_nearest_by_hand():
    known = np.array([[[0.0, 0]], [[3, 4]], [[10, 0]]])
    far, which = generative.nearest_neighbours(np.array([[[3.0, 4]], [[9, 0]]]), known)
    np.testing.assert_allclose(far, [0, np.sqrt(1 / 2)])
    np.testing.assert_array_equal(which, [1, 2])
    far, which = generative.nearest_neighbours(known, known, own=np.arange(3))
    np.testing.assert_allclose(far, np.sqrt(np.array([25, 25, 65]) / 2))
    np.testing.assert_array_equal(which, [1, 0, 1])
    twins = np.array([[1.0], [1.0], [5.0]])
    np.testing.assert_allclose(generative.nearest_neighbours(twins[1:], twins, own=np.array([1, 2]))[0], [0, 4])
    assert np.isnan(generative.nearest_neighbours(twins[:1], twins[:1], own=np.array([0]))[0]).all()


@pytest.mark.parametrize('real, fake, message', [
    (drawn(0, 3), drawn(0, 3, 5), r'features \(3, 4\) and \(3, 5\); expected \[n, F\] and \[m, F\]'),
    (drawn(0, 1), drawn(0, 3), r'of at least two images'),
    (drawn(0, 3), np.array([[0, 0, 0, 0], [0, np.nan, 0, 0.0]]), r'features of the generated image 1 are not finite'),
])
def test_invalid_input_is_refused(real, fake, message):
    for figure in (generative.fid, generative.kid, generative.precision_recall, generative.density_coverage):
        with pytest.raises(InputError, match=message):
            figure(real, fake)
