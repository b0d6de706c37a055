"""Simulated tumour growth, compared with a NumPy loop, closed forms and limiting cases; and parameter estimation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.ops import reaction_diffusion

RNG = np.random.default_rng(0)


def simulate_by_loop(u, diffusion, rate, duration, spacing, steps):
    """The same scheme, voxel by voxel in one dimension."""
    step = duration / steps
    half = lambda u: u * np.exp(rate * step / 2) / (1 + u * (np.exp(rate * step / 2) - 1))
    for _ in range(steps):
        u = half(u)
        new = u.copy()
        for i in range(len(u) - 1):
            a, b = diffusion[i], diffusion[i + 1]
            flux = (2 * a * b / (a + b) if a + b else 0) * (u[i + 1] - u[i]) / spacing**2 * step
            new[i] += flux
            new[i + 1] -= flux
        u = half(new)
    return u


def test_eight_voxels_equal_a_loop():
    u = np.array([0, 0.1, 0.9, 0.3, 0, 0, 0.5, 0])
    diffusion = np.array([0.2, 0.2, 0.1, 0.1, 0, 0.2, 0.2, 0.02])
    count = reaction_diffusion.stable_steps(30.0, 0.2, 0.05, (1.5,))
    found = reaction_diffusion.simulate(jnp.array(u), jnp.array(diffusion), 0.05, 30.0, (1.5,), count)
    np.testing.assert_allclose(found, simulate_by_loop(u, diffusion, 0.05, 30.0, 1.5, count), rtol=1e-5)
    assert found[4] == 0  # fluid


def test_without_diffusion_each_voxel_follows_the_logistic_law():
    u = RNG.uniform(0, 1, (4, 5)).astype(np.float32)
    found = reaction_diffusion.simulate(jnp.array(u), jnp.zeros((4, 5)), 0.03, 70.0, (1.0, 1.0), 9)
    np.testing.assert_allclose(found, u * np.exp(2.1) / (1 + u * (np.exp(2.1) - 1)), rtol=1e-5)


@pytest.mark.parametrize('spacing', [(1.0,), (1.0, 2.0), (1.0, 2.0, 3.0)])
def test_without_proliferation_cells_are_conserved_and_spread_evenly(spacing):
    shape = (6, 4, 3)[:len(spacing)]
    u = jnp.array(RNG.uniform(0, 1, shape), jnp.float32)
    tissue = jnp.array(RNG.uniform(0.3, 1, shape), jnp.float32)
    count = reaction_diffusion.stable_steps(400.0, 1.0, 0.0, spacing)
    found = reaction_diffusion.simulate(u, tissue, 0.0, 400.0, spacing, count)
    assert float(found.sum()) == pytest.approx(float(u.sum()), rel=1e-5)
    np.testing.assert_allclose(found, float(u.mean()), rtol=2e-2)


def test_cells_do_not_cross_barriers():
    u = jnp.zeros((5, 5)).at[0, 0].set(1.0)
    tissue = jnp.ones((5, 5)).at[:, 2].set(0.0)
    count = reaction_diffusion.stable_steps(200.0, 1.0, 0.05, (1.0, 1.0))
    found = reaction_diffusion.simulate(u, tissue, 0.05, 200.0, (1.0, 1.0), count)
    assert float(jnp.abs(found[:, 2:]).max()) == 0 and float(found[4, 1]) > 0.5


def test_the_speed_of_the_front():
    diffusion, rate, h = 0.25, 0.04, 0.5
    u = jnp.zeros(1200).at[:20].set(1.0)
    count = reaction_diffusion.stable_steps(1000.0, diffusion, rate, (h,))
    grow = jax.jit(lambda u: reaction_diffusion.simulate(u, jnp.full(1200, diffusion), rate, 1000.0, (h,), count))
    first = grow(u)
    second = grow(first)
    speed = float((second > 0.5).sum() - (first > 0.5).sum()) * h / 1000
    # Bramson's correction at time t: slower by 3 / (2 t) √(D / ρ).
    assert speed == pytest.approx(2 * np.sqrt(diffusion * rate), rel=0.03)


def test_convergence_in_the_steps_and_the_gradient():
    u = jnp.zeros((12, 12)).at[5, 6].set(0.8)

    @functools.partial(jax.jit, static_argnums=1)
    def grow(diffusion, count):
        return reaction_diffusion.simulate(u, jnp.full((12, 12), diffusion), 0.03, 60.0, (2.0, 2.0), count).sum()

    count = reaction_diffusion.stable_steps(60.0, 0.2, 0.03, (2.0, 2.0))
    assert float(grow(0.2, 2 * count)) == pytest.approx(float(grow(0.2, count)), rel=0.02)
    gradient = float(jax.grad(grow)(0.2, count))
    assert gradient == pytest.approx(float(grow(0.202, count) - grow(0.198, count)) / 0.004, rel=0.02)


def two_tissues():
    """Two tissues and a barrier."""
    tissue = np.ones((24, 24), np.float32)
    tissue[:, 14:] = 0.1
    tissue[18:, :6] = 0
    return jnp.array(tissue)


FIT_DENSITIES = jax.jit(functools.partial(
    reaction_diffusion.fit_densities, spacing=(2.0, 2.0), max_diffusion=1.0,
    steps=reaction_diffusion.stable_steps(60.0, 1.0, 0.1, (2.0, 2.0))))


def simulate(diffusion, rate, days, start, tissue):
    count = reaction_diffusion.stable_steps(days, diffusion, rate, (2.0, 2.0))
    return reaction_diffusion.simulate(start, diffusion * tissue, rate, days, (2.0, 2.0), count)


@pytest.mark.parametrize('diffusion, rate, noise', [(0.2, 0.015, 0), (0.05, 0.04, 0), (0.2, 0.015, 0.02)])
def test_fit_densities_recovers_the_parameters(diffusion, rate, noise):
    tissue = two_tissues()
    first = simulate(diffusion, rate, 150.0, jnp.zeros((24, 24)).at[10, 11].set(0.5), tissue)
    second = simulate(diffusion, rate, 60.0, first, tissue)
    found = FIT_DENSITIES(first, second + noise * jax.random.normal(jax.random.key(0), (24, 24)), tissue, 60.0)
    assert float(found.rate) == pytest.approx(rate, rel=0.1 if noise else 0.02)
    assert float(found.diffusion) == pytest.approx(diffusion, rel=0.3 if noise else 0.02)
    assert float(found.error) == pytest.approx(noise, abs=0.01)


@pytest.mark.slow
def test_fit_masks_predicts_the_border():
    tissue, diffusion, rate = jnp.ones((48, 48)), 0.15, 0.025
    count = reaction_diffusion.stable_steps(80.0, 1.0, 0.1, (2.0, 2.0))
    simulate = functools.partial(reaction_diffusion.simulate, spacing=(2.0, 2.0), steps=count)
    grow = jax.jit(lambda u, diffusion, rate: simulate(u, diffusion * tissue, rate, 80.0))
    scans = [jnp.zeros((48, 48)).at[22:26, 22:26].set(0.8)]
    for _ in range(4):
        scans.append(grow(scans[-1], diffusion, rate))
    _, _, first, second, third = [scan > 0.2 for scan in scans]
    distance = np.hypot(*np.meshgrid(*[2.0 * (np.arange(48) - 23.5)] * 2)) - np.sqrt(float(first.sum()) * 4 / np.pi)
    fit = functools.partial(reaction_diffusion.fit_masks, spacing=(2.0, 2.0), max_diffusion=1.0, threshold=0.2,
                            steps=count)
    found = jax.jit(fit)(
        jnp.array(distance, jnp.float32), second.astype(jnp.float32), tissue, 80.0)
    front = reaction_diffusion.front_profile(jnp.array(distance), found.diffusion, found.rate, 0.2)
    predicted = grow(grow(front, found.diffusion, found.rate), found.diffusion, found.rate) > 0.2
    assert int((predicted & third).sum()) / int((predicted | third).sum()) > 0.93
    speed = 2 * np.sqrt(float(found.diffusion * found.rate))
    assert speed == pytest.approx(2 * np.sqrt(diffusion * rate), rel=0.3)


def test_invalid_arguments_raise():
    with pytest.raises(InputError, match='expected numbers of at least 0'):
        reaction_diffusion.stable_steps(float('nan'), 0.1, 0.1, (1.0,))
    with pytest.raises(InputError, match='two arrays of one shape, a spacing for each'):
        reaction_diffusion.simulate(jnp.zeros((3, 3)), jnp.zeros((3, 3)), 0.1, 1.0, (1.0,), 3)
