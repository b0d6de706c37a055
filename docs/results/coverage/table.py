"""Renders `docs/results/coverage/intervals.json` as a table of the statistics page."""

import decimal
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from results.coverage.kinds import KINDS

PATH = pathlib.Path(__file__).with_name('intervals.json')
LEAST, FROM = decimal.Decimal('0.93'), 20  # a coverage below the first is marked from so many patients on


def read() -> Mapping[str, Any]:
    """The content of the result file; numbers are `Decimal`."""
    return json.loads(PATH.read_text(encoding='utf-8'), parse_float=decimal.Decimal)


def cell(entry: Mapping[str, Any] | None, n: int) -> str:
    """A coverage as text, bold where it is too low by more than two standard errors; '–' with few intervals."""
    if entry is None:
        return ''
    if entry['missing'] > decimal.Decimal('0.5'):
        return '–'
    text = f'{decimal.Decimal(entry["coverage"]):.3f}'.lstrip('0')
    low = n >= FROM and entry['coverage'] + 2 * entry['se'] < LEAST
    return f'**{text}**' if low else text


def markdown(found: Mapping[str, Any] | None = None) -> str:
    """The table: a row for each metric, a column for each number of patients."""
    found = found or read()
    sizes = sorted({int(n) for metrics in found['kinds'].values() for entries in metrics.values() for n in entries})
    rows = [[KINDS[kind].labels[metric], *(cell(entries.get(str(n)), n) for n in sizes)]
            for kind, metrics in found['kinds'].items() for metric, entries in metrics.items()]
    lines = [['Metric', *(f'n = {n}' for n in sizes)], ['---'] * (len(sizes) + 1), *rows]
    table = '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
    return (f'{table}\n\n{found["datasets"]} data sets of each kind and size, {found["date"]}, commit '
            f'{found["commit"][:12]}.')
