"""Metrics of translations by hand, baselines without a network, and new images."""

import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medjax.core.task import Task
from medjax.data.datasets.translation import PAIR, Contrasts, dataset
from medjax.data.io import image_files
from medjax.data.io.geometry import Image
from medjax.data.source import Case, Source
from medjax.errors import InputError
from medjax.tasks.translation.baselines import fit_baselines
from medjax.tasks.translation.evaluator import evaluator, fidelity, predictor
from tests.data.datasets.test_translation import OPTIONS, source, views


def predict(variables, batch):
    """The negative, which the target nearly is, and the image with an error of a tenth of its range."""
    return {'translated': -batch['image'] + variables, 'cycle': batch['image'] + 0.2}


TASK = Task(None, None, predict, None)
SHIFT = jnp.float32(0.1)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return dataset(source(('train', (1, 1)), ('train', (1, 1)), ('val', (1, 0))), paired=False,
                   cache=str(tmp_path_factory.mktemp('cache')), **OPTIONS)


def test_figures_by_hand_on_the_stored_grid(data, tmp_path):
    row, = evaluator(data=data, task=TASK)(SHIFT, 'test', snapshots=tmp_path / 'test')
    seen, inside = views(int(row['id'][1:]) + 1), views(1).head.array > 0
    high = {side: data.limits[side]['high'][0] for side in ('image', 'target')}
    low = data.limits['target']['low'][0]
    image, target = seen.image.array / high['image'], (seen.target.array - low) / (high['target'] - low)
    difference = ((1 - image) + 0.05 - target)[inside]
    assert row['mae'] == pytest.approx(np.abs(difference).mean(), rel=1e-4)
    assert row['psnr'] == pytest.approx(-10 * np.log10((difference**2).mean()), rel=1e-4)
    assert row['cycle_mae'] == pytest.approx(0.1, rel=1e-4)
    # The target is a straight line of the image.
    assert row['mae_linear'] < 1e-5 and row['psnr_linear'] > 80 and row['ssim_linear'] == pytest.approx(1)
    assert {'mae_lookup', 'sharpness_matched'} <= set(row)
    with np.load(tmp_path / 'test' / f'{row["id"]}.npz') as kept:
        assert kept['made'].shape == kept['target'].shape == (8, 10, 4, 1) and kept['planes'].shape == (4,)
        assert kept['planes'].mean() == pytest.approx(row['mae'], rel=1e-3) and str(kept['kind']) == 'volume'


def test_quick_validation_skips_missing_targets(data, tmp_path):
    evaluate = evaluator(data=data, task=TASK)
    rows = evaluate(SHIFT, 'val', quick=True)
    assert [np.isnan(row['psnr']) for row in rows] == [True, False] and 'psnr_linear' not in rows[1]
    means = evaluate.validation_metrics(rows)
    assert means['psnr'] == rows[1]['psnr'] and means['cycle_mae'] == pytest.approx(0.1, rel=1e-4)
    evaluate.snapshot_training(SHIFT, tmp_path, 7)
    with np.load(tmp_path / 'course' / '0000007.npz') as kept:
        assert set(kept) == {'image', 'made', 'cycle'} and kept['made'].shape == (8, 10, 1)


def test_a_copied_input_has_metrics():
    image = np.ones((8, 8, 1, 1))
    assert fidelity(image, image, np.ones((8, 8, 1)))['psnr'] == 100
    assert np.isnan(fidelity(image, image, np.zeros((8, 8, 1)))['psnr'])


def test_baselines_by_hand():
    x = np.linspace(0, 1, 640)[:, None]
    y = np.where(x < 0.5, 4 * x, 1.0)
    made = fit_baselines([(x[:400], y[:400]), (x[400:], y[400:])], [x], [1 - x**2])
    assert set(made) == {'linear', 'lookup', 'matched'}
    slope, start = np.polyfit(x[:, 0], y[:, 0], 1)
    np.testing.assert_allclose(made['linear'](np.array([[0.0], [2.0]])), [[start], [start + 2 * slope]])
    at = np.array([[[0.25], [0.75]]])
    np.testing.assert_allclose(made['lookup'](at), [[[1.0], [1.0]]], atol=0.02)
    flat = np.where(np.arange(640) % 4 < 3, 0, x[:640, 0])[:, None]  # three quarters are one value
    constant = fit_baselines([(flat, np.arange(640.0)[:, None])], [], [])['lookup'](np.zeros((1, 1)))
    assert constant.item() == pytest.approx(319)
    # Of the same rank: the lowest value meets the lowest, whatever the pairs say.
    np.testing.assert_allclose(made['matched'](np.array([[0.0], [0.5], [1.0]])), [[0], [0.75], [1]], atol=0.01)
    assert set(fit_baselines([], [x], [y])) == {'matched'}
    assert set(fit_baselines([(x.repeat(3, 1), y)], [x.repeat(3, 1)], [y])) == {'linear'}


