"""Predict: labels on each input's own grid, whatever the file's kind and order of axes."""

import gzip
import re

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image as Picture
from scipy import ndimage

from medjax.data.io import image_files
from medjax.data.io.geometry import Image, embedded, to_canonical
from medjax.predict import find
from medjax.tasks.segmentation.mask_metrics import Postprocess
from tests import cli
from tests.clinic import scans
from tests.data import samples

pytestmark = pytest.mark.usefixtures('no_report')
CONFIG = '''
from ml_collections import config_dict

def get_config():
    c = config_dict.ConfigDict()
    c.seed, c.steps, c.batch = 0, 60, 8
    c.model = dict(name='unet', variant='nnunet', dims=2, classes=2, base=4, levels=2, norm='batch')
    c.task = dict(name='segmentation', loss=dict(cross_entropy=1.0))
    c.data = dict(name='volumes', patch=(16, 16, 1), cache={cache!r}, spacing={spacing}, crop=False,
                  intensity=dict(name='percentile', low=1, high=99),
                  source=dict(name='segmentation_folder', dir={dir!r}, classes=('background', 'lesion')))
    c.optim = dict(name='adam', lr=1e-2)
    c.evaluate = dict(name='segmentation')
    return c
'''
AFFINE = np.array([[1.0, 0, 0, -11], [0, 1.5, 0, 7], [0, 0, 3, 20], [0, 0, 0, 1]])


def blobs(seed, shape=(24, 20, 8)):
    image = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return (100 + 40 * image / image.std()).astype(np.int16)


@pytest.fixture(scope='module')
def run(no_report, tmp_path_factory):
    """A run that learned to mark what is bright."""
    folder = tmp_path_factory.mktemp('predict')
    for kind in ('images', 'labels'):
        (folder / kind).mkdir()
    for number in range(5):
        image = blobs(number)
        nib.save(nib.Nifti1Image(image, AFFINE), folder / 'images' / f'case{number}.nii.gz')
        nib.save(nib.Nifti1Image((image > 130).astype(np.uint8), AFFINE), folder / 'labels' / f'case{number}.nii.gz')
    (folder / 'config.py').write_text(CONFIG.format(cache=str(folder / 'cache'), dir=str(folder), spacing=None))
    ended = cli.run('train', f'--config={folder}/config.py', f'--workdir={folder}/run')
    assert ended.code == 0, ended.err
    return folder


def lies_right(found, truth):
    """The label is about the truth, and about no mirror image of it."""
    def dice(other):
        return 2 * (found & other).sum() / (found.sum() + other.sum())
    assert dice(truth) > 0.6
    assert all(dice(truth) > dice(np.flip(truth, axis)) + 0.2 for axis in range(truth.ndim) if truth.shape[axis] > 1)


def predict(run, output, *arguments):
    ended = cli.run('predict', f'--workdir={run}/run', f'--output={output}', *arguments)
    assert ended.code == 0, ended.err
    return ended.out


def test_files_and_folders_in_one_command(run, tmp_path):
    image = nib.Nifti1Image(blobs(7), AFFINE)
    nib.save(image, tmp_path / 'new.nii')
    out = predict(run, tmp_path / 'out', f'--input={run}/images', tmp_path / 'new.nii')
    assert '6/6' in out and 'lesion' in out and ' ml' in out
    names = [*(f'case{n}.nii.gz' for n in range(5)), 'new.nii.gz']
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == names
    label = nib.load(tmp_path / 'out' / 'new.nii.gz')
    np.testing.assert_allclose(label.affine, AFFINE)
    lies_right(np.asarray(label.dataobj) == 1, blobs(7) > 130)


def test_an_image_outside_the_training_range_is_reported(run, tmp_path):
    for name, scale, step in (('inside', 1, 3.0), ('outside', 10, 12.0)):
        nib.save(nib.Nifti1Image(blobs(2) * np.int16(scale), AFFINE * [[1], [1], [step / 3], [1]]),
                 tmp_path / f'{name}.nii')
    assert 'warning' not in predict(run, tmp_path / 'out', f'--input={tmp_path}/inside.nii')
    lines = predict(run, tmp_path / 'out', f'--input={tmp_path}/outside.nii').splitlines()
    assert f'warning: outside the training range: {tmp_path}/outside.nii: voxels of 1×1.5×12 mm' in lines[2]
    assert 'outside.nii: intensities from ' in lines[3] and len(lines) == 4


