"""Anomaly scores by hand, and those of new images."""

import csv
import functools

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image as Picture
from sklearn.decomposition import PCA

from medjax.core.task import Task
from medjax.data.datasets.images import dataset
from medjax.data.io import image_files
from medjax.data.io.geometry import Image
from medjax.data.simulated import images as simulated_images
from medjax.data.source import Case, Source
from medjax.errors import InputError
from medjax.tasks.anomaly import summary
from medjax.tasks.anomaly.evaluator import evaluator, predictor
from medjax.tasks.anomaly.table import VOXEL_METRICS


def predict(variables, batch):
    """The reconstruction is the image's mean; the latent is the means of its rows."""
    image = batch['image']
    recon = jnp.ones_like(image) * image.mean((1, 2, 3), keepdims=True)
    residual = ((recon - image) ** 2).mean(-1)
    return {'recon': recon, 'residual': residual, 'latent': image.mean((2, 3)), 'error': residual.mean((1, 2)),
            'bound': 2 * residual.mean((1, 2))}


TASK = Task(None, None, predict, None)
DATA = dict(size=(8, 8), channels=1, intensity={'name': 'unit'})


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    source = simulated_images.source(classes=('well', 'ill'), cases=(24, 12, 10), shape=(8, 8))
    return dataset(source, **DATA, cache=str(tmp_path_factory.mktemp('cache')), train_classes=('well',))


