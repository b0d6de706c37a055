"""Evaluation of survival analysis: the baseline hazard by hand, rows, and tables of new patients."""

import csv
import dataclasses
import math

import jax
import numpy as np
import pytest

from medjax.data.datasets import time_series
from medjax.data.datasets.tabular import dataset
from medjax.data.simulated import survival, visits
from medjax.data.sources import survival_csv, visits_csv
from medjax.errors import InputError
from medjax.models import sequence
from medjax.models.mlp import Model
from medjax.tasks.survival import task as survival_task
from medjax.tasks.survival.evaluator import breslow_baseline, evaluator, predictor, risk_and_incidence


def test_breslows_baseline_by_hand():
    """Five patients: three have the event, two of them at one time."""
    log = np.log([1.0, 2.0, 4.0, 0.5, 1.0])[:, None, None]
    time, event, times = np.array([1.0, 2, 2, 3, 5]), np.array([1, 1, 1, 0, 0]), np.array([1.0, 1.5, 2.5])
    baseline_hazard = breslow_baseline(log, time, event, times)
    np.testing.assert_allclose(baseline_hazard, [[1 / 8.5, 0, 2 / 7.5]])
    risk, incidence = risk_and_incidence({'log_hazard': np.log([[[2.0]]])}, baseline_hazard)
    np.testing.assert_allclose(incidence, 1 - np.exp(-2 * np.cumsum(baseline_hazard))[None, None])
    np.testing.assert_allclose(risk, [[np.log(2)]])
    changing = np.broadcast_to(log, (5, 1, 3)) + np.array([0, 0, np.log(3)])
    np.testing.assert_allclose(breslow_baseline(changing, time, event, times), [[1 / 8.5, 0, 2 / 22.5]])


def test_expected_and_observed_training_events_agree():
    """Of each event the cumulative hazards at the patients' own times add up to how many had it."""
    rng = np.random.default_rng(0)
    log, time, event = rng.normal(size=(80, 2, 1)), rng.exponential(5, 80), rng.integers(0, 3, 80)
    times = np.unique(time)
    gained = np.cumsum(breslow_baseline(log, time, event, times), -1)
    for k in range(2):
        total = (np.exp(log[:, k, 0]) * gained[k, np.searchsorted(times, time)]).sum()
        np.testing.assert_allclose(total, (event == k + 1).sum())


@pytest.mark.parametrize('loss, outputs', [('cox', 1), ('hazard', 8)])
def test_predictions_for_new_patients_are_those_of_the_same_cases(loss, outputs, tmp_path):
    data = dataset(survival.source(cases=(80, 20, 30), missing=0.1))
    task = survival_task.task(Model(outputs=outputs, features=(8,)), statistics=data.statistics, loss=loss, bins=8)
    batch = {**data.batch(data.numbers('train')), 'mask': np.ones(80, np.float32)}
    variables = jax.jit(task.init)(jax.random.key(0), batch)
    rows = evaluator(data=data, task=task, batch=7)(variables, 'test', snapshots=tmp_path / 'cases' / 'test')
    patients = [data.source.cases[number] for number in data.numbers('test')]
    with (tmp_path / 'new.csv').open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['id', *patients[0].record])
        writer.writerows([case.id, *('' if value != value else value for value in case.record.values())]
                         for case in patients)
    predict = predictor(task=task, statistics=data.statistics, folder=tmp_path, read=None, data={})
    assert predict.example()['covariates'].shape == (1, data.covariates.shape[1])
    line = predict(variables, tmp_path / 'new.csv', tmp_path / 'out')
    assert '30 patients' in line and 'death by' in line and 'months' in line
    missing = sum(math.isnan(case.record['x0']) for case in patients)
    assert missing and f'missing, filled with the training median: x0 {missing}, x1 ' in line
    with (tmp_path / 'out' / 'predictions.csv').open(newline='') as file:
        found = list(csv.DictReader(file))
    kept = [name for name in rows[0] if name.startswith(('risk_', 'incidence_'))]
    assert list(found[0]) == ['id', *kept]
    for row, new in zip(rows, found):
        assert row['id'] == new['id']
        np.testing.assert_allclose([float(new[name]) for name in kept], [row[name] for name in kept], atol=2e-6)
    if loss == 'cox':
        (tmp_path / 'cases' / 'baseline.json').unlink()
        with pytest.raises(InputError, match='baseline.json: cannot be read; expected what `python -m medjax.evaluate'):
            predict(variables, tmp_path / 'new.csv', tmp_path / 'out')


