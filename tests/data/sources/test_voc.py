"""VOC: pixels counted from 1, the last one within; lists as they are; what is wrong is named."""


import numpy as np
import pytest
from PIL import Image as Picture

from medjax.data.datasets import detection
from medjax.data.sources import voc
from medjax.data.splits import Splitting
from medjax.errors import InputError

OBJECT = '<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>'


def write(root, name, *marks, size=(8, 6), declared=None):
    """A grey picture of `size` columns and rows, and its annotation: of each mark name, xmin, ymin, xmax, ymax."""
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.full(size[::-1], len(name), np.uint8)).save(root / 'JPEGImages' / f'{name}.png')
    width, height = declared or size
    body = f'<size><width>{width}</width><height>{height}</height></size>' + ''.join(OBJECT.format(*m) for m in marks)
    (root / 'Annotations' / f'{name}.xml').write_text(f'<annotation>{body}</annotation>')


def lists(root, **names):
    for split, its in names.items():
        (root / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(its) + '\n')


def test_boxes_are_half_open_and_rows_come_first(tmp_path):
    write(tmp_path, 'a', ('cell', 1, 2, 3, 6), ('blob', 4, 4, 4, 5))
    write(tmp_path, 'none')
    write(tmp_path, 'left_out', ('other', 1, 1, 2, 2))
    lists(tmp_path, train=['a  1'], test=['none -1'])
    found = voc.source(dir=str(tmp_path))
    assert [(case.id, case.split) for case in found.cases] == [('a', 'train'), ('none', 'test')]
    assert found.classes == ('blob', 'cell') and found.problem == 'detection'
    np.testing.assert_array_equal(found.cases[0].target.boxes, [[1, 0, 6, 3], [3, 4, 5, 4]])
    assert found.cases[0].target.labels.tolist() == [1, 0] and found.cases[1].target.boxes.shape == (0, 4)
    assert 'each image counts as a patient of its own' in found.notice and found.analysis_unit == 'image'


def test_difficult_objects_are_ignored(tmp_path):
    write(tmp_path, 'a', ('cell', 1, 2, 3, 6), ('cell', 4, 4, 5, 5))
    path = tmp_path / 'Annotations' / 'a.xml'
    last = '</object></annotation>'
    path.write_text(path.read_text().replace(last, f'<difficult>1</difficult>{last}'))
    found = voc.source(dir=str(tmp_path), splitting=Splitting(val=0.0, test=0.0))
    target = found.cases[0].target
    np.testing.assert_array_equal(target.boxes, [[1, 0, 6, 3]])
    np.testing.assert_array_equal(target.ignored.boxes, [[3, 3, 5, 5]])
    assert target.ignored.crowd.tolist() == [False] and found.warnings[0].startswith(
        'Annotated regions that are ignored, difficult objects: 1.')


def test_without_lists_patients_are_split_at_random(tmp_path):
    for number in range(20):
        write(tmp_path, f'p{number // 2}_{number}', ('cell', 1, 1, 2, 2))
    found = voc.source(dir=str(tmp_path), patient_regex='^(p[0-9]+)_', classes=('cell',))
    assert {case.patient: case.split for case in found.cases}.keys() == {f'p{number}' for number in range(10)}
    splits = [{case.patient for case in found.cases if case.split == split} for split in ('train', 'val', 'test')]
    assert [len(its) for its in splits] == [6, 2, 2] and found.notice == ''
    assert found.analysis_unit == 'patient'


def test_faults_are_named(tmp_path):
    write(tmp_path, 'a', ('cell', 1, 2, 3, 6), declared=(6, 8))
    with pytest.raises(InputError, match=r"a\.xml: class 'cell'; expected one of: platelet, white"):
        voc.source(dir=str(tmp_path), classes=('platelet', 'white'))
    with pytest.raises(InputError, match=r'a\.xml: its boxes are of 6×8 pixels; expected 8×6, as .*a\.png has'):
        voc.source(dir=str(tmp_path), splitting=Splitting(val=0, test=0)).cases[0].read()
    (tmp_path / 'Annotations' / 'b.xml').write_text('<annotation><object><name>cell</name></object></annotation>')
    with pytest.raises(InputError, match=r"no image 'b'; expected that of .*b\.xml"):
        voc.source(dir=str(tmp_path))
    write(tmp_path, 'b', ('cell', 'left', 2, 3, 6))
    with pytest.raises(InputError, match=r'b\.xml: no annotation: could not convert .*expected XML'):
        voc.source(dir=str(tmp_path))
    (tmp_path / 'Annotations' / 'b.xml').write_text('<annotation>')
    with pytest.raises(InputError, match=r'b\.xml: no annotation: no element'):
        voc.source(dir=str(tmp_path))
    lists(tmp_path, train=['a'], test=['a'])
    with pytest.raises(InputError, match=r"test\.txt: 'a' is in the list of train already"):
        voc.source(dir=str(tmp_path))


def test_annotations_in_upper_case_and_images_without_one(tmp_path):
    for name in 'abc':
        write(tmp_path, name, ('cell', 1, 2, 3, 6), ('cell', 1, 2, 3, 6))
    (tmp_path / 'Annotations' / 'a.xml').rename(tmp_path / 'Annotations' / 'a.XML')
    (tmp_path / 'Annotations' / 'b.xml').rename(tmp_path / 'Annotations' / 'b.txt')
    found = voc.source(dir=str(tmp_path))
    assert sorted(case.id for case in found.cases) == ['a', 'c']
    assert found.warnings == (
        'Left out of Annotations, not annotations: 1 (b.txt).',
        'Left out of JPEGImages, without an annotation: 1 (b.png).',
        'Objects with the class and box of another one in the same image, left out: 2 (of a, c).')
    lists(tmp_path, train=['c'])
    assert 'Left out of JPEGImages, in no list: 2 (a.png, b.png).' in voc.source(
        dir=str(tmp_path)).warnings
    write(tmp_path, 'a')
    with pytest.raises(InputError, match=r'a\.xml: .*a\.XML has the same name'):
        voc.source(dir=str(tmp_path))


@pytest.mark.parametrize('place', ['Annotations/b.xml', 'JPEGImages/b.png', 'ImageSets/Main/val.txt'])
def test_links_to_nothing_are_refused(tmp_path, place):
    for name in 'ab':
        write(tmp_path, name, ('cell', 1, 2, 3, 6))
    (tmp_path / place).unlink(missing_ok=True)
    (tmp_path / place).symlink_to('gone')
    with pytest.raises(InputError, match='1 link to a file that does not exist'):
        voc.source(dir=str(tmp_path))


@pytest.mark.public_data('bccd')
def test_bccd_as_it_was_published(tmp_path):
    found = voc.source(dir='bccd', classes=('RBC', 'WBC', 'Platelets'))
    labels = np.concatenate([case.target.labels for case in found.cases])
    assert len(found.cases) == 364 and np.bincount(labels).tolist() == [4155, 372, 361]
    boxes = np.concatenate([case.target.boxes for case in found.cases])
    assert boxes.min() == 0 and boxes.max(0).tolist()[2:] == [480, 640]
    empty = [case for case in found.cases if case.id in ('BloodImage_00338', 'BloodImage_00343', 'BloodImage_00001')]
    without = type(found)(cases=tuple(empty), classes=found.classes, problem='detection', least_classes=1)
    few = detection.dataset(without, size=(48, 64),
                            cache=str(tmp_path))
    assert few.warnings[0] == 'Boxes of no size, left out: 2 (of BloodImage_00343, BloodImage_00338).'
