"""Predicted images lie where their inputs lie: for nibabel, for ITK and by FSL's rule, whatever the header's state."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medjax.data.io import image_files
from medjax.data.io.geometry import Image, resample, restore, to_canonical

ARRAY = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
LABEL = (ARRAY % 2).astype(np.uint8)
ANGLE = np.deg2rad(20)
TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3], OBLIQUE[:3, 3] = TURN * [1.1, 1.3, 2.5], (-20, 13.5, 7)
LEFT = OBLIQUE @ np.diag([-1, 1, 1, 1])  # determinant below 0: qfac is -1
SHEARED = OBLIQUE.copy()
SHEARED[0, 1] += 0.4


def header(qform=None, sform=None, codes=(1, 1), kind=nib.Nifti1Image, **fields):
    """An image whose header has these forms, and raw values of other fields."""
    image = kind(ARRAY, None)
    image.header.set_qform(qform, codes[0] if qform is not None else 0)
    image.header.set_sform(sform, codes[1] if sform is not None else 0)
    for name, value in fields.items():
        image.header[name] = value
    return image


def without_codes():
    image = header(OBLIQUE, OBLIQUE)
    image.header['qform_code'] = image.header['sform_code'] = 0
    return image


CASES = {
    'codes 0/0': lambda: header(pixdim=(1, 1.1, 1.3, 2.5, 1, 1, 1, 1)),
    'codes 0/0 with numbers in both forms': without_codes,
    'sheared sform beside a good qform': lambda: header(OBLIQUE, SHEARED),
    'other sform than qform': lambda: header(OBLIQUE, np.diag([1.1, 1.3, 2.5, 1]), codes=(1, 4)),
    'micron': lambda: header(np.diag([1e3, 1e3, 1e3, 1]) @ OBLIQUE, np.diag([1e3, 1e3, 1e3, 1]) @ OBLIQUE,
                             xyzt_units=3),
    'metre and second': lambda: header(OBLIQUE, OBLIQUE, xyzt_units=1 + 8),
    'unknown unit': lambda: header(OBLIQUE, OBLIQUE, xyzt_units=0),
    'sform only': lambda: header(None, OBLIQUE, codes=(0, 2), pixdim=(1, 1.1, 1.3, 2.5, 1, 1, 1, 1)),
    'sform only, left-handed': lambda: header(None, LEFT, codes=(0, 3), pixdim=(1, 1.1, 1.3, 2.5, 1, 1, 1, 1)),
    'qform only': lambda: header(OBLIQUE, None, codes=(4, 0)),
    'qfac -1': lambda: header(LEFT, LEFT),
    'qfac -1, qform only': lambda: header(LEFT),
    'qfac 0': lambda: header(OBLIQUE, None, pixdim=(0, 1.1, 1.3, 2.5, 1, 1, 1, 1)),
    'negative spacing': lambda: header(pixdim=(1, -1.1, 1.3, 2.5, 1, 1, 1, 1)),
    'NIfTI-2': lambda: header(OBLIQUE, OBLIQUE, kind=nib.Nifti2Image),
}


def raw(path):
    """The header's own fields, without nibabel's corrections."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == '.gz' else path.read_bytes()
    order = 'little' if content[0] else 'big'
    kind, size = {348: (nib.Nifti1Header, 348), 540: (nib.Nifti2Header, 540)}[int.from_bytes(content[:4], order)]
    return kind(content[:size], check=False)


def fsl(path):
    """Voxel to world by FSL's rule: the sform if its code is not 0, else the qform, else spacings from the origin.

    The method 3, 2 and 1 of the NIfTI standard, written out.
    """
    head = raw(path)
    pixdim = head['pixdim'].astype(float)
    out = np.eye(4)
    if head['sform_code'] > 0:
        out[:3] = [head[f'srow_{axis}'] for axis in 'xyz']
    elif head['qform_code'] > 0:
        b, c, d = (float(head[f'quatern_{name}']) for name in 'bcd')
        a = np.sqrt(max(1 - b * b - c * c - d * d, 0))
        turn = np.array([[a*a+b*b-c*c-d*d, 2*(b*c-a*d), 2*(b*d+a*c)], [2*(b*c+a*d), a*a+c*c-b*b-d*d, 2*(c*d-a*b)],
                         [2*(b*d-a*c), 2*(c*d+a*b), a*a+d*d-b*b-c*c]])
        out[:3, :3] = turn * [pixdim[1], pixdim[2], pixdim[3] * (-1 if pixdim[0] < 0 else 1)]
        out[:3, 3] = [head[f'qoffset_{axis}'] for axis in 'xyz']
    else:
        out[:3, :3] = np.diag(pixdim[1:4])
    return out


