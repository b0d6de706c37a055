"""The pages agree with the code: snippets, commands, files, config keys and messages that they name exist."""

import ast
import contextlib
import re
import shlex
import shutil
import sys
from unittest import mock

import jax
import ml_collections
import nibabel
import numpy as np
import pandas as pd
import pytest
from generator import commands, conventions, keys, notebooks
from PIL import Image
from results import render

from medjax import build
from medjax.core import config as configs
from medjax.core import optim, sharding
from medjax.data.transforms import augment
from medjax.run import Prediction, Run, load_config
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


def snippets():
    """All snippets that change a config, each with the config that it changes.

    That is the last one that the page names before the first snippet after it; further snippets change it further.
    """
    found = []
    for path in PAGES:
        base, earlier, start = 'configs/segment_brain_unet2d.py', '', 0
        for code, before in blocks(path, 'python'):
            if code.startswith('c.'):
                named = [name for name in re.findall(r'configs/\w+\.py', before[start:]) if name not in OWN]
                base, earlier, start = named[-1] if named else base, '' if named else earlier, len(before)
                earlier += code
                found.append(pytest.param(earlier, base, id=f'{path.stem}-{len(found)}'))
    return found


def check_keys(config, where='config'):
    """Checks that every key of a config is one of the function that its section is bound to."""
    top = configs.keys(keys.assemble._experiment)
    assert set(config) <= set(top), f'{where}: {set(config) - set(top)}'
    build.network(config['model'], config.get('precision', 'float32'))
    data = dict(config['data'])
    source = dict(data.pop('source'))
    sourced = {key: data.pop(key) for key in build.FOLDS if key in data}
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
                                  ('init', keys.assemble.initial, ()), ('mesh', sharding.Jit, ('devices',))):
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


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('*.py')), ids=lambda path: path.stem)
def test_the_keys_of_every_config_are_known(path):
    check_keys(load_config(path).to_dict())


@pytest.mark.parametrize('change, error', [
    (lambda c: c.data.update(sizes=3), 'sizes'), (lambda c: c.data.source.update(folder=''), 'folder'),
    (lambda c: c.evaluate.update(samplings=2), 'samplings'), (lambda c: c.checkpoint.update(best='dice'), 'dice'),
    (lambda c: c.task.update(weight=2), 'weight'), (lambda c: c.update(step=2), 'step')])
def test_an_unknown_key_is_found(change, error):
    config = ml_collections.ConfigDict(load_config(ROOT / 'configs' / 'classify_pneumonia_best.py').to_dict())
    change(config)
    with pytest.raises(AssertionError, match=error):
        check_keys(config.to_dict())


@pytest.mark.parametrize('code, base', snippets())
def test_a_snippet_changes_the_config_before_it_with_known_keys(code, base, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / 'examples'))
    config = load_config(ROOT / base)
    exec(compile(code, base, 'exec'), {'c': config})
    check_keys(config.to_dict())


@pytest.mark.parametrize('path', [path for path in PAGES if any(
    code.startswith('import medjax') for code, _ in blocks(path, 'python'))], ids=lambda path: path.stem)
def test_python_snippets_use_the_interface_as_it_is(path, monkeypatch):
    """Snippets are executed; `train` checks its config, and runs answer as runs do."""
    import medjax

    def train(config, workdir):
        check_keys((load_config(ROOT / config) if isinstance(config, str) else config).to_dict())
        return finished

    finished = mock.create_autospec(Run, instance=True)
    finished.results = {'test': mock.MagicMock()}
    finished.predict.return_value = mock.create_autospec(Prediction, instance=True, arrays=mock.MagicMock(), table=None)
    monkeypatch.setattr(medjax, 'train', train, raising=False)
    monkeypatch.setattr(medjax, 'load', lambda workdir: finished, raising=False)
    monkeypatch.setattr(medjax, 'load_config', lambda name: load_config(ROOT / name), raising=False)
    for code, _ in blocks(path, 'python'):
        if code.startswith('import medjax'):
            exec(compile(code, str(path), 'exec'), {'volume': None})


def command_lines(path):
    """The commands in the shell blocks of a page, as words, without environment variables and comments."""
    for code, _ in blocks(path, 'bash'):
        for line in code.replace('\\\n', ' ').splitlines():
            for part in line.split(' && '):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r'\w+=\S*', words[0]):
                    words.pop(0)
                if words:
                    yield words


def test_pages_have_commands():
    assert len([words for path in PAGES for words in command_lines(path)]) > 50


