"""Sequence networks: padding, causality, chunks and windows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.models.sequence import Model

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def patients(count=2, steps=6):
    """Values, observed, times, mask and covariates."""
    return [RNG.normal(size=(count, steps, 3)).astype(np.float32),
            (RNG.uniform(size=(count, steps, 3)) < 0.7).astype(np.float32),
            np.sort(RNG.uniform(0, 3, (count, steps))).astype(np.float32), np.ones((count, steps), np.float32),
            RNG.normal(size=(count, 2)).astype(np.float32)]


@functools.cache
def build_network(**options):
    """A compiled network with random parameters."""
    module = Model(**{'outputs': 2, 'width': 8, 'heads': 2, **options})
    shapes = jax.eval_shape(lambda: module.init(KEY, *patients(), train=False))
    weights = jax.tree.map(lambda s: jnp.asarray(RNG.normal(size=s.shape) * 0.4, jnp.float32), shapes)
    apply = jax.jit(lambda *args: module.apply(weights, *args, train=False))
    return lambda args: jax.device_get(apply(*args))


NETWORKS = {
    'gru': dict(cell='gru', depth=2), 'both': dict(cell='lstm', bidirectional=True, pool='mean'),
    'gru_d': dict(cell='gru_d'),
    'conv': dict(cell='conv', depth=2, linear=True), 'attention': dict(cell='transformer', depth=1, pool='attention'),
    'steps': dict(cell='transformer', depth=1, position_encoding='step', window=2),
    'parts': dict(cell='transformer', depth=1, chunk_size=2),
    'parts_both': dict(cell='transformer', chunk_size=4, bidirectional=True),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_padding_has_no_effect(name):
    """Padding with any content, including NaN, between the steps has no effect."""
    args, places = patients(), np.array([1, 2, 4, 5, 7, 8])
    padded = [np.full((2, 11, *part.shape[2:]), fill, np.float32)
              for part, fill in zip(args[:4], (np.nan, 1.0, np.nan, 0.0))]
    for target, part in zip(padded, args):
        target[:, places] = part
    run = build_network(**NETWORKS[name])
    (out, feats), (padded_out, padded_feats) = run(args), run([*padded, args[4]])
    np.testing.assert_allclose(padded_out, out, atol=1e-5)
    np.testing.assert_allclose(padded_feats['steps'][:, places], feats['steps'], atol=1e-5)
    if 'attention' in feats:
        np.testing.assert_allclose(padded_feats['attention'][:, places], feats['attention'], atol=1e-6)
        np.testing.assert_allclose(padded_feats['attention'].sum(1), 1, atol=1e-6)
        assert not padded_feats['attention'][:, [0, 3, 6, 9, 10]].any()


@pytest.mark.parametrize('name', NETWORKS)
def test_networks_are_causal_unless_bidirectional(name):
    args = patients()
    later = [part.copy() for part in args]
    later[0][:, 4], later[1][:, 4], later[2][:, 4:] = 5.0, 1.0, later[2][:, 4:] + 1
    run = build_network(**NETWORKS[name])
    one, other = (run(each)[1]['steps'] for each in (args, later))
    changed = np.abs(one - other).max((0, 2)) > 1e-6
    assert changed[4]
    assert changed[:4].any() if NETWORKS[name].get('bidirectional') else not changed[:4].any()


def test_unobserved_values_have_no_effect():
    args = patients()
    other = [np.where(args[1] > 0, args[0], np.nan), *args[1:]]
    for name in ('gru', 'gru_d'):
        run = build_network(**NETWORKS[name])
        np.testing.assert_array_equal(run(other)[0], run(args)[0])


@pytest.mark.parametrize('options, reach', [(dict(window=2), 1), (dict(chunk_size=3), 3), (dict(), 5)])
def test_the_receptive_field_of_a_step(options, reach):
    """One block: a window of 2 steps includes the previous step; a chunk of 3 steps its own and earlier chunks."""
    args = patients(1)
    run = build_network(cell='transformer', depth=1, position_encoding='step', **options)
    base, visible = run(args)[1]['steps'], []
    for step in range(5):
        other = [part.copy() for part in args]
        other[0][:, step], other[1][:, step] = 7.0, 1.0
        visible.append(np.abs(run(other)[1]['steps'][:, 5] - base[:, 5]).max() > 1e-7)
    assert visible == [step >= 5 - reach or 'chunk_size' in options for step in range(5)]


def test_the_linear_term_of_the_covariates():
    module = Model(outputs=1, width=4, linear=True)
    args = patients()
    params = jax.jit(functools.partial(module.init, train=False))(KEY, *args)['params']
    apply = jax.jit(functools.partial(module.apply, train=False))
    assert params['linear']['kernel'].shape == (2, 1) and not params['linear']['kernel'].any()
    weight = jnp.asarray([[2.0], [-1.0]])
    without, with_linear = (apply({'params': params | {'linear': {'kernel': kernel}}}, *args)[0]
                            for kernel in (params['linear']['kernel'], weight))
    np.testing.assert_allclose(with_linear - without, args[4] @ weight, atol=1e-6)


def test_outputs_for_each_step():
    out, feats = build_network(per_step=True)(patients())
    assert out.shape == (2, 6, 2) and feats['pooled'].shape == (2, 8)


@pytest.mark.parametrize('options, message', [
    (dict(cell='srn'), r"config\.model\.cell: 'srn'; expected one of: rnn, lstm, gru, gru_d, conv, transformer"),
    (dict(pool='first'), r"config\.model\.pool: 'first'; expected one of: last, mean, attention"),
    (dict(cell='transformer', position_encoding='visit'),
     r"config\.model\.position_encoding: 'visit'; expected one of: time, step"),
    (dict(cell='transformer', width=7, heads=1), r'config\.model\.width: 7; expected an even number'),
    (dict(cell='transformer', width=6, heads=4), r'config\.model\.heads: 4; expected a divisor of the width, 6'),
])
def test_invalid_fields_raise(options, message):
    with pytest.raises(InputError, match=message):
        build_network(**options)
