"""The report of forecasting: its text with and without events, and what its charts show."""

import json
import re

import numpy as np
import pytest

from medjax import restore
from medjax.errors import InputError
from medjax.report import page as report_page
from medjax.report import run_files
from medjax.tasks.forecasting import chapter, charts, summary
from medjax.tasks.forecasting import table as forecasting_table
from tests.report.test_page import Page
from tests.tasks.forecasting import forecasts


@pytest.fixture
def figures(monkeypatch):
    """Charts are matplotlib figures."""
    monkeypatch.setattr(charts, 'png', lambda figure, dpi: figure)


@pytest.fixture(scope='module')
def one(tmp_path_factory):
    folder = forecasts.make(tmp_path_factory.mktemp('forecasts') / 'one')
    restore.write_report(folder)
    return folder


def read_split(folder, split='test'):
    return chapter._read_split(run_files.read(folder), split)


def test_the_page_has_its_sections_and_limits(one):
    page = Page((one / 'report.html').read_text())
    assert page.open == [] and page.headings == [
        'Results', 'Participants', 'Predicted trajectories', 'Forecast accuracy', 'Early warning of death', 'All cases',
        'Training history', 'Conventions', 'Reporting checklist', 'How to reproduce']
    assert chapter.LIMITS in page.text and summary.CONVENTIONS in page.text
    assert forecasts.NOTICE in page.text and not re.search(r'\b(nan|None)\b', page.text)
    test = json.loads((one / 'results.json').read_text())['test']
    mase, ridge, auroc = (f'{test[name]["value"]:.3f}' for name in ('mase', 'mase_ridge', 'auroc'))
    assert f'(MASE) {mase} (' in page.text and f'ridge regression {ridge}, gain' in page.text
    assert f'AUROC of death within 2 years {auroc} (' in page.text
    cells = {row[0]: row[1:] for row in page.rows[::-1] if row}
    assert cells['Relative to carrying forward, mean (MASE)'][0].startswith(mase)
    assert cells['… 0 to 1 years before'][-1] == str(
        json.loads((one / 'results.json').read_text())['analysis']['positives']['test']['death']['_in_0_1'])


def test_without_events(tmp_path, figures, monkeypatch):
    monkeypatch.setattr(charts, 'png', lambda figure, dpi: b'')
    run = run_files.read(forecasts.make(tmp_path / 'run', horizon=0.0, lead_times=()))
    page = Page(report_page.render(run, chapter.chapter))
    assert 'Early warning of death' not in page.headings
    assert not any('AUROC' in cell for row in page.rows for cell in row)


def test_a_split_of_single_visits_has_no_trajectories(tmp_path, monkeypatch):
    monkeypatch.setattr(charts, 'png', lambda figure, dpi: b'')
    rng = np.random.default_rng(0)
    empty = [name for name in next(forecasts.rows_of('test', 1, rng)) if name.startswith(('next', 'forecast', 'ridge'))]
    rows = [{**row, 'ahead': '', **dict.fromkeys(empty, '')} for row in forecasts.rows_of('test', 30, rng)
            if row['visit'] == 0]
    page = Page(report_page.render(run_files.read(forecasts.write(tmp_path / 'run', rows)), chapter.chapter))
    assert 'Predicted trajectories' not in page.headings and 'Early warning of death' in page.headings
    assert not re.search(r'\b(nan|None)\b', page.text)


def test_trajectories_go_from_visit_to_visit(one, figures):
    of = read_split(one)
    chosen = chapter.example_patients(of.table)
    assert list(chosen) == ['Best', 'Median', 'Worst']
    off = {patient: np.nanmean(np.abs(of.table.forecasts[''] - of.table.next)[of.table.patients == patient])
           for patient in chosen.values()}
    assert off[chosen['Best']] < off[chosen['Worst']]
    drawn = charts.draw_trajectories(of.table, chosen, 'years', 'light').axes
    assert len(drawn) == 3 * len(forecasts.NAMES)
    visits = np.flatnonzero(of.table.patients == chosen['Best'])
    measured = next(line for line in drawn[0].lines if line.get_linestyle() == '-')
    np.testing.assert_allclose(measured.get_xydata(), np.stack([of.table.time[visits], of.table.current[visits, 0]], 1))
    backwards = charts.draw_trajectories(shuffled(of.table), chosen, 'years', 'light').axes[0]
    np.testing.assert_allclose(next(line for line in backwards.lines if line.get_linestyle() == '-').get_xydata(),
                               measured.get_xydata())


def shuffled(table):
    """The visits in the reverse order, as merged tables may have them."""
    arrays = {name: getattr(table, name)[::-1] for name in (
        'patients', 'time', 'ahead', 'current', 'next', 'occurs', 'known', 'gap', 'ended')}
    return forecasting_table.Predictions(
        names=table.names, events=table.events,
        forecasts={name: value[::-1] for name, value in table.forecasts.items()},
        risks={name: value[::-1] for name, value in table.risks.items()}, **arrays)


def test_early_warning_by_lead_time(one, figures):
    of = read_split(one)
    entries = [of.entries[f'auroc_in_{low}_{low + 1}'] for low in (0, 1)]
    axes, = charts.draw_by_lead({'network': entries}, ['0–1', '1–2'], 'years', 'dark').axes
    line = next(line for line in axes.lines if line.get_label() == 'network')
    np.testing.assert_allclose(line.get_ydata(), [entry['value'] for entry in entries])
    assert axes.get_xlabel() == 'Time before the event, years'


def test_a_damaged_table_is_named(one, tmp_path):
    folder = forecasts.make(tmp_path / 'run', patients=8)
    table = (folder / 'predictions.csv').read_text().splitlines()
    (folder / 'predictions.csv').write_text('\n'.join([table[0].replace('chance_death', 'odds'), *table[1:]]))
    with pytest.raises(InputError, match=r'predictions.csv: predictions, case test000_0: chance_death: None'):
        restore.write_report(folder)