@pytest.mark.parametrize('path', PAGES, ids=names(PAGES))
def test_every_command_exists_with_its_flags(path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / 'examples'))
    for words in command_lines(path):
        if words[:2] == ['python', '-m'] and words[2].startswith('medjax'):
            check_command(words[2].removeprefix('medjax').lstrip('.') or words[3], words[3:])
        elif words[0] == 'medjax':
            check_command(words[1], words[2:])
        elif words[0] == 'bash':
            assert (ROOT / words[1]).is_file(), words
            check_config([word for word in words[2:] if word.startswith('--config')])
        elif words[0] == 'python' and words[1].endswith('.py'):
            assert (ROOT / words[1]).is_file(), words
        else:
            assert words[0] in ('.', '.venv/bin/python', 'export', 'pip', 'python', 'jupytext', 'ruff'), words


def check_command(name, words):
    """Checks the flags of a command, and its config."""
    module = name.replace('.', '/')
    found = [path for path in (ROOT / 'medjax' / f'{module}.py', ROOT / 'medjax' / module / '__main__.py')
             if path.is_file()]
    assert found, f'medjax.{name}'
    known = [flag.name for flag in commands.command(found[0]).flags]
    for word in words:
        match = re.match(r'--(?:no)?(\w+)', word)
        assert not match or match[1] in known, f'medjax.{name}: {word}'
    check_config([word for word in words if word.startswith('--config')])


def check_config(words):
    """Checks the config that a command names, with its variant and the changed keys."""
    changes = [word.removeprefix('--config.').split('=', 1) for word in words if word.startswith('--config.')]
    named = [word.removeprefix('--config=') for word in words if word.startswith('--config=')]
    if not named or named[0] in OWN or 'NAME' in named[0]:
        return
    config = ml_collections.ConfigDict(load_config(ROOT / named[0].partition(':')[0]).to_dict())
    variant = named[0].partition(':')[2]
    if variant:
        assert variant in (ROOT / named[0].partition(':')[0]).read_text().split('def get_config')[1], named
        config = ml_collections.ConfigDict(load_config(ROOT / named[0]).to_dict())
    for key, text in changes:
        section, value = config, text
        *sections, last = key.split('.')
        for name in sections:
            section = section[name]
        with contextlib.suppress(ValueError, SyntaxError):  # else it is text
            value = ast.literal_eval(text)
        section[last] = value
    check_keys(config.to_dict())


@pytest.mark.parametrize('path', PAGES, ids=names(PAGES))
def test_every_file_that_a_page_names_exists(path):
    text = path.read_text(encoding='utf-8')
    folders, endings = 'configs|docs|launch|medjax|tests', 'py|sh|md|json|jinja'
    found = set(re.findall(rf'(?<![\w/.])((?:{folders})/[\w./]*\w\.(?:{endings}))', text))
    missing = [name for name in found - set(OWN) if 'NAME' not in name and 'RECIPE' not in name
               and 'FAMILY' not in name and not (ROOT / name).exists()]
    assert not missing
    variants = re.findall(r'`(configs/\w+\.py):(\w+)', text)
    assert not [name for name, variant in variants if variant not in (ROOT / name).read_text()]


@pytest.mark.parametrize('path', [path for path in PAGES if path.parent.name == 'howto'], ids=lambda path: path.stem)
def test_variants_in_the_text_are_those_of_the_config(path):
    """`:name` in a page is a variant of a config that the page names."""
    text = FENCE.sub('', path.read_text(encoding='utf-8'))
    code = ''.join((ROOT / name).read_text() for name in set(re.findall(r'configs/\w+\.py', text)) - set(OWN))
    assert not [variant for variant in re.findall(r'`:(\w+)`', text) if f"'{variant}'" not in code
                and f'`:{variant}`' not in code]


def messages():
    """The constant parts of all texts of the package, those of one expression joined by '…'."""
    def text(node):
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else '…'
        if isinstance(node, ast.JoinedStr):
            return ''.join(text(part) for part in node.values)
        if isinstance(node, ast.BinOp):
            return text(node.left) + text(node.right)
        return '…'

    folded = []
    for path in (ROOT / 'medjax').rglob('*.py'):
        source = path.read_text(encoding='utf-8').replace('{KEYS}', 'config.data.source')
        folded += [text(node) for node in ast.walk(ast.parse(source))
                   if isinstance(node, ast.JoinedStr | ast.BinOp | ast.Constant)]
    return '\n'.join(folded)


TEXTS = messages()


