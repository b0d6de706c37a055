"""Patients over visits: reference values of changes, new lesions, and lesions that return."""

import math

import pytest

from medjax.errors import InputError
from medjax.metrics.lesions import Finding, Visit
from medjax.tasks.response import timeline
from tests.tasks.response.responses import KINDS, ball, visits


def column(its, key='response', **options):
    return [row[key] for row in timeline.assess_patient('p', its, **options)[0]]


def test_a_patient_by_hand():
    rows, lesions = timeline.assess_patient('p', visits((40, 25, 20, 30), (20, 10, 9, 14)))
    assert [row['sum_mm'] for row in rows] == [60, 35, 29, 44]
    assert [row['nadir_mm'] for row in rows] == [60, 60, 35, 29]
    assert [row['response'] for row in rows] == ['baseline', 'PR', 'PR', 'PD']
    assert [row['best'] for row in rows] == ['', 'PR', 'PR', 'PR']
    assert rows[3]['change_percent'] == pytest.approx(100 * (44 / 60 - 1))
    assert rows[3]['nadir_change_percent'] == pytest.approx(100 * (44 / 29 - 1)) and rows[3]['nadir_change_mm'] == 15
    volume = math.pi / 6 / 1000
    assert rows[1]['volume_ml'] == pytest.approx(volume * (25**3 + 10**3))
    assert [row['volumetric'] for row in rows] == ['', 'PR', 'PR', 'PD']
    assert [row['percist'] for row in rows] == [''] * 4
    assert len(lesions) == 8 and {row['role'] for row in lesions} == {'target'}


def test_a_lesion_back_after_cr_is_progression_and_after_pr_part_of_the_sum():
    assert column(visits((30, None, 5))) == ['baseline', 'CR', 'PD']
    assert column(visits((30, None, 4))) == ['baseline', 'CR', 'PR']  # a speck is the guideline's other case
    assert column(visits((30, 20, 20), (20, None, 4))) == ['baseline', 'PR', 'PR']
    assert column(visits((30, None, 4), nontarget1=(20, 20, 20))) == ['baseline', 'PR', 'PR']
    assert column(visits((30, None, None), nontarget1=(20, None, 5))) == ['baseline', 'CR', 'PD']
    assert column(visits((30, None, None), nontarget1=(20, None, 4))) == ['baseline', 'CR', 'PR']


def test_new_lesions_are_progression_once_they_can_be_measured():
    assert column(visits((30, 10), target2=(None, 10))) == ['baseline', 'PD']
    assert column(visits((30, 10), target2=(None, 9.9))) == ['baseline', 'PR']
    assert column(visits((30, 10), target2=(None, 6)), least=6.0) == ['baseline', 'PD']
    speck = Visit('8', 8.0, KINDS, {('target', '', 1): ball(10), ('target', '', 2): Finding('target')})
    rows, lesions = timeline.assess_patient('p', [*visits((30,)), speck])
    assert rows[1]['response'] == 'PR' and rows[1]['new'] == 0 and lesions[-1]['role'] == 'equivocal'
    assert lesions[-1]['recorded_mm'] == 5
    assert rows[1]['equivocal'] == 1
    assert column(visits((30, 10, 10), target2=(None, 16, None))) == ['baseline', 'PD', 'PR']
    assert column(visits((30, 10, 10), target2=(None, 16, None)), 'best') == ['', 'PD', 'PD']


@pytest.mark.parametrize('later, responses, equivocal', [
    ((None, 6, 7, 12), ['PD', 'PD', 'PD'], [0, 0, 0]),  # progression has the date of the first scan that shows it
    ((None, 6, None, 12), ['PR', 'PR', 'PD'], [1, 0, 0]),  # not of one that was gone in between
    ((None, 6, 7, 8), ['PR', 'PR', 'PR'], [1, 1, 1])])
def test_a_confirmed_lesion_is_new_from_the_first_scan_that_shows_it(later, responses, equivocal):
    rows, _ = timeline.assess_patient('p', visits((30, 10, 10, 10), target2=later))
    assert [row['response'] for row in rows[1:]] == responses
    assert [row['equivocal'] for row in rows[1:]] == equivocal


def test_organs():
    organs = {(kind, organ) for kind in ('target', 'node') for organ in ('', 'liver', 'lung')}
    found = {('target', organ, n): ball(size, organ=organ) for organ, n, size in (
        ('liver', 1, 50), ('liver', 2, 40), ('liver', 3, 30), ('lung', 1, 12))}
    rows, lesions = timeline.assess_patient('p', [Visit('0', 0.0, frozenset(organs), found),
                                                  Visit('8', 8.0, frozenset(organs - {('target', 'lung')}), {})])
    assert [(row['organ'], row['lesion'], row['role']) for row in lesions[:4]] == [
        ('liver', 1, 'target'), ('liver', 2, 'target'), ('liver', 3, 'nontarget'), ('lung', 1, 'target')]
    assert rows[0]['sum_mm'] == 102 and [row['state'] for row in lesions[4:]] == ['gone'] * 3 + ['not evaluated']


