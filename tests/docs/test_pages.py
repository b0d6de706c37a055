"""The pages agree with the code: files, options, families and messages that they name exist."""

import ast
import re

import pytest
from generator import conventions, keys, notebooks
from results import render

from medjax import build
from medjax.run import load_config
from medjax.tasks import family
from tests.conftest import ROOT
from tests.docs.pages import DOCS, FENCE, OWN, PAGES, blocks, names


@pytest.mark.parametrize('path', PAGES, ids=names(PAGES))
def test_every_file_that_a_page_names_exists(path):
    text = path.read_text(encoding='utf-8')
    folders, endings = 'configs|docs|launch|medjax|tests', 'py|sh|md|json|jinja'
    found = set(re.findall(rf'(?<![\w/.])((?:{folders})/[\w./]*\w\.(?:{endings}))', text))
    missing = [name for name in found - set(OWN) if 'NAME' not in name and 'RECIPE' not in name
               and 'FAMILY' not in name and not (ROOT / name).exists()]
    assert not missing
    variants = re.findall(r'`(configs/\w+\.py):(\w+)', text)
    assert not [name for name, variant in variants if variant not in (ROOT / name).read_text()]


@pytest.mark.parametrize('path', [path for path in PAGES if path.parent.name == 'howto'], ids=lambda path: path.stem)
def test_variants_in_the_text_are_those_of_the_config(path):
    """`:name` in a page is a variant of a config that the page names."""
    text = FENCE.sub('', path.read_text(encoding='utf-8'))
    code = ''.join((ROOT / name).read_text() for name in set(re.findall(r'configs/\w+\.py', text)) - set(OWN))
    assert not [variant for variant in re.findall(r'`:(\w+)`', text) if f"'{variant}'" not in code
                and f'`:{variant}`' not in code]


def messages():
    """The constant parts of all texts of the package, those of one expression joined by '…'."""
    def text(node):
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else '…'
        if isinstance(node, ast.JoinedStr):
            return ''.join(text(part) for part in node.values)
        if isinstance(node, ast.BinOp):
            return text(node.left) + text(node.right)
        return '…'

    folded = []
    for path in (ROOT / 'medjax').rglob('*.py'):
        source = path.read_text(encoding='utf-8').replace('{KEYS}', 'config.data.source')
        folded += [text(node) for node in ast.walk(ast.parse(source))
                   if isinstance(node, ast.JoinedStr | ast.BinOp | ast.Constant)]
    return '\n'.join(folded)


TEXTS = messages()


@pytest.mark.parametrize('path', [path for path in PAGES if path.parent.name == 'howto'], ids=lambda path: path.stem)
def test_common_refusals_are_messages_of_the_package(path):
    section = path.read_text(encoding='utf-8').split('## Common refusals')[1]
    quoted = re.findall(r'(?m)^- `(.+?)`: ', section)
    assert len(quoted) >= 3
    for message in quoted:
        for part in re.split('…|--merge', message):
            assert len(part.strip(' :;,')) < 6 or part in TEXTS, f'{message}: {part!r}'


def test_howto_pages_have_the_same_parts():
    for path in sorted((DOCS / 'howto').glob('*.md')):
        text = path.read_text(encoding='utf-8')
        assert re.search(r'(?m)^# ', text) and '## Common refusals' in text, path.name
        assert blocks(path, 'bash') and [code for code, _ in blocks(path, 'python') if code.startswith('c.')], path.name


def known_options():
    """The keys of all modules, by the section of a config that they are for."""
    found = {'model': keys.model_sections(), 'data': keys.module_sections('data', ('source',)),
             'source': keys.module_sections('source'), 'task': [], 'evaluate': []}
    for _, _, tasks, evaluator in keys.task_sections():
        found['task'] += tasks
        found['evaluate'].append(evaluator)
    options = {name: {key.name for of in sections for key in of.keys} for name, sections in found.items()}
    options['optim'] = {key.name for sections in keys.optim_sections().values() for of in sections for key in of.keys}
    options['optim'] |= {key.name for key in keys.optim_keys()}
    options |= {of.name: {key.name for key in of.keys} for of in keys.top_sections()}
    return {name: found | set(keys.COMMON.get(name, ())) for name, found in options.items()}


def test_options_in_tables_of_how_to_pages_exist():
    known = known_options()
    for path in (path for path in PAGES if path.parent.name == 'howto'):
        cells = re.findall(r'(?m)^\| (`[^|]*`) \|', path.read_text(encoding='utf-8').split('## Common refusals')[0])
        named = re.findall(r'`(\w+)\.(\w+)`', ' '.join(cells))
        assert not [pair for pair in named if pair[1] not in known[pair[0]]], path.name


def test_every_family_has_a_how_to_page_and_a_row_in_the_readme():
    table = (ROOT / 'README.md').read_text(encoding='utf-8').split('## What it can do')[1].split('\n## ')[0]
    rows = [line for line in table.splitlines() if line.startswith('| ')][1:]
    for row in rows:
        assert len(re.findall(r'\]\(docs/howto/\w+\.md[#\w-]*\)', row)) == 1, row
    used = {str(load_config(path).get('evaluate').get('name')) for path in (ROOT / 'configs').glob('*.py')}
    assert used <= set(family.names())
    assert len(rows) == len(family.names()) + 1  # and treatment response, which needs no network


def test_the_page_of_several_runs_lists_the_families_that_can_be_merged():
    text = (DOCS / 'howto' / 'several_runs.md').read_text(encoding='utf-8')
    for answer, refused in (('yes', False), ('no', True)):
        listed = re.search(rf'(?m)^\| {answer} \| (.*) \|$', text)[1].split(', ')
        expected = [render.FAMILIES[name] for name in family.names()
                    if ('merge' in family.find(name).refuses) == refused]
        assert sorted(name.lower() for name in listed) == sorted(name.lower() for name in expected)


def test_the_readme_is_short():
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').splitlines()) < 150


def test_linked_files_of_the_readme_exist():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    targets = re.findall(r'\]\(([^)#]+)[^)]*\)', text)
    assert not [name for name in targets if not name.startswith('http') and not (ROOT / name).exists()
                and not name.startswith('docs/notebooks/')]


def test_pictures_are_small():
    for path in (DOCS / 'images').iterdir():
        assert path.stat().st_size < 300_000, path.name


def test_every_family_has_conventions_on_the_page_of_statistics():
    text = (DOCS / 'explanation' / 'statistics.md').read_text(encoding='utf-8')
    marked = re.findall(r'<!-- conventions: (\w+) -->', text)
    assert set(marked) == {*family.names(), 'response'}
    for name in marked:
        assert '{' not in conventions.unfoldable(name)


def test_all_pages_are_in_the_navigation():
    nav = (ROOT / 'mkdocs.yml').read_text(encoding='utf-8').split('\nnav:')[1]
    pages = [str(path.relative_to(DOCS)) for path in DOCS.rglob('*.md')] + list(notebooks.pages())
    assert not [page for page in pages if page not in nav]


def test_the_notebook_becomes_a_page():
    page = notebooks.pages()['notebooks/nifti_folder.md']
    assert page.startswith('# Notebook') and page.count('```') % 2 == 0 and '# %%' not in page


def test_models_that_pages_name_exist():
    known = set(build.KINDS['model'].modules())
    text = (DOCS / 'howto' / 'images.md').read_text(encoding='utf-8')
    row = next(line for line in text.splitlines() if line.startswith('| `model.name`'))
    named = set(re.findall(r'`(\w+)`', row.split('|')[2]))
    assert named and named <= known
