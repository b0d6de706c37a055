"""The reference pages as Markdown."""

import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from results import render

from generator import commands, docstrings, keys
from generator.keys import KeyDoc, Section
from medjax import build
from medjax.metrics.names import Metric
from medjax.tasks import family

BETTER = {'higher': 'higher', 'lower': 'lower', 'zero': 'near 0'}
NOTE = '<!-- Written by docs/generate.py from the code; do not edit. -->\n'


def pages() -> dict[str, str]:
    """All generated pages, by their path in the site's sources."""
    return {
        'reference/commands.md': commands_page(),
        'reference/config/index.md': top_page(),
        'reference/config/models.md': models_page(),
        'reference/config/datasets.md': datasets_page(),
        'reference/config/sources.md': sources_page(simulated=False),
        'reference/config/simulated.md': sources_page(simulated=True),
        'reference/config/tasks.md': tasks_page(),
        'reference/config/optim.md': optim_page(),
        'reference/config/augment.md': augment_page(),
        'reference/config/losses.md': losses_page(),
        'reference/config/weights.md': weights_page(),
        'reference/metrics.md': metrics_page(),
    }


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ['---'] * len(headings), *rows]
    return '\n'.join('| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |' for line in lines)


def cell(text: str) -> str:
    """A text in a cell: lines stay lines, and values in quotation marks become code."""
    parts = text.split('`')
    parts[::2] = [re.sub(r"(?<![\w'])(r?'[^'\s]*')(?![\w'])", r'`\1`', part) for part in parts[::2]]
    return '`'.join(parts).replace('\n', '<br>')


def prose(text: str) -> str:
    """A docstring as Markdown: indented code stays code, lines that a shell runs are blocks."""
    return re.sub(r'(?m)^( {4}.+(?:\n {4}.+)*)', lambda found: '```\n' + inspect.cleandoc(found[1]) + '\n```', text)


def table(given: Iterable[KeyDoc]) -> str:
    """The keys of a section."""
    return grid(['Key', 'Type', 'Default', 'Meaning'],
                [[f'`{key.name}`', key.type, f'`{key.default}`' if key.default else '**required**', cell(key.meaning)]
                 for key in given])


def optional(given: Iterable[KeyDoc]) -> str:
    """The keys of a section whose defaults are said in their meaning."""
    return grid(['Key', 'Type', 'Meaning'], [[f'`{key.name}`', key.type, cell(key.meaning)] for key in given])


def section(of: Section, level: int = 2, given: Iterable[KeyDoc] | None = None, more: str = '') -> str:
    """A section with its heading, introduction, keys and variants."""
    rows = list(of.keys if given is None else given)
    parts = [f'{"#" * level} `{of.name}`', prose(of.introduction), f'Module: `{of.path}`.',
             table(rows) if rows else 'No keys.', more]
    if of.variants:
        parts.append(grid(['Variant', 'Options'], [[f'`{name}`', options_text(options)]
                                                   for name, options in of.variants.items()]))
    return '\n\n'.join(filter(None, parts))


def options_text(options: Mapping[str, Any]) -> str:
    """Options as written in a config."""
    return ', '.join(f'`{key}={keys.plain_default(value)}`' for key, value in options.items()) or '–'


def page(title: str, introduction: str, *parts: str) -> str:
    """A page."""
    return '\n\n'.join([f'# {title}', NOTE.strip(), introduction, *parts]) + '\n'


def top_page() -> str:
    """The top level of a config and its small sections."""
    top, *others = keys.top_sections()
    links = {'model': 'models', 'task': 'tasks', 'data': 'datasets', 'optim': 'optim', 'evaluate': 'tasks',
             'augment': 'augment', 'init': 'weights'}
    rows = [KeyDoc(key.name, key.type, key.default, f'{key.meaning.rstrip(".")}. [Keys]({links[key.name]}.md)'
                   if key.name in links else key.meaning) for key in top.keys]
    return page('Config keys', (
        'A config is a file with a function `get_config(variant)` that returns a `ConfigDict` of numbers, strings, '
        'tuples and sections. Any key can be given on the command line, whether the file has it or not: '
        '`--config.optim.lr=1e-3`. An unknown key is refused, with the nearest known one. Each section is bound to one '
        'function, and these pages are written from its signature and docstring.'),
        '## Top level', table(rows), *[section(of) for of in others])


