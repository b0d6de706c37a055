"""Evaluation of whole volumes: on the grid they were stored on, with a network that is right by construction."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.core.task import Task
from medjax.data.datasets.volumes import dataset
from medjax.data.io.geometry import Image
from medjax.data.source import Case, Source
from medjax.errors import InputError
from medjax.tasks.segmentation.evaluator import evaluator

AFFINE = np.array([[0, -2.0, 0, 9], [1.0, 0, 0, -4], [0, 0, 3.0, 5], [0, 0, 0, 1]])  # turned: x is the second axis


def read(seed):
    rng = np.random.default_rng(seed)
    label = np.zeros((17, 22, 9), np.uint8)
    label[3:9, 4:15, 2:6] = 1
    label[11:14, 8 + seed:12 + seed, 3:7] = 2
    image = (100 * label + rng.integers(1, 20, label.shape)).astype(np.int16)
    image[0] = 0  # background, which the crop takes away
    return Image(image, AFFINE, f'image{seed}'), Image(label, AFFINE, f'label{seed}')


def predict(variables, batch):
    """Right wherever `variables` is 0; else that many grey values too high."""
    guess = jnp.clip(jnp.floor((batch['image'][..., 0] + variables) / 100), 0, 2)
    return {'probs': jax.nn.one_hot(guess.astype(int), 3) * 0.8 + 0.2 / 3}


@pytest.fixture
def evaluate(tmp_path):
    cases = tuple(Case(id=f'c{n}', patient=f'p{n}', split=split, read=functools.partial(read, n), columns={'sex': 'f'})
                  for n, split in enumerate(('train', 'val', 'test')))
    data = dataset(Source(cases=cases, classes=('background', 'organ', 'lesion')), patch=(8, 8, 4),
                   intensity={'name': 'none'}, cache=str(tmp_path / 'cache'))
    return functools.partial(evaluator, data=data, task=Task(None, None, predict, None))


def test_a_perfect_network_is_perfect_on_the_stored_grid(evaluate, tmp_path):
    rows = evaluate(lesion_metrics=True)(jnp.float32(0), 'test', snapshots=tmp_path)
    assert [row['id'] for row in rows] == ['c2'] and rows[0]['patient'] == 'p2' and rows[0]['sex'] == 'f'
    for name in ('organ', 'lesion'):
        assert rows[0][f'dice_{name}'] == rows[0][f'nsd_{name}'] == rows[0][f'lesion_f1_{name}'] == 1
        assert rows[0][f'hd95_{name}'] == rows[0][f'volume_error_ml_{name}'] == rows[0][f'missed_{name}'] == 0
    with np.load(tmp_path / 'c2.npz') as kept:
        assert kept['label'].shape == kept['pred'].shape == kept['image'].shape == (22, 17, 9)  # RAS+ order of axes
        np.testing.assert_array_equal(kept['label'], kept['pred'])
        np.testing.assert_allclose(kept['spacing'], (2, 1, 3))
        np.testing.assert_allclose(kept['confidence'][kept['label'] > 0], 0.8 + 0.2 / 3, rtol=1e-3)


def test_errors_are_in_millimetres_and_millilitres(evaluate):
    rows = evaluate()(jnp.float32(85), 'test')  # the organ's brighter voxels are called lesion
    image, label = read(2)
    wrong = (image.array + 85 >= 200) & (label.array == 1)
    assert wrong.any()
    assert rows[0]['volume_error_ml_lesion'] == pytest.approx(wrong.sum() * 6 / 1000, rel=1e-5)
    assert rows[0]['sensitivity_lesion'] == 1 and rows[0]['precision_lesion'] < 1 and 'lesion_f1_organ' not in rows[0]
    quick = evaluate()(jnp.float32(85), 'test', quick=True)[0]
    assert quick['dice_lesion'] == pytest.approx(rows[0]['dice_lesion'], rel=1e-9) and 'hd95_lesion' not in quick


def test_an_image_without_the_lesion(evaluate):
    """A network that sees nothing: missed, with the diagonal as its distance."""
    row = evaluate()(jnp.float32(-300), 'test')[0]
    assert row['dice_mean'] == 0 and row['missed_lesion'] == 1 and np.isnan(row['precision_lesion'])
    assert row['hd95_lesion'] == pytest.approx(np.linalg.norm(np.array([17, 22, 9]) * [1, 2, 3]))


def test_surfaces_by_area(evaluate):
    by = {surface: evaluate(surface=surface) for surface in ('voxels', 'area')}
    rows = {surface: made(jnp.float32(95), 'test')[0] for surface, made in by.items()}
    assert rows['area']['dice_organ'] == rows['voxels']['dice_organ']
    assert rows['area']['nsd_organ'] != rows['voxels']['nsd_organ'] and 'MONAI' in by['voxels'].conventions
    with pytest.raises(InputError, match="surface: 'mesh'; expected one of: voxels, area"):
        evaluate(surface='mesh')
