"""Registration measured by hand: known deformations, images without contrast, and new pairs from files."""

import csv
import functools

import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medjax.core.task import Task
from medjax.data.datasets import registration
from medjax.data.datasets.registration import Pair
from medjax.data.io.geometry import Image
from medjax.data.source import Case, Source
from medjax.data.sources import image_pairs_csv
from medjax.errors import InputError
from medjax.ops import deformation
from medjax.tasks.registration import summary
from medjax.tasks.registration.evaluator import evaluator, predictor

rng = np.random.default_rng(0)


def predict(variables, batch):
    """A displacement of two voxels along the first axis."""
    there = jnp.zeros((1, 2, *batch['fixed'].shape[1:3])).at[:, 0].set(2.0)
    return {'moved': deformation.warp(batch['moving'][0], there[0])[None], 'displacement': there, 'inverse': -there}


TASK = Task(None, None, predict, None)


@functools.cache
def data(flat=False, labels=True):
    """The moving image is the fixed one, two voxels further on; a point is half a voxel off along the second axis."""
    image = rng.random((24, 20)).astype(np.float32)
    image[12:] += 1
    label = (image > 1).astype(np.uint8)

    def read():
        moving, moved_label = np.roll(image, 2, 0), np.roll(label, 2, 0)
        images = [Image(x[..., None], np.diag([2.0, 3.0, 1.0, 1.0])) for x in (
            image, np.ones_like(image) if flat else moving, label, moved_label)]
        return Pair(*images[:4 if labels else 2], points=np.array([[5.0, 5, 0], [6, 7, 0]]),
                    targets=np.array([[7.0, 5, 0], [8, 7.5, 0]]))

    return registration.dataset(Source(tuple(Case(split, split, split, read) for split in ('train', 'val', 'test')),
                                ('background', 'bright'), problem='registration', least_classes=1), size=(24, 20))


def test_metrics_by_hand(tmp_path):
    row, = evaluator(data=data(), task=TASK, affine_baseline=False, ncc_window=5)({}, 'test', snapshots=tmp_path)
    assert row['tre'] == pytest.approx(0.75) and row['tre_none'] == pytest.approx((4 + np.hypot(4, 1.5)) / 2)
    assert row['tre90'] == pytest.approx(1.35) and row['consistency'] == pytest.approx(0, abs=1e-5)
    assert row['folded'] == row['folded_none'] == 0 and row['seconds'] > 0
    # 12 rows are bright in the fixed image, rows 14 to 23 and the first two of the moving one.
    assert row['dice_none'] == pytest.approx(2 * 10 / 24) and row['dice'] == pytest.approx(2 * 12 / 24)
    assert row['ncc'] > 0.9 > 0.5 > row['ncc_none']
    with np.load(tmp_path / 'test.npz') as kept:
        assert kept['fixed'].shape == kept['moved'].shape == (24, 20) and kept['displacement'].shape == (2, 24, 20)
        np.testing.assert_allclose(kept['jacobian'], 1)
        np.testing.assert_allclose(kept['moved'][:-2], kept['fixed'][:-2], atol=1e-5)


def test_distances_of_pictures_are_in_pixels(tmp_path):
    image = rng.integers(0, 255, (20, 24)).astype(np.uint8)  # rows and columns
    for name, array in (('a', image), ('b', np.roll(image, 2, 1))):
        Picture.fromarray(array).save(tmp_path / f'{name}.png')
    (tmp_path / 'points.csv').write_text('x,y,z,to_x,to_y,to_z\n5,6,0,7,6,0\n9,3,0,11,4.5,0\n')
    (tmp_path / 'pairs.csv').write_text('fixed,moving,points,split\na.png,b.png,points.csv,train\n')
    source = image_pairs_csv.source(table='pairs.csv', dir=str(tmp_path))
    assert source.grid == 'pixels' and source.length_unit == 'px'
    evaluate = evaluator(data=registration.dataset(source, size=(24, 20)), task=TASK, affine_baseline=False,
                         ncc_window=5)
    row, = evaluate({}, 'train')
    assert row['tre_none'] == pytest.approx((2 + np.hypot(2, 1.5)) / 2) and row['tre'] == pytest.approx(1.5 / 2)
    assert summary.results([row], evaluate)['length_unit'] == 'px' and data().source.length_unit == 'mm'


