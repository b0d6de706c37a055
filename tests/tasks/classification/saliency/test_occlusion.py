"""Occlusion by hand."""

import jax.numpy as jnp
import numpy as np

from tests.tasks.classification.saliency.networks import IMAGE, WEIGHTS, explained, linear


def test_occlusion_of_a_linear_model_is_the_windows_sum_averaged_over_the_windows_there():
    got = explained('occlusion', linear, IMAGE, jnp.array([1, 1]), window=(4, 5), stride=(2, 5), fill=0.0)[0]
    first, second = ((WEIGHTS[1] * IMAGE[0])[rows].sum() for rows in (slice(0, 4), slice(2, 6)))
    want = np.repeat([first, first, (first + second) / 2, (first + second) / 2, second, second], 5).reshape(6, 5)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
