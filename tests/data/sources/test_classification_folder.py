"""Folders of classes and tables: classes, patients and splits, and what is refused."""

import csv

import numpy as np
import pytest
from PIL import Image as Picture

from medjax.data.sources.classification_folder import source
from medjax.data.splits import Splitting
from medjax.errors import InputError
from tests.data import samples


def draw(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.full((3, 4), value, np.uint8)).save(path)


def table(root, rows):
    with (root / 'cases.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_folders_of_splits_and_classes(tmp_path):
    for split in ('train', 'validation', 'test'):
        for name in ('ill', 'well'):
            for number in range(2):
                draw(tmp_path / split / name / f'{number}.png')
    found = source(dir=str(tmp_path), classes=('well', 'ill'))
    assert found.problem == 'binary' and found.classes == ('well', 'ill')
    assert {(c.split, c.target) for c in found.cases} == {(s, t) for s in ('train', 'val', 'test') for t in (0, 1)}
    assert [c.id for c in found.cases if c.split == 'val'] == [
        'validation_ill_0', 'validation_ill_1', 'validation_well_0', 'validation_well_1']
    assert [c.target for c in found.cases if c.split == 'val'] == [1, 1, 0, 0]
    assert source(dir=str(tmp_path)).classes == ('ill', 'well')


def test_folders_without_splits_are_split_by_patient_and_stratified(tmp_path):
    for name, count in (('a', 20), ('b', 10)):
        for number in range(count):
            draw(tmp_path / name / f'p{name}{number // 2}_{number}.png')
    found = source(dir=str(tmp_path), patient_regex=r'^([^_]+)_', splitting=Splitting(val=0.2, test=0.2))
    assert found.analysis_unit == 'patient'
    by_patient = {}
    for c in found.cases:
        assert by_patient.setdefault(c.patient, c.split) == c.split
    # 10 patients of a and 5 of b: a fifth of each, and of each split two thirds are of a.
    sizes = {split: [sum(c.split == split and c.target == t for c in found.cases) for t in (0, 1)]
             for split in ('train', 'val', 'test')}
    assert sizes == {'train': [12, 6], 'val': [4, 2], 'test': [4, 2]}


def test_dicom_files_in_class_folders_are_images_of_the_patients_in_their_headers(tmp_path):
    pydicom = pytest.importorskip('pydicom')
    draw(tmp_path / 'ill' / 'z.png')
    for number, name in enumerate(('ill/a.dcm', 'ill/b', 'well/c.dcm', 'well/d.dcm')):
        path, = samples.slices(tmp_path / 'x', names=['s'], places=np.zeros((1, 3)), series=str(number),
                               array=samples.VOXELS[:, :, number:number + 1])
        data = pydicom.dcmread(path)
        data.PatientID = ['MRN1', 'MRN2', 'MRN1', ''][number]
        (tmp_path / name).parent.mkdir(exist_ok=True)
        data.save_as(tmp_path / name)
        path.unlink()
    (tmp_path / 'x').rmdir()
    (tmp_path / 'ill' / 'notes.txt').write_text('\b\0')
    found = source(dir=str(tmp_path))
    assert [(case.id, case.patient, case.target) for case in found.cases] == [
        ('ill_a', 'ill_a', 0), ('ill_b', 'ill_b', 0), ('ill_z', 'ill_z', 0), ('well_c', 'ill_a', 1),
        ('well_d', 'well_d', 1)]
    np.testing.assert_array_equal(found.cases[3].read()[0].array, samples.VOXELS[:, :, 2:3])
    assert len(found.warnings) == 2 and 'notes.txt' in found.warnings[0] and 'PatientID' in found.warnings[1]
    named = source(dir=str(tmp_path), patient_regex='(.)[^/]*$')
    assert [case.patient for case in named.cases] == ['a', 'b', 'z', 'c', 'd'] and len(named.warnings) == 1
    (tmp_path / 'well' / 'e.dcm').write_bytes((tmp_path / 'well' / 'd.dcm').read_bytes())
    with pytest.raises(InputError, match=r'e\.dcm: a DICOM file of the same series as d\.dcm; expected'):
        source(dir=str(tmp_path))
    (tmp_path / 'well' / 'e.dcm').write_bytes(b'DICM')
    with pytest.raises(InputError, match=r'e\.dcm: not DICOM; expected'):
        source(dir=str(tmp_path))


def test_a_table_names_files_and_series_of_dicom(tmp_path):
    samples.slices(tmp_path / 'cd' / 'DICOM' / 'a')
    samples.slices(tmp_path / 'cd' / 'DICOM' / 'b', array=samples.VOXELS[:, :, :2], series='2', names=['IM0', 'IM1'])
    paths = ['cd/DICOM/a/001.dcm', 'cd/DICOM/b', 'cd/series=0.1', 'cd/series=0.2']
    table(tmp_path, [dict(path=path, label='xyxy'[n], patient='aabb'[n]) for n, path in enumerate(paths)])
    found = source(dir=str(tmp_path), table='cases.csv')
    cases = found.cases
    assert found.analysis_unit == 'patient' and found.notice == ''
    wanted = [samples.VOXELS[:, :, 1:2], samples.VOXELS[:, :, :2], samples.VOXELS, samples.VOXELS[:, :, :2]]
    assert len({case.id for case in cases}) == 4 and [len(case.files) for case in cases] == [1, 2, 6, 6]
    for case, array in zip(cases, wanted, strict=True):
        np.testing.assert_array_equal(case.read()[0].array, array)


def test_a_table_of_one_class_with_subgroups(tmp_path):
    for number in range(4):
        draw(tmp_path / f'{number}.png')
    table(tmp_path, [dict(path=f'{n}.png', label='xyxy'[n], patient='aabb'[n], split=['train', '', 'validation', ''][n],
                          sex='fm'[n % 2]) for n in range(4)])
    found = source(dir=str(tmp_path), table='cases.csv')
    assert [(c.id, c.patient, c.split, c.target) for c in found.cases] == [
        ('0', 'a', 'train', 0), ('1', 'a', 'train', 1), ('2', 'b', 'val', 0), ('3', 'b', 'val', 1)]
    assert found.cases[1].columns == {'sex': 'm'}


@pytest.mark.parametrize('cells, message', [
    (('ill', 'Ill', 'well'), "classes 'Ill' and 'ill'; expected one spelling"),
    (('1', '1.0', '2'), "classes '1' and '1.0'; expected one spelling"), (('a', 'NA', 'b'), 'a label for each image')])
def test_labels_of_several_spellings_or_missing_ones_are_no_classes(tmp_path, cells, message):
    for number in range(3):
        draw(tmp_path / f'{number}.png')
    table(tmp_path, [dict(path=f'{n}.png', label=cell) for n, cell in enumerate(cells)])
    with pytest.raises(InputError, match=message):
        source(dir=str(tmp_path), table='cases.csv')
    if cells[1] == 'NA':
        assert source(dir=str(tmp_path), table='cases.csv', classes=cells).classes == cells


def test_patients_of_several_spellings_are_refused(tmp_path):
    for number in range(3):
        draw(tmp_path / f'{number}.png')
    table(tmp_path, [dict(path=f'{n}.png', label='ab'[n % 2], patient=('7', 'x', '007')[n]) for n in range(3)])
    with pytest.raises(InputError, match=r"cases\.csv: patients '007' and '7'; expected one spelling"):
        source(dir=str(tmp_path), table='cases.csv')


def test_a_table_of_several_findings(tmp_path):
    for number in range(3):
        draw(tmp_path / f'{number}.png')
    table(tmp_path, [dict(path=f'{n}.png', edema='101'[n], mass=['', '0', '1'][n], split='train', age=n)
                     for n in range(3)])
    found = source(dir=str(tmp_path), table='cases.csv', classes=('edema', 'mass'))
    assert found.problem == 'multilabel'
    np.testing.assert_array_equal([c.target for c in found.cases], [(1, -1), (0, 0), (1, 1)])
    assert found.cases[2].columns == {'age': '2'}


@pytest.mark.parametrize('rows, options, message', [
    ([dict(path=f'{n}.png', label='x', patient='a', split=('train', 'test')[n]) for n in range(2)],
     {}, "patient 'a' is in 'test' and in 'train'|patient 'a' is in 'train' and in 'test'"),
    ([dict(path='9.png', label='x')], {}, "row 2: '9.png' does not exist"),
    ([dict(file='0.png', label='x')], {}, "no column 'path'"),
    ([dict(path='0.png', kind='x')], {}, "no column 'label'; expected 'label' with the class, or a column for each"),
    ([dict(path='0.png', edema='2')], dict(classes=('edema',)), "row 2: edema is '2'; expected 1, 0 or nothing"),
    ([dict(path='0.png', label='z'), dict(path='1.png', label='x')], dict(classes=('x', 'y')),
     "class 'z'; expected one of: x, y"),
    ([dict(path='0.png', label='x', split='dev')], {}, "row 2: split 'dev'; expected one of: train, val, test"),
    ([dict(path='0.png', label='x')], {}, 'expected 2 to 255 different names')])
def test_tables_that_do_not_fit(tmp_path, rows, options, message):
    for number in range(2):
        draw(tmp_path / f'{number}.png')
    table(tmp_path, rows)
    with pytest.raises(InputError, match=message):
        source(dir=str(tmp_path), table='cases.csv', **options)


def test_folders_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match='no folder of a class'):
        source(dir=str(tmp_path))
    draw(tmp_path / 'train' / 'x' / '0.png')
    (tmp_path / 'extra').mkdir()
    with pytest.raises(InputError, match='extra: no split, beside train'):
        source(dir=str(tmp_path))
    (tmp_path / 'extra').rmdir()
    (tmp_path / 'train' / 'y').mkdir()
    with pytest.raises(InputError, match="y: no image; expected those of the class 'y'"):
        source(dir=str(tmp_path))
    draw(tmp_path / 'train' / 'y' / '0.png')
    with pytest.raises(InputError, match='its name has no patient'):
        source(dir=str(tmp_path), patient_regex=r'^(\d+)-')


