"""The report of a survival run: its text and tables, what its charts show, and very small cohorts."""

import json
import re

import numpy as np
import pytest

from medjax import restore
from medjax.errors import InputError
from medjax.metrics.survival import kaplan_meier
from medjax.report import charts, probability_charts, run_files
from medjax.report import page as report_page
from medjax.tasks.survival import chapter, summary
from medjax.tasks.survival import charts as survival_charts
from medjax.tasks.survival.family import FAMILY
from medjax.tasks.survival.split import read_survival_split
from tests.report.test_page import Page
from tests.tasks.survival import survivals

BOTH = ('death', 'transplant')


def row(number, time, event='', risk=0.0, at=(0.2, 0.4), split='test', **more):
    """A case of the event 'death' with curves at 5 and 10."""
    return {'split': split, 'id': f'{split}{number}', 'patient': f'{split}{number}', 'time': time, 'event': event,
            'risk_death': risk, 'incidence_death_at_5': at[0], 'incidence_death_at_10': at[1], **more}


@pytest.fixture(scope='session')
def one(tmp_path_factory):
    """One event, drawn."""
    folder = survivals.make(tmp_path_factory.mktemp('survivals') / 'one', count=120)
    restore.write_report(folder)
    return folder


@pytest.fixture(scope='session')
def two(tmp_path_factory):
    """Two competing events, not drawn, predicted with the true hazards."""
    return survivals.make(tmp_path_factory.mktemp('survivals') / 'two', BOTH, count=250, error=0.0)


@pytest.fixture
def figures(monkeypatch):
    """Charts are matplotlib figures."""
    for module in (survival_charts, probability_charts):
        monkeypatch.setattr(module, 'png', lambda figure, dpi: figure)


@pytest.fixture
def no_png(monkeypatch):
    """Charts are drawn but not written as PNG."""
    for module in (survival_charts, probability_charts, charts):
        monkeypatch.setattr(module, 'png', lambda figure, dpi: b'')


def read_split(folder, split='test'):
    return read_survival_split(run_files.read(folder), split)


def write_run(folder, rows, events=('death',)):
    """A small run of these rows."""
    folder.mkdir(exist_ok=True)
    return survivals.write(folder, events, rows)


def cells(table):
    return {name: [(cell.text, cell.spread) for cell in of] for name, _, of in table.rows}


def with_interval(entry):
    return f'{entry["value"]:.3f} ({entry["ci95"][0]:.3f}–{entry["ci95"][1]:.3f})'


def test_the_page_has_its_sections_and_is_self_contained(one):
    source = (one / 'report.html').read_text()
    page = Page(source)
    assert page.open == [] and page.headings == [
        'Results', 'Participants', 'Discrimination', 'Risk groups (Kaplan–Meier)', 'Calibration', 'Example patients',
        'All cases', 'Training history', 'Conventions', 'Reporting checklist', 'How to reproduce']
    assert summary.CONVENTIONS in page.text and survivals.NOTICE in page.text and 'Dice' not in page.text
    bare = re.sub(r'data:image/png;base64,[A-Za-z0-9+/=]+', 'data:', source)
    assert not re.search(r'https?:|@import|url\(|<script|<link|<iframe', bare) and '>incidence_' not in source
    rows = {cells[0]: cells[1:] for cells in page.rows[::-1] if cells}
    results = json.loads((one / 'results.json').read_text())
    test, horizons = results['test'], results['analysis']['horizons']
    for name, key in (('C-index (Harrell)', 'c_index'), ('C-index (Uno)', 'c_uno'), ('C-index (Antolini)', 'c_td'),
                      *((f'AUC at {horizon:g}', f'auc_{horizon:g}') for horizon in horizons)):
        assert rows[f'{name}\N{NO-BREAK SPACE}↑'][0].startswith(f'{test[key]["value"]:.3f}'), name
    assert rows[f'Brier score at {horizons[0]:g}\N{NO-BREAK SPACE}↓'][0].startswith(
        f'{test[f"brier_{horizons[0]:g}"]["value"]:.3f}')
    assert rows['events'][0] == f'{test["c_index"]["events"]} of 120'
    alts = [attrs['alt'] for tag, attrs in page.tags if tag == 'img']
    assert len(alts) == 2 + len(horizons) + 2 + 5 and all(alts)


