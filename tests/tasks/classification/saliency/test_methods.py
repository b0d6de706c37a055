"""What all saliency methods have in common."""

import jax.numpy as jnp
import numpy as np
import pytest

from medjax.tasks.classification.saliency.methods import METHODS
from tests.tasks.classification.saliency.networks import Spot, explained, forward_of, with_spot


@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('method', [name for name in METHODS if name != 'attention_rollout'])
def test_maps_peak_where_the_filter_responds(method, dims):
    image, where = with_spot(dims, size=16 if dims == 2 else 14, at=6)
    maps = np.asarray(explained(method, forward_of(Spot(), {}), image, jnp.array([1])))
    assert maps.shape == image.shape[:-1] and maps.dtype == np.float32
    assert where[np.unravel_index(maps[0].argmax(), where.shape)]
    assert maps[0][where].mean() > 4 * np.abs(maps[0][~where]).mean()


def test_a_map_explains_the_requested_class():
    image, where = with_spot()
    two = jnp.concatenate([image, image])
    forward = forward_of(Spot(), {})
    for method in ('integrated_gradients', 'occlusion'):
        against, speaks = explained(method, forward, two, jnp.array([0, 1]))
        np.testing.assert_allclose(against, -speaks, atol=1e-6)
    assert not np.asarray(explained('grad_cam', forward, two, jnp.array([0, 1])))[0].any()
