"""Files that headers and tables name: found whatever their names are, and only within the data folder."""

import contextlib
import os

import numpy as np
import pytest
import SimpleITK as sitk

from medjax.data.datasets import prepared_cache, volumes
from medjax.data.io import data_paths, image_files
from medjax.data.source import data_dir
from medjax.data.sources import classification_folder, coco, image_pairs_csv, segmentation_folder, survival_csv
from medjax.data.splits import Splitting
from medjax.errors import InputError

META = ('ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nDimSize = 2 3 4\n'
        'ElementType = MET_SHORT\nElementDataFile = ')
NRRD = 'NRRD0004\ntype: short\ndimension: 3\nsizes: 2 3 4\nencoding: raw\nendian: little\ndata file: '
ARRAY = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
SLICES = [f'sub/s{number}.raw' for number in range(4)]


def voxels(folder, name='the voxels.raw', array=ARRAY):
    """Writes an array as one file, and slice by slice."""
    array.tofile(folder / name)
    (folder / 'sub').mkdir(exist_ok=True)
    for part, slice_name in zip(array, SLICES):
        part.tofile(folder / slice_name)


@pytest.mark.parametrize('header, value, names', [
    ('a.mhd', 'the voxels.raw', ['the voxels.raw']),
    ('a.mha', 'the voxels.raw', ['the voxels.raw']),
    ('a.mhd', 'LIST\n' + '\n'.join(SLICES), SLICES),
    ('a.mhd', 'sub/s%d.raw 0 3 1', SLICES),
    ('a.nhdr', 'the voxels.raw', ['the voxels.raw']),
    ('a.nrrd', 'the voxels.raw', ['the voxels.raw']),
    ('a.nhdr', 'LIST\n' + '\n'.join(SLICES), SLICES),
    ('a.nhdr', 'sub/s%d.raw 0 3 1 2', SLICES),
])
def test_the_files_of_an_image_are_those_that_simpleitk_reads(tmp_path, header, value, names):
    voxels(tmp_path)
    path = tmp_path / header
    path.write_text((META if header.endswith(('mhd', 'mha')) else NRRD) + value + '\n')
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), ARRAY)  # the oracle reads it
    assert image_files.files(path) == tuple(map(str, [path, *(tmp_path / name for name in names)]))
    np.testing.assert_array_equal(image_files.read(path).array.transpose(2, 1, 0), ARRAY)


@pytest.mark.parametrize('value, count', [
    ('LIST\n' + '\n'.join(SLICES[:3]), 3), ('LIST 2D\n' + '\n'.join([*SLICES, SLICES[0]]), 5),
    ('sub/s%d.raw 0 2 1', 3), ('LIST\nthe voxels.raw', 1)])
def test_a_list_of_too_few_files_leaves_no_voxels_unset(tmp_path, value, count):
    voxels(tmp_path)
    (tmp_path / 'a.mhd').write_text(META + value + '\n')
    with pytest.raises(InputError, match=f'a.mhd: lists {count} files of voxels for an image of 2×3×4 voxels; '
                                         'expected 4'):
        image_files.read(tmp_path / 'a.mhd')


@pytest.mark.parametrize('value', ['a\0b', 'x' * 5000, '', '.', 's%d.raw 0 999999999999999999999999 1', 's%d.raw 0 3 0',
                                   's%d.raw 0 999999999 1', '%s%s%n', '%099999d.raw 0 1 1', 'LIST 99\na\nb'])
def test_impossible_names_are_refused_in_one_line(tmp_path, value):
    for header, text in (('a.mhd', META), ('a.nhdr', NRRD)):
        (tmp_path / header).write_text(text + value + '\n')
        with pytest.raises(InputError):
            image_files.read(tmp_path / header)
        with contextlib.suppress(InputError):
            image_files.files(tmp_path / header)


def test_voxels_in_the_same_file_have_no_other(tmp_path):
    for name in ('a.mha', 'a.nrrd'):
        sitk.WriteImage(sitk.GetImageFromArray(ARRAY), str(tmp_path / name))
        assert image_files.files(tmp_path / name) == (str(tmp_path / name),)


def test_the_pair_of_an_analyze_image_is_no_other_file_of_its_name(tmp_path):
    for name in ('p.hdr', 'p.IMG', 'p.mat', 'p.nii.gz', 'p.x.img', 'p2.img'):
        (tmp_path / name).touch()
    assert image_files.files(tmp_path / 'p.hdr') == tuple(str(tmp_path / n) for n in ('p.IMG', 'p.hdr', 'p.mat'))


