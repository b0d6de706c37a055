"""Results of registration: means and gains by hand, pairs of a patient together; and its report."""

import pathlib
import re

import numpy as np
import pytest
from scipy import special, stats

from medjax import atomic_files
from medjax.errors import InputError
from medjax.report import page as report_page
from medjax.report import run_files
from medjax.tasks.registration import charts, pictures, summary
from medjax.tasks.registration.chapter import chapter
from medjax.tasks.registration.table import METRICS, read
from tests.report.runs import write_table
from tests.report.test_page import Page
from tests.tasks.survival.survivals import write_metrics


def row(number, dice, tre, folded=0.0, splined=None, patient=None):
    def method(end, dice, tre, folded=0.0):
        return {f'dice{end}': dice, f'folded{end}': folded, f'tre{end}': tre, f'tre90{end}': 2 * tre,
                f'ncc{end}': 0.5, f'consistency{end}': '' if end == '_bspline' else 0.1, f'seconds{end}': 0.25}
    return {'split': 'test', 'id': f'test{number}', 'patient': patient or f'p{number}', **method('', dice, tre, folded),
            **method('_none', 0.4, 6.0), **(method('_bspline', *splined) if splined else
                                            {f'{name}_bspline': '' for name in METRICS})}


ROWS = [row(0, 0.9, 1.0, splined=(0.8, 2.0)), row(1, 0.8, 2.0, folded=0.5), row(2, 0.7, 3.0)]


def test_metrics_by_hand():
    found = {name: float(value) for name, value in summary.metric_values(read(ROWS)).items()}
    assert found['dice'] == pytest.approx(0.8) and found['tre'] == pytest.approx(2)
    assert found['tre90'] == pytest.approx(4)
    assert found['folded'] == pytest.approx(0.5 / 3) and found['tre_bspline'] == pytest.approx(2)
    assert found['gain_dice_none'] == pytest.approx(0.4) and found['gain_tre_none'] == pytest.approx(4)
    assert found['gain_tre_bspline'] == pytest.approx(1) and found['gain_dice_bspline'] == pytest.approx(0.1)
    twice = summary.metric_values(read(ROWS), np.array([[0, 1, 1], [2, 0, 1]]))
    np.testing.assert_allclose(twice['tre'], [2.5, 5 / 3])
    assert np.isnan(twice['tre_bspline'][0])


def test_intervals_are_over_patients_and_folds_are_warned_of():
    found = summary.summarise([row(n, 0.5 + 0.3 * (n % 2), 2.0, patient=f'p{n % 2}') for n in range(20)])
    entries = found['metrics']['test']
    assert entries['dice']['n'] == 2 and entries['dice']['cases'] == 20
    # Means 0.5 and 0.8 of the two patients, on the logit scale.
    reach = np.array([-1, 1]) * stats.t.ppf(0.975, 1) * 0.15 / (0.65 * 0.35)
    limits = pytest.approx(special.expit(special.logit(0.65) + reach))
    assert entries['dice']['ci95'] == limits and entries['tre']['ci95'] is None
    assert 'tre_bspline' not in entries and found['warnings'] == []
    assert summary.summarise(ROWS)['warnings'] == [
        'test: 1 of 3 deformations fold, at most in 0.5 % of the cells.']


@pytest.mark.parametrize('change, match', [
    ({'dice': 1.2}, 'case test0: dice: 1.2; expected a number of 0 to 1'),
    ({'tre_none': -1}, 'case test0: tre_none: -1; expected a number of 0 or more'),
    ({'folded': 'few'}, 'case test0: folded: few; expected a number of 0 to 100')])
def test_a_file_that_is_no_table_is_refused(change, match):
    with pytest.raises(InputError, match=match):
        read([{**ROWS[0], **change}])


def test_no_case_is_refused():
    with pytest.raises(InputError, match='no case'):
        summary.summarise([])


