"""Evaluation of regression: rows, the mean over variants, validation metrics by hand, and predictions of a table."""

import csv
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.core.task import Task
from medjax.data.datasets import molecules, smiles_tokens
from medjax.data.simulated import molecules as simulated_molecules
from medjax.errors import InputError
from medjax.models import mpnn
from medjax.tasks.regression import task as regression_task
from medjax.tasks.regression.evaluator import TREES, evaluator, predictor

pytest.importorskip('rdkit')
# Predicts the number of tokens, and the first token for the second target.
COUNTS = Task(None, None, lambda variables, batch: {'values': jnp.stack(
    [batch['token_mask'].sum(1), batch['tokens'][:, 0].astype(jnp.float32)], 1)}, None)


@functools.cache
def make_data(random_smiles=0):
    return molecules.dataset(simulated_molecules.source(cases=(40, 7, 9), targets=2, missing=0.4),
                             representation='tokens', random_smiles=random_smiles)


def test_rows_of_the_network_and_of_baselines(monkeypatch):
    monkeypatch.setitem(TREES, 'n_estimators', 5)
    data = make_data()
    rows = evaluator(data=data, task=COUNTS, batch=4)({}, 'test')
    assert [row['id'] for row in rows] == [data.source.cases[n].id for n in data.numbers('test')]
    for row, number in zip(rows, data.numbers('test')):
        case = data.source.cases[number]
        assert row['predicted_target'] == len(smiles_tokens.tokens(row['smiles']))
        assert row['target'] == case.target.values[0] and row['patient'] == case.patient
        assert (row['target1'] == '') == np.isnan(case.target.values[1])
        assert {f'predicted_target{k}_{name}' for k in ('', 1) for name in ('trees', 'trees_described')} <= set(row)
    quick = evaluator(data=data, task=COUNTS, batch=4)({}, 'test', quick=True)
    assert not any('trees' in name for name in quick[0])


def test_a_prediction_is_the_mean_over_random_smiles():
    data = make_data(3)
    numbers = data.numbers('test')
    rows = evaluator(data=data, task=COUNTS, batch=5)({}, 'test', quick=True)
    want = data.inputs['tokens'][numbers, :, 0].mean(1)
    np.testing.assert_allclose([row['predicted_target1'] for row in rows], want, rtol=1e-6)
    assert (data.inputs['tokens'][numbers, :, 0].std(1) > 0).any()


def test_validation_by_hand():
    evaluate = evaluator(data=make_data(), task=COUNTS)
    std = make_data().statistics['std']
    rows = [{'target': 1.0, 'predicted_target': 2.0, 'target1': '', 'predicted_target1': 9.0},
            {'target': 3.0, 'predicted_target': 3.0, 'target1': 5.0, 'predicted_target1': 5.0},
            {'target': 5.0, 'predicted_target': 4.0, 'target1': 7.0, 'predicted_target1': 9.0}]
    got = evaluate.validation_metrics(rows)
    assert got['nrmse'] == pytest.approx((np.sqrt(2 / 3) / std[0] + np.sqrt(2) / std[1]) / 2)
    assert got['r2'] == pytest.approx(((1 - 2 / 8) + (1 - 4 / 2)) / 2)


def test_a_table_of_new_molecules(tmp_path):
    data = make_data()
    predict = predictor(task=COUNTS, statistics=data.statistics, batch=4)
    (tmp_path / 'new.csv').write_text('id,smiles\nx,CCO\n,c1ccccc1C[Si]\n')
    line = predict({}, tmp_path / 'new.csv', tmp_path / 'out')
    rows = list(csv.DictReader((tmp_path / 'out' / 'predictions.csv').read_text().splitlines()))
    assert [row['id'] for row in rows] == ['x', 'row3'] and [row['smiles'] for row in rows] == ['CCO', 'c1ccccc1C[Si]']
    assert [float(row['predicted_target']) for row in rows] == [3, 10]
    assert '2 molecules' in line and '1 with tokens that no training molecule has' in line
    (tmp_path / 'new.csv').write_text('smiles\nCCO\nC?\n')
    with pytest.raises(InputError, match=r"new.csv: row 3: SMILES 'C\?' has '\?' at letter 2"):
        predict({}, tmp_path / 'new.csv', tmp_path / 'out')
    (tmp_path / 'new.csv').write_text('id,smiles\nx,CCO\ny,\n')
    with pytest.raises(InputError, match='new.csv: row 3: smiles is empty'):
        predict({}, tmp_path / 'new.csv', tmp_path / 'out')
    (tmp_path / 'new.csv').write_text('molecule\nCCO\n')
    with pytest.raises(InputError, match="no column 'smiles'"):
        predict({}, tmp_path / 'new.csv', tmp_path / 'out')


def test_predictions_for_new_molecules_are_those_of_the_same_cases(tmp_path):
    data = molecules.dataset(simulated_molecules.source(cases=(12, 3, 4)), descriptors=('logp',))
    task = regression_task.task(mpnn.Model(width=4, depth=1, features=(4,)), statistics=data.statistics)
    predict = predictor(task=task, statistics=data.statistics, batch=4)
    variables = jax.jit(task.init)(jax.random.key(0), predict.example())
    known = evaluator(data=data, task=task, batch=4)(variables, 'test', quick=True)
    (tmp_path / 'new.csv').write_text('\n'.join(['smiles', *(row['smiles'] for row in known)]))
    predict(variables, tmp_path / 'new.csv', tmp_path / 'out')
    rows = list(csv.DictReader((tmp_path / 'out' / 'predictions.csv').read_text().splitlines()))
    np.testing.assert_allclose([float(row['predicted_target']) for row in rows],
                               [row['predicted_target'] for row in known], rtol=1e-5)


def test_an_empty_batch_is_refused():
    with pytest.raises(InputError, match='config.evaluate.batch: 0'):
        evaluator(data=make_data(), task=COUNTS, batch=0)
