"""Metrics of translations by hand, and the chapter: its tables, planes and pictures."""

import json

import numpy as np
import pytest

from medjax import atomic_files, restore
from medjax.errors import InputError
from medjax.report import run_files
from medjax.tasks.translation import summary
from medjax.tasks.translation.chapter import chapter, ranked_planes
from medjax.tasks.translation.snapshots import load_snapshot
from medjax.tasks.translation.table import METRICS, methods
from tests.report.runs import write_table

METHODS = ('', '_linear', '_lookup')


def rows(patients=4):
    rng = np.random.default_rng(0)
    for number in range(2 * patients):
        yield {'split': 'test', 'id': f'c{number}', 'patient': f'p{number // 2}', 'cycle_mae': 0.02,
               **{f'{name}{end}': float(rng.random()) + 20 * (name == 'psnr') for end in METHODS
                  for name in METRICS}}


def test_means_over_patients_and_gains_case_by_case():
    table = list(rows())
    found = summary.summarise(table)['metrics']['test']
    values = np.array([row['psnr'] for row in table]).reshape(4, 2)
    assert found['psnr']['value'] == pytest.approx(values.mean()) and found['psnr']['n'] == 4
    gain = np.array([row['psnr'] - row['psnr_lookup'] for row in table])
    assert found['gain_psnr_lookup']['value'] == pytest.approx(gain.mean())
    low, high = found['gain_psnr_lookup']['ci95']
    assert low < gain.mean() < high
    assert 'psnr_matched' not in found and found['cycle_mae']['value'] == pytest.approx(0.02)
    assert methods(table) == ['', 'linear', 'lookup']


def test_one_patient_has_no_interval_and_says_so():
    found = summary.summarise(list(rows(1)))['metrics']['test']
    assert found['psnr']['ci95'] is None and found['psnr']['why'] == 'one patient: no confidence interval'


def keep(folder, row, kind='volume', **more):
    rng = np.random.default_rng(1)
    image, target = rng.random((2, 6, 7, 3, 1)).astype(np.float16)
    head = np.zeros((6, 7, 3), np.uint8)
    head[1:5, 1:6, :2] = 1
    errors = np.array([0.1, 0.2, np.nan]) * (1 + int(row['id'][1:]))
    arrays = dict(image=image, target=target, made=target, lookup=target, cycle=image, head=head, planes=errors,
                  planes_lookup=errors, spacing=np.array([1.0, 1.0, 2.0]), kind=kind, first=-7.0)
    np.savez(folder / f'{row["id"]}.npz', **{**arrays, **more})


@pytest.fixture
def run(tmp_path):
    table = list(rows())
    write_table(tmp_path / 'predictions.csv', table)
    atomic_files.write_json(tmp_path / 'results.json', {
        **summary.summarise(table)['metrics'], 'problem': 'translation', 'classes': ['T1', 'T2'],
        'step': 3, 'counts': {'train': 9, 'test': 8}, 'conventions': summary.CONVENTIONS, 'notice': ''})
    (tmp_path / 'config.json').write_text(json.dumps({
        'model': {'name': 'translation'}, 'data': {}, 'evaluate': {'name': 'translation'}}))
    for folder in ('cases/test', 'course'):
        (tmp_path / folder).mkdir(parents=True)
    for row in table[:2]:
        keep(tmp_path / 'cases' / 'test', row)
    for step in (1, 3):
        np.savez(tmp_path / 'course' / f'{step:07d}.npz', made=np.ones((4, 5, 1)), target=np.ones((4, 5, 1)))
    return tmp_path


def test_the_chapter(run):
    made = chapter(run_files.read(run))
    (text, sure), = made.headlines
    assert text.startswith('PSNR 20.') and 'lookup table 20.' in text and 'n = 4 patients, 8 cases' in sure
    assert 'have an error of 0.020 of their range' in sure
    assert [group.heading for group in made.sections[0].groups] == [
        'Best: c0, axial plane at −7 mm', 'Median: c1, axial plane at −7 mm', 'Worst: c1, axial plane at −5 mm']
    assert [tile.title for tile in made.sections[0].groups[0].tiles] == [
        'Input', 'True', 'Translated', 'Difference', 'Cycle']
    assert [tile.title for tile in made.sections[-1].groups[0].tiles] == ['Step 1', 'Step 3', 'True']
    assert [row['id'] for row in made.cases] == [row['id'] for row in sorted(rows(), key=lambda row: -row['psnr'])]
    page = restore.write_report(run).read_text()
    assert 'histogram matching' in page and page.count('data:image/png') >= 18


def test_planes_with_little_of_the_head_do_not_compete(run):
    cases = [load_snapshot(run / 'cases' / 'test' / f'{name}.npz') for name in ('c0', 'c1')]
    assert {z for _, z in ranked_planes(cases).values()} == {0, 1}


def test_a_damaged_snapshot_is_named(run):
    keep(run / 'cases' / 'test', {'id': 'c0'}, made=np.ones((6, 7, 2, 1)))
    with pytest.raises(InputError, match=r'c0\.npz: .*expected an image and its translation on one grid'):
        chapter(run_files.read(run))
    (run / 'cases' / 'test' / 'c0.npz').write_bytes(b'no archive')
    with pytest.raises(InputError, match=r'c0\.npz: not readable as a snapshot of a case'):
        chapter(run_files.read(run))
