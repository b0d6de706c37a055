"""Figures in the README and on the results page come from docs/results/*.json."""

import dataclasses
import decimal
import json
import re

import pytest
from results import collect, recipes, render, tables
from results.coverage import kinds, simulate, table

from tests.conftest import ROOT

FOUND = recipes.read_all()
README = (ROOT / 'README.md').read_text(encoding='utf-8')
NUMBER = re.compile(r'[−-]?\d+(?:\.\d+)?')


def leaves(value):
    """All numbers of a result file, those in its texts included."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, decimal.Decimal):
        yield value
    elif isinstance(value, str):
        yield from (decimal.Decimal(text.replace('−', '-')) for text in NUMBER.findall(value))


def unknown_numbers(text, known):
    """Numbers of a text that no known number gives when it is rounded to as many decimals."""
    numbers = [decimal.Decimal(found.replace('−', '-')) for found in NUMBER.findall(text)]
    return [number for number in numbers
            if not any(value.quantize(number) == number for value in known if abs(value) < 10**9)]


def table_rows(markdown):
    """The cells of the rows of all tables of a text, without headings and links' targets."""
    for line in markdown.splitlines():
        if line.startswith('| ') and not line.startswith('| ---'):
            yield re.sub(r'\]\([^)]*\)', ']', line)


@pytest.mark.parametrize('name', FOUND)
def test_a_result_file_is_complete(name):
    assert not recipes.problems(name, FOUND[name])


@pytest.mark.parametrize('name', FOUND)
def test_a_result_file_names_a_config_and_a_family(name):
    recipe = FOUND[name]
    path, _, variant = recipe['config'].partition(':')
    assert variant in (ROOT / path).read_text(encoding='utf-8')
    assert (ROOT / 'medjax' / 'tasks' / recipe['family'] / 'family.py').is_file()
    assert recipe['config'].partition(':')[0] in recipe['command'] or recipe['command'].startswith('bash launch/')


@pytest.mark.parametrize('name', FOUND)
def test_a_result_file_is_written_as_the_script_writes_it(name):
    path = recipes.FOLDER / f'{name}.json'
    assert path.read_text(encoding='utf-8') == recipes.to_text(recipes.read(path)) + '\n'


def test_each_recipe_is_in_one_table():
    shown = [name for spec in tables.TABLES for name in spec.recipes]
    assert sorted(shown) == sorted(FOUND)


def test_each_config_has_a_result_or_a_reason_why_not():
    measured = {recipe['config'].partition(':')[0] for recipe in FOUND.values()}
    configs = {f'configs/{path.name}' for path in (ROOT / 'configs').glob('*.py')}
    assert configs == measured | set(tables.NOT_MEASURED)
    assert not measured & set(tables.NOT_MEASURED)


def test_the_readme_has_what_the_files_give():
    assert render.replace_block(README, render.readme(FOUND)) == README, 'run python docs/results/render.py'


def test_each_number_of_the_readme_is_in_its_file():
    block = README.split(render.START)[1].split(render.END)[0]
    rows = list(table_rows(block))[1:]
    assert len(rows) == len(tables.README)
    for row, spec in zip(rows, tables.README, strict=True):
        known = [*leaves(FOUND[spec.recipe]), *leaves([spec.metric[0], *(spec.baseline or ())[:1]])]
        assert not unknown_numbers(row, known), row


@pytest.mark.parametrize('spec', tables.TABLES, ids=lambda spec: spec.recipes[0])
def test_each_number_of_a_table_is_in_its_files(spec):
    known = [value for name in spec.recipes for value in leaves(FOUND[name])]
    known += leaves([*spec.columns, *spec.baselines, *(render.SPLITS[split] for split in spec.splits)])
    text = render.table(spec, FOUND)
    for row in list(table_rows(text))[1:]:
        assert not unknown_numbers(row, known), row
    assert not unknown_numbers(text.splitlines()[0], known)


