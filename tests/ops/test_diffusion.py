"""Levels of noise, what is told of them and steps back, by Gaussian algebra and by distributions known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import diffusion
from medjax.ops.diffusion import Level

RNG = np.random.default_rng(0)
X0, EPSILON, FRESH = (jnp.asarray(RNG.normal(size=(6, 4, 3, 1)), jnp.float32) for _ in range(3))


def at(name, number, steps=1000):
    return Level(*(float(part[number]) for part in diffusion.schedule(name, steps)))


def test_linear_by_hand():
    signal, noise = diffusion.schedule('linear', 1000)
    betas = np.linspace(1e-4, 0.02, 1000)
    np.testing.assert_allclose(signal[2]**2, (1 - betas[0]) * (1 - betas[1]), rtol=1e-6)
    np.testing.assert_allclose(noise[1]**2, 1e-4, rtol=1e-6)
    np.testing.assert_allclose(signal[-1]**2, 4.0358e-5, rtol=1e-4)  # as Ho 2020's code has it
    # Ten times fewer steps take about as much in all.
    np.testing.assert_allclose(diffusion.schedule('linear', 100).signal[50], signal[500], rtol=0.05)


def test_cosine_by_hand():
    signal, _ = diffusion.schedule('cosine', 1000)
    shape = lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2)
    np.testing.assert_allclose(signal[[1, 250, 500, 998]], shape(np.array([1, 250, 500, 998]) / 1000) / shape(0),
                               rtol=1e-5)
    np.testing.assert_allclose(signal[-1]**2, 0.001 * signal[-2]**2, rtol=1e-5)  # the last step would take all


@pytest.mark.parametrize('name', diffusion.SCHEDULES)
@pytest.mark.parametrize('steps', [1, 7, 1000])
def test_a_schedule_goes_from_an_image_to_noise(name, steps):
    signal, noise = diffusion.schedule(name, steps)
    assert signal.shape == noise.shape == (steps + 1,) and signal.dtype == noise.dtype == np.float32
    assert (signal[0], noise[0]) == (1, 0) and (np.diff(signal) < 0).all() and (np.diff(noise) >= 0).all()
    np.testing.assert_allclose(signal**2 + noise**2, 1, rtol=1e-6)


def test_noise_has_the_level_that_is_asked_for():
    level = Level(jnp.array([1.0, 0.6, 0.0, 0.5, 0.1, 0.8]), jnp.array([0.0, 0.8, 1.0, 0.5, 0.9, 0.6]))
    x = level.mix(X0, EPSILON)
    np.testing.assert_array_equal(x[0], X0[0])
    np.testing.assert_array_equal(x[2], EPSILON[2])
    np.testing.assert_allclose(x[1], 0.6 * X0[1] + 0.8 * EPSILON[1], rtol=1e-6)


@pytest.mark.parametrize('level', [at('cosine', 20), at('cosine', 500), at('linear', 700), Level(0.3, 0.7),
                                   Level(jnp.linspace(0.1, 0.9, 6), jnp.linspace(0.9, 0.1, 6))])
def test_every_prediction_says_the_same(level):
    """What one of them tells is turned to image and noise, and these to what the others would have told."""
    x = level.mix(X0, EPSILON)
    for name in diffusion.PREDICTIONS:
        told = diffusion.wanted(name, X0, EPSILON, level)
        image, noise = diffusion.parted(name, told, x, level)
        np.testing.assert_allclose(image, X0, atol=2e-5)
        np.testing.assert_allclose(noise, EPSILON, atol=2e-5)


def test_predictions_by_hand():
    level = Level(0.6, 0.8)
    found = {name: float(diffusion.wanted(name, jnp.array(2.0), jnp.array(-1.0), level))
             for name in diffusion.PREDICTIONS}
    assert found == pytest.approx({'epsilon': -1, 'x0': 2, 'v': 0.6 * -1 - 0.8 * 2, 'velocity': -3})


def test_the_ends_of_a_flow_can_be_told():
    for time in (0.0, 1.0):
        level = Level(1 - time, time)
        image, noise = diffusion.parted('velocity', EPSILON - X0, level.mix(X0, EPSILON), level)
        np.testing.assert_allclose(image, X0, atol=1e-6)
        np.testing.assert_allclose(noise, EPSILON, atol=1e-6)


@pytest.mark.parametrize('snr', [0.1, 4.0, 100.0])
def test_weights_by_hand(snr):
    """The columns of Hang 2023's table: the same loss of x0, whatever is told."""
    level, most = Level((snr / (snr + 1))**0.5, (1 / (snr + 1))**0.5), 5.0
    found = {name: float(diffusion.min_snr(name, level, most)) for name in diffusion.PREDICTIONS}
    assert found['x0'] == pytest.approx(min(snr, most), rel=1e-4)
    assert found['epsilon'] == pytest.approx(min(snr, most) / snr, rel=1e-4)
    assert found['v'] == pytest.approx(min(snr, most) / (snr + 1), rel=1e-4)
    error = 0.1  # of a velocity, and what x0 is off by then
    image, other = (diffusion.parted('velocity', jnp.array(told), jnp.array(0.7), level)[0] for told in (0.3, 0.4))
    off = other - image
    assert found['velocity'] * error**2 == pytest.approx(min(snr, most) * float(off)**2, rel=1e-3)


