"""Images with boxes: which annotations are valid, warnings, patches, and equal batches from host and device."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from medjax.data import pipeline
from medjax.data.datasets.detection import dataset, valid_objects
from medjax.data.io.geometry import Image
from medjax.data.simulated import detection
from medjax.data.source import Case, Objects, Source
from medjax.errors import InputError
from medjax.metrics.box_matching import IgnoredRegions
from tests.data.cuboids import bright, extents

NAN = float('nan')


def case(number, array, boxes=(), labels=(), split='train', affine=None, unit='voxel'):
    array = np.asarray(array)
    dims = 2 if array.shape[2] == 1 else 3
    return Case(id=f'c{number}', patient=f'p{number}', split=split, target=Objects(
        np.reshape(boxes, (-1, 2 * dims)), labels, unit), read=functools.partial(
            lambda a: (Image(a, np.eye(4) if affine is None else affine, f'c{number}'), None), array))


def source(*cases, classes=('cell', 'blob')):
    return Source(cases=cases, classes=classes, problem='detection', least_classes=1)


def test_invalid_boxes_are_left_out_and_counted():
    marked = Objects([[1, 1, 3, 3], [NAN, 1, 3, 3], [3, 1, 1, 3], [2, 2, 2, 4], [-9, 1, -2, 3], [8, 1, 9, 3],
                      [-1, 4, 2, 7], [0, 0, 8, 6], [0, 0, 8.0005, 6]], np.arange(9) % 2)
    found, counts = valid_objects(marked, (8, 6), np.eye(4))
    np.testing.assert_allclose(found.boxes, [[1, 1, 3, 3], [0, 4, 2, 6], [0, 0, 8, 6], [0, 0, 8, 6]])
    assert found.labels.tolist() == [0, 0, 1, 0]
    assert counts == {'with a number that is NaN or infinite, left out': 1, 'that end before they begin, left out': 1,
                      'of no size, left out': 1, 'outside of their image, left out': 2,
                      'that cross the border of their image, clipped': 1}
    nothing, counts = valid_objects(Objects(np.zeros((0, 6)), []), (8, 6, 4), np.eye(4))
    assert nothing.boxes.shape == (0, 6) and not counts


def test_ignored_regions_are_on_the_networks_grid_and_in_patches(tmp_path):
    grey = np.arange(48, dtype=np.uint8).reshape(8, 6, 1)
    one = case(0, grey, [[0, 0, 2, 2]], [0])
    regions = IgnoredRegions(np.array([[1, 2, 9, 4], [3, 3, 3, 5]], np.float32), np.zeros(2, int), np.ones(2, bool))
    one = dataclasses.replace(one, target=dataclasses.replace(one.target, ignored=regions))
    make = functools.partial(dataset, cache=str(tmp_path), max_objects=2)
    data = make(source(one, case(1, grey)), size=(12, 16))
    assert data.warnings[0] == 'Boxes of no size, left out: 1 (of c0).' and 'clipped: 1 (of c0)' in data.warnings[1]
    np.testing.assert_allclose(data.targets([0, 1])['ignored_boxes'], [[[2, 4, 12, 8]], [[0, 0, 0, 0]]])
    assert data.targets([0, 1])['ignored_mask'].tolist() == [[1], [0]] and len(data.ignored(1).boxes) == 0
    plain = make(source(case(0, grey, [[0, 0, 2, 2]], [0]), case(1, grey)), size=(12, 16))
    assert 'ignored_boxes' not in plain.targets([0]) and plain.fingerprint != data.fingerprint
    patches = make(source(one, case(1, grey)), size=(12, 16), patch=(4, 6), foreground=1.0)
    item = patches.item(0, np.random.default_rng(0))  # about the object, from row 0 and column 0 on
    np.testing.assert_allclose(item['ignored_boxes'], [[2, 4, 4, 6]])  # an eighth of the region


def test_an_ellipsoid_of_the_world_on_a_turned_grid():
    """A ball of 6 mm about (10, 20, 30) on voxels of 1, 2 and 3 mm, turned by 30 degrees, which it does not mind."""
    turn = np.array([[np.cos(np.pi / 6), -0.5, 0], [0.5, np.cos(np.pi / 6), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [1, 2, 3]
    affine[:3, 3] = np.array([10, 20, 30]) - affine[:3, :3] @ [20, 10, 5]
    found, counts = valid_objects(Objects([[7, 17, 27, 13, 23, 33]], [0], 'mm'), (40, 20, 10), affine)
    np.testing.assert_allclose(found.boxes, [[17.5, 9, 4.5, 23.5, 12, 6.5]], atol=1e-5)
    assert not counts


def test_warnings_statistics_and_the_fingerprint(tmp_path):
    grey = np.arange(48, dtype=np.uint8).reshape(8, 6, 1)
    make = functools.partial(dataset, size=(6, 8), max_objects=3)
    cases = [case(0, grey, [[0, 0, 2, 2], [3, 3, 3, 5], [4, 4, 9, 6]], [0, 1, 0]), case(1, grey + 1),
             case(2, grey + 2, [[1, 1, 2, 2]], [1], 'test'), case(3, grey, [[1, 1, 1, 2]], [0], 'val')]
    data = make(source(*cases), cache=str(tmp_path))
    assert data.warnings == [
        'Boxes of no size, left out: 2 (of c0, c3).', 'Boxes that cross the border of their image, clipped: 1 (of c0).',
        'Images of the split train that are in val as well, equal in every pixel: 1 (c0 = c3).',
        'blob: in none of the 2 training cases; in other splits: test 1.']
    assert all(line in data.notice for line in data.warnings) and data.counts == {'train': 2, 'val': 1, 'test': 1}
    assert {name: data.statistics[name] for name in ('classes', 'problem', 'channels', 'dims', 'size', 'positive')} == {
        'classes': ['cell', 'blob'], 'problem': 'detection', 'channels': 1, 'dims': 2, 'size': [6, 8],
        'positive': [2, 0]}
    np.testing.assert_allclose(data.source.cases[0].target.boxes, [[0, 0, 2, 2], [4, 4, 6, 6]])
    padded = data.targets([0, 1])
    assert padded['boxes'].dtype == padded['box_mask'].dtype == np.float32 and padded['box_label'].dtype == np.int32
    np.testing.assert_allclose(padded['boxes'], [[[0, 0, 2, 2], [4, 4, 6, 6], [0] * 4], [[0] * 4] * 3])
    assert padded['box_mask'].tolist() == [[1, 1, 0], [0, 0, 0]] and padded['box_label'].tolist() == [[0] * 3] * 2
    assert make(source(*cases), cache=str(tmp_path)).fingerprint == data.fingerprint
    cases[1] = case(1, grey + 1, [[1, 1, 2, 2]], [1])
    assert make(source(*cases), cache=str(tmp_path)).fingerprint != data.fingerprint
    with pytest.raises(InputError, match='config.data.max_objects: 1; expected 2 or more, the number of boxes of c0'):
        dataset(source(*cases), size=(6, 8), max_objects=1, cache=str(tmp_path))
    with pytest.raises(InputError, match='config.data.size: .*expected 2 numbers, as the boxes of c0'):
        dataset(source(*cases), size=(6, 8, 4), cache=str(tmp_path))


@pytest.mark.parametrize('shape, proposals, patch', [
    ((24, 20), 7, ()), ((12, 14, 10), 0, ()), ((24, 20), 0, (16, 20)), ((12, 14, 10), 0, (8, 9, 10))])
def test_host_and_device_give_the_same_batches(shape, proposals, patch, tmp_path):
    drawn = detection.source(cases=(10, 2, 2), shape=shape)
    if patch:  # every object is also an ignored region
        marked = [dataclasses.replace(one.target, ignored=IgnoredRegions(
            one.target.boxes, one.target.labels, np.ones(len(one.target.labels), bool))) for one in drawn.cases]
        drawn = dataclasses.replace(drawn, cases=tuple(
            dataclasses.replace(one, target=target) for one, target in zip(drawn.cases, marked)))
    data = dataset(drawn, size=shape, max_objects=6, proposals=proposals, patch=patch, cache=str(tmp_path))
    streamed, placed = pipeline.Streamed(data, seed=3, batch=4), pipeline.Placed(
        data.resident(), len(data), seed=3, batch=4)
    arrays, take = data.resident().load(), jax.jit(placed.taking(None))
    for step in (0, 2, 5):
        want, got = streamed[step], take({**placed[step], 'arrays': arrays}, jax.random.key(0))
        assert sorted(got) == sorted(set(want) - {'id'}) and ('proposals' in got) == (proposals > 0)
        assert ('ignored_boxes' in got) == bool(patch)
        for name, value in got.items():
            assert value.dtype == want[name].dtype
            np.testing.assert_array_equal(value, want[name])
    assert want['boxes'].shape == (4, 6, 2 * len(shape)) and want['box_mask'].sum() > 0
    assert want['image'].shape[1:-1] == (patch or shape)


def test_a_patch_shows_its_objects_where_they_are(tmp_path):
    """One bright box in each image: in a patch it is where `boxes` say, or less than half of it is there."""
    rng, cases = np.random.default_rng(0), []
    for number in range(8):
        low = rng.integers(0, 20, 2)
        box = [*low, *(low + rng.integers(3, 10, 2))]
        cases.append(case(number, bright((30, 30, 1), [*box[:2], 0, *box[2:], 1]), [[*box[1::-1], *box[:1:-1]]], [1]))
    data = dataset(source(*cases), size=(30, 30), patch=(12, 16), foreground=0.5, max_objects=3,
                   intensity=dict(name='unit'), cache=str(tmp_path))
    shown = cut_off = 0
    for number in range(8):
        for seed in range(30):
            item = data.item(number, np.random.default_rng(seed))
            assert item['image'].shape == (12, 16, 1) and item['boxes'].shape == (3, 4)
            area = (data.source.cases[number].target.boxes @ [[-1, 0], [0, -1], [1, 0], [0, 1]]).prod()
            if item['box_mask'][0]:
                assert item['boxes'][0].tolist() == extents(item['image'][..., 0]) and item['box_label'][0] == 1
                shown += 1
            else:
                assert (item['image'] > 0.5).sum() < area / 2
                assert not item['boxes'].any() and not item['box_label'].any()
                cut_off += 1
    assert shown > 140 and cut_off > 20  # half of the patches are centred on an object


@pytest.mark.parametrize('options, said', [
    (dict(patch=(40, 8)), r'config.data.patch: \(40, 8\); expected 2 numbers up to'),
    (dict(patch=(8, 8, 8)), 'config.data.patch: .*expected 2 numbers'), (dict(patch=(0, 8)), 'config.data.patch'),
    (dict(patch=(8, 8), proposals=4), 'expected none where config.data.proposals are given'),
    (dict(patch=(8, 8), foreground=2), 'config.data.foreground: 2')])
def test_invalid_patches_are_refused(options, said, tmp_path):
    with pytest.raises(InputError, match=said):
        dataset(detection.source(cases=(2, 1, 1), shape=(24, 20)), size=(24, 20), cache=str(tmp_path), **options)
