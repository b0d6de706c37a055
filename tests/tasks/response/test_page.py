"""The tables and the page of treatment response, from hand-made measurements."""

import csv
import math
import re

import numpy as np
import pytest

from medjax.tasks.response import charts, timeline
from medjax.tasks.response import page as response_page
from tests.tasks.response.responses import assessed, visits

ABOUT = {'table': 'visits.csv', 'command': 'python -m medjax.response --table=visits.csv', 'facts': {'data hash': 'ab'},
         'options': {'numbered': False, 'targets': 5, 'confirm': False, 'stable_weeks': 6.0,
                     'new_mm': 10.0}}


def text(page):
    return ' '.join(re.sub(r'<[^>]+>', ' ', page.split('<main>')[1]).split())


def test_patient_summaries_end_at_progression():
    of = {row['patient']: row for row in response_page.patient_summaries(assessed()[0])}
    assert {name: row['best'] for name, row in of.items()} == {
        'a': 'CR', 'b': 'PR', 'c': 'SD', 'd': 'PD', 'e': 'non-CR/non-PD', 'f': ''}
    assert of['a']['change']['sum'] == -100 and of['b']['change']['sum'] == pytest.approx(100 * (29 / 60 - 1))
    assert of['b']['progressed'] == 24 and of['c']['progressed'] is None
    assert of['d']['change']['sum'] == pytest.approx(10) and math.isnan(of['e']['change']['sum'])
    assert of['e']['change']['volume'] == pytest.approx(100 * ((28 / 30) ** 3 - 1))


def test_the_page_has_the_values_of_the_tables(tmp_path):
    rows, lesions = assessed()
    page = response_page.write_report(tmp_path, rows, lesions, ABOUT).read_text()
    with open(tmp_path / 'response.csv', newline='') as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) == 16 and table[1]['response'] == 'PR' and table[1]['sum_mm'] == '12.0'
    assert table[2]['nadir_mm'] == '12.0' and table[3]['nadir_change_percent'] == ''  # of nothing
    with open(tmp_path / 'lesions.csv', newline='') as file:
        assert len(list(csv.DictReader(file))) == len(lesions) == 21
    said = text(page)
    assert 'Best response of 5 patients: 1 CR, 1 PR, 1 SD, 1 non-CR/non-PD, 1 PD.' in said
    # Clopper-Pearson of 2 of 5, by R's binom.test.
    assert 'Objective response (CR or PR): 2 of 5, 40 % (95 % interval 5 to 85 %, Clopper–Pearson).' in said
    assert 'With a single visit, without a response: f.' in said and 'and not in charts of sums: e.' in said
    assert 'b PR PD 24.0 60.0 −51.7' in said
    assert page.count('<figure') == 4 and 'peak' not in said  # waterfall and spider, of sums and of volumes
    assert not re.search(r'(src|href|srcset)="(?!data:)', page)


def test_a_registration_warning_where_no_lesion_is_at_its_place():
    rows, lesions = timeline.assess_patient('p', visits((30, None), target2=(None, 30)))
    assert 'p, visit week 8: no lesion of the first visit is at its place, new lesions: 1.' in text(
        response_page.render(rows, lesions, ABOUT))
    assert 'Targets per organ are not limited to 2' in text(response_page.render(rows, lesions, ABOUT))
    named = [{**row, 'organ': 'liver'} for row in lesions]
    assert 'Targets per organ' not in text(response_page.render(rows, named, ABOUT))
    _, specks = timeline.assess_patient('p', visits((30, 30, 30), target2=(None, 6, 7)))
    small = response_page.equivocal_lesions(specks, 10)
    assert small.startswith('Lesions that were absent before and are too small to be new (below 10 mm')
    assert small.endswith('not counted as disease: 1, in p.')
    numbered = {**ABOUT, 'options': {**ABOUT['options'], 'numbered': True}}
    assert 'registered' not in text(response_page.render(rows, lesions, numbered))


def test_bars_are_ordered_and_cut(monkeypatch):
    known = [of for of in response_page.patient_summaries(assessed()[0]) if of['change']['sum'] == of['change']['sum']]
    known.append({**known[0], 'patient': 'x', 'best': 'PD', 'change': {'sum': 400.0}})
    kept = []
    monkeypatch.setattr(charts, 'png', lambda figure, dpi: kept.append(figure) or b'')
    charts.draw_waterfall(known, 'sum', 'light')
    axes = kept[0].axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, [100, 10, -10, 100 * (29 / 60 - 1), -100])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ['x', 'd', 'c', 'b', 'a']
    assert [words.get_text() for words in axes.texts] == ['+400\nPD', '+10\nPD', '−10\nSD', '−52\nPR', '−100\nCR']
    charts.draw_spider(known, 'sum', 'dark')
    lines = [line.get_xydata().tolist() for line in kept[1].axes[0].lines]
    assert [[0, 0], [8, pytest.approx(-60)], [16, -100], [24, -100]] in lines
