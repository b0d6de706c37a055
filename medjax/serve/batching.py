"""Predictions of one thread for the requests of many: those that wait are predicted together."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any


class Batcher:
    """Runs all predictions in one thread, and those of inputs that wait together in one batch.

    Args:
      predict: `(inputs) -> outputs`, one for each of at most `most` inputs.
      most: inputs in a batch.
      wait: seconds that the first input of a batch waits for others, at most.
      observe: takes the size of each batch.
    """

    def __init__(self, predict: Callable[[Sequence[Any]], Sequence[Any]], most: int, wait: float,
                 observe: Callable[[int], None] = lambda size: None):
        self._predict, self._most, self._wait, self._observe = predict, most, wait, observe
        self._waiting: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name='predictions', daemon=True)
        self._thread.start()

    def outputs(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs for inputs, after they waited for their batches; raises what a prediction raised."""
        futures = [self._submit(None, found) for found in inputs]
        return [future.result() for future in futures]

    def call(self, function: Callable[[], Any]) -> Any:
        """The result of a function that is called in the thread of predictions, by itself."""
        return self._submit(function, None).result()

    def stop(self) -> None:
        """Ends the thread after all that waits."""
        self._waiting.put(None)
        self._thread.join()

    def _submit(self, function: Callable[[], Any] | None, found: Any) -> Future:
        future: Future = Future()
        self._waiting.put((future, function, found))
        return future

    def _run(self) -> None:
        jobs = iter(self._waiting.get, None)
        for job in jobs:
            while job is not None:
                job = self._run_job(*job)

    def _run_job(self, future: Future, function: Callable[[], Any] | None, found: Any) -> Any:
        """Runs a job with those that join its batch; returns a job that was taken and did not join."""
        if function is not None:
            _resolve([future], lambda: [function()])
            return None
        futures, inputs, other, deadline = [future], [found], None, time.monotonic() + self._wait
        while len(inputs) < self._most and other is None:
            try:
                job = self._waiting.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                break
            if job is None:
                self._waiting.put(None)  # read again after this batch
                break
            if job[1] is not None:
                other = job
                continue
            futures.append(job[0])
            inputs.append(job[2])
        self._observe(len(inputs))
        _resolve(futures, lambda: self._predict(inputs))
        return other


def _resolve(futures: Sequence[Future], results: Callable[[], Sequence[Any]]) -> None:
    """Gives each future its result, or all of them the error."""
    try:
        for future, result in zip(futures, results(), strict=True):
            future.set_result(result)
    except BaseException as error:
        for future in futures:
            if not future.done():
                future.set_exception(error)
