"""Survival losses: values by hand, invariants and limiting cases."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.losses import survival


def cohort(seed, count=40, events=1, ties=True):
    rng = np.random.default_rng(seed)
    time = rng.integers(1, 12, count).astype(np.float32) if ties else rng.exponential(5, count).astype(np.float32)
    return time, rng.integers(0, events + 1, count), rng.normal(size=count).astype(np.float32) * 2


def by_hand(risk, time, event, ties):
    """The partial likelihood as in the papers, from the events and the risk set of each time."""
    total, count = 0.0, 0
    for at in np.unique(time[event > 0]):
        failed, at_risk = (time == at) & (event > 0), time >= at
        failures = int(failed.sum())
        count += failures
        total -= risk[failed].astype(np.float64).sum()
        for number in range(failures):
            fraction = number / failures if ties == 'efron' else 0
            total += np.log(np.exp(risk[at_risk].astype(np.float64)).sum()
                            - fraction * np.exp(risk[failed].astype(np.float64)).sum())
    return total / count


@pytest.mark.parametrize('ties', ['efron', 'breslow'])
@pytest.mark.parametrize('seed', range(4))
def test_partial_likelihood_by_hand_with_ties_and_padding(ties, seed):
    time, event, risk = cohort(seed)
    want = by_hand(risk, time, event, ties)
    mask = np.ones(len(time), np.float32)
    loss = jax.jit(survival.cox_nll, static_argnames='ties')
    np.testing.assert_allclose(loss(risk, time, event, mask, ties=ties), want, rtol=1e-5)
    # Invariant to a common factor of the hazards.
    np.testing.assert_allclose(loss(risk + 50, time, event, mask, ties=ties), want, rtol=1e-4)
    order = np.random.default_rng(seed).permutation(len(time) + 7)
    padded = [np.concatenate([array, fill])[order] for array, fill in (
        (risk, np.full(7, 9.0, np.float32)), (time, np.full(7, 99.0, np.float32)), (event, np.ones(7, int)),
        (mask, np.zeros(7, np.float32)))]
    np.testing.assert_allclose(loss(*padded, ties=ties), want, rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda r: survival.cox_nll(r, *padded[1:], ties=ties)))(padded[0])
    assert np.isfinite(gradient).all() and not gradient[padded[3] == 0].any()
    assert abs(float(gradient.sum())) < 1e-5  # adding a constant has no effect
    step = np.zeros(len(order), np.float32)
    at = int(np.flatnonzero(padded[3])[3])
    step[at] = 1e-2
    change = (loss(padded[0] + step, *padded[1:], ties=ties) - loss(padded[0] - step, *padded[1:], ties=ties)) / 2e-2
    np.testing.assert_allclose(gradient[at], change, atol=2e-3)


def test_extreme_hazards_and_a_batch_without_events():
    time, event, risk = cohort(0)
    mask = np.ones(len(time), np.float32)
    slope = jax.jit(jax.value_and_grad(survival.cox_nll))
    assert slope(risk, time, np.zeros_like(event), mask)[0] == 0
    value, gradient = slope(risk * 40, time, event, mask)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_time_dependent_hazards_by_hand_and_in_the_constant_limit():
    time, event, risk = cohort(1, ties=False)
    mask = np.ones(len(time), np.float32)
    constant = survival.cox_time_nll(jnp.tile(risk, (len(time), 1)), time, event, mask)
    np.testing.assert_allclose(constant, by_hand(risk, time, event, 'breslow'), rtol=1e-5)
    changing = np.random.default_rng(2).normal(size=(len(time), len(time)))
    terms = [np.log(np.exp(changing[i][time >= time[i]]).sum()) - changing[i, i] for i in np.flatnonzero(event)]
    got = survival.cox_time_nll(jnp.asarray(changing), time, event, mask)
    np.testing.assert_allclose(got, np.mean(terms), rtol=1e-5)


def test_discretise_time_by_hand():
    cuts = jnp.array([1.0, 2.0, 4.0])
    time = jnp.array([0.5, 1.0, 1.0, 1.5, 4.0, 4.0, 5.0, 5.0, 0.0])
    event = jnp.array([1, 1, 0, 0, 1, 0, 1, 0, 0])
    index, known = survival.discretise_time(time, event, cuts)
    # Censored at 1: the first interval that was not survived is the second one.
    assert index.tolist() == [0, 0, 1, 1, 2, 3, 3, 3, 0]
    assert known.tolist() == [1, 1, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize('events', [1, 2])
def test_discrete_likelihoods_agree_with_the_incidence(events):
    """The likelihoods of all possible outcomes of a patient sum to 1."""
    bins, rng = 4, np.random.default_rng(0)
    odds, logits = rng.normal(size=(3, bins, events)), rng.normal(size=(3, events * bins + 1))
    for incidence, loss in (
            (survival.discrete_hazard_incidence(jnp.asarray(odds)),
             lambda i, e: survival.discrete_hazard_nll(jnp.asarray(odds), i, e)),
            (survival.deephit_incidence(jnp.asarray(logits), bins),
             lambda i, e: survival.deephit_nll(jnp.asarray(logits), i, e, bins))):
        assert incidence.shape == (3, events, bins)
        assert (np.diff(incidence, axis=-1) > 0).all() and (incidence.sum(1)[:, -1] < 1).all()
        mass, total = np.diff(incidence, axis=-1, prepend=0), 0.0
        for index, event in itertools.product(range(bins), range(1, events + 1)):
            found = np.exp(-loss(jnp.full(3, index), jnp.full(3, event)))
            np.testing.assert_allclose(found, mass[:, event - 1, index], rtol=1e-5)
            total += found
        total += np.exp(-loss(jnp.full(3, bins), jnp.zeros(3, int)))
        np.testing.assert_allclose(total, 1, rtol=1e-5)
        survival_probability = np.exp(-loss(jnp.full(3, 2), jnp.zeros(3, int)))
        np.testing.assert_allclose(survival_probability, 1 - incidence[:, :, 1].sum(1), rtol=1e-5)


def test_the_ranking_loss_by_hand():
    incidence = np.random.default_rng(0).random((4, 2, 3)).cumsum(-1) / 6
    index, event, mask = jnp.array([0, 1, 1, 2]), jnp.array([2, 1, 0, 1]), jnp.ones(4)
    pairs = [(0, 1, 1, 0), (0, 2, 1, 0), (0, 3, 1, 0), (1, 2, 0, 1), (1, 3, 0, 1)]  # patients, event, interval
    want = np.mean([np.exp((incidence[j, e, k] - incidence[i, e, k]) / 0.2) for i, j, e, k in pairs])
    np.testing.assert_allclose(survival.ranking_loss(jnp.asarray(incidence), index, event, mask, 0.2), want, rtol=1e-5)


def test_weibull_density_survival_and_the_exponential_case():
    time = np.linspace(0.005, 60, 12000)
    one = np.zeros_like(time)
    for scale, shape in ((1.0, 0.0), (0.5, 0.6), (1.2, -0.2)):
        density = np.exp(-survival.weibull_nll(one + scale, one + shape, time, one + 1))
        survived = np.exp(-survival.weibull_nll(one + scale, one + shape, time, one))
        incidence = survival.weibull_incidence(jnp.array([scale]), jnp.array([shape]), time)[0]
        np.testing.assert_allclose(survived, 1 - incidence, atol=1e-5)
        np.testing.assert_allclose((density * np.diff(time, prepend=0)).cumsum(), incidence, atol=2e-2)
    np.testing.assert_allclose(-survival.weibull_nll(one + 1.0, one, time, one + 1), -1 - time / np.e, rtol=1e-4)
