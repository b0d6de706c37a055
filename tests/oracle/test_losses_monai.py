"""Losses, value and gradient, against MONAI's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.losses.segmentation import SMOOTH, _skeleton, weighted_sum

torch = pytest.importorskip('torch')
monai = pytest.importorskip('monai.losses')
from monai.losses.cldice import soft_skel  # noqa: E402

rng = np.random.default_rng(0)
FORM = dict(include_background=False, to_onehot_y=True, softmax=True)
DICE = dict(FORM, smooth_nr=SMOOTH, smooth_dr=SMOOTH)


class CrossEntropy(torch.nn.Module):
    """The mean over the examples of each one's mean, which with weights is not the mean of all voxels."""

    def __init__(self, classes=None):
        super().__init__()
        self.classes = None if classes is None else torch.tensor(classes)

    def forward(self, logits, label):
        return torch.stack([torch.nn.functional.cross_entropy(x, y.long(), self.classes)
                            for x, y in zip(logits[:, None], label)]).mean()


ORACLES = {
    'soft_dice': ({}, lambda: monai.DiceLoss(**DICE)),
    'soft_dice squared': ({'squared': True}, lambda: monai.DiceLoss(**DICE, squared_pred=True)),
    'tversky': ({'alpha': 0.2, 'beta': 0.6}, lambda: monai.TverskyLoss(**DICE, alpha=0.2, beta=0.6)),
    # MONAI's sums are in voxels to the power of -1, ours in units of the largest weight.
    'generalised_dice': ({}, lambda: monai.GeneralizedDiceLoss(**FORM, smooth_nr=1e-9, smooth_dr=1e-9)),
    'cross_entropy': ({}, CrossEntropy),
    'cross_entropy weighted': ({'classes': (1.0, 4.0, 0.5)}, lambda: CrossEntropy((1.0, 4.0, 0.5))),
}


@pytest.mark.parametrize('shape', [(8, 9), (6, 5, 4)])
@pytest.mark.parametrize('name', ORACLES)
def test_value_and_gradient(name, shape):
    options, oracle = ORACLES[name]
    logits = rng.normal(size=(2, *shape, 3)).astype(np.float32)
    label = rng.integers(0, 3, (2, *shape))
    terms = {name.split()[0]: {'weight': 1.0, **options}}
    value, slope = jax.value_and_grad(lambda x: weighted_sum(x, jnp.asarray(label), terms).mean())(jnp.asarray(logits))
    x = torch.tensor(np.moveaxis(logits, -1, 1), requires_grad=True)
    loss = oracle()(x, torch.tensor(label[:, None]))
    loss.backward()
    np.testing.assert_allclose(value, loss.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(np.moveaxis(np.asarray(slope), -1, 1), x.grad.numpy(), atol=1e-5)


@pytest.mark.parametrize('gamma', [1.0, 2.0])
def test_focal(gamma):
    logits = rng.normal(size=(2, 8, 9, 1)).astype(np.float32)
    label = rng.integers(0, 2, (2, 8, 9))
    terms = {'focal': {'gamma': gamma}}
    value, slope = jax.value_and_grad(lambda x: weighted_sum(x, jnp.asarray(label), terms).mean())(jnp.asarray(logits))
    x = torch.tensor(np.moveaxis(logits, -1, 1), requires_grad=True)
    loss = monai.FocalLoss(gamma=gamma)(x, torch.tensor(label[:, None]).float())
    loss.backward()
    np.testing.assert_allclose(value, loss.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(np.moveaxis(np.asarray(slope), -1, 1), x.grad.numpy(), atol=1e-5)


@pytest.mark.parametrize('shape', [(12, 14), (8, 9, 7)])
def test_centreline_dice(shape):
    logits = rng.normal(size=(1, *shape, 1)).astype(np.float32)
    label = rng.integers(0, 2, (1, *shape))
    probs = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(np.moveaxis(np.asarray(_skeleton(jnp.asarray(probs), 3)), -1, 1),
                               soft_skel(torch.tensor(np.moveaxis(probs, -1, 1)), 3).numpy(), atol=1e-5)
    terms = {'cl_dice': {'iterations': 3}}
    value, slope = jax.value_and_grad(lambda x: weighted_sum(x, jnp.asarray(label), terms)[0])(jnp.asarray(logits))
    x = torch.tensor(np.moveaxis(logits, -1, 1), requires_grad=True)
    both = lambda one: torch.cat([1 - one, one], 1)
    # Ours has no `smooth`, which would move the harmonic mean by a fraction of it.
    oracle = monai.SoftclDiceLoss(iter_=3, smooth=1e-7, include_background=False)
    loss = oracle(both(torch.sigmoid(x)), both(torch.tensor(label[:, None]).float()))
    loss.backward()
    np.testing.assert_allclose(value, loss.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(np.moveaxis(np.asarray(slope), -1, 1), x.grad.numpy(), atol=1e-5)
