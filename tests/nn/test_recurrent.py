import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.nn.recurrent import GRUD, ConvLSTM, Recurrent, TemporalConv, waited

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def series(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def drawn(module, *args, **more):
    """Weights of a module, all of them drawn, biases too."""
    shapes = jax.eval_shape(lambda key: module.init(key, *args, **more), KEY)
    return jax.tree.map(lambda s: jnp.asarray(RNG.normal(size=s.shape) * 0.4, jnp.float32), shapes)


def applied(module):
    return jax.jit(lambda variables, *args: module.apply(variables, *args))


def by_hand(cell, p, x):
    """A layer's states by loops over steps, for one series `[T, F]`."""
    h = c = np.zeros(len(p['recurrent']))
    out = []
    for row in x:
        said, product = row @ p['kernel'] + p['bias'], h @ p['recurrent']
        if cell == 'rnn':
            h = np.tanh(said + product)
        if cell == 'lstm':
            i, f, g, o = np.split(said + product, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        if cell == 'gru':
            (r, z, n), (hr, hz, hn) = np.split(said, 3), np.split(product, 3)
            n = np.tanh(n + sigmoid(r + hr) * (hn + p['bias_new']))
            h = (1 - sigmoid(z + hz)) * n + sigmoid(z + hz) * h
        out.append(h)
    return np.array(out)


@pytest.mark.parametrize('cell', ['rnn', 'lstm', 'gru'])
def test_a_layer_is_its_recurrence(cell):
    x, mask = series(2, 6, 3), np.ones((2, 6), np.float32)
    module = Recurrent(4, cell)
    variables = drawn(module, x, mask)
    told, last = applied(module)(variables, x, mask)
    params = {name: np.asarray(value, np.float64) for name, value in variables['params'].items()}
    np.testing.assert_allclose(told, [by_hand(cell, params, each) for each in x], atol=1e-5)
    np.testing.assert_array_equal(last, told[:, -1])
    back, first = applied(Recurrent(4, cell, reverse=True))(variables, x, mask)
    np.testing.assert_allclose(back, [by_hand(cell, params, each[::-1])[::-1] for each in x], atol=1e-5)
    np.testing.assert_array_equal(first, back[:, 0])


LAYERS = {
    'rnn': (Recurrent(4, 'rnn'), ()), 'lstm': (Recurrent(4, 'lstm'), ()), 'gru': (Recurrent(4, 'gru'), ()),
    'back': (Recurrent(4, 'gru', reverse=True), ()), 'gru_d': (GRUD(4), ()), 'conv_lstm': (ConvLSTM(2), (4, 3)),
    'conv': (TemporalConv(4, levels=2), ()),
}


@pytest.mark.parametrize('name', LAYERS)
def test_padding_changes_nothing(name):
    """Longer, of other content (NaN too), and at other places: the same states of the steps, and the same last one."""
    module, space = LAYERS[name]
    steps, places = 4, np.array([1, 2, 5, 7])
    x, times = series(2, steps, *space, 3), np.sort(series(2, steps))
    long = np.full((2, 9, *space, 3), np.nan, np.float32)
    long[:, places] = x
    late, mask = np.full((2, 9), np.nan, np.float32), np.zeros((2, 9), np.float32)
    late[:, places], mask[:, places] = times, 1
    seen = (series(2, steps, 3) > 0).astype(np.float32)
    longer = np.ones((2, 9, 3), np.float32)
    longer[:, places] = seen

    def given(x, seen, times, mask):
        return (x, seen, times, mask) if name == 'gru_d' else (x, mask)

    more = {'train': False} if name == 'conv' else {}
    short = given(x, seen, times, np.ones((2, steps), np.float32))
    variables = drawn(module, *short, **more)

    @jax.jit
    def run(variables, *args):
        def total(variables):
            told, last = module.apply(variables, *args, **more)
            return (told**2).sum() + last.sum(), (told, last)
        return jax.grad(total, has_aux=True)(variables)

    (by, (told, last)), (by_long, (told_long, last_long)) = run(variables, *short), run(
        variables, *given(long, longer, late, mask))
    np.testing.assert_allclose(told_long[:, places], told, atol=1e-6)
    np.testing.assert_allclose(last_long, last, atol=1e-6)
    assert not np.asarray(told_long)[:, mask[0] == 0].any()
    for one, other in zip(jax.tree.leaves(by), jax.tree.leaves(by_long)):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['rnn', 'gru_d', 'conv'])
def test_the_past_does_not_know_the_future(name):
    module, _ = LAYERS[name]
    x, mask, more = series(1, 6, 3), np.ones((1, 6), np.float32), {'train': False} if name == 'conv' else {}
    seen, times = np.ones_like(x), np.arange(6, dtype=np.float32)[None]
    args = (seen, times, mask) if name == 'gru_d' else (mask,)
    variables = drawn(module, x, *args, **more)
    changed = x.copy()
    changed[:, 3] += 1
    one, other = (np.asarray(module.apply(variables, each, *args, **more)[0]) for each in (x, changed))
    np.testing.assert_array_equal(one[:, :3], other[:, :3])
    assert (one[:, 3:] != other[:, 3:]).any()


def test_how_long_ago_a_value_was_seen():
    seen = np.array([[1, 0], [0, 0], [0, 1], [1, 1]], np.float32)[None]
    wait = waited(seen, np.array([[0, 2, 3, 7]], np.float32), np.ones((1, 4), np.float32))
    np.testing.assert_array_equal(wait[0], [[0, 0], [2, 2], [3, 3], [7, 4]])  # since the first visit where never


def test_gru_d_is_its_recurrence():
    x, seen = series(1, 5, 2), (series(1, 5, 2) > 0).astype(np.float32)
    module, mask, times = GRUD(3), np.ones((1, 5), np.float32), np.array([[0, 1, 1.5, 4, 6]], np.float32)
    variables = drawn(module, x, seen, times, mask)
    p = {name: np.asarray(value, np.float64) for name, value in variables['params'].items() if name != 'fade'}
    fade = {name: np.asarray(value, np.float64) for name, value in variables['params']['fade'].items()}
    wait = np.asarray(waited(seen, times, mask))[0]
    h, last, states = np.zeros(3), np.zeros(2), []
    for row, there, gone in zip(x[0], seen[0], wait):
        value = np.where(there > 0, row, np.exp(-np.maximum(gone * p['decay'] + p['decay_bias'], 0)) * last)
        last = np.where(there > 0, row, last)
        h = h * np.exp(-np.maximum(gone @ fade['kernel'] + fade['bias'], 0))
        (r, z, n), (hr, hz, hn) = np.split(np.concatenate([value, there]) @ p['kernel'] + p['bias'], 3), np.split(
            h @ p['recurrent'], 3)
        n = np.tanh(n + sigmoid(r + hr) * (hn + p['bias_new']))
        h = (1 - sigmoid(z + hz)) * n + sigmoid(z + hz) * h
        states.append(h)
    np.testing.assert_allclose(applied(module)(variables, x, seen, times, mask)[0][0], states, atol=1e-5)


def test_a_conv_lstm_of_one_voxel_is_an_lstm():
    x, mask = series(2, 5, 1, 1, 3), np.ones((2, 5), np.float32)
    module = ConvLSTM(4)
    variables = drawn(module, x, mask)
    told, _ = applied(module)(variables, x, mask)
    middle = {name: value[1, 1] if value.ndim == 4 else value for name, value in variables['params'].items()}
    want, _ = applied(Recurrent(4, 'lstm'))({'params': middle}, x[:, :, 0, 0], mask)
    np.testing.assert_allclose(told[:, :, 0, 0], want, atol=1e-5)


def test_unknown_cells_and_even_kernels_are_refused():
    with pytest.raises(InputError, match=r"config\.model\.cell: 'srn'; expected one of: rnn, lstm, gru"):
        Recurrent(4, 'srn').init(KEY, series(1, 2, 3), np.ones((1, 2)))
    with pytest.raises(InputError, match=r'config\.model\.kernel: 2; expected an odd number'):
        ConvLSTM(4, 2).init(KEY, series(1, 2, 4, 4, 1), np.ones((1, 2)))
