"""Charts of classification: what they are drawn of."""

import numpy as np
import pytest

from medjax.report import probability_charts, run_files
from medjax.report.style import short_name
from medjax.tasks.classification import chapter_tables
from medjax.tasks.classification import charts as classification_charts
from medjax.tasks.classification.split import read_split
from tests.tasks.classification import diagnoses


def shown(folder, split='test'):
    return read_split(run_files.read(folder), split)


def capture(monkeypatch, name):
    """What a chart is drawn of, in place of the chart."""
    seen = []
    monkeypatch.setattr(probability_charts, name, lambda *args, **options: seen.append((args, options)) or b'')
    return seen


def test_two_classes_are_decided_at_the_operating_point(folders, monkeypatch):
    of = shown(folders['binary'])
    seen, drawn = capture(monkeypatch, 'confusion_chart'), capture(monkeypatch, 'discrimination_chart')
    monkeypatch.setattr(probability_charts, 'histogram_chart', lambda *args: b'')
    charts = classification_charts.discrimination_charts(of)
    table = seen[0][0][0]
    value = {name: of.entries[f'{name}_operating']['value'] for name in ('sensitivity', 'specificity', 'precision')}
    assert table.sum() == 80 and table[1, 1] / table[1].sum() == pytest.approx(value['sensitivity'])
    assert table[0, 0] / table[0].sum() == pytest.approx(value['specificity'])
    assert 'predicted at the operating point' in charts[2].caption
    roc, precision_recall = drawn[0][1], drawn[2][1]
    assert roc['point'][:2] == (pytest.approx(1 - value['specificity']), value['sensitivity']) and roc['level'] is None
    assert precision_recall['point'][:2] == (value['sensitivity'], pytest.approx(value['precision']))
    assert precision_recall['level'] == pytest.approx(table[1].sum() / 80)
    # The point lies on the curve.
    line = drawn[0][0][0][0]
    assert np.hypot(line.x - roc['point'].x, line.y - roc['point'].y).min() < 1e-9


def test_the_worst_separated_classes_are_named(folders, monkeypatch):
    of, drawn = shown(folders['multiclass']), capture(monkeypatch, 'discrimination_chart')
    seen = capture(monkeypatch, 'confusion_chart')
    charts = classification_charts.discrimination_charts(of)
    lines = drawn[0][0][0]
    named = [line.name for line in lines if line.name]
    areas = {name: of.entries[f'auroc_{name}']['value'] for name in diagnoses.KINDS['multiclass']}
    assert len(lines) == 9 and {line.place for line in lines if not line.name} == {None}
    worst = sorted(areas, key=areas.get)[:4]
    assert sorted(named) == sorted(f'{short_name(name)} {areas[name]:.3f}' for name in worst)
    assert 'Only the 4 lowest areas of 9 are named.' in charts[0].caption and charts[2].wide
    assert np.trace(seen[0][0][0]) / 160 == pytest.approx(of.entries['accuracy']['value'])


def test_the_diagram_shows_calibration_that_was_not_chosen_on_test_cases(folders, monkeypatch):
    of, seen = shown(folders['binary']), capture(monkeypatch, 'reliability_chart')
    chart = classification_charts.uncertainty_charts(of)[0]
    bins = seen[0][0][0]
    assert list(bins) == ['as predicted', 'after temperature scaling']
    assert bins['as predicted'] == of.run.results['analysis']['reliability']['test']['pneumonia']
    assert 'fitted on validation cases' in chart.caption
    before, *after = chapter_tables.uncertainty_tables(of)[0].rows
    assert before[2][0].text == f'{of.entries["ece"]["value"]:.3f}' and len(after) == 3
