"""The evaluator of tumour growth: rows by hand, validation metrics, and predictions for new visits."""

import csv

import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest

from medjax.core.task import Task
from medjax.data.datasets import tumour_growth as datasets_tumour_growth
from medjax.errors import InputError
from medjax.tasks.growth import evaluator
from tests.data import growing_squares
from tests.data.sources import test_tumour_visits_csv


def predict_known(variables, batch):
    """The last mask and one pixel more, a volume of 0.1 ml more than that, and a risk for each site."""
    mask = batch['image'][:, -1, ..., 1].at[:, 0, 0].set(1)
    size = mask.reshape(len(mask), -1).sum(1)
    sure = 0.8 * mask + 0.1
    out = {'probs': jnp.stack([1 - sure, sure], -1), 'volume': 0.02 * size + 0.1}
    return out | ({'risk': jnp.tile(jnp.array([0.2, 0.7]), (len(mask), 1)), 'rates': mask} if 'new' in batch else {})


KNOWN = Task(init=None, loss=None, metrics=None, predict=predict_known)


@pytest.fixture(scope='module')
def data():
    cases = [growing_squares.case('a'), growing_squares.case('bb', times=(0, 20, 50, 100), sides=(2, 2, 4, 6)),
             growing_squares.case('ccc', 'test', sides=(2, 4, 8)), growing_squares.case('dddd', 'test', new=(1, 0)),
             growing_squares.case('eeeee', 'test', sides=(2, 4, 0), new=(0, -1))]
    return datasets_tumour_growth.dataset(growing_squares.source(*cases), size=(12, 12))


def test_rows_by_hand(data, tmp_path):
    evaluate = evaluator.evaluator(data=data, task=KNOWN, batch=2, reaction_diffusion=False)
    rows = evaluate(None, 'test', snapshots=tmp_path)
    assert [row['id'] for row in rows] == ['ccc', 'dddd', 'eeeee'] and rows[0]['visits'] == 2
    first, second, gone = rows
    assert first['sex'] == 'f' and first['horizon'] == 60 and first['volume_last'] == pytest.approx(16 * 0.02)
    assert first['dice'] == pytest.approx(2 * 16 / (17 + 64)) and first['dice_same'] == pytest.approx(2 * 16 / 80)
    assert first['volume'] == pytest.approx(0.44) and first['volume_true'] == pytest.approx(1.28)
    assert first['volume_error'] == pytest.approx(100 * (1.28 - 0.44) / 1.28)
    assert first['volume_error_same'] == pytest.approx(75)
    # Four times as much in 30 days: 256 pixels after 60 more, more than the 120 that are not the border.
    assert first['volume_exponential'] == pytest.approx(256 * 0.02, rel=1e-3)
    assert first['volume_error_exponential'] == pytest.approx(300, rel=1e-3)
    assert first['dice_exponential'] == pytest.approx(2 * 64 / (64 + 120))
    assert np.isnan(gone['volume_error']) and gone['dice'] == 0 and gone['volume_true'] == 0
    assert [first[f'new_{name}'] for name in growing_squares.SITES] == ['', 0] and first['risk_front'] == ''
    assert second['risk_front'] == pytest.approx(0.2) and second['chance_back'] == pytest.approx(0.2)
    kept = np.load(tmp_path / 'ccc.npz')
    assert kept['image'].shape == (2, 12, 12, 3) and kept['mask_gompertz'].shape == kept['rates'].shape == (12, 12)


def test_validation_metrics(data):
    evaluate = evaluator.evaluator(data=data, task=KNOWN, batch=8)
    rows = evaluate(None, 'test', quick=True)
    assert 'dice_same' in rows[0] and 'dice_gompertz' not in rows[0]
    found = evaluate.validation_metrics(rows)
    assert found['dice'] == pytest.approx(np.mean([row['dice'] for row in rows]))
    assert found['volume_error'] == pytest.approx(np.mean([row['volume_error'] for row in rows[:2]]))
    # New at the front of dddd (.2); nothing at its back (.7), nor at ccc's (.7), nor at eeeee's front (.2).
    assert found['auroc_sites'] == pytest.approx(1 / 6)


def test_predictions_for_new_patients(tmp_path):
    rows = [row.rsplit(',', 2)[0] + ',' for row in test_tumour_visits_csv.make(tmp_path, images=False)]
    header = 'patient,visit,mask,kind,image'
    where = test_tumour_visits_csv.write(tmp_path, [*rows[:2], 'p1,20,,,', *rows[3:], 'p2,40,,,'], header)
    predictor = evaluator.predictor(task=KNOWN, data=dict(size=(8, 8, 8), inputs=('distance', 'mask')), statistics=dict(
        visits=3, channels=2, sites=[], voxel=0.008))
    assert set(predictor.example()) >= {'image', 'time', 'time_mask', 'volume', 'horizon'}
    line = predictor(None, tmp_path / where['table'], tmp_path / 'out')
    assert '2 patients' in line
    table_rows = list(csv.DictReader((tmp_path / 'out' / 'predictions.csv').read_text().splitlines()))
    assert [float(row['horizon']) for row in table_rows] == [84, 168]
    mask = nib.load(tmp_path / 'out' / 'p1.nii.gz')
    np.testing.assert_array_equal(mask.affine, test_tumour_visits_csv.AFFINE)
    array = np.asarray(mask.dataobj)
    assert array[3:6, 3:6, 3:6].all() and array.sum() == 27 + 8  # and the row of voxels that `predict_known` adds
    assert float(table_rows[0]['volume']) == pytest.approx((0.9 * 35 + 0.1 * (8**3 - 35)) * 0.008)
    assert float(table_rows[0]['volume_mask']) == pytest.approx(35 * 0.008)
    with pytest.raises(InputError, match='patient p1: 3 visits; expected at least two with a mask, and a last one'):
        test_tumour_visits_csv.write(tmp_path, rows[:3], header)
        predictor(None, tmp_path / where['table'], tmp_path / 'out')


def test_an_empty_batch_is_refused(data):
    with pytest.raises(InputError, match='config.evaluate.batch'):
        evaluator.evaluator(data=data, task=KNOWN, batch=0)
