"""Metrics of regression, merged runs over seeds, and the reports of both."""

import json
import re

import numpy as np
import pytest
from sklearn import metrics

from medjax import compare, restore
from medjax.errors import InputError
from medjax.report import run_files
from medjax.tasks.regression import chapter, charts, merge, summary
from medjax.tasks.regression.table import read
from tests.report.test_page import Page
from tests.tasks.regression import regressions


@pytest.fixture
def no_png(monkeypatch):
    """Charts are drawn but not written as PNG."""
    monkeypatch.setattr(charts, 'png', lambda figure, dpi: b'')


def test_metrics_of_a_table_and_their_intervals():
    rows = list(regressions.rows_of('test', 50, names=('a', 'b'), missing=0.2))
    found = summary.summarise(rows, ('a', 'b'), unit='molecule')
    test = found['metrics']['test']
    known = [row for row in rows if row['b'] != '']
    want = metrics.r2_score([row['b'] for row in known], [row['predicted_b_trees'] for row in known])
    assert abs(test['r2_b_trees']['value'] - want) < 1e-12 and test['r2_b_trees']['n'] == 40 == len(known)
    low, high = test['r2_a']['ci95']
    assert low < test['r2_a']['value'] < high and test['r2_a']['unit'] == 'molecule' and test['rmse_a']['n'] == 50
    assert found['warnings'] == ['test: b was measured in 40 of 50 cases']
    alone = summary.summarise(rows, ('a',))['metrics']['test']
    assert set(alone) == {f'{name}{end}' for name in summary.METRICS for end in ('', '_trees')}
    assert alone['r2']['ci95'] == test['r2_a']['ci95']


def test_rows_of_one_patient_are_drawn_together():
    rows = [{**row, 'patient': str(n // 10)} for n, row in enumerate(regressions.rows_of('test', 40))]
    entry = summary.summarise(rows, ('logs',))['metrics']['test']['r2']
    assert entry['n'] == 4 and entry['cases'] == 40 and entry['unit'] == 'patient'


def test_a_damaged_table_is_named():
    row = next(regressions.rows_of('test', 1))
    for broken, said in (({**row, 'predicted_logs': 'x'}, 'case test000: predicted_logs: x; expected a number'),
                         ({**row, 'logs': 'nan'}, 'case test000: logs: nan'),
                         ({k: v for k, v in row.items() if k != 'logs'}, "no column 'logs'")):
        with pytest.raises(InputError, match=said):
            read([broken], 'logs')
    with pytest.raises(InputError, match='no case'):
        summary.summarise([], ('logs',))


def test_the_page(tmp_path):
    folder = regressions.make(tmp_path / 'run')
    restore.write_report(folder)
    page = Page((folder / 'report.html').read_text())
    assert page.open == [] and page.headings[:5] == [
        'Results', 'Participants', 'Prediction accuracy', 'Largest errors', 'All cases']
    test = json.loads((folder / 'results.json').read_text())['test']
    assert f'logs: R² {test["r2"]["value"]:.3f} (' in page.text and 'log mol/l' in page.text
    assert f'trees on fingerprints {test["r2_trees"]["value"]:.3f}' in page.text and 'n = 40 molecules' in page.text
    assert regressions.NOTICE in page.text and not re.search(r'\b(nan|None)\b', page.text)
    assert summary.CONVENTIONS.format(unit='molecule', descriptors='logp') in page.text
    drawn = [dict(attributes).get('alt', '') for tag, attributes in page.tags if tag == 'img']
    pytest.importorskip('rdkit')
    assert sum('The structure of' in alt for alt in drawn) == chapter.MAX_ERRORS


def test_the_largest_errors_come_first(tmp_path):
    folder = regressions.make(tmp_path / 'run', names=('a', 'b'), missing=0.3)
    of = chapter._read_split(run_files.read(folder), 'test')
    table = of.table['a']
    off = np.abs(table.predicted[''] - table.measured)
    rows = chapter.largest_errors(of, 'a').tables[0].rows
    assert [name for name, *_ in rows] == [of.rows[n]['id'] for n in np.argsort(-off)[:len(rows)]]
    first = chapter.case_rows(of)[0]
    both = [np.abs(of.table[name].predicted[''] - of.table[name].measured) / of.table[name].measured.std()
            for name in 'ab']
    place, name = max((max(each), name) for each, name in zip(both, 'ab'))
    assert first['id'] == of.rows[of.table[name].cases[both['ab'.index(name)].argmax()]]['id']


def test_seeds_merge(tmp_path, no_png, capsys):
    folders = [str(regressions.make(
        tmp_path / f's{seed}', seed=seed)) for seed in range(3)]
    results = compare.merge(folders, tmp_path / 'merged')
    test, single = results['test'], [results['runs'][folder]['r2'] for folder in folders]
    assert test['r2']['value'] == pytest.approx(np.mean(single)) and test['r2']['runs'] == 3
    assert test['r2']['run_sd'] == pytest.approx(np.std(single, ddof=1)) and test['r2_trees']['run_sd'] == 0
    tables = [[row for row in run_files.read(tmp_path / f's{seed}').predictions if row['split'] == 'test']
              for seed in range(3)]
    mean = np.mean([[float(row['predicted_logs']) for row in table] for table in tables], 0)
    truth = [float(row['logs']) for row in tables[0]]
    assert test['r2_ensemble']['value'] == pytest.approx(metrics.r2_score(truth, mean), abs=1e-12)
    assert test['r2_ensemble']['value'] > test['r2']['value'] and 'run_sd' not in test['r2_ensemble']
    assert 'intervals are over molecules' in results['notice']
    page = Page((tmp_path / 'merged' / 'report.html').read_text())
    assert 'mean of the runs' in page.text and f'± {test["r2"]["run_sd"]:.3f}' in page.text and page.open == []
    assert 'test r2 ' in capsys.readouterr().out


def test_a_metric_that_one_run_leaves_undefined_is_the_others():
    seeds = [list(regressions.rows_of('test', 30, seed)) for seed in range(2)]
    constant = [{**row, 'predicted_logs': -2.0} for row in seeds[0]]
    found, _ = merge.pooled({'a': constant, 'b': seeds[1]}, ('logs',))
    true, predicted = (np.array([row[name] for row in seeds[1]]) for name in ('logs', 'predicted_logs'))
    assert found['pearson']['value'] == pytest.approx(np.corrcoef(true, predicted)[0, 1])
    assert found['pearson']['runs'] == 1
    errors = [np.abs(true - of).mean() for of in (-2.0, predicted)]
    assert found['mae']['value'] == pytest.approx(np.mean(errors)) and found['mae']['runs'] == 2
