"""The evaluator of treatment effects: rows by hand, its use of the truth, baselines as scikit-learn fits them."""

import dataclasses

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression

from medjax.core.task import Task
from medjax.data.datasets.tabular import dataset
from medjax.data.simulated import treatment as simulated_treatment
from medjax.data.source import Case, Source, TreatmentOutcome
from medjax.errors import InputError
from medjax.tasks.treatment.evaluator import evaluator

KNOWN = Task(init=None, loss=None, metrics=None,
             predict=lambda variables, batch: {'outcomes': batch['covariates'][:, :2] * variables})


def make_data(seed=0, **options):
    return dataset(simulated_treatment.source(cases=(120, 30, 31), realisation=seed, **options))


def test_rows():
    data = make_data()
    evaluate = evaluator(data=data, task=KNOWN, batch=8)
    rows = evaluate(2.0, 'test')
    ends = ('', '_ols', '_ols_by_group', '_trees')
    assert list(rows[0]) == ['split', 'id', 'patient', 'sex', 'treatment', 'outcome', *(
        f'outcome_if_{given}{end}' for end in ends for given in (0, 1)), 'propensity', 'matched', 'effect']
    assert len(rows) == 31 and [row['id'] for row in rows] == [f'test{n:04d}' for n in range(31)]
    at, train = data.numbers('test'), data.numbers('train')
    got = np.array([[row['outcome_if_0'], row['outcome_if_1']] for row in rows])
    np.testing.assert_allclose(got, data.covariates[at, :2] * 2, rtol=1e-6)
    x, t, y = data.covariates[train], *(data.outcomes[name][train] for name in ('treatment', 'outcome'))
    chance = LogisticRegression(max_iter=1000).fit(x, t).predict_proba(data.covariates[at])[:, 1]
    np.testing.assert_allclose([row['propensity'] for row in rows], chance, rtol=1e-6)
    for name, make in (('ols_by_group', LinearRegression),
                       ('trees', lambda: HistGradientBoostingRegressor(random_state=0))):
        for given in (0, 1):
            want = make().fit(x[t == given], y[t == given]).predict(data.covariates[at])
            np.testing.assert_allclose([row[f'outcome_if_{given}_{name}'] for row in rows], want, rtol=1e-5)
    same = [row['outcome_if_1_ols'] - row['outcome_if_0_ols'] for row in rows]
    assert np.ptp(same) < 1e-4 and np.mean(same) == pytest.approx(1, abs=0.5)
    assert list(evaluate(2.0, 'val', quick=True)[0])[-5:] == ['outcome_if_0', 'outcome_if_1', 'propensity', 'matched',
                                                              'effect']


def case(number, split, x, treatment, outcome):
    return Case(id=f'c{number}', patient=f'c{number}', split=split, read=None, record={'x': x},
                target=TreatmentOutcome(treatment, outcome))


def test_the_nearest_of_the_other_group():
    cases = [case(0, 'train', 0.0, 0, 1.0), case(1, 'train', 4.0, 0, 2.0), case(2, 'train', 3.0, 1, 7.0),
             case(3, 'test', 0.5, 1, 9.0), case(4, 'test', 3.9, 0, 5.0)]
    data = dataset(Source(cases=tuple(cases), classes=('usual', 'new'), problem='treatment'))
    evaluate = evaluator(data=data, task=KNOWN)
    np.testing.assert_allclose(evaluate._matched_effects(data.numbers('test')), [9 - 1, 7 - 5])
    np.testing.assert_allclose(evaluate._matched_effects(data.numbers('train')), [7 - 1, 7 - 2, 7 - 2])


def test_the_truth_is_reported_and_not_used():
    """Other true effects change the column 'effect' and what is simulated of it alone."""
    data = make_data()
    cases = tuple(dataclasses.replace(one, target=dataclasses.replace(one.target, mu0=None, mu1=None))
                  for one in data.source.cases)
    blind = dataset(dataclasses.replace(data.source, cases=cases))
    rows, others = (evaluator(data=of, task=KNOWN)(1.0, 'val') for of in (data, blind))
    assert [{key: value for key, value in row.items() if key != 'effect'} for row in rows] == others
    evaluate = evaluator(data=data, task=KNOWN)
    assert evaluate.validation_metrics(rows) == evaluate.validation_metrics(others)
    assert evaluate.groups == evaluator(data=blind, task=KNOWN).groups


def test_validation_by_hand():
    rows = [dict(treatment=1, outcome=3.0, outcome_if_0=0.0, outcome_if_1=5.0, matched=2.0),
            dict(treatment=0, outcome=1.0, outcome_if_0=1.0, outcome_if_1=2.0, matched=1.0),
            dict(treatment=0, outcome=1.0, outcome_if_0=3.0, outcome_if_1=5.0, matched=-2.0)]
    got = evaluator(data=make_data(), task=KNOWN).validation_metrics(rows)
    assert got == pytest.approx({'factual_rmse': np.sqrt((4 + 2) / 2), 'pehe_matched': np.sqrt((9 + 0 + 16) / 3)})


def test_groups_that_differ_and_overlap():
    evaluate = evaluator(data=make_data(confounding=2.0), task=KNOWN)
    found = evaluate.groups
    before, after = found['balance']['x0']
    assert before > 0.8 and abs(after) < before / 2 and list(found['balance']) == [f'x{k}' for k in range(5)]
    for name, count in found['counts'].items():
        assert sum(found['overlap'][name]) == count and found['effective'][name] < count
    assert sum(found['counts'].values()) == 120 and len(found['overlap']['edges']) == 21


def test_an_empty_batch_is_refused():
    with pytest.raises(InputError, match='config.evaluate.batch: 0'):
        evaluator(data=make_data(), task=KNOWN, batch=0)
