"""Evaluation of detection: rows by hand, padding, validation figures, snapshots, and new images."""

import csv
import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image as Picture

from medjax import atomic_files
from medjax.core.task import Task
from medjax.data.datasets.detection import dataset
from medjax.data.io import image_files
from medjax.data.io.geometry import Image
from medjax.data.simulated import detection
from medjax.errors import InputError
from medjax.tasks.detection.evaluator import evaluator, predictor

SHAPE, SIZE = (40, 60), (20, 60)
ROOM = 8  # boxes that the fake network gives


def recall(variables, batch):
    """Knows an image by its mean, and gives the boxes kept for that one."""
    at = jnp.abs(variables['means'] - batch['image'].mean(tuple(range(1, batch['image'].ndim)))[:, None]).argmin(1)
    return {name: variables[name][at] for name in ('boxes', 'scores', 'labels', 'valid')}


TASK = Task(None, None, recall, None)


def knowing(data, change=lambda number, boxes, labels, scores: (boxes, labels, scores)):
    """Variables with which `recall` finds what `change` makes of the truth; scores fall by .1."""
    count, dims = len(data.source.cases), len(data.preprocess.size)
    images = data.images(np.arange(count))
    out = {'means': images.mean(tuple(range(1, images.ndim))), 'boxes': np.zeros((count, ROOM, 2 * dims), np.float32),
           'scores': np.zeros((count, ROOM), np.float32), 'labels': np.zeros((count, ROOM), np.int32),
           'valid': np.zeros((count, ROOM), np.float32)}
    for number in range(count):
        boxes, labels = data.truth(number)
        boxes, labels, scores = change(number, boxes, labels, 0.9 - 0.1 * np.arange(len(labels)))
        for name, values in (('boxes', boxes), ('labels', labels), ('scores', scores), ('valid', np.ones(len(labels)))):
            out[name][number, :len(labels)] = values
    return {name: jnp.asarray(values) for name, values in out.items()}


@pytest.fixture
def data(tmp_path):
    return dataset(detection.source(cases=(3, 4, 7), shape=SHAPE), size=SIZE, intensity={'name': 'unit'},
                   cache=str(tmp_path / 'cache'))


@pytest.fixture
def volumes(tmp_path):
    return dataset(detection.source(cases=(2, 3, 3), shape=(16, 20, 12)), size=(16, 10, 12),
                   intensity={'name': 'unit'}, cache=str(tmp_path / 'cache'))


@pytest.mark.parametrize('kind', ['data', 'volumes'])
def test_rows_have_true_and_found_boxes_on_the_stored_grid_for_any_batch(kind, request):
    data = request.getfixturevalue(kind)
    first = None
    for batch in (1, 3, 16):
        rows = evaluator(data=data, task=TASK, batch=batch)(knowing(data), 'test')
        first = first or rows
        assert rows == first
    for row, number in zip(first, data.numbers('test')):
        case = data.source.cases[number]
        truth, found = json.loads(row['truth']), json.loads(row['found'])
        assert [box[1:] for box in truth] == np.round(case.target.boxes.astype(float), 2).tolist()
        assert [box[0] for box in truth] == [data.source.classes[label] for label in case.target.labels]
        assert [box[0] for box in found] == [box[0] for box in truth]
        np.testing.assert_allclose([box[2:] for box in found], [box[1:] for box in truth], atol=0.011)
        np.testing.assert_allclose([box[1] for box in found], 0.9 - 0.1 * np.arange(len(truth)), atol=1e-6)
        assert json.loads(row['size']) == list(SHAPE if kind == 'data' else (16, 20, 12))
    three = ['spacing'] * (kind == 'volumes')
    assert list(first[0]) == ['split', 'id', 'patient', 'site', 'size', *three, 'truth', 'found']
    assert sum(len(json.loads(row['truth'])) for row in first) > 3


