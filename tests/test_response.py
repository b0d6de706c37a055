"""The command that computes treatment response, from masks to tables and page."""

import csv

import numpy as np
import pytest

from medjax import response
from medjax.errors import InputError
from tests import cli
from tests.data.sources.test_lesion_visits_csv import boxes, write

TABLE = ('patient,visit,mask\np1,0,a.nii.gz\np1,8,b.nii.gz\np1,16,c.nii.gz\np2,0,a.nii.gz\np2,6.5,e.nii.gz\n')


@pytest.fixture
def table(tmp_path):
    whole, part = ((4, 4, 2), (24, 6, 3)), ((6, 5, 2), (16, 6, 3))
    return write(tmp_path, TABLE, a=boxes(whole), b=boxes(part), c=boxes(part, ((2, 18, 6), (12, 22, 7))), e=boxes())


def rows(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def test_from_the_command_line(table, tmp_path):
    out = tmp_path / 'out'
    ended = cli.process('response', f'--table={table}', f'--output={out}')
    assert ended.code == 0, ended.err
    assert '1/2  p1: 3 visits, best response PR' in ended.out and 'p2: 2 visits, best response CR' in ended.out
    assert f'report: {out}/response.html' in ended.out
    found = rows(out / 'response.csv')
    assert [row['response'] for row in found] == ['baseline', 'PR', 'PD', 'baseline', 'CR']
    np.testing.assert_allclose([float(row['sum_mm']) for row in found], [
        np.hypot(20, 3), np.hypot(10, 1.5), np.hypot(10, 1.5), np.hypot(20, 3), 0])
    assert [row['weeks'] for row in found] == ['0.0', '8.0', '16.0', '0.0', '6.5']
    lesions = rows(out / 'lesions.csv')
    assert [(row['lesion'], row['role'], row['state']) for row in lesions] == [
        ('1', 'target', 'there'), ('1', 'target', 'there'), ('1', 'target', 'there'), ('2', 'new', 'there'),
        ('1', 'target', 'there'), ('1', 'target', 'gone')]
    page = (out / 'response.html').read_text()
    assert 'Best response of 2 patients: 1 CR, 1 PR.' in page and 'python -m medjax.response --table=' in page
    assert 'Targets per organ are not limited to 2' in ended.out
    assert 'Table of all cases' in page and page.count('<td class="left">p1</td>') == 3


def test_a_part_of_two_voxels_is_no_new_lesion(tmp_path):
    whole, speck = ((4, 4, 2), (24, 6, 3)), ((2, 18, 6), (3, 18, 6))
    table = write(tmp_path, 'patient,visit,mask\np1,0,a.nii.gz\np1,8,b.nii.gz\n', a=boxes(whole), b=boxes(whole, speck))
    lines = []
    response.evaluate_response(table, tmp_path / 'out', log=lines.append)
    assert [row['response'] for row in rows(tmp_path / 'out' / 'response.csv')] == ['baseline', 'SD']
    assert lines[-1].endswith('not counted as disease: 1, in p1.')
    response.evaluate_response(table, tmp_path / 'all', log=lines.append, least=0.0)
    assert [row['response'] for row in rows(tmp_path / 'all' / 'response.csv')] == ['baseline', 'PD']


def test_mistakes_are_reported_in_one_line(table, tmp_path):
    table.write_text(TABLE.replace('b.nii', 'x.nii'))
    ended = cli.process('response', f'--table={table}', f'--output={tmp_path}/out')
    assert ended.code == 2 and ended.err.count('\n') == 1 and "row 3: mask 'x.nii.gz': no such file" in ended.err
    assert not (tmp_path / 'out').exists()


def test_invalid_tables(table, tmp_path):
    table.write_text('patient,visit,mask\np1,0,a.nii.gz\np2,8,b.nii.gz\n')
    with pytest.raises(InputError, match='one visit of each patient; expected at least one patient with two'):
        response.evaluate_response(table, tmp_path / 'out')
    table.write_text('patient,visit,mask\np1,0,e.nii.gz\np1,8,b.nii.gz\n')
    with pytest.raises(InputError, match='patient p1: no lesion at the first visit, 0; expected disease there'):
        response.evaluate_response(table, tmp_path / 'out')
    with pytest.raises(InputError, match='nowhere.csv: cannot be read'):
        response.evaluate_response(tmp_path / 'nowhere.csv', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('first, second, options', [
    ('2024-01-29', '2024-02-19', {}), ('20240129', '20240219', {}), ('29.1.2024', '19.2.2024', dict(dates='dmy')),
    ('1/29/2024', '2/19/2024', dict(dates='mdy')), ('0', '3', {}), ('0', '21', dict(visit_unit='days'))])
def test_stable_disease_of_three_weeks_is_not_evaluable(table, tmp_path, first, second, options):
    """RECIST 1.1: SD counts from six weeks on. As numbers of weeks 20240129 and 20240219 are 90 apart."""
    table.write_text(f'patient,visit,mask\np1,{first},a.nii.gz\np1,{second},a.nii.gz\n')
    lines = []
    response.evaluate_response(table, tmp_path / 'out', log=lines.append, **options)
    found = rows(tmp_path / 'out' / 'response.csv')
    assert [float(row['weeks']) for row in found] == pytest.approx([0, 3]) and found[-1]['response'] == 'SD'
    assert found[-1]['best'] == 'NE' and lines[0].startswith('visits.csv: visits are ')


def test_a_patient_with_a_single_visit_is_listed_and_logged(table, tmp_path):
    table.write_text(TABLE + 'p3,0,a.nii.gz\n')
    lines = []
    page = response.evaluate_response(table, tmp_path / 'out', log=lines.append).read_text()
    assert lines[3] == '3/3  p3: 1 visit, best response none yet'
    assert lines[4].startswith('Targets per organ are not limited to 2, as the table has no column organ')
    assert 'With a single visit, without a response: p3.' in page and 'Best response of 2 patients' in page
