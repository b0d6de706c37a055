"""The words of the package, its configs, documentation and tests are the field's plain English."""

import ast
import re
import tokenize

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
THIS = 'test_language.py'  # quotes the words itself
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


def names_and_comments(path):
    """The names, comments and docstrings of a Python file, with their line numbers."""
    with open(path, encoding='utf-8') as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type in (tokenize.NAME, tokenize.COMMENT):
                yield token.start[0], token.string
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            yield node.body[0].lineno, ast.get_docstring(node)


@pytest.mark.parametrize('path', [path for path in sorted((ROOT / 'tests').rglob('*.py')) if path.name != THIS],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_no_word_of_a_private_dialect_in_tests(path):
    found = [(number, match[0]) for number, text in names_and_comments(path) for match in PATTERN.finditer(text)]
    assert not found, f'{path.relative_to(ROOT)}: {found[:9]}'


def test_names_and_comments_of_a_file(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text('"""A module."""\n\n\ndef judged(x):  # a comment\n    """A docstring."""\n    return \'told\'\n')
    assert {text for _, text in names_and_comments(path)} == {
        'def', 'judged', 'x', '# a comment', 'return', 'A module.', 'A docstring.'}


def test_the_pattern_finds_words_and_parts_of_names():
    assert [m[0] for m in PATTERN.finditer('It told_name Told, untolded; retell')] == ['told', 'Told']
