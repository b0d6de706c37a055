"""Processes find each other by threads of this process, at a port of this machine."""

import concurrent.futures
import contextlib
import socket

import pytest

from medjax.core.rendezvous import coordinator
from medjax.errors import InputError
from tests import several


def come(address, *numbers, counts=None, seconds=5.0):
    """What `coordinator` gives each process, or the message of its error."""
    def one(place):
        try:
            return coordinator('…', address, (counts or [3] * 3)[place], numbers[place], seconds)
        except InputError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(one, range(len(numbers))))


def test_all_get_another_port_than_that_where_they_meet():
    address = several.address()
    first, *others = come(address, 0, 1, 2)
    assert first.startswith('localhost:') and first != address and others == [first, first]
    assert come(address, 0, 1, 2)[0] != address  # which a second run may use at once


def test_who_does_not_come_is_named():
    assert come(several.address(), 0, 2, seconds=2.0)[0] == (
        '--distributed=…: process 1 did not come within 2 s; expected 3 processes, each started with this address and '
        'its own number')
    address = several.address()
    assert come(address, 1, seconds=0.3)[0] == (
        '--distributed=…: process 0 did not answer within 0.3 s ([Errno 111] Connection refused); expected it to be '
        f'started, and to be reached at {address}')


def test_numbers_that_do_not_fit_are_refused():
    found = come(several.address(), 0, 1, 1, seconds=0.5)
    assert sorted(found[1:])[0] == '--distributed=…: another process has the number 1; expected each number once'
    found = come(several.address(), 0, 1, counts=[3, 2], seconds=0.5)
    assert found[1] == '--distributed=…: COUNT is 2 in process 1, and 3 in process 0'


def test_another_program_at_the_port_is_noticed():
    with socket.create_server(('', 0)) as other:
        port = other.getsockname()[1]
        assert come(f'localhost:{port}', 0)[0] == (
            f'--distributed=…: port {port}: Address already in use; expected a free one on the machine of '
            'process 0')

        def greet():
            with other.accept()[0] as link:
                link.sendall(b'SSH-2.0\n')

        with concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(greet)
            assert come(f'localhost:{port}', 1)[0] == (
                f'--distributed=…: another program than process 0 listens at localhost:{port}')
            answer.result()


def test_a_stranger_does_not_disturb():
    address = several.address()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        led = pool.submit(come, address, 0, counts=[2])
        link = None
        while link is None:
            with contextlib.suppress(ConnectionRefusedError):
                link = socket.create_connection(('localhost', int(address.rpartition(':')[2])))
        link.sendall(b'GET / HTTP/1.1\n')
        assert come(address, 1, counts=[2]) == led.result()
        link.close()


@pytest.mark.parametrize('port', ['x', '99999'])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(InputError, match=f'--distributed=a:{port},1,0: port {port}: .*; expected a free one'):
        coordinator(f'a:{port},1,0', f'a:{port}', 1, 0, 1.0)