def test_a_new_volume_is_written_on_its_own_grid(data, tmp_path):
    make = predictor(task=TASK, data=dict(OPTIONS, paired=False), statistics=data.statistics, read=image_files.read)
    assert {part.shape for part in make.example().values()} == {(1, 6, 8, 1)}
    image, turned = views(5).image, np.diag([-1.0, 1.0, 2.0, 1.0])
    image_files.write(tmp_path / 'new.nii.gz', image.array, turned)
    line = make(SHIFT, tmp_path / 'new.nii.gz', tmp_path / 'out')
    made = nib.load(tmp_path / 'out' / 'new.nii.gz')
    np.testing.assert_array_equal(made.affine, turned)
    high, top = data.limits['image']['high'][0], data.limits['target']
    share = 1 - image.array / high + 0.05
    np.testing.assert_allclose(made.get_fdata(), top['low'][0] + share * (top['high'][0] - top['low'][0]), atol=1e-4)
    assert 'new.nii.gz' in line
    image_files.write(tmp_path / 'two.nii.gz', np.stack([image.array] * 2, -1), turned)
    with pytest.raises(InputError, match=r'two\.nii\.gz: 2 channels; expected 1, as in training'):
        make(SHIFT, tmp_path / 'two.nii.gz', tmp_path / 'out')


def test_a_new_picture_becomes_a_picture(data, tmp_path):
    Picture.fromarray(np.arange(63, dtype=np.uint8).reshape(9, 7)).save(tmp_path / 'new.png')
    limits = {'low': [0.0], 'high': [100.0]}
    make = predictor(task=TASK, data=OPTIONS, read=image_files.read, statistics={
        **data.statistics, 'intensities': {'image': limits, 'target': limits}})
    make(SHIFT, tmp_path / 'new.png', tmp_path / 'out')
    want = np.rint(100 - np.arange(63).reshape(9, 7) + 5)
    np.testing.assert_array_equal(np.asarray(Picture.open(tmp_path / 'out' / 'new.png')), want)


def test_a_split_without_images_is_refused(tmp_path):
    lone = source(('train', (1, 1)), ('late', (0, 1)))
    with pytest.raises(InputError, match=r'config\.data\.source: no T1 image in the split late'):
        evaluator(data=dataset(lone, cache=str(tmp_path), **OPTIONS), task=TASK)
    for option, value in (('batch', 0), ('overlap', 1.0), ('overlap', -0.5)):
        with pytest.raises(InputError, match=rf'config\.evaluate\.{option}: {value}; expected'):
            evaluator(data=dataset(source(), cache=str(tmp_path), **OPTIONS), task=TASK, **{option: value})


def test_colours_become_a_picture_in_colours(tmp_path):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 255, (7, 9, 1, 3)).astype(np.uint8)
    both = Contrasts(*[Image(array, np.eye(4))] * 2)
    cases = tuple(Case(split, split, split, lambda: both, target=PAIR) for split in ('train', 'test'))
    data = dataset(Source(cases, ('HE', 'IHC'), problem='translation'), patch=(7, 9, 1), all_voxels=True,
                   ranges=dict.fromkeys(('image', 'target'), (0, 255)), cache=str(tmp_path))
    row, = evaluator(data=data, task=TASK)(SHIFT, 'test')
    assert 'psnr_linear' in row and 'psnr_lookup' not in row and np.isfinite(row['ssim'])
    make = predictor(task=TASK, data=dict(patch=(7, 9, 1)), statistics=data.statistics, read=image_files.read)
    Picture.fromarray(array[:, :, 0].swapaxes(0, 1)).save(tmp_path / 'new.png')
    make(jnp.float32(0), tmp_path / 'new.png', tmp_path / 'out')
    np.testing.assert_array_equal(np.asarray(Picture.open(tmp_path / 'out' / 'new.png')),
                                  255 - array[:, :, 0].swapaxes(0, 1))
