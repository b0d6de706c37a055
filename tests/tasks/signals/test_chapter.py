"""The report of signals."""

import re

import pytest

from medjax import atomic_files
from medjax.errors import InputError
from medjax.report import page as report_page
from medjax.report import run_files
from medjax.statistics import per_patient
from medjax.tasks.signals import chapter, evaluator
from tests.report.runs import write_table
from tests.report.test_page import Page
from tests.tasks.signals.recordings import KNOWS, ecgs
from tests.tasks.survival.survivals import write_metrics


def test_the_report(tmp_path):
    evaluate_cases = evaluator.evaluator(data=ecgs(), task=KNOWS)
    rows = evaluate_cases(0.8, 'test', snapshots=tmp_path / 'cases' / 'test')
    write_table(tmp_path / 'predictions.csv', rows)
    found = per_patient.summarise(rows, evaluate_cases.metrics)
    atomic_files.write_json(tmp_path / 'results.json', {
        'test': found, 'problem': 'beats', 'conventions': evaluator.CONVENTIONS, 'classes': ['rest', 'beat'],
        'counts': {'test': 3}, 'notice': ecgs().notice, 'step': 40})
    atomic_files.write_json(tmp_path / 'config.json', {
        'model': {'name': 'unet'}, 'evaluate': {'name': 'signals'}, 'checkpoint': {'best': 'f1'}})
    write_metrics(tmp_path)
    page = Page(report_page.render(run_files.read(tmp_path), chapter.chapter))
    assert page.open == [] and 'Example recordings: test' in page.headings and evaluator.CONVENTIONS in page.text
    assert f'F1 of beats {found["f1"]["value"]:.3f}' in page.text and not re.search(r'\b(nan|None)\b', page.text)
    cells = {row[0]: row[1:] for row in page.rows if row}
    assert cells['Sensitivity\N{NO-BREAK SPACE}↑'][1].startswith(f'{found["detector_sensitivity"]["value"]:.3f}')
    (tmp_path / 'cases' / 'beats_test.json').write_text('{}')
    with pytest.raises(InputError, match=r'beats_test\.json: not readable as recordings'):
        chapter.example_charts(run_files.read(tmp_path), 'test')
