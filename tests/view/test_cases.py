"""What the viewer draws of each case: arrays as other libraries read them, and no file outside of the run."""

import io
import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medjax.errors import InputError
from medjax.view import cases

RNG = np.random.default_rng(0)


@pytest.fixture
def run(tmp_path):
    """A run's folder with a table of three cases, of which two have arrays."""
    config = {'task': {'name': 'segmentation'}, 'evaluate': {'name': 'segmentation'}, 'name': 'a'}
    (tmp_path / 'config.json').write_text(json.dumps(config))
    (tmp_path / 'results.json').write_text(json.dumps({'classes': ['background', '<b>tumour</b>']}))
    (tmp_path / 'predictions.csv').write_text(
        'split,id,patient,dice_tumour,hd95_tumour\ntest,a,a,0.5,3\ntest,../../b,b,,\ntest,c,c,0.25,1\n')
    (tmp_path / 'cases' / 'test').mkdir(parents=True)
    for name, shape, kind in (('a', (5, 4, 3), 'volume'), ('c', (6, 5, 1), 'image')):
        image = RNG.normal(size=shape).astype(np.float32)
        np.savez(tmp_path / 'cases' / 'test' / f'{name}.npz', kind=kind, image=image,
                 label=RNG.integers(0, 2, shape).astype(np.uint8), pred=RNG.integers(0, 2, shape).astype(np.uint8),
                 confidence=RNG.random(shape).astype(np.float16), spacing=np.array([1.0, 2.0, 3.0]))
    (tmp_path / 'b.npz').write_bytes(b'outside')
    return tmp_path


def test_the_list_has_the_cases_with_their_headline_metrics(run):
    found = cases.Cases(run).describe()
    assert found['columns'] == ['dice_tumour'] and found['classes'][0]['name'] == '<b>tumour</b>'
    assert [(of['id'], of['values'], of['drawn']) for of in found['cases']] == [
        ('a', ['0.5'], True), ('../../b', [''], False), ('c', ['0.25'], True)]


def test_volumes_are_nifti_files_with_the_arrays_and_the_spacing(run):
    arrays = np.load(run / 'cases' / 'test' / 'a.npz')
    layers = cases.Cases(run).drawn(0).layers
    assert [(of.name, of.kind) for of in layers] == [
        ('image', 'image'), ('reference', 'label'), ('prediction', 'label'), ('uncertainty', 'map')]
    for layer, expected in zip(layers, (arrays['image'], arrays['label'], arrays['pred'],
                                        1 - arrays['confidence'].astype(np.float32))):
        content, _ = layer.encode()
        image = nib.Nifti1Image.from_bytes(content)
        np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
        np.testing.assert_allclose(image.affine, np.diag([1.0, 2.0, 3.0, 1.0]))


def test_pictures_are_png_files_with_rows_first(run):
    arrays = np.load(run / 'cases' / 'test' / 'c.npz')
    image, reference, *_ = cases.Cases(run).drawn(2).layers
    picture = np.asarray(Image.open(io.BytesIO(reference.encode()[0])))
    np.testing.assert_array_equal(picture, arrays['label'][:, :, 0].T)
    grey = np.asarray(Image.open(io.BytesIO(image.encode()[0])))
    assert grey.shape == (5, 6) and grey.min() == 0 and grey.max() == 255
    assert np.unravel_index(grey.argmax(), grey.shape)[::-1] in np.argwhere(
        arrays['image'][:, :, 0] >= np.percentile(arrays['image'], 99))


def test_cases_that_are_not_there_are_refused(run):
    for number in (1, 3, -1):
        with pytest.raises(InputError, match=f'case {number}: nothing to draw'):
            cases.Cases(run).drawn(number)


def test_boxes_of_pictures_and_volumes():
    common = dict(kind='detection', truth_labels=np.array([1]), found_labels=np.array([0, 1]),
                  scores=np.array([.75, .5]))
    flat = dict(common, image=np.zeros((8, 9, 3), np.uint8), truth=np.array([[1, 2, 5, 6.0]]),
                found=np.array([[1, 2, 3, 4.0], [0, 0, 8, 9]]), spacing=np.ones(2))
    drawn = cases.DRAWINGS['detection'](flat, ['cell', 'node'])
    assert drawn.boxes[:2] == [{'rows': [1, 5], 'columns': [2, 6], 'name': 'node', 'score': None},
                               {'rows': [1, 3], 'columns': [2, 4], 'name': 'cell', 'score': .75}]
    solid = dict(common, image=np.zeros((8, 9, 7, 1), np.float32), truth=np.array([[1, 2, 1, 5, 6, 4.0]]),
                 found=np.zeros((0, 6)), found_labels=np.zeros(0), scores=np.zeros(0), spacing=np.ones(3))
    frame = cases.DRAWINGS['detection'](solid, ['cell', 'node']).layers[1].array
    # The edges of a box of 4 × 4 × 3 voxels: its 48 voxels without those inside of the faces and of the box.
    assert frame.sum() == 48 - 2 * (2 * 2 + 2 * 1 + 2 * 1) - 2 * 2 * 1
    assert frame[1, 2, 1] == frame[4, 5, 3] == 1 and not frame[2, 3, 2]


def test_maps_of_classification_are_over_the_image():
    arrays = dict(kind='classification', image=np.zeros((4, 5, 1), np.float32), methods=np.array(['grad_cam']),
                  maps=np.arange(20, dtype=np.float32).reshape(1, 4, 5))
    drawn = cases.DRAWINGS['classification'](arrays, [])
    assert [(of.name, of.kind, of.array.shape) for of in drawn.layers] == [
        ('image', 'image', (4, 5)), ('grad_cam', 'map', (4, 5))]
