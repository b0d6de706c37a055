"""Batches of inputs that wait, and errors in them."""

import concurrent.futures
import threading

import pytest

from medjax.serve.batching import Batcher


def outputs(batcher, inputs):
    with concurrent.futures.ThreadPoolExecutor(len(inputs)) as threads:
        return [one for one, in threads.map(lambda found: batcher.outputs([found]), inputs)]


def test_inputs_that_wait_are_one_batch():
    sizes = []
    batcher = Batcher(lambda inputs: [10 * x for x in inputs], 3, 5.0, sizes.append)
    assert outputs(batcher, range(6)) == [0, 10, 20, 30, 40, 50]  # a batch that is full does not wait
    assert sizes == [3, 3]
    batcher.stop()


def test_a_batch_that_is_not_full_ends_at_its_deadline_or_at_a_call():
    sizes, started = [], threading.Event()
    batcher = Batcher(lambda inputs: inputs, 8, .05, sizes.append)
    assert outputs(batcher, [1, 2]) == [1, 2] and sum(sizes) == 2
    batcher.stop()
    batcher = Batcher(lambda inputs: inputs, 8, 60, lambda _: started.set())
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        first = threads.submit(batcher.outputs, [1])
        while batcher._waiting.qsize():
            pass
        assert threads.submit(batcher.call, lambda: 'alone').result(10) == 'alone'
        assert first.result(10) == [1] and started.is_set()
    batcher.stop()


def test_an_error_is_that_of_its_batch_alone():
    def predict(inputs):
        if 'bad' in inputs:
            raise ValueError('bad input')
        return inputs
    batcher = Batcher(predict, 1, 0)
    with pytest.raises(ValueError, match='bad input'):
        batcher.outputs(['bad'])
    with pytest.raises(ZeroDivisionError):
        batcher.call(lambda: 1 / 0)
    assert batcher.outputs(['good', 'better']) == ['good', 'better']
    batcher.stop()
