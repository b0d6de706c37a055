"""The way into an application: checks of who asks, an answer for every kind of error, and a line for each request."""

import pathlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from medjax.errors import InputError, is_full
from medjax.serve import access

OPEN = ('/health', '/auth/', '/auth/token')  # paths that need no token; the last returns it for a password


class Refused(Exception):
    """A request that is refused.

    Args:
      status: of HTTP.
      reason: one line for the client.
      headers: of the answer.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None):
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers or {}


class Gate:
    """An ASGI application before another one.

    Args:
      api: has the routes.
      token: that requests must have, but those to OPEN; '' for none.
      hosts: see `access.foreign`.
      origins: see `access.foreign`.
      say: takes a line for each request; it has no names of files.
      count: takes the route and the status of each answer.
    """

    def __init__(self, api: FastAPI, *, token: str, hosts: Sequence[str], origins: Sequence[str] = (),
                 say: Callable[[str], None], count: Callable[[str, int], None] = lambda route, status: None):
        self._api, self._token, self._hosts, self._origins = api, token, hosts, origins
        self._say, self._count = say, count
        for kind in (Refused, InputError, TimeoutError, ClientDisconnect, OSError, Exception):
            api.add_exception_handler(kind, self._error)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Has a request answered; see ASGI."""
        began, status = time.monotonic(), 0

        async def sending(message: Any) -> None:
            nonlocal status
            status = message.get('status', status)
            await send(message)

        request = Request(scope, receive)
        try:
            self._check(request)
            await self._api(scope, receive, sending)
        except Exception as error:  # Starlette raises unexpected errors again after their answer
            if not status:
                await (await self._error(request, error))(scope, receive, sending)
        route = getattr(scope.get('route'), 'path', 'other')
        self._count(route, status)
        if route != '/health':
            self._say(f'{request.method} {route} {status} {time.monotonic() - began:.2f} s')

    def _check(self, request: Request) -> None:
        why = access.foreign(request.headers, self._hosts, self._origins)
        if why:
            raise Refused(403, why)
        open_to_all = request.url.path in OPEN or request.method == 'OPTIONS'  # browsers ask that without a token
        if self._token and not open_to_all and not access.has_token(request.headers.get('authorization', ''),
                                                                    self._token):
            raise Refused(401, 'no token, or another; expected the header `Authorization: Bearer TOKEN`',
                          {'WWW-Authenticate': 'Basic realm="medjax"'})

    async def _error(self, request: Request, error: Exception) -> Response:
        """The answer to a request that failed; what went wrong in medjax itself is logged by its place alone."""
        headers: Mapping[str, str] = {}
        if isinstance(error, Refused):
            status, reason, headers = error.status, error.reason, error.headers
        elif is_full(error):
            status, reason = 507, 'no space left for uploads and results; try again later'
        elif isinstance(error, InputError):
            status, reason = 422, str(error)
        elif isinstance(error, TimeoutError):
            status, reason = 408, 'an upload that stood still or took too long; expected it faster'
        elif isinstance(error, ClientDisconnect):
            status, reason = 400, 'the connection was closed before the end of the upload'
        else:
            place = traceback.extract_tb(error.__traceback__)[-1]
            self._say(f'error: {type(error).__name__} in {pathlib.Path(place.filename).name}:{place.lineno}')
            status, reason = 500, 'an error of medjax; its place is in the log'
        return JSONResponse({'error': reason}, status, dict(headers))