def test_padding_and_scores_of_zero_are_dropped_and_boxes_are_sorted_by_score(data):
    variables = {**knowing(data)}
    variables['scores'] = jnp.tile(jnp.array([0.2, 1e-9, 0.7, 0.3, 0, 0, 0, 0]), (len(data.source.cases), 1))
    variables['valid'] = jnp.tile(jnp.array([1, 1, 1, 0, 1, 1, 1, 1]), (len(data.source.cases), 1))
    rows = evaluator(data=data, task=TASK)(variables, 'test')
    assert all([box[1] for box in json.loads(row['found'])] == [0.7, 0.2] for row in rows)


def test_perfect_detections_have_an_ap_of_one(data, volumes):
    for of, names in ((data, {'ap50', 'ap'}), (volumes, {'ap10', 'ap20', 'ap30', 'ap40', 'ap50', 'ap'})):
        evaluate = evaluator(data=of, task=TASK)
        found = evaluate.validation_metrics(evaluate(knowing(of), 'val', quick=True))
        assert {f'{name}{end}' for name in names for end in ('', '_small', '_large')} | {'ar', 'cpm'} <= set(found)
        assert all(value == pytest.approx(1) for value in found.values() if value == value)
        assert found['ap'] == pytest.approx(1) and found['cpm'] == pytest.approx(1)


def test_validation_metrics_by_hand(data):
    """Every small object found twice and every large one as a small one: small ones have more false positives."""
    def change(number, boxes, labels, scores):
        small = labels == 0
        return (np.concatenate([boxes, boxes[small]])[:ROOM], np.zeros(min(len(labels) + small.sum(), ROOM), int),
                np.concatenate([np.full(len(labels), 0.5), np.full(small.sum(), 0.4)])[:ROOM])
    evaluate = evaluator(data=data, task=TASK)
    rows = evaluate(knowing(data, change), 'val', quick=True)
    found = evaluate.validation_metrics(rows)
    labels = [box[0] for row in rows for box in json.loads(row['truth'])]
    assert 0 < labels.count('small') < len(labels)
    assert found['ap50_large'] == 0 and 0 < found['ap50_small'] < 1
    assert found['ap50'] == found['ap50_small'] / 2
    per_image = [json.loads(row['truth']) for row in rows]
    wrong = sum(box[0] == 'large' for boxes in per_image for box in boxes) / len(rows)
    # From the rate of large ones on all small ones are found; those come together with them, by one score.
    rates = np.array([0.125, 0.25, 0.5, 1, 2, 4, 8])
    share = labels.count('small') / len(labels)
    want = np.interp(rates, [0, wrong], [0, share])
    np.testing.assert_allclose([found[f'froc_{rate:g}'] for rate in rates], want)
    assert found['cpm'] == pytest.approx(want.mean())


def test_snapshots_are_of_the_best_the_median_and_the_worst(data, tmp_path):
    numbers = data.numbers('test').tolist()
    with_objects = [number for number in numbers if len(data.truth(number)[1])]

    def change(number, boxes, labels, scores):  # of each image another share of the objects, the last all
        if number not in with_objects:
            return boxes, labels, scores
        kept = round(len(labels) * with_objects.index(number) / (len(with_objects) - 1))
        return boxes[:kept], labels[:kept], scores[:kept]
    folder = tmp_path / 'cases'
    evaluate = evaluator(data=data, task=TASK, examples=1)
    evaluator(data=data, task=TASK, examples=3)(knowing(data, change), 'test', snapshots=folder)
    evaluate(knowing(data, change), 'test', snapshots=folder)
    kept = {path.stem for path in folder.glob('*.npz')}
    ids = [data.source.cases[number].id for number in with_objects]
    assert len(kept) == 3 and {ids[0], ids[-1]} <= kept  # what the first one left is gone
    with np.load(folder / f'{ids[-1]}.npz') as file:
        assert str(file['kind']) == 'detection' and file['image'].shape == (*SIZE, 1)
        np.testing.assert_array_equal(file['truth'], data.truth(with_objects[-1])[0])
        np.testing.assert_allclose(file['found'], file['truth'])
        assert file['found_labels'].tolist() == file['truth_labels'].tolist() and len(file['scores'])
        assert file['spacing'].tolist() == [2.0, 1.0]  # rows are shrunk by half


