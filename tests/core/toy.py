"""A small task with weights, statistics and randomness, on which the modules of core are tested."""

import jax
import jax.numpy as jnp
import numpy as np

from medjax.core import contracts
from medjax.core.experiment import Experiment
from medjax.core.metrics import column_means, masked_mean
from medjax.core.optim import make_optimiser
from medjax.core.sharding import Jit
from medjax.core.task import Task

WIDTH = 16


def task(scale: float = 1.0, width: int = WIDTH) -> Task:
    """Least squares through one hidden layer; a running mean of the inputs stands for batch statistics."""
    def init(key, batch):
        a, b = jax.random.split(key)
        size = batch['image'].shape[-1]
        return {'params': {'a': jax.random.normal(a, (size, width)) / 4, 'b': jax.random.normal(b, (width, 1)) / 4},
                'batch_stats': {'mean': jnp.zeros(size)}}

    def loss(variables, batch, key):
        p = variables['params']
        error = (jnp.tanh(batch['image'] @ p['a']) @ p['b'])[:, 0] * scale - batch['label']
        total, count = masked_mean(error**2, batch['mask'])
        mean = 0.9 * variables['batch_stats']['mean'] + 0.1 * batch['image'].mean(0)
        return total / count, ({'batch_stats': {'mean': mean}}, {'error': masked_mean(error, batch['mask'])})

    def predict(variables, batch):
        return {'value': (jnp.tanh(batch['image'] @ variables['params']['a']) @ variables['params']['b'])[:, 0]}

    return Task(init, loss, predict, lambda outputs, batch: {})


class Batches:
    """Batches as a pure function of the step; `poison` is the step whose images hold a NaN."""

    def __init__(self, size: int = 16, poison: int = -1):
        self.size, self.poison = size, poison

    def __getitem__(self, step):
        rng = np.random.default_rng((5, step))
        image = rng.normal(size=(self.size, 8)).astype(np.float32)
        batch = {'image': image, 'label': np.sin(image.sum(1)), 'mask': np.ones(self.size, np.float32),
                 'index': np.arange(self.size, dtype=np.uint32) + np.uint32(step * self.size),
                 'id': np.array([f'case{i}' for i in range(self.size)])}
        if step == self.poison:
            batch['image'][3, 1] = np.nan
        return batch

    def stream(self, start, stop):
        return (self[step] for step in range(start, stop))


class Data:
    """The part of a data set that the loop uses."""

    statistics = {'mean': [0.5]}


class Evaluator(contracts.Evaluator):
    """One case, whose metric is the absolute sum of some weights."""

    def __call__(self, variables, split, *, quick=False, snapshots=None):
        return [{'id': 'a', 'patient': 'a', 'split': split, 'size': float(np.abs(variables['params']['a']).sum())}]

    def validation_metrics(self, rows):
        return column_means(rows)


def experiment(**changes):
    """A run of the toy; `optim` options and fields of `Experiment` may be changed."""
    optim = changes.pop('optim', {'name': 'adamw', 'lr': 1e-2, 'ema': 0.9, 'clip': 1.0})
    steps = changes.get('steps', 6)
    optimiser, schedule = make_optimiser(steps, **optim)
    fields = dict(task=task(), data=Data(), batches=Batches(), augment=None, optimiser=optimiser, schedule=schedule,
                  plan=Jit(), evaluator=Evaluator(), seed=0, steps=steps, log_every=2, save_every=2)
    return Experiment(**{**fields, **changes})
