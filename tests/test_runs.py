"""Several runs of a classification: compared, as an ensemble, and merged over folds; from real runs' folders."""

import csv
import importlib.util
import json

import numpy as np
import pytest

from medjax import runs, train
from medjax.errors import InputError
from tests import cli
from tests.conftest import ROOT


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Two folds of a tiny network on simulated pictures, trained, evaluated and reported."""
    spec = importlib.util.spec_from_file_location('config', ROOT / 'configs' / 'classify_28px_cnn.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = []
    for fold in range(2):
        config = module.get_config('smoke')
        config.data.source = dict(name='phantom', classes=('small', 'large'), cases=(24, 8, 8))
        config.data.folds, config.data.fold = (2, 2), (fold, 0)
        config.model.classes = 2
        made.append(tmp_path_factory.mktemp('runs') / f'fold{fold}')
        train.train_and_evaluate(config.to_dict(), made[-1])
    return list(map(str, made))


def table(folder):
    with open(f'{folder}/predictions.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_folds_merge_to_every_case_once(folders, tmp_path):
    runs.folds(folders, tmp_path)
    rows = table(tmp_path)
    assert sorted(row['id'] for row in rows) == sorted(
        f'{split}{n:04d}' for split, count in (('train', 24), ('val', 8), ('test', 8)) for n in range(count))
    results = json.loads((tmp_path / 'results.json').read_text())
    entry = results['test']['accuracy']
    right = [(float(row['prob_large']) > 0.5) == (row['target'] == 'large') for row in rows]
    assert np.isclose(entry['value'], np.mean(right)) and entry['n'] == 40 and entry['runs'] == 2
    single = [results['runs'][folder]['accuracy'] for folder in folders]
    assert np.isclose(entry['run_mean'], np.mean(single)) and results['counts'] == {'test': 40}
    page = (tmp_path / 'report.html').read_text()
    assert '2 runs over folds and seeds, which tested every case 1 time' in page


def test_an_ensemble_averages_probabilities(folders, tmp_path):
    same = [folders[0], folders[0]]
    runs.together(same, tmp_path)
    alone = {row['id']: row for row in table(folders[0])}
    for row in table(tmp_path):
        assert np.isclose(float(row['prob_large']), float(alone[row['id']]['prob_large']))
        assert abs(float(row['uncertainty'])) < 1e-9
    assert (tmp_path / 'report.html').exists()


def test_a_run_is_not_better_than_itself(folders, tmp_path, capsys):
    runs.against([folders[0], folders[0]], tmp_path)
    found = json.loads((tmp_path / 'comparison.json').read_text())
    assert found['metrics']['accuracy']['difference']['value'] == 0 and found['mcnemar']['p'] == 1
    assert 'a − b +0.000' in capsys.readouterr().out


def test_runs_that_do_not_fit_are_refused_in_one_line(folders, tmp_path):
    with pytest.raises(InputError, match='expected two folders'):
        runs.against(folders[:1], None)
    with pytest.raises(InputError, match='no test case is in both tables'):
        runs.against(folders, None)
    ended = cli.process('evaluate', '--ensemble', folders[0], str(tmp_path), f'--workdir={tmp_path}/out')
    assert ended.code == 2 and 'no config.json there' in ended.err and 'Traceback' not in ended.err
    ended = cli.process('evaluate', folders[0])
    assert ended.code == 2 and 'expected folders of runs after one of --compare' in ended.err