def make(folder, rows, broken=False, length='mm'):
    folder, rng = pathlib.Path(folder), np.random.default_rng(0)
    (folder / 'cases' / 'test').mkdir(parents=True)
    write_table(folder / 'predictions.csv', rows)
    found = summary.summarise(rows)
    atomic_files.write_json(folder / 'results.json', {
        **found.pop('metrics'), 'analysis': found, 'problem': 'registration', 'classes': ['background'], 'step': 40,
        'counts': {'test': len(rows)}, 'notice': 'Squares.', 'conventions': summary.CONVENTIONS,
        'length_unit': length})
    atomic_files.write_json(folder / 'config.json', {
        'seed': 0, 'steps': 60, 'batch': 4, 'model': {'name': 'registration'}, 'evaluate': {'name': 'registration'}})
    atomic_files.write_json(folder / 'environment.json', {'devices': ['cpu:0'], 'parameters': 4321})
    write_metrics(folder)
    image, label = rng.random((12, 16)).astype(np.float32), np.zeros((12, 16), np.uint8)
    for each in rows:
        kept = dict(fixed=image, moving=image, moved=image, moved_bspline=image, fixed_label=label, moved_label=label,
                    displacement=rng.normal(size=(2, 12, 16)), jacobian=rng.normal(1, 1, (11, 15)),
                    spacing=np.array([2.0, 2.0]))
        if broken:
            del kept['jacobian']
        np.savez(folder / 'cases' / 'test' / f'{each["id"]}.npz', **kept)
    return folder


def test_the_page(tmp_path):
    page = Page(report_page.render(run_files.read(make(tmp_path / 'run', ROWS)), chapter))
    assert page.open == [] and page.headings == [
        'Results', 'Participants', 'Pairs', 'Results by pair', 'All cases', 'Training history', 'Conventions',
        'How to reproduce']
    assert summary.CONVENTIONS in page.text and 'Squares.' in page.text
    assert not re.search(r'\b(nan|None)\b', page.text)
    # B-splines are of one pair: no comparison for the headline, but in the table, which says so.
    assert 'Target registration error 2.00 mm (no registration 6.00); Dice 0.800 (no registration 0.400)' in page.text
    assert 'Folded: 0.167 % of the cells' in page.text and 'B-splines (SimpleITK)' in page.text
    assert 'Best: test0' in page.text and 'Median: test1' in page.text and 'Worst: test2' in page.text
    assert 'TRE 1.00 mm (before 6.00), Dice 0.900 (before 0.400), Folded 0.00 %' in page.text
    assert 'deformations fold' in page.text
    assert len([tag for tag, _ in page.tags if tag == 'img']) >= 3 * 8 + 2 * 2


def test_the_page_names_the_unit_of_distances(tmp_path):
    page = Page(report_page.render(run_files.read(make(tmp_path / 'run', ROWS, length='px')), chapter))
    assert 'Target registration error 2.00 px (no registration 6.00)' in page.text and 'TRE (px)' in page.text
    assert 'TRE 1.00 px (before 6.00)' in page.text and 'Target registration error, px' in page.text
    assert ' mm' not in page.text.replace('Distances are in mm', '')


def test_without_labels_and_points(tmp_path, monkeypatch):
    for module in (charts, pictures):
        monkeypatch.setattr(module, 'png', lambda figure, dpi: b'')
    blank = {f'{name}{end}': '' for name in ('dice', 'tre', 'tre90') for end in ('', '_none')}
    run = run_files.read(make(tmp_path / 'run', [{**each, **blank} for each in ROWS[1:]]))
    page = Page(report_page.render(run, chapter))
    assert 'Correlation 0.500 (no registration 0.500) on the test pairs' in page.text and 'TRE' not in page.text[:900]


def test_a_broken_snapshot_is_named(tmp_path):
    with pytest.raises(InputError, match='test0.npz: not a snapshot of a case: .*evaluate again'):
        report_page.render(run_files.read(make(tmp_path / 'run', ROWS, broken=True)), chapter)
