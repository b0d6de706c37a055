"""Several runs of a classification: compared, as an ensemble, and merged over folds; from real runs' folders."""

import csv
import importlib.util
import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image as Picture

from medjax import compare as runs
from medjax import training
from medjax.errors import InputError
from medjax.report import run_files
from medjax.statistics import paired, per_patient
from medjax.tasks import family
from tests import cli
from tests.conftest import ROOT, without_reports
from tests.tasks import tables
from tests.tasks.survival import survivals
from tests.tasks.treatment import treatments


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Two folds of a tiny network on simulated pictures, trained and evaluated."""
    spec = importlib.util.spec_from_file_location('config', ROOT / 'configs' / 'classify_28px_cnn.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = []
    for fold in range(2):
        config = module.get_config('smoke')
        config.data.source = dict(name='simulated_images', classes=('small', 'large'), cases=(24, 8, 8))
        config.data.folds, config.data.fold = (2, 2), (fold, 0)
        config.model.classes = 2
        made.append(tmp_path_factory.mktemp('runs') / f'fold{fold}')
        with without_reports():
            training.train_and_evaluate(config.to_dict(), made[-1])
    return list(map(str, made))


def table(folder):
    with open(f'{folder}/predictions.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_folds_merge_to_every_case_once(folders, tmp_path, capsys):
    runs.merge(folders, tmp_path)
    rows = table(tmp_path)
    assert sorted(row['id'] for row in rows) == sorted(
        f'{split}{n:04d}' for split, count in (('train', 24), ('val', 8), ('test', 8)) for n in range(count))
    results = json.loads((tmp_path / 'results.json').read_text())
    entry = results['test']['accuracy']
    right = [(float(row['prob_large']) > 0.5) == (row['target'] == 'large') for row in rows]
    assert np.isclose(entry['value'], np.mean(right)) and entry['n'] == 40 and entry['runs'] == 2
    single = [results['runs'][folder]['accuracy'] for folder in folders]
    assert np.isclose(entry['run_mean'], np.mean(single)) and results['counts'] == {'test': 40}
    low, high = entry['ci95']
    printed = capsys.readouterr().out
    assert (f'{entry["value"]:.3f} [{low:.3f}, {high:.3f}] (n=40)   {np.mean(single):.3f} ± '
            f'{np.std(single, ddof=1):.3f} over 2 runs') in printed and 'test auroc' in printed
    page = (tmp_path / 'report.html').read_text()
    assert '2 runs over folds and seeds, which tested every case once' in page
    # Patients of these images are not known: nothing counts them.
    single = json.loads(pathlib.Path(folders[0], 'results.json').read_text())
    assert {one['unit'] for one in (*single['test'].values(), *results['test'].values())} == {'image'}
    assert 'intervals are over images' in page and 'each image counts as a patient of its own' in page
    assert 't intervals over images' in page and '40 patients' not in page


def test_an_ensemble_averages_probabilities(folders, tmp_path):
    same = [folders[0], folders[0]]
    runs.ensemble(same, tmp_path)
    alone = {row['id']: row for row in table(folders[0])}
    for row in table(tmp_path):
        assert np.isclose(float(row['prob_large']), float(alone[row['id']]['prob_large']))
        assert abs(float(row['uncertainty'])) < 1e-9
    assert (tmp_path / 'report.html').exists()


def test_a_run_is_not_better_than_its_copy(folders, tmp_path, capsys):
    copy = str(shutil.copytree(folders[0], tmp_path / 'copy'))
    runs.compare([folders[0], copy], tmp_path / 'out')
    found = json.loads((tmp_path / 'out' / 'comparison.json').read_text())
    (one,) = found['comparisons']
    difference = one['metrics']['accuracy']['difference']
    assert difference['value'] == 0 and difference['p'] == difference['p_holm'] == 1
    assert one['tests']['mcnemar']['']['p'] == one['tests']['delong']['']['p'] == 1
    assert found['splits']['test'] == {'n': 20, 'cases': 20, 'unit': 'image'}
    printed = capsys.readouterr().out
    assert '20 test cases of 20 images' in printed and 'equal in all resamples' in printed
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert 'AUROC, a minus b: 0.000.' in page and 'adjusted for the' in page and 'McNemar' in page
    with (tmp_path / 'out' / 'comparison.csv').open(newline='') as file:
        listed = list(csv.DictReader(file))
    assert {row['metric'] for row in listed} == set(one['metrics']) and listed[0]['p_holm'] == '1.0'


def resampled(rows, rng):
    """The rows of patients drawn with replacement, those that are drawn twice under other names."""
    by_patient = {}
    for row in rows:
        by_patient.setdefault(row['patient'], []).append(row)
    drawn = rng.choice(sorted(by_patient), len(by_patient))
    return [(place, row) for place, patient in enumerate(drawn) for row in by_patient[patient]]


@pytest.mark.parametrize('name', list(tables.ROWS))
def test_runs_of_every_family_are_compared_by_patient(name, tmp_path, capsys):
    both = [tables.rows(name), tables.rows(name, other=1)]
    paths = [tables.write(tmp_path / str(number), name, table) for number, table in enumerate(both)]
    found = runs.compare(paths, tmp_path / 'out')
    (one,), results = found['comparisons'], [json.loads(pathlib.Path(path, 'results.json').read_text())['test']
                                             for path in paths]
    count = len({row['patient'] for row in both[0] if row['split'] == 'test'})
    assert found['splits']['test']['n'] == count and len(one['metrics']) > 2
    assert not any(metric.endswith(('_trees', '_ols', '_none', '_linear', '_same', '_ridge', '_logistic', '_carried'))
                   or metric.startswith(('gain', 'detector')) for metric in one['metrics'])
    for metric, entry in one['metrics'].items():
        a, b = (np.nan if part[metric]['value'] is None else part[metric]['value'] for part in results)
        got = entry['a'], entry['b'], entry['difference']['value']
        assert got == pytest.approx((a, b, a - b), nan_ok=True) and entry['difference']['n'] <= count
    # The same by tables of drawn rows, with other draws.
    of, rng, samples = family.find(name), np.random.default_rng(8), {metric: [] for metric in one['metrics']}
    read = [run_files.read(pathlib.Path(path)) for path in paths]
    for _ in range(40 if name == 'detection' else 100):
        order = resampled(read[0].rows('test'), rng)
        place = {row['id']: row for row in read[1].rows('test')}
        drawn = [[{**row, 'id': f'{row["id"]}_{n}', 'patient': f'{row["patient"]}_{n}'} for n, row in table]
                 for table in (order, [(n, place[row['id']]) for n, row in order])]
        cases = of.command('compare')(read, drawn)
        a, b = (cases.metrics(table) for table in cases.tables)
        for metric in samples:
            samples[metric].append(float(a[metric] - b[metric]) if metric in a and metric in b else np.nan)
    cases = of.command('compare')(read, [run.rows('test') for run in read])
    draws = paired.draw_patients(per_patient.patient_numbers(read[0].rows('test')), 500, 0)
    a, b = (cases.metrics(table, draws) for table in cases.tables)
    for metric, found in samples.items():
        if np.isfinite(found).mean() > 0.95:
            expected = np.nanstd(found)
            assert np.nanstd(a[metric] - b[metric]) == pytest.approx(expected, rel=0.35, abs=1e-9), metric
    assert 'p (Holm)' in capsys.readouterr().out and (tmp_path / 'out' / 'report.html').exists()


def test_runs_that_disagree_about_the_truth_are_refused(tmp_path):
    table = tables.rows('survival')
    paths = [tables.write(tmp_path / 'a', 'survival', table), tables.write(
        tmp_path / 'b', 'survival', [*table[:-1], {**table[-1], 'time': 99.0}])]
    with pytest.raises(InputError, match='b: case test0023_0: time is .99.0., in .*a .*; expected the same in all'):
        runs.compare(paths, None)
    with pytest.raises(InputError, match='expected each run once'):
        runs.compare([paths[0], paths[0]], None)


def test_runs_that_do_not_fit_are_refused_in_one_line(folders, tmp_path):
    with pytest.raises(InputError, match='expected two folders'):
        runs.compare(folders[:1], None)
    with pytest.raises(InputError, match='20 of the 20 test cases of .* are missing, and 20 of its 20 cases'):
        runs.compare(folders, None)
    ended = cli.run('evaluate', '--ensemble', folders[0], str(tmp_path), f'--workdir={tmp_path}/out')
    assert ended.code == 2 and 'no config.json there' in ended.err and 'Traceback' not in ended.err
    ended = cli.run('evaluate', folders[0])
    assert ended.code == 2 and 'expected folders of runs after one of --compare' in ended.err


def seeded(folder, seed, where):
    """A copy of a run that says it had another seed."""
    copy = shutil.copytree(folder, where / f'{seed}_{folder[-5:]}')
    config = json.loads((copy / 'config.json').read_text())
    (copy / 'config.json').write_text(json.dumps(config | {'seed': seed}))
    return str(copy)


def test_a_missing_fold_is_named(folders, tmp_path):
    other = seeded(folders[0], 7, tmp_path)
    with pytest.raises(InputError, match='fold 1 of 2 with seed 7 is missing'):
        runs.merge([*folders, other], tmp_path / 'out')
    with pytest.raises(InputError, match='fold 1 of 2 with seed 0 is missing'):
        runs.merge([folders[0], other], tmp_path / 'out')


def test_cases_that_were_tested_twice_are_counted_once(folders, tmp_path):
    again = [seeded(folder, 7, tmp_path) for folder in folders]
    results = runs.merge([*folders, *again], tmp_path / 'out')
    assert results['counts'] == {'test': 40} and len(table(tmp_path / 'out')) == 80
    rows = table(tmp_path / 'out')[:40]
    true = sum(row['target'] == 'large' for row in rows)
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert 'n = 40 images' in page and '80 cases' not in page and f'{true} of 40 cases are large' in page


def test_merged_folds_have_subgroups(folders, tmp_path):
    for name in folders:
        copy = shutil.copytree(name, tmp_path / name[-5:])
        config = json.loads((copy / 'config.json').read_text())
        config['evaluate'] = {**(config.get('evaluate') or {}), 'subgroups': ['site']}
        (copy / 'config.json').write_text(json.dumps(config))
        lines = (copy / 'predictions.csv').read_text().splitlines()
        (copy / 'predictions.csv').write_text('\n'.join(
            f'{line},{"AB"[n % 2] if n else "site"}' for n, line in enumerate(lines)) + '\n')
    found = runs.merge([str(tmp_path / name[-5:]) for name in folders], tmp_path / 'out')['analysis']
    rows = table(tmp_path / 'out')
    assert {name: group['cases'] for name, group in found['subgroups']['site']['groups'].items()} == {
        name: sum(row['site'] == name for row in rows) for name in 'AB'}
    assert all(line.startswith('site') for line in found['warnings'])


def test_seeds_of_survival_are_averaged(tmp_path, capsys):
    """Of two networks on one cohort, of which the second has other risks."""
    rng, folders = np.random.default_rng(0), [tmp_path / f'seed{seed}' for seed in range(2)]
    rows = [row for split in ('val', 'test') for row in survivals.rows_of(split, 60, ('death',), rng)]
    for folder in folders:
        folder.mkdir()
    survivals.write(folders[0], ('death',), rows)
    survivals.write(folders[1], ('death',), [{**row, 'risk_death': float(row['risk_death']) + rng.normal()}
                                             for row in rows])
    folders = list(map(str, folders))
    results = runs.merge(folders, tmp_path / 'out')
    single = [json.loads((tmp_path / f'seed{seed}' / 'results.json').read_text())['test'] for seed in range(2)]
    assert set(results['test']) == set(single[0])
    for name, entry in results['test'].items():
        values = [of[name]['value'] for of in single]
        assert np.isclose(entry['value'], np.mean(values)) and np.isclose(entry['run_sd'], np.std(values, ddof=1))
        assert entry['n'] == 60 and entry['ci95'][0] < entry['value'] < entry['ci95'][1]
    assert '± ' in capsys.readouterr().out
    rows, parts = table(tmp_path / 'out'), [table(folder) for folder in folders]
    assert len(rows) == 60
    for row in rows[::20]:
        risks = [float(other['risk_death']) for part in parts for other in part if other['id'] == row['id']]
        assert np.isclose(float(row['risk_death']), np.mean(risks)) and len(risks) == 2
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert "the mean of all runs" in page and 'n = 60' in page


def test_realisations_of_a_simulation_are_averaged(tmp_path, capsys):
    folders = [str(treatments.make(tmp_path / f'r{seed}', count=30, splits=('train', 'val', 'test'), seed=seed))
               for seed in range(3)]
    results = runs.merge(folders, tmp_path / 'out')
    single = [json.loads((tmp_path / f'r{seed}' / 'results.json').read_text())['test']['pehe']['value']
              for seed in range(3)]
    entry = results['test']['pehe']
    assert np.isclose(entry['value'], np.mean(single)) and entry['n'] == 3
    assert entry['ci95'][0] <= entry['value'] <= entry['ci95'][1]
    assert results['realisations'] == 3 and {'pehe_ols', 'ate_error_trees'} <= set(results['within'])
    assert 'test pehe' in capsys.readouterr().out
    assert 'Means over 3 realisations' in (tmp_path / 'out' / 'report.html').read_text()


def test_runs_of_detection_do_not_merge(folders, tmp_path):
    for seed in range(2):
        copy = shutil.copytree(folders[seed], tmp_path / str(seed))
        config = json.loads((copy / 'config.json').read_text())
        (copy / 'config.json').write_text(json.dumps({**config, 'evaluate': {'name': 'detection'}}))
    for make in (runs.merge, runs.ensemble):
        with pytest.raises(InputError, match='runs of detection: .*(cannot be merged|classification)'):
            make([str(tmp_path / '0'), str(tmp_path / '1')], tmp_path / 'out')


@pytest.mark.parametrize('name', ['growth', 'registration', 'translation'])
def test_metrics_of_masks_and_images_merge_with_their_gains(name, tmp_path):
    both = [tables.rows(name), tables.rows(name, other=1)]
    paths = [tables.write(tmp_path / str(number), name, table) for number, table in enumerate(both)]
    first, second = (json.loads(pathlib.Path(path, 'results.json').read_text())['test'] for path in paths)
    seeds = runs.merge(paths, tmp_path / 'seeds')['test']
    assert set(seeds) == set(first) and any(metric.startswith('gain_') for metric in seeds)
    for metric, entry in seeds.items():
        if first[metric]['cases'] == second[metric]['cases'] == entry['cases']:
            assert entry['value'] == pytest.approx((first[metric]['value'] + second[metric]['value']) / 2), metric
            assert entry['runs'] == 2 and entry['run_mean'] == pytest.approx(entry['value'])
    # Folds that each test every other case are as one run that tests all of them.
    folds = [tables.write(tmp_path / f'fold{k}', name, [
        row for n, row in enumerate(both[0]) if row['split'] != 'test' or n % 2 == k]) for k in range(2)]
    for metric, entry in runs.merge(folds, tmp_path / 'folds')['test'].items():
        same = {key: entry[key] for key in ('value', 'ci95', 'n', 'cases')}
        assert same == {key: pytest.approx(first[metric][key]) if first[metric][key] else first[metric][key]
                        for key in same}, metric
    assert 'which tested every case once' in (tmp_path / 'folds' / 'report.html').read_text()


@pytest.mark.parametrize('name', family.names())
@pytest.mark.parametrize('command', ['merge', 'ensemble', 'compare'])
def test_every_family_combines_its_runs_or_says_why_not(name, command):
    of = family.find(name)
    if command in of.refuses:
        with pytest.raises(InputError, match=f'--{command}: runs of {name}: .{{20}}'):
            of.command(command)
    else:
        assert callable(of.command(command))


def test_the_folder_of_a_run_is_not_overwritten(folders, tmp_path):
    before = table(folders[0])
    (tmp_path / 'checkpoints').mkdir()
    for make in (runs.ensemble, runs.merge, runs.compare):
        for out in (pathlib.Path(folders[0]), tmp_path):
            with pytest.raises(InputError, match='the folder of a run; expected another one'):
                make(folders, out)
    assert table(folders[0]) == before and not pathlib.Path(folders[0], 'comparison.json').exists()
    assert [path.name for path in tmp_path.iterdir()] == ['checkpoints']


def test_a_comparison_of_one_class_says_why_there_is_no_test(folders, tmp_path, capsys):
    copy = shutil.copytree(folders[0], tmp_path / 'one')
    lines = (copy / 'predictions.csv').read_text().splitlines()
    place = lines[0].split(',').index('target')
    kept = [line for line in lines[1:] if line.split(',')[place] == 'small']
    (copy / 'predictions.csv').write_text('\n'.join([lines[0], *kept]) + '\n')
    runs.compare([str(copy), str(shutil.copytree(copy, tmp_path / 'same'))], tmp_path / 'out')
    printed = capsys.readouterr().out
    assert 'delong' in printed and 'one class only in the truth: nothing to rank' in printed
    (one,) = json.loads((tmp_path / 'out' / 'comparison.json').read_text())['comparisons']
    assert one['tests']['delong']['']['p'] is None and one['metrics']['auroc']['difference']['p'] is None


def test_predict_writes_subfolders_where_names_repeat(folders, tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / 'chest' / name / '1.png' for name in ('ill', 'normal')]
    for path in paths:
        path.parent.mkdir(parents=True)
        Picture.fromarray(rng.integers(0, 255, (28, 28), np.uint8)).save(path)
    ended = cli.run('predict', f'--workdir={folders[0]}', f'--input={tmp_path}/chest', f'--output={tmp_path}/out')
    assert ended.code == 0, ended.err
    rows = table(tmp_path / 'out')
    assert [row['image'] for row in rows] == list(map(str, paths))
    assert all(np.isclose(float(row['prob_small']) + float(row['prob_large']), 1) for row in rows)
