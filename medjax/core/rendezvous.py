"""How processes that are given an address and their numbers find each other, before JAX connects them.

Process 0 listens at the address until all others have asked it for JAX's own port. Were JAX to listen there itself, the
processes of a second run with the same address would connect to the first, and JAX would abort both.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from medjax.errors import InputError, few

REPLY = 10.0  # seconds in which the other side answers
PAUSE = 0.2  # seconds between two attempts to connect
LONGEST = 1000  # bytes of a message


def coordinator(where: str, address: str, count: int, number: int, seconds: float) -> str:
    """The address at which JAX's service is to listen; returns in process 0 when all others have it.

    Args:
      where: the option that the address comes from, for messages.
      address: HOST:PORT of process 0.
      count: number of processes.
      number: of this process.
      seconds: in which all have to come.

    Raises:
      InputError: process 0 cannot listen there; not all came; they disagree about their numbers.
    """
    host, _, port = address.rpartition(':')
    try:
        if not 0 < int(port) < 2**16:
            raise ValueError('no port')
        if number == 0:
            return f'{host}:{_lead(int(port), count, seconds)}'
        return f'{host}:{_follow(host.strip("[]"), int(port), count, number, seconds)}'
    except InputError as error:
        raise InputError(f'--distributed={where}: {error}') from error
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise InputError(f'--distributed={where}: port {port}: {reason}; expected a free one on the machine of process '
                         '0') from error


def _lead(port: int, count: int, seconds: float) -> int:
    """Gives JAX's port to all others."""
    end, came = time.monotonic() + seconds, {0}
    with _listen(0) as free:
        chosen = free.getsockname()[1]
    with _listen(port) as listener:
        while len(came) < count:
            listener.settimeout(max(end - time.monotonic(), 0.001))
            try:
                link, _ = listener.accept()
            except TimeoutError:
                missing = [str(number) for number in range(count) if number not in came]
                raise InputError(f'process {few(missing)} did not come within {seconds:g} s; expected {count} '
                                 'processes, each started with this address and its own number') from None
            with link, contextlib.suppress(OSError, ValueError):  # who does not ask so is no process of medjax
                asked = _read(link, {'count': int, 'number': int})
                number, error = asked['number'], ''
                if asked['count'] != count:
                    error = f'COUNT is {asked["count"]} in process {number}, and {count} in process 0'
                elif number in came:
                    error = f'another process has the number {number}; expected each number once'
                _write(link, {'port': chosen, 'error': error})
                if not error:
                    came.add(number)
    return chosen


def _follow(host: str, port: int, count: int, number: int, seconds: float) -> int:
    """Asks process 0 for JAX's port."""
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host, port), timeout=REPLY) as link:
                _write(link, {'count': count, 'number': number})
                answer = _read(link, {'port': int, 'error': str})
            break
        except ValueError:
            raise InputError(f'another program than process 0 listens at {host}:{port}') from None
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(f'process 0 did not answer within {seconds:g} s ({error}); expected it to be started, '
                                 f'and to be reached at {host}:{port}') from None
            time.sleep(PAUSE)
    if answer['error']:
        raise InputError(answer['error'])
    return answer['port']


def _listen(port: int) -> socket.socket:
    """A socket that listens at a port, or at a free one for 0."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(('', port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(('', port))


def _write(link: socket.socket, message: dict[str, Any]) -> None:
    link.sendall(json.dumps(message).encode() + b'\n')


def _read(link: socket.socket, names: Mapping[str, type]) -> dict[str, Any]:
    """A message.

    Args:
      link: the connection.
      names: what the message has, with types.

    Raises:
      OSError: the connection has ended, or there was no message in time.
      ValueError: it is no message of this module.
    """
    link.settimeout(REPLY)
    text = b''
    while not text.endswith(b'\n'):
        part = link.recv(LONGEST)
        if not part:
            raise ConnectionError('the connection was closed')
        text += part
        if len(text) > LONGEST:
            raise ValueError('a long message')
    message = json.loads(text)
    if not isinstance(message, dict) or not all(isinstance(message.get(name), kind) for name, kind in names.items()):
        raise ValueError('another message')
    return message
