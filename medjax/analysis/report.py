"""Writes `report.html`, one self-contained page, from the files of a workdir alone."""

import base64
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2

from medjax.analysis import figures, style, tables, workdir
from medjax.analysis.bootstrap import number

NAMES = {'test': 'Test', 'val': 'Validation', 'train': 'Training'}
FEW = 10  # patients below which a bootstrap interval is known to be too narrow
LISTED = 300  # cases
FACTS = ('seed', 'git_commit', 'data_hash', 'split_hash', 'devices', 'cores', 'hosts', 'platform',
         'train_time_s', 'wall_time_s', 'peak_memory_mb')


def write(folder: pathlib.Path) -> pathlib.Path:
    """Draws the report of a run; what the folder has no file for is left out.

    Args:
      folder: the workdir; needs `config.json` at least.

    Returns:
      The path of `report.html`, which appears whole or not at all.

    Raises:
      InputError: the folder holds no run, or one of its files is damaged.
    """
    page = render(workdir.read(folder))
    path, part = folder / 'report.html', folder / f'.report.{os.getpid()}.part'
    try:
        part.write_text(page, encoding='utf-8')
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def render(run: workdir.Run) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent))
    environment.filters['embed'] = lambda png: 'data:image/png;base64,' + base64.b64encode(png).decode()
    shown = next(iter(run.splits), '')
    chosen = figures.choose(run, shown)
    entries = run.results.get(shown, {}).values()
    fewest = min((entry['n'] for entry in entries if entry.get('ci95')), default=FEW)
    rows, results = run.rows(shown), run.results
    return environment.get_template('report.html.jinja').render(
        title=run.name, subtitle=_subtitle(run), notice=results.get('notice', ''),
        conventions=results.get('conventions', ''), step=results.get('step'),
        counts={_name(split): count for split, count in results.get('counts', {}).items()},
        headlines=[tables.headline(_name(split).lower(), results[split], run.classes[1:])
                   for split in run.splits if split != 'val'],
        tables=_tables(run), few=fewest if fewest < FEW else 0,
        resamples=next((entry['resamples'] for entry in entries if 'resamples' in entry), 0),
        legend=[(name, style.class_colour(i)) for i, name in enumerate(run.classes[1:], 1)],
        errors=[('missed (background predicted)', style.MISSED),
                ('spurious (background in the truth)', style.SPURIOUS),
                *([('wrong class', style.CONFUSED)] if len(run.classes) > 2 else [])],
        groups=figures.groups(run, chosen), charts=figures.case_charts(run, shown, chosen),
        curves=figures.curves(run), augmented=figures.samples(run), split=_name(shown).lower(), total=len(rows),
        cases=[_rounded(row) for row in rows[:LISTED]] if len(rows) > 1 else [],
        command=run.environment.get('command', ''), facts=_facts(run.environment),
        config=json.dumps(run.config, indent=2, ensure_ascii=False))


def _name(split: str) -> str:
    return NAMES.get(split, split.replace('_', ' ').capitalize())


def _subtitle(run: workdir.Run) -> str:
    model, data = run.config.get('model', {}), run.config.get('data', {})
    source = data.get('source') if isinstance(data.get('source'), Mapping) else {}
    name = ' '.join(str(model[key]) for key in ('name', 'variant') if model.get(key))
    words = [f'{name} {model["dims"]}D' if 'dims' in model else name]
    if run.environment.get('parameters'):
        words.append(f'{run.environment["parameters"]:,} parameters'.replace(',', '\N{NARROW NO-BREAK SPACE}'))
    words += [f'data: {known}' for known in [source.get('name') or data.get('name')] if known]
    if {'steps', 'batch'} <= set(run.config):
        words.append(f"{run.config['steps']} steps of {run.config['batch']}")
    return ' · '.join(filter(None, words))


def _tables(run: workdir.Run) -> list[tables.Table]:
    tolerance, made = run.config.get('evaluate', {}).get('tolerance_mm'), []
    for split in run.splits:
        entries, classes = run.results[split], run.classes[1:]
        made += [tables.overall(entries, classes, _name(split)),
                 tables.per_class(entries, classes, _name(split), tolerance)]
    return [table for table in made if table]


def _rounded(row: Mapping[str, str]) -> dict[str, str]:
    """A row of the table of cases with at most three decimals; ids and whole numbers stay as they are."""
    out = dict(row)
    for key, text in row.items():
        if key not in ('id', 'patient') and '.' in (text or ''):
            try:
                out[key] = tables.figure(number(text))
            except ValueError:
                continue  # a column of text
    return out


def _facts(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a repetition needs, the most asked for first; versions and whatever else was kept, after it."""
    flat: dict[str, Any] = {}
    for key, value in environment.items():
        flat |= value if isinstance(value, Mapping) else {key: value}
    flat.pop('command', None)
    if flat.pop('git_dirty', False):
        flat['git_commit'] = f'{flat.get("git_commit")}, with uncommitted changes'
    facts = []
    for key in [*(key for key in FACTS if key in flat), *(key for key in flat if key not in FACTS)]:
        value, unit = flat[key], ''
        for suffix, word in (('_s', ' s'), ('_mb', ' MiB')):
            if key.endswith(suffix) and isinstance(value, int | float):
                key, unit = key.removesuffix(suffix), word
        text = ', '.join(map(str, value)) if isinstance(value, list) else str(value)
        facts.append((key.removeprefix('git_').replace('_', ' '), (text or 'none') + unit))
    return facts
