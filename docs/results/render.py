"""Renders `docs/results/*.json` as tables: for the results page, and for the README between its two markers.

    python docs/results/render.py            rewrites the README's block
    python docs/results/render.py --check    exits with 1 where the block is not what the files give
"""

import decimal
import itertools
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

if __name__ == '__main__':
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from results import recipes, tables

ROOT = pathlib.Path(__file__).parents[2]
NOT_KEPT = ('\\* Transcribed from an earlier README; the results file of the run was not kept. The results page has '
            'the commands.')
START, END = '<!-- results:start -->', '<!-- results:end -->'
DECIMALS = 3  # at most; a figure of a file with fewer digits keeps those
COARSE = {'hd95': 2, 'tre': 2, 'psnr': 1, 'fid': 2, 'volume_error': 1, 'gain_volume': 1, 'ate': 1,
          'ate_error': 3, 'difference': 1, 'seconds': 2, 'folded': 2}  # decimals of metrics that are no shares
SPLITS = {'test': 'test', 'val': 'validation', 'train': 'training', 'unseen': 'unseen slab', 'within': 'within sample',
          'test_at_1': 'from 1 year', 'test_at_3': 'from 3 years', 'test_at_5': 'from 5 years',
          'test_real': 'real recording'}
FAMILIES = {'segmentation': 'Segmentation', 'signals': 'Events in signals', 'classification': 'Classification',
            'detection': 'Detection', 'survival': 'Survival', 'forecasting': 'Forecasting', 'growth': 'Tumour growth',
            'treatment': 'Treatment effects', 'regression': 'Regression', 'anomaly': 'Anomaly detection',
            'synthesis': 'Image synthesis', 'translation': 'Image translation', 'registration': 'Registration'}


def number(value: Any, metric: str) -> str:
    """A number with the decimals of its metric, or as few as the file has."""
    value = decimal.Decimal(str(value))
    stems = [stem for stem in COARSE if metric == stem or metric.startswith(f'{stem}_')]
    most = COARSE[max(stems, key=len)] if stems else DECIMALS
    has = max(0, -int(value.as_tuple().exponent))
    return f'{value:.{min(most, has)}f}'.replace('-', '−')


def figure(entry: Mapping[str, Any], metric: str) -> str:
    """An entry as text: value, standard deviation over runs, and 95 % interval, as far as they are there."""
    if entry['value'] is None:
        return '–'
    single = entry.get('run_sd') is None
    text = number(entry['value'] if single else entry['run_mean'], metric)
    if not single:
        text += f' ± {number(entry["run_sd"], metric)}'
    if entry.get('ci95'):
        low, high = (number(limit, metric) for limit in entry['ci95'])
        text += f' ({low}–{high})' if not low.startswith('−') else f' ({low} to {high})'
    return text


def baselines(spec: tables.Table, found: Mapping[str, recipes.Recipe], split: str) -> list[tuple[str, list[str]]]:
    """Rows of a table for the methods that stand beside its recipes: their names, and a cell for each column.

    Of each method the first recipe of the table that has it counts: the cases are the same.
    """
    rows, keys = {}, list(spec.columns.values())
    for name in spec.recipes:
        recipe = found[name]
        own = recipe['splits'].get(split, {})
        others = {label: {key: own.get(pattern.format(key)) for key in keys} for label, pattern in
                  spec.baselines.items()}
        others |= {label: splits.get(split, {}) for label, splits in recipe['baselines'].items()}
        if split == 'test':
            others |= {f'{label} (published)': entries for label, entries in recipe['published'].items()}
        for label, entries in others.items():
            cells = [figure(entries[key], key) + size(entries[key], own, key) if entries.get(key) else ''
                     for key in keys]
            if any(cells):
                rows.setdefault(label, cells)
    return list(rows.items())


def size(entry: Mapping[str, Any], own: Mapping[str, Any], metric: str) -> str:
    """The number of cases of a baseline, where the recipe itself has others."""
    count = entry.get('n')
    return f', n = {count}' if count is not None and count != own.get(metric, {}).get('n') else ''