def itk(path):
    """ITK's size, spacing, origin and direction; its message where it refuses the file."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        return str(error).rsplit(':', 1)[-1].replace(path.name, '')
    return np.concatenate([image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()])


def same_place(one, other):
    """Whether all programs place two files alike."""
    for place in (lambda path: nib.load(path).affine, fsl):
        np.testing.assert_array_equal(place(one), place(other))
    found, expected = itk(one), itk(other)
    assert type(found) is type(expected)
    np.testing.assert_array_equal(found, expected)
    for name in ('sizeof_hdr', 'qform_code', 'sform_code', 'xyzt_units'):
        assert raw(one)[name] == raw(other)[name]
    np.testing.assert_array_equal(raw(one)['pixdim'][:4], raw(other)['pixdim'][:4])


@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz'])
@pytest.mark.parametrize('name', CASES)
def test_a_label_has_the_geometry_of_its_image(tmp_path, name, suffix):
    path, out = tmp_path / f'in{suffix}', tmp_path / f'out{suffix}'
    content = CASES[name]().to_bytes()
    path.write_bytes(gzip.compress(content) if suffix == '.nii.gz' else content)
    image = image_files.read(path)
    image_files.write(out, LABEL, image.affine, like=image.path)
    same_place(out, path)
    label = image_files.read(out)
    np.testing.assert_array_equal(label.array, LABEL)
    np.testing.assert_array_equal(label.affine, image.affine)
    if not isinstance(itk(out), str):
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(out))).T, LABEL)


def test_a_big_endian_image(tmp_path):
    head = nib.Nifti1Header(endianness='>')
    image = nib.Nifti1Image(ARRAY.astype('>i2'), None, head)
    image.header.set_qform(LEFT, 1)
    image.header.set_sform(SHEARED, 2)
    (tmp_path / 'in.nii').write_bytes(image.to_bytes())
    read = image_files.read(tmp_path / 'in.nii')
    image_files.write(tmp_path / 'out.nii', LABEL, read.affine, like=read.path)
    assert raw(tmp_path / 'in.nii').endianness == '>'
    same_place(tmp_path / 'out.nii', tmp_path / 'in.nii')


def test_a_2d_image(tmp_path):
    image = nib.Nifti1Image(ARRAY[:, :, 0], OBLIQUE)
    nib.save(image, tmp_path / 'in.nii.gz')
    read = image_files.read(tmp_path / 'in.nii.gz')
    image_files.write(tmp_path / 'out.nii.gz', LABEL[:, :, :1], read.affine, like=read.path)
    same_place(tmp_path / 'out.nii.gz', tmp_path / 'in.nii.gz')
    assert nib.load(tmp_path / 'out.nii.gz').shape == (5, 4)
    np.testing.assert_array_equal(image_files.read(tmp_path / 'out.nii.gz').array, LABEL[:, :, :1])


def test_an_image_of_several_channels(tmp_path):
    nib.save(nib.Nifti1Image(np.stack([ARRAY] * 2, -1), OBLIQUE), tmp_path / 'in.nii')
    image_files.write(tmp_path / 'out.nii', LABEL, nib.load(tmp_path / 'in.nii').affine, like=tmp_path / 'in.nii')
    assert nib.load(tmp_path / 'out.nii').shape == LABEL.shape
    np.testing.assert_array_equal(fsl(tmp_path / 'out.nii'), fsl(tmp_path / 'in.nii'))


@pytest.mark.parametrize('unit', [2, 3])
def test_a_pair_of_files(tmp_path, unit):
    image = nib.Nifti1Pair(ARRAY, OBLIQUE)
    image.header['xyzt_units'] = unit
    image.header.set_qform(OBLIQUE, 1)
    nib.save(image, tmp_path / 'in.hdr')
    read = image_files.read(tmp_path / 'in.hdr')
    np.testing.assert_allclose(read.affine, np.diag([*[1e-3 if unit == 3 else 1] * 3, 1]) @ OBLIQUE, rtol=1e-5)
    for name in ('in.hdr', 'in.img'):
        image_files.write(tmp_path / 'out.nii', LABEL, read.affine, like=tmp_path / name)
        np.testing.assert_array_equal(nib.load(tmp_path / 'out.nii').affine, nib.load(tmp_path / 'in.hdr').affine)
        np.testing.assert_array_equal(itk(tmp_path / 'out.nii'), itk(tmp_path / 'in.hdr'))
        assert raw(tmp_path / 'out.nii')['xyzt_units'] == unit


@pytest.mark.parametrize('suffix', ['.nrrd', '.mha', '.mhd', '.nhdr'])
def test_an_image_of_another_format(tmp_path, suffix):
    image = sitk.GetImageFromArray(ARRAY.T)
    image.SetSpacing((1.1, 1.3, 2.5))
    image.SetOrigin((-20, 13.5, 7))
    image.SetDirection(TURN.ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / f'in{suffix}'))
    read = image_files.read(tmp_path / f'in{suffix}')
    image_files.write(tmp_path / 'out.nii.gz', LABEL, read.affine, like=read.path)
    np.testing.assert_allclose(itk(tmp_path / 'out.nii.gz'), itk(tmp_path / f'in{suffix}'), atol=1e-5)
    for found in (nib.load(tmp_path / 'out.nii.gz').affine, fsl(tmp_path / 'out.nii.gz')):
        # ITK's world is LPS.
        direction = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        np.testing.assert_allclose(found[:3], np.diag([-1, -1, 1]) @ np.column_stack([direction, image.GetOrigin()]),
                                   atol=1e-5)


@pytest.mark.parametrize('name', [name for name in CASES if not name.startswith(('codes 0/0', 'negative'))])
@pytest.mark.parametrize('spacing', [None, (2.2, 2.6, 2.5)])
def test_an_image_on_another_grid(tmp_path, name, spacing):
    """A moved image, on the network's grid: its voxels are where the same world positions are in the fixed image."""
    CASES[name]().to_filename(tmp_path / 'in.nii')
    read = image_files.read(tmp_path / 'in.nii')
    grid = to_canonical(read)
    if spacing:
        grid = resample(grid, np.array(spacing) * np.linalg.norm(read.affine[:3, 0]) / 1.1, 'label')
    image_files.write(tmp_path / 'out.nii', grid.array, grid.affine, like=read.path)
    change = np.linalg.inv(read.affine) @ grid.affine
    np.testing.assert_allclose(image_files.read(tmp_path / 'out.nii').affine, grid.affine, rtol=1e-4, atol=3e-3)
    np.testing.assert_allclose(fsl(tmp_path / 'out.nii'), fsl(tmp_path / 'in.nii') @ change, rtol=1e-4, atol=3e-3)
    before, after = itk(tmp_path / 'in.nii'), itk(tmp_path / 'out.nii')
    assert isinstance(before, str) == isinstance(after, str)
    if not isinstance(after, str):
        world, voxel = [], np.array([1, 2, 1, 1])
        for numbers, at in ((after, voxel), (before, change @ voxel)):
            steps, origin, direction = numbers[3:6], numbers[6:9], numbers[9:].reshape(3, 3)
            world.append(origin + direction @ (steps * at[:3]))
        np.testing.assert_allclose(*world, rtol=1e-4, atol=0.01)


