"""Laws of growth: closed forms by hand and by their own equations, and fits that find what made the volumes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.ops import growth_laws, least_squares
from medjax.ops.growth_laws import Curve

DERIVED = {'exponential': lambda v, a, k: a * v, 'logistic': lambda v, a, k: a * v * (1 - v / k),
           'gompertz': lambda v, a, k: a * v * np.log(k / v)}


@pytest.mark.parametrize('law, expected', [
    ('exponential', 2 * np.exp(0.3)), ('logistic', 10 / (1 + 4 * np.exp(-0.3))),
    ('gompertz', 10 * 0.2 ** np.exp(-0.3))])
def test_the_closed_forms(law, expected):
    assert growth_laws.volume(law, Curve(2.0, 0.1, 10.0), 3.0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('law', growth_laws.LAWS)
def test_each_law_obeys_its_equation(law):
    curve = Curve(2.0, 0.05, 10.0)
    at = functools.partial(growth_laws.volume, law, curve)
    for time in (0.0, 5.0, 40.0):
        assert jax.grad(at)(time) == pytest.approx(DERIVED[law](float(at(time)), 0.05, 10.0), rel=1e-4)


@pytest.mark.parametrize('law', growth_laws.LAWS)
def test_a_fit_finds_the_curve_that_made_the_volumes(law):
    time = np.array([[0, 30, 75, 0], [10, 20, 90, 130], [0, 60, 0, 0]], np.float32)
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]], np.float32)
    truth = Curve(np.array([1.0, 4.0, 9.0]), np.array([0.02, 0.005, -0.004]), np.full(3, 30.0))
    seen = np.asarray(growth_laws.volume(law, Curve(*(part[:, None] for part in truth)), time))
    found, error = jax.jit(functools.partial(growth_laws.fit, law))(time, np.where(mask > 0, seen, 0), mask, 30.0)
    for part, expected in zip(found, truth):
        np.testing.assert_allclose(part, expected, rtol=2e-3)
    np.testing.assert_allclose(error, 0, atol=1e-8)


def test_one_visit_tells_no_rate():
    found, _ = growth_laws.fit('gompertz', [[5.0, 0.0]], [[3.0, 0.0]], [[1, 0]], 20.0)
    assert float(found.rate[0]) == pytest.approx(0, abs=1e-6) and float(found.start[0]) == pytest.approx(3)


@pytest.mark.slow
def test_the_capacity_that_patients_share_is_found():
    rng = np.random.default_rng(0)
    time = np.sort(rng.uniform(0, 200, (12, 4)), 1).astype(np.float32)
    truth = Curve(rng.uniform(2, 10, (12, 1)), rng.uniform(0.004, 0.02, (12, 1)), 60.0)
    seen = np.asarray(growth_laws.volume('gompertz', truth, time))
    assert growth_laws.capacity('gompertz', time, seen, np.ones_like(time)) == pytest.approx(60, rel=0.12)


def test_an_unknown_law_is_named():
    with pytest.raises(InputError, match="'weibull'; expected one of: exponential, logistic, gompertz"):
        growth_laws.volume('weibull', Curve(1.0, 1.0, 1.0), 1.0)


def test_least_squares_of_a_line_are_those_of_the_normal_equations():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 3)).astype(np.float32), rng.normal(size=20).astype(np.float32)
    at, cost = least_squares.fit(lambda p: x @ p - y, jnp.zeros(3))
    expected, rest, *_ = np.linalg.lstsq(x, y, rcond=None)
    np.testing.assert_allclose(at, expected, rtol=1e-4)
    assert float(cost) == pytest.approx(float(rest[0]), rel=1e-5)


def test_least_squares_go_down_a_curved_valley_and_past_nan():
    at, cost = least_squares.fit(lambda p: jnp.stack([10 * (p[1] - p[0]**2), 1 - p[0]]), jnp.array([-1.2, 1.0]))
    np.testing.assert_allclose(at, 1, rtol=1e-4)  # Rosenbrock's
    at, cost = least_squares.fit(lambda p: jnp.where(p > 2, jnp.nan, p - 5.0), jnp.array([0.0]))
    assert float(at[0]) <= 2 and np.isfinite(cost)
    at, _ = least_squares.fit(lambda p: jnp.stack([p[0] - 3, p[0] - 3]), jnp.array([0.0, 7.0]))
    np.testing.assert_allclose(at, [3, 7], rtol=1e-5)  # of which nothing depends on the second
