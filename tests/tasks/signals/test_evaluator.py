"""The evaluator of beats on whole recordings, and networks that segment signals."""

import json

import jax
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.models import signal_segmenter, unet
from medjax.tasks.segmentation import task as segmentation_task
from medjax.tasks.signals import evaluator, table
from tests.tasks.signals.recordings import KNOWS, ecgs


def test_rows(tmp_path):
    evaluate = evaluator.evaluator(data=ecgs(), task=KNOWS)
    rows = evaluate(0.8, 'test', snapshots=tmp_path / 'cases' / 'test')
    assert [row['id'] for row in rows] == [f'test{n:04d}' for n in range(3)]
    kept = json.loads((tmp_path / 'cases' / 'beats_test.json').read_text())
    for row in rows:
        one = kept[row['id']]
        assert len(one['probs']) == len(one['lead']) == 1250  # what the recording was filled up with is gone
        assert row['beats'] == len(one['true']) and row['found'] == len(one['found'])
        np.testing.assert_array_equal(np.array(one['lead']) > 0.8, np.array(one['probs']) > 0.5)
        assert row['detector_f1'] > 0.9
    assert 'detector_f1' not in evaluate(0.8, 'test', quick=True)[0]
    assert evaluate.validation_metrics(rows) == pytest.approx({name: np.nanmean([row[name] for row in rows])
                                                               for name in table.METRICS})


def test_no_traces():
    with pytest.raises(InputError, match="config.evaluate.name: 'signals' needs signals with two classes"):
        evaluator.evaluator(data=None, task=KNOWS)


@pytest.mark.parametrize('model', [
    unet.Model(classes=2, dims=1, base=4, levels=2, norm='instance'), signal_segmenter.Model(classes=2, width=4)])
def test_networks_segment_traces(model):
    """They learn from an ECG where its beats are, and take other lengths."""
    task = segmentation_task.task(model, statistics=ecgs().statistics, loss={'cross_entropy': 1.0})
    items = [ecgs().item(0, np.random.default_rng(seed)) for seed in range(4)]
    batch = {name: np.stack([item[name] for item in items]) for name in ('image', 'label')}
    batch['mask'] = np.ones(4, np.float32)
    variables = jax.jit(task.init)(jax.random.key(0), batch)

    def step(variables, _):
        value, slope = jax.value_and_grad(lambda v: task.loss(v, batch, jax.random.key(0))[0])(variables)
        return jax.tree.map(lambda leaf, by: leaf - 0.3 * by, variables, slope), value

    variables, values = jax.jit(lambda v: jax.lax.scan(step, v, None, 60))(variables)
    assert values[-1] < 0.5 * values[0]
    probs = jax.eval_shape(task.predict, variables, {'image': batch['image'][:1, :64]})['probs']
    assert probs.shape == (1, 64, 2)


def test_a_trace_that_does_not_fill_the_last_step():
    model = signal_segmenter.Model(classes=2, width=4)
    x = np.random.default_rng(0).normal(size=(1, 10, 2)).astype(np.float32)
    out = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), x, train=False)[0])
    assert out[0].shape == (1, 10, 2) and out[1]['steps'].shape == (1, 3, 8)
    with pytest.raises(InputError, match='config.model.dims: 1, but images have 2 spatial dimensions'):
        jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, 8, 8, 2), np.float32), train=False))