@pytest.mark.parametrize('header, text', [('a.mhd', META + 'the voxels.raw\n'), ('a.nhdr', NRRD + 'the voxels.raw\n')])
def test_prepared_data_depends_on_the_voxels_file_even_with_equal_size_and_time(tmp_path, header, text):
    voxels(tmp_path)
    (tmp_path / header).write_text(text)
    before = prepared_cache.file_states(image_files.files(tmp_path / header))
    assert before == prepared_cache.file_states(image_files.files(tmp_path / header))
    stat = (tmp_path / 'the voxels.raw').stat()
    voxels(tmp_path, array=ARRAY + 1)
    os.utime(tmp_path / 'the voxels.raw', ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert before != prepared_cache.file_states(image_files.files(tmp_path / header))


@pytest.mark.parametrize('header, text', [
    ('a.mhd', META), ('a.mhd', META + 'LIST 3\n'), ('a.nhdr', NRRD), ('a.nhdr', NRRD + 'LIST\n'), ('a.nrrd', NRRD),
    ('a.mha', META)])
@pytest.mark.parametrize('name', ['../secret.raw', '{root}/secret.raw', 'sub/../../secret.raw'])
def test_a_header_cannot_name_a_file_outside_of_its_folder(tmp_path, monkeypatch, header, text, name):
    folder = tmp_path / 'data'
    folder.mkdir()
    voxels(folder)
    ARRAY.tofile(tmp_path / 'secret.raw')
    (folder / header).write_text(text + name.format(root=tmp_path) + '\n')
    for read in (image_files.read, image_files.files):
        with pytest.raises(InputError, match=f'{header}: file of voxels .* is outside of .*MEDJAX_READ_DIRS'):
            read(folder / header)
    monkeypatch.setenv('MEDJAX_READ_DIRS', f'/nowhere:{tmp_path}')
    if 'LIST' in text:
        return
    np.testing.assert_array_equal(image_files.read(folder / header).array.transpose(2, 1, 0), ARRAY)


def test_a_header_may_name_a_file_elsewhere_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(data_paths, '_data_folders', set())
    (tmp_path / 'images').mkdir()
    voxels(tmp_path)
    (tmp_path / 'images' / 'a.mhd').write_text(META + '../the voxels.raw\n')
    with pytest.raises(InputError, match='is outside of'):
        image_files.read(tmp_path / 'images' / 'a.mhd')
    data_dir(str(tmp_path))
    np.testing.assert_array_equal(image_files.read(tmp_path / 'images' / 'a.mhd').array.transpose(2, 1, 0), ARRAY)


def test_links_in_the_data_folder_are_followed_but_not_back(tmp_path):
    (tmp_path / 'store' / 'inner').mkdir(parents=True)
    (tmp_path / 'store' / 'a.png').touch()
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'linked').symlink_to(tmp_path / 'store' / 'inner')
    (tmp_path / 'data' / 'a.png').symlink_to(tmp_path / 'store' / 'a.png')
    (tmp_path / 'same').symlink_to(tmp_path / 'data')
    for name in ('a.png', 'linked/b.png', 'sub/../a.png', tmp_path / 'data' / 'x.png'):
        assert data_paths.inside(tmp_path / 'same', str(name), 'row 2') == tmp_path / 'same' / name
    for name in ('linked/../a.png', '../store/a.png', tmp_path / 'store' / 'a.png'):
        with pytest.raises(InputError, match='row 2 .* is outside of the folder'):
            data_paths.inside(tmp_path / 'data', str(name), 'row 2')


@pytest.mark.parametrize('make, text', [
    (lambda root: segmentation_folder.source(dir=root, table='t', classes=('a', 'b')), 'id,image,label\n1,{0},{0}\n'),
    (lambda root: classification_folder.source(dir=root, table='t', classes=('a', 'b')), 'path,a,b\n{0},1,0\n'),
    (lambda root: image_pairs_csv.source(dir=root, table='t'), 'fixed,moving\n{0},{0}\n'),
    (lambda root: image_pairs_csv.source(dir=root, table='t'), 'fixed,moving,points\na,a,{0}\n'),
    (lambda root: survival_csv.source(dir=root, table='t', time='t', event='e', events=('d',), image='i'),
     't,e,age,i\n3,1,50,{0}\n4,0,60,{0}\n'),
    (lambda root: coco.source(dir=root, files='t', images='.'),
     '{{"images": [{{"id": 1, "file_name": "{0}"}}], "annotations": [], "categories": []}}'),
])
def test_a_table_cannot_name_a_file_outside_of_the_data_folder(tmp_path, make, text):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'secret.png').touch()
    for name in ('../secret.png', tmp_path / 'secret.png'):
        (tmp_path / 'data' / 't').write_text(text.format(name))
        with pytest.raises(InputError, match="secret.png' is outside of the folder .*: list other folders"):
            make(str(tmp_path / 'data'))


@pytest.mark.parametrize('header, text', [
    ('c.mhd', 'NDims = 3\nDimSize = 6 6 4\nElementType = MET_UCHAR\nElementDataFile = '),
    ('c.nhdr', 'NRRD0004\ntype: uint8\ndimension: 3\nsizes: 6 6 4\nencoding: raw\nspace: left-posterior-superior\n'
               'space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\ndata file: ')])
def test_changed_labels_are_trained_on_though_the_header_is_the_same(tmp_path, header, text):
    """The old ones were taken from the cache, because the file of voxels has another name than the header."""
    rng, label = np.random.default_rng(0), np.zeros((4, 6, 6), np.uint8)
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / header).write_text(f'{text}other.bin\n')
    rng.integers(0, 200, (4, 6, 6)).astype(np.uint8).tofile(tmp_path / 'images' / 'other.bin')
    found = []
    for value in (1, 2):
        label[1, 2, 3:] = value
        label.tofile(tmp_path / 'labels' / 'other.bin')
        os.utime(tmp_path / 'labels' / 'other.bin', (1e9, 1e9))
        source = segmentation_folder.source(dir=str(tmp_path), classes=('a', 'b', 'c'),
                                            splitting=Splitting(val=0.0, test=0.0))
        data = volumes.dataset(source, patch=(6, 6, 4), cache=str(tmp_path / 'cache'), crop=False)
        found.append(np.unique(data.prepared[0].label).tolist())
    assert found == [[0, 1], [0, 2]]


@pytest.mark.parametrize('value', ['-3', '57', '3 x', ''])
def test_a_number_of_dimensions_that_itk_has_no_room_for_is_refused(tmp_path, value):
    # ITK ends the process with a segmentation fault for -3.
    voxels(tmp_path)
    (tmp_path / 'a.mhd').write_text(META.replace('NDims = 3', f'NDims = {value}') + 'the voxels.raw\n')
    with pytest.raises(InputError, match=r'a\.mhd: NDims = .*; expected 2 or 3'):
        image_files.read(tmp_path / 'a.mhd')