def cases(data: Mapping[str, Any]) -> str:
    """A data set's name and its numbers of cases."""
    unit = data.get('unit', '')
    words = {'train': 'train', 'val': 'validate', 'test': 'test', 'unseen': 'unseen', 'patients': 'patients',
             'events': 'events', 'test_at_1': 'at 1 year', 'test_at_3': 'at 3 years', 'test_at_5': 'at 5 years',
             'test_visits': 'visits of the test', 'test_anomalies': 'of the test abnormal',
             'realisations': 'realisations'}
    counts = [f'{data[key]} {word}' for key, word in words.items() if key in data]
    return f'{data["name"]}: {", ".join(counts)}' + (f' ({unit})' if unit else '')


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table as lines; columns without any cell are left out."""
    rows = [list(row) for row in rows]
    kept = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    lines = [[row[place] for place in kept] for row in [headings, *rows]]
    lines.insert(1, ['---'] * len(kept))
    return ['| ' + ' | '.join(line) + ' |' for line in lines]


def table(spec: tables.Table, found: Mapping[str, recipes.Recipe]) -> str:
    """A table of the results page: a row for each recipe and split, baselines, and the recipes' notes below it."""
    several = len(spec.splits) > 1
    headings = ['Recipe', *(['Cases'] if several else []), *spec.columns, 'Time']
    rows, notes, last = [], [], ''
    for name, split in itertools.product(spec.recipes, spec.splits):
        recipe = found[name]
        entries = recipe['splits'].get(split, {})
        if not entries:
            continue
        cells = [figure(entries[key], key) if key in entries else '' for key in spec.columns.values()]
        when = ', '.join(filter(None, [recipe['wall_time'], recipe['hardware']]))
        link = f'[{recipe["title"]}]({name}.json){mark(recipe)}'
        rows.append([link, *([SPLITS.get(split, split)] if several else []), *cells, '' if when == last else when])
        last = when
        if recipe['notes'] and split == spec.splits[0]:
            notes.append(f'- {recipe["title"]}: {recipe["notes"]}')
    for split in spec.splits:
        rows += [[f'*{label}*', *([SPLITS.get(split, split)] if several else []), *cells, '']
                 for label, cells in baselines(spec, found, split)]
    lines = [f'**{cases(found[spec.recipes[0]]["data"])}.**', '', *grid(headings, rows)]
    return '\n'.join([*lines, *(['', *notes] if notes else [])])


def mark(recipe: Mapping[str, Any]) -> str:
    """The mark of a result whose run was not kept."""
    return '' if recipe['kept'] else ' \\*'


def page(family: str, found: Mapping[str, recipes.Recipe]) -> str:
    """All tables of a family."""
    return '\n\n'.join(table(spec, found) for spec in tables.TABLES if spec.family == family)


def not_measured() -> str:
    """Configs without a result, as a list."""
    return '\n'.join(f'- `{config}`: {reason}' for config, reason in tables.NOT_MEASURED.items())


def commands(found: Mapping[str, recipes.Recipe]) -> str:
    """The command of each recipe, as a list."""
    parts: dict[str, list[str]] = {}
    for name, recipe in found.items():
        parts.setdefault(recipe['command'], []).append(name)
    return '\n\n'.join(f'{", ".join(f"`{name}`" for name in names)}\n\n```bash\n{_wrapped(command)}\n```'
                       for command, names in parts.items())


def _wrapped(command: str) -> str:
    """A command with a line for each part of a loop."""
    return re.sub(r'; (do|done|python) ', lambda found: ('\n' + found[1] + ' '), command).replace('; done', '\ndone')


def readme(found: Mapping[str, recipes.Recipe], home: bool = False) -> str:
    """The table of the README: a row for each family.

    Args:
      found: the result files.
      home: whether the recipes link to the results page, as on the site's home page, and not to their configs.
    """
    rows = []
    for row in tables.README:
        recipe = found[row.recipe]
        label, key = row.metric
        beside = ''
        if row.baseline:
            name, other = row.baseline
            entry = recipe['splits'][row.split].get(other)
            if other == 'external':
                entry = (recipe['baselines'].get(name) or {}).get(row.split, recipe['published'].get(name, {})).get(key)
            if entry:
                beside = f'{name} {figure(entry, other if other != "external" else key)}'
        anchor = re.sub(r'\W+', '-', FAMILIES[recipe['family']].lower())
        target = f'results/index.md#{anchor}' if home else recipe['config'].partition(':')[0]
        link = f'[{recipe["title"]}]({target}){mark(recipe)}'
        rows.append([FAMILIES[recipe['family']], link,
                     recipe['data']['name'], f'{label} {figure(recipe["splits"][row.split][key], key)}', beside,
                     recipe['wall_time'] or ''])
    headings = ['Problem', 'Recipe', 'Data', 'Result on test cases (95 % CI)', 'Baseline', 'Time']
    lines = grid(headings, rows)
    if any(not found[row.recipe]['kept'] for row in tables.README):
        lines += ['', NOT_KEPT]
    return '\n'.join(lines)


def replace_block(text: str, block: str) -> str:
    """A text with a new block between its two markers.

    Raises:
      ValueError: the text does not have each marker once.
    """
    if text.count(START) != 1 or text.count(END) != 1:
        raise ValueError(f'expected the markers {START} and {END}, each once')
    before, rest = text.split(START)
    return f'{before}{START}\n{block}\n{END}{rest.split(END)[1]}'


def main(arguments: Sequence[str]) -> int:
    """Rewrites the README's block, or checks it; returns the exit code."""
    path = ROOT / 'README.md'
    text = path.read_text(encoding='utf-8')
    new = replace_block(text, readme(recipes.read_all()))
    if '--check' in arguments:
        print('README.md: up to date' if new == text else 'README.md: run python docs/results/render.py')
        return int(new != text)
    path.write_text(new, encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
