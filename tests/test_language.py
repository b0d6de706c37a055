"""The words of the package, its configs and its documentation are the field's plain English."""

import ast
import re

import pytest

from tests.conftest import ROOT

# Words of a private dialect; each has a plain one: predict, metric, split, again, warning, radiograph, simulated …
DIALECT = ('told', 'tells', 'tell', 'teller', 'untold', 'foretold', 'judge', 'judged', 'judges', 'judging', 'dealt',
           'deals', 'anew', 'beware', 'whoever', 'whom', 'whomever', 'films', 'brought', 'phantom', 'phantoms',
           'whence', 'thereof', 'lest', 'betwixt')
PATTERN = re.compile(rf'(?<![A-Za-z.])({"|".join(DIALECT)})(?![A-Za-z])', re.IGNORECASE)
FILES = sorted([*(path for folder in ('medjax', 'configs', 'docs', 'launch') for ending in ('py', 'md', 'jinja', 'sh')
                  for path in (ROOT / folder).rglob(f'*.{ending}')),
                *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md') if (ROOT / name).exists())])
# First words of a docstring that do not say what is computed or returned.
EMPTY = ('the same', 'what ', 'whether what', 'see ', 'how it', 'this ', 'it ')


def plain(path):
    """A file's text without what it quotes: code in Markdown, words in double quotation marks there."""
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.md':
        text = re.sub(r'```.*?```|`[^`]*`|"[^"\n]*"', ' ', text, flags=re.DOTALL)
    return text


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_word_of_a_private_dialect(path):
    found = [(number, match[0]) for number, line in enumerate(plain(path).splitlines(), 1)
             for match in PATTERN.finditer(line)]
    assert not found, f'{path.relative_to(ROOT)}: {found[:9]}'


def public_docstrings(path):
    """Names and docstrings of a module and of its public functions, classes and methods."""
    def walk(node, name):
        yield name, ast.get_docstring(node) or ''
        for child in getattr(node, 'body', ()):
            if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith('_'):
                yield from walk(child, f'{name}.{child.name}')
    return walk(ast.parse(path.read_text()), str(path.relative_to(ROOT)))


@pytest.mark.parametrize('path', sorted((ROOT / 'medjax').rglob('*.py')), ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_what_is_computed_or_returned(path):
    wrong = [(name, text.splitlines()[0]) for name, text in public_docstrings(path)
             if text.lower().startswith(EMPTY)]
    assert not wrong


def test_the_pattern_finds_words_and_parts_of_names():
    assert [m[0] for m in PATTERN.finditer('It told_name Told, untolded; retell')] == ['told', 'Told']