STEPS = [('cosine', 500, 499), ('cosine', 1000, 999), ('cosine', 700, 300), ('linear', 900, 899), ('linear', 2, 1),
         ('linear', 1000, 10), ('linear', 1, 0), ('cosine', 40, 0)]


@pytest.mark.parametrize('name, now, then', STEPS)
def test_the_posterior_by_gaussian_algebra(name, now, then):
    """x_then given x0 is a normal distribution, x_now given x_then another: precisions add up."""
    kept = np.cumprod(np.append(1.0, 1 - np.minimum(diffusion.SCHEDULES[name](1000), 0.999)))
    x = at(name, now).mix(X0, EPSILON)
    mean, deviation = diffusion.posterior(X0, x, at(name, now), at(name, then))
    share = kept[now] / kept[then]
    variance = 1 / (1 / max(1 - kept[then], 1e-30) + share / (1 - share))
    by_hand = variance * (kept[then]**0.5 * np.asarray(X0, float) / max(1 - kept[then], 1e-30)
                          + share**0.5 * np.asarray(x, float) / (1 - share))
    np.testing.assert_allclose(mean, by_hand, atol=3e-5)
    np.testing.assert_allclose(deviation, variance**0.5, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize('name, now, then', STEPS)
def test_ddim_with_all_noise_anew_is_ddpm(name, now, then):
    now, then = at(name, now), at(name, then)
    mean, deviation = diffusion.posterior(X0, now.mix(X0, EPSILON), now, then)
    np.testing.assert_allclose(diffusion.ddim(X0, EPSILON, now, then, 1.0, FRESH), mean + deviation * FRESH, atol=1e-5)


def test_ddim_without_new_noise_goes_to_the_level():
    now, then = at('cosine', 800), at('cosine', 300)
    found = diffusion.ddim(X0, EPSILON, now, then, 0.0, FRESH)
    np.testing.assert_allclose(found, then.mix(X0, EPSILON), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('eta', [0.0, 0.4, 1.0])
def test_a_step_keeps_the_distribution(eta):
    """Of a normal distribution and what is known exactly of it, whatever the share of new noise."""
    now, then, n = at('cosine', 600), at('cosine', 400), 100_000
    x0, epsilon, fresh = np.random.default_rng(1).normal(size=(3, n))
    x = diffusion.ddim(x0, epsilon, now, then, eta, fresh)
    found = np.cov(np.stack([x0, np.asarray(x)]))
    np.testing.assert_allclose(found, [[1, then.signal], [then.signal, 1]], atol=0.02)


def velocity(x, time, mean=0.7, deviation=0.3):
    """The velocity of the flow from noise to a normal distribution."""
    signal, variance = 1 - time, ((1 - time) * deviation)**2 + time**2
    return (x - signal * mean) * (time - signal * deviation**2) / variance - mean


@pytest.mark.parametrize('solver, order', [('euler', 1), ('heun', 2)])
def test_a_flow_goes_where_it_should(solver, order):
    noise, errors = jnp.linspace(-2, 2, 9), []
    for steps in (40, 80):
        found = diffusion.solve(velocity, noise, jnp.linspace(1, 0, steps + 1), solver)
        errors.append(float(jnp.abs(found - (0.7 + 0.3 * noise)).max()))
    assert errors[1] < 0.02 and errors[0] / errors[1] == pytest.approx(2**order, rel=0.2)


def test_a_flow_goes_back_to_its_noise():
    noise, times = jax.random.normal(jax.random.key(0), (100,)), jnp.linspace(1, 0, 101)
    there = diffusion.solve(velocity, noise, times)
    assert float(there.std()) < 0.4
    np.testing.assert_allclose(diffusion.solve(velocity, there, times[::-1]), noise, atol=1e-3)
