"""The pages of the documentation, their blocks of code, and the check of a config's keys."""

import re
import sys

from generator import keys

from medjax import build
from medjax.core import config as configs
from medjax.core import optim, sharding
from medjax.data.transforms import augment
from medjax.tasks import family
from tests.conftest import ROOT

DOCS = ROOT / 'docs'
PAGES = [ROOT / 'README.md', *sorted(path for path in DOCS.rglob('*.md') if path.parent.name != 'results')]
OWN = ('configs/mine.py',)  # files that a reader makes
FENCE = re.compile(r'(?ms)^```(\w*)\n(.*?)^```')


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def blocks(path, language):
    """The code blocks of a language, each with the text before it."""
    text = path.read_text(encoding='utf-8')
    return [(match[2], text[:match.start()]) for match in FENCE.finditer(text) if match[1] == language]


def check_keys(config, where='config'):
    """Checks that every key of a config is one of the function that its section is bound to."""
    top = configs.keys(keys.assemble._experiment)
    assert set(config) <= set(top), f'{where}: {set(config) - set(top)}'
    build.network(config['model'], config.get('precision', 'float32'))
    data = dict(config['data'])
    source = dict(data.pop('source'))
    sourced = {key: data.pop(key) for key in build.SPLIT_KEYS if key in data}
    of_source, source = build.attribute('source', source, 'config.data.source')
    check_section(of_source, {**source, **sourced}, 'config.data.source')
    of_data, data = build.attribute('data', data, 'config.data')
    check_section(of_data, data, 'config.data', given=('source',))
    task = dict(config['task'])
    of_family, of_task = family.of_task(task.pop('name'))
    kinds = [key.name for key in keys.kind_keys(sys.modules[of_task.__module__])]
    check_section(of_task, task, 'config.task', given=('module', 'statistics'), more=kinds)
    evaluate = dict(config['evaluate'])
    evaluated = family.find(evaluate.pop('name', of_family.name))
    evaluate.pop('every', None)
    check_section(evaluated.function('evaluator', 'evaluator'), evaluate, 'config.evaluate', given=('data', 'task'))
    optimiser = {key: value for key, value in config['optim'].items() if key not in ('accumulate', 'groups')}
    configs.bind(optim.make_optimiser, optimiser, 'config.optim', steps=10**6, frozen=())
    if config.get('augment'):
        section = dict(config['augment'])
        configs.bind(augment.Recipe, {**augment.RECIPES[section.pop('name')], **section}, 'config.augment')
    for name, function, given in (('checkpoint', keys.assemble.checkpointing, ('metrics', 'name')),
                                  ('log', keys.assemble.logging, ()), ('debug', keys.assemble.debugging, ()),
                                  ('init', keys.assemble.initial, ()), ('mesh', sharding.Jit, ('devices',)),
                                  ('study', keys.Study, ()), ('report', keys.assemble.reporting, ()),
                                  ('dicom', keys.DicomOptions, ())):
        check_section(function, config.get(name) or {}, f'config.{name}', given)
    best = (config.get('checkpoint') or {}).get('best')
    assert not best or evaluated.metrics.find(best), f'config.checkpoint.best: {best}'


def check_section(function, section, where, given=(), more=()):
    """Checks the keys of a section, and that all required ones are there; `more` are known as well."""
    known = configs.keys(function, given)
    unknown = set(section) - {*known, *more}
    assert not unknown, f'{where}: {unknown}; expected some of {set(known)}'
    if section:
        missing = [key for key, value in known.items() if value.default is configs.REQUIRED and key not in section]
        assert not missing, f'{where}: {missing} missing'
