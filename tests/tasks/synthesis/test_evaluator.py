"""Generated images beside real ones: tables, pictures, seeds, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from medjax.core.task import Task
from medjax.data.datasets.images import dataset
from medjax.data.simulated import images as simulated_images
from medjax.data.transforms.images import ImagePreprocess
from medjax.errors import InputError
from medjax.tasks.synthesis.evaluator import evaluator, predictor
from medjax.tasks.synthesis.table import PICTURES

OPTIONS = dict(size=(8, 8), channels=1, intensity={'name': 'fixed', 'mean': (0.5,), 'std': (0.5,)})


def drawn(variables, batch):
    """Noise of each seed about a grey that is the class's."""
    def one(seed, label):
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), seed), (8, 8, 1))
        return variables['spread'] * noise + 0.4 * label.astype(jnp.float32)
    return {'sample': jax.vmap(one)(batch['seed'], batch['label'])}


TASK = Task(None, None, drawn, None)
VARIABLES = {'spread': jnp.float32(0.2)}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return dataset(simulated_images.source(classes=('well', 'ill'), cases=(64, 12, 11), shape=(8, 8)),
                   cache=str(tmp_path_factory.mktemp('cache')), **OPTIONS)


@pytest.fixture(scope='module')
def table(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    return evaluator(data=data, task=TASK, batch=4, examples=2)(VARIABLES, 'test', snapshots=folder / 'test'), folder


def of(rows, kind):
    return [row for row in rows if row['kind'] == kind]


def test_every_kind_has_the_labels_of_the_real_images(data, table):
    rows, _ = table
    kinds = ('real', 'synthetic', 'train', 'blurred', 'noisy', 'val')
    assert [row['kind'] for row in rows] == [kind for kind in kinds for _ in range(11)]
    assert [row['target'] for row in of(rows, 'synthetic')] == [row['target'] for row in of(rows, 'real')]
    for kind in kinds:
        assert sorted(row['target'] for row in of(rows, kind)) == ['ill'] * 5 + ['well'] * 6
    assert len({row['id'] for row in of(rows, 'train')}) == 11 and len({row['id'] for row in rows}) == 66
    train = {case.id for case in data.source.cases if case.split == 'train'}
    assert {row['id'] for row in of(rows, 'train')} <= train
    assert all(row['patient'] == row['id'] for row in of(rows, 'synthetic'))


def test_pixels_are_principal_components_of_the_training_images(data, table):
    rows, _ = table
    flat = {split: np.asarray(data.arrays[data.numbers(split)]).reshape(-1, 64) / 255 for split in ('train', 'test')}
    fitted = PCA(8).fit(flat['train'])
    want = fitted.transform(flat['test']) / np.sqrt(fitted.explained_variance_.mean())
    found = np.array([[row[f'pixels_{k:02d}'] for k in range(8)] for row in of(rows, 'real')])
    np.testing.assert_allclose(np.abs(found), np.abs(want), atol=2e-3)  # an axis may point either way
    assert 'pixels_08' not in rows[0] and 'network_00' not in rows[0]


def test_nearest_training_images_by_hand(data, table):
    rows, _ = table
    places = data.numbers('train')
    train = np.asarray(data.arrays[places]).reshape(-1, 64) / 255
    names = [data.source.cases[k].id for k in places]
    for row, image in zip(of(rows, 'real'), np.asarray(data.arrays[data.numbers('test')]).reshape(-1, 64) / 255):
        far = np.sqrt(((train - image) ** 2).mean(1))
        assert row['nearest'] == pytest.approx(far.min(), rel=1e-4) and row['nearest_id'] == names[far.argmin()]
    for row in of(rows, 'train'):
        assert row['nearest'] > 0 and row['nearest_id'] != row['id']
    assert 'nearest' not in of(rows, 'noisy')[0]


def test_a_seed_gives_the_same_image_in_any_batch_and_another_in_another_split(data, table):
    rows, _ = table
    again = evaluator(data=data, task=TASK, batch=7)(VARIABLES, 'test')
    assert again == rows
    other = evaluator(data=data, task=TASK, images=11)(VARIABLES, 'val')
    assert of(other, 'synthetic')[0]['pixels_00'] != of(rows, 'synthetic')[0]['pixels_00']


@pytest.mark.parametrize('split, left', [('train', ['real', 'synthetic', 'val']),
                                         ('val', ['real', 'synthetic', 'train', 'blurred', 'noisy'])])
def test_without_an_image_of_the_same_classes_a_baseline_is_left_out(split, left, data):
    few = dataclasses.replace(data, source=dataclasses.replace(data.source, cases=tuple(
        dataclasses.replace(case, target={split: 0, 'test': 1}.get(case.split, case.target))
        for case in data.source.cases)))
    rows = evaluator(data=few, task=TASK)(VARIABLES, 'test')
    assert list(dict.fromkeys(row['kind'] for row in rows)) == left and 'nearest' in rows[0]


def test_quick_validation_uses_fewer_images_and_pixels_only(data):
    evaluate = evaluator(data=data, task=TASK, validation_images=8)
    rows = evaluate(VARIABLES, 'val', quick=True)
    assert [row['kind'] for row in rows] == ['real'] * 8 + ['synthetic'] * 8 and 'nearest' not in rows[0]
    found = evaluate.validation_metrics(rows)
    assert set(found) == {'fid_pixels', 'kid_pixels', 'precision', 'recall', 'diversity'}
    flat = evaluate.validation_metrics(evaluate({'spread': jnp.float32(0)}, 'val', quick=True))
    assert flat['diversity'] < found['diversity']
    perfect = evaluate.validation_metrics([{**row, 'kind': kind} for kind in ('real', 'synthetic')
                                           for row in of(rows, 'real')])
    assert perfect['fid_pixels'] == pytest.approx(0, abs=1e-6) and perfect['diversity'] == pytest.approx(1)


def test_images_are_saved(table):
    rows, folder = table
    with np.load(folder / 'test' / PICTURES) as kept:
        assert kept['real_0'].shape == kept['synthetic_1'].shape == (2, 8, 8, 1)
        assert kept['nearest_made'].shape == kept['first_known'].shape == (2, 8, 8, 1)
        lowest = sorted(row['nearest'] for row in of(rows, 'synthetic'))[:2]
        np.testing.assert_allclose(kept['nearest_distance'], lowest)
        difference = (kept['nearest_made'].astype(float) - kept['nearest_known']) / 255
        np.testing.assert_allclose(np.sqrt((difference**2).mean((1, 2, 3))), lowest, rtol=1e-4)


def test_images_of_the_training_history_have_the_same_seeds(data, tmp_path):
    evaluate = evaluator(data=data, task=TASK)
    for step, spread in ((5, 0.2), (10, 0.2), (15, 0.1)):
        evaluate.snapshot_training({'spread': jnp.float32(spread)}, tmp_path, step)
    kept = [np.load(path) for path in sorted((tmp_path / 'course').glob('*.npz'))]
    np.testing.assert_array_equal(kept[0]['sample'], kept[1]['sample'])
    assert (kept[0]['sample'] != kept[2]['sample']).any() and kept[0]['sample'].shape == (12, 8, 8, 1)
    np.testing.assert_array_equal(kept[0]['label'], [0, 1] * 6)


@dataclasses.dataclass(frozen=True)
class Rows:
    """A feature network: the means of rows; it predicts ill for bright images."""

    name: str = 'means of rows'
    classes: tuple = ('well', 'ill')

    def __call__(self, images):
        ill = images.mean((1, 2, 3)) > 150
        return {'features': images.mean((2, 3)), 'probs': np.stack([~ill, ill], 1).astype(float)}


def test_features_of_a_given_network_are_used(data):
    rows = evaluator(data=data, task=TASK, features=Rows())(VARIABLES, 'test')
    assert 'network_07' in rows[0] and 'network_08' not in rows[0] and 'pixels_00' in rows[0]
    assert [row['predicted'] for row in of(rows, 'synthetic')] == [row['target'] for row in of(rows, 'synthetic')]


def test_the_predictor_samples_images_as_files_store_them(data):
    made = predictor(task=TASK, data=OPTIONS, statistics=data.statistics, read=None, validation_images=3)
    assert made.example()['image'].shape == (1, 8, 8, 1)
    images = made.sampler(VARIABLES, np.array([0, 1, 1]), 7)
    want = drawn(VARIABLES, {'seed': jnp.array([7, 8, 9], jnp.uint32), 'label': jnp.array([0, 1, 1])})['sample']
    assert images.dtype == np.uint8
    np.testing.assert_allclose(images, np.clip(127.5 + 127.5 * np.asarray(want), 0, 255), atol=0.51)
    with pytest.raises(InputError, match='generates images and predicts nothing for given ones; expected: python -m'):
        made(VARIABLES, 'x.png', None)


@pytest.mark.parametrize('intensity', [{'name': 'unit'}, {'name': 'training'}, OPTIONS['intensity']])
def test_intensity_normalisation_is_inverted(intensity):
    preprocess, training = ImagePreprocess((2, 2), intensity=intensity), {'mean': [0.3], 'std': [0.2]}
    stored = np.array([0, 3, 100, 255], np.uint8).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(preprocess.to_bytes(preprocess.normalise(stored, training), training), stored)
    assert preprocess.to_bytes(np.full((1, 1), 9.0), training) == 255


def test_a_window_ends_at_black_and_white():
    preprocess = ImagePreprocess((2, 2), intensity={'name': 'window', 'low': -100, 'high': 300})
    found = preprocess.to_bytes(preprocess.normalise(np.array([-500.0, -100, 100, 900], np.float32), {}), {})
    np.testing.assert_array_equal(found, [0, 0, 128, 255])


def test_diverged_weights_are_named(data):
    with pytest.raises(InputError, match=r'generated image of seed 1048576: not finite'):
        evaluator(data=data, task=TASK)({'spread': jnp.float32(jnp.nan)}, 'val', quick=True)


@pytest.mark.parametrize('options, message', [
    (dict(validation_images=1), r'config\.evaluate: images=1000, validation_images=1'),
    (dict(examples=0), 'examples=0; expected at least 2 images')])
def test_invalid_input_is_refused(data, options, message):
    with pytest.raises(InputError, match=message):
        evaluator(data=data, task=TASK, **options)


def test_unsupported_data_is_refused(tmp_path):
    source = simulated_images.source(cases=(4, 2, 2), shape=(8, 8))
    with pytest.raises(InputError, match="'zscore' cannot be inverted for generated images"):
        evaluator(data=dataset(source, size=(8, 8), cache=str(tmp_path), intensity={'name': 'zscore'}), task=TASK)
    alone = simulated_images.source(cases=(4, 2, 1), shape=(8, 8))
    with pytest.raises(InputError, match=r'config\.data\.source: 1 image in the split test; expected at least 2'):
        evaluator(data=dataset(alone, size=(8, 8), cache=str(tmp_path)), task=TASK)
    many = simulated_images.source(cases=(4, 2, 2), shape=(8, 8), problem='multilabel')
    with pytest.raises(InputError, match='images that have one class each'):
        evaluator(data=dataset(many, size=(8, 8), cache=str(tmp_path)), task=TASK)
