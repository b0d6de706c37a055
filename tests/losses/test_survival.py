"""Losses of times to an event: sums by hand, invariants, and limits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.losses import survival as losses_survival


def cohort(seed, count=40, events=1, ties=True):
    rng = np.random.default_rng(seed)
    time = rng.integers(1, 12, count).astype(np.float32) if ties else rng.exponential(5, count).astype(np.float32)
    return time, rng.integers(0, events + 1, count), rng.normal(size=count).astype(np.float32) * 2


def by_hand(risk, time, event, ties):
    """The partial likelihood as the papers write it: at each time its events, and who is at risk."""
    total, count = 0.0, 0
    for at in np.unique(time[event > 0]):
        died, there = (time == at) & (event > 0), time >= at
        deaths = int(died.sum())
        count += deaths
        total -= risk[died].astype(np.float64).sum()
        for number in range(deaths):
            share = number / deaths if ties == 'efron' else 0
            total += np.log(np.exp(risk[there].astype(np.float64)).sum()
                            - share * np.exp(risk[died].astype(np.float64)).sum())
    return total / count


@pytest.mark.parametrize('ties', ['efron', 'breslow'])
@pytest.mark.parametrize('seed', range(4))
def test_partial_likelihood_by_hand_with_ties_and_padding(ties, seed):
    time, event, risk = cohort(seed)
    want = by_hand(risk, time, event, ties)
    mask = np.ones(len(time), np.float32)
    loss = jax.jit(losses_survival.cox, static_argnames='ties')
    np.testing.assert_allclose(loss(risk, time, event, mask, ties=ties), want, rtol=1e-5)
    np.testing.assert_allclose(loss(risk + 50, time, event, mask, ties=ties), want, rtol=1e-4)  # relative hazards
    order = np.random.default_rng(seed).permutation(len(time) + 7)
    padded = [np.concatenate([array, fill])[order] for array, fill in (
        (risk, np.full(7, 9.0, np.float32)), (time, np.full(7, 99.0, np.float32)), (event, np.ones(7, int)),
        (mask, np.zeros(7, np.float32)))]
    np.testing.assert_allclose(loss(*padded, ties=ties), want, rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda r: losses_survival.cox(r, *padded[1:], ties=ties)))(padded[0])
    assert np.isfinite(gradient).all() and not gradient[padded[3] == 0].any()
    assert abs(float(gradient.sum())) < 1e-5  # adding to all changes nothing
    step = np.zeros(len(order), np.float32)
    at = int(np.flatnonzero(padded[3])[3])
    step[at] = 1e-2
    change = (loss(padded[0] + step, *padded[1:], ties=ties) - loss(padded[0] - step, *padded[1:], ties=ties)) / 2e-2
    np.testing.assert_allclose(gradient[at], change, atol=2e-3)


def test_extreme_hazards_and_a_batch_without_events():
    time, event, risk = cohort(0)
    mask = np.ones(len(time), np.float32)
    slope = jax.jit(jax.value_and_grad(losses_survival.cox))
    assert slope(risk, time, np.zeros_like(event), mask)[0] == 0
    value, gradient = slope(risk * 40, time, event, mask)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_a_hazard_that_changes_with_time_by_hand_and_in_its_limit():
    time, event, risk = cohort(1, ties=False)
    mask = np.ones(len(time), np.float32)
    constant = losses_survival.cox_time(jnp.tile(risk, (len(time), 1)), time, event, mask)
    np.testing.assert_allclose(constant, by_hand(risk, time, event, 'breslow'), rtol=1e-5)
    changing = np.random.default_rng(2).normal(size=(len(time), len(time)))
    terms = [np.log(np.exp(changing[i][time >= time[i]]).sum()) - changing[i, i] for i in np.flatnonzero(event)]
    np.testing.assert_allclose(losses_survival.cox_time(jnp.asarray(changing), time, event, mask), np.mean(terms), rtol=1e-5)


def test_which_interval_a_patient_ends_in():
    cuts = jnp.array([1.0, 2.0, 4.0])
    time = jnp.array([0.5, 1.0, 1.0, 1.5, 4.0, 4.0, 5.0, 5.0, 0.0])
    event = jnp.array([1, 1, 0, 0, 1, 0, 1, 0, 0])
    index, known = losses_survival.interval(time, event, cuts)
    # Seen through 1 but no further: the first interval not seen through is the second one.
    assert index.tolist() == [0, 0, 1, 1, 2, 3, 3, 3, 0]
    assert known.tolist() == [1, 1, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize('events', [1, 2])
def test_discrete_likelihoods_are_those_of_their_incidence(events):
    """Of every course that a patient can take: minus the log of its probability, and they add up to 1."""
    bins, rng = 4, np.random.default_rng(0)
    odds, logits = rng.normal(size=(3, bins, events)), rng.normal(size=(3, events * bins + 1))
    for incidence, loss in (
            (losses_survival.hazards_to_incidence(jnp.asarray(odds)), lambda i, e: losses_survival.discrete(jnp.asarray(odds), i, e)),
            (losses_survival.deephit_incidence(jnp.asarray(logits), bins),
             lambda i, e: losses_survival.deephit(jnp.asarray(logits), i, e, bins))):
        assert incidence.shape == (3, events, bins)
        assert (np.diff(incidence, axis=-1) > 0).all() and (incidence.sum(1)[:, -1] < 1).all()
        mass, total = np.diff(incidence, axis=-1, prepend=0), 0.0
        for index, event in itertools.product(range(bins), range(1, events + 1)):
            found = np.exp(-loss(jnp.full(3, index), jnp.full(3, event)))
            np.testing.assert_allclose(found, mass[:, event - 1, index], rtol=1e-5)
            total += found
        total += np.exp(-loss(jnp.full(3, bins), jnp.zeros(3, int)))
        np.testing.assert_allclose(total, 1, rtol=1e-5)
        left = np.exp(-loss(jnp.full(3, 2), jnp.zeros(3, int)))
        np.testing.assert_allclose(left, 1 - incidence[:, :, 1].sum(1), rtol=1e-5)


def test_pairs_in_order_by_hand():
    incidence = np.random.default_rng(0).random((4, 2, 3)).cumsum(-1) / 6
    index, event, mask = jnp.array([0, 1, 1, 2]), jnp.array([2, 1, 0, 1]), jnp.ones(4)
    pairs = [(0, 1, 1, 0), (0, 2, 1, 0), (0, 3, 1, 0), (1, 2, 0, 1), (1, 3, 0, 1)]  # who, whom, event, interval
    want = np.mean([np.exp((incidence[j, e, k] - incidence[i, e, k]) / 0.2) for i, j, e, k in pairs])
    np.testing.assert_allclose(losses_survival.ranking(jnp.asarray(incidence), index, event, mask, 0.2), want, rtol=1e-5)


def test_weibull_is_the_exponential_at_shape_one_and_its_density_adds_up():
    time = np.linspace(0.005, 60, 12000)
    one = np.zeros_like(time)
    for scale, shape in ((1.0, 0.0), (0.5, 0.6), (1.2, -0.2)):
        density = np.exp(-losses_survival.weibull(one + scale, one + shape, time, one + 1))
        survival = np.exp(-losses_survival.weibull(one + scale, one + shape, time, one))
        incidence = losses_survival.weibull_incidence(jnp.array([scale]), jnp.array([shape]), time)[0]
        np.testing.assert_allclose(survival, 1 - incidence, atol=1e-5)
        np.testing.assert_allclose((density * np.diff(time, prepend=0)).cumsum(), incidence, atol=2e-2)
    np.testing.assert_allclose(-losses_survival.weibull(one + 1.0, one, time, one + 1), -1 - time / np.e, rtol=1e-4)