def test_the_network_gets_proposals_but_no_true_boxes(data):
    seen = {}

    def predict(variables, batch):
        seen.update(batch)
        return recall(variables, batch)
    proposing = dataclasses.replace(data, proposals=5)
    evaluator(data=proposing, task=Task(None, None, predict, None), batch=2)(knowing(data), 'val')
    assert set(seen) == {'image', 'proposals', 'proposal_mask'} and seen['proposals'].shape == (2, 5, 4)
    seen.clear()
    evaluator(data=data, task=Task(None, None, predict, None))(knowing(data), 'val')
    assert set(seen) == {'image'}


STATISTICS = {'classes': ['cell', 'nucleus'], 'channels': 1, 'intensities': {}}
FOUND = {'boxes': [[[2.0, 3, 12, 27], [4, 30, 8, 40], [0, 0, 5, 5]]], 'scores': [[0.9, 0.75, 0.3]],
         'labels': [[0, 1, 1]], 'valid': [[1.0, 1, 1]]}


def fixed(found=FOUND):
    return Task(None, None, lambda variables, batch: {name: jnp.array(v) for name, v in found.items()}, None)


def table(folder):
    with (folder / 'predictions.csv').open() as file:
        return list(csv.DictReader(file))


def test_new_pictures_go_to_a_table_and_are_drawn(tmp_path):
    predict = predictor(task=fixed(), data=dict(size=SIZE, intensity={'name': 'unit'}), statistics=STATISTICS,
                        read=image_files.read, folder=tmp_path)
    for name in 'aba':
        Picture.fromarray(np.full(SHAPE, 40, np.uint8)).save(tmp_path / f'{name}.png')
        line = predict({}, tmp_path / f'{name}.png', tmp_path / 'out')
    assert line.endswith('cell 1  nucleus 1') and predict.outputs(tmp_path / 'b.png') == ('b.png',)
    rows = table(tmp_path / 'out')
    assert [row['image'][-5:] for row in rows] == ['b.png'] * 2 + ['a.png'] * 2  # a's were replaced
    assert list(rows[0]) == ['image', 'label', 'score', 'low_0', 'low_1', 'high_0', 'high_1']
    # Rows were shrunk by half: 2 is 4 in the file's own grid.
    assert [list(row.values())[1:] for row in rows[:2]] == [
        ['cell', '0.9', '4.0', '3.0', '24.0', '27.0'], ['nucleus', '0.75', '8.0', '30.0', '16.0', '40.0']]
    drawn = np.asarray(Picture.open(tmp_path / 'out' / 'a.png')).astype(int)
    assert drawn.shape == (*SHAPE, 3)
    colour = np.array([0x56, 0xB4, 0xE9])
    at = np.argwhere((drawn == colour).all(-1))
    assert at[:, 0].max() == 23 and at[:, 1].min() == 3 and at[:, 1].max() == 26 and at[:, 0].min() == 4
    assert (drawn[35:, :] == 40).all()  # the box below config.evaluate.score_threshold is not drawn


@pytest.mark.parametrize('chosen, options, count', [
    (0.8, {}, 1), (0.2, {}, 3), (0.8, dict(score_threshold=0.1), 3), (None, {}, 2)])
def test_boxes_above_the_operating_point_are_written(tmp_path, chosen, options, count):
    """Of scores .9, .75 and .3; a half counts where the run has not been evaluated."""
    if chosen is not None:
        atomic_files.write_json(tmp_path / 'results.json', {'analysis': {'operating': {'score': chosen}}})
    predict = predictor(task=fixed(), data=dict(size=SIZE, intensity={'name': 'unit'}), statistics=STATISTICS,
                        read=image_files.read, folder=tmp_path, **options)
    Picture.fromarray(np.full(SHAPE, 40, np.uint8)).save(tmp_path / 'a.png')
    predict({}, tmp_path / 'a.png', tmp_path / 'out')
    assert len(table(tmp_path / 'out')) == count


