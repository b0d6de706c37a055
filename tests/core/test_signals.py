"""Signals to stop: noted, ignored where the process ignores them, and a second Ctrl-C that ends the process."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from medjax.core import signals
from tests.conftest import ROOT

TWICE = '''
import os, signal, time
from medjax.core import signals
with signals.noted() as names:
    os.kill(os.getpid(), signal.SIGINT)
    print(names, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
'''


@pytest.mark.parametrize('number', signals.STOPPING)
def test_the_first_signal_is_noted_and_handlers_are_set_back(number, capfd):
    before = [signal.getsignal(each) for each in signals.STOPPING]
    with signals.noted() as names:
        assert not names
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        assert names == [number.name]
    assert [signal.getsignal(each) for each in signals.STOPPING] == before
    assert capfd.readouterr().err == f'{number.name}: finishing this step and saving; Ctrl-C stops at once\n'


def test_a_second_interrupt_ends_the_process_at_once():
    done = subprocess.run([sys.executable, '-c', TWICE], env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=30,
                          capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT and done.stdout == "['SIGINT']\n" and 'Traceback' not in done.stderr


def test_an_ignored_signal_stays_ignored():
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with signals.noted() as names:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not names
        with signals.as_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


def test_a_signal_outside_of_steps_is_an_interrupt_with_its_name():
    with pytest.raises(KeyboardInterrupt, match='SIGTERM'), signals.as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)


def test_other_threads_train_without_handlers():
    found = []

    def train():
        with signals.noted() as names:
            found.append(names)
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [[]]
