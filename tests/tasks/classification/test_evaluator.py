"""Evaluation of classification: rows by hand, padding, flips, Monte Carlo samples, snapshots and new images."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image as Picture

from medjax.core.task import Task
from medjax.data.datasets.images import dataset
from medjax.data.io import image_files
from medjax.data.simulated import images as simulated_images
from medjax.errors import InputError
from medjax.tasks.classification.evaluator import evaluator, predictor

SIZE = (6, 5)


def predict(variables, batch, key=None):
    """The probability of class 1 is the mean of the left half, plus noise where a key is given."""
    p = batch['image'][:, :, :2].mean((1, 2, 3)) * variables
    p = p if key is None else p + jax.random.uniform(key, p.shape, minval=-0.1, maxval=0.1)
    return {'probs': jnp.stack([1 - p, p], -1)}


TASK = Task(None, None, predict, None)


@pytest.fixture
def data(tmp_path):
    return dataset(simulated_images.source(cases=(4, 6, 7), shape=SIZE), size=SIZE, intensity={'name': 'unit'},
                   cache=str(tmp_path / 'cache'))


def rows_of(data, split='test', **options):
    return evaluator(data=data, task=TASK, **options)(jnp.float32(1), split)


def test_rows_by_hand_for_any_batch_size(data):
    numbers = data.numbers('test')
    want = data.images(numbers)[:, :, :2].mean((1, 2, 3))
    for batch in (1, 4, 64):
        rows = rows_of(data, batch=batch)
        np.testing.assert_allclose([row['prob_large'] for row in rows], want, rtol=1e-6)
    assert [row['target'] for row in rows] == ['small', 'large'] * 3 + ['small']
    assert list(rows[0]) == ['split', 'id', 'patient', 'site', 'target', 'prob_small', 'prob_large']
    assert rows[3]['id'] == 'test0003' and rows[3]['split'] == 'test'


def test_mirrored_views_are_averaged(data):
    images = data.images(data.numbers('test'))
    want = (images[:, :, :2].mean((1, 2, 3)) + images[:, :, 3:].mean((1, 2, 3))) / 2
    np.testing.assert_allclose([row['prob_large'] for row in rows_of(data, flips=(1,))], want, rtol=1e-6)


def test_dropout_samples_differ_by_case_and_are_reproducible(data):
    plain, first, again = (rows_of(data, batch=4, dropout_samples=samples) for samples in (0, 200, 200))
    assert first == again
    assert 'uncertainty' not in plain[0] and all(row['uncertainty'] > 0 for row in first)
    shift = np.array([a['prob_large'] - b['prob_large'] for a, b in zip(first, plain)])
    assert np.abs(shift).max() < 0.1 / np.sqrt(3 * 200) * 5 and len(set(np.round(shift, 9))) > 1


def test_validation_scores_are_those_of_the_table(data):
    evaluate = evaluator(data=data, task=TASK)
    found = evaluate.validation_metrics(evaluate(jnp.float32(1), 'val', quick=True))
    p = data.images(data.numbers('val'))[:, :, :2].mean((1, 2, 3))
    truth = data.targets[data.numbers('val')]
    pairs = [(a > b) + (a == b) / 2 for a in p[truth == 1] for b in p[truth == 0]]
    assert np.isclose(found['auroc'], np.mean(pairs)) and np.isclose(found['accuracy'], ((p > 0.5) == truth).mean())


def test_snapshots_are_of_the_most_and_the_least_confident_cases(data, tmp_path):
    asked = []

    def explain(task, variables, image, target):
        asked.append((image.shape, target.tolist()))
        return {'maps': np.ones((2, *image.shape[:-1])), 'deletion': np.full((2, len(image)), 0.25)}

    import dataclasses
    evaluate = evaluator(data=data, task=TASK, examples=1, saliency=('grad_cam', 'occlusion'))
    rows = dataclasses.replace(evaluate, explain=explain)(jnp.float32(1), 'test', snapshots=tmp_path / 'cases')
    p = np.array([row['prob_large'] for row in rows])
    sure, right = np.maximum(p, 1 - p), [(row['target'] == 'large') == (row['prob_large'] > 0.5) for row in rows]
    right = np.array(right)
    want = {np.where(right, sure, -1).argmax(), np.where(~right, sure, -1).argmax(), sure.argmin()}
    assert {path.stem for path in (tmp_path / 'cases').glob('*.npz')} == {rows[i]['id'] for i in want}
    with np.load(tmp_path / 'cases' / f'{rows[sure.argmin()]["id"]}.npz') as file:
        assert file['kind'] == 'classification' and file['maps'].shape == (2, *SIZE)
        assert file['deletion'].tolist() == [0.25, 0.25]
        assert file['methods'].tolist() == ['grad_cam', 'occlusion'] and file['image'].shape == (*SIZE, 1)
    assert asked[0][0] == (len(want), *SIZE, 1)


def test_multilabel_rows_leave_the_unknown_empty(tmp_path):
    import dataclasses
    source = simulated_images.source(classes=('a', 'b'), problem='multilabel', cases=(4, 2, 3), shape=SIZE)
    cases = [dataclasses.replace(c, target=(1, -1)) if c.split == 'test' else c for c in source.cases]
    data = dataset(dataclasses.replace(source, cases=tuple(cases)), size=SIZE, cache=str(tmp_path))
    evaluate = evaluator(data=data, task=TASK)
    rows = evaluate(jnp.float32(1), 'test')
    assert rows[0]['target_a'] == 1 and rows[0]['target_b'] == ''
    assert np.isnan(evaluate.validation_metrics(rows)['auroc'])


def test_new_images_go_to_one_table(tmp_path):
    statistics = {'classes': ['no', 'yes'], 'channels': 1, 'intensities': {}}
    predict_cases = predictor(task=TASK, data=dict(size=SIZE, intensity={'name': 'unit'}), statistics=statistics,
                              read=image_files.read)
    for name, value in (('a', 51), ('b', 204), ('a', 102)):
        Picture.fromarray(np.full((12, 10), value, np.uint8)).save(tmp_path / f'{name}.png')
        line = predict_cases(jnp.float32(1), tmp_path / f'{name}.png', tmp_path / 'out')
    assert 'no 0.600  yes 0.400' in line
    with (tmp_path / 'out' / 'predictions.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['image'] for row in rows] == [str(tmp_path / 'a.png'), str(tmp_path / 'b.png')]
    np.testing.assert_allclose([float(row['prob_yes']) for row in rows], [0.4, 0.8], rtol=1e-6)
    Picture.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / 'c.png')
    with pytest.raises(InputError, match='c.png: 3 channels; expected 1'):
        predict_cases(jnp.float32(1), tmp_path / 'c.png', tmp_path / 'out')


@pytest.mark.parametrize('options', [dict(batch=0), dict(dropout_samples=-1), dict(flips=(2,))])
def test_invalid_options_are_refused(options, data):
    with pytest.raises(InputError, match='config.evaluate: batch='):
        evaluator(data=data, task=TASK, **options)


def test_old_snapshots_are_removed(data, tmp_path):
    for shown in (3, 1):
        evaluator(data=data, task=TASK, examples=shown)(jnp.float32(1), 'test', snapshots=tmp_path / 'cases')
    assert len(list((tmp_path / 'cases').glob('*.npz'))) <= 3


def test_another_table_is_not_overwritten(tmp_path):
    (tmp_path / 'predictions.csv').write_text('split,id\ntest,a\n')
    predict_cases = predictor(task=TASK, data=dict(size=SIZE, intensity={'name': 'unit'}), read=image_files.read,
                              statistics={'classes': ['no', 'yes'], 'channels': 1, 'intensities': {}})
    Picture.fromarray(np.full(SIZE, 9, np.uint8)).save(tmp_path / 'a.png')
    with pytest.raises(InputError, match='a table of split, id; expected one of image, prob_no, prob_yes'):
        predict_cases(jnp.float32(1), tmp_path / 'a.png', tmp_path)
    assert (tmp_path / 'predictions.csv').read_text() == 'split,id\ntest,a\n'


@pytest.mark.parametrize('options, message', [
    (dict(subgroups=('sex',)), "subgroups: 'sex'; expected columns of the data: site"),
    (dict(conformal_coverage=2.0), 'config.evaluate.conformal_coverage: 2.0'),
    (dict(sensitivity=0.0), 'config.evaluate.sensitivity')])
def test_options_that_would_fail_in_the_summary_are_refused_at_once(options, message, data):
    with pytest.raises(InputError, match=message):
        evaluator(data=data, task=TASK, **options)
