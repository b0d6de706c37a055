"""Writes `docs/results/RECIPE.json` from the files of an evaluated run.

    python docs/results/collect.py RUN --recipe=NAME [--hardware=TEXT] [--command=TEXT]
    python docs/results/collect.py MERGED [RUN …] --recipe=NAME        folds or seeds that `evaluate --merge` combined

The metrics that the results page shows for the recipe are taken from the run's results.json, commit, command and time
from environment.json, the seed from config.json. What a person wrote in a file that is there already stays: title,
data, baselines, published figures and notes. No absolute path and no name of a machine is written. Of a merged folder
the single runs are those that its results.json names, or the folders that follow it.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

if __name__ == '__main__':
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from results import recipes, tables

ENTRY = ('value', 'ci95', 'n', 'unit', 'run_mean', 'run_sd', 'runs', 'missed', 'spurious', 'failures95', 'objects',
         'why')
DIGITS = 6  # significant ones that are kept


def main(arguments: Sequence[str] | None = None) -> pathlib.Path:
    """Reads the arguments and writes the file; returns its path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', type=pathlib.Path, help='folder of a run, or of merged runs and theirs')
    parser.add_argument('--recipe', required=True, help='name of the file, without .json')
    parser.add_argument('--hardware', default='', help='processor and cores; by default those of this machine')
    parser.add_argument('--command', default='', help='what was run; by default the command of the run')
    parser.add_argument('--allow_dirty', action='store_true', help='accept runs of code with uncommitted changes')
    parser.add_argument('--folder', type=pathlib.Path, default=recipes.FOLDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    path = options.folder / f'{options.recipe}.json'
    known = recipes.read(path) if path.exists() else {}
    found = collect(options.runs, options.recipe, known, hardware=options.hardware, command=options.command,
                    allow_dirty=options.allow_dirty)
    recipes.write(path, found)
    print(f'{path.name}: {sum(map(len, found["splits"].values()))} metrics; now run docs/results/render.py')
    return path


def collect(runs: Sequence[pathlib.Path], name: str, known: Mapping[str, Any], *, hardware: str = '', command: str = '',
            allow_dirty: bool = False) -> recipes.Recipe:
    """The content of a result file.

    Args:
      runs: the folder of a run, or of merged runs and then of the single ones.
      name: of the recipe.
      known: the content of the file so far; may be empty.
      hardware: processor and cores, in place of this machine's.
      command: what was run, in place of the run's own command.
      allow_dirty: whether code with uncommitted changes is accepted.

    Raises:
      SystemExit: files are missing, the code had uncommitted changes, or no metric of the tables is there.
    """
    result = read(runs[0] / 'results.json')
    config = read(runs[0] / 'config.json')
    single = list(runs[1:]) or [pathlib.Path(run) for run in result.get('of', ())] or [runs[0]]
    environments = [read(run / 'environment.json') for run in single]
    dirty = [str(run) for run, environment in zip(single, environments) if environment.get('git_dirty')]
    if dirty and not allow_dirty:
        sys.exit(f'collect: {dirty[0]}: the code had uncommitted changes; commit them and run again, or --allow_dirty')
    commits = sorted({environment.get('git_commit', '') for environment in environments})
    if commits == ['']:
        sys.exit(f'collect: {single[0]}: no git commit in environment.json; expected a run from a checkout')
    family = known.get('family') or family_of(config)
    splits = metrics(result, name, family)
    if not any(splits.values()):
        sys.exit(f'collect: {runs[0]}: results.json has none of the metrics of {name} in docs/results/tables.py')
    counts = {split: count for split, count in result.get('counts', {}).items()}
    seconds = [environment['wall_time_s'] for environment in environments if 'wall_time_s' in environment]
    merged = len(single) > 1
    found = {
        'recipe': name, 'family': family, 'title': known.get('title') or name,
        'config': config_name(environments[0], known),
        'command': command or (known.get('command') if merged else '') or relative_command(
            environments[0].get('command', ''), name),
        'data': known.get('data') or {'name': name, **counts},
        'commit': ', '.join(commits), 'date': day(runs[0] / 'results.json'),
        'seeds': sorted({read(run / 'config.json').get('seed', 0) for run in single}),
        'hardware': hardware or machine(environments[0]),
        'wall_time': duration(sum(seconds) / len(seconds)) + (' a run' if merged else '') if seconds else '',
        'splits': splits, 'baselines': known.get('baselines') or {}, 'published': known.get('published') or {},
        'notes': known.get('notes') or '', 'kept': True}
    if merged and result.get('runs'):
        shown = {key for entries in splits.values() for key in entries}
        found['runs'] = {str(number): {key: rounded(value) for key, value in values.items() if key in shown}
                         for number, values in enumerate(result['runs'].values())}
    wrong = recipes.problems(name, found)
    if wrong:
        sys.exit('collect: ' + '\n'.join(wrong))
    return found


def read(path: pathlib.Path) -> dict[str, Any]:
    """The content of a JSON file of a run."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        sys.exit(f'collect: {path}: no such file; expected the folder of an evaluated run')


def family_of(config: Mapping[str, Any]) -> str:
    """The family of a run, by its config."""
    from medjax.tasks import family  # imports no network

    return family.of_config(config).name


def metrics(result: Mapping[str, Any], name: str, family: str) -> dict[str, dict[str, Any]]:
    """The metrics of a result that the tables show, by split; the headline metrics where no table has the recipe."""
    specs = [spec for spec in tables.TABLES if name in spec.recipes]
    wanted = {pattern.format(key) for spec in specs for key in spec.columns.values()
              for pattern in ('{}', *spec.baselines.values())}
    splits = [split for spec in specs for split in spec.splits]
    wanted |= {key for row in tables.README if row.recipe == name for key in (row.metric[1], *(row.baseline or ())[1:])}
    found = {}
    for split in dict.fromkeys(splits or ['test']):
        entries = result.get(split) or {}
        keys = wanted if specs else headlines(entries, family, result.get('classes', ()))
        found[split] = {key: {field: rounded(entry[field]) for field in shown_fields(entry)}
                        for key, entry in entries.items() if key in keys and entry.get('value') is not None}
    return {split: entries for split, entries in found.items() if entries}


def shown_fields(entry: Mapping[str, Any]) -> list[str]:
    """The fields of an entry that are kept; without a spread over runs where all are equal, as of a baseline."""
    spread = () if (entry.get('run_sd') or 0) > 1e-9 else ('run_mean', 'run_sd', 'runs')
    return [field for field in ENTRY if entry.get(field) is not None and field not in spread]


def headlines(entries: Mapping[str, Any], family: str, classes: Sequence[str]) -> set[str]:
    """The headline metrics of a family among some entries."""
    from medjax.tasks.family import find

    declared = find(family).metrics
    return {key for key in entries if declared.is_headline(key, classes)}


def rounded(value: Any) -> Any:
    """Numbers with the significant digits that are kept."""
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f'{value:.{DIGITS}g}') if isinstance(value, float) else value


def config_name(environment: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """The config of a run, as `configs/NAME.py:VARIANT`."""
    given = re.search(r'--config[= ]\S*?(configs/\w+\.py(?::\w+)?)', environment.get('command', ''))
    return given[1] if given else known.get('config', '')


def relative_command(command: str, name: str) -> str:
    """A command without absolute paths: the run goes to `runs/NAME`, other paths keep their last part."""
    command = re.sub(r'--workdir[= ]\S+', f'--workdir=runs/{name}', command)
    command = re.sub(r'(?<![\w.])/\S*?(configs/\w+\.py)', r'\1', command)
    return re.sub(r'(?<![\w.])/(?:[^\s/]+/)*([^\s/]+)/?', r'\1', command)


def day(path: pathlib.Path) -> str:
    """The day on which a file was written."""
    return datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()


def machine(environment: Mapping[str, Any]) -> str:
    """Devices of a run; of a run on processors their name, which is read here and only where it ran here."""
    devices = [device.partition(':') for device in environment.get('devices', ())]
    kinds = sorted({kind for platform_name, _, kind in devices if platform_name != 'cpu'})
    if kinds:
        return f'{len(devices)} × {", ".join(kinds)}'
    cores = environment.get('cores')
    model = environment.get('processor', '')
    if not model and environment.get('platform') == platform.platform() and cores == os.cpu_count():
        text = pathlib.Path('/proc/cpuinfo').read_text() if pathlib.Path('/proc/cpuinfo').exists() else ''
        given = re.search(r'model name\s*:\s*(.+)', text)
        model = given[1].strip() if given else ''
    return ', '.join(filter(None, [model, f'{cores} CPU cores']))


def duration(seconds: float) -> str:
    """Seconds as text: '48 s', '1 min 48 s', '2 h 5 min'."""
    total = round(seconds)
    hours, minutes = total // 3600, total // 60 % 60
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min {total % 60} s' if minutes else f'{total} s'


if __name__ == '__main__':
    main()