@pytest.mark.parametrize('order, signs', [((2, 0, 1), (1, -1, -1)), ((1, 2, 0), (-1, 1, 1))])
def test_the_order_of_axes_does_not_matter(run, tmp_path, order, signs):
    plain = Image(blobs(9), AFFINE)
    predict(run, tmp_path, f'--input={_saved(plain, tmp_path / "plain.nii.gz")}')
    reference = image_files.read(tmp_path / 'plain.nii.gz')
    array = blobs(9).transpose(order)[tuple(slice(None, None, s) for s in signs)]
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for axis, (source, sign) in enumerate(zip(order, signs)):
        matrix[source, axis] = sign
        matrix[source, 3] = 0 if sign > 0 else array.shape[axis] - 1
    turned = Image(array, AFFINE @ matrix)
    predict(run, tmp_path / 'out', f'--input={_saved(turned, tmp_path / "turned.nii.gz")}')
    label = image_files.read(tmp_path / 'out' / 'turned.nii.gz')
    np.testing.assert_allclose(label.affine, turned.affine, atol=1e-5)
    assert label.array.shape == array.shape
    back = to_canonical(label)
    np.testing.assert_array_equal(back.array, reference.array)
    np.testing.assert_allclose(back.affine, reference.affine, atol=1e-5)


def _saved(image, path):
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(image.array, image.affine), path.with_name('in_' + path.name))
    target = path.parent / 'in' / path.name
    target.parent.mkdir(exist_ok=True)
    path.with_name('in_' + path.name).rename(target)
    return target


def test_a_dicom_series(run, tmp_path):
    array = blobs(11, (20, 24, 6))
    series = tmp_path / 'scan'
    series.mkdir()
    samples.slices(series, array=array)
    predict(run, tmp_path / 'out', f'--input={series}')
    label, image = image_files.read(tmp_path / 'out' / 'scan.nii.gz'), image_files.read(series)
    assert label.array.shape == image.array.shape
    np.testing.assert_allclose(label.affine, image.affine, atol=1e-4)
    lies_right(label.array == 1, image.array > 130)
    itk = sitk.ReadImage(str(tmp_path / 'out' / 'scan.nii.gz'))  # another reader sees the label where the slices are
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    theirs = reader.Execute()
    for corner in ((0, 0, 0), tuple(n - 1 for n in theirs.GetSize())):
        point = theirs.TransformIndexToPhysicalPoint(corner)
        place = itk.TransformPhysicalPointToContinuousIndex(point)  # a corner of theirs is a corner of ours
        assert all(min(abs(p), abs(p - (n - 1))) < 1e-2 for p, n in zip(place, itk.GetSize()))


def test_dicom_objects_of_a_series(run, tmp_path):
    """The segmentation is the label that is written without --dicom, on an oblique grid."""
    pydicom = pytest.importorskip('pydicom')
    pytest.importorskip('highdicom')
    scans.series(tmp_path / 'scan', blobs(11, (20, 24, 6)))
    (tmp_path / 'codes.json').write_text('{"codes": {"lesion": ["52988006", "SCT", "Lesion"]}}')
    out = predict(run, tmp_path / 'out', f'--input={tmp_path}/scan', '--dicom')
    assert 'warning: no code for lesion: their segments have the generic code Tissue (85756007, SCT)' in out
    names = ['scan_fractional.dcm', 'scan_labelmap.dcm', 'scan_rtstruct.dcm', 'scan_seg.dcm', 'scan_sr.dcm']
    out = predict(run, tmp_path / 'all', f'--input={tmp_path}/scan', '--dicom',
                  f'--dicom_options={tmp_path}/codes.json', '--dicom_objects=sr,fractional,seg,labelmap,rtstruct')
    assert 'no code' not in out and sorted(path.name for path in (tmp_path / 'all').iterdir()) == names
    for path in (tmp_path / 'all').iterdir():
        scans.check(path)
        assert path.stat().st_mode & 0o777 == 0o600  # it has the patient's name
    predict(run, tmp_path / 'nifti', f'--input={tmp_path}/scan')
    label, image = image_files.read(tmp_path / 'nifti' / 'scan.nii.gz'), image_files.read(tmp_path / 'scan')
    segmentation = embedded(image_files.read(tmp_path / 'all' / 'scan_seg.dcm'), image)
    np.testing.assert_array_equal(segmentation.array, label.array)
    assert label.array.any()
    fractional = pydicom.dcmread(tmp_path / 'all' / 'scan_fractional.dcm').pixel_array
    assert (fractional > 127).sum() == label.array.sum()  # of two classes, that above one half is predicted
    first, second = (pydicom.dcmread(tmp_path / name / 'scan_seg.dcm') for name in ('out', 'all'))
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['scan_seg.dcm', 'scan_sr.dcm']
    assert first.PixelData == second.PixelData