@pytest.mark.parametrize('path', [path for path in PAGES if path.parent.name == 'howto'], ids=lambda path: path.stem)
def test_common_refusals_are_messages_of_the_package(path):
    section = path.read_text(encoding='utf-8').split('## Common refusals')[1]
    quoted = re.findall(r'(?m)^- `(.+?)`: ', section)
    assert len(quoted) >= 3
    for message in quoted:
        for part in re.split('…|--merge', message):
            assert len(part.strip(' :;,')) < 6 or part in TEXTS, f'{message}: {part!r}'


def test_howto_pages_have_the_same_parts():
    for path in sorted((DOCS / 'howto').glob('*.md')):
        text = path.read_text(encoding='utf-8')
        assert re.search(r'(?m)^# ', text) and '## Common refusals' in text, path.name
        assert blocks(path, 'bash') and [code for code, _ in blocks(path, 'python') if code.startswith('c.')], path.name


def known_options():
    """The keys of all modules, by the section of a config that they are for."""
    found = {'model': keys.model_sections(), 'data': keys.module_sections('data', ('source',)),
             'source': keys.module_sections('source'), 'task': [], 'evaluate': []}
    for _, _, tasks, evaluator in keys.task_sections():
        found['task'] += tasks
        found['evaluate'].append(evaluator)
    options = {name: {key.name for of in sections for key in of.keys} for name, sections in found.items()}
    options['optim'] = {key.name for sections in keys.optim_sections().values() for of in sections for key in of.keys}
    options['optim'] |= {key.name for key in keys.optim_keys()}
    options |= {of.name: {key.name for key in of.keys} for of in keys.top_sections()}
    return {name: found | set(keys.COMMON.get(name, ())) for name, found in options.items()}


def test_options_in_tables_of_how_to_pages_exist():
    known = known_options()
    for path in (path for path in PAGES if path.parent.name == 'howto'):
        cells = re.findall(r'(?m)^\| (`[^|]*`) \|', path.read_text(encoding='utf-8').split('## Common refusals')[0])
        named = re.findall(r'`(\w+)\.(\w+)`', ' '.join(cells))
        assert not [pair for pair in named if pair[1] not in known[pair[0]]], path.name


def test_every_family_has_a_how_to_page_and_a_row_in_the_readme():
    table = (ROOT / 'README.md').read_text(encoding='utf-8').split('## What it can do')[1].split('\n## ')[0]
    rows = [line for line in table.splitlines() if line.startswith('| ')][1:]
    for row in rows:
        assert len(re.findall(r'\]\(docs/howto/\w+\.md[#\w-]*\)', row)) == 1, row
    used = {str(load_config(path).get('evaluate').get('name')) for path in (ROOT / 'configs').glob('*.py')}
    assert used <= set(family.names())
    assert len(rows) == len(family.names()) + 1  # and treatment response, which needs no network


def test_the_page_of_several_runs_lists_the_families_that_can_be_merged():
    text = (DOCS / 'howto' / 'several_runs.md').read_text(encoding='utf-8')
    for answer, refused in (('yes', False), ('no', True)):
        listed = re.search(rf'(?m)^\| {answer} \| (.*) \|$', text)[1].split(', ')
        expected = [render.FAMILIES[name] for name in family.names()
                    if ('merge' in family.find(name).refuses) == refused]
        assert sorted(name.lower() for name in listed) == sorted(name.lower() for name in expected)


def test_the_readme_is_short():
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').splitlines()) < 150


def test_linked_files_of_the_readme_exist():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    targets = re.findall(r'\]\(([^)#]+)[^)]*\)', text)
    assert not [name for name in targets if not name.startswith('http') and not (ROOT / name).exists()
                and not name.startswith('docs/notebooks/')]


def test_pictures_are_small():
    for path in (DOCS / 'images').iterdir():
        assert path.stat().st_size < 300_000, path.name


def test_every_family_has_conventions_on_the_page_of_statistics():
    text = (DOCS / 'explanation' / 'statistics.md').read_text(encoding='utf-8')
    marked = re.findall(r'<!-- conventions: (\w+) -->', text)
    assert set(marked) == {*family.names(), 'response'}
    for name in marked:
        assert '{' not in conventions.unfoldable(name)


def test_all_pages_are_in_the_navigation():
    nav = (ROOT / 'mkdocs.yml').read_text(encoding='utf-8').split('\nnav:')[1]
    pages = [str(path.relative_to(DOCS)) for path in DOCS.rglob('*.md')] + list(notebooks.pages())
    assert not [page for page in pages if page not in nav]


def test_the_notebook_becomes_a_page():
    page = notebooks.pages()['notebooks/nifti_folder.md']
    assert page.startswith('# Notebook') and page.count('```') % 2 == 0 and '# %%' not in page


