"""A run compiles its train step once: with validation in between, after a resume, on every plan."""

import logging

import jax
import numpy as np
import pytest

from medjax.core import contracts, loop
from medjax.core.experiment import Experiment
from medjax.core.metrics import column_means
from medjax.core.optim import make_optimiser
from medjax.core.sharding import Jit, Pmap
from medjax.models import unet
from medjax.tasks.segmentation import task as segmentation_task
from tests.core import toy

SIZE, SIDE = 8, 8


class Batches:
    """Bright and dark halves."""

    def __getitem__(self, step):
        rng = np.random.default_rng((2, step))
        label = (rng.random((SIZE, 1, 1)) > np.linspace(0, 1, SIDE)).repeat(SIDE, 1).astype(np.int32)
        return {'image': (label + rng.normal(0, 0.1, label.shape))[..., None].astype(np.float32), 'label': label,
                'mask': np.ones(SIZE, np.float32), 'index': np.arange(SIZE, dtype=np.uint32),
                'id': np.array(['a'] * SIZE)}

    def stream(self, start, stop):
        return (self[step] for step in range(start, stop))


def experiment(plan, steps):
    network = unet.Model(**{**unet.VARIANTS['nnunet'], **dict(classes=2, dims=2, base=2, levels=2)})
    task = segmentation_task.task(network, statistics=dict(classes=('dark', 'bright')),
                                  loss={'cross_entropy': 1.0, 'soft_dice': 1.0})
    predict = jax.jit(task.predict)

    class Evaluator(contracts.Evaluator):
        def __call__(self, variables, split, *, quick=False, snapshots=None):
            probs = predict(jax.device_get(variables), {'image': Batches()[0]['image']})['probs']
            return [{'id': 'a', 'patient': 'a', 'split': split, 'bright': float(probs[..., 1].mean())}]

        def validation_metrics(self, rows):
            return column_means(rows)

    optimiser, schedule = make_optimiser(8, name='adamw', lr=1e-2, ema=0.9, clip=1.0,
                                         schedule={'name': 'cosine', 'warmup': 1})
    return Experiment(task=task, data=toy.Data(), batches=Batches(), augment=None, optimiser=optimiser,
                      schedule=schedule, plan=plan, evaluator=Evaluator(), seed=0, steps=steps, log_every=1,
                      eval_every=2, save_every=1, best='bright')


@pytest.mark.parametrize('plan', [lambda: Jit(data=2, fsdp=2, space=2), pytest.param(Pmap, marks=pytest.mark.slow)],
                         ids=['jit', 'pmap'])
def test_one_compilation_a_run(tmp_path, caplog, plan):
    def compiled():
        words = [record.getMessage() for record in caplog.records]
        caplog.clear()
        # pmap gives its program a name of its own.
        return [text for text in words if text.startswith('Finished XLA compilation of') and text.split()[4] in (
            'jit(step)', 'pmap(step)', 'jit(_fun)')]

    with caplog.at_level(logging.WARNING), jax.log_compiles():
        assert loop.train(experiment(plan(), steps=4), tmp_path, say=lambda line: None)
        assert len(compiled()) == 1
        assert loop.train(experiment(plan(), steps=8), tmp_path, say=lambda line: None)
        assert len(compiled()) == 1
