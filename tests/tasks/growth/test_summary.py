"""Metrics of tumour growth: by hand, paired gains, sites; and the report."""

import pathlib
import re

import numpy as np
import pytest
from scipy import special, stats

from medjax import atomic_files
from medjax.errors import InputError
from medjax.report import page as report_page
from medjax.report import run_files
from medjax.tasks.growth import chapter, charts, pictures, summary
from medjax.tasks.growth.table import read
from tests.report.runs import write_table
from tests.report.test_page import Page
from tests.tasks.survival.survivals import write_metrics

ENDS = ('', '_same', '_gompertz')


def row(number, dice, error, new=(0, ''), risk=(0.2, ''), split='test', patient=None):
    return {'split': split, 'id': f'{split}{number}', 'patient': patient or f'p{number}', 'visits': 2, 'horizon': 60.0,
            'volume_last': 1.0, 'volume_true': 2.0, **{f'dice{end}': d for end, d in zip(ENDS, dice)},
            **{f'volume{end}': 2.5 for end in ENDS},
            **{f'volume_error{end}': e for end, e in zip(ENDS, error)},
            **{f'{stem}_{site}': value for site, n, r in zip(('left', 'right'), new, risk) for stem, value in (
                ('new', n), ('risk', r), ('chance', r))}}


ROWS = [row(0, (0.9, 0.5, 0.8), (10, 50, 20), (1, 0), (0.9, 0.3)),
        row(1, (0.8, 0.7, 0.9), (20, 30, float('nan')), (0, ''), (0.4, '')),
        row(2, (0.7, 0.6, float('nan')), (float('nan'), 40, 0), ('', 1), ('', 0.35))]


def test_metrics_by_hand():
    found = {name: float(value) for name, value in summary.compute_metrics(read(ROWS)).items()}
    assert found['dice'] == pytest.approx(0.8) and found['dice_gompertz'] == pytest.approx(0.85)
    assert found['gain_dice_same'] == pytest.approx(0.2) and found['gain_dice_gompertz'] == pytest.approx(0)
    assert found['volume_error'] == pytest.approx(15) and found['volume_error_same'] == pytest.approx(40)
    assert found['gain_volume_same'] == pytest.approx((40 + 10) / 2)
    assert found['gain_volume_gompertz'] == pytest.approx(10)  # of the one pair that is whole
    assert found['auroc_sites'] == pytest.approx(3 / 4) == found['auroc_sites_simulation']
    assert found['brier_sites'] == pytest.approx(np.mean(np.square([0.1, 0.3, 0.4, 0.65])))
    assert found['new'] == pytest.approx(0.5)
    twice = summary.compute_metrics(read(ROWS), np.array([[1, 1, 1], [2, 0, 1]]))
    assert twice['dice'][0] == pytest.approx(0.8) and twice['dice'][1] == pytest.approx(2.5 / 3)
    assert twice['auroc_sites'][1] == pytest.approx(1)


def test_intervals_are_over_patients():
    rows = [row(n, (0.5 + 0.3 * (n % 2), 0.4, 0.4), (n, n, n), patient=f'p{n % 2}') for n in range(20)]
    found = summary.summarise(rows)['metrics']['test']
    assert found['dice']['n'] == 2 and found['dice']['cases'] == 20
    # Means 0.5 and 0.8 of the two patients, on the logit scale.
    reach = np.array([-1, 1]) * stats.t.ppf(0.975, 1) * 0.15 / (0.65 * 0.35)
    limits = pytest.approx(special.expit(special.logit(0.65) + reach))
    assert found['dice']['ci95'] == limits and found['gain_volume_same']['ci95'] is None
    assert found['auroc_sites']['why'] == 'new tumours at no site, or at all'


@pytest.mark.parametrize('change, match', [
    ({'dice': 1.2}, 'case test0: dice: 1.2; expected a number from 0 to 1'),
    ({'volume_true': ''}, 'case test0: volume_true: ; expected a number of 0 or more'),
    ({'risk_left': 'high'}, 'case test0: risk_left: high')])