@pytest.mark.parametrize('spec', tables.TABLES, ids=lambda spec: spec.recipes[0])
def test_each_metric_of_the_files_is_shown(spec):
    keys = {pattern.format(key) for key in spec.columns.values() for pattern in ('{}', *spec.baselines.values())}
    for name in spec.recipes:
        assert set(FOUND[name]['splits']) <= set(spec.splits), name
        assert {key for entries in FOUND[name]['splits'].values() for key in entries} <= keys, name


def test_cells_are_short():
    rows = [row for spec in tables.TABLES for row in table_rows(render.table(spec, FOUND))]
    cells = [cell.strip() for row in [*rows, *table_rows(render.readme(FOUND))] for cell in row.split('|')]
    assert max(map(len, cells)) <= 80
    assert not [cell for cell in cells if re.search(r'[a-z]\. [A-Z]', cell)]


def test_a_wrong_number_is_found():
    known = list(leaves(FOUND['classify_pneumonia_best']))
    assert not unknown_numbers('0.984 (0.971–0.991), 0.98', known)
    assert unknown_numbers('0.985', known) == [decimal.Decimal('0.985')]


def test_numbers_keep_their_digits_up_to_those_of_the_metric():
    assert render.number(decimal.Decimal('0.940'), 'auroc') == '0.940'
    assert render.number(decimal.Decimal('0.58'), 'ap') == '0.58'
    assert render.number(0.123456, 'auroc') == '0.123'
    assert render.number(-0.123456, 'psnr_lookup') == '−0.1'
    assert render.number(0.123456, 'ate_error') == '0.123'


def test_figures_have_spread_and_interval():
    entry = {'value': 0.9, 'run_mean': 0.91, 'run_sd': 0.02, 'ci95': [0.8, 0.95]}
    assert render.figure(entry, 'auroc') == '0.91 ± 0.02 (0.8–0.95)'
    assert render.figure({'value': 0.4, 'ci95': [-0.4, 1.3]}, 'gain_volume_x') == '0.4 (−0.4 to 1.3)'


def test_a_text_without_markers_is_refused():
    with pytest.raises(ValueError, match='markers'):
        render.replace_block('no markers', 'table')


def write_run(folder, *, seed=0, command='', dirty=False, results=None):
    """A run's three files."""
    folder.mkdir(parents=True)
    entry = {'value': 0.98412345678, 'ci95': [0.97, 0.99], 'n': 624, 'unit': 'patient', 'sd': 0.1}
    content = results or {'test': {'auroc': entry, 'accuracy': {**entry, 'value': 0.975}, 'f1': entry}}
    (folder / 'results.json').write_text(json.dumps({'counts': {'test': 624}, 'classes': ['a', 'b'], **content}))
    (folder / 'config.json').write_text(json.dumps({'seed': seed, 'task': {'name': 'classification'}}))
    (folder / 'environment.json').write_text(json.dumps({
        'git_commit': 'abc123', 'git_dirty': dirty, 'wall_time_s': 543.2, 'cores': 2, 'devices': ['cpu:cpu'],
        'platform': 'elsewhere', 'command': command or 'python -m medjax.train --config=/home/me/medjax/configs/'
        f'classify_pneumonia_best.py --config.data.source.dir=/mnt/data/here --workdir={folder}'}))
    return folder


def test_a_run_becomes_a_result_file(tmp_path):
    path = collect.main([str(write_run(tmp_path / 'run')), '--recipe=classify_pneumonia_best', f'--folder={tmp_path}'])
    found = json.loads(path.read_text())
    assert found['kept'] and found['commit'] == 'abc123' and found['seeds'] == [0]
    assert found['config'] == 'configs/classify_pneumonia_best.py' and found['family'] == 'classification'
    assert found['command'] == ('python -m medjax.train --config=configs/classify_pneumonia_best.py '
                                '--config.data.source.dir=here --workdir=runs/classify_pneumonia_best')
    assert found['wall_time'] == '9 min 3 s' and found['hardware'] == '2 CPU cores'
    assert found['splits'] == {'test': {
        'auroc': {'value': 0.984123, 'ci95': [0.97, 0.99], 'n': 624, 'unit': 'patient'},
        'accuracy': {'value': 0.975, 'ci95': [0.97, 0.99], 'n': 624, 'unit': 'patient'}}}
    assert str(tmp_path) not in path.read_text() and '/home' not in path.read_text()
    assert not recipes.problems('classify_pneumonia_best', recipes.read(path))


