"""Recurrent layers and temporal convolutions, compared with loops, and their invariance to padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.nn.recurrent import GRUD, ConvLSTM, Recurrent, TemporalConv, time_since_observed

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def series(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def random_variables(module, *args, **options):
    """Random parameters of a module, including biases."""
    shapes = jax.eval_shape(lambda key: module.init(key, *args, **options), KEY)
    return jax.tree.map(lambda s: jnp.asarray(RNG.normal(size=s.shape) * 0.4, jnp.float32), shapes)


def compiled(module):
    return jax.jit(lambda variables, *args: module.apply(variables, *args))


def by_hand(cell, p, x):
    """The states of a layer by a loop over steps, for one series `[T, F]`."""
    h = c = np.zeros(len(p['recurrent']))
    out = []
    for row in x:
        projected, product = row @ p['kernel'] + p['bias'], h @ p['recurrent']
        if cell == 'rnn':
            h = np.tanh(projected + product)
        if cell == 'lstm':
            i, f, g, o = np.split(projected + product, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        if cell == 'gru':
            (r, z, n), (hr, hz, hn) = np.split(projected, 3), np.split(product, 3)
            n = np.tanh(n + sigmoid(r + hr) * (hn + p['bias_new']))
            h = (1 - sigmoid(z + hz)) * n + sigmoid(z + hz) * h
        out.append(h)
    return np.array(out)


@pytest.mark.parametrize('cell', ['rnn', 'lstm', 'gru'])
def test_a_layer_equals_its_recurrence(cell):
    x, mask = series(2, 6, 3), np.ones((2, 6), np.float32)
    module = Recurrent(4, cell)
    variables = random_variables(module, x, mask)
    states, last = compiled(module)(variables, x, mask)
    params = {name: np.asarray(value, np.float64) for name, value in variables['params'].items()}
    np.testing.assert_allclose(states, [by_hand(cell, params, each) for each in x], atol=1e-5)
    np.testing.assert_array_equal(last, states[:, -1])
    back, first = compiled(Recurrent(4, cell, reverse=True))(variables, x, mask)
    np.testing.assert_allclose(back, [by_hand(cell, params, each[::-1])[::-1] for each in x], atol=1e-5)
    np.testing.assert_array_equal(first, back[:, 0])


LAYERS = {
    'rnn': (Recurrent(4, 'rnn'), ()), 'lstm': (Recurrent(4, 'lstm'), ()), 'gru': (Recurrent(4, 'gru'), ()),
    'back': (Recurrent(4, 'gru', reverse=True), ()), 'gru_d': (GRUD(4), ()), 'conv_lstm': (ConvLSTM(2), (4, 3)),
    'conv': (TemporalConv(4, levels=2), ()),
}


@pytest.mark.parametrize('name', LAYERS)
def test_padding_has_no_effect(name):
    """Padding of any content, including NaN, at any position does not change the states."""
    module, space = LAYERS[name]
    steps, places = 4, np.array([1, 2, 5, 7])
    x, times = series(2, steps, *space, 3), np.sort(series(2, steps))
    padded_x = np.full((2, 9, *space, 3), np.nan, np.float32)
    padded_x[:, places] = x
    padded_times, mask = np.full((2, 9), np.nan, np.float32), np.zeros((2, 9), np.float32)
    padded_times[:, places], mask[:, places] = times, 1
    observed = (series(2, steps, 3) > 0).astype(np.float32)
    padded_observed = np.ones((2, 9, 3), np.float32)
    padded_observed[:, places] = observed

    def arguments(x, observed, times, mask):
        return (x, observed, times, mask) if name == 'gru_d' else (x, mask)

    options = {'train': False} if name == 'conv' else {}
    short = arguments(x, observed, times, np.ones((2, steps), np.float32))
    variables = random_variables(module, *short, **options)

    @jax.jit
    def run(variables, *args):
        def total(variables):
            states, last = module.apply(variables, *args, **options)
            return (states**2).sum() + last.sum(), (states, last)
        return jax.grad(total, has_aux=True)(variables)

    gradient, (states, last) = run(variables, *short)
    padded_gradient, (padded_states, padded_last) = run(
        variables, *arguments(padded_x, padded_observed, padded_times, mask))
    np.testing.assert_allclose(padded_states[:, places], states, atol=1e-6)
    np.testing.assert_allclose(padded_last, last, atol=1e-6)
    assert not np.asarray(padded_states)[:, mask[0] == 0].any()
    for one, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(padded_gradient)):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['rnn', 'gru_d', 'conv'])
def test_layers_are_causal(name):
    module, _ = LAYERS[name]
    x, mask, options = series(1, 6, 3), np.ones((1, 6), np.float32), {'train': False} if name == 'conv' else {}
    observed, times = np.ones_like(x), np.arange(6, dtype=np.float32)[None]
    args = (observed, times, mask) if name == 'gru_d' else (mask,)
    variables = random_variables(module, x, *args, **options)
    changed = x.copy()
    changed[:, 3] += 1
    one, other = (np.asarray(module.apply(variables, each, *args, **options)[0]) for each in (x, changed))
    np.testing.assert_array_equal(one[:, :3], other[:, :3])
    assert (one[:, 3:] != other[:, 3:]).any()


def test_time_since_observed_by_hand():
    observed = np.array([[1, 0], [0, 0], [0, 1], [1, 1]], np.float32)[None]
    wait = time_since_observed(observed, np.array([[0, 2, 3, 7]], np.float32), np.ones((1, 4), np.float32))
    np.testing.assert_array_equal(wait[0], [[0, 0], [2, 2], [3, 3], [7, 4]])  # since the first visit if never observed


def test_gru_d_equals_its_recurrence():
    x, observed = series(1, 5, 2), (series(1, 5, 2) > 0).astype(np.float32)
    module, mask, times = GRUD(3), np.ones((1, 5), np.float32), np.array([[0, 1, 1.5, 4, 6]], np.float32)
    variables = random_variables(module, x, observed, times, mask)
    p = {name: np.asarray(value, np.float64) for name, value in variables['params'].items() if name != 'fade'}
    fade = {name: np.asarray(value, np.float64) for name, value in variables['params']['fade'].items()}
    wait = np.asarray(time_since_observed(observed, times, mask))[0]
    h, last, states = np.zeros(3), np.zeros(2), []
    for row, present, gap in zip(x[0], observed[0], wait):
        value = np.where(present > 0, row, np.exp(-np.maximum(gap * p['decay'] + p['decay_bias'], 0)) * last)
        last = np.where(present > 0, row, last)
        h = h * np.exp(-np.maximum(gap @ fade['kernel'] + fade['bias'], 0))
        (r, z, n), (hr, hz, hn) = np.split(np.concatenate([value, present]) @ p['kernel'] + p['bias'], 3), np.split(
            h @ p['recurrent'], 3)
        n = np.tanh(n + sigmoid(r + hr) * (hn + p['bias_new']))
        h = (1 - sigmoid(z + hz)) * n + sigmoid(z + hz) * h
        states.append(h)
    np.testing.assert_allclose(compiled(module)(variables, x, observed, times, mask)[0][0], states, atol=1e-5)


def test_a_conv_lstm_with_one_voxel_equals_an_lstm():
    x, mask = series(2, 5, 1, 1, 3), np.ones((2, 5), np.float32)
    module = ConvLSTM(4)
    variables = random_variables(module, x, mask)
    states, _ = compiled(module)(variables, x, mask)
    central = {name: value[1, 1] if value.ndim == 4 else value for name, value in variables['params'].items()}
    want, _ = compiled(Recurrent(4, 'lstm'))({'params': central}, x[:, :, 0, 0], mask)
    np.testing.assert_allclose(states[:, :, 0, 0], want, atol=1e-5)


def test_unknown_cells_and_even_kernels_raise():
    with pytest.raises(InputError, match=r"config\.model\.cell: 'srn'; expected one of: rnn, lstm, gru"):
        jax.eval_shape(Recurrent(4, 'srn').init, KEY, series(1, 2, 3), np.ones((1, 2)))
    with pytest.raises(InputError, match=r'config\.model\.kernel: 2; expected an odd number'):
        jax.eval_shape(ConvLSTM(4, 2).init, KEY, series(1, 2, 4, 4, 1), np.ones((1, 2)))