def test_damaged_tables(change, match):
    with pytest.raises(InputError, match=match):
        read([{**ROWS[0], **change}])


def test_no_case_is_refused():
    with pytest.raises(InputError, match='no case'):
        summary.summarise([])


def snapshot(folder, name, broken=False):
    rng, mask = np.random.default_rng(0), np.zeros((16, 20), np.uint8)
    mask[5:9, 6:12] = 1
    folder.mkdir(parents=True, exist_ok=True)
    image = rng.normal(size=(2, 16, 20, 2)).astype(np.float32)
    image[:, :2] = 0
    np.savez(folder / f'{name}.npz', image=image[..., :1] if broken else image, seen=np.stack([mask, mask]),
             time=np.array([-50.0, 0]), volume=np.array([0.5, 1.0]), horizon=60.0, truth=mask, sites=mask,
             spacing=np.array([2.0, 2.0]), channel=np.array(1), mask=mask, mask_same=mask, mask_gompertz=mask,
             curve_gompertz=np.array([1.0, 0.01, 30.0]), rates=rng.random((16, 20)).astype(np.float32))


def make(folder, rows, broken=False):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / 'predictions.csv', rows)
    found = summary.summarise(rows)
    atomic_files.write_json(folder / 'results.json', {
        **found.pop('metrics'), 'analysis': found, 'problem': 'growth', 'classes': ['background', 'tumour'], 'step': 40,
        'counts': {'test': len(rows)}, 'notice': 'Squares.', 'conventions': summary.CONVENTIONS})
    atomic_files.write_json(folder / 'config.json', {
        'seed': 0, 'steps': 60, 'batch': 4, 'model': {'name': 'longitudinal_unet'}, 'evaluate': {'name': 'growth'}})
    atomic_files.write_json(folder / 'environment.json', {'devices': ['cpu:0'], 'parameters': 4321})
    write_metrics(folder)
    for each in rows:
        snapshot(folder / 'cases' / 'test', each['id'], broken)
    return folder


def test_the_page(tmp_path):
    page = Page(report_page.render(run_files.read(make(tmp_path / 'run', ROWS)), chapter.chapter))
    assert page.open == [] and page.headings == [
        'Results', 'Participants', 'Predicted masks', 'Predicted volumes', 'Dice by case', 'New tumours', 'All cases',
        'Training history', 'Conventions', 'How to reproduce']
    assert summary.CONVENTIONS in page.text and 'Squares.' in page.text and not re.search(r'\b(nan|None)\b', page.text)
    assert 'Dice 0.800 (' in page.text and 'no change 0.600, Gompertz 0.850' in page.text
    assert 'Best: test0' in page.text and 'Median: test1' in page.text and 'Worst: test2' in page.text
    assert 'for 4 sites without a tumour in 3 patients; new tumours arose at 2 sites' in page.text
    assert '+60 days: truth, predicted' in page.text
    assert len([tag for tag, _ in page.tags if tag == 'img']) == 3 * 4 + 4 + 2 + 1 + 3  # and the logged ones


def test_without_snapshots_and_sites(tmp_path, monkeypatch):
    for module in (charts, pictures):
        monkeypatch.setattr(module, 'png', lambda figure, dpi: b'')
    rows = [{key: value for key, value in each.items() if not key.endswith(('left', 'right'))} for each in ROWS]
    folder = make(tmp_path / 'run', rows)
    for path in (folder / 'cases' / 'test').iterdir():
        path.unlink()
    page = Page(report_page.render(run_files.read(folder), chapter.chapter))
    assert 'New tumours' not in page.headings and 'Predicted masks' not in page.headings
    assert 'Predicted volumes' in page.headings


def test_a_broken_snapshot_is_named(tmp_path):
    folder = make(tmp_path / 'run', ROWS, broken=True)
    with pytest.raises(InputError, match='test0.npz: not a snapshot of a case: IndexError'):
        report_page.render(run_files.read(folder), chapter.chapter)
