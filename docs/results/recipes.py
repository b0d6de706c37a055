"""The result files `docs/results/RECIPE.json`: reading, writing and checking them.

A file holds the measured result of one recipe, which is a config with its variant and options. Numbers keep the digits
that the file has, so that 0.940 is not shown as 0.94.
"""

import decimal
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

FOLDER = pathlib.Path(__file__).parent
Recipe = dict[str, Any]

# The fields of a file, in their order, each with its meaning.
FIELDS = {
    'recipe': 'name of the file',
    'family': 'folder of `medjax/tasks`',
    'title': 'name of the recipe in tables',
    'config': 'file in `configs/`, with its variant',
    'command': 'what was run, from the root of a checkout',
    'data': '`name` of the data set, and the number of cases of each split',
    'commit': 'git commit of the run; null where it is not known',
    'date': 'day of the run, YYYY-MM-DD; null where it is not known',
    'seeds': 'list of seeds',
    'hardware': 'processor and number of cores',
    'wall_time': 'time of a run',
    'splits': '{split: {metric: {value, ci95, n, …}}}, entries as in `results.json`',
    'baselines': '{name: {split: {metric: entry}}}, of methods that were run elsewhere',
    'published': '{name: {metric: {value}}}, figures from the literature',
    'notes': 'what a reader must know of the figures, one sentence; may be empty',
    'kept': 'whether the run\'s own results.json was kept',
}
OPTIONAL = {
    'runs': '{run: {metric: value}}, the single runs of a merged result',
    'transcribed_from': 'where the figures of a result that was not kept are from',
}


def read(path: pathlib.Path) -> Recipe:
    """The content of a result file; numbers are `Decimal`, with the digits that the file has."""
    return json.loads(path.read_text(encoding='utf-8'), parse_float=decimal.Decimal, parse_int=decimal.Decimal)


def read_all(folder: pathlib.Path = FOLDER) -> dict[str, Recipe]:
    """All result files of a folder, by the recipe's name."""
    return {path.stem: read(path) for path in sorted(folder.glob('*.json'))}


def write(path: pathlib.Path, recipe: Mapping[str, Any]) -> None:
    """Writes a result file, one entry a line."""
    path.write_text(to_text(recipe) + '\n', encoding='utf-8')


def to_text(value: Any, depth: int = 0) -> str:
    """A value as JSON: mappings of mappings and the whole file over several lines, all else in one line."""
    if isinstance(value, Mapping) and any(isinstance(item, Mapping) for item in value.values()):
        inner = ',\n'.join(f'{" " * (depth + 1)}{json.dumps(key, ensure_ascii=False)}: {to_text(item, depth + 1)}'
                           for key, item in value.items())
        return f'{{\n{inner}\n{" " * depth}}}'
    if isinstance(value, Mapping):
        inner = ', '.join(f'{json.dumps(key, ensure_ascii=False)}: {to_text(item)}' for key, item in value.items())
        return f'{{{inner}}}'
    if isinstance(value, list | tuple):
        return '[' + ', '.join(map(to_text, value)) + ']'
    if isinstance(value, decimal.Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def problems(name: str, recipe: Mapping[str, Any]) -> list[str]:
    """The errors of a result file, one line each; empty for a valid file."""
    found = [f'{name}: the field {field!r} is missing' for field in FIELDS if field not in recipe]
    found += [f'{name}: unknown field {field!r}' for field in recipe if field not in {**FIELDS, **OPTIONAL}]
    if found:
        return found
    if recipe['recipe'] != name:
        found.append(f'{name}: recipe: {recipe["recipe"]!r}; expected the name of the file')
    if recipe['kept']:
        found += [f'{name}: {field}: {recipe[field]!r}; expected a value for a result that was kept'
                  for field in ('commit', 'date', 'seeds', 'hardware', 'wall_time') if not recipe[field]]
    elif not recipe.get('transcribed_from'):
        found.append(f'{name}: transcribed_from is missing for a result that was not kept')
    if not re.fullmatch(r'configs/\w+\.py(:\w+)?', recipe['config']):
        found.append(f'{name}: config: {recipe["config"]!r}; expected configs/NAME.py or configs/NAME.py:VARIANT')
    if re.search(r'(^|[\s=])/\w', recipe['command']):
        found.append(f'{name}: command: an absolute path; expected paths relative to the checkout')
    if len(re.findall(r'[.!?](\s|$)', recipe['notes'])) > 1:
        found.append(f'{name}: notes: more than a sentence')
    entries = [(f'{split}.{metric}', entry) for split, metrics in recipe['splits'].items()
               for metric, entry in metrics.items()]
    entries += [(f'{label}.{split}.{metric}', entry) for label, splits in recipe['baselines'].items()
                for split, metrics in splits.items() for metric, entry in metrics.items()]
    entries += [(f'{label}.{metric}', entry) for label, metrics in recipe['published'].items()
                for metric, entry in metrics.items()]
    for where, entry in entries:
        limits = entry.get('ci95')
        if 'value' not in entry or (limits and not (len(limits) == 2 and limits[0] <= entry['value'] <= limits[1])):
            found.append(f'{name}: {where}: {dict(entry)}; expected a value within its interval')
    return found if entries else [*found, f'{name}: splits: no metric']