def test_models_that_pages_name_exist():
    known = set(build.KINDS['model'].modules())
    text = (DOCS / 'howto' / 'images.md').read_text(encoding='utf-8')
    row = next(line for line in text.splitlines() if line.startswith('| `model.name`'))
    named = set(re.findall(r'`(\w+)`', row.split('|')[2]))
    assert named and named <= known


# Data of the kind that a how-to page describes, so that its first snippet makes a complete experiment.

def write_tables(folder):
    """Tables of patients, visits, a trial and molecules."""
    rng, cohort, visits, trial, molecules = np.random.default_rng(0), [], [], [], []
    for number in range(40):
        sex, age, event, arm = 'fm'[number % 2], rng.integers(40, 80), int(number % 3 > 0), number % 3
        cohort.append((f'p{number}', rng.integers(10, 60), event, age, 'I' * (1 + number % 3), sex, 'A'))
        trial.append((f'p{number}', arm, age, rng.integers(200, 500), rng.integers(200, 500), sex))
        visits += [(f'p{number}', year, rng.uniform(0.5, 3), rng.uniform(3, 4), sex, 6 + number, event)
                   for year in range(3 + number % 4)]
        molecules.append((f'm{number}', f'C1{"C" * (2 + number)}1O', rng.normal()))
    for name, columns, rows in (('cohort', 'id,time,event,age,stage,sex,site', cohort),
                                ('visits', 'id,year,bilirubin,albumin,sex,end,dead', visits),
                                ('trial', 'id,arm,age,cd4,cd4_20w,sex', trial),
                                ('molecules', 'id,smiles,logs', molecules)):
        pd.DataFrame(rows, columns=columns.split(',')).to_csv(folder / f'{name}.csv', index=False)


def write_images(folder):
    """Pictures in a folder for each class, volumes with masks, and pairs of contrasts."""
    rng = np.random.default_rng(0)
    for number in range(10):
        for kind in ('normal', 'pneumonia', 'ill'):
            path = folder / 'chest' / kind / f'p{number}_{kind}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(path)
        volume = rng.normal(100, 10, (12, 12, 6)).astype(np.float32)
        mask = np.zeros(volume.shape, np.uint8)
        mask[4:8, 4:8, 2:4] = 1
        for kind, array in (('images', volume), ('labels', mask), ('input', volume), ('target', volume * 2)):
            path = folder / kind / f'p{number}.nii.gz'
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


@pytest.mark.parametrize('page, number, base, splits', [
    ('survival', 0, 'survive_metabric_deepsurv', (24, 8, 8)), ('visits', 1, 'forecast_framingham_sequence', (24, 8, 8)),
    ('visits', 0, 'survive_pbc_sequence', None), ('treatment', 0, 'treat_actg_tlearner', (20, 8, 12)),
    ('molecules', 0, 'regress_solubility_mpnn', None), ('images', 0, 'classify_folder_cnn', (12, 4, 4)),
    ('unlabelled_images', 0, 'anomaly_pneumonia_unet', None), ('volumes', 0, 'segment_tumour_unet3d', (6, 2, 2)),
    ('translation', 0, 'translate_brain_pix2pix', (6, 2, 2))])
def test_a_snippet_makes_an_experiment_of_such_data(page, number, base, splits, tmp_path, monkeypatch):
    if page == 'molecules':
        pytest.importorskip('rdkit')
    (tmp_path / 'mydata').mkdir()
    write_tables(tmp_path / 'mydata')
    write_images(tmp_path / 'mydata')
    (tmp_path / 'chest').symlink_to(tmp_path / 'mydata' / 'chest')
    if page == 'images':
        shutil.rmtree(tmp_path / 'chest' / 'ill')
    if page == 'unlabelled_images':
        shutil.rmtree(tmp_path / 'chest' / 'pneumonia')
    monkeypatch.chdir(tmp_path)
    config = load_config(ROOT / 'configs' / f'{base}.py')
    code = [code for code, _ in blocks(DOCS / 'howto' / f'{page}.md', 'python') if code.startswith('c.')][number]
    exec(compile(code, page, 'exec'), {'c': config})
    config.data.cache = str(tmp_path / 'cache')
    if page in ('survival', 'visits', 'treatment', 'molecules'):
        del config.data.cache
    config.epochs, config.steps, config.batch = 0, 2, 8
    config.mesh, config.init, config.optim.schedule = None, None, None
    experiment = keys.assemble.experiment(config)
    counts = dict(experiment.data.counts)
    assert splits is None or tuple(counts[name] for name in ('train', 'val', 'test')) == splits
    assert counts['train'] and set(experiment.batches[0]) >= {'id', 'mask'}
    assert jax.tree.leaves(experiment.abstract_state().params)  # the network takes such a batch