def test_an_image_without_objects_gives_an_empty_table(tmp_path):
    nothing = {**FOUND, 'valid': [[0.0, 0, 0]]}
    predict = predictor(task=fixed(nothing), data=dict(size=SIZE, intensity={'name': 'unit'}), statistics=STATISTICS,
                        read=image_files.read, folder=tmp_path)
    Picture.fromarray(np.full(SHAPE, 40, np.uint8)).save(tmp_path / 'a.png')
    assert 'cell 0  nucleus 0' in predict({}, tmp_path / 'a.png', tmp_path / 'out')
    assert (tmp_path / 'out' / 'predictions.csv').read_text() == 'image,label,score,low_0,low_1,high_0,high_1\n'
    predict({}, tmp_path / 'a.png', tmp_path / 'out')  # such a table can be added to
    Picture.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / 'c.png')
    with pytest.raises(InputError, match='c.png: 3 channels; expected 1'):
        predict({}, tmp_path / 'c.png', tmp_path / 'out')
    (tmp_path / 'out' / 'predictions.csv').write_text('split,id\ntest,a\n')
    with pytest.raises(InputError, match='a table of split, id; expected one of image, label'):
        predict({}, tmp_path / 'a.png', tmp_path / 'out')


def test_a_volumes_boxes_are_in_its_own_voxels_and_in_mm(tmp_path):
    """The file counts from right to left, and its second axis is up: the network sees it turned to RAS+."""
    affine = np.array([[-2.0, 0, 0, 100], [0, 0, 3, -50], [0, 1.5, 0, 10], [0, 0, 0, 1]])
    image = Image(np.random.default_rng(0).normal(size=(10, 12, 8)).astype(np.float32), affine, 'v.nii')
    found = {'boxes': [[[6.0, 2, 3, 9, 4, 8]]], 'scores': [[0.8]], 'labels': [[0]], 'valid': [[1.0]]}
    predict = predictor(task=fixed(found), data=dict(size=(10, 8, 12), intensity={'name': 'zscore'}),
                        statistics=STATISTICS, read=lambda path: image, folder=tmp_path)
    assert not predict.outputs(tmp_path / 'v.nii') and predict.example()['image'].shape == (1, 10, 8, 12, 1)
    predict({}, tmp_path / 'v.nii', tmp_path)
    row, = table(tmp_path)
    assert not list(tmp_path.glob('*.png'))
    own = [float(row[f'{end}_{axis}']) for end in ('low', 'high') for axis in range(3)]
    assert own == [1, 3, 2, 4, 8, 4]  # RAS+ x from 6 to 9 is 10 - 9 to 10 - 6; y is the third axis, z the second
    middle = affine @ [2.0, 5.0, 2.5, 1]
    assert [float(row[f'centre_{axis}_mm']) for axis in 'xyz'] == middle[:3].tolist()
    assert [float(row[f'diameter_{axis}_mm']) for axis in 'xyz'] == [6, 6, 7.5]


def test_a_new_image_gets_proposals_too(tmp_path):
    shapes = {}

    def predict(variables, batch):
        shapes.update({name: array.shape for name, array in batch.items()})
        return {name: jnp.array(value) for name, value in FOUND.items()}
    predict_cases = predictor(task=Task(None, None, predict, None), statistics=STATISTICS, read=image_files.read,
                              folder=tmp_path,
                              data=dict(size=SIZE, intensity={'name': 'unit'}, proposals=6, max_objects=9))
    want = {'image': (1, *SIZE, 1), 'proposals': (1, 6, 4), 'proposal_mask': (1, 6)}
    assert {name: array.shape for name, array in predict_cases.example().items()} == want
    Picture.fromarray(np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)).save(tmp_path / 'a.png')
    predict_cases({}, tmp_path / 'a.png', tmp_path / 'out')
    assert shapes == want


@pytest.mark.parametrize('options', [dict(batch=0), dict(score_threshold=1.5), dict(overlap=1), dict(nms_threshold=-1)])
def test_invalid_options_are_refused(options, data):
    with pytest.raises(InputError, match='config.evaluate'):
        evaluator(data=data, task=TASK, **options)
