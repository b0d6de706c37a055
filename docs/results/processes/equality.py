"""Renders `docs/results/processes/equality.json` as a table of the page on exactness."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

PATH = pathlib.Path(__file__).with_name('equality.json')


def read() -> Mapping[str, Any]:
    """The content of the result file."""
    return json.loads(PATH.read_text(encoding='utf-8'))


def markdown(found: Mapping[str, Any] | None = None) -> str:
    """The table: a row for each config and layout."""
    found = found or read()
    lines = ['| Config | Processes × devices | Losses as printed | Largest difference of a weight | '
             'Weights beyond 1e-5 | Largest difference of a metric |', '|---|---|---|---|---|---|']
    for name, layouts in found['families'].items():
        for layout, entry in layouts.items():
            same = 'equal' if entry['same'] else '**not equal**'
            lines.append(f'| `{name}` | {layout.replace("x", " × ")} | {same} | {entry["weight"]:.0e} | '
                         f'{entry["share"]:.3%} | {entry["result"]:.0e} |')
    return '\n'.join([*lines, '', f'Each against one process with four devices, after {found["steps"]} steps; '
                      f'{found["date"]}, commit {found["commit"][:12]}.'])
