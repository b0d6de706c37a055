"""Treatment effects: every learner finds known effects, the effect of balancing, devices, and invalid options."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from medjax.core.experiment import Experiment
from medjax.core.optim import make_optimiser
from medjax.core.sharding import Jit, Pmap
from medjax.data import pipeline
from medjax.data.datasets.tabular import dataset
from medjax.data.simulated import treatment as simulated_treatment
from medjax.errors import InputError
from medjax.metrics.covariate_balance import mmd
from medjax.models.tarnet import VARIANTS, Model
from medjax.tasks.treatment import task as treatment_task
from medjax.tasks.treatment.evaluator import evaluator
from tests.tasks import learning


@functools.cache
def cohort():
    return dataset(simulated_treatment.source(cases=(500, 100, 300), covariates=4, noise=0.3))


def make_task(variant='tarnet', **options):
    return treatment_task.task(Model(**{'shared': (24,), 'heads': (24,), 'activation': 'tanh', **VARIANTS[variant]}),
                               statistics=cohort().statistics, **options)


def learned(task, steps=300):
    return learning.learned(task, cohort(), steps=steps, rate=1e-2, batches=16)


def errors(rows):
    """Root mean square error of the effects, and that of their mean."""
    off = np.array([row['outcome_if_1'] - row['outcome_if_0'] - row['effect'] for row in rows])
    return np.sqrt((off**2).mean()), abs(off.mean())


@pytest.mark.parametrize('variant', VARIANTS)
def test_every_learner_finds_the_effects(variant):
    """Effects have a standard deviation of 1, and the groups' means differ by far more than the mean effect.

    With three seeds the root mean squared error is .41 to .60, the error of the mean at most .13.
    """
    task = make_task(variant)
    rows = evaluator(data=cohort(), task=task, batch=64)(learned(task), 'test', quick=True)
    (pehe, mean), outcome = errors(rows), np.array([row['outcome'] for row in rows])
    assert pehe < 0.7 and mean < 0.3
    treatment = np.array([row['treatment'] for row in rows])
    assert outcome[treatment == 1].mean() - outcome[treatment == 0].mean() > 1.5


def test_balancing_reduces_the_distance_of_the_groups():
    train = cohort().numbers('train')
    batch = {**cohort().batch(train), 'mask': np.ones(len(train), np.float32)}
    apart = []
    for weight in (0.0, 30.0):
        model = Model(shared=(24,), heads=(24,))
        task = treatment_task.task(model, statistics=cohort().statistics, mmd_weight=weight)
        variables = learned(task)
        _, feats = model.apply(variables, batch['covariates'], train=False)
        x = feats['pooled'] / np.sqrt((feats['pooled']**2).sum(1).mean())
        apart.append(float(mmd(x, batch['treatment'], batch['mask'])))
    assert apart[1] < apart[0] / 3


def test_the_loss_by_hand():
    """What is masked does not count, and the few treated weigh as much as the many others."""
    task = make_task()
    batch = {'covariates': np.ones((5, 4), np.float32), 'treatment': np.array([1, 0, 0, 0, 1]),
             'outcome': np.array([2.0, 0, 1, -1, 99], np.float32), 'mask': np.array([1, 1, 1, 1, 0], np.float32)}
    variables = jax.jit(task.init)(jax.random.key(0), batch)
    known = cohort().statistics
    low, high = np.asarray(task.predict(variables, batch)['outcomes'])[0]
    off = np.array([high - 2, low, low - 1, low + 1]) / known['std']
    share = known['treated']
    want = np.mean(off**2 * np.array([0.5 / share, *[0.5 / (1 - share)] * 3]))
    loss, _ = task.loss(variables, batch, jax.random.key(0))
    assert loss == pytest.approx(want, rel=1e-4)
    balanced, _ = make_task(mmd_weight=5.0).loss(variables, batch, jax.random.key(0))
    assert balanced == pytest.approx(want, rel=1e-4)  # all are alike: nothing is apart


def test_the_balance_does_not_depend_on_the_scale_of_the_representation():
    batch = {**cohort().batch(np.arange(40)), 'mask': np.ones(40, np.float32)}
    sizes = []
    for size in (1.0, 50.0):
        task = treatment_task.task(_Known(size), statistics=cohort().statistics, mmd_weight=1.0)
        sizes.append(float(task.loss({'params': {}}, batch, jax.random.key(0))[0]))
    none = float(treatment_task.task(_Known(1.0), statistics=cohort().statistics).loss(
        {'params': {}}, batch, jax.random.key(0))[0])
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-5) and sizes[0] > none + 0.01


class _Known(nn.Module):
    """The covariates as they are, in another unit, and outcomes of 0."""

    size: float
    inputs = ('covariates',)

    def __call__(self, x, *, train):
        return x[:, :2] * 0, {'pooled': x * self.size}


def test_an_x_learner_uses_its_effect_heads():
    task, batch = make_task('xlearner'), cohort().batch(np.arange(6))
    model = Model(heads=(24,), activation='tanh', **VARIANTS['xlearner'])
    variables = jax.jit(task.init)(jax.random.key(1), batch)
    out, feats = model.apply(variables, batch['covariates'], train=False)
    chance = 1 / (1 + np.exp(-feats['propensity']))
    want = chance * feats['effects'][:, 0] + (1 - chance) * feats['effects'][:, 1]
    got, std, mean = task.predict(variables, batch)['outcomes'], *map(cohort().statistics.get, ('std', 'mean'))
    np.testing.assert_allclose((got[:, 1] - got[:, 0]) / std, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.mean(1), out.mean(1) * std + mean, rtol=1e-4)


def test_groups_span_eight_devices():
    batches, ends = pipeline.Streamed(cohort(), seed=0, batch=64), []
    update, schedule = make_optimiser(4, name='sgd', lr=0.03)
    for plan in (Jit(devices=jax.devices()[:1]), Jit(data=8)):
        made = Experiment(task=make_task(mmd_weight=2.0), data=cohort(), batches=batches, augment=None,
                          optimiser=update,
                          schedule=schedule, plan=plan, evaluator=None, seed=0, steps=4)
        made.global_batch_size()
        abstract = made.abstract_state()
        step, state = made.step(abstract), plan.init_state(made.create_state, abstract)
        for batch in made.stream(0, 4):
            state, _ = step(state, batch, jax.random.key(0))
        ends.append(jax.device_get(state.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *ends)
    assert make_task(mmd_weight=2.0).joint and not make_task().joint
    with pytest.raises(InputError, match='the loss of this task is defined on a whole batch'):
        Experiment(task=make_task(mmd_weight=2.0), data=cohort(), batches=batches, augment=None, optimiser=update,
                   schedule=schedule, plan=Pmap(), evaluator=None, seed=0, steps=4).global_batch_size()


@pytest.mark.parametrize('options', [dict(mmd_weight=-1.0), dict(mmd_weight='mmd'), dict(mmd_width=0.0)])
def test_invalid_options(options):
    with pytest.raises(InputError, match='config.task: mmd_weight='):
        make_task(**options)


def test_data_without_groups_are_refused():
    with pytest.raises(InputError, match="config.task.name: 'treatment' needs data of a treatment"):
        treatment_task.task(Model(), statistics={'times': [1.0]})
