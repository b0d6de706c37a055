"""The HTTP server: connections that stand still are closed, and a signal ends it after the answers that are due."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from medjax.errors import InputError

IDLE_SECONDS = 15  # for the head of a request, and between the pieces of an answer that the client reads
DISCARDS = 20  # times IDLE_SECONDS in which the rest of refused uploads is read, on one connection
STOP_SECONDS = 300  # for the requests that are there when the service is stopped
HEAD_BYTES = 32768


class TimedProtocol(H11Protocol):
    """HTTP/1.1 that closes connections whose request does not begin, or whose answer is not read.

    The rest of an upload that was refused is read and thrown away for a while, so that its client sees the answer.
    """

    _received, _discards = 0, 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Starts to watch the connection."""
        super().connection_made(transport)
        self._watch(None)

    def data_received(self, data: bytes) -> None:
        """Counts what arrives."""
        self._received += len(data)
        super().data_received(data)

    def _watch(self, before: Any) -> None:
        """Closes a connection that is as it was `IDLE_SECONDS` before."""
        if self.transport.is_closing():
            if self.transport.get_write_buffer_size():
                self.transport.abort()
            return
        waits = self.cycle is None or self.cycle.response_complete
        discards = waits and self.conn.their_state is h11.SEND_BODY
        unread = self.transport.get_write_buffer_size()
        now = (self.cycle, waits, unread, self._received if discards else 0)
        self._discards += discards
        if (now == before and (waits or unread)) or self._discards > DISCARDS:
            self.transport.abort()
            return
        self.loop.call_later(IDLE_SECONDS, self._watch, now)


class Server(uvicorn.Server):
    """A server that says when it is ready.

    Args:
      config: of the server.
      ready: called when the first request would be answered.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, then says so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Ends after the answers to the requests that are there; a second Ctrl-C ends at once."""
        # Uvicorn would raise the signal again at the end, which would leave the folder of uploads behind.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address and does not listen yet.

    Raises:
      InputError: the address is in use, or not one of this machine.
    """
    with contextlib.ExitStack() as closing:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            bound = closing.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except (OSError, OverflowError) as error:
            raise InputError(f'--host={host} --port={port}: {getattr(error, "strerror", None) or error}; expected an '
                             'address of this machine, and a port that is free') from error
        closing.pop_all()
    return bound


def run(app: Any, bound: socket.socket, ready: Callable[[], None]) -> None:
    """Serves until SIGTERM or Ctrl-C; then no new connection is taken, and requests that are there are answered.

    Args:
      app: an ASGI application.
      bound: of `bind`.
      ready: called when the first request would be answered.
    """
    logging.getLogger('uvicorn').setLevel(logging.CRITICAL)  # its errors may quote what a client sent
    config = uvicorn.Config(app, http=TimedProtocol, ws='none', lifespan='off', access_log=False, log_config=None,
                            server_header=False, timeout_keep_alive=IDLE_SECONDS,
                            h11_max_incomplete_event_size=HEAD_BYTES, timeout_graceful_shutdown=STOP_SECONDS)
    try:
        bound.listen()
    except OSError as error:  # another process has bound the same port, and listened first
        raise InputError(f'{bound.getsockname()[:2]}: {error.strerror}; expected a port that is free') from error
    Server(config, ready).run([bound])
