"""Growth laws: closed forms by hand and by their differential equations, and fits of known curves."""

import functools

import jax
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.ops import growth_laws
from medjax.ops.growth_laws import GrowthCurve

DERIVED = {'exponential': lambda v, a, k: a * v, 'logistic': lambda v, a, k: a * v * (1 - v / k),
           'gompertz': lambda v, a, k: a * v * np.log(k / v)}


@pytest.mark.parametrize('law, expected', [
    ('exponential', 2 * np.exp(0.3)), ('logistic', 10 / (1 + 4 * np.exp(-0.3))),
    ('gompertz', 10 * 0.2 ** np.exp(-0.3))])
def test_closed_forms_by_hand(law, expected):
    assert growth_laws.volume(law, GrowthCurve(2.0, 0.1, 10.0), 3.0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('law', growth_laws.LAWS)
def test_each_law_solves_its_differential_equation(law):
    curve = GrowthCurve(2.0, 0.05, 10.0)
    volume = functools.partial(growth_laws.volume, law, curve)
    for time in (0.0, 5.0, 40.0):
        assert jax.grad(volume)(time) == pytest.approx(DERIVED[law](float(volume(time)), 0.05, 10.0), rel=1e-4)


@pytest.mark.parametrize('law', growth_laws.LAWS)
def test_a_fit_recovers_the_true_curve(law):
    time = np.array([[0, 30, 75, 0], [10, 20, 90, 130], [0, 60, 0, 0]], np.float32)
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]], np.float32)
    truth = GrowthCurve(np.array([1.0, 4.0, 9.0]), np.array([0.02, 0.005, -0.004]), np.full(3, 30.0))
    volumes = np.asarray(growth_laws.volume(law, GrowthCurve(*(part[:, None] for part in truth)), time))
    curve, error = jax.jit(functools.partial(growth_laws.fit, law))(time, np.where(mask > 0, volumes, 0), mask, 30.0)
    for part, expected in zip(curve, truth):
        np.testing.assert_allclose(part, expected, rtol=2e-3)
    np.testing.assert_allclose(error, 0, atol=1e-8)


def test_the_rate_of_a_single_visit_is_0():
    curve, _ = growth_laws.fit('gompertz', [[5.0, 0.0]], [[3.0, 0.0]], [[1, 0]], 20.0)
    assert float(curve.rate[0]) == pytest.approx(0, abs=1e-6) and float(curve.start[0]) == pytest.approx(3)


@pytest.mark.slow
def test_fit_capacity_recovers_the_common_capacity():
    rng = np.random.default_rng(0)
    time = np.sort(rng.uniform(0, 200, (12, 4)), 1).astype(np.float32)
    truth = GrowthCurve(rng.uniform(2, 10, (12, 1)), rng.uniform(0.004, 0.02, (12, 1)), 60.0)
    volumes = np.asarray(growth_laws.volume('gompertz', truth, time))
    assert growth_laws.fit_capacity('gompertz', time, volumes, np.ones_like(time)) == pytest.approx(60, rel=0.12)


def test_an_unknown_law_is_named():
    with pytest.raises(InputError, match="'weibull'; expected one of: exponential, logistic, gompertz"):
        growth_laws.volume('weibull', GrowthCurve(1.0, 1.0, 1.0), 1.0)
