"""Classes that are regions: their loss, their decision and their metrics, against formulas in NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.ops.labels import last_region
from medjax.ops.sliding_windows import SlidingWindowInference
from medjax.tasks.segmentation.mask_metrics import case_metrics
from medjax.tasks.segmentation.task import task

CLASSES = ['background', 'whole', 'core', 'tip']
REGIONS = {'whole': [1, 2, 3], 'core': [2, 3], 'tip': [3]}
STATISTICS = {'classes': CLASSES, 'regions': REGIONS}


class Net(nn.Module):
    """Logits that are the image times a parameter."""

    classes: int = 3

    @nn.compact
    def __call__(self, x, *, train):
        """Maps `[B, X, Y, 3]` to itself."""
        return x * self.param('scale', nn.initializers.ones, (self.classes,)), {}


def example(seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, (2, 6, 5)).astype(np.int32)
    label[:, 0, 0] = 255
    return {'image': rng.normal(size=(2, 6, 5, 3)).astype(np.float32), 'label': label,
            'mask': np.ones(2, np.float32)}


def test_loss_and_metrics_are_means_over_regions():
    problem = task(Net(), statistics=STATISTICS, loss={'cross_entropy': 1.0, 'soft_dice': 2.0})
    batch = example()
    variables = problem.init(jax.random.key(0), batch)
    loss, (_, states) = problem.loss(variables, batch, jax.random.key(1))
    probs, valid = 1 / (1 + np.exp(-batch['image'].astype(float))), batch['label'] != 255
    expected = np.zeros(2)
    for number, members in enumerate(REGIONS.values()):
        truth, p = np.isin(batch['label'], members), probs[..., number]
        entropy = -np.where(truth, np.log(p), np.log(1 - p))
        for row in range(2):
            inside = valid[row]
            t, q = truth[row][inside], p[row][inside]
            expected[row] += (entropy[row][inside].mean()
                              + 2 * (1 - (2 * (t * q).sum() + 1e-5) / (t.sum() + q.sum() + 1e-5))) / 3
    assert float(loss) == pytest.approx(expected.mean(), abs=1e-5)
    written = np.zeros(batch['label'].shape, int)  # as nnU-Net writes regions, one after the other
    for number in range(3):
        written[probs[..., number] > 0.5] = number + 1
    np.testing.assert_array_equal(last_region(probs), written)
    np.testing.assert_array_equal(last_region(jnp.asarray(batch['image'])) > 0, (batch['image'] > 0.5).any(-1))
    for name, members in REGIONS.items():
        p, t = np.isin(written, members) & valid, np.isin(batch['label'], members)
        assert states[f'dice_{name}'][0] / states[f'dice_{name}'][1] == pytest.approx(2 * (p & t).sum()
                                                                                      / (p.sum() + t.sum()))


def test_whole_images_get_the_last_region_and_its_probability():
    probs = np.random.default_rng(0).uniform(size=(4, 5, 3, 3)).astype(np.float32)
    inference = SlidingWindowInference(lambda _, image: image, window=(4, 5, 3), regions=True)
    label, confidence = inference({}, probs)
    np.testing.assert_array_equal(label, last_region(probs))
    expected = np.where(label > 0, np.take_along_axis(probs, np.maximum(label, 1)[..., None] - 1, -1)[..., 0],
                        1 - probs.max(-1))
    np.testing.assert_allclose(confidence, expected, rtol=1e-5)


def test_metrics_of_a_case_are_those_of_its_regions():
    truth, pred = (np.random.default_rng(seed).integers(0, 4, (5, 5, 5)) for seed in (0, 1))
    found = case_metrics(pred, truth, (1, 1, 1), CLASSES, regions=REGIONS)
    for name, members in REGIONS.items():
        alone = case_metrics(np.isin(pred, members), np.isin(truth, members), (1, 1, 1), ['background', name])
        assert {key: found[key] for key in alone} == alone


def test_another_number_of_outputs_is_refused():
    with pytest.raises(InputError, match=r'config.model.classes: 4; expected 3, one for each of the regions whole, '):
        task(Net(4), statistics=STATISTICS, loss={'cross_entropy': 1.0})