@pytest.mark.parametrize('name', ['codes 0/0', 'codes 0/0 with numbers in both forms'])
def test_without_codes_an_image_on_another_grid_is_where_nibabel_reads_it(tmp_path, name):
    CASES[name]().to_filename(tmp_path / 'in.nii')
    grid = resample(image_files.read(tmp_path / 'in.nii'), (2.2, 2.6, 2.5), 'label')
    image_files.write(tmp_path / 'out.nii', grid.array, grid.affine, like=tmp_path / 'in.nii')
    first = nib.load(tmp_path / 'in.nii').affine @ [0.5, 0.5, 0, 1]  # the centre of the first voxel of twice the size
    numbers = itk(tmp_path / 'out.nii')
    for place in (nib.load(tmp_path / 'out.nii').affine[:3, 3], fsl(tmp_path / 'out.nii')[:3, 3],
                  numbers[6:9] * [-1, -1, 1]):
        np.testing.assert_allclose(place, first[:3], atol=1e-5)


def test_an_image_of_more_voxels_than_the_first_version_can_count(tmp_path):
    image_files.write(tmp_path / 'out.nii', np.zeros((40000, 2, 1), np.uint8), OBLIQUE)
    assert raw(tmp_path / 'out.nii')['sizeof_hdr'] == 540 and nib.load(tmp_path / 'out.nii').shape == (40000, 2, 1)


def test_a_folder_of_slices_has_no_nifti_header(tmp_path):
    (tmp_path / 'scan.nii').mkdir()
    image_files.write(tmp_path / 'out.nii', LABEL, OBLIQUE, like=tmp_path / 'scan.nii')
    np.testing.assert_allclose(nib.load(tmp_path / 'out.nii').affine, OBLIQUE, rtol=1e-6)


def test_a_grid_with_other_axes_has_a_header_of_its_own(tmp_path):
    header(OBLIQUE, SHEARED).to_filename(tmp_path / 'in.nii')
    image_files.write(tmp_path / 'out.nii', LABEL, np.diag([1.0, 2, 3, 1]), like=tmp_path / 'in.nii')
    np.testing.assert_array_equal(nib.load(tmp_path / 'out.nii').affine, np.diag([1.0, 2, 3, 1]))
    header(OBLIQUE, SHEARED, kind=nib.Nifti2Image).to_filename(tmp_path / 'in.nii')
    image_files.write(tmp_path / 'out.nii', LABEL, np.diag([1.0, 2, 3, 1]), like=tmp_path / 'in.nii')
    assert raw(tmp_path / 'out.nii')['sizeof_hdr'] == 540


def test_restored_labels_of_a_turned_image(tmp_path):
    """From the network's grid back to the image's, and into its header."""
    header(OBLIQUE, SHEARED).to_filename(tmp_path / 'in.nii')
    read = image_files.read(tmp_path / 'in.nii')
    grid = to_canonical(Image((read.array > 30).astype(np.uint8), read.affine))
    label = restore(grid, read, 'label')
    image_files.write(tmp_path / 'out.nii', label.array, read.affine, like=read.path)
    same_place(tmp_path / 'out.nii', tmp_path / 'in.nii')
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / 'out.nii').dataobj), ARRAY > 30)
