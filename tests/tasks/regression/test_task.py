"""Regression: losses by hand with missing targets, networks that learn, and invalid options."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from medjax.data.datasets import molecules
from medjax.data.simulated import molecules as simulated_molecules
from medjax.errors import InputError
from medjax.models import mpnn, smiles_encoder
from medjax.tasks.regression import task as regression_task
from medjax.tasks.regression.evaluator import evaluator
from tests.tasks.learning import learned

pytest.importorskip('rdkit')
KNOWN = {'classes': ['a', 'b'], 'mean': [1.0, -2.0], 'std': [2.0, 4.0]}
NETWORKS = {'directed': lambda: mpnn.Model(width=16, depth=3, features=(16,), readout='sum'),
            'gru': lambda: smiles_encoder.Model(width=16, features=(16,), tokens=24)}


class Known(nn.Module):
    """Returns its input."""

    outputs: int = 2
    inputs = ('said',)

    @nn.compact
    def __call__(self, said, *, train):
        return said, {}


def batch(**more):
    return {'said': np.array([[0.5, 1.0], [2.0, 0.0], [0.0, 9.0], [1.0, 1.0]], np.float32),
            'targets': np.array([[3.0, 2.0], [1.0, np.nan], [np.nan, np.nan], [9.0, 9.0]], np.float32),
            'mask': np.array([1, 1, 1, 0], np.float32), **more}


def test_the_loss_by_hand():
    """Standardised, the first case is (1, 1), the second (0, nothing); the third has nothing and counts as 0."""
    off = [[-0.5, 0.0], [2.0]]
    for options, each in ((dict(), lambda x: x**2),
                          (dict(loss='huber', delta=1.0), lambda x: x**2 / 2 if abs(x) < 1 else abs(x) - 0.5)):
        task = regression_task.task(Known(), statistics=KNOWN, **options)
        loss, _ = task.loss({'params': {}}, batch(), jax.random.key(0))
        assert loss == pytest.approx(sum(np.mean([each(x) for x in case]) for case in off) / 3, rel=1e-6)
    values = task.predict({'params': {}}, batch())['values']
    np.testing.assert_allclose(values[0], [2.0, 2.0])


def test_a_gaussian_by_hand():
    known = {'classes': ['a'], 'mean': [1.0], 'std': [2.0]}
    task = regression_task.task(Known(outputs=2), statistics=known, loss='gaussian')
    given = batch(targets=np.array([[3.0], [np.nan], [1.0], [0]], np.float32))
    spread = np.log1p(np.exp(given['said'][:, 1])) + regression_task.MIN_SPREAD
    want = sum(0.5 * ((given['said'][n, 0] - y) / spread[n])**2 + np.log(spread[n]) for n, y in ((0, 1.0), (2, 0.0)))
    assert task.loss({'params': {}}, given, jax.random.key(0))[0] == pytest.approx(want / 3, rel=1e-6)
    np.testing.assert_allclose(task.predict({'params': {}}, given)['spread'][:, 0], 2 * spread, rtol=1e-6)


def test_missing_targets_have_no_gradient():
    task = regression_task.task(Known(), statistics=KNOWN)
    slope = jax.grad(lambda said: task.loss({'params': {}}, batch(said=said), jax.random.key(0))[0])(batch()['said'])
    assert np.isfinite(slope).all() and slope[1, 1] == 0 and not slope[2:].any() and slope[0, 0] != 0


@functools.cache
def data(form):
    source = simulated_molecules.source(cases=(200, 20, 60), targets=2, missing=0.3)
    return molecules.dataset(source, representation=form, max_atoms=48, max_bonds=56,
                             random_smiles=0 if form == 'graphs' else 2)


@pytest.mark.parametrize('name', NETWORKS)
def test_networks_learn_to_count_atoms(name):
    """With three seeds the R² is .93 to .99."""
    cases = data('tokens' if name == 'gru' else 'graphs')
    task = regression_task.task(NETWORKS[name]().clone(outputs=2), statistics=cases.statistics)
    variables = learned(task, cases, steps=120, size=32, rate=1e-2)
    evaluate = evaluator(data=cases, task=task, batch=32)
    rows = evaluate(variables, 'test', quick=True)
    assert len(rows) == 60 and any(row['target1'] == '' for row in rows)
    assert evaluate.validation_metrics(rows)['r2'] > 0.8


@pytest.mark.parametrize('options, said', [
    (dict(loss='l1'), 'config.task.loss'), (dict(delta=0), 'config.task.delta: 0'),
    (dict(loss='gaussian'), 'config.model.outputs: 2; expected 4'),
    (dict(statistics={'classes': ['a', 'b']}), "config.task.name: 'regression' needs data"),
])
def test_invalid_input_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        regression_task.task(Known(), **{'statistics': KNOWN, **options})
