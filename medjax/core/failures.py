"""The end of one process of a run ends all of them within a second, with its cause in one line.

JAX alone notices a killed process after minutes, and a process that fails waits at its exit for the others.
"""

import contextlib
import dataclasses
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing import connection
from typing import Any

GRACE = 2.0  # seconds in which the cause of a failure arrives from where it began
PAUSE = 0.2  # seconds before process 0 ends, whose end makes JAX end the others with many lines of its own
KILLED = 'ended without a message; perhaps it was killed, or its machine ran out of memory'


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a process ended.

    Attributes:
      process: its number.
      host: the name of its machine; '' where it is not known.
      code: the exit code for all processes.
      cause: a line.
    """

    process: int
    host: str
    code: int
    cause: str

    def line(self) -> str:
        """The failure as a line."""
        where = f' on {self.host}' if self.host else ''
        return f'medjax: process {self.process}{where}: {self.cause}'


class Watch:
    """Ends this process when another process of the run ends before its time.

    Process 0 is connected to all others, and passes on what it learns.

    Args:
      process: number of this process.
      connections: to the others by their numbers; of other processes than 0 to process 0 alone.
    """

    def __init__(self, process: int, connections: Mapping[int, connection.Connection]):
        self._process, self._connections = process, connections
        self._failing = False  # whether this process ends by itself
        self._passed_on = threading.Event()  # process 0 knows why it ends
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        numbers: dict[Any, int] = {link: number for number, link in self._connections.items()}
        while numbers:
            ready: list[Any] = connection.wait(list(numbers))
            for link in ready:
                try:
                    failure = link.recv()
                except (EOFError, OSError):
                    if self._failing:  # all are ending
                        self._passed_on.set()
                        return
                    failure = Failure(numbers[link], '', 1, KILLED)
                if failure is None:  # it has finished
                    del numbers[link]
                elif failure.process == self._process:
                    self._passed_on.set()
                elif self._process or not self._failing:
                    self._end(failure)

    def _end(self, failure: Failure) -> None:
        if self._process == 0 or (failure.process == 0 and failure.cause == KILLED):
            print(failure.line(), file=sys.stderr, flush=True)
        if self._process == 0:
            self._send(failure)
            _wait_silently()
        leave(failure.code)

    def _send(self, message: Failure | None) -> None:
        """Sends to all connected processes; one that has ended already needs no message."""
        for link in self._connections.values():
            with contextlib.suppress(OSError):
                link.send(message)

    def fail(self, code: int, cause: str, report: Callable[[], None]) -> None:
        """Ends all processes.

        Args:
          code: the exit code.
          cause: a line.
          report: prints the cause here, unless another process has failed before.
        """
        self._failing = True
        self._send(Failure(self._process, socket.gethostname(), code, cause))
        if self._process:
            self._passed_on.wait(GRACE)
        report()
        if self._process == 0:
            _wait_silently()
        leave(code)

    def close(self) -> None:
        """Reports to the others that this process has finished, and waits until they have."""
        self._send(None)
        self._thread.join()


def _wait_silently() -> None:
    """Waits for the end of the other processes, on which JAX would print lines after the cause."""
    with contextlib.suppress(OSError):
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    time.sleep(PAUSE)


def leave(code: int) -> None:
    """Ends this process at once: an orderly exit would wait for the other processes."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def watch(process: int, count: int, host: str, publish: Callable[[str], None], read: Callable[[], str]) -> Watch:
    """Connects all processes of a run; returns when they are.

    Args:
      process: number of this process.
      count: of the processes.
      host: the machine of process 0, as others reach it.
      publish: gives a text to the others; called by process 0.
      read: waits for that text.
    """
    if process == 0:
        key = secrets.token_bytes(16)
        with connection.Listener(('', 0), backlog=count, authkey=key) as listener:
            publish(f'{listener.address[1]} {key.hex()}')
            links = [listener.accept() for _ in range(count - 1)]
        return Watch(0, {link.recv(): link for link in links})
    port, key = read().split()
    link = connection.Client((host, int(port)), authkey=bytes.fromhex(key))
    link.send(process)
    return Watch(process, {0: link})
