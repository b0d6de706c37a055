"""Writes `report.html`, one self-contained page, from the files of a workdir alone."""

import base64
import collections
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jinja2

from medjax.report import run_files
from medjax.report.chapter import Chapter, curves, split_name

# Read with the code: days later, when a run is done, the file may be another version's.
TEMPLATE = (pathlib.Path(__file__).parent / 'report.html.jinja').read_text(encoding='utf-8')
LISTED = 300  # cases
WARNED = 8  # warnings that are seen at once
FACTS = ('seed', 'git_commit', 'data_hash', 'split_hash', 'devices', 'cores', 'hosts', 'platform',
         'train_time_s', 'wall_time_s', 'peak_memory_mb')


def page(**values: Any) -> str:
    """The page as text, of what its template names."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters['embed'] = lambda png: 'data:image/png;base64,' + base64.b64encode(png).decode()
    return environment.from_string(TEMPLATE).render(**values)


def render(run: run_files.Run, make_chapter: Callable[[run_files.Run], Chapter]) -> str:
    """The page of a run as text.

    Args:
      run: the run's files.
      make_chapter: gives the part of the report that depends on the family; `tasks/FAMILY/chapter.py: chapter`.
    """
    results, chapter = run.results, make_chapter(run)
    return page(
        title=run.name, subtitle=_subtitle(run), notice=results.get('notice', ''), chapter=chapter,
        conventions=results.get('conventions', ''), step=results.get('step'),
        counts={split_name(split): count for split, count in results.get('counts', {}).items()},
        most_warnings=WARNED, chosen_by=run.chosen_by, validated='val' in run.splits, untested=run.splits == ['val'],
        sections=[part for part in chapter.sections if part.tables or part.groups or part.charts],
        curves=curves(run, chapter.curves), cases=chapter.cases[:LISTED],
        command=run.environment.get('command', ''), facts=_facts(run.environment),
        config=json.dumps(run.config, indent=2, ensure_ascii=False))


def _subtitle(run: run_files.Run) -> str:
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
