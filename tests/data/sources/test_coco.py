"""COCO: x, y, width and height from the first pixel's corner; crowds are ignored regions."""

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
    assert found.warnings == ('Annotated regions that are ignored, crowds of objects: 1. They count neither as objects '
                              'nor, where a box is found there, as background.',)
    regions = found.cases[1].target.ignored
    np.testing.assert_array_equal(regions.boxes, [[0, 0, 6, 8]])
    assert regions.labels.tolist() == [0] and regions.crowd.tolist() == [True]
    assert found.cases[0].target.ignored is None


@pytest.mark.parametrize('annotations, message', [
    ([mark(1, 9, [0, 0, 1, 1])], 'no 9 where it is referred to'), ([mark(8, 3, [0, 0, 1, 1])], 'no 8 where'),
    ([mark(1, 3, [0, 0, 1])], 'annotation 1: bbox .0, 0, 1.; expected x, y, width and height'),
    ([mark(1, 3, None)], 'expected images, annotations with bbox'), ([{'id': 1}], "no 'bbox' where"),
    ([mark(1, 3, [0, 0, 1, 1])], r"all\.json: class 'tool'; expected one of: polyp")])
def test_faults_are_named(annotations, message, tmp_path):
    write(tmp_path, 'all.json', {1: 'a.png'}, annotations)
    with pytest.raises(InputError, match=message):
        coco.source(files='all.json', dir=str(tmp_path), classes=('polyp',))


def test_missing_files_are_refused(tmp_path):
    write(tmp_path, 'all.json', {1: 'a.png'}, [])
    (tmp_path / 'images' / 'a.png').unlink()
    for file, message in (('all.json', "file_name 'a.png' does not exist"), ('other.json', 'cannot be read: No such')):
        with pytest.raises(InputError, match=message):
            coco.source(files=file, dir=str(tmp_path))


def test_two_images_of_one_id_are_refused(tmp_path):
    """Two files that were joined without renumbering: each image would get the boxes of both."""
    write(tmp_path, 'all.json', {1: 'a.png', 2: 'b.png'}, [mark(1, 3, [0, 0, 1, 1])])
    text = (tmp_path / 'all.json').read_text()
    (tmp_path / 'all.json').write_text(text.replace('"id": 2', '"id": 1'))
    with pytest.raises(InputError, match=r"all\.json: image id 1 is that of 'a\.png' and of 'b\.png'; expected unique"):
        coco.source(files='all.json', dir=str(tmp_path))


def test_two_categories_of_one_id_are_refused(tmp_path):
    write(tmp_path, 'all.json', {1: 'a.png'}, [mark(1, 3, [0, 0, 1, 1])], [*CATEGORIES, {'id': 3, 'name': 'debris'}])
    with pytest.raises(InputError, match="category id 3 is that of 'tool' and of 'debris'; expected unique ids"):
        coco.source(files='all.json', dir=str(tmp_path))


def test_one_image_of_two_ids_is_refused(tmp_path):
    write(tmp_path, 'all.json', {1: 'a.png', 2: './a.png'}, [mark(1, 3, [0, 0, 1, 1])])
    with pytest.raises(InputError, match="'a' occurs twice"):
        coco.source(files='all.json', dir=str(tmp_path))


def test_repeated_annotations_are_left_out_and_counted(tmp_path):
    write(tmp_path, 'all.json', {1: 'a.png', 2: 'b.png'}, [
        mark(1, 3, [0, 0, 1, 1]), mark(1, 7, [0, 0, 1, 1]), mark(2, 3, [0, 0, 1, 1]), mark(1, 3, [0.0, 0, 1, 1.0]),
        mark(1, 3, [0, 0, 1, 1.5])])
    found = coco.source(files='all.json', dir=str(tmp_path))
    targets = {case.id: case.target for case in found.cases}
    np.testing.assert_array_equal(targets['a'].boxes, [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1.5, 1]])
    assert targets['a'].labels.tolist() == [0, 1, 0] and len(targets['b'].labels) == 1
    assert found.warnings == ('Objects with the class and box of another one in the same image, left out: 1 (of a).',)


def test_keys_that_occur_twice_are_refused(tmp_path):
    write(tmp_path, 'all.json', {1: 'a.png'}, [])
    text = (tmp_path / 'all.json').read_text()
    (tmp_path / 'all.json').write_text(text[:-1] + ', "annotations": [{"id": 1}]}')
    with pytest.raises(InputError, match="key 'annotations' occurs twice"):
        coco.source(files='all.json', dir=str(tmp_path))


@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_boxes_drawn_on_an_image_as_it_is_shown_lie_on_their_object(tmp_path, orientation):
    shown = np.zeros((6, 8), np.uint8)
    shown[1:3, 4:7] = 255
    stored = {1: shown, 3: shown[::-1, ::-1], 6: np.rot90(shown)}[orientation]
    write(tmp_path, 'all.json', {1: 'a.png'}, [mark(1, 3, [4, 1, 3, 2])])
    exif = Picture.Exif()
    exif[0x112] = orientation
    Picture.fromarray(np.ascontiguousarray(stored)).save(tmp_path / 'images' / 'a.png', exif=exif)
    case, = coco.source(files='all.json', dir=str(tmp_path)).cases
    rows = case.read()[0].array[:, :, 0].T
    low_row, low_column, high_row, high_column = case.target.boxes[0].astype(int)
    assert rows[low_row:high_row, low_column:high_column].min() == 255 and (rows > 0).sum() == 6
    if orientation == 6:  # sizes of the pixels as stored
        text = (tmp_path / 'all.json').read_text()
        (tmp_path / 'all.json').write_text(text.replace('"width": 8, "height": 6', '"width": 6, "height": 8'))
        case, = coco.source(files='all.json', dir=str(tmp_path)).cases
        with pytest.raises(InputError, match='boxes are of 6×8 pixels; expected 8×6.*once its orientation tag'):
            case.read()
