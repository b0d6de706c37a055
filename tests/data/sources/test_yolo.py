"""YOLO's text: shares of the picture become pixels of it."""

import numpy as np
import pytest
from PIL import Image as Picture

from medjax.data.datasets import detection
from medjax.data.sources import yolo
from medjax.errors import InputError


def write(root, name, text=None, size=(8, 6)):
    for folder in ('images', 'labels'):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.full(size[::-1], len(name), np.uint8)).save(root / 'images' / f'{name}.png')
    if text is not None:
        (root / 'labels' / f'{name}.txt').write_text(text)


def test_shares_are_of_each_pictures_own_size(tmp_path):
    write(tmp_path, 'train/a', '1 0.5 0.5 0.25 1\n\n0 0.25 0.5 0.5 0.5\n')
    write(tmp_path, 'train/b', '0 0.5 0.5 0.5 0.5', size=(16, 12))
    write(tmp_path, 'valid/a', '')
    write(tmp_path, 'valid/c')
    found = yolo.source(dir=str(tmp_path), classes=('polyp', 'tool'))
    assert [(case.id, case.split) for case in found.cases] == [
        ('train_a', 'train'), ('train_b', 'train'), ('valid_a', 'val'), ('valid_c', 'val')]
    data = detection.dataset(found, size=(12, 16), cache=str(tmp_path / 'cache'))
    stored = [case.target for case in data.source.cases]
    np.testing.assert_allclose(stored[0].boxes, [[0, 3, 6, 5], [1.5, 0, 4.5, 4]])
    np.testing.assert_allclose(stored[1].boxes, [[3, 4, 9, 12]])
    assert stored[0].labels.tolist() == [1, 0] and [len(s.labels) for s in stored] == [2, 1, 0, 0]
    np.testing.assert_allclose(data.truth(0)[0], [[0, 6, 12, 10], [3, 0, 9, 8]])


@pytest.mark.parametrize('text, message', [
    ('0 0.5 0.5 0.5', r"a\.txt: line 1 is '0 0.5 0.5 0.5'; expected a class's number"),
    ('\n0.5 0.5 0.5 0.5 1', r'a\.txt: line 2 is'), ('2 0.5 0.5 0.5 0.5', r'line 1: class 2; expected 0 to 1 \(p, t\)')])
def test_faults_are_named(text, message, tmp_path):
    write(tmp_path, 'a', text)
    with pytest.raises(InputError, match=message):
        yolo.source(dir=str(tmp_path), classes=('p', 't'))


def test_an_annotation_without_its_image_is_refused(tmp_path):
    write(tmp_path, 'a', '')
    (tmp_path / 'labels' / 'b.txt').write_text('0 0.5 0.5 0.5 0.5')
    with pytest.raises(InputError, match=r'b\.txt: no image of its name'):
        yolo.source(dir=str(tmp_path), classes=('p',))


def test_texts_in_upper_case_are_read(tmp_path):
    write(tmp_path, 'a')
    (tmp_path / 'labels' / 'a.TXT').write_text('0 0.5 0.5 0.5 0.5')
    assert len(yolo.source(dir=str(tmp_path), classes=('p',)).cases[0].target.labels) == 1
    (tmp_path / 'labels' / 'a.txt').write_text('')
    with pytest.raises(InputError, match=r'a\.txt: .*a\.TXT has the same name'):
        yolo.source(dir=str(tmp_path), classes=('p',))


@pytest.mark.parametrize('place', ['labels/b.txt', 'labels/b.TXT', 'images/b.png', 'labels/classes.txt', 'classes.txt'])
def test_links_to_nothing_are_refused(tmp_path, place):
    for name in 'ab':
        write(tmp_path, name, '0 0.5 0.5 0.5 0.5')
    (tmp_path / place).unlink(missing_ok=True)
    (tmp_path / place).symlink_to('../.git/annex/objects/xx')
    with pytest.raises(InputError, match='1 link to a file that does not exist|classes.txt: cannot be read'):
        yolo.source(dir=str(tmp_path), classes=('p',))


def test_images_without_a_label_and_other_files_are_counted(tmp_path):
    write(tmp_path, 'a', '0 0.5 0.5 0.5 0.5')
    for name in 'bc':
        write(tmp_path, name)
    (tmp_path / 'images' / 'more').mkdir()
    (tmp_path / 'labels' / 'a.xml').write_text('')
    found = yolo.source(dir=str(tmp_path), classes=('p',))
    assert found.warnings == ('Left out of images, not images: 1 (more/).',
                              'Left out of labels, not labels: 1 (a.xml).',
                              'Images without a label, taken to show no object: 2 of 3.')
    (tmp_path / 'labels' / 'a.txt').unlink()
    with pytest.raises(InputError, match='labels: no label of any of the 3 images'):
        yolo.source(dir=str(tmp_path), classes=('p',))


def test_what_is_beside_the_folders_of_splits_is_counted(tmp_path):
    for name in ('train/a', 'val/b', 'extra/c'):
        write(tmp_path, name, '0 0.5 0.5 0.5 0.5')
    write(tmp_path, 'd')
    found = yolo.source(dir=str(tmp_path), classes=('p',))
    assert [case.id for case in found.cases] == ['train_a', 'val_b'] and found.warnings == (
        'Left out of images, beside the folders of splits: 2 (d.png, extra/).',)


@pytest.mark.parametrize('place', ['labels/train/classes.txt', 'labels/classes.txt', 'classes.txt'])
def test_the_list_of_classes_that_labelimg_writes_must_be_that_of_the_config(tmp_path, place):
    write(tmp_path, 'train/a', '1 0.5 0.5 0.5 0.5')
    (tmp_path / place).write_text('polyp\r\ntool\r\n')
    found = yolo.source(dir=str(tmp_path), classes=('polyp', 'tool'))
    assert found.cases[0].target.labels.tolist() == [1] and not found.warnings
    for classes in (('tool', 'polyp'), ('polyp', 'tool', 'stent')):
        with pytest.raises(InputError, match=r'classes\.txt: classes polyp, tool; expected those of config'):
            yolo.source(dir=str(tmp_path), classes=classes)


def test_repeated_lines_are_left_out_and_counted(tmp_path):
    write(tmp_path, 'a', '0 0.5 0.5 0.5 0.5\n0 0.50 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.4\n')
    found = yolo.source(dir=str(tmp_path), classes=('p',))
    assert len(found.cases[0].target.labels) == 2 and found.warnings == (
        'Objects with the class and box of another one in the same image, left out: 1 (of a).',)
