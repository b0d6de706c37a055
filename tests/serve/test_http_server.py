"""Connections that stand still are closed, and those that wait for an answer are not."""

import asyncio
import socket
import threading
import time

import pytest
import uvicorn

from medjax.serve import http_server

LARGE = 2**26  # bytes, more than the buffers of both sides hold


async def application(scope, receive, send):
    """Answers `/slow` after a second, and `/large` with many bytes; reads no body."""
    if scope['path'] == '/slow':
        await asyncio.sleep(1)
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': bytes(LARGE) if scope['path'] == '/large' else b'x'})


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setattr(http_server, 'IDLE_SECONDS', .2)
    ready, bound = threading.Event(), http_server.bind('127.0.0.1', 0)
    config = uvicorn.Config(application, http=http_server.TimedProtocol, lifespan='off', log_config=None)
    server = http_server.Server(config, ready.set)
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    assert ready.wait(20)
    yield bound.getsockname()[1]
    server.should_exit = True
    thread.join()


def ended(connection):
    """What arrives until the connection ends, and whether it ended within five seconds."""
    connection.settimeout(5)
    content = b''
    try:
        while piece := connection.recv(2**20):
            content += piece
    except ConnectionResetError:
        pass
    return content


@pytest.mark.parametrize('sent', [b'', b'GET / HTTP/1.1\r\nHost: a\r\nX-Slow: '])
def test_a_request_that_does_not_come_is_not_waited_for(port, sent):
    with socket.create_connection(('127.0.0.1', port)) as connection:
        connection.sendall(sent)
        assert ended(connection) == b''


def test_an_answer_that_takes_long_is_sent(port):
    with socket.create_connection(('127.0.0.1', port)) as connection:
        connection.sendall(b'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
        assert ended(connection).startswith(b'HTTP/1.1 200')


@pytest.mark.parametrize('discards, pieces', [(20, 12), (1, 40)])
def test_the_rest_of_a_refused_upload_is_read_for_a_while(port, monkeypatch, discards, pieces):
    monkeypatch.setattr(http_server, 'DISCARDS', discards)
    with socket.create_connection(('127.0.0.1', port)) as connection:
        connection.sendall(b'POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n')
        sent = 0
        try:
            for _ in range(pieces):  # longer than IDLE_SECONDS
                connection.sendall(bytes(1000))
                sent += 1
                time.sleep(.05)
        except (ConnectionResetError, BrokenPipeError):
            pass
        if discards == 20:
            assert sent == pieces and connection.recv(100).startswith(b'HTTP/1.1 200')
        else:
            assert sent < pieces


def test_an_answer_that_is_not_read_is_given_up(port):
    with socket.create_connection(('127.0.0.1', port)) as connection:
        connection.sendall(b'GET /large HTTP/1.1\r\nHost: a\r\n\r\n')
        time.sleep(1.5)
        assert 0 < len(ended(connection)) < LARGE
