"""Holds the house's rules by reading the source: who imports whom, how long a file is, what is documented."""

import ast
import pathlib

import pytest

import medjax

PACKAGE = pathlib.Path(medjax.__file__).parent
ENTRY_POINTS = ('train', 'evaluate', 'predict', 'report', 'response', 'runs', 'trained', 'synthesise')

# What each room may import of medjax besides itself; `a.b` allows that module only. The root is its version number.
ALLOWED = {
    'errors': (),
    'machine': (),
    'whole': ('errors',),
    'entry': ('errors',),
    'ops': ('errors', 'machine'),
    'nn': ('errors', 'ops'),
    'models': ('errors', 'ops', 'nn'),
    'core': ('errors', 'whole', ''),
    'tasks': ('errors', 'core', 'ops'),
    'data': ('errors', 'machine', 'whole', 'ops'),
    'evals': ('errors', 'machine', 'whole', 'core', 'ops', 'data'),
    'analysis': ('errors', 'whole', 'ops'),
    'weights': ('errors', 'trained', 'data'),
    'build': ('errors', 'core', 'ops', 'data', 'models', 'tasks', 'evals'),
    'bench': ('errors', 'machine', 'whole', 'entry', 'build', 'core', 'data', 'evals', 'ops', 'tasks', 'train'),
    **{name: ('errors', 'whole', 'entry', 'build', 'core', 'data', 'evals', 'analysis', *ENTRY_POINTS)
       for name in ENTRY_POINTS},
}
ORACLES = ('torch', 'monai', 'lifelines', 'sksurv', 'surface_distance', 'tensorflow', 'fairlearn')


def sources(*folders):
    return sorted(path for folder in folders for path in (PACKAGE.parent / folder).rglob('*.py'))


def name_of(path):
    return str(path.relative_to(PACKAGE.parent))


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


def room(path):
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return parts[0] if parts != ('__init__',) else ''


def faults(room, names):
    """The imports that a file of a room may not make."""
    allowed = (room, *ALLOWED[room])
    return [name for name in names if not any(
        name == part or (part and name.startswith(f'{part}.')) for part in allowed)]


@pytest.mark.parametrize('path', [p for p in sources('medjax') if room(p)], ids=name_of)
def test_imports_go_one_way(path):
    assert room(path) in ALLOWED, f'{path}: a new room; give it a line in ALLOWED'
    assert not faults(room(path), siblings(parse(path)))


@pytest.mark.parametrize('place, line, fault', [
    ('tasks', 'from medjax.models import unet', ['models.unet']),
    ('tasks', 'from medjax.models.unet import Model', ['models.unet.Model']),
    ('core', 'def f():\n import medjax.losses.segmentation', ['losses.segmentation']),
    ('core', 'import medjax', []),
    ('ops', 'import medjax', ['']),
    ('ops', 'from medjax.opsies import x', ['opsies.x']),
    ('nn', 'from medjax import core, ops', ['core']),
    ('evals', 'from medjax import build', ['build']),
    ('analysis', 'from medjax.tasks.segmentation.mask_metrics import x\nimport medjax.data', ['tasks.segmentation.mask_metrics.x', 'data']),
])
def test_the_rule_sees_every_way_to_import(place, line, fault):
    assert faults(place, siblings(ast.parse(line))) == fault


def test_every_rule_is_about_something_that_exists():
    rooms = {room(path) for path in sources('medjax')}
    assert set(ALLOWED) <= rooms


@pytest.mark.parametrize('path', sources('medjax'), ids=name_of)
def test_no_import_hides_from_this_test(path):
    tree = parse(path)
    assert not [name for name in imported(tree) if name.startswith('.')], 'imports are absolute'
    dynamic = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)
               and ast.unparse(node.func).split('.')[-1] in ('import_module', '__import__', 'exec', 'eval')]
    assert room(path) == 'build' or not dynamic, 'only build turns names into modules'


@pytest.mark.parametrize('path', sources('medjax'), ids=name_of)
def test_oracles_stay_in_tests_and_bench(path):
    barred = ('tests', 'configs', *([] if room(path) == 'bench' else ORACLES))
    assert not [name for name in imported(parse(path)) if name.split('.')[0] in barred]


@pytest.mark.parametrize('path', sources('configs'), ids=name_of)
def test_configs_are_pure_data(path):
    assert {name.split('.')[0] for name in imported(parse(path))} <= {'ml_collections', 'math'}


def test_no_file_is_a_drawer():
    drawers = {'utils', 'util', 'helpers', 'helper', 'common', 'misc'}
    assert not [name_of(p) for p in sources('medjax') if drawers & set(p.relative_to(PACKAGE).with_suffix('').parts)]


@pytest.mark.parametrize('path, most', [
    (PACKAGE / 'core' / 'loop.py', 210), *((p, 220) for p in sources('medjax/models', 'medjax/tasks'))],
    ids=lambda value: name_of(value) if isinstance(value, pathlib.Path) else '')
def test_a_file_holds_one_idea(path, most):
    assert len(path.read_text().splitlines()) <= most


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
def test_what_is_public_has_types_and_docstrings(path):
    tree = parse(path)
    assert ast.get_docstring(tree), 'a docstring of the module'
    assert not list(lacking(tree))


def test_what_lacks_is_found():
    found = list(lacking(ast.parse('class A:\n def f(self, x, *, y: int):\n  pass\ndef _g(x): pass')))
    assert found == ['A.f: the type of x', 'A.f: the type of what it returns', 'A.f: a docstring']