def test_nodes_by_their_short_axis():
    its = visits((30, 30, 30), node1=(9, 12, 15), node2=(20, 9, 9))
    rows, lesions = timeline.assess_patient('p', its)
    assert rows[0]['targets'] == 2 and [row['sum_mm'] for row in rows] == [50, 39, 39]
    assert [row['role'] for row in lesions if row['lesion'] == 1 and row['kind'] == 'node'] == [
        'normal', 'equivocal', 'new']
    assert [row['response'] for row in rows] == ['baseline', 'SD', 'PD']
    assert column(visits((30, 30, 30), node1=(None, 15, 12))) == ['baseline', 'PD', 'PD']  # new once, new while there
    assert column(visits((30, None), node1=(20, 9.9))) == ['baseline', 'CR']
    assert column(visits((30, None), node1=(20, 9.9)), 'volumetric') == ['', 'CR']
    assert column(visits((30, None), node1=(12, 10))) == ['baseline', 'PR']  # a non-target node is not yet normal


def test_unevaluated_visits():
    part = Visit('8', 8.0, frozenset({('target', '')}), {('target', '', 1): ball(10)})
    its = [*visits((30,), node1=(20,)), part, *visits((30, 30, 10), node1=(20, 20, 8))[2:]]
    rows, lesions = timeline.assess_patient('p', its)
    assert [row['response'] for row in rows] == ['baseline', 'NE', 'PR'] and math.isnan(rows[1]['sum_mm'])
    assert rows[1]['volumetric'] == 'NE' and rows[2]['nadir_mm'] == 50  # a part of a sum is no nadir
    assert [row['state'] for row in lesions if row['kind'] == 'node'] == ['there', 'not evaluated', 'there']
    grown = part._replace(findings={('target', '', 1): ball(61)})
    assert column([*its[:1], grown]) == ['baseline', 'PD']
    gone = part._replace(findings={})
    assert column([*visits((30,), nontarget1=(20,)), gone]) == ['baseline', 'PR']  # CR, non-target not evaluated
    assert column([*its[:1], part._replace(evaluated=frozenset(), findings={})]) == ['baseline', 'NE']


def test_without_targets():
    rows, _ = timeline.assess_patient('p', visits(nontarget1=(30, 28, 37, 20, None)))
    assert [row['response'] for row in rows[:3]] == ['baseline', 'non-CR/non-PD', 'PD'] and rows[4]['response'] == 'CR'
    assert math.isnan(rows[0]['sum_mm']) and rows[1]['best'] == 'non-CR/non-PD'
    with pytest.raises(InputError, match='patient p: no lesion at the first visit, week 0; expected disease'):
        timeline.assess_patient('p', visits((None, 20)))
    with pytest.raises(InputError, match='no lesion at the first visit'):
        timeline.assess_patient('p', visits(node1=(9, 30)))


def test_merged_lesions_count_once():
    merged = Visit('8', 8.0, KINDS, {('target', '', 1): ball(45), ('target', '', 2): Finding('target', state='merged')})
    rows, _ = timeline.assess_patient('p', [*visits((25,), (20,)), merged])
    assert rows[1]['sum_mm'] == 45 and rows[1]['response'] == 'SD'


def test_uptake_of_the_hottest():
    hot = lambda week, *peaks: Visit(str(week), float(week), KINDS, {
        ('target', '', n): ball(30, peak=peak) for n, peak in enumerate(peaks, 1) if peak})
    rows, _ = timeline.assess_patient('p', [hot(0, 5, 10), hot(8, 7, 3), hot(16, 2, 13), hot(24, math.nan, math.nan),
                                            hot(32)])
    assert [row['percist'] for row in rows] == ['', 'PMR', 'PMD', 'NE', 'CMR']
    assert rows[1]['peak_change_percent'] == pytest.approx(-30) and rows[4]['peak_change_percent'] == -100
    node = lambda size, peak: {('node', '', 1): ball(size, 'node', peak=peak)}
    rows, _ = timeline.assess_patient('p', [Visit('0', 0.0, KINDS, node(20, 9)), Visit('8', 8.0, KINDS, node(9, 8.5))])
    assert rows[1]['response'] == 'CR' and rows[1]['percist'] == 'SMD'  # a normal node may still be hot


def test_confirmation_is_an_option():
    its = visits((40, 25, 40))
    assert column(its, 'best') == ['', 'PR', 'PR']
    assert column(its, 'best', confirm=True) == ['', 'SD', 'SD']
