"""Recurrent layers against PyTorch's."""

import jax
import numpy as np
import pytest

from medjax.nn.recurrent import Recurrent

torch = pytest.importorskip('torch')
RNG = np.random.default_rng(0)


@pytest.mark.parametrize('cell', ['rnn', 'lstm', 'gru'])
def test_a_layer_equals_pytorch(cell):
    x = RNG.normal(size=(3, 7, 5)).astype(np.float32)
    theirs = {'rnn': torch.nn.RNN, 'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU}[cell](5, 6, batch_first=True)
    into, back, bias, more = (p.detach().numpy() for p in theirs.parameters())
    params = {'kernel': into.T, 'recurrent': back.T, 'bias': bias + more}
    if cell == 'gru':  # the bias of the new within the reset gate is one of its own
        params['bias'], params['bias_new'] = bias + np.concatenate([more[:12], np.zeros(6)]), more[12:]
    outputs, last = jax.jit(Recurrent(6, cell).apply)({'params': params}, x, np.ones((3, 7)))
    with torch.no_grad():
        want = theirs(torch.tensor(x))[0].numpy()
    np.testing.assert_allclose(outputs, want, atol=1e-5)
    np.testing.assert_allclose(last, want[:, -1], atol=1e-5)


@pytest.mark.parametrize('cell', ['rnn', 'lstm', 'gru'])
def test_series_of_unequal_length_equal_packed_sequences_of_pytorch(cell):
    x, lengths = RNG.normal(size=(3, 7, 5)).astype(np.float32), [7, 3, 5]
    theirs = {'rnn': torch.nn.RNN, 'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU}[cell](5, 6, batch_first=True, bias=False)
    into, back = (p.detach().numpy() for p in theirs.parameters())
    zeros = np.zeros(into.shape[0], np.float32)
    new = {'bias_new': zeros[:6]} if cell == 'gru' else {}
    params = {'kernel': into.T, 'recurrent': back.T, 'bias': zeros, **new}
    mask = np.arange(7) < np.array(lengths)[:, None]
    outputs, _ = jax.jit(Recurrent(6, cell).apply)({'params': params}, x, mask.astype(np.float32))
    with torch.no_grad():
        packed = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(x), lengths, batch_first=True,
                                                         enforce_sorted=False)
        want, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    np.testing.assert_allclose(outputs, want.numpy(), atol=1e-5)