def models_page() -> str:
    """The models."""
    return page('Models', ('`model` names a network. Its other keys override the options of the variant. '
                           'One definition serves 2D and 3D where a model has `dims`.'),
                optional(keys.common('model')), *[section(of) for of in keys.model_sections()])


def datasets_page() -> str:
    """The data sets."""
    return page('Data sets', '`data` names a data set, which turns the cases of a source into training examples.',
                optional(keys.common('data')), *[section(of) for of in keys.module_sections('data', ('source',))])


def sources_page(simulated: bool) -> str:
    """The sources, or the simulated ones."""
    parts, groups = [], {}
    for of in keys.module_sections('source'):
        function, _ = build.attribute('source', {'name': of.name}, 'config.data.source')
        own, lines = list(of.keys), []
        for group in keys.groups_of(function):
            groups[type(group).__name__] = type(group)
            names = [field.name for field in dataclasses.fields(group)]
            own = [key for key in own if key.name not in names]
            lines.append(group_line(group))
        if of.name.startswith('simulated_') == simulated:
            parts.append(section(of, given=own, more=' '.join(lines)))
    if simulated:
        return page('Simulated data', ('Sources whose cases are computed. They show that a recipe works, test it, and '
                                       'say nothing about patients. Each is named `simulated_NAME`.'), *parts)
    shared = [f'## {title(name)}\n\n{docstrings.introduction(group)}\n\n{table(keys.documented(group))}'
              for name, group in sorted(groups.items(), reverse=True)]
    return page('Sources', ('`data.source` names where the cases come from: a folder, a table, or a public data set. '
                            'Paths are relative to the folder that the environment variable `MEDJAX_DATA_DIR` names.'),
                optional(keys.common('source')), *shared, *parts)


def title(group: str) -> str:
    """The heading of a group of options, by the name of its class."""
    return f'{re.sub(r"(?<=[a-z])(?=[A-Z])", "-", group).capitalize()} options'


def group_line(group: Any) -> str:
    """A line about the options of a group that a source takes too, and the defaults that differ there."""
    name = title(type(group).__name__)
    fields = {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}
    changed = [f'`{key}={value!r}`' for key, value in fields.items() if value != getattr(type(group)(), key)]
    default = f' Defaults that differ: {", ".join(changed)}.' if changed else ''
    return (f'It also takes the [{name.lower()}](sources.md#{name.lower().replace(" ", "-")}): '
            + ', '.join(f'`{key}`' for key in fields) + f'.{default}')


def tasks_page() -> str:
    """Tasks and evaluators, family by family."""
    parts = []
    for name, text, tasks, evaluator in keys.task_sections():
        parts.append(f'## {family_title(name)}\n\n{text}')
        for task in tasks:
            parts.append(section(task, 3).replace(f'### `{task.name}`', f'### `task.name = \'{task.name}\'`', 1))
            parts += [section(of, 4).replace(f'#### `{of.name}`', f'#### `task.{of.name}`', 1)
                      for of in keys.nested_sections(task.name)]
        parts.append(section(evaluator, 3).replace(f'### `{evaluator.name}`',
                                                   f'### `evaluate.name = \'{evaluator.name}\'`', 1))
    return page('Tasks and evaluators', ('A family has one or more tasks, which define the loss and the outputs, and '
                                         'an evaluator. `task` and `evaluate` name them.'),
                '## Common keys', '`task`:', optional(keys.common('task')), '`evaluate`:',
                optional(keys.common('evaluate')), *parts)


