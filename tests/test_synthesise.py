"""Images sampled with a trained run, and a classifier that trains on them."""

import csv

import numpy as np
import pytest

from medjax import assemble, build, restore
from medjax.errors import InputError
from medjax.synthesise import class_labels, synthesise
from medjax.training import train_and_evaluate

DATA = dict(name='images', size=(8, 8), channels=1, intensity=dict(name='fixed', mean=(0.5,), std=(0.5,)),
            source=dict(name='simulated_images', classes=('small', 'large'), cases=(17, 4, 6), shape=(8, 8)))
CONFIG = dict(
    seed=0, batch=8, steps=2, model=dict(name='gan', variant='dcgan', size=(8, 8), base=4, latent=4),
    task=dict(name='gan'), data=DATA,
    optim=dict(name='adam', lr=1e-2, ema=0.5, groups=dict(discriminator=dict(lr=2e-2, update_every=2))),
    evaluate=dict(name='synthesis', every=1, batch=4, examples=2),
    checkpoint=dict(best='kid_pixels'), log=dict(every=1))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'gan'
    assert train_and_evaluate(CONFIG, folder)
    return folder


def test_images_are_written_with_their_labels(run, tmp_path):
    line = synthesise(run, tmp_path / 'made.npz', 10)
    assert '10 images by the weights of step' in line and line.endswith('5 small, 5 large')  # 9 to 8 of 17
    with np.load(tmp_path / 'made.npz') as file:
        images, labels = file['train_images'], file['train_labels']
        assert file['classes'].tolist() == ['small', 'large'] and file['test_images'].shape == (0, 8, 8)
    assert images.shape == (10, 8, 8) and images.dtype == np.uint8 and labels[:, 0].tolist() == [0] * 5 + [1] * 5
    assert len(np.unique(images.reshape(10, -1), axis=0)) == 10
    synthesise(run, tmp_path / 'again.npz', 10)
    synthesise(run, tmp_path / 'other.npz', 10, seed=1)
    again, other = (np.load(tmp_path / f'{name}.npz')['train_images'] for name in ('again', 'other'))
    np.testing.assert_array_equal(images, again)
    assert (images != other).any((1, 2)).all()


def test_a_classifier_trains_on_them(run, tmp_path):
    synthesise(run, tmp_path / 'made.npz', 6, equal=True)
    data = build.dataset({**DATA, 'extra_npz': str(tmp_path / 'made.npz')})
    assert data.counts == {'train': 23, 'val': 4, 'test': 6}
    assert '6 synthetic images' in data.notice and 'made.npz' in data.notice
    np.testing.assert_array_equal(data.arrays[data.numbers('train')[-6:]][..., 0],
                                  np.load(tmp_path / 'made.npz')['train_images'])
    # What predicts needs none of them.
    assert restore.restore(run).predictor.example()['image'].shape == (1, 8, 8, 1)


def test_the_run_has_a_training_history_and_a_report(run):
    assert [path.name for path in sorted((run / 'course').glob('*'))] == ['0000001.npz', '0000002.npz']
    with (run / 'predictions.csv').open() as file:
        kinds = {(row['split'], row['kind']) for row in csv.DictReader(file)}
    assert len(kinds) == 2 * 5 + 1 and ('test', 'val') in kinds
    page = (run / 'report.html').read_text()
    assert 'not comparable with FID of Inception features' in page and 'Nearest training images' in page
    assert 'Output of the discriminator' in page


def test_without_validation_images_none_is_evaluated():
    few = {**DATA, 'source': {**DATA['source'], 'cases': (17, 0, 6)}}
    with pytest.raises(InputError, match=r'config\.evaluate\.every: 1; expected 0 for a data set that has train, test'):
        assemble.experiment({**CONFIG, 'data': few, 'checkpoint': {}})


@pytest.mark.parametrize('positive, count, equal, want', [
    ((3, 1), 8, False, [6, 2]), ((3, 1), 8, True, [4, 4]), ((2, 0, 1), 5, True, [3, 0, 2]), ((9, 1), 1, False, [1, 0]),
    ((1, 1, 1), 4, False, [2, 1, 1])])
def test_labels_are_in_proportion(positive, count, equal, want):
    assert np.bincount(class_labels(positive, count, equal), minlength=len(positive)).tolist() == want


@pytest.mark.parametrize('options, message', [(dict(images=0), '--images=0'), (dict(images=5, seed=-1), '--seed=-1')])
def test_invalid_input_is_refused(run, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        synthesise(run, tmp_path / 'made.npz', **options)


def test_a_file_that_may_be_a_training_set_is_not_overwritten(run, tmp_path):
    synthesise(run, tmp_path / 'made.npz', 4)
    synthesise(run, tmp_path / 'made.npz', 6)  # its own result of before
    np.savez(tmp_path / 'pneumonia.npz', train_images=np.ones((3, 8, 8), np.uint8), test_images=np.ones((2, 8, 8)),
             classes=np.array(['a']))
    (tmp_path / 'text.npz').write_text('notes')
    (tmp_path / 'link.npz').symlink_to(tmp_path / 'made.npz')
    (tmp_path / 'nowhere.npz').symlink_to(tmp_path / 'new.npz')
    for name in ('pneumonia', 'text', 'link', 'nowhere'):
        with pytest.raises(InputError, match=rf'{name}\.npz: exists and is not a file of sampled images.*; expected'):
            synthesise(run, tmp_path / f'{name}.npz', 4)
    assert np.load(tmp_path / 'pneumonia.npz')['train_images'].all() and not (tmp_path / 'new.npz').exists()
    assert len(np.load(tmp_path / 'made.npz')['train_images']) == 6


@pytest.mark.parametrize('name', ['.', 'made', 'made.zip'])
def test_the_output_must_be_a_file(run, tmp_path, name):
    with pytest.raises(InputError, match=r'--output=.*: expected a file, \.npz'):
        synthesise(run, tmp_path / name, images=4)
