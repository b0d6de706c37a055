"""Cox's partial likelihood against lifelines: the same coefficients, with ties, by Efron's approximation."""

import jax
import numpy as np
import pytest
from scipy import optimize

from medjax.data.datasets.tabular import dataset
from medjax.data.simulated import survival
from medjax.data.source import data_dir
from medjax.data.sources import deepsurv
from medjax.data.splits import Resplitting
from medjax.errors import InputError
from medjax.losses import survival as losses_survival

lifelines = pytest.importorskip('lifelines')
pandas = pytest.importorskip('pandas')


@pytest.mark.parametrize('name', ['simulated', 'metabric', 'gbsg'])
def test_the_coefficients_of_the_linear_model_equal_lifelines(name):
    if name == 'simulated':
        data = dataset(survival.source(cases=(300, 9, 9), censoring=0.4))
    else:
        try:
            data_dir('survival')
        except InputError as error:
            pytest.skip(str(error))
        data = dataset(deepsurv.source(cohort=name, splitting=Resplitting(val=0.0)))
    rows = data.batch(data.numbers('train'))
    x, time, event = rows['covariates'].astype(np.float64), np.floor(rows['time']).astype(np.float64), rows['event']
    table = pandas.DataFrame(x).assign(time=time, event=event)
    want = lifelines.CoxPHFitter().fit(table, 'time', 'event').params_.to_numpy()
    with jax.enable_x64(True):
        slope = jax.jit(jax.value_and_grad(lambda b: losses_survival.cox_nll(x @ b, time, event, np.ones(len(x)))))
        found = optimize.minimize(lambda b: [np.asarray(out) for out in slope(b)], np.zeros(x.shape[1]), jac=True,
                                  method='BFGS', options={'gtol': 1e-7}).x
    np.testing.assert_allclose(found, want, atol=1e-4)
    assert len(np.unique(time)) < len(time) / 2 or name != 'gbsg'  # whole months: there are ties
