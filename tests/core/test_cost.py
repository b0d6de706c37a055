"""Arithmetic and memory of a step against hand counts, and the message of a run that does not fit."""

import jax
import numpy as np
import pytest

from medjax.core import cost, loop
from medjax.core.sharding import Jit
from medjax.errors import InputError
from medjax.models import unet
from medjax.tasks.segmentation import task as segmentation_task
from tests import cli
from tests.conftest import ROOT
from tests.core import toy


def test_arithmetic_by_hand():
    a, b = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((8, 16), (16, 32)))
    assert cost.flops(lambda a, b: a @ b, a, b) == 2 * 8 * 16 * 32
    # Forward and both gradients are three products of the same size; the sums of the loss are few.
    slopes = jax.value_and_grad(lambda a, b: (a @ b).sum(), (0, 1))
    assert 3 * 8192 <= cost.flops(slopes, a, b) < 3 * 8192 + 4 * 8 * 32


def test_memory_of_a_donated_argument_counts_once():
    x = jax.ShapeDtypeStruct((1 << 20,), np.float32)
    kept, donated = (cost.program_memory(jax.jit(lambda x: x + 1, donate_argnums=which).lower(x).compile())
                     for which in ((), (0,)))
    assert kept - donated == 4 << 20 and 4 << 20 <= donated < 5 << 20


def test_memory_of_a_device():
    assert cost.GIB / 4 < cost.device_memory(jax.devices()[0]) < 1e6 * cost.GIB


@pytest.mark.parametrize('needed, fixed, batch, accumulate, words', [
    (30, 10, 8, 1, ['accumulate=2', '50 %', 'space']), (60, 10, 8, 1, ['accumulate=8', '20 %', 'space']),
    (30, 10, 8, 2, ['accumulate=4', '50 %']), (60, 10, 2, 1, ['20 %', 'remat']), (60, 20, 8, 1, ['the weights alone'])])
def test_proposals_by_hand(needed, fixed, batch, accumulate, words):
    text = cost.memory_advice(needed, fixed, 20, batch, accumulate)
    assert all(word in text for word in words)
    assert ('accumulate' in text) == ('accumulate' in words[0])


def test_a_step_that_does_not_fit_is_refused_before_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, 'device_memory', lambda device: 1000)
    with pytest.raises(InputError, match=r'a step takes .* GiB, and a device has 0\.00; '):
        loop.train(toy.experiment(), tmp_path, say=lambda line: None)
    assert not list((tmp_path / 'checkpoints').glob('[0-9]*'))


@pytest.mark.slow
def test_accumulating_as_proposed_takes_less():
    network = unet.Model(**{**unet.VARIANTS['nnunet'], **dict(classes=2, dims=2, base=4, levels=2)})
    task = segmentation_task.task(network, statistics=dict(classes=('dark', 'bright')), loss={'cross_entropy': 1.0})

    class Batches:
        def __getitem__(self, step):
            return {'image': np.zeros((16, 64, 64, 1), np.float32), 'label': np.zeros((16, 64, 64), np.int32),
                    'mask': np.ones(16, np.float32), 'index': np.arange(16, dtype=np.uint32)}

    def need(accumulate):
        made = toy.experiment(task=task, accumulate=accumulate, batches=Batches(), plan=Jit(devices=jax.devices()[:1]))
        abstract = made.abstract_state()
        shapes = made.plan.step_shapes(abstract), made.plan.place_batch(Batches()[0]), jax.random.key(0)
        return cost.program_memory(made.step(abstract).lower(*shapes).compile())
    assert need(4) < 0.6 * need(1)


def test_a_dry_run_reports_the_cost_of_a_step_and_writes_no_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = cli.run('train', f'--config={ROOT}/configs/segment_brain_unet2d.py:smoke', '--dry_run', '--config.batch=8')
    assert ended.code == 0, ended.err
    for word in ('parameters', 'GFLOP', 's a step', 'GiB', 'images/s'):
        assert word in ended.out
    assert not list(tmp_path.iterdir())


def test_micro_batches_are_as_much_arithmetic():
    whole, parts = (toy.experiment(accumulate=n).flops() for n in (1, 4))
    assert whole == parts > 2 * 3 * 16 * 8 * toy.WIDTH


def test_bytes_per_device_are_those_of_its_shard():
    x = jax.ShapeDtypeStruct((2048, 4), np.float32)
    plans = [Jit(data=1, fsdp=n, devices=jax.devices()[:n]) for n in (1, 8)]
    assert [cost.bytes_per_device(plan.step_shapes(x)) for plan in plans] == [32768, 4096]


def test_a_run_without_a_folder_is_refused():
    ended = cli.run('train', f'--config={ROOT}/configs/segment_brain_unet2d.py:smoke')
    assert ended.code == 2 and '--workdir' in ended.err and 'Traceback' not in ended.err
