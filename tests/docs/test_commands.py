"""Commands of the pages: each exists with its flags, and its config with the changed keys."""

import ast
import contextlib
import re
import shlex

import ml_collections
import pytest
from generator import commands

from medjax.run import load_config
from tests.conftest import ROOT
from tests.docs.pages import DOCS, OWN, PAGES, blocks, check_keys, names


def command_lines(path):
    """The commands in the shell blocks of a page, as words, without environment variables and comments."""
    for code, _ in blocks(path, 'bash'):
        for line in code.replace('\\\n', ' ').splitlines():
            for part in line.split(' && '):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r'\w+=\S*', words[0]):
                    words.pop(0)
                if words:
                    yield words


def test_pages_have_commands():
    assert len([words for path in PAGES for words in command_lines(path)]) > 50


@pytest.mark.parametrize('path', PAGES, ids=names(PAGES))
def test_every_command_exists_with_its_flags(path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / 'examples'))
    for words in command_lines(path):
        if words[:2] == ['python', '-m'] and words[2].startswith('medjax'):
            check_command(words[2].removeprefix('medjax').lstrip('.') or words[3], words[3:])
        elif words[0] == 'medjax':
            check_command(words[1], words[2:])
        elif words[0] == 'bash':
            assert (ROOT / words[1]).is_file(), words
            check_config([word for word in words[2:] if word.startswith('--config')])
        elif words[0] == 'python' and words[1].endswith('.py'):
            assert (ROOT / words[1]).is_file(), words
        else:
            assert words[0] in ('.', '.venv/bin/python', 'export', 'pip', 'python', 'jupytext', 'ruff', 'sbatch',
                                'curl', 'exec', 'kubectl', 'docker', 'gcloud', 'python3.11', '~/sky/bin/pip',
                                '~/sky/bin/sky'), words


def check_command(name, words):
    """Checks the flags of a command, and its config."""
    module = name.replace('.', '/')
    found = [path for path in (ROOT / 'medjax' / f'{module}.py', ROOT / 'medjax' / module / '__main__.py')
             if path.is_file()]
    assert found, f'medjax.{name}'
    known = [flag.name for flag in commands.command(found[0]).flags]
    for word in words:
        match = re.match(r'--(?:no)?(\w+)', word)
        assert not match or match[1] in known, f'medjax.{name}: {word}'
    check_config([word for word in words if word.startswith('--config')])


def check_config(words):
    """Checks the config that a command names, with its variant and the changed keys."""
    changes = [word.removeprefix('--config.').split('=', 1) for word in words if word.startswith('--config.')]
    named = [word.removeprefix('--config=') for word in words if word.startswith('--config=')]
    if not named or named[0].partition(':')[0] in OWN or 'NAME' in named[0]:
        return
    config = ml_collections.ConfigDict(load_config(ROOT / named[0].partition(':')[0]).to_dict())
    variant = named[0].partition(':')[2]
    if variant:
        assert variant in (ROOT / named[0].partition(':')[0]).read_text().split('def get_config')[1], named
        config = ml_collections.ConfigDict(load_config(ROOT / named[0]).to_dict())
    for key, text in changes:
        section, value = config, text
        *sections, last = key.split('.')
        for name in sections:
            section = section[name]
        with contextlib.suppress(ValueError, SyntaxError):  # else it is text
            value = ast.literal_eval(text)
        section[last] = value
    check_keys(config.to_dict())