@pytest.mark.parametrize('folder', ['one', 'two'])
def test_the_headline(folder, request):
    of = read_split(request.getfixturevalue(folder))
    text, sure = chapter.headline(of)
    c_index, ibs = of.entries['c_index'], of.entries['ibs']
    reference = np.mean([curve.means[1] for curve in of.brier_curves])
    names = ('Mean C-index', 'mean IBS', 'Aalen–Johansen') if of.competing else ('C-index', 'IBS', 'Kaplan–Meier')
    assert text == (f'{names[0]} {with_interval(c_index)} on the test cases; {names[1]} {with_interval(ibs)}, that of '
                    f'one {names[2]} curve for all {reference:.3f}.')
    happened = [row['event'] for row in of.rows]
    counts = ', '.join(f'{name} {happened.count(name)}' for name in of.table.events)
    assert f'n = {len(happened)} patients: {counts}, censored {happened.count("")}. Median follow-up' in sure
    assert 'months' in sure


def test_the_median_follow_up_and_the_median_time_by_hand(tmp_path):
    """Four of eight are censored, at 2, 4, 6, 8: the share still followed is 6/7, 4/5 of it, 2/3 of that, then 0."""
    rows = [row(k, k + 1, 'death' * (k % 2 == 0), -k) for k in range(8)]
    of = read_split(write_run(tmp_path / 'run', rows))
    assert '(reverse Kaplan–Meier): 6 months.' in chapter.headline(of)[1]
    curve = kaplan_meier(np.arange(1.0, 5), np.ones(4, bool))
    assert chapter._median(curve)[:2] == ('2', '1–4')
    assert chapter._median(kaplan_meier(np.array([1.0, 2]), np.array([False, False])))[:2] == (
        'not reached', '')


def test_risk_groups_by_hand(tmp_path):
    """Cut at the thirds of validation's risk; without censoring the share is that of those still there."""
    val = [row(k, 1 + k, 'death', risk=k, split='val') for k in range(10)]  # horizons 3.25, 5.5, 7.75; cuts 3, 6
    test = [row(0, 9, 'death', 1), row(1, 5, 'death', 2.9), row(2, 2, 'death', 3), row(3, 6, 'death', 7),
            row(4, 1, 'death', 8), row(5, 4, 'death', 9), row(6, 3.25, 'death', 9)]
    of = read_split(write_run(tmp_path / 'run', [*val, *test]))
    assert of.risk_group.tolist() == [0, 0, 1, 2, 2, 2, 2] and of.horizons == [3.25, 5.5, 7.75]
    table = chapter.groups_table(of, of.group_members)
    assert [head for head, _ in table.headers] == ['n', 'death', '3.25 months', '5.5 months', '7.75 months',
                                                   'Median, months']
    got = {name: [text for text, _ in row] for name, row in cells(table).items()}
    assert got['low risk'] == ['2', '2', '1.000', '0.500', '0.500', '5']
    assert got['medium risk'] == ['1', '1', '–', '–', '–', '2']
    assert got['high risk'] == ['4', '4', '0.500', '0.250', '–', '3.25']
    assert 'cut at 3.000 and 6.000: the thirds of the validation cases' in chapter._groups_text(of)
    (_, by), = [(name, row) for name, row in cells(chapter.horizon_tables(of)[0]).items() if '3.25' in name]
    assert [text for text, _ in by[:4]] == ['3', '4', '0.130', '0.429']  # of 0.2 at 5, and 3 of 7


