"""The report of a run as one self-contained HTML page, rendered from the files of its folder alone."""

import base64
import collections
import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2

from medjax.metrics.names import MetricList
from medjax.report import run_files, search, study
from medjax.report.chapter import Chapter, Chart, small_samples, split_name, training_charts
from medjax.report.checklist import Checklist, checklists
from medjax.report.participants import Participants, participants, simulated
from medjax.report.reporting import Reporting
from medjax.report.style import CHART_DPI

# Read at import: when a long run ends, the file may be that of another version.
TEMPLATE = (pathlib.Path(__file__).parent / 'report.html.jinja').read_text(encoding='utf-8')
PIXELS_PER_INCH = 108  # of a chart on the page
NO_GUIDELINE, NO_METRICS = Reporting(), MetricList()
MAX_CASES = 300  # rows of the table of cases
MAX_WARNINGS = 8  # warnings shown without unfolding
FACTS = ('seed', 'git_commit', 'data_hash', 'split_hash', 'devices', 'processor', 'cores', 'hosts', 'platform',
         'train_time_s', 'wall_time_s', 'peak_memory_mb')


def page(chapter: Chapter, *, title: str, subtitle: str, notice: str = '', conventions: str = '',
         step: int | None = None, counts: Mapping[str, int] | None = None, selection_metric: str = '',
         has_validation: bool = False, validation_only: bool = False, curves: Sequence[Chart] = (),
         max_cases: int | None = MAX_CASES, command: str = '', facts: Sequence[tuple[str, str]] = (),
         config: str = '', simulated: str = '', participants: Participants | None = None,
         statements: Sequence[tuple[str, str]] = (), checklists: Sequence[Checklist] = ()) -> str:
    """The page as HTML.

    Args:
      chapter: the part that depends on the family of problems.
      title: the heading of the page.
      subtitle: a line below it.
      notice: what a reader must know of the data.
      conventions: the text under the chapter's `conventions_heading`.
      step: the step whose weights were evaluated.
      counts: cases of each split, by the split's name in headings.
      selection_metric: the validation metric that selected the weights; '' where none did.
      has_validation: whether results of validation cases are shown.
      validation_only: whether only validation cases were evaluated.
      curves: training curves.
      max_cases: rows of the table of cases; None for all.
      command: the command that made the run.
      facts: names and values, shown with the command.
      config: the configuration as text.
      simulated: the name of the simulated source; '' for other data.
      participants: the section on participants; None for none.
      statements: names and texts of the author's statements on the study.
      checklists: the reporting checklist.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters['css_width'] = _css_width
    environment.filters['embed'] = lambda png: 'data:image/png;base64,' + base64.b64encode(png).decode()
    return environment.from_string(TEMPLATE).render(
        chapter=chapter, title=title, subtitle=subtitle, notice=notice, conventions=conventions, step=step,
        counts=counts or {}, selection_metric=selection_metric, has_validation=has_validation,
        validation_only=validation_only, curves=curves, max_warnings=MAX_WARNINGS, cases=chapter.cases[:max_cases],
        sections=[section for section in chapter.sections if section.tables or section.groups or section.charts],
        command=command, facts=facts, config=config, simulated=simulated, participants=participants,
        statements=statements, checklists=checklists)


def _css_width(png: bytes) -> int:
    """The width in CSS pixels at which the text of a chart has the size of the page's; from the header of the PNG."""
    return round(int.from_bytes(png[16:20], 'big') / CHART_DPI * PIXELS_PER_INCH)


