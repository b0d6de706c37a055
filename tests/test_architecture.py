"""Holds the rules of the layout by reading the source: which layer imports which, how long a file is, what has docs."""

import ast
import functools
import pathlib

import pytest

import medjax

PACKAGE = pathlib.Path(medjax.__file__).parent

# What each layer may import of medjax besides itself. All other top-level modules are commands or assemble objects, and
# may import everything but commands. The root is its version number.
LAYERS = {
    'errors': (),
    'machine': (),
    'options': ('errors',),
    'atomic_files': ('errors',),
    'cli': ('errors', 'atomic_files'),
    'ops': ('errors', 'machine', 'options'),
    'losses': ('errors', 'options', 'ops'),
    'metrics': ('errors', 'machine', 'ops'),
    'statistics': ('errors', 'ops', 'metrics'),
    'nn': ('errors', 'options', 'ops', 'losses', 'metrics', 'statistics'),
    'models': ('errors', 'options', 'ops', 'losses', 'metrics', 'statistics', 'nn'),
    'core': ('errors', 'machine', 'options', 'atomic_files', ''),
    'data': ('errors', 'machine', 'options', 'atomic_files', 'ops', 'metrics'),
    'report': ('errors', 'atomic_files', 'metrics', 'statistics'),
    'tasks': ('errors', 'machine', 'options', 'atomic_files', 'core', 'ops', 'losses', 'metrics', 'statistics', 'nn',
              'data', 'report'),
    'clinic': ('errors', 'options', 'atomic_files', 'core', 'data', 'metrics', 'tasks.family', ''),
    'plan': ('errors', 'ops', 'data'),
    'weights': ('errors', 'atomic_files', 'data', 'restore'),
    'build': ('errors', 'options', 'core', 'data', 'tasks', 'models'),
}
COMMANDS = ('__main__', 'train', 'evaluate', 'predict', 'synthesise', 'export', 'response', 'report.__main__',
            'serve.__main__', 'view.__main__', 'listen.__main__', 'select.__main__', 'convert.__main__',
            'plan.__main__')
DRAWING = ('matplotlib', 'medjax.report.draw', 'medjax.report.charts', 'medjax.report.probability_charts',
           'medjax.report.style', 'medjax.report.chapter', 'medjax.report.page')
PLAIN = ('task', 'dataset', 'evaluator', 'table', 'summary', 'merge', 'compare', 'ensemble', 'family')  # of a family
ORACLES = ('torch', 'monai', 'lifelines', 'sksurv', 'surface_distance', 'tensorflow', 'fairlearn')
FOLDER = 22  # files of a folder that its drawing still shows legibly


def sources(*folders):
    return sorted(path for folder in folders for path in (PACKAGE.parent / folder).rglob('*.py'))


def name_of(path):
    return str(path.relative_to(PACKAGE.parent))


@functools.cache
def parse(path):
    return ast.parse(path.read_text(), str(path))


def imported(tree):
    """Dotted names of all that a file imports, wherever in the file; `from a import b` is a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ('.' * node.level + f'{node.module or ""}.{alias.name}' for alias in node.names)


def siblings(tree):
    """The same for medjax only, without the leading 'medjax.'; '' is the package itself."""
    for name in imported(tree):
        if name == 'medjax' or name.startswith('medjax.'):
            yield name[len('medjax.'):]


def module(path):
    """A file's dotted name within medjax; '' for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def layer(name):
    """The layer of a module; '' for modules that may import everything."""
    top = name.partition('.')[0]
    return '' if name in COMMANDS or top not in LAYERS else top


def within(name, package):
    """Whether a dotted name is a package's or of something in it."""
    return name == package or (bool(package) and name.startswith(f'{package}.'))


def faults(name, names):
    """The imports that a module may not make."""
    own = layer(name)
    if not own:
        return []
    names, allowed = list(names), (own, *LAYERS[own])
    wrong = [other for other in names if not any(within(other, part) for part in allowed)]
    parts = name.split('.')
    if own == 'tasks' and len(parts) > 1 and parts[1] != 'family':
        family = f'tasks.{parts[1]}'
        wrong += [other for other in names if within(other, 'tasks') and not within(other, 'tasks.family')
                  and not within(other, family)]
    return wrong


@pytest.mark.parametrize('path', sources('medjax'), ids=name_of)
def test_imports_go_one_way(path):
    assert not faults(module(path), siblings(parse(path)))


@pytest.mark.parametrize('name, line, fault', [
    ('tasks.survival.task', 'from medjax.models import unet', ['models.unet']),
    ('tasks.survival.task', 'from medjax.models.unet import Model', ['models.unet.Model']),
    ('tasks.survival.task', 'from medjax.tasks.detection import table', ['tasks.detection.table']),
    ('tasks.survival.task', 'from medjax.tasks.family import Family\nfrom medjax.tasks.survival import table', []),
    ('tasks.survival.chapter', 'from medjax import build', ['build']),
    ('core.loop', 'def f():\n import medjax.losses.segmentation', ['losses.segmentation']),
    ('core.loop', 'import medjax', []),
    ('ops.conv', 'import medjax', ['']),
    ('ops.conv', 'from medjax.opsies import x', ['opsies.x']),
    ('nn.conv', 'from medjax import core, ops', ['core']),
    ('data.io.raster', 'from medjax.tasks import family', ['tasks.family']),
    ('report.page', 'from medjax.tasks.survival.chapter import x\nimport medjax.data',
     ['tasks.survival.chapter.x', 'data']),
    ('evaluate', 'from medjax import build', []),
])
def test_the_rule_finds_all_kinds_of_imports(name, line, fault):
    assert faults(name, siblings(ast.parse(line))) == fault