def test_a_damaged_picture_is_named(tmp_path):
    from medjax.data.datasets.images import dataset
    draw(tmp_path / 'train' / 'x' / '0.jpg')
    draw(tmp_path / 'train' / 'y' / '1.jpg')
    whole = (tmp_path / 'train' / 'y' / '1.jpg').read_bytes()
    (tmp_path / 'train' / 'y' / '1.jpg').write_bytes(whole[:len(whole) // 2])
    with pytest.raises(InputError, match='y/1.jpg'):
        dataset(source(dir=str(tmp_path)), size=(4, 4), cache=str(tmp_path / 'cache'))


def test_alpha_is_left_out(tmp_path):
    from medjax.data.datasets.images import dataset
    (tmp_path / 'train' / 'x').mkdir(parents=True)
    Picture.fromarray(np.array([[[1, 2, 3, 0], [4, 5, 6, 255]]], np.uint8)).save(tmp_path / 'train' / 'x' / 'a.png')
    draw(tmp_path / 'train' / 'y' / 'b.png')
    data = dataset(source(dir=str(tmp_path)), size=(1, 2), channels=3, cache=str(tmp_path / 'cache'))
    assert data.arrays[0].tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_folds_reassign_the_split_of_folders(tmp_path):
    for split, count in (('train', 6), ('validation', 3), ('test', 3)):
        for name in ('a', 'b'):
            for number in range(count):
                draw(tmp_path / split / name / f'{number}.png')
    whole = {c.id for c in source(dir=str(tmp_path)).cases}
    tested = [c.id for k in range(3) for c in source(
        dir=str(tmp_path), splitting=Splitting(fold=(k, 0), folds=(3, 2))).cases if c.split == 'test']
    assert sorted(tested) == sorted(whole)
    held = [c.id for k in range(3) for c in source(
        dir=str(tmp_path), splitting=Splitting(fold=k, folds=3)).cases if c.split == 'val']
    assert sorted(held) == sorted(name for name in whole if not name.startswith('test'))
    for options in (dict(fold=2), dict(fold='a'), dict(fold=(7, 0), folds=(3, 2))):
        with pytest.raises(InputError, match='fold='):
            source(dir=str(tmp_path), splitting=Splitting(**options))


def test_colliding_names_and_hidden_folders(tmp_path):
    for name in ('0.png', '0.jpg', '1.png'):
        draw(tmp_path / 'train' / 'a' / name)
    draw(tmp_path / 'train' / 'a' / '.trash' / '9.png')
    draw(tmp_path / 'train' / 'b' / '0.png')
    found = source(dir=str(tmp_path))
    assert [c.id for c in found.cases] == ['train_a_0.jpg', 'train_a_0.png', 'train_a_1', 'train_b_0']
    assert 'each image counts as a patient of its own' in found.notice and found.analysis_unit == 'image'


@pytest.mark.parametrize('rows, options, message', [
    ([dict(path='0.png', label=''), dict(path='1.png', label='x')], {}, 'expected a label for each image'),
    ([dict(path='0.png', label='x')], dict(problem='multilabel'), "a column for each class for 'multilabel'"),
    ([dict(path='0.png', label='x')], dict(problem='ordinal'), "the classes in their order for 'ordinal'"),
    ([dict(path='0.png', label='x', prob_x='1')], {}, "column 'prob_x'; expected another name"),
    ([dict(path='0.png', label='x', patient_id='p')], {}, "column 'patient_id'; expected 'patient'"),
    ([dict(path='0.png', label='x', Split='test')], {}, "column 'Split'; expected 'split'"),
    ([dict(path='.', label='x')], {}, "row 2: '.' does not exist")])
def test_more_tables_that_do_not_fit(tmp_path, rows, options, message):
    for number in range(2):
        draw(tmp_path / f'{number}.png')
    table(tmp_path, rows)
    with pytest.raises(InputError, match=message):
        source(dir=str(tmp_path), table='cases.csv', **options)


def test_blanks_around_a_label_are_ignored(tmp_path):
    for number in range(3):
        draw(tmp_path / f'{number}.png')
    table(tmp_path, [dict(path=f'{n}.png', label=('a', 'a ', ' b')[n]) for n in range(3)])
    assert source(dir=str(tmp_path), table='cases.csv').classes == ('a', 'b')


def test_an_image_with_two_rows_is_refused(tmp_path):
    for number in range(2):
        draw(tmp_path / f'{number}.png')
    table(tmp_path, [dict(path=path, id=str(n), label='xyy'[n], split=('train', 'train', 'test')[n])
                     for n, path in enumerate(('0.png', '1.png', './0.png'))])
    with pytest.raises(InputError, match=r"row 4: path '\./0\.png' is that of row 2; expected one row for each image"):
        source(dir=str(tmp_path), table='cases.csv')


def test_files_that_are_no_images_of_a_class_are_counted(tmp_path):
    for name in ('train/a/0.png', 'train/b/0.PNG', 'train/b/inner/1.png', 'train/2.png', 'val/a/3.png', 'val/b/4.png',
                 '5.png'):
        draw(tmp_path / name.lower())
    (tmp_path / 'train' / 'a' / '0.txt').write_bytes(b'')
    found = source(dir=str(tmp_path))
    assert len(found.cases) == 5 and found.warnings == (
        f'Left out of {tmp_path.name}, not images in the folder of a class: 3 (5.png, train/2.png, '
        'train/a/0.txt).',)


@pytest.mark.parametrize('name', ['a/9.png', 'a/inner', 'c'])
def test_links_to_nothing_are_refused(tmp_path, name):
    for path in ('a/0.png', 'b/0.png'):
        draw(tmp_path / path)
    (tmp_path / name).symlink_to(tmp_path / 'gone')
    with pytest.raises(InputError, match='1 link to a file that does not exist'):
        source(dir=str(tmp_path))


def test_a_class_folder_that_is_a_link_is_followed(tmp_path):
    for path in ('data/a/0.png', 'data/b/0.png', 'more/p1/1.png'):
        draw(tmp_path / path)
    (tmp_path / 'data' / 'b' / 'p1').symlink_to(tmp_path / 'more' / 'p1')
    assert [case.id for case in source(dir=str(tmp_path / 'data')).cases] == ['a_0', 'b_0', 'b_p1_1']