def test_tables_of_new_patients_with_text_covariates(tmp_path):
    path = tmp_path / 'new.csv'
    path.write_text('age,stage\n50,II\n,III\n,\n')
    ids, records = survival_csv.read_covariates(path, ('age', 'stage=I', 'stage=II'))
    assert ids == ['row2', 'row3', 'row4'] and records[0] == {'age': 50, 'stage=I': 0, 'stage=II': 1}
    assert np.isnan(records[1]['age']) and records[1]['stage=II'] == 0 and np.isnan(records[2]['stage=I'])
    for names, said in ((('size',), "no column 'size'"), (('stage',), "row 2: stage is 'II'; expected a number")):
        with pytest.raises(InputError, match=said):
            survival_csv.read_covariates(path, names)


def test_predictions_for_new_series_are_those_of_the_same_cases(tmp_path):
    """Patients written as a table of visits, with the landmark at their last visit."""
    source = visits.source(cases=(60, 20, 1), landmarks=(1.0,))
    data = time_series.dataset(source, times=(1.0, 3.0))
    task = survival_task.task(sequence.Model(outputs=2, width=4), statistics=data.statistics, loss='weibull')
    rows, batch = data.batch(np.arange(4)), 16
    variables = jax.jit(task.init)(jax.random.key(0), rows)
    patients = [case for case in visits.source(cases=(3, 0, 0)).cases]
    lines = ['id,time,marker,other,sex'] + [
        ','.join([case.id, *('' if np.isnan(value) else repr(float(value)) for value in (time, *values)),
                  'm' if case.record['sex=m'] else 'f'])
        for case in patients for time, values in zip(case.series.times, case.series.values)]
    (tmp_path / 'new.csv').write_text('\n'.join(lines))
    read = visits_csv.image_reader(table='t.csv', measurements=('marker', 'other'), static=('sex',))
    predict = predictor(task=task, statistics=data.statistics, folder=tmp_path, read=read, data={}, batch=batch)
    assert jax.tree.map(np.shape, predict.example())['values'] == (1, data.max_visits, 2)
    predict(variables, tmp_path / 'new.csv', tmp_path / 'out')
    with (tmp_path / 'out' / 'predictions.csv').open() as file:
        new_rows = list(csv.DictReader(file))
    same = {case.id: number for number, case in enumerate(source.cases)}  # at their last visit those who train are too
    want = evaluator(data=data, task=task, batch=batch)(variables, 'train')
    by_id = {row['id']: row for row in want}
    assert len(new_rows) == 3 and all(row['id'] in same for row in new_rows)
    for row in new_rows:
        for column in ('risk_death', 'incidence_death_at_1', 'incidence_death_at_3'):
            np.testing.assert_allclose(float(row[column]), by_id[row['id']][column], atol=1e-5)


def test_a_new_series_longer_than_any_in_training_is_refused(tmp_path):
    source = visits.source(cases=(20, 5, 1), landmarks=(1.0,))
    data = time_series.dataset(source, times=(1.0, 3.0))
    task = survival_task.task(sequence.Model(outputs=1, width=4), statistics=data.statistics)
    lines = ['id,time,marker,other,sex', *(f'p,{time},1,1,m' for time in range(data.max_visits + 1))]
    (tmp_path / 'new.csv').write_text('\n'.join(lines))
    read = visits_csv.image_reader(table='t.csv', measurements=('marker', 'other'), static=('sex',))
    predict = predictor(task=task, statistics=data.statistics, folder=tmp_path, read=read, data={})
    with pytest.raises(InputError, match=rf'new\.csv: p has {data.max_visits + 1} visits; '
                                         rf'expected at most {data.max_visits}'):
        predict({}, tmp_path / 'new.csv', tmp_path / 'out')


def test_the_treatment_recommendation_of_a_linear_model():
    """In a linear Cox model the benefit of all patients is the coefficient."""
    data = dataset(survival.source(cases=(40, 20, 20), covariates=2))
    cases = [dataclasses.replace(case, record={**case.record, 'drug': float(number % 2)})
             for number, case in enumerate(data.source.cases)]
    data = dataset(dataclasses.replace(data.source, cases=tuple(cases)))
    task = survival_task.task(Model(outputs=1, features=(), bias=False), statistics=data.statistics)
    kernel = np.array([[0.3], [0.1], [-0.7]], np.float32)
    rows = evaluator(data=data, task=task, batch=16,
                     treatment_covariate='drug')({'params': {'out': {'kernel': kernel}}}, 'test')
    assert [row['given'] for row in rows] == [case.record['drug'] for case in data.source.cases if case.split == 'test']
    np.testing.assert_allclose([row['benefit'] for row in rows], 0.7 / data.scale['std'][2], rtol=1e-5)
    with pytest.raises(InputError,
                       match=r"config\.evaluate\.treatment_covariate: 'x0'; expected a covariate that is 0 or 1"):
        evaluator(data=data, task=task, treatment_covariate='x0')
