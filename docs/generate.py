"""A hook of MkDocs: adds the pages that are written from code and notebooks, and fills in results and conventions.

`mkdocs.yml` names this file. Pages are generated when the site is built; none of them is kept in the repository.
"""

import pathlib
import re
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from generator import conventions, notebooks, pages
from results import recipes, render
from results.coverage import table
from results.processes import equality
from results.scaling import predict
from results.selection import simulate as selection
from results.service import table as service

MARK = re.compile(r'<!-- results: (\w+) -->')
CONVENTIONS = re.compile(r'<!-- conventions: (\w+) -->')


def on_files(files: Any, config: Any) -> Any:
    """Adds the generated pages to the site's files."""
    from mkdocs.structure.files import File  # the tests run without MkDocs

    for path, text in {**pages.pages(), **notebooks.pages()}.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces `<!-- results: FAMILY -->` by the family's tables, `<!-- conventions: FAMILY -->` by its conventions."""
    markdown = CONVENTIONS.sub(lambda mark: conventions.unfoldable(mark[1]), markdown)
    return fill(markdown) if MARK.search(markdown) else markdown


def fill(markdown: str) -> str:
    """A page with its results: tables of a family, or the lists `not_measured` and `commands`."""
    found = recipes.read_all()
    lists = {'not_measured': render.not_measured, 'commands': lambda: render.commands(found),
             'home': lambda: render.readme(found, home=True), 'coverage': table.markdown,
             'service': service.markdown, 'selection': selection.markdown,
             'processes': equality.markdown, 'exchange': predict.bytes_table, 'efficiency': predict.efficiency_table,
             'order': predict.order_table}
    return MARK.sub(lambda mark: lists[mark[1]]() if mark[1] in lists else render.page(mark[1], found), markdown)
