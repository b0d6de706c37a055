"""The conventions of each family's metrics, as its reports have them."""

import ast
import importlib
import pathlib
import re
import textwrap

ROOT = pathlib.Path(__file__).parents[2]


def conventions(family: str) -> list[str]:
    """The paragraphs of a family's conventions: the constants named `…CONVENTIONS` in the modules of its folder."""
    found = []
    for path in sorted((ROOT / 'medjax' / 'tasks' / family).glob('*.py')):
        for node in ast.parse(path.read_text(encoding='utf-8')).body:
            names = [target.id for target in getattr(node, 'targets', ()) if isinstance(target, ast.Name)]
            for name in names:
                if name.endswith('CONVENTIONS'):
                    module = importlib.import_module(f'medjax.tasks.{family}.{path.stem}')
                    found += _plain(getattr(module, name)).splitlines()
    return found


def unfoldable(family: str) -> str:
    """The conventions as a block of Markdown that a reader unfolds.

    Raises:
      ValueError: the family has none.
    """
    paragraphs = conventions(family)
    if not paragraphs:
        raise ValueError(f'{family}: no conventions; expected a constant CONVENTIONS in one of its modules')
    return '??? note "Conventions, as in the report"\n\n' + textwrap.indent('\n\n'.join(paragraphs), '    ')


def _plain(text: str) -> str:
    """A text with its placeholders, such as `{unit}`, in words."""
    return re.sub(r'\{unit\}', 'case', re.sub(r' \{descriptors\}', ' of the config', text))
