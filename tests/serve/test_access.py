"""Tokens, and what browsers send for pages of other sites."""

import base64

import pytest

from medjax.errors import InputError
from medjax.serve import access

TOKEN = 'b' * 32


@pytest.mark.parametrize('mode, text, message', [
    (0o644, TOKEN, 'mode 0644, so others may read it; expected 0600'), (0o600, 'short', '5 signs; expected one word'),
    (0o600, 'two words of a token', 'expected one word'), (0o600, '', '0 signs')])
def test_files_of_tokens_are_private_and_long(tmp_path, mode, text, message):
    path = tmp_path / 'token'
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(InputError, match=message):
        access.read_token(path)
    with pytest.raises(InputError, match='none: cannot be read: No such file'):
        access.read_token(tmp_path / 'none')


def test_only_loopback_needs_no_token(tmp_path):
    (tmp_path / 'token').write_text(f'{TOKEN}\n')
    (tmp_path / 'token').chmod(0o600)
    assert access.token_for('127.0.0.1', '') == ''
    assert access.token_for('0.0.0.0', str(tmp_path / 'token')) == TOKEN
    with pytest.raises(InputError, match='--host=0.0.0.0: reached from other machines, without --token_file'):
        access.token_for('0.0.0.0', '')


def basic(text):
    return 'Basic ' + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize('header, right', [
    (f'Bearer {TOKEN}', True), (f'bearer {TOKEN}', True), (basic(f'name:{TOKEN}'), True), ('', False), (TOKEN, False),
    (f'Bearer {TOKEN}b', False), ('Bearer ', False), (basic(TOKEN), False), ('Basic %%%', False),
    ('Bearer \xfc', False)])
def test_a_header_has_the_token_or_not(header, right):
    assert access.has_token(header, TOKEN) is right


@pytest.mark.parametrize('headers, right', [
    ({'host': '127.0.0.1:8000'}, True), ({'host': 'localhost'}, True), ({'host': '[::1]:8000'}, True),
    ({'host': 'a.example'}, False), ({}, False), ({'host': '[::1'}, False),
    ({'host': 'localhost:1', 'origin': 'http://localhost:1'}, True),
    ({'host': 'localhost:1', 'origin': 'http://localhost:2'}, False),
    ({'host': 'localhost:1', 'origin': 'null'}, False), ({'host': 'localhost:1', 'origin': 'http://ohif'}, True)])
def test_requests_for_other_sites_are_known(headers, right):
    assert (access.foreign(headers, access.LOOPBACK, ['http://ohif']) == '') is right
