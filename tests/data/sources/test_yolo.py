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
def test_what_is_wrong_is_named(text, message, tmp_path):
    write(tmp_path, 'a', text)
    with pytest.raises(InputError, match=message):
        yolo.source(dir=str(tmp_path), classes=('p', 't'))


def test_a_text_without_its_picture(tmp_path):
    write(tmp_path, 'a', '')
    (tmp_path / 'labels' / 'b.txt').write_text('0 0.5 0.5 0.5 0.5')
    with pytest.raises(InputError, match=r'b\.txt: no image of its name'):
        yolo.source(dir=str(tmp_path), classes=('p',))
