"""Predictions in batches of one size."""

import jax.numpy as jnp
import numpy as np

from medjax.core.batched import BatchedPredictor
from medjax.core.task import Task


def predictor(batch, calls):
    def predict(variables, inputs):
        calls.append(inputs['x'].shape)
        return {'double': variables * inputs['x'], 'sum': inputs['x'].sum(1)}
    return BatchedPredictor(Task(None, None, predict, None), batch)


def test_any_number_of_cases_is_one_compilation():
    calls, x = [], np.arange(14, dtype=np.float32).reshape(7, 2)
    predict = predictor(3, calls)
    for count in (7, 3, 1):
        found = predict(jnp.float32(2), {'x': x[:count]})
        np.testing.assert_array_equal(found['double'], 2.0 * x[:count])
        np.testing.assert_array_equal(found['sum'], x[:count].sum(1))
        assert found['double'].dtype == found['sum'].dtype == np.float64
    assert calls == [(3, 2)]


def test_only_named_outputs_are_returned():
    assert set(predictor(2, [])(jnp.float32(1), {'x': np.ones((3, 2))}, ('sum',))) == {'sum'}
