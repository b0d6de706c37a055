"""The reference pages list every module, key, metric and flag, each with its meaning."""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest
from generator import commands, docstrings, keys, pages

from medjax import build, options
from medjax.core import config
from medjax.data.transforms import augment
from medjax.tasks import family
from tests.conftest import ROOT


@pytest.fixture(scope='module')
def found():
    return pages.pages()


def sections():
    """All sections by the page that has them."""
    yield from (('models', of) for of in keys.model_sections())
    yield from (('datasets', of) for of in keys.module_sections('data', ('source',)))
    yield from (('sources', of) for of in keys.module_sections('source'))
    yield from (('tasks', of) for _, _, tasks, evaluator in keys.task_sections() for of in (*tasks, evaluator))
    yield from (('tasks', of) for task in keys.NESTED for of in keys.nested_sections(task))
    yield from (('top', of) for of in keys.top_sections())
    yield 'augment', keys.augment_section()
    yield 'optim', keys.Section('optim', '', '', keys.optim_keys())
    for groups in (keys.loss_sections(), keys.optim_sections()):
        yield from (('choices', of) for sections in groups.values() for of in sections)


def test_every_key_has_a_meaning():
    without = [f'{page}: {of.name}.{key.name}' for page, of in sections() for key in of.keys if not key.meaning.strip()]
    assert not without


def test_no_meaning_is_a_mere_reference():
    wrong = [f'{page}: {of.name}.{key.name}: {key.meaning}' for page, of in sections() for key in of.keys
             if '…' in key.meaning[:3] or re.match(r'see (above|below|`)', key.meaning) or '; see above' in key.meaning]
    assert not wrong


def test_every_section_has_an_introduction():
    assert not [f'{page}: {of.name}' for page, of in sections() if page not in ('optim',) and not of.introduction]


@pytest.mark.parametrize('kind, listed', [
    ('model', ('models',)), ('data', ('datasets',)), ('source', ('sources', 'simulated')), ('weights', ('weights',))])
def test_every_module_has_its_section(found, kind, listed):
    text = ''.join(found[f'reference/config/{page}.md'] for page in listed)
    names = [name for name, path in build.KINDS[kind].modules().items()
             if hasattr(docstrings.imported(path), build.KINDS[kind].attribute)]
    assert names
    for name in names:
        assert f'## `{name}`\n' in text


def test_every_task_and_evaluator_has_its_section(found):
    text = found['reference/config/tasks.md']
    for name in family.names():
        assert f"### `evaluate.name = '{name}'`\n" in text
        for task in family.find(name).tasks:
            assert f"### `task.name = '{task}'`\n" in text


def test_every_metric_is_listed(found):
    for name in family.names():
        part = found['reference/metrics.md'].split(f'## {pages.family_title(name)}\n')[1].split('\n## ')[0]
        for metric in family.find(name).metrics:
            assert f'| `{metric.name}` | {metric.label} |' in part


def test_every_recipe_of_augmentation_is_listed(found):
    for name in augment.RECIPES:
        assert f'| `{name}` |' in found['reference/config/augment.md']


def test_keys_of_all_configs_are_known():
    from medjax.run import load_config

    known = {name: {key.name for key in of.keys} | set(keys.COMMON.get(kind, ()))
             for kind, all_of in (('model', keys.model_sections()), ('data', keys.module_sections('data', ('source',))))
             for name, of in ((f'{kind}.{of.name}', of) for of in all_of)}
    for path in sorted((ROOT / 'configs').glob('*.py')):
        given = load_config(path)
        for kind in ('model', 'data'):
            of = known[f'{kind}.{given[kind].name}']
            assert set(given[kind]) <= of, f'{path.name}: {set(given[kind]) - of}'


@pytest.mark.parametrize('path', commands.command_modules(), ids=commands.module_name)
def test_every_flag_has_a_meaning(path):
    found = commands.command(path)
    assert found.introduction and found.flags
    assert all(flag.meaning for flag in found.flags)


def test_flags_are_those_that_the_command_prints():
    printed = subprocess.run([sys.executable, '-m', 'medjax.response', '--help'], capture_output=True, text=True,
                             cwd=ROOT).stdout
    flags = commands.command(ROOT / 'medjax' / 'response.py').flags
    own = printed.split('medjax.response:')[1] if 'medjax.response:' in printed else printed
    assert sorted(re.findall(r'^\s+--(?:\[no\])?(\w+):', own, re.MULTILINE)) == sorted(flag.name for flag in flags)


def test_every_command_of_medjax_has_its_section(found):
    from medjax.__main__ import COMMANDS

    for name in COMMANDS:
        assert f'## `python -m medjax.{name}`\n' in found['reference/commands.md']


def test_every_launcher_has_its_section(found):
    scripts = [path for path in (ROOT / 'launch').glob('*.sh') if path.read_text().startswith('#!')]
    assert scripts
    for path in scripts:
        assert f'### `bash launch/{path.name}`\n' in found['reference/commands.md']
    assert '### `python launch/sweep.py`\n' in found['reference/commands.md']


# The parser of docstrings.


class Referred:
    """A class.

    Attributes:
      size: voxels along each axis.
      scale: `name` and its options:
        unit: 0 to 1,
          of the bits;
        window: clipped.
    """


def referring(*, size=1, scale='', other=0, rest=0):
    """A function.

    Args:
      size: see `Referred`, as for scale.
      scale: …
      other: a text of its own,
        over two lines; see `Referred.size`.
      rest: see `nowhere`.
    """


def test_continued_lines_are_joined_and_choices_stay_lines():
    found = docstrings.parameters(Referred)
    assert found['size'] == 'voxels along each axis.'
    assert found['scale'] == '`name` and its options:\nunit: 0 to 1, of the bits;\nwindow: clipped.'


def test_references_are_resolved():
    assert docstrings.meaning(referring, 'size') == 'voxels along each axis.'
    assert docstrings.meaning(referring, 'scale').startswith('`name` and its options')
    assert docstrings.meaning(referring, 'other') == 'a text of its own, over two lines; see `Referred.size`.'


def test_a_dangling_reference_has_no_meaning():
    assert docstrings.meaning(referring, 'rest') == ''
    assert docstrings.meaning(referring, 'absent') == ''


def test_types_and_defaults_are_plain():
    assert keys.plain_type(Sequence[int] | None) == 'list of int or None'
    assert keys.plain_type(Mapping[str, Any]) == 'section' and keys.plain_type(tuple[int, int]) == '2 × int'
    assert keys.plain_type(Literal['a', 'b', 'c']) == "`'a'`, `'b'` or `'c'`"
    assert keys.plain_default(config.REQUIRED) == ''
    assert keys.plain_default((1, 2)) == '(1, 2)'


def test_ranges_are_listed_with_types(found):
    assert keys.plain_type(Sequence[options.Count]) == 'list of int ≥ 1'
    assert keys.plain_type(options.Positive | None) == 'float > 0 or None'
    assert keys.plain_type(options.FractionBelowOne) == 'float in [0, 1)'
    assert keys.plain_type(options.Float) == 'float'
    assert '| `clip` | float ≥ 0 |' in found['reference/config/optim.md']
    assert '| `ema` | float in [0, 1) |' in found['reference/config/optim.md']


def test_values_in_quotation_marks_are_code():
    assert pages.cell("'mean' over space, or ''") == "`'mean'` over space, or `''`"
    assert pages.cell("the image's own `x='y'`") == "the image's own `x='y'`"
