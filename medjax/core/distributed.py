"""Several processes that train one run together: their start and end, and what they exchange.

Every process runs the same program on its own devices, and all of them call the functions below in the same order. With
one process these functions return at once.
"""

import contextlib
import contextvars
import os
import pickle
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax._src import distributed as runtime  # its store of keys and values has no public name
from jax.experimental import multihost_utils

from medjax.core import failures, rendezvous
from medjax.errors import InputError, as_line

A = TypeVar('A')
B = TypeVar('B')

TASKS = ('SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE')  # variables of launchers: the number of processes that they started
EXPECTED = ("expected 'auto' under a launcher that JAX knows (Slurm, Open MPI, GKE, Cloud TPU), or "
            "HOST:PORT,COUNT,NUMBER, or 'none' where each process is a run of its own")
START = 300.0  # seconds in which all processes have to be started
DAY = 86_400_000  # ms that a process waits for the others, whose end would end it earlier
STOPPED = 75

_splits = contextvars.ContextVar('splits', default=False)  # whether `mapped` splits its items
_exchanges = 0  # number of exchanges so far, equal in all processes


def several() -> bool:
    """Whether several processes train this run."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this is process 0, which alone prints, and writes all that is not split."""
    return not several() or jax.process_index() == 0


def only_first(say: Callable[[str], None]) -> Callable[[str], None]:
    """A function that takes lines for the console: `say` in process 0, one that does nothing in the others."""
    return say if is_first() else lambda line: None


@contextlib.contextmanager
def started(where: str) -> Iterator[None]:
    """Starts the processes of a run as one. An error in one of them ends all of them, with its exit code.

    Args:
      where: '' or 'none' for one process; 'auto' where JAX knows the launcher; else HOST:PORT,COUNT,NUMBER: the address
        of process 0, the number of processes, and the number of this one.

    Raises:
      InputError: not of this form; no launcher was found; the processes did not come together; a launcher has started
        several processes and `where` is ''.
    """
    if where in ('', 'none'):
        _check_alone(where)
    else:
        _initialize(where)
    if not several():
        yield
        return
    watch = _watch()
    try:
        yield
        gathered(None)  # what process 0 writes last takes as long as it takes
    except KeyboardInterrupt as error:
        watch.fail(STOPPED, f'{error or "SIGINT"}: stopped; rerun the same command to resume', lambda: None)
    except BaseException as error:
        line = as_line(error)
        if line is not None:
            watch.fail(2, line, lambda: print(f'medjax: {line}', file=sys.stderr))
        time.sleep(1)  # another process' end may be the cause, which its message names
        watch.fail(1, f'{type(error).__name__}: {" ".join(str(error).split())[:200]}', traceback.print_exc)
    watch.close()
    jax.distributed.shutdown()


def _check_alone(where: str) -> None:
    """Refuses to run several times in one folder what was meant as one run."""
    for name in TASKS if not where else ():
        if os.environ.get(name, '1') not in ('', '1'):
            raise InputError(f'{name}: {os.environ[name]} processes, without --distributed; {EXPECTED}')


def _initialize(where: str) -> None:
    """Connects the processes."""
    if where == 'auto':
        given: dict[str, Any] = {}
    else:
        address, *numbers = where.split(',')
        if ':' not in address or len(numbers) != 2 or not all(number.isdecimal() for number in numbers) or (
                not int(numbers[1]) < int(numbers[0])):
            raise InputError(f'--distributed={where}; {EXPECTED}; NUMBER is 0 to COUNT - 1')
        count, number = map(int, numbers)
        given = {'coordinator_address': rendezvous.coordinator(where, address, count, number, START),
                 'num_processes': count, 'process_id': number}
    # JAX itself would end the process by an abort, with a stack trace.
    late = threading.Timer(START, _end_late, [where])
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(**given, initialization_timeout=int(2 * START) + 60)
    except ValueError as error:
        raise InputError(f'--distributed={where}: no launcher was found ({error}); {EXPECTED}') from error
    except RuntimeError as error:
        raise InputError(f'--distributed={where}: the processes did not come together: '
                         f'{" ".join(str(error).split())[:200]}') from error
    finally:
        late.cancel()


def _end_late(where: str) -> None:
    """Ends this process, which has waited for others long enough."""
    print(f'medjax: --distributed={where}: not all processes came together within {START:g} s; expected each of them '
          'to be started, and to reach the machine of process 0', file=sys.stderr)
    failures.leave(2)