@pytest.mark.parametrize('arguments, message', [
    (['--input={tmp}/new.nii', '--dicom'], 'no DICOM image, which --dicom takes its references from'),
    (['--input={tmp}/scan', '--dicom', '--dicom_objects=derived'], "'derived'; expected some of seg, fractional"),
    (['--input={tmp}/scan', '--dicom', '--dicom_objects=sr'], "'sr' without a segmentation"),
    (['--input={tmp}/scan', '--dicom', '--dicom_objects=pdf'], 'objects: pdf; expected different ones of seg'),
    (['--input={tmp}/scan', '--dicom_objects=seg'], 'given without --dicom'),
    (['--input={tmp}/scan', '--dicom', '--dicom_options={tmp}/c.json'], 'codes.lesion: .*expected .value, scheme'),
    (['--input={tmp}/scan', '--dicom', '--dicom_options={tmp}/d.json'], "codes: 'liver' is no class"),
    (['--input={tmp}/cut', '--dicom'], 'cut short')])
def test_dicom_objects_that_are_refused(run, tmp_path, arguments, message):
    pytest.importorskip('highdicom')
    nib.save(nib.Nifti1Image(blobs(7), AFFINE), tmp_path / 'new.nii')
    for name in ('scan', 'cut'):
        scans.series(tmp_path / name, blobs(11, (20, 24, 6)))
    cut = next((tmp_path / 'cut').iterdir())
    cut.write_bytes(cut.read_bytes()[:-100])
    (tmp_path / 'c.json').write_text('{"codes": {"lesion": ["52988006", "SCT"]}}')
    (tmp_path / 'd.json').write_text('{"codes": {"liver": ["10200004", "SCT", "Liver"]}}')
    ended = cli.run('predict', f'--workdir={run}/run', f'--output={tmp_path}/out',
                    *[one.format(tmp=tmp_path) for one in arguments])
    assert ended.code == 2 and re.search(message, ended.err) and ended.err.count('\n') == 1
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('change', [
    dict(qform_code=0, sform_code=0), dict(srow_x=(1.0, 0.5, 0, -11), qform_code=1), dict(xyzt_units=3), {}])
def test_a_label_has_its_images_header(run, tmp_path, change):
    """Codes of 0, a sheared sform beside a good qform, microns: as in the image, and ITK places both alike."""
    image = nib.Nifti1Image(blobs(7), AFFINE)
    image.header.set_qform(AFFINE, 1)
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]))
    for name, value in change.items():
        header[name] = value
    content[:348] = header.binaryblock
    (tmp_path / 'new.nii').write_bytes(content)
    out = predict(run, tmp_path / 'out', f'--input={tmp_path}/new.nii')
    label = nib.Nifti1Header(gzip.decompress((tmp_path / 'out' / 'new.nii.gz').read_bytes())[:348], check=False)
    for name in ('qform_code', 'sform_code', 'pixdim', 'quatern_b', 'qoffset_x', 'srow_x', 'srow_z', 'xyzt_units'):
        np.testing.assert_array_equal(label[name], header[name], err_msg=name)
    itk = [sitk.ReadImage(str(tmp_path / name)) for name in ('new.nii', 'out/new.nii.gz')]
    for place in ('GetOrigin', 'GetSpacing', 'GetDirection', 'GetSize'):
        assert getattr(itk[0], place)() == getattr(itk[1], place)()
    lies_right(np.asarray(nib.load(tmp_path / 'out' / 'new.nii.gz').dataobj) == 1, blobs(7) > 130)
    assert 'lesion' in out