def test_the_true_hazards_are_calibrated_and_better_than_one_curve(two):
    of = read_split(two)
    for table in chapter.horizon_tables(of):
        for name, row in cells(table).items():
            low, high = map(float, row[3][1].split('–'))
            assert low < float(row[2][0]) < high, (table.caption, name)
    for event, known in zip(BOTH, of.brier_curves):
        assert known.means[0] == pytest.approx(of.entries[f'ibs_{event}']['value'], abs=1e-12)
        assert known.means[0] < known.means[1] and (known.model <= known.reference + 0.01).all()
    assert [(head, words) for head, words, _ in chapter.result_tables([of])[1].rows[-1:]] == [
        ('events', 'observed')]


def test_predictions_of_other_patients_are_worse_than_one_curve(tmp_path):
    rows = list(survivals.rows_of('test', 200, ('death',), np.random.default_rng(0)))
    moved = [{**one, **{key: value for key, value in other.items() if key.startswith(('risk', 'incidence'))}}
             for one, other in zip(rows, rows[1:] + rows[:1])]
    known = read_split(write_run(tmp_path / 'run', moved)).brier_curves[0]
    assert known.means[0] > known.means[1] + 0.02


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_observed_curves_start_at_one_with_numbers_at_risk(one, figures, theme):
    of = read_split(one)
    strata = [survival_charts.Stratum(name, of.observed_curve(chosen), of.table.time[chosen],
                                      of.table.event[chosen] == 0)
              for name, chosen in of.group_members.items()]
    upper, lower = survival_charts.draw_strata(strata, ('x', 'y'), theme).axes
    for number, stratum in enumerate(strata):
        line = next(line for line in upper.lines if line.get_label() == f'{stratum.name} risk')
        x, y = line.get_data()
        assert (x[0], y[0]) == (0, 1) and (np.diff(y) <= 0).all() and x[-1] == stratum.time.max()
        assert y[-1] == pytest.approx(stratum.curve.values[-1])
        counted = {text.get_position()[0]: int(text.get_text()) for text in lower.texts
                   if text.get_position()[1] == number}
        assert counted == {tick: (stratum.time >= tick).sum() for tick in counted} and len(counted) > 3
        assert counted[0] == len(stratum.time)
    ticks = sum(len(line.get_xdata()) for line in upper.lines if line.get_marker() == '|')
    assert ticks == sum(len(np.unique(stratum.time[stratum.censored])) for stratum in strata)


def test_competing_events_are_drawn_as_incidence(two, monkeypatch):
    of = read_split(two)
    everyone = of.observed_curve(np.ones(len(of.rows), bool))
    assert everyone.start == 0 and (np.diff(everyone.values) >= 0).all()
    monkeypatch.setattr(survival_charts, 'themed_chart', lambda draw, alt, caption, **options: (alt, caption))
    alt, caption = survival_charts.risk_groups_chart(of)
    assert alt == 'Cumulative incidence of death of the test cases, by risk group'
    assert 'Aalen–Johansen' in caption and 'other events censored' in caption and 'p < 0.001' in caption
    calibration = [caption for alt, caption in survival_charts.calibration_charts(of)
                   if alt.startswith('Calibration')]
    assert len(calibration) == 3 and all('death 0.' in words and 'transplant 0.' in words for words in calibration)


def test_example_curves_have_a_marker_at_the_outcome(tmp_path, figures):
    rows = [row(0, 4, 'death', 5, (0.5, 0.9)), row(1, 7.5, '', 3, (0.4, 0.8)), row(2, 30, 'death', 1, (0.1, 0.2))]
    of = read_split(write_run(tmp_path / 'run', rows))
    assert of.examples == [2, 1, 0]  # from low to high
    axes, = survival_charts.draw_examples(of, 'light').axes
    marks = {line.get_marker(): (line.get_xdata()[0], line.get_ydata()[0], line.get_fillstyle())
             for line in axes.lines if line.get_marker() != 'None' and line.get_fillstyle() == 'full'}
    assert marks['o'] == pytest.approx((4, 0.6, 'full')) and marks['>'] == pytest.approx((10, 0.8, 'full'))
    ring, = [line for line in axes.lines if line.get_fillstyle() == 'none']
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == pytest.approx((7.5, 0.4))
    table = chapter.patients_table(of)
    assert cells(table)['test1'][-1][0] == 'censored at 7.5 months'
    assert cells(table)['test0'][0][0] == 'high' and cells(table)['test2'][0][0] == 'low'


