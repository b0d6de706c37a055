"""Writes `report.html`, one self-contained page, from the files of a workdir alone."""

import base64
import collections
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from medjax import whole
from medjax.analysis import figures, style, tables, workdir

# Read with the code: days later, when a run is done, the file may be another version's.
TEMPLATE = (pathlib.Path(__file__).parent / 'report.html.jinja').read_text(encoding='utf-8')
NAMES = {'test': 'Test', 'val': 'Validation', 'train': 'Training'}
FEW = 10  # patients below which a bootstrap interval is known to be too narrow
LISTED = 300  # cases
WORDS = ('split', 'id', 'patient')  # columns of the table of cases
FACTS = ('seed', 'git_commit', 'data_hash', 'split_hash', 'devices', 'cores', 'hosts', 'platform',
         'train_time_s', 'wall_time_s', 'peak_memory_mb')


def write(folder: pathlib.Path) -> pathlib.Path:
    """Draws the report of a run; what the folder has no file for is left out.

    Args:
      folder: the workdir; needs `config.json` at least.

    Returns:
      The path of `report.html`, which appears whole or not at all.

    Raises:
      InputError: the folder holds no run, one of its files is damaged, or the report cannot be written.
    """
    page = render(workdir.read(folder))
    path = folder / 'report.html'
    whole.write_text(path, page)
    return path


def render(run: workdir.Run) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters['embed'] = lambda png: 'data:image/png;base64,' + base64.b64encode(png).decode()
    shown = next(iter(run.splits), '')
    chosen, results = figures.choose(run, shown), run.results
    entries = [entry for split in run.splits for entry in results[split].values() if entry.get('ci95')]
    rows = [row for split in run.splits for row in run.rows(split)]
    return environment.from_string(TEMPLATE).render(
        title=run.name, subtitle=_subtitle(run), notice=results.get('notice', ''),
        conventions=results.get('conventions', ''), step=results.get('step'),
        counts={_name(split): count for split, count in results.get('counts', {}).items()},
        headlines=[tables.headline(_name(split).lower(), results[split], run.classes[1:])
                   for split in run.splits if split != 'val' or run.splits == ['val']],
        chosen_by=run.chosen_by, validated='val' in run.splits, untested=run.splits == ['val'],
        tables=_tables(run), few=FEW if any(entry['n'] < FEW for entry in entries) else 0,
        resamples=next((entry.get('resamples') for entry in entries), 0),
        flagged=any(key.startswith(tuple(tables.COUNTS)) for row in rows[:1] for key in row),
        volumes=any(case.kind == 'volume' for _, _, case in chosen.cases), several=len(chosen.ranking) > 1,
        legend=[(name, style.class_colour(i)) for i, name in enumerate(run.classes[1:], 1)],
        errors=[('missed (background predicted)', style.MISSED),
                ('spurious (background in the truth)', style.SPURIOUS),
                *([('wrong class', style.CONFUSED)] if len(run.classes) > 2 else [])],
        groups=figures.groups(run, chosen), charts=figures.case_charts(run, shown, chosen),
        curves=figures.curves(run), augmented=figures.samples(run, chosen), split=_name(shown).lower(), total=len(rows),
        cases=[_rounded(row, run.classes) for row in rows[:LISTED]], text_columns=WORDS,
        command=run.environment.get('command', ''), facts=_facts(run.environment),
        config=json.dumps(run.config, indent=2, ensure_ascii=False))


def _name(split: str) -> str:
    return NAMES.get(split, split.replace('_', ' ').capitalize())


def _subtitle(run: workdir.Run) -> str:
    model, data = run.section('model'), run.section('data')
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
    tolerance, made = run.section('evaluate').get('tolerance_mm'), []
    for split in run.splits:
        entries, classes = run.results[split], run.classes[1:]
        caption = _name(split) + ' – chose the weights, no test' * (split == 'val' and bool(run.chosen_by))
        made += [tables.overall(entries, classes, caption), tables.per_class(entries, classes, caption, tolerance)]
    return [table for table in made if table]


def _rounded(row: Mapping[str, str], classes: Sequence[str]) -> dict[str, str]:
    """A row of the table of cases, rounded as the results are; flags are whole, and words stay as they are."""
    out = dict(row)
    for key, text in row.items():
        if key not in WORDS and '.' in text:
            flag, metric = key.startswith(tuple(tables.COUNTS)), tables.metric_of(tables.split_key(key, classes)[0])
            try:
                out[key] = f'{float(text):g}' if flag else tables.figure(float(text), metric.unit)
            except ValueError:
                continue  # a column of words
    return out


def _facts(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a repetition needs, the most asked for first; versions and whatever else was kept, after it."""
    flat: dict[str, Any] = {}
    for key, value in environment.items():
        flat |= value if isinstance(value, Mapping) else {key: value}
    flat.pop('command', None)
    earlier = flat.pop('earlier_parts', [])
    if earlier:
        seconds = sum(part.get('wall_time_s') or 0 for part in earlier)
        flat['earlier_parts'] = f'{len(earlier)}, which took {seconds:.0f} s before the last one'
    if flat.pop('git_dirty', False):
        flat['git_commit'] = f'{flat.get("git_commit")}, with uncommitted changes: it alone does not give this run'
    facts = []
    for key in [*(key for key in FACTS if key in flat), *(key for key in flat if key not in FACTS)]:
        value, name = flat[key], key.removeprefix('git_')
        if key.endswith('_s') and isinstance(value, int | float):
            name, value = name.removesuffix('_s'), _duration(value)
        elif key.endswith('_mb') and isinstance(value, int | float):
            name, value = name.removesuffix('_mb'), f'{value:.0f} MiB'
        elif isinstance(value, list):
            times = collections.Counter(map(str, value))
            value = ', '.join(f'{count} × {text}' if count > 1 else text for text, count in times.items())
        facts.append((name.replace('_', ' '), str(value) or 'none'))
    return facts


def _duration(seconds: float) -> str:
    """Hours and minutes of what takes hours, minutes and seconds of what takes minutes."""
    if seconds < 100:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest} s' if minutes < 100 else f'{minutes // 60} h {minutes % 60} min'
