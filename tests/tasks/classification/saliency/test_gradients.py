"""Integrated gradients and SmoothGrad, by hand and by completeness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.tasks.classification.saliency.gradients import completeness_error
from tests.tasks.classification.saliency.networks import (
    IMAGE,
    WEIGHTS,
    explained,
    forward_of,
    linear,
    random_cnn,
)


def test_integrated_gradients_of_a_linear_model_are_weights_times_the_difference():
    got = explained('integrated_gradients', linear, IMAGE, jnp.array([1, 0]), baseline=0.25)
    np.testing.assert_allclose(got, (WEIGHTS[[1, 0]] * (IMAGE - 0.25)).sum(-1), atol=1e-4)


def test_smooth_gradients_of_a_linear_model_are_its_absolute_weights():
    got = explained('smooth_grad', linear, IMAGE, jnp.array([0, 1]), samples=3)
    np.testing.assert_allclose(got, np.abs(WEIGHTS).sum(-1), rtol=1e-5)


def test_a_single_logit_explains_class_1_and_its_negative_class_0():
    one = lambda image, _: (linear(image, {})[0][:, :1], {})
    got = explained('integrated_gradients', one, IMAGE, jnp.array([1, 0]))
    np.testing.assert_allclose(got, (WEIGHTS[0] * IMAGE).sum(-1) * np.array([1, -1])[:, None, None], atol=1e-4)


@pytest.mark.parametrize('dims', [2, 3])
def test_integrated_gradients_are_complete_to_1e_3(dims):
    module, variables, image, target = random_cnn(dims, size=8 if dims == 2 else 4)
    steep = jax.tree.map(lambda x: 8 * x, variables)  # logits that differ by much more than 1e-3, and kinks on the way
    forward = jax.jit(forward_of(module, steep))
    maps = explained('integrated_gradients', forward, image, target)
    change = np.take_along_axis(np.asarray(forward(image, {})[0] - forward(0 * image, {})[0]), target[:, None], 1)[:, 0]
    missed = np.abs(np.asarray(maps).sum(tuple(range(1, dims + 1))) - change)
    assert maps.shape == image.shape[:-1] and np.abs(change).min() > 0.2
    assert (missed <= 1e-3 * np.maximum(np.abs(change), 1)).all()
    # With few points the sum is incomplete, and the error is reported.
    rough = explained('integrated_gradients', forward, image, target, most=12)
    errors = [completeness_error(forward, image, target, m) for m in (maps, rough)]
    np.testing.assert_allclose(errors[0], missed, atol=1e-4)
    assert errors[1].max() > 1e-3 * np.abs(change).max()


def test_integrated_gradients_are_the_midpoint_rules_at_any_refinement():
    steep = lambda image, _: ((image**4).sum((1, 2, 3))[:, None], {})
    image = jnp.full((1, 2, 2, 1), 2.0)
    for points in (12, 36, 108):
        got = explained('integrated_gradients', steep, image, jnp.array([1]), tolerance=0.0, most=points)
        middle = (np.arange(points) + 0.5) / points
        np.testing.assert_allclose(got, np.full((1, 2, 2), (4 * (2 * middle) ** 3).mean() * 2), rtol=1e-5)