def _watch() -> failures.Watch:
    """Connects the processes for news of their end."""
    host, store = str(runtime.global_state.coordinator_address).rpartition(':')[0].strip('[]'), _store()
    return failures.watch(jax.process_index(), jax.process_count(), host,
                          lambda text: store.key_value_set('medjax/watch', text),
                          lambda: store.blocking_key_value_get('medjax/watch', DAY))


def _store() -> Any:
    """JAX's store of keys and values, which all processes share."""
    return runtime.global_state.client


def gathered(value: A) -> list[A]:
    """The small value of each process, by the processes' numbers; all processes meet here.

    It goes through the processes' first connection, not through their devices: it works while they compile or read
    data at different speeds, which device collectives on a CPU give up after 30 s.
    """
    if not several():
        return [value]
    global _exchanges
    _exchanges += 1
    store, own = _store(), jax.process_index()
    store.key_value_set_bytes(f'medjax/{_exchanges}/{own}', pickle.dumps(value))
    values = [pickle.loads(store.blocking_key_value_get_bytes(f'medjax/{_exchanges}/{number}', DAY))
              for number in range(jax.process_count())]
    # All have read the value before, since all have set this one.
    store.key_value_delete(f'medjax/{_exchanges - 1}/{own}')
    return values


def agreed(call: Callable[[], A]) -> A:
    """The result of a call that all processes make; an InputError of one of them is raised in all."""
    if not several():
        return call()
    try:
        result, error = call(), None
    except InputError as raised:
        result, error = None, raised
    for found in gathered(error):
        if found is not None:
            raise found
    return result  # type: ignore[return-value]


def on_first(call: Callable[[], A]) -> A:
    """The small result of a call that process 0 alone makes, in all processes; its InputError is raised in all."""
    if not several():
        return call()
    outcome = None
    if is_first():
        try:
            outcome = call(), None
        except InputError as raised:
            outcome = None, raised
    found = gathered(outcome)[0]
    assert found is not None
    if found[1] is not None:
        raise found[1]
    return found[0]  # type: ignore[return-value]


@contextlib.contextmanager
def splitting() -> Iterator[None]:
    """Within this block, which all processes enter, `mapped` splits its items among the processes."""
    token = _splits.set(True)
    try:
        yield
    finally:
        _splits.reset(token)


def mapped(function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """The results of a function for all items, in their order.

    Within `splitting`, each process calls it for some of the items, and gets the others' results from the others.

    Args:
      function: its results can be pickled; it does not call this function.
      items: equal in all processes.
    """
    if not several() or not _splits.get():
        return [function(item) for item in items]
    items, count = list(items), jax.process_count()
    parts = _gathered_by_devices([function(item) for item in items[jax.process_index()::count]])
    return [parts[number % count][number // count] for number in range(len(items))]


def _gathered_by_devices(value: Any) -> list[Any]:
    """The large value of each process, by the processes' numbers."""
    content = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = gathered(len(content))
    padded = np.zeros(max(sizes), np.uint8)
    padded[:len(content)] = content
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(multihost_utils.process_allgather(padded), sizes)]


def host_array(array: Any) -> np.ndarray:
    """A copy of an array on the host; all processes have to call this for an array that is shared among them."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable and not array.is_fully_replicated:
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.array(array)


def reached_stop(step: int, signals: list[str]) -> bool:
    """Whether to stop after a step because of a signal: in all processes at the same step, whichever got it.

    Args:
      step: number of the step; with several processes this has to be called at every one.
      signals: the name of a signal to this process; it is added for one to another process.
    """
    if not several():
        return bool(signals)
    stop = multihost_utils.reached_preemption_sync_point(step)
    if stop and not signals:
        signals.append('SIGTERM')
    return stop


def check_equal(facts: dict[str, Any]) -> None:
    """Checks that facts on which the run depends are equal in all processes.

    Raises:
      InputError: with the name of the first one that differs, and who has what.
    """
    everyone = gathered((socket.gethostname(), facts))
    host, first = everyone[0]
    for number, (other, found) in enumerate(everyone):
        for name in {**first, **found}:
            own, value = first.get(name, 'nothing'), found.get(name, 'nothing')
            if own != value:
                raise InputError(f'{name}: {value} in process {number} on {other}, {own} in process 0 on {host}; '
                                 'expected the same in all processes of a run')