def test_calibration_has_the_intervals_of_the_analysis(one, figures, monkeypatch):
    of = read_split(one)
    monkeypatch.setattr(survival_charts, 'themed_chart', lambda draw, *texts, **options: draw('light'))
    for horizon, figure in zip(of.horizons, survival_charts.calibration_charts(of)):
        bins = of.run.results['analysis']['calibration']['test'][f'{horizon:g}']['bins']
        want = sorted((bin['predicted'], *bin['ci95']) for bin in bins if bin['ci95'] is not None)
        bars = sorted((line.get_xdata()[0], *line.get_ydata()) for line in figure.axes[0].lines
                      if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1])
        np.testing.assert_allclose(bars, want)
        assert want and max(high for *_, high in want) <= figure.axes[0].get_ylim()[1]


def test_the_table_of_cases_has_the_highest_risk_first_and_no_curves(one):
    of = read_split(one)
    rows = chapter.case_rows(of)
    assert list(rows[0]) == ['split', 'id', 'patient', 'stage', 'time', 'event', 'risk_death']
    order = np.argsort(-of.table.risk[:, 0])
    assert [row['id'] for row in rows] == [of.table.ids[number] for number in order]
    assert float(rows[0]['risk_death'].replace('−', '-')) == pytest.approx(of.table.risk.max(), abs=5e-4)


CENSORED = [row(k, 3 + k, '', k) for k in range(12)]
EVERY = [row(k, 1 + k, 'death', -k, (0.5, 0.9)) for k in range(12)]


@pytest.mark.parametrize('rows, text', [
    ([row(0, 4, 'death')], 'n = 1 patient: death 1, censored 0'), (CENSORED, 'death 0, censored 12'),
    (EVERY, 'death 12, censored 0'), (EVERY[:6] + CENSORED[6:], 'n = 12 patients'),
    ([row(k, 0, 'death') for k in range(3)], 'censored 0'), ([row(k, 40, '', 1) for k in range(4)], 'censored 4'),
    ([{**one, 'patient': 'p'} for one in EVERY], 'n = 1 patient, 12 cases')])
def test_very_small_cohorts_have_a_report(tmp_path, no_png, rows, text):
    page = Page(report_page.render(run_files.read(write_run(tmp_path / 'run', rows)), chapter.chapter))
    assert text in page.text and page.open == [] and not re.search(r'\b(nan|None)\b', page.text)


def test_a_damaged_table_is_named(tmp_path):
    folder = write_run(tmp_path / 'run', EVERY)
    table = (folder / 'predictions.csv').read_text()
    (folder / 'predictions.csv').write_text(table.replace('death,-3', 'death,high'))
    with pytest.raises(InputError, match=r'predictions.csv: predictions, case test3: risk_death: high'):
        restore.write_report(folder)


def test_training_curves(one):
    plans = chapter.training_curves(run_files.read(one))
    assert plans['C-index (Harrell), validation'] == {'val/c_index': ''} and plans['IBS, validation'] == {'val/ibs': ''}
    assert plans['Loss'] == {'train/loss': 'training', 'val/loss': 'validation'}


@pytest.mark.parametrize('key, want', [
    ('auc_12', 'AUC at 12'), ('brier_4.25', 'Brier score at 4.25'), ('auc_1.2e+06', 'AUC at 1.2e+06'),
    ('brier', 'Brier score'), ('auc_death', 'auc_death'), ('c_index', 'C-index (Harrell)')])
def test_names_of_metrics_at_a_time(key, want):
    assert FAMILY.metrics.describe(key).label == want
