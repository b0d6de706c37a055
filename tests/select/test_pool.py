"""`medjax select`: the images of a pool in the order in which they should be annotated."""

import csv

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

import medjax
from medjax.errors import InputError
from medjax.select.pool import select
from medjax.statistics import selection
from tests.serve.conftest import AFFINE, classifier, segmenter, volume  # noqa: F401 - fixtures


@pytest.fixture
def pool(tmp_path):
    (tmp_path / 'pool').mkdir()
    for seed in range(6):
        pixels = np.random.default_rng(seed).integers(0, 40 * seed + 10, (16, 16), np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'pool' / f'{seed}.png')
    return tmp_path / 'pool'


def test_the_most_uncertain_images_come_first(classifier, pool, tmp_path):  # noqa: F811
    probs = medjax.load(classifier).predict(pool).table
    expected = selection.entropy(probs[['prob_small', 'prob_large']].to_numpy())
    rows = select(classifier, pool, 3, tmp_path / 'out.csv', strategy='uncertainty', say=lambda line: None)
    names = [probs['image'][at] for at in np.argsort(-expected)[:3]]
    assert [row['image'] for row in rows] == names
    np.testing.assert_allclose([float(row['uncertainty']) for row in rows], np.sort(expected)[::-1][:3])
    with open(tmp_path / 'out.csv') as file:
        assert [row['rank'] for row in csv.DictReader(file)] == ['1', '2', '3']


def test_volumes_are_selected_and_too_many_are_refused(segmenter, tmp_path):  # noqa: F811
    (tmp_path / 'pool').mkdir()
    for number in range(3):
        nib.save(nib.Nifti1Image(volume(number + 20), AFFINE), tmp_path / 'pool' / f'{number}.nii.gz')
    rows = select(segmenter, tmp_path / 'pool', 2, tmp_path / 'out.csv', say=lambda line: None)
    assert len({row['image'] for row in rows}) == 2 and all(0 <= float(row['uncertainty']) < 1 for row in rows)
    with pytest.raises(InputError, match='--count=4: the pool .* has 3 images; expected 1 to that number'):
        select(segmenter, tmp_path / 'pool', 4, tmp_path / 'out.csv', say=lambda line: None)


def test_a_family_without_uncertainties_is_refused(classifier, pool, tmp_path, monkeypatch):  # noqa: F811
    from medjax.tasks.classification.predictor import ClassificationPredictor
    monkeypatch.setattr(ClassificationPredictor, 'uncertainty_and_features', lambda *_: None)
    with pytest.raises(InputError, match='a run of a family without uncertainties of images'):
        select(classifier, pool, 2, tmp_path / 'out.csv', say=lambda line: None)
    assert not (tmp_path / 'out.csv').exists()
