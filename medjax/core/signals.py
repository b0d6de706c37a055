"""Signals that stop a training: the step under way is finished and saved, and the same command resumes."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from medjax.core import distributed

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOPPED = distributed.STOPPED  # exit code of a training that was stopped before its end: EX_TEMPFAIL of sysexits.h


@contextlib.contextmanager
def noted() -> Iterator[list[str]]:
    """Notes the first signal to stop, in place of ending the process; a Ctrl-C after it ends the process at once.

    With several processes SIGTERM is left to JAX, which agrees on a step among them, see `distributed.reached_stop`,
    and the other signals are passed on as SIGTERM.

    Yields:
      A list that is empty until a signal comes; then it has the signal's name.
    """
    names: list[str] = []

    def note(number: int, _: FrameType | None) -> None:
        if not names:
            names.append(signal.Signals(number).name)
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            with contextlib.suppress(OSError):  # not by print, which the signal may have interrupted
                os.write(2, f'{names[0]}: finishing this step and saving; Ctrl-C stops at once\n'.encode())
            if distributed.several():
                signal.raise_signal(signal.SIGTERM)

    with _handled(note, _numbers()):
        yield names


def _numbers() -> tuple[signal.Signals, ...]:
    """The signals to handle: with several processes all but SIGTERM."""
    return STOPPING if not distributed.several() else STOPPING[1:]


@contextlib.contextmanager
def as_interrupt(trained: bool = False) -> Iterator[None]:
    """Makes every signal to stop a KeyboardInterrupt, as Ctrl-C is.

    Args:
      trained: whether no step follows. Before the last one, with several processes, SIGTERM is left to JAX.
    """
    def interrupt(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    with _handled(interrupt, STOPPING if trained else _numbers()):
        yield


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """Sets the handler of signals, and the former ones at the end; ignored signals stay ignored."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # handlers cannot be set elsewhere
        # Ignored: SIGHUP under nohup, SIGINT of a script's background process.
        before = {number: signal.getsignal(number) for number in numbers
                  if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former or signal.SIG_DFL)  # None: the handler was not set from Python