def test_scores_by_hand(data, tmp_path):
    assert data.counts == {'train': 12, 'val': 6, 'test': 10}
    rows = evaluator(data=data, task=TASK, normal='well', batch=4, examples=1)({}, 'test', snapshots=tmp_path / 'test')
    images, train = (data.images(data.numbers(split)) for split in ('test', 'train'))
    assert [row['target'] for row in rows] == ['well', 'ill'] * 5
    np.testing.assert_allclose([row['score_error'] for row in rows], images.var((1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose([row['score_contrast'] for row in rows], -images.std((1, 2, 3)), rtol=1e-4)
    known, latent = train.mean((2, 3)), images.mean((2, 3))
    far = np.sort(np.linalg.norm(latent[:, None] - known, axis=-1), 1)[:, :5].mean(1)
    np.testing.assert_allclose([row['score_neighbours'] for row in rows], far, rtol=1e-4)
    axes = PCA(8).fit(train.reshape(12, -1))
    left = images.reshape(10, -1) - axes.inverse_transform(axes.transform(images.reshape(10, -1)))
    np.testing.assert_allclose([row['score_pca'] for row in rows], (left**2).mean(1), rtol=1e-3)
    assert 1 <= len(list((tmp_path / 'test').glob('*.npz'))) <= 3
    with np.load(next((tmp_path / 'test').glob('*.npz'))) as case:
        assert case['image'].shape == case['recon'].shape == (8, 8, 1) and case['residual'].shape == (8, 8)


def test_a_new_image_is_scored_as_the_same_case(data, tmp_path):
    rows = evaluator(data=data, task=TASK, normal='well', batch=4)({}, 'test', snapshots=tmp_path / 'cases' / 'test')
    predict_image = predictor(task=TASK, data=dict(**DATA, train_classes=('well',)), statistics=data.statistics,
                              read=image_files.read, folder=tmp_path)
    Picture.fromarray(np.asarray(data.arrays[data.numbers('test')[3]])[..., 0]).save(tmp_path / 'new.png')
    line = predict_image({}, tmp_path / 'new.png', tmp_path / 'out')
    with (tmp_path / 'out' / 'predictions.csv').open() as file:
        row, = csv.DictReader(file)
    for name in ('error', 'bound', 'distance'):
        np.testing.assert_allclose(float(row[f'score_{name}']), rows[3][f'score_{name}'], rtol=1e-4)
        assert name in line
    latents = tmp_path / 'cases' / 'latents.npz'
    latents.write_bytes(latents.read_bytes()[:-40])
    with pytest.raises(InputError, match=r'latents\.npz: not readable as statistics of latents'):
        predict_image({}, tmp_path / 'new.png', tmp_path / 'out')


@pytest.mark.parametrize('options, message', [
    (dict(normal='healthy'), r"config\.evaluate\.normal: 'healthy'; expected one of: well, ill"),
    (dict(normal='well', score='pca'),
     r"config\.evaluate\.score: 'pca'; expected one of: error, bound, synthetic_anomaly"),
    (dict(normal='ill'), r"a training, validation or calibration case that is not of the class 'ill'; expected normal"),
])
def test_invalid_input_is_refused(data, options, message):
    with pytest.raises(InputError, match=message):
        evaluator(data=data, task=TASK, **options)


def test_the_normal_class_must_exist(tmp_path):
    message = r"config\.data\.train_classes: .*'healthy'.*; expected a tuple of some of: well, ill"
    with pytest.raises(InputError, match=message):
        dataset(simulated_images.source(classes=('well', 'ill'), cases=(4, 2, 2)), size=(8, 8), cache=str(tmp_path),
                train_classes=('healthy',))


def test_without_anomalies_only_errors_are_reported(tmp_path):
    source = simulated_images.source(classes=('well', 'ill'), cases=(8, 4, 4), shape=(8, 8))
    every = dataset(source, **DATA, cache=str(tmp_path))
    rows = evaluator(data=every, task=TASK)({}, 'test', snapshots=tmp_path / 'test')
    assert [name for name in rows[0] if name.startswith('score')] == ['score_error', 'score_bound']
    figures = summary.summarise(rows, '', 'error')['metrics']['test']
    assert figures['error']['value'] == pytest.approx(np.mean([row['score_error'] for row in rows]))
    assert list(figures) == ['error', 'bound']
    with pytest.raises(InputError, match=r"config.evaluate.score: 'distance'; expected one of: error"):
        evaluator(data=every, task=TASK, score='distance')


def test_voxels_by_hand(tmp_path):
    """A map that is 1 in the lesion and in one other voxel, and 0.1 elsewhere."""
    def read(number, ill):
        image, mask = np.full((8, 8, 1), 100 + number, np.uint8), np.zeros((8, 8, 1), np.uint8)
        if ill:
            mask[2:4, 1:5] = 1
            image[2:4, 1:5] = 250
            image[0, 7] = 250
        return Image(image, np.eye(4), f'{number}'), Image(mask, np.eye(4), f'{number}')

    splits = ['train', 'train', 'val', 'test', 'test']
    cases = [Case(f'c{n}', f'p{n}', split, functools.partial(read, n, n == 4), target=int(n == 4), how=str(n))
             for n, split in enumerate(splits)]
    source = Source(tuple(cases), ('well', 'ill'), problem='binary')
    data = dataset(source, **DATA, train_classes=('well',), cache=str(tmp_path))

    def predict(variables, batch):
        found = jnp.where(batch['image'][..., 0] > 0.9, 1.0, 0.1)
        return {'map': found, 'synthetic_anomaly': found.mean((1, 2))}

    task = Task(None, None, predict, None)
    evaluate = evaluator(data=data, task=task, normal='well', score='synthetic_anomaly', anomaly_masks=True)
    well, ill = evaluate({}, 'test', snapshots=tmp_path / 'test')
    assert all(np.isnan(well[name]) for name in VOXEL_METRICS)
    assert ill['voxel_auprc'] == pytest.approx(8 / 9) and ill['voxel_dice'] == pytest.approx(16 / 17)
    assert ill['voxel_dice_best'] == pytest.approx(16 / 17) and ill['voxel_auprc_baseline'] == pytest.approx(8 / 9)
    with np.load(tmp_path / 'test' / 'c4.npz') as case:
        different = np.argwhere(case['truth'] != (case['map'] == 1))
        np.testing.assert_array_equal(different, [[7, 0]])  # of a picture in a file columns are the first axis
    table = [{**row, 'patient': row['id']} for row in (well, ill)]
    figures = summary.summarise(table, 'well', 'synthetic_anomaly')['metrics']['test']
    assert figures['voxel_dice']['value'] == pytest.approx(16 / 17)
    with pytest.raises(InputError, match=r'config\.evaluate\.anomaly_masks: True; expected config\.evaluate\.normal'):
        evaluator(data=data, task=TASK, anomaly_masks=True)
