"""One entry point for all commands."""

import subprocess
import sys

import pytest

from medjax.__main__ import COMMANDS
from tests.conftest import ROOT


def medjax(*arguments):
    return subprocess.run([sys.executable, '-m', 'medjax', *arguments], cwd=ROOT, capture_output=True, text=True)


def test_help_lists_the_commands():
    done = medjax()
    assert done.returncode == 0 and all(f'  {command} ' in done.stdout for command in COMMANDS)


def test_an_unknown_command_is_refused_in_one_line():
    done = medjax('trian')
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert 'trian: no such command; expected one of: inspect, train, evaluate' in done.stderr


@pytest.mark.parametrize('command, words', [
    ('report', ['--workdir=nowhere: no config.json there']), ('evaluate', ['nowhere: no config.json there'])])
def test_a_command_gets_its_own_arguments(command, words):
    done = medjax(command, '--workdir=nowhere')
    assert done.returncode == 2 and all(word in done.stderr for word in words) and 'Traceback' not in done.stderr


def test_every_command_has_a_module():
    for command in COMMANDS:
        assert (ROOT / 'medjax' / f'{command}.py').exists() or (ROOT / 'medjax' / command / '__main__.py').exists()
