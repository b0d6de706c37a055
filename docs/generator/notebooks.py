"""Notebooks as text, in the percent format of jupytext: their cells, and the page of the site."""

import pathlib
import re
from typing import NamedTuple

FOLDER = pathlib.Path(__file__).parents[1] / 'notebooks'


class Cell(NamedTuple):
    """A cell of a notebook: Python code, or Markdown."""

    kind: str
    text: str


def cells(path: pathlib.Path) -> list[Cell]:
    """The cells of a notebook, 'code' or 'markdown'."""
    head, *parts = re.split(r'(?m)^# %%(.*)\n', path.read_text(encoding='utf-8'))
    found = []
    for mark, text in zip(parts[::2], parts[1::2], strict=True):
        if '[markdown]' in mark:
            text = re.sub(r'(?m)^# ?', '', text)
        found.append(Cell('markdown' if '[markdown]' in mark else 'code', text.strip('\n')))
    return found


def page(path: pathlib.Path) -> str:
    """A notebook as a page in Markdown."""
    return '\n\n'.join(cell.text if cell.kind == 'markdown' else f'```python\n{cell.text}\n```'
                       for cell in cells(path)) + '\n'


def pages() -> dict[str, str]:
    """The pages of all notebooks, by their path in the site's sources."""
    return {f'notebooks/{path.stem}.md': page(path) for path in sorted(FOLDER.glob('*.py'))}
