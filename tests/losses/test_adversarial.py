"""GAN losses and gradient penalties by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.losses import adversarial

# log(1 + e^-x) at 0.5 and -2.
SOFT = {0.5: math.log(1 + math.exp(-0.5)), -2.0: math.log(1 + math.exp(2.0))}
# For each kind the generator's losses for outputs 0.5 and -2, and the discriminator's losses for these outputs and
# outputs 2 and -0.5 for real images.
GOLDEN = {
    'non_saturating': ([SOFT[0.5], SOFT[-2.0]], [math.log(1 + math.exp(-2)) + math.log(1 + math.exp(0.5)),
                                                 math.log(1 + math.exp(0.5)) + math.log(1 + math.exp(-2))]),
    'hinge': ([-0.5, 2.0], [0 + 1.5, 1.5 + 0]),
    'wasserstein': ([-0.5, 2.0], [0.5 - 2, -2 + 0.5]),
    'least_squares': ([0.125, 4.5], [0.5 + 0.125, 1.125 + 2.0]),
}


@pytest.mark.parametrize('kind', adversarial.KINDS)
def test_losses_by_hand(kind):
    fake, real = jnp.array([0.5, -2.0]), jnp.array([2.0, -0.5])
    generator, discriminator = GOLDEN[kind]
    np.testing.assert_allclose(adversarial.generator_loss(fake, kind), generator, rtol=1e-6)
    np.testing.assert_allclose(adversarial.discriminator_loss(real, fake, kind), discriminator, rtol=1e-6)


def test_losses_of_patches_are_averaged():
    fake = jnp.array([[0.5, -2.0]])
    assert adversarial.generator_loss(fake, 'least_squares')[0] == pytest.approx((0.125 + 4.5) / 2)
    loss = adversarial.discriminator_loss(jnp.array([[2.0, -0.5]]), fake, 'hinge')
    assert loss[0] == pytest.approx(1.5 / 2 + 1.5 / 2)


def test_losses_are_finite_for_large_outputs():
    outputs = jnp.array([1e4, -1e4])
    for kind in ('non_saturating', 'hinge'):
        loss = jax.value_and_grad(lambda x, kind=kind: adversarial.discriminator_loss(x, -x, kind).sum())
        value, gradient = loss(outputs)
        assert np.isfinite(value) and np.isfinite(gradient).all()
    np.testing.assert_allclose(adversarial.generator_loss(outputs, 'non_saturating'), [0, 1e4])


def test_an_unknown_loss_raises():
    with pytest.raises(InputError, match="config.task.loss: 'gan' is not known; expected one of: non_saturating"):
        adversarial.generator_loss(jnp.zeros(1), 'gan')


def test_r1_of_a_linear_discriminator_is_half_its_squared_weight():
    weight = jnp.arange(6.0).reshape(3, 2)  # 0 + 1 + 4 + 9 + 16 + 25 = 55
    found = adversarial.r1_penalty(lambda x: (x * weight).sum((1, 2)), jnp.ones((4, 3, 2)))
    np.testing.assert_allclose(found, [27.5] * 4)


def test_gradient_norms_are_per_example_and_depend_on_conditions():
    def discriminator(x, label):  # |x|² times 1 or 3: its gradient is 2x or 6x
        return (x**2).sum((1, 2)) * jnp.where(label == 1, 3.0, 1.0)
    x = jnp.array([[[1.0], [2.0]], [[0.0], [1.0]]])
    label = jnp.array([0, 1])
    np.testing.assert_allclose(adversarial.squared_gradient_norm(discriminator, x, label), [4 * 5, 36])
    np.testing.assert_allclose(adversarial.squared_gradient_norm(discriminator, x[1:], label[1:]), [36])


def test_the_gradient_of_patches_is_that_of_their_mean():
    found = adversarial.squared_gradient_norm(lambda x: x * 2.0, jnp.ones((1, 4, 1)))  # 4 patches with gradient 2 / 4
    np.testing.assert_allclose(found, [4 * 0.25])


def test_the_gradient_penalty_is_at_points_between_the_images():
    def discriminator(x):
        return (x**2).sum((1, 2)) / 2  # its gradient is x
    real, fake, key = jnp.full((3, 1, 1), 2.0), jnp.full((3, 1, 1), 5.0), jax.random.key(3)
    fraction = jax.random.uniform(key, (3, 1, 1))[:, 0, 0]
    found = adversarial.gradient_penalty(discriminator, real, fake, key)
    np.testing.assert_allclose(found, (2 + 3 * fraction - 1) ** 2, rtol=1e-5)
    assert len(set(np.asarray(found).tolist())) == 3  # each pair has its own point


def test_the_penalty_of_a_constant_discriminator_is_one_with_a_finite_gradient():
    def loss(weight):
        return adversarial.gradient_penalty(lambda x: weight * x.sum((1, 2)), jnp.ones((2, 3, 1)),
                                            jnp.zeros((2, 3, 1)), jax.random.key(0)).sum()
    value, gradient = jax.value_and_grad(loss)(0.0)
    assert value == pytest.approx(2.0, abs=1e-4) and np.isfinite(gradient)
    assert loss(3**-0.5) == pytest.approx(0.0, abs=1e-10)


def test_the_penalty_has_no_gradient_for_generated_images():
    def loss(fake):
        return adversarial.gradient_penalty(lambda x: (x**3).sum((1, 2)), jnp.ones((2, 3, 1)), fake,
                                            jax.random.key(0)).sum()
    assert not np.asarray(jax.grad(loss)(jnp.full((2, 3, 1), 0.5))).any()