def draw(run: run_files.Run, make_chapter: Callable[[run_files.Run], Chapter], reporting: Reporting = NO_GUIDELINE,
         metrics: MetricList = NO_METRICS) -> tuple[str, list[Checklist]]:
    """The report of a run as HTML, and the checklists in it.

    Args:
      run: the run's files.
      make_chapter: gives the part of the report that depends on the family; `tasks/FAMILY/chapter.py: chapter`.
      reporting: declared by the family.
      metrics: of the family.
    """
    results, who = run.results, participants(run)
    chapter = make_chapter(run)
    named = [_with_split_name(line, run.splits) for line in chapter.warnings]
    chapter = dataclasses.replace(chapter, warnings=[*small_samples(run), *named],
                                  sections=[*chapter.sections, *search.sections(run)])
    found = checklists(run, chapter, reporting, metrics)
    said = [(study.label(key), text) for key, text in study.statements(run.config).items()]
    html = page(
        chapter, title=run.name, subtitle=_subtitle(run), notice=results.get('notice', ''),
        conventions=results.get('conventions', ''), step=results.get('step'),
        counts={split_name(split): count for split, count in results.get('counts', {}).items()},
        selection_metric=run.selection_metric, has_validation='val' in run.splits,
        validation_only=run.splits == ['val'], curves=training_charts(run, chapter.curves),
        command=run.environment.get('command', ''), facts=_facts(run.environment),
        config=json.dumps(run.config, indent=2, ensure_ascii=False), simulated=simulated(run),
        participants=who, statements=said, checklists=found)
    return html, found


def render(run: run_files.Run, make_chapter: Callable[[run_files.Run], Chapter], **family: Any) -> str:
    """The report of a run as HTML; see `draw`."""
    return draw(run, make_chapter, **family)[0]


def _with_split_name(line: str, splits: Sequence[str]) -> str:
    """A warning that starts with the key of a split, with the split's name in its place."""
    split, colon, text = line.partition(': ')
    return f'{split_name(split)}{colon}{text}' if split in splits else line


def _subtitle(run: run_files.Run) -> str:
    """The model, its number of parameters, the data and the number of steps, as one line."""
    model, data = run.section('model'), run.section('data')
    source = data.get('source') if isinstance(data.get('source'), Mapping) else {}
    name = ' '.join(str(model[key]) for key in ('name', 'variant') if model.get(key))
    parts = [f'{name} {model["dims"]}D' if 'dims' in model else name]
    if run.environment.get('parameters'):
        parts.append(f'{run.environment["parameters"]:,} parameters'.replace(',', '\N{NARROW NO-BREAK SPACE}'))
    data_name = source.get('name') or data.get('name')
    if data_name:
        parts.append(f'data: {data_name}')
    if {'steps', 'batch'} <= set(run.config):
        parts.append(f"{run.config['steps']} steps of {run.config['batch']}")
    return ' · '.join(filter(None, parts))


def _facts(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is needed to repeat the run as names and values: those of FACTS first, then versions and all others."""
    flat: dict[str, Any] = {}
    for key, value in environment.items():
        flat.update(value if isinstance(value, Mapping) else {key: value})
    flat.pop('command', None)
    earlier = flat.pop('earlier_parts', [])
    if earlier:
        seconds = sum(part.get('wall_time_s') or 0 for part in earlier)
        flat['earlier_parts'] = f'{len(earlier)}, which took {seconds:.0f} s before the last one'
    if flat.pop('git_dirty', False):
        flat['git_commit'] = (f'{flat.get("git_commit")}, with uncommitted changes: the commit alone does not '
                              'reproduce this run')
    order = [key for key in FACTS if key in flat] + [key for key in flat if key not in FACTS]
    return [_fact(key, flat[key]) for key in order]


def _fact(key: str, value: Any) -> tuple[str, str]:
    """A key of `environment.json` and its value as text, with units."""
    name = key.removeprefix('git_')
    if key.endswith('_s') and isinstance(value, int | float):
        name, value = name.removesuffix('_s'), _duration(value)
    elif key.endswith('_mb') and isinstance(value, int | float):
        name, value = name.removesuffix('_mb'), f'{value:.0f} MiB'
    elif isinstance(value, list):
        times = collections.Counter(map(str, value))
        value = ', '.join(f'{count} × {text}' if count > 1 else text for text, count in times.items())
    return name.replace('_', ' '), 'none' if value in (None, '') else str(value)


def _duration(seconds: float) -> str:
    """A duration in seconds, in minutes and seconds, or in hours and minutes."""
    if seconds < 100:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest} s' if minutes < 100 else f'{minutes // 60} h {minutes % 60} min'
