"""The evaluator of forecasting: rows by hand, baselines as scikit-learn fits them, and the visits that they use."""

import csv
import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeCV

from medjax.core.task import Task
from medjax.data.datasets.time_series import dataset
from medjax.data.simulated import visits
from medjax.data.source import Case, Outcome, Series, Source
from medjax.data.sources import visits_csv
from medjax.data.splits import Splitting
from medjax.errors import InputError
from medjax.tasks.forecasting.baselines import ALPHAS
from medjax.tasks.forecasting.evaluator import evaluator, predictor
from tests.metrics.ipcw import horizon_weights


def predict_known(variables, batch):
    """Forecasts of 100 and 200 for the two values, and probabilities that increase from visit to visit."""
    shape = batch['values'].shape
    return {'next': np.broadcast_to(np.float32([100, 200]), shape), 'carried': batch['values'],
            'chance': np.broadcast_to(np.arange(shape[1], dtype=np.float32)[:, None] / 10, (*shape[:2], 1)) * variables}


KNOWN = Task(init=None, loss=None, metrics=None, predict=predict_known)


def case(name, split, times, values, end, event):
    return Case(id=name, patient=name, split=split, read=None, record={'x': float(len(times))},
                series=Series(np.array(times, float), np.array(values, float)), target=Outcome(end, event))


def few(horizon=2.0):
    """Of two patients who train and one who tests, whose series begins at 3."""
    gone = np.nan
    cases = (case('a', 'train', [0, 1], [[1, 5], [2, gone]], 4.0, 1), case('b', 'train', [0], [[4, 8]], 1.0, 0),
             case('c', 'test', [3, 4, 6], [[1, gone], [gone, 7], [5, 6]], 4.5, 1))
    source = Source(cases=cases, classes=('death',), problem='forecast', least_classes=1, unit='years',
                    measured=('p', 'q'))
    return dataset(source, horizon=horizon)


def test_rows_by_hand():
    rows = evaluator(data=few(), task=KNOWN)(1.0, 'test')
    assert [row['id'] for row in rows] == ['c_0', 'c_1', 'c_2'] and {row['patient'] for row in rows} == {'c'}
    assert [(row['time'], row['ahead'], row['gap'], row['ended']) for row in rows] == [
        (0, 1, 4.5, 'death'), (1, 2, 3.5, 'death'), (3, '', 1.5, 'death')]
    assert [(row['p'], row['q'], row['next_p'], row['next_q']) for row in rows] == [
        (1, '', '', 7), ('', 7, 5, 6), (5, 6, '', '')]
    assert [row['forecast_q'] for row in rows] == [200, 200, ''] and rows[2]['ridge_p'] == ''
    assert [row['chance_death'] for row in rows] == pytest.approx([0, 0.1, 0.2])
    quick = evaluator(data=few(), task=KNOWN)(1.0, 'test', quick=True)
    assert [set(row) - set(less) for row, less in zip(rows, quick)] == [{'ridge_p', 'ridge_q', 'logistic_death'}] * 3
    assert not any('death' in name for name in evaluator(data=few(0.0), task=KNOWN)(1.0, 'test')[0])


def test_baselines_equal_scikit_learn():
    data = dataset(visits.source(cases=(40, 5, 12), missing=0.3), horizon=3.0)
    evaluate = evaluator(data=data, task=KNOWN)
    rows, x, ahead, wanted, soon = evaluate(1.0, 'test'), [], [], [], []
    seen = data.network_inputs(np.arange(len(data.source.cases)))
    where, outcome = [], []
    for number, one in enumerate(data.source.cases):
        last, ever = np.zeros(2), np.zeros(2, bool)
        for visit, time in enumerate(one.series.times):
            there = ~np.isnan(one.series.values[visit])
            last, ever = np.where(there, seen['values'][number, visit], last), ever | there
            x.append([*last, *~there, *~ever, *seen['covariates'][number], seen['times'][number, visit]])
            more = visit + 1 < len(one.series.times)
            ahead.append(seen['times'][number, visit + 1] - seen['times'][number, visit] if more else 0)
            wanted.append((one.series.values[visit + 1] - data.spread['mean']) / data.spread['std'] if more
                          else [np.nan] * 2)
            gap = one.target.time - time
            soon.append(np.nan if gap <= 3 and not one.target.event else float(gap <= 3))
            outcome.append((max(gap, 0), one.target.event > 0))
            where.append(one.split)
    x, wanted, soon, where = np.array(x), np.array(wanted), np.array(soon), np.array(where)
    full, train = np.column_stack([x, ahead]), where == 'train'
    for k, name in enumerate(('marker', 'other')):
        known = train & ~np.isnan(wanted[:, k])
        want = RidgeCV(ALPHAS).fit(full[known], wanted[known, k]).predict(full)[where == 'test']
        got = [(row[f'ridge_{name}'], value) for row, value in zip(rows, want) if row[f'ridge_{name}'] != '']
        np.testing.assert_allclose([pair[0] for pair in got], np.array([pair[1] for pair in got])
                                   * data.spread['std'][k] + data.spread['mean'][k], rtol=1e-3, atol=1e-3)
    known = train & ~np.isnan(soon)
    gap, ended = np.array(outcome)[train].T
    weight = np.zeros(len(train))
    weight[train] = horizon_weights(gap, ended, 3.0)
    fit = LogisticRegression(max_iter=2000).fit(x[known], soon[known], weight[known])
    want = fit.predict_proba(x[where == 'test'])[:, 1]
    np.testing.assert_allclose([row['logistic_death'] for row in rows], want, atol=1e-3)