def optim_page() -> str:
    """Optimisers and schedules."""
    parts = []
    for title, sections in keys.optim_sections().items():
        parts += [f'## {title}', *[section(of, 3) for of in sections]]
    return page('Optimisers', '`optim` names an optimiser of optax and its schedule.', table(keys.optim_keys()), *parts)


def augment_page() -> str:
    """Augmentation."""
    of = keys.augment_section()
    rows = [[f'`{name}`', options_text(options)] for name, options in of.variants.items()]
    return page('Augmentation', prose(of.introduction), optional(keys.common('augment')), '## Recipes',
                grid(['Recipe', 'Options'], rows), '## Keys', table(of.keys))


def losses_page() -> str:
    """Losses that a config names."""
    parts = []
    for title, sections in keys.loss_sections().items():
        parts += [f'## {title}', *[section(of, 3) for of in sections]]
    return page('Losses', (
        'A loss of several terms is a section with the weight of each term, or its options and `weight`: '
        '`dict(cross_entropy=1.0, focal=dict(weight=0.5, gamma=3.0))`. Losses that are chosen by a single name, such '
        'as `task.loss` of survival, are described with their [tasks](tasks.md).'), *parts)


def weights_page() -> str:
    """Where initial weights come from."""
    init = next(of for of in keys.top_sections() if of.name == 'init')
    readers = [f'## `{of.name}`\n\n{prose(of.introduction)}\n\nModule: `{of.path}`.'
               for of in keys.module_sections('weights')]
    return page('Initial weights', '`init` starts a network from weights of elsewhere.', table(init.keys), *readers)


def metrics_page() -> str:
    """The metrics of each family."""
    parts = []
    for name in family.names():
        declared = family.find(name)
        rows = [[f'`{metric.name}`', metric.label, metric.unit, direction(metric), 'yes' if metric.headline else '']
                for metric in declared.metrics]
        parts.append(f'## {family_title(name)}\n\n' + grid(['Key', 'Label', 'Unit', 'Better', 'Printed'], rows))
    return page('Metrics', (
        'The keys of `results.json` and of validation. A key may go on with `_` and what it is of: a class, an event, '
        'another method or a time, as in `dice_liver`, `r2_trees` and `auc_12`. `config.checkpoint.best` takes the key '
        'of a validation metric and keeps the weights with its best value, by the column *Better*. The last column '
        'marks the metrics that are printed after an evaluation.'), *parts)


def family_title(name: str) -> str:
    """The heading of a family."""
    return render.FAMILIES.get(name, name.replace('_', ' ').capitalize())


def direction(metric: Metric) -> str:
    """Which values of a metric are better, in words."""
    return BETTER.get(metric.better, f'near {metric.target:g}')


def commands_page() -> str:
    """The commands with their flags, and the launchers."""
    parts = []
    for path in commands.command_modules():
        found = commands.command(path)
        rows = [[f'`--{flag.name}`', flag.type, f'`{flag.default}`' if flag.default not in ('', 'required') else
                 '**required**' if flag.default else '', flag.meaning] for flag in found.flags]
        parts.append(f'## `{found.name}`\n\n{prose(found.introduction)}\n\n'
                     + grid(['Flag', 'Type', 'Default', 'Meaning'], rows))
    parts.append('## Launchers\n\nScripts that install what they need into `.venv` and then run the commands.')
    parts += [f'### `{found.name}`\n\n{launcher_text(found.introduction)}' for found in commands.launchers()]
    return page('Commands', ('`medjax COMMAND` and `python -m medjax COMMAND` are the same as `python -m '
                             'medjax.COMMAND`. Flags are written `--name=value`; a yes-or-no flag is `--name` or '
                             '`--noname`. `--help` lists the flags of a command.'), *parts)


def launcher_text(comment: str) -> str:
    """The comment of a script: usage lines, which are indented, become a block of code."""
    return re.sub(r'(?m)^( {2,}.+(?:\n {2,}.+)*)\n?',
                  lambda found: f'\n```bash\n{inspect.cleandoc(found[1])}\n```\n\n', comment).strip()
