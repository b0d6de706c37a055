"""COCO: x, y, width and height from the first pixel's corner; crowds are left out and counted."""

import json

import numpy as np
import pytest
from PIL import Image as Picture

from medjax.data.sources import coco
from medjax.errors import InputError

CATEGORIES = [{'id': 7, 'name': 'polyp'}, {'id': 3, 'name': 'tool'}]


def write(root, file, images, annotations, categories=CATEGORIES):
    for number, name in images.items():
        (root / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(np.full((6, 8), number, np.uint8)).save(root / 'images' / name)
    (root / file).write_text(json.dumps({
        'images': [{'id': number, 'file_name': name, 'width': 8, 'height': 6} for number, name in images.items()],
        'annotations': annotations, 'categories': categories}))


def mark(image, category, box, **more):
    return {'id': 1, 'image_id': image, 'category_id': category, 'bbox': box, **more}


def test_boxes_classes_crowds_and_splits(tmp_path):
    write(tmp_path, 'train.json', {1: 'v/a.png', 2: 'b.png'}, [
        mark(1, 7, [1, 2, 3.5, 4]), mark(2, 3, [0, 0, 8, 6], iscrowd=1), mark(1, 3, [0, 0, 1, 2], iscrowd=0)])
    write(tmp_path, 'test.json', {1: 'c.png'}, [])
    found = coco.source(files={'train': 'train.json', 'test': 'test.json'}, dir=str(tmp_path))
    assert [(case.id, case.split) for case in found.cases] == [('v_a', 'train'), ('b', 'train'), ('c', 'test')]
    assert found.classes == ('tool', 'polyp') and found.problem == 'detection'
    np.testing.assert_array_equal(found.cases[0].target.boxes, [[2, 1, 6, 4.5], [0, 0, 2, 1]])
    assert found.cases[0].target.labels.tolist() == [1, 0]
    assert [len(case.target.labels) for case in found.cases] == [2, 0, 0]
    assert found.notice.startswith('Crowd boxes, left out: 1.')


@pytest.mark.parametrize('annotations, message', [
    ([mark(1, 9, [0, 0, 1, 1])], 'no 9 where it is referred to'), ([mark(8, 3, [0, 0, 1, 1])], 'no 8 where'),
    ([mark(1, 3, [0, 0, 1])], 'expected images, annotations with bbox of four numbers'),
    ([mark(1, 3, None)], 'expected images, annotations with bbox'), ([{'id': 1}], "no 'bbox' where"),
    ([mark(1, 3, [0, 0, 1, 1])], r"all\.json: class 'tool'; expected one of: polyp")])
def test_what_is_wrong_is_named(annotations, message, tmp_path):
    write(tmp_path, 'all.json', {1: 'a.png'}, annotations)
    with pytest.raises(InputError, match=message):
        coco.source(files='all.json', dir=str(tmp_path), classes=('polyp',))


def test_files_that_are_not_there(tmp_path):
    write(tmp_path, 'all.json', {1: 'a.png'}, [])
    (tmp_path / 'images' / 'a.png').unlink()
    for file, message in (('all.json', "file_name 'a.png' does not exist"), ('other.json', 'cannot be read: No such')):
        with pytest.raises(InputError, match=message):
            coco.source(files=file, dir=str(tmp_path))
