"""The report of treatment effects: with and without a known truth, of realisations, and what its charts show."""

import json
import re

import numpy as np
import pytest

from medjax import atomic_files, restore
from medjax.errors import InputError
from medjax.report import page as report_page
from medjax.report import run_files
from medjax.report.split import read_split
from medjax.tasks.treatment import chapter, charts, summary
from medjax.tasks.treatment.table import METHODS, read
from tests.report.test_page import Page
from tests.tasks.treatment import treatments


@pytest.fixture
def no_png(monkeypatch):
    """Charts are drawn but not written as PNG."""
    monkeypatch.setattr(charts, 'png', lambda figure, dpi: b'')


@pytest.fixture(scope='module')
def one(tmp_path_factory):
    folder = treatments.make(tmp_path_factory.mktemp('treatments') / 'one')
    restore.write_report(folder)
    return folder


def read_test(folder, split='test'):
    return read_split(run_files.read(folder), split, read)


def test_the_page_has_its_sections_and_limits(one):
    page = Page((one / 'report.html').read_text())
    assert page.open == [] and page.headings == [
        'Results', 'Participants', 'Treatment recommendation', 'Average treatment effect', 'Covariate balance',
        'All cases', 'Training history', 'Conventions', 'Reporting checklist', 'How to reproduce']
    assert chapter.LIMITS in page.text and summary.CONVENTIONS in page.text
    assert treatments.NOTICE in page.text and not re.search(r'\b(nan|None)\b', page.text)
    test = json.loads((one / 'results.json').read_text())['test']
    pehe, other = (f'{test[name]["value"]:.3f}' for name in ('pehe', 'pehe_trees'))
    assert f'√PEHE {pehe} (' in page.text and f'trees by group {other}' in page.text
    cells = {row[0]: row[1:] for row in page.rows[::-1] if row}
    assert cells['√PEHE\N{NO-BREAK SPACE}↓'][0].startswith(pehe) and cells['treated'] == ['20', '8']
    assert len([tag for tag, _ in page.tags if tag == 'img']) == 4 + 3  # and the logged ones
    assert 'in height, site' in page.text and 'the weights of few patients dominate' in page.text


def test_patients_without_a_known_truth(tmp_path, no_png):
    page = Page(report_page.render(run_files.read(treatments.make(tmp_path / 'run', known=False)), chapter.chapter))
    assert 'Mean effect, doubly robust,' in page.text and 'on the test cases' in page.text
    assert not any('√PEHE\N{NO-BREAK SPACE}' in cell or 'ATE error' in cell for row in page.rows for cell in row)
    assert not re.search(r'\b(nan|None)\b', page.text)


def test_tables(one):
    of = read_test(one)
    value = {name: [cell.text for cell in cells] for name, _, cells in chapter.value_table(of).rows}
    share = np.mean([float(row['outcome_if_1']) > float(row['outcome_if_0']) for row in of.rows])
    assert value['as network recommends'] == [f'{of.entries["policy_value"]["value"]:.3f}', f'{100 * share:.0f} %']
    assert value['as OLS recommends'][1] == '100 %' and value['no patient'][1] == '0 %'
    mean = {name: cells[0].text for name, _, cells in chapter.mean_table(of.entries, of.table.predicted).rows}
    assert mean['Truth (simulated)'] == f'{of.entries["ate_true"]["value"]:.3f}'
    rows = chapter.case_rows(of)
    assert [row['id'] for row in rows] == [of.rows[n]['id'] for n in np.argsort(-of.table.effect(''), kind='stable')]


def test_uplift_curves_end_at_one_place(one, monkeypatch):
    monkeypatch.setattr(charts, 'png', lambda figure, dpi: figure)
    of = read_test(one)
    lines = {line.get_label(): line.get_data() for line in charts.draw_uplift(of.table, 'light').axes[0].lines}
    for name, label in METHODS.items():
        if name in of.table.predicted:
            share, gain = lines[label]
            assert (share[0], gain[0], share[-1]) == (0, 0, 1)
            assert gain[-1] == pytest.approx(of.entries['ate_weighted']['value'])
    assert len(lines['OLS'][0]) == 2  # one effect for all: no order
    axes, = charts.draw_balance({'a': [0.5, 0.1], 'b': [-0.9, 0.0], 'c': [None, None]}, 'dark').axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ['b', 'a']


def test_realisations_have_a_report(tmp_path, no_png):
    rng = np.random.default_rng(0)
    tables = {f'r{n}': [row for split in ('train', 'val', 'test') for row in treatments.rows_of(split, 30, rng)]
              for n in range(5)}
    results, rows = summary.over_realisations(tables)
    tmp_path.joinpath('config.json').write_text('{"model": {"name": "tarnet"}, "evaluate": {"name": "treatment"}}')
    atomic_files.write_table(tmp_path / 'predictions.csv', rows)
    atomic_files.write_json(tmp_path / 'results.json', {
        **results, 'realisations': 5, 'problem': 'treatment', 'classes': treatments.GROUPS,
        'counts': {'test': 5, 'within': 5}, 'conventions': summary.CONVENTIONS})
    page = Page(report_page.render(run_files.read(tmp_path), chapter.chapter))
    assert page.headings[:4] == ['Results', 'Participants', 'Results by realisation', 'All cases'] and page.open == []
    entry = results['test']['pehe']
    assert f'√PEHE {entry["value"]:.3f} ({entry["ci95"][0]:.3f}–{entry["ci95"][1]:.3f})' in page.text
    assert 'Means over 5 realisations' in page.text and 'trees by group in 5' in page.text
    assert 'Out of sample (test)' in page.text and 'Within sample (training and validation)' in page.text
    assert chapter.LIMITS in page.text and not re.search(r'\b(nan|None)\b', page.text)


def test_a_damaged_table_is_named(one, tmp_path):
    folder = treatments.make(tmp_path / 'run', count=8)
    table = (folder / 'predictions.csv').read_text().splitlines()
    (folder / 'predictions.csv').write_text('\n'.join([table[0].replace('propensity', 'chance'), *table[1:]]))
    with pytest.raises(InputError, match=r'predictions.csv: predictions, case test000: propensity: None'):
        restore.write_report(folder)
