"""Tables of boxes: pixels, and balls in mm as LUNA16 has them, on volumes that are turned against the world."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medjax.data.datasets import detection
from medjax.data.sources import detection_csv
from medjax.data.splits import Splitting
from medjax.errors import InputError


def pictures(root, *names):
    for number, name in enumerate(names):
        (root / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(np.full((6, 8), number, np.uint8)).save(root / 'images' / name)


def table(root, *lines):
    (root / 'boxes.csv').write_text('\n'.join(lines) + '\n')
    return dict(table='boxes.csv', dir=str(root))


def test_rows_of_pictures(tmp_path):
    pictures(tmp_path, 'a.png', 'day/b.png', 'c.png')
    found = detection_csv.source(**table(
        tmp_path, 'path,x1,y1,x2,y2,label,patient,split', 'a.png,1,2,3,5,white,p1,train', 'day/b.png,,,,,,p2,test',
        'a,0,0,2.5,1,red,p1,train'))
    assert {case.id: (case.patient, case.split) for case in found.cases if case.id != 'c'} == {
        'a': ('p1', 'train'), 'day_b': ('p2', 'test')}
    cases = {case.id: case.target for case in found.cases}
    assert found.classes == ('red', 'white') and sorted(cases) == ['a', 'c', 'day_b']
    np.testing.assert_array_equal(cases['a'].boxes, [[2, 1, 5, 3], [0, 0, 1, 2.5]])
    assert cases['a'].labels.tolist() == [1, 0] and [len(cases[name].boxes) for name in ('c', 'day_b')] == [0, 0]


@pytest.mark.parametrize('affine', [np.diag([0.5, 0.8, 2.0, 1.0]), np.diag([-0.5, -0.8, 2.0, 1.0]),
                                    [[0, -0.8, 0, 3], [0, 0, 2.0, 1], [0.5, 0, 0, -9], [0, 0, 0, 1]]])
def test_balls_of_luna_are_where_they_are_drawn(affine, tmp_path):
    """A ball is drawn by the voxels' own places in the world; the box about it is compared with the table's, and again
    in the network's grid with the ball in the image as the network sees it."""
    affine, shape = np.array(affine, float), (40, 30, 12)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), [1], indexing='ij'))[..., 0]
    world = np.einsum('ab,bxyz->axyz', affine, grid)[:3]
    centre = (affine @ [22.3, 14.1, 6.2, 1])[:3]
    ball = ((world - centre.reshape(3, 1, 1, 1)) ** 2).sum(0) < 5.0**2
    (tmp_path / 'images').mkdir()
    nib.save(nib.Nifti1Image((ball * 200).astype(np.uint8), affine), tmp_path / 'images' / '1.3.6.nii.gz')
    x, y, z = centre * [-1, -1, 1]
    options = table(tmp_path, 'seriesuid,coordX,coordY,coordZ,diameter_mm', f'1.3.6,{x},{y},{z},10.0')
    found = detection_csv.source(**options, classes=('nodule',), splitting=Splitting(val=0.0, test=0.0))
    data = detection.dataset(found, size=(32, 32, 32), resize_mode='pad', intensity=dict(name='unit'),
                             cache=str(tmp_path / 'c'))
    there = np.argwhere(ball)
    np.testing.assert_allclose(data.source.cases[0].target.boxes[0], [*there.min(0), *(there.max(0) + 1)], atol=1.0)
    (box,), labels = data.truth(0)
    seen = np.argwhere(data.images([0])[0, ..., 0] > 0.4)
    np.testing.assert_allclose(box, [*seen.min(0), *(seen.max(0) + 1)], atol=1.2)
    np.testing.assert_allclose(data.to_stored(0, data.truth(0)[0]), data.source.cases[0].target.boxes, atol=1e-4)
    assert labels.tolist() == [0] and not data.warnings