def test_every_rule_is_about_something_that_exists():
    names = {module(path) for path in sources('medjax')}
    assert set(LAYERS) <= {name.partition('.')[0] for name in names} and set(COMMANDS) <= names


@pytest.mark.parametrize('path', sources('medjax'), ids=name_of)
def test_commands_are_thin_and_nothing_imports_train(path):
    # `medjax.train` is the function of the package: importing the command's module would hide it.
    assert not [name for name in siblings(parse(path)) if within(name, 'train')]


@pytest.mark.parametrize('path', sources('medjax/tasks'), ids=name_of)
def test_computing_modules_do_not_import_matplotlib(path):
    name = path.stem.removesuffix('_task') if path.stem.endswith('_task') else path.stem
    if name in (*PLAIN, '') or path.stem.endswith('_task'):
        assert not [name for name in imported(parse(path)) if any(within(name, drawing) for drawing in DRAWING)]


def test_every_family_declares_itself():
    folders = {path.parent.name for path in PACKAGE.glob('tasks/*/__init__.py')}
    declared = {path.parent.name for path in PACKAGE.glob('tasks/*/family.py')}
    assert folders - declared == {'response'}  # a command on tables, nothing of it is trained


@pytest.mark.parametrize('folder', sorted({path.parent for path in sources('medjax')}), ids=name_of)
def test_a_folder_is_legible(folder):
    count = len(list(folder.glob('*.py'))) - (folder / '__init__.py').exists()
    # One file a format, an architecture, an operation, a command.
    crowded = {'data/sources': 30, 'models': 30, 'ops': 24, '.': 24}
    assert count <= crowded.get(str(folder.relative_to(PACKAGE)), FOLDER)


@pytest.mark.parametrize('path', sources('medjax'), ids=name_of)
def test_imports_are_not_dynamic(path):
    tree = parse(path)
    assert not [name for name in imported(tree) if name.startswith('.')], 'imports are absolute'
    dynamic = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)
               and ast.unparse(node.func).split('.')[-1] in ('import_module', '__import__', 'exec', 'eval')]
    allowed = ('build', 'tasks.family', 'run', '', '__main__')
    assert module(path) in allowed or not dynamic, 'only build and family turn names into modules'


@pytest.mark.parametrize('path', sources('medjax'), ids=name_of)
def test_oracles_stay_in_tests_and_bench(path):
    barred = ('tests', 'configs', *([] if within(module(path), 'bench') else ORACLES))
    assert not [name for name in imported(parse(path)) if name.split('.')[0] in barred]


@pytest.mark.parametrize('path', sources('configs'), ids=name_of)
def test_configs_are_pure_data(path):
    assert {name.split('.')[0] for name in imported(parse(path))} <= {'ml_collections', 'math'}


def test_no_file_collects_unrelated_functions():
    drawers = {'utils', 'util', 'helpers', 'helper', 'common', 'misc'}
    assert not [name_of(p) for p in sources('medjax') if drawers & set(p.relative_to(PACKAGE).with_suffix('').parts)]


@pytest.mark.parametrize('path', sources('medjax'), ids=name_of)
def test_files_have_a_limited_length(path):
    name, lines = module(path), len(path.read_text().splitlines())
    a_task = name.startswith('tasks.') and (path.stem == 'task' or path.stem.endswith('_task'))
    most = 210 if name == 'core.loop' else 220 if a_task or within(name, 'models') else 400
    assert lines <= most


def public(tree):
    """Public functions and the public methods of public classes, with the class's name or None."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
            yield from ((node.name, item) for item in node.body if isinstance(item, ast.FunctionDef)
                        and (not item.name.startswith('_') or item.name.startswith('__')))
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
            yield None, node


def lacking(tree):
    """What public functions lack: types of their parameters and of what they return, and a docstring."""
    for owner, function in public(tree):
        name, a = f'{owner}.{function.name}' if owner else function.name, function.args
        static = any(ast.unparse(d) == 'staticmethod' for d in function.decorator_list)
        parameters = [*a.posonlyargs, *a.args][1 if owner and not static else 0:]
        for p in [*parameters, *a.kwonlyargs, a.vararg, a.kwarg]:
            if p is not None and p.annotation is None:
                yield f'{name}: the type of {p.arg}'
        special = function.name.startswith('__')
        if function.returns is None and function.name not in ('__init__', '__post_init__'):
            yield f'{name}: the type of what it returns'
        if not special and not ast.get_docstring(function):
            yield f'{name}: a docstring'


@pytest.mark.parametrize('path', sources('medjax'), ids=name_of)
def test_public_functions_have_types_and_docstrings(path):
    tree = parse(path)
    assert ast.get_docstring(tree), 'a docstring of the module'
    assert not list(lacking(tree))


def test_missing_types_and_docstrings_are_found():
    found = list(lacking(ast.parse('class A:\n def f(self, x, *, y: int):\n  pass\ndef _g(x): pass')))
    assert found == ['A.f: the type of x', 'A.f: the type of what it returns', 'A.f: a docstring']
