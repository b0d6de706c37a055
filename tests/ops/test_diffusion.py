"""Noise levels, predictions and sampling steps, by Gaussian algebra and for distributions known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import diffusion
from medjax.ops.diffusion import NoiseLevel

RNG = np.random.default_rng(0)
X0, EPSILON, FRESH = (jnp.asarray(RNG.normal(size=(6, 4, 3, 1)), jnp.float32) for _ in range(3))


def level_at(name, number, steps=1000):
    return NoiseLevel(*(float(part[number]) for part in diffusion.schedule(name, steps)))


def test_linear_by_hand():
    signal, noise = diffusion.schedule('linear', 1000)
    betas = np.linspace(1e-4, 0.02, 1000)
    np.testing.assert_allclose(signal[2]**2, (1 - betas[0]) * (1 - betas[1]), rtol=1e-6)
    np.testing.assert_allclose(noise[1]**2, 1e-4, rtol=1e-6)
    np.testing.assert_allclose(signal[-1]**2, 4.0358e-5, rtol=1e-4)  # as in the code of Ho 2020
    # A tenth of the steps removes about the same total.
    np.testing.assert_allclose(diffusion.schedule('linear', 100).signal[50], signal[500], rtol=0.05)


def test_cosine_by_hand():
    signal, _ = diffusion.schedule('cosine', 1000)
    shape = lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2)
    np.testing.assert_allclose(signal[[1, 250, 500, 998]], shape(np.array([1, 250, 500, 998]) / 1000) / shape(0),
                               rtol=1e-5)
    # Without the limit of β the last step would remove everything.
    np.testing.assert_allclose(signal[-1]**2, 0.001 * signal[-2]**2, rtol=1e-5)


@pytest.mark.parametrize('name', diffusion.SCHEDULES)
@pytest.mark.parametrize('steps', [1, 7, 1000])
def test_schedules_go_from_image_to_noise(name, steps):
    signal, noise = diffusion.schedule(name, steps)
    assert signal.shape == noise.shape == (steps + 1,) and signal.dtype == noise.dtype == np.float32
    assert (signal[0], noise[0]) == (1, 0) and (np.diff(signal) < 0).all() and (np.diff(noise) >= 0).all()
    np.testing.assert_allclose(signal**2 + noise**2, 1, rtol=1e-6)


def test_add_noise():
    level = NoiseLevel(jnp.array([1.0, 0.6, 0.0, 0.5, 0.1, 0.8]), jnp.array([0.0, 0.8, 1.0, 0.5, 0.9, 0.6]))
    x = level.add_noise(X0, EPSILON)
    np.testing.assert_array_equal(x[0], X0[0])
    np.testing.assert_array_equal(x[2], EPSILON[2])
    np.testing.assert_allclose(x[1], 0.6 * X0[1] + 0.8 * EPSILON[1], rtol=1e-6)


@pytest.mark.parametrize('level', [
    level_at('cosine', 20), level_at('cosine', 500), level_at('linear', 700), NoiseLevel(0.3, 0.7),
    NoiseLevel(jnp.linspace(0.1, 0.9, 6), jnp.linspace(0.9, 0.1, 6))])
def test_predictions_are_equivalent(level):
    """Each kind of prediction can be converted to image and noise."""
    x = level.add_noise(X0, EPSILON)
    for name in diffusion.PREDICTIONS:
        target = diffusion.prediction_target(name, X0, EPSILON, level)
        image, noise = diffusion.x0_and_epsilon(name, target, x, level)
        np.testing.assert_allclose(image, X0, atol=2e-5)
        np.testing.assert_allclose(noise, EPSILON, atol=2e-5)


def test_predictions_by_hand():
    level = NoiseLevel(0.6, 0.8)
    found = {name: float(diffusion.prediction_target(name, jnp.array(2.0), jnp.array(-1.0), level))
             for name in diffusion.PREDICTIONS}
    assert found == pytest.approx({'epsilon': -1, 'x0': 2, 'v': 0.6 * -1 - 0.8 * 2, 'velocity': -3})


def test_a_velocity_is_converted_at_both_ends_of_a_flow():
    for time in (0.0, 1.0):
        level = NoiseLevel(1 - time, time)
        image, noise = diffusion.x0_and_epsilon('velocity', EPSILON - X0, level.add_noise(X0, EPSILON), level)
        np.testing.assert_allclose(image, X0, atol=1e-6)
        np.testing.assert_allclose(noise, EPSILON, atol=1e-6)


@pytest.mark.parametrize('snr', [0.1, 4.0, 100.0])
def test_weights_by_hand(snr):
    """The table of Hang 2023: the same loss of x0 for every kind of prediction."""
    level, gamma = NoiseLevel((snr / (snr + 1))**0.5, (1 / (snr + 1))**0.5), 5.0
    found = {name: float(diffusion.min_snr_weight(name, level, gamma)) for name in diffusion.PREDICTIONS}
    assert found['x0'] == pytest.approx(min(snr, gamma), rel=1e-4)
    assert found['epsilon'] == pytest.approx(min(snr, gamma) / snr, rel=1e-4)
    assert found['v'] == pytest.approx(min(snr, gamma) / (snr + 1), rel=1e-4)
    error = 0.1  # of a velocity, and the resulting error of x0
    first, second = (diffusion.x0_and_epsilon('velocity', jnp.array(v), jnp.array(0.7), level)[0] for v in (0.3, 0.4))
    difference = second - first
    assert found['velocity'] * error**2 == pytest.approx(min(snr, gamma) * float(difference)**2, rel=1e-3)


STEPS = [('cosine', 500, 499), ('cosine', 1000, 999), ('cosine', 700, 300), ('linear', 900, 899), ('linear', 2, 1),
         ('linear', 1000, 10), ('linear', 1, 0), ('cosine', 40, 0)]


@pytest.mark.parametrize('name, now, then', STEPS)
def test_the_posterior_by_gaussian_algebra(name, now, then):
    """x_then given x0 and x_now given x_then are normal distributions, whose precisions add."""
    kept = np.cumprod(np.append(1.0, 1 - np.minimum(diffusion.SCHEDULES[name](1000), 0.999)))
    x = level_at(name, now).add_noise(X0, EPSILON)
    mean, deviation = diffusion.posterior(X0, x, level_at(name, now), level_at(name, then))
    share = kept[now] / kept[then]
    variance = 1 / (1 / max(1 - kept[then], 1e-30) + share / (1 - share))
    by_hand = variance * (kept[then]**0.5 * np.asarray(X0, float) / max(1 - kept[then], 1e-30)
                          + share**0.5 * np.asarray(x, float) / (1 - share))
    np.testing.assert_allclose(mean, by_hand, atol=3e-5)
    np.testing.assert_allclose(deviation, variance**0.5, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize('name, now, then', STEPS)
def test_ddim_with_eta_1_is_ddpm(name, now, then):
    now, then = level_at(name, now), level_at(name, then)
    mean, deviation = diffusion.posterior(X0, now.add_noise(X0, EPSILON), now, then)
    found = diffusion.ddim_step(X0, EPSILON, now, then, 1.0, FRESH)
    np.testing.assert_allclose(found, mean + deviation * FRESH, atol=1e-5)


def test_ddim_with_eta_0_changes_the_level():
    now, then = level_at('cosine', 800), level_at('cosine', 300)
    found = diffusion.ddim_step(X0, EPSILON, now, then, 0.0, FRESH)
    np.testing.assert_allclose(found, then.add_noise(X0, EPSILON), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('eta', [0.0, 0.4, 1.0])
def test_a_ddim_step_preserves_the_distribution(eta):
    """For a normal distribution with exact predictions, whatever the amount of new noise."""
    now, then, n = level_at('cosine', 600), level_at('cosine', 400), 100_000
    x0, epsilon, fresh = np.random.default_rng(1).normal(size=(3, n))
    x = diffusion.ddim_step(x0, epsilon, now, then, eta, fresh)
    found = np.cov(np.stack([x0, np.asarray(x)]))
    np.testing.assert_allclose(found, [[1, then.signal], [then.signal, 1]], atol=0.02)


def velocity(x, time, mean=0.7, deviation=0.3):
    """The velocity of the flow from noise to a normal distribution."""
    signal, variance = 1 - time, ((1 - time) * deviation)**2 + time**2
    return (x - signal * mean) * (time - signal * deviation**2) / variance - mean


@pytest.mark.parametrize('solver, order', [('euler', 1), ('heun', 2)])
def test_solvers_converge_with_their_order(solver, order):
    noise, errors = jnp.linspace(-2, 2, 9), []
    for steps in (40, 80):
        found = diffusion.solve(velocity, noise, jnp.linspace(1, 0, steps + 1), solver)
        errors.append(float(jnp.abs(found - (0.7 + 0.3 * noise)).max()))
    assert errors[1] < 0.02 and errors[0] / errors[1] == pytest.approx(2**order, rel=0.2)


def test_a_flow_is_invertible():
    noise, times = jax.random.normal(jax.random.key(0), (100,)), jnp.linspace(1, 0, 101)
    image = diffusion.solve(velocity, noise, times)
    assert float(image.std()) < 0.4
    np.testing.assert_allclose(diffusion.solve(velocity, image, times[::-1]), noise, atol=1e-3)
