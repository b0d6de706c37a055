"""Who may use the service: a token, and checks of what browsers send for other sites."""

import base64
import binascii
import hmac
import pathlib
import stat
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from medjax.errors import InputError

LEAST = 16  # signs of a token
LOOPBACK = ('localhost', '127.0.0.1', '::1')


def token_for(host: str, token_file: str) -> str:
    """The token of a service; '' where there is none, which only a service on loopback may do without.

    Raises:
      InputError: the address is reached from other machines without a token; see also `read_token`.
    """
    if host not in LOOPBACK and not token_file:
        raise InputError(f'--host={host}: reached from other machines, without --token_file; expected a token')
    return read_token(pathlib.Path(token_file)) if token_file else ''


def read_token(path: pathlib.Path) -> str:
    """The token in a file that its owner alone may read.

    Raises:
      InputError: there is no such file, others may read it, or the token is too short.
    """
    try:
        mode, text = stat.S_IMODE(path.stat().st_mode), path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'--token_file={path}: cannot be read: {getattr(error, "strerror", None) or "no text"}; '
                         'expected a file with a token') from error
    if mode & 0o077:
        raise InputError(f'--token_file={path}: mode {mode:04o}, so others may read it; expected 0600')
    if len(text) < LEAST or not text.isascii() or len(text.split()) != 1:
        raise InputError(f'--token_file={path}: {len(text)} signs; expected one word of at least {LEAST} ASCII signs, '
                         'as `openssl rand -hex 32` writes')
    return text


def has_token(authorization: str, token: str) -> bool:
    """Whether a header has the token: `Bearer TOKEN`, or Basic with the token as password, as browsers send it."""
    scheme, _, given = authorization.partition(' ')
    if scheme.lower() == 'basic':
        try:
            given = base64.b64decode(given.strip(), validate=True).decode().partition(':')[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != 'bearer':
        return False
    return hmac.compare_digest(given.strip().encode(), token.encode())  # in constant time


def foreign(headers: Mapping[str, str], hosts: Sequence[str], origins: Sequence[str]) -> str:
    """Why a request is one that a browser sends for another site, or to another name; '' for others.

    A page of another site could otherwise have its visitor's browser send requests to a service on loopback, directly
    or by a name of its own that resolves there (DNS rebinding).

    Args:
      headers: of the request, in lower case.
      hosts: names under which the service is reached; any with '*'.
      origins: other sites whose pages may use it.
    """
    host, origin = headers.get('host', ''), headers.get('origin', '')
    name = (urlsplit(f'//{host}').hostname or '') if '[' not in host or ']' in host else ''
    if '*' not in hosts and name not in hosts:
        return 'a name of this service that it does not know; expected one of --hosts'
    if origin and origin not in origins and urlsplit(origin).netloc != host:
        return 'a request of a page of another site; expected one of --origins'
    return ''