def test_without_labels_or_contrast_metrics_are_missing(tmp_path):
    evaluate = evaluator(data=data(flat=True, labels=False), task=TASK, affine_baseline=False, bspline_pairs=1,
                         ncc_window=5)
    row, = evaluate({}, 'test', snapshots=tmp_path)
    assert row['ncc'] == pytest.approx(0, abs=1e-6) and np.isnan(row['dice']) and row['tre'] == pytest.approx(0.75)
    assert np.isnan(row['ncc_bspline']) and np.isfinite([v for k, v in row.items() if k.startswith('tre') and
                                                         'bspline' not in k]).all()
    assert 'tre' in evaluate.validation_metrics(evaluate({}, 'val', quick=True))


def test_new_pairs_from_files(tmp_path):
    image = data().rows.fixed[0, ..., 0]
    affine = np.diag([2.0, 3.0, 1.0, 1.0])
    for name, array in (('a', image), ('b', np.roll(image, 2, 0))):
        nib.save(nib.Nifti1Image(array[..., None], affine), tmp_path / f'{name}.nii.gz')
    (tmp_path / 'pairs.csv').write_text('fixed,moving\na.nii.gz,b.nii.gz\n')
    register = predictor(task=TASK, statistics=data().statistics, data=dict(size=(24, 20)))
    assert register.example()['fixed'].shape == (1, 24, 20, 1)
    line = register({}, tmp_path / 'pairs.csv', tmp_path / 'out')
    moved = nib.load(tmp_path / 'out' / 'b_to_a.nii.gz')
    np.testing.assert_allclose(moved.get_fdata()[:-2, :, 0], image[:-2], atol=1e-3)
    np.testing.assert_allclose(moved.affine, affine)
    field, back = (nib.load(tmp_path / 'out' / f'b_to_a_{end}.nii.gz').get_fdata() for end in ('field', 'inverse'))
    np.testing.assert_allclose(field, np.broadcast_to([4.0, 0.0], (24, 20, 1, 2)))
    np.testing.assert_allclose(back, -field)
    row, = csv.DictReader((tmp_path / 'out' / 'predictions.csv').read_text().splitlines())
    assert row['pair'] == 'b_to_a' and float(row['ncc']) > 0.9 > float(row['ncc_before']) and '1 pairs' in line
    other = predictor(task=TASK, statistics={**data().statistics, 'spacing': [1.0, 1.0]}, data=dict(size=(24, 20)))
    with pytest.raises(InputError, match=r'b_to_a: voxels of \(2.0, 3.0\) mm; expected \(1.0, 1.0\), as in training'):
        other({}, tmp_path / 'pairs.csv', tmp_path / 'out')
    (tmp_path / 'pairs.csv').write_text('fixed,moving\na.nii.gz,b.nii.gz\na.nii.gz,b.nii.gz\n')
    with pytest.raises(InputError, match='b_to_a: 2 pairs; expected each pair once'):
        register({}, tmp_path / 'pairs.csv', tmp_path / 'twice')


def test_splines_register_a_pair():
    from medjax.tasks.registration import bspline_baseline
    x, y = np.indices((32, 32)) - 15.5
    fixed = (np.hypot(x, y) < 9).astype(np.float32) + (np.hypot(x - 3, y) < 3)
    moving = (np.hypot(x - 2, (y + 1) / 1.2) < 9).astype(np.float32) + (np.hypot(x - 5, (y + 1) / 1.2) < 3)
    there = bspline_baseline.register(fixed, moving, (2.0, 2.0), metric='mattes', steps=10)
    moved = np.asarray(deformation.warp(moving[..., None], there))[..., 0]
    assert there.shape == (2, 32, 32) and ((moved - fixed)**2).mean() < 0.3 * ((moving - fixed)**2).mean()


@pytest.mark.parametrize('options', [dict(bspline_pairs=-1), dict(ncc_window=4)])
def test_invalid_input_is_refused(options):
    with pytest.raises(InputError, match=r'config\.evaluate: bspline_pairs='):
        evaluator(data=data(), task=TASK, **options)