def test_excluded_findings_of_luna_are_ignored(tmp_path):
    (tmp_path / 'images').mkdir()
    nib.save(nib.Nifti1Image(np.zeros((40, 40, 40), np.uint8), np.eye(4)), tmp_path / 'images' / '1.3.nii.gz')
    options = table(tmp_path, 'seriesuid,coordX,coordY,coordZ,diameter_mm', '1.3,-20,-20,20,6')
    (tmp_path / 'excluded.csv').write_text('seriesuid,coordX,coordY,coordZ,diameter_mm\n'
                                           '1.3,-9,-9,9,-1\n1.3,-30,-9,9,4\n')
    found = detection_csv.source(**options, excluded='excluded.csv', classes=('nodule',),
                                 splitting=Splitting(val=0.0, test=0.0))
    target = found.cases[0].target
    np.testing.assert_array_equal(target.boxes, [[17, 17, 17, 23, 23, 23]])
    np.testing.assert_array_equal(target.ignored.boxes, [[4, 4, 4, 14, 14, 14], [28, 7, 7, 32, 11, 11]])  # 10 mm
    assert not target.ignored.crowd.any() and 'excluded findings: 2' in found.warnings[0]
    data = detection.dataset(found, size=(20, 20, 20), cache=str(tmp_path / 'c'))
    np.testing.assert_allclose(data.ignored(0).boxes[0], [2.25, 2.25, 2.25, 7.25, 7.25, 7.25])
    (tmp_path / 'excluded.csv').write_text('path,x1,y1,x2,y2,label\n1.3,1,1,2,2,nodule\n')
    with pytest.raises(InputError, match='excluded.csv: columns y1, x1, y2, x2; expected coordX, coordY'):
        detection_csv.source(**options, excluded='excluded.csv', classes=('nodule',))


@pytest.mark.parametrize('lines, message', [
    (['path,x1,y1,x2,label', 'a,1,1,2,c'], 'columns path, x1, y1, x2, label; expected path and x1, y1, x2, y2'),
    (['path,x1,y1,x2,y2', 'a,1,1,2,2'], 'no column label; expected one, or a single name'),
    (['path,x1,y1,x2,y2,label', 'd,1,1,2,2,c'], "row 2: image 'd' is the name of 0 images; expected one"),
    (['path,x1,y1,x2,y2,label', 'b,1,1,2,2,c'], "row 2: image 'b' is the name of 2 images; expected one"),
    (['path,x1,y1,x2,y2,label', 'a,1,1,two,2,c'], 'row 2: 1, 1, 2, two; expected numbers in y1, x1, y2, x2'),
    (['path,x1,y1,x2,y2,label', 'a,1,1,,2,c'], 'row 2: .*expected numbers'),
    (['path,x1,y1,x2,y2,label,patient', 'a,1,1,2,2,c,p', 'a,1,1,2,2,c,q'], 'row 3: .*expected the same for all rows'),
    (['path,x1,y1,x2,y2,label,Patient', 'a,1,1,2,2,c,p'], "column 'Patient'; expected 'patient'"),
    (['path,x1,y1,x2,y2,label', 'a,1,1,2,2'], 'row 2 has too few fields')])
def test_faults_are_named(lines, message, tmp_path):
    pictures(tmp_path, 'a.png', 'one/b.png', 'two/b.png')
    with pytest.raises(InputError, match=message):
        detection_csv.source(**table(tmp_path, *lines))


def test_images_without_a_row_repeated_rows_and_other_files_are_counted(tmp_path):
    pictures(tmp_path, 'a.png', 'day/b.png', 'c.png')
    (tmp_path / 'images' / 'day' / 'd.dcm').write_bytes(b'')
    found = detection_csv.source(**table(tmp_path, 'path,x1,y1,x2,y2,label', 'a.png,1,2,3,5,white', 'a,1,2,3.0,5,white',
                                         'a,1,2,3,5,red'))
    assert [len(case.target.labels) for case in found.cases] == [2, 0, 0] and found.warnings == (
        'Left out of images, not images: 1 (day/d.dcm).',
        'Images without a row, taken to show no object: 2 of 3.',
        'Objects with the class and box of another one in the same image, left out: 1 (of a).')
    (tmp_path / 'images' / 'day' / 'e.png').symlink_to('gone')
    with pytest.raises(InputError, match=r'1 link to a file that does not exist \(day/e\.png\)'):
        detection_csv.source(**table(tmp_path, 'path,x1,y1,x2,y2,label', 'a.png,1,2,3,5,white'))