def test_the_folder_of_the_images_is_not_written_to(run, tmp_path):
    nib.save(nib.Nifti1Image(blobs(7), AFFINE), tmp_path / 'new.nii.gz')
    before = (tmp_path / 'new.nii.gz').read_bytes()
    ended = cli.run('predict', f'--workdir={run}/run', f'--output={tmp_path}', f'--input={tmp_path}')
    assert ended.code == 2 and 'new.nii.gz would be overwritten' in ended.err and ended.err.count('\n') == 1
    assert (tmp_path / 'new.nii.gz').read_bytes() == before


def test_inputs_of_dicom(tmp_path):
    paths = samples.slices(tmp_path / 'cd' / 'DICOM' / 'SE0', names=[f'IM{n}' for n in range(4)])
    samples.slices(tmp_path / 'cd' / 'DICOM' / 'SE1', places=[samples.ORIGIN], series='2')
    assert find([str(tmp_path / 'cd')]) == [tmp_path / 'cd' / 'DICOM' / name for name in ('SE0', 'SE1')]
    (tmp_path / 'cd' / 'DICOMDIR').write_bytes(b'')
    assert find([str(tmp_path / 'cd')]) == [tmp_path / 'cd']
    assert find([f'{tmp_path}/cd/series=1', str(paths[0])]) == [tmp_path / 'cd' / 'series=1', paths[0]]


def test_radiographs_of_dicom_are_an_input_each(tmp_path):
    for number in range(3):
        path, = samples.slices(tmp_path, names=[f'IM{number}'], places=[samples.ORIGIN], series=str(number))
        header = pydicom.dcmread(path)
        del header.ImagePositionPatient, header.ImageOrientationPatient
        header.save_as(path)
    assert find([str(tmp_path)]) == [tmp_path / f'IM{number}' for number in range(3)]
    header.NumberOfFrames = 2
    header.save_as(path)
    assert find([str(tmp_path)]) == [tmp_path]
    del header.NumberOfFrames
    header.SeriesInstanceUID = pydicom.dcmread(tmp_path / 'IM0').SeriesInstanceUID
    header.save_as(path)
    assert find([str(tmp_path)]) == [tmp_path]


def test_pictures_get_pictures(run, tmp_path):
    array = np.clip(blobs(5, (30, 26, 1)), 0, 255).astype(np.uint8)
    Picture.fromarray(array[..., 0].T).save(tmp_path / 'slice.png')
    predict(run, tmp_path / 'out', f'--input={tmp_path}/slice.png')
    with Picture.open(tmp_path / 'out' / 'slice.png') as picture:
        label = np.asarray(picture)
    assert label.shape == (26, 30)
    lies_right(label == 1, array[..., 0].T > 130)


def test_postprocessing_by_flag(run, tmp_path):
    speck = np.full((24, 20, 8), 60, np.int16)
    speck[4:12, 4:12, 2:6] = 200
    speck[18:20, 15:17, 4] = 200
    nib.save(nib.Nifti1Image(speck, AFFINE), tmp_path / 'speck.nii')
    predict(run, tmp_path / 'raw', f'--input={tmp_path}/speck.nii')
    predict(run, tmp_path / 'post', f'--input={tmp_path}/speck.nii', '--largest_component', '--fill_holes')
    raw, post = (np.asarray(nib.load(tmp_path / n / 'speck.nii.gz').dataobj) for n in ('raw', 'post'))
    np.testing.assert_array_equal(post, Postprocess(largest_component=True, fill_holes=True)(raw))
    assert raw[18:20, 15:17, 4].any() and not post[15:, 13:].any()


def test_another_spacing_is_restored(run, tmp_path):
    """The network works on 2 mm voxels; the label comes back on the image's own."""
    (tmp_path / 'config.py').write_text(CONFIG.format(cache=str(tmp_path / 'cache'), dir=str(run),
                                                      spacing=(2.0, 2.0, 3.0)))
    ended = cli.run('train', f'--config={tmp_path}/config.py', f'--workdir={tmp_path}/run')
    assert ended.code == 0, ended.err
    predict(tmp_path, tmp_path / 'out', f'--input={run}/images/case0.nii.gz')
    label = nib.load(tmp_path / 'out' / 'case0.nii.gz')
    assert label.shape == (24, 20, 8)
    np.testing.assert_allclose(label.affine, AFFINE)
    lies_right(np.asarray(label.dataobj) == 1, blobs(0) > 130)
