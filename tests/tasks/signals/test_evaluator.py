"""The evaluator of beats by hand, on whole recordings; its report; and both networks in one dimension."""

import csv
import functools
import importlib.resources
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import atomic_files
from medjax.core.task import Task
from medjax.data.datasets.signals import dataset
from medjax.data.simulated import ecg
from medjax.errors import InputError
from medjax.models import signal_segmenter, unet
from medjax.report import page as report_page
from medjax.report import run_files
from medjax.statistics import bootstrap
from medjax.tasks.segmentation import task as segmentation_task
from medjax.tasks.signals import chapter, evaluator
from tests.report.runs import write_table
from tests.report.test_page import Page
from tests.tasks.survival.survivals import write_metrics


def told(variables, batch):
    """Says beat wherever the first lead is higher than a number."""
    beat = (batch['image'][..., 0] > variables).astype(jnp.float32)
    return {'probs': jnp.stack([1 - beat, beat], -1)}


KNOWS = Task(init=None, loss=None, metrics=None, predict=told)


@functools.cache
def ecgs():
    return dataset(ecg.source(cases=(1, 1, 3), leads=2, noise=0.02), window=256)


def test_scores_by_hand():
    """Of three beats two are found, one by 20 ms too late; one is made up."""
    got = evaluator.scored(np.array([10, 52, 80]), np.array([10, 50, 200]), 100.0)
    assert got == pytest.approx({'f1': 4 / 6, 'sensitivity': 2 / 3, 'precision': 2 / 3, 'timing_ms': 10})
    none = evaluator.scored(np.zeros(0, int), np.array([3]), 100.0)
    assert none['f1'] == none['sensitivity'] == none['precision'] == 0 and np.isnan(none['timing_ms'])
    assert all(np.isnan(value) for value in evaluator.scored([], [], 100.0).values())


def test_rows(tmp_path):
    judge = evaluator.evaluator(data=ecgs(), task=KNOWS)
    rows = judge(0.8, 'test', snapshots=tmp_path / 'cases' / 'test')
    assert [row['id'] for row in rows] == [f'test{n:04d}' for n in range(3)]
    kept = json.loads((tmp_path / 'cases' / 'beats_test.json').read_text())
    for row in rows:
        one = kept[row['id']]
        assert len(one['probs']) == len(one['lead']) == 1250  # what the recording was filled up with is gone
        assert row['beats'] == len(one['true']) and row['found'] == len(one['found'])
        np.testing.assert_array_equal(np.array(one['lead']) > 0.8, np.array(one['probs']) > 0.5)
        assert row['detector_f1'] > 0.9
    assert 'detector_f1' not in judge(0.8, 'test', quick=True)[0]
    assert judge.validation_metrics(rows) == pytest.approx({name: np.nanmean([row[name] for row in rows])
                                                   for name in evaluator.METRICS})


def test_no_traces():
    with pytest.raises(InputError, match="config.evaluate.name: 'signals' needs traces of two classes"):
        evaluator.evaluator(data=None, task=KNOWS)


@pytest.mark.parametrize('model', [
    unet.Model(classes=2, dims=1, base=4, levels=2, norm='instance'), signal_segmenter.Model(classes=2, width=4)])
def test_networks_segment_traces(model):
    """They learn from an ECG where its beats are, and take other lengths."""
    task = segmentation_task.task(model, statistics=ecgs().statistics, loss={'cross_entropy': 1.0})
    items = [ecgs().item(0, np.random.default_rng(seed)) for seed in range(4)]
    batch = {name: np.stack([item[name] for item in items]) for name in ('image', 'label')}
    batch['mask'] = np.ones(4, np.float32)
    variables = jax.jit(task.init)(jax.random.key(0), batch)

    def step(variables, _):
        value, slope = jax.value_and_grad(lambda v: task.loss(v, batch, jax.random.key(0))[0])(variables)
        return jax.tree.map(lambda leaf, by: leaf - 0.3 * by, variables, slope), value

    variables, values = jax.jit(lambda v: jax.lax.scan(step, v, None, 60))(variables)
    assert values[-1] < 0.5 * values[0]
    probs = jax.eval_shape(task.predict, variables, {'image': batch['image'][:1, :64]})['probs']
    assert probs.shape == (1, 64, 2)


def test_a_trace_that_does_not_fill_the_last_step():
    model = signal_segmenter.Model(classes=2, width=4)
    x = np.random.default_rng(0).normal(size=(1, 10, 2)).astype(np.float32)
    out = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), x, train=False)[0])
    assert out[0].shape == (1, 10, 2) and out[1]['steps'].shape == (1, 3, 8)
    with pytest.raises(InputError, match='config.model.dims: 1, but images have 2 spatial dimensions'):
        jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, 8, 8, 2), np.float32), train=False))


def test_the_report(tmp_path):
    judge = evaluator.evaluator(data=ecgs(), task=KNOWS)
    rows = judge(0.8, 'test', snapshots=tmp_path / 'cases' / 'test')
    write_table(tmp_path / 'predictions.csv', rows)
    found = bootstrap.summarise(rows, judge.metrics, resamples=50)
    atomic_files.write_json(tmp_path / 'results.json', {
        'test': found, 'problem': 'beats', 'conventions': evaluator.CONVENTIONS, 'classes': ['rest', 'beat'],
        'counts': {'test': 3}, 'notice': ecgs().notice, 'step': 40})
    atomic_files.write_json(tmp_path / 'config.json', {'model': {'name': 'unet'}, 'checkpoint': {'best': 'f1'}})
    write_metrics(tmp_path)
    page = Page(report_page.render(run_files.read(tmp_path)))
    assert page.open == [] and 'Recordings: test' in page.headings and evaluator.CONVENTIONS in page.text
    assert f'F1 of beats {found["f1"]["value"]:.3f}' in page.text and not re.search(r'\b(nan|None)\b', page.text)
    cells = {row[0]: row[1:] for row in page.rows if row}
    assert cells['Sensitivity ↑'][1].startswith(f'{found["detector_sensitivity"]["value"]:.3f}')
    (tmp_path / 'cases' / 'beats_test.json').write_text('{}')
    with pytest.raises(InputError, match=r'beats_test\.json: not readable as recordings'):
        chapter.recordings(run_files.read(tmp_path), 'test')


def test_beats_of_a_new_recording(tmp_path):
    """The network says beat where the first of pydicom's twelve leads is high, which an R peak is."""
    path = pathlib.Path(str(importlib.resources.files('pydicom'))) / 'data/test_files/waveform_ecg.dcm'
    judge = evaluator.predictor(task=KNOWS, statistics={'rate': 125.0, 'leads': 12}, data={'window': 256})
    assert judge.example()['image'].shape == (1, 256, 12)
    line = judge(0.7, path, tmp_path)
    with (tmp_path / 'waveform_ecg.csv').open() as file:
        rows = list(csv.DictReader(file))
    times = [float(row['seconds']) for row in rows]
    assert 5 < len(rows) < 20 and f'{len(rows)} beats' in line and 'a minute' in line
    assert rows[0]['interval_ms'] == ''
    assert float(rows[1]['interval_ms']) == pytest.approx(1000 * (times[1] - times[0]))
    assert all(float(row['probability']) == 1 for row in rows)
    judge(99.0, path, tmp_path)
    assert [row['beat'] for row in csv.DictReader((tmp_path / 'waveform_ecg.csv').open())] == ['']
