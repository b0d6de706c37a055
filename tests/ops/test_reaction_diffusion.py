"""The growth of a simulated tumour against a loop in numpy, closed forms and limiting cases; and its inverse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.ops import reaction_diffusion

RNG = np.random.default_rng(0)


def looped(u, diffusion, rate, duration, spacing, steps):
    """The same scheme voxel by voxel, in one dimension."""
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


def test_eight_voxels_by_hand():
    u = np.array([0, 0.1, 0.9, 0.3, 0, 0, 0.5, 0])
    diffusion = np.array([0.2, 0.2, 0.1, 0.1, 0, 0.2, 0.2, 0.02])
    count = reaction_diffusion.steps(30.0, 0.2, 0.05, (1.5,))
    found = reaction_diffusion.simulate(jnp.array(u), jnp.array(diffusion), 0.05, 30.0, (1.5,), count)
    np.testing.assert_allclose(found, looped(u, diffusion, 0.05, 30.0, 1.5, count), rtol=1e-5)
    assert found[4] == 0  # fluid


def test_without_wandering_each_voxel_grows_by_the_logistic_law():
    u = RNG.uniform(0, 1, (4, 5)).astype(np.float32)
    found = reaction_diffusion.simulate(jnp.array(u), jnp.zeros((4, 5)), 0.03, 70.0, (1.0, 1.0), 9)
    np.testing.assert_allclose(found, u * np.exp(2.1) / (1 + u * (np.exp(2.1) - 1)), rtol=1e-5)


@pytest.mark.parametrize('spacing', [(1.0,), (1.0, 2.0), (1.0, 2.0, 3.0)])
def test_without_division_nothing_is_made_or_lost_and_all_becomes_even(spacing):
    shape = (6, 4, 3)[:len(spacing)]
    u = jnp.array(RNG.uniform(0, 1, shape), jnp.float32)
    tissue = jnp.array(RNG.uniform(0.3, 1, shape), jnp.float32)
    count = reaction_diffusion.steps(400.0, 1.0, 0.0, spacing)
    found = reaction_diffusion.simulate(u, tissue, 0.0, 400.0, spacing, count)
    assert float(found.sum()) == pytest.approx(float(u.sum()), rel=1e-5)
    np.testing.assert_allclose(found, float(u.mean()), rtol=2e-2)


def test_walls_hold():
    u = jnp.zeros((5, 5)).at[0, 0].set(1.0)
    tissue = jnp.ones((5, 5)).at[:, 2].set(0.0)
    found = reaction_diffusion.simulate(u, tissue, 0.05, 200.0, (1.0, 1.0), reaction_diffusion.steps(200.0, 1.0, 0.05, (1.0, 1.0)))
    assert float(jnp.abs(found[:, 2:]).max()) == 0 and float(found[4, 1]) > 0.5


def test_the_front_moves_at_twice_the_root_of_diffusion_and_rate():
    diffusion, rate, h = 0.25, 0.04, 0.5
    u = jnp.zeros(1200).at[:20].set(1.0)
    grow = jax.jit(lambda u: reaction_diffusion.simulate(u, jnp.full(1200, diffusion), rate, 1000.0, (h,), reaction_diffusion.steps(
        1000.0, diffusion, rate, (h,))))
    first = grow(u)
    second = grow(first)
    speed = float((second > 0.5).sum() - (first > 0.5).sum()) * h / 1000
    # Bramson's correction: 3 / (2 t) √(D / ρ) slower at time t.
    assert speed == pytest.approx(2 * np.sqrt(diffusion * rate), rel=0.03)


def test_twice_the_steps_change_little_and_it_has_a_gradient():
    u = jnp.zeros((12, 12)).at[5, 6].set(0.8)
    grow = jax.jit(lambda diffusion, count: reaction_diffusion.simulate(u, jnp.full((12, 12), diffusion), 0.03, 60.0, (2.0, 2.0),
                                                            count).sum(), static_argnums=1)
    count = reaction_diffusion.steps(60.0, 0.2, 0.03, (2.0, 2.0))
    assert float(grow(0.2, 2 * count)) == pytest.approx(float(grow(0.2, count)), rel=0.02)
    slope = float(jax.grad(grow)(0.2, count))
    assert slope == pytest.approx(float(grow(0.202, count) - grow(0.198, count)) / 0.004, rel=0.02)


def plane():
    """Two tissues and a wall."""
    tissue = np.ones((24, 24), np.float32)
    tissue[:, 14:] = 0.1
    tissue[18:, :6] = 0
    return jnp.array(tissue)


INVERT = jax.jit(functools.partial(reaction_diffusion.invert, spacing=(2.0, 2.0), most=1.0,
                                   steps=reaction_diffusion.steps(60.0, 1.0, 0.1, (2.0, 2.0))))


def grown(diffusion, rate, days, start, tissue):
    return reaction_diffusion.simulate(start, diffusion * tissue, rate, days, (2.0, 2.0), reaction_diffusion.steps(
        days, diffusion, rate, (2.0, 2.0)))


@pytest.mark.parametrize('diffusion, rate, noise', [(0.2, 0.015, 0), (0.05, 0.04, 0), (0.2, 0.015, 0.02)])
def test_two_scans_tell_diffusion_and_rate(diffusion, rate, noise):
    tissue = plane()
    first = grown(diffusion, rate, 150.0, jnp.zeros((24, 24)).at[10, 11].set(0.5), tissue)
    second = grown(diffusion, rate, 60.0, first, tissue)
    found = INVERT(first, second + noise * jax.random.normal(jax.random.key(0), (24, 24)), tissue, 60.0)
    assert float(found.rate) == pytest.approx(rate, rel=0.1 if noise else 0.02)
    assert float(found.diffusion) == pytest.approx(diffusion, rel=0.3 if noise else 0.02)
    assert float(found.error) == pytest.approx(noise, abs=0.01)


@pytest.mark.slow
def test_two_masks_tell_where_the_border_will_be():
    tissue, diffusion, rate = jnp.ones((48, 48)), 0.15, 0.025
    every = functools.partial(reaction_diffusion.simulate, spacing=(2.0, 2.0), steps=reaction_diffusion.steps(80.0, 1.0, 0.1, (2.0, 2.0)))
    grow = jax.jit(lambda u, diffusion, rate: every(u, diffusion * tissue, rate, 80.0))
    scans = [jnp.zeros((48, 48)).at[22:26, 22:26].set(0.8)]
    for _ in range(4):
        scans.append(grow(scans[-1], diffusion, rate))
    _, _, first, second, third = [scan > 0.2 for scan in scans]
    at = np.hypot(*np.meshgrid(*[2.0 * (np.arange(48) - 23.5)] * 2)) - np.sqrt(float(first.sum()) * 4 / np.pi)
    found = jax.jit(functools.partial(reaction_diffusion.invert_masks, spacing=(2.0, 2.0), most=1.0, threshold=0.2,
                                      steps=reaction_diffusion.steps(80.0, 1.0, 0.1, (2.0, 2.0))))(
        jnp.array(at, jnp.float32), second.astype(jnp.float32), tissue, 80.0)
    front = reaction_diffusion.profile(jnp.array(at), found.diffusion, found.rate, 0.2)
    told = grow(grow(front, found.diffusion, found.rate), found.diffusion, found.rate) > 0.2
    assert int((told & third).sum()) / int((told | third).sum()) > 0.93
    speed = 2 * np.sqrt(float(found.diffusion * found.rate))
    assert speed == pytest.approx(2 * np.sqrt(diffusion * rate), rel=0.3)


def test_what_is_no_tumour_is_refused():
    with pytest.raises(InputError, match='expected numbers of at least 0'):
        reaction_diffusion.steps(float('nan'), 0.1, 0.1, (1.0,))
    with pytest.raises(InputError, match='two arrays of one shape, a spacing for each'):
        reaction_diffusion.simulate(jnp.zeros((3, 3)), jnp.zeros((3, 3)), 0.1, 1.0, (1.0,), 3)
