"""Grad-CAM and Grad-CAM++ by hand, and their choice of a layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.tasks.classification.saliency.activation_maps import grad_cam
from tests.tasks.classification.saliency.networks import (
    IMAGE,
    Spot,
    attending,
    explained,
    forward_of,
    linear,
    random_cnn,
    with_spot,
)


def test_grad_cam_is_the_weighted_sum_by_hand():
    module, variables, image, target = random_cnn()
    forward = forward_of(module, variables)
    feature = np.asarray(forward(image, {})[1]['a_second'])
    # A mean over 16 places and a dense layer: the gradient is that layer's weight over 16, everywhere.
    weights = np.asarray(variables['params']['Dense_0']['kernel'])[:, target].T / 16
    cam = np.maximum((feature * weights[:, None, None]).sum(-1), 0)
    want = jax.image.resize(cam, image.shape[:-1], 'linear')
    np.testing.assert_allclose(explained('grad_cam', forward, image, target), want, atol=1e-6)
    np.testing.assert_allclose(explained('grad_cam', forward, image, target, layer='a_second'), want, atol=1e-6)
    # Of Grad-CAM++ the weights are those of Chattopadhay's equation 19, with the positive gradients alone.
    share = 1 / (2 + feature.sum((1, 2), keepdims=True) * weights[:, None, None])
    plus = np.broadcast_to(share * np.maximum(weights, 0)[:, None, None], feature.shape).sum((1, 2), keepdims=True)
    want = jax.image.resize(np.maximum((feature * plus).sum(-1), 0), image.shape[:-1], 'linear')
    np.testing.assert_allclose(explained('grad_cam_pp', forward, image, target), want, rtol=1e-4, atol=1e-6)


def test_a_finer_layer_is_taken_where_it_is_named_and_another_is_refused():
    forward = forward_of(Spot(), {})
    image, _ = with_spot()
    target = jnp.array([1])
    fine, coarse = (explained('grad_cam', forward, image, target, layer=layer) for layer in ('bright', ''))
    assert (np.asarray(fine) > 0).sum() == 4 < (np.asarray(coarse) > 0).sum()
    module, variables, image, target = random_cnn()
    with pytest.raises(InputError, match="'pooled'.*z_first, a_second$"):
        grad_cam(forward_of(module, variables), image, target, layer='pooled')
    volume = attending(np.zeros((1, 1, 1, 9, 9), np.float32), (2, 2, 2))  # with as many axes as a volume's feature
    with pytest.raises(InputError, match="'attention'.*spatial grid; those it has are: tokens$"):
        grad_cam(volume, jnp.zeros((1, 4, 4, 4, 1)), target[:1], layer='attention')
    with pytest.raises(InputError, match='none$'):
        grad_cam(linear, IMAGE, target)