def test_hand_written_fields_are_kept(tmp_path):
    known = dict(FOUND['classify_pneumonia_best'])
    recipes.write(tmp_path / 'classify_pneumonia_best.json', known)
    path = collect.main([str(write_run(tmp_path / 'run')), '--recipe=classify_pneumonia_best', f'--folder={tmp_path}'])
    found = recipes.read(path)
    assert found['kept'] and 'transcribed_from' not in found
    for field in ('title', 'data', 'published', 'notes'):
        assert found[field] == known[field]


def test_merged_runs_have_their_seeds(tmp_path):
    runs = [write_run(tmp_path / str(seed), seed=seed) for seed in (2, 0)]
    entry = {'value': 0.9, 'ci95': [0.8, 0.95], 'n': 624, 'run_mean': 0.9, 'run_sd': 0.01, 'runs': 2}
    merged = write_run(tmp_path / 'all', results={
        'test': {'auroc': entry}, 'of': list(map(str, runs)),
        'runs': {str(run): {'auroc': 0.9, 'f1': 0.5} for run in runs}})
    (merged / 'environment.json').unlink()
    path = collect.main([str(merged), '--recipe=classify_pneumonia_resnet18', f'--folder={tmp_path}'])
    found = json.loads(path.read_text())
    assert found['seeds'] == [0, 2] and found['wall_time'] == '9 min 3 s a run'
    assert found['runs'] == {'0': {'auroc': 0.9}, '1': {'auroc': 0.9}}
    assert render.figure(found['splits']['test']['auroc'], 'auroc') == '0.9 ± 0.01 (0.8–0.95)'


def test_a_run_of_changed_code_is_refused(tmp_path):
    run = write_run(tmp_path / 'run', dirty=True)
    with pytest.raises(SystemExit, match='uncommitted'):
        collect.main([str(run), '--recipe=classify_pneumonia_best', f'--folder={tmp_path}'])


def test_durations_are_readable():
    assert [collect.duration(seconds) for seconds in (48.4, 108, 7500)] == ['48 s', '1 min 48 s', '2 h 5 min']


def test_the_table_of_coverages_has_what_its_file_gives():
    found = table.read()
    known = [decimal.Decimal(value) for kind in found['kinds'].values() for sizes in kind.values()
             for entry in sizes.values() for value in entry.values()]
    rows = [line for line in table.markdown(found).splitlines() if line.startswith('| ')][2:]
    assert len(rows) == sum(map(len, found['kinds'].values()))
    for row in rows:
        cells = re.findall(r'(?<![\w.])(?:\.\d{3}|1\.000)', row.split('|', 2)[2])
        assert cells and not unknown_numbers(' '.join(f'0{text}' if text[0] == '.' else text for text in cells), known)
    assert set(found['kinds']) == set(kinds.KINDS) and re.fullmatch(r'[0-9a-f]{40}', found['commit'])


def test_intervals_contain_the_truth_from_twenty_patients_on():
    page = (ROOT / 'docs' / 'explanation' / 'statistics.md').read_text(encoding='utf-8')
    assert '<!-- results: coverage -->' in page
    low = {f'{kind} {metric}' for kind, metrics in table.read()['kinds'].items() for metric, sizes in metrics.items()
           for n, entry in sizes.items() if table.cell(entry, int(n)).startswith('**')}
    assert not low, low


def test_a_simulation_gives_coverages_for_each_kind():
    for name in ('prevalence', 'conformal', 'calibration'):
        kind = dataclasses.replace(kinds.KINDS[name], sizes=(20,), large=(200, 1))
        found = simulate.measure(kind, 2, 0)
        assert set(found) == set(kind.labels)
        assert all(entry['datasets'] == 2 and 0 <= entry['coverage'] <= 1 for sizes in found.values()
                   for entry in sizes.values())