def test_baselines_use_no_later_visits():
    data = few()
    cut = [dataclasses.replace(one, series=Series(one.series.times[:2], one.series.values[:2])) if one.id == 'c' else
           one for one in data.source.cases]
    less = dataset(dataclasses.replace(data.source, cases=tuple(cut)), horizon=2.0)
    for row, other in zip(evaluator(data=data, task=KNOWN)(1.0, 'test'), evaluator(data=less, task=KNOWN)(1.0, 'test')):
        assert row['logistic_death'] == pytest.approx(other['logistic_death'])
        if row['time'] == 0:
            assert row['ridge_q'] == pytest.approx(other['ridge_q'])


def test_validation_by_hand():
    """p: errors 1 and 3, carried forward 2 and 2; q: 2, carried forward 0, over which nothing can be divided."""
    rows = [dict(next_p=1.0, forecast_p=2.0, carried_p=3.0, next_q=5.0, forecast_q=7.0, carried_q=5.0, gap=1.0,
                 ended='death', chance_death=0.8),
            dict(next_p=1.0, forecast_p=-2.0, carried_p=-1.0, next_q='', forecast_q='', carried_q=1.0, gap=9.0,
                 ended='', chance_death=0.4),
            dict(next_p='', forecast_p='', carried_p='', next_q='', forecast_q='', carried_q='', gap=1.0,
                 ended='', chance_death=0.9)]
    data = few()
    got = evaluator(data=data, task=KNOWN).validation_metrics(rows)
    std = data.spread['std']
    # Of the two that are left after the death at 1 one is censored then: those beyond the horizon count twice.
    loss = np.mean([5 / std[0]**2, 4 / std[1]**2]) - np.average([np.log(0.8), np.log(0.6)], weights=[1, 2])
    assert got == pytest.approx({'loss': loss, 'mase': 4 / 4, 'auroc': 1.0, 'auprc': 1.0})
    assert set(evaluator(data=few(0.0), task=KNOWN).validation_metrics(rows)) == {'loss', 'mase'}
    assert np.isnan(evaluator(data=data, task=KNOWN).validation_metrics(rows[2:])['mase'])


@pytest.mark.parametrize('options, message', [
    (dict(batch=0), 'config.evaluate.batch: 0; expected at least 1'),
    (dict(lead_times=(1.0, 3.0)), r'config.evaluate.lead_times: \(1.0, 3.0\); expected times above 0, rising up to '
     'config.data.horizon, 2'),
    (dict(lead_times=(1.0, 0.5, 2.0)), 'config.evaluate.lead_times'),
])
def test_invalid_input_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        evaluator(data=few(), task=KNOWN, **options)


def test_series_with_landmarks_are_refused():
    data = dataset(visits.source(cases=(20, 5, 5), landmarks=(1.0,)))
    with pytest.raises(InputError, match="config.evaluate.name: 'forecasting' needs time series without landmarks"):
        evaluator(data=data, task=KNOWN)
    with pytest.raises(InputError, match='config.data.horizon: -1; expected a time, or 0 for no events'):
        dataset(visits.source(cases=(20, 5, 5)), horizon=-1)
    assert evaluator(data=few(), task=KNOWN).lead_times == pytest.approx((2 / 3, 4 / 3, 2)) and not evaluator(
        data=few(0.0), task=KNOWN).lead_times


def test_new_patients_from_a_table(tmp_path):
    """A patient with two visits gets the forecast after the second, for each lead time; outcomes are optional."""
    table = tmp_path / 'visits.csv'
    table.write_text('id,year,p,q,x,end,dead\na,0,1,5,3,4,1\na,1,2,,3,4,1\nb,0,4,8,1,1,0\nc,0,3,5,2,4,1\n')
    keys = dict(measurements=('p', 'q'), static=('x',), time='year', event='dead')
    source = visits_csv.source(table='visits.csv', dir=str(tmp_path), **keys,
                               splitting=Splitting(splits={'a': 'train', 'b': 'train', 'c': 'test'}))
    data = dataset(source, horizon=3.0)

    def ahead(variables, batch):
        """The next value is the time to the next visit in clocks, the probability a tenth of the visits so far."""
        gap = jnp.diff(batch['times'], axis=1, append=batch['times'][:, -1:])
        shape = batch['values'].shape
        return {'next': jnp.broadcast_to(gap[..., None], shape) * variables, 'carried': batch['values'],
                'chance': batch['time_mask'].cumsum(1)[..., None] / 10}

    new = tmp_path / 'new.csv'
    new.write_text('id,year,p,q,x\nd,5,1,5,3\nd,7,2,,3\ne,1,4,8,1\n')
    predict = predictor(task=Task(None, None, ahead, None),
                        statistics=data.statistics, read=visits_csv.image_reader(table='visits.csv', **keys))
    assert predict.example()['values'].shape == (1, 3, 2)
    predict(data.spread['clock'], new, tmp_path / 'out')
    with (tmp_path / 'out' / 'predictions.csv').open() as file:
        first, second = csv.DictReader(file)
    assert (first['id'], first['visits'], first['time'], second['visits']) == ('d', '2', '7.0', '1')
    assert [float(row[f'p_in_{lead}']) for row in (first, second) for lead in (1, 2, 3)] == pytest.approx([1, 2, 3] * 2)
    assert [float(row['chance_event']) for row in (first, second)] == pytest.approx([0.2, 0.1])
    new.write_text('id,year,p,q,x\n' + ''.join(f'd,{n},1,5,3\n' for n in range(3)))
    with pytest.raises(InputError, match='d has 3 visits; expected at most 2, the longest series in training'):
        predict(1.0, new, tmp_path / 'out')
