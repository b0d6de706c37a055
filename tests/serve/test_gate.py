"""An answer for every kind of error, and lines without names of files."""

import errno

import anyio
import httpx
import pytest
from fastapi import FastAPI

from medjax.errors import InputError
from medjax.serve.gate import Gate, Refused

NAME = 'Mueller_Anna.dcm'
FULL = InputError(f'{NAME}: cannot be written: no space left')
FULL.__cause__ = OSError(errno.ENOSPC, 'No space left on device')


def answered(error, path='/fails'):
    """The answer where a route raises an error, the lines of the log and the counts."""
    api, lines, counts = FastAPI(), [], []

    @api.get('/fails')
    def fails():
        raise error
    gate = Gate(api, token='', hosts=['localhost'], say=lines.append, count=lambda *of: counts.append(of))

    async def ask():
        transport = httpx.ASGITransport(gate)
        async with httpx.AsyncClient(transport=transport, base_url='http://localhost') as client:
            return await client.get(path)
    return anyio.run(ask), lines, counts


@pytest.mark.parametrize('error, status, message', [
    (OSError(errno.ENOSPC, 'No space left on device', NAME), 507, 'no space left'),
    (OSError(errno.EDQUOT, 'Quota exceeded', NAME), 507, 'no space left'),
    (PermissionError(errno.EACCES, 'Permission denied', NAME), 500, 'an error of medjax'),
    (TimeoutError(), 408, 'an upload that stood still'),
    (InputError('a.png: not a picture'), 422, 'a.png: not a picture'), (FULL, 507, 'no space left'),
    (Refused(503, 'full', {'Retry-After': '3'}), 503, 'full'), (KeyError(NAME), 500, 'an error of medjax')])
def test_each_kind_of_error_has_a_status(error, status, message):
    answer, lines, counts = answered(error)
    assert answer.status_code == status and message in answer.json()['error']
    assert counts == [('/fails', status)] and f'GET /fails {status}' in lines[-1]
    assert NAME not in answer.text and NAME not in ''.join(lines)
    assert answer.headers.get('retry-after') == ('3' if status == 503 else None)
    assert (status == 500) == any(line.startswith('error: ') and 'test_gate.py:' in line for line in lines)


def test_paths_that_are_no_route_are_not_in_the_log():
    answer, lines, counts = answered(None, f'/view/{NAME}')
    assert answer.status_code == 404 and counts == [('other', 404)] and NAME not in ''.join(lines)
