"""`predict --dicom` of each family from a trained run to files, which others read; segmentation is in test_predict.

The expected values are those that the run predicts for the same voxels in a NIfTI file, which has no DICOM around it.
"""

import csv
import re

import nibabel as nib
import numpy as np
import pydicom
import pytest
from ml_collections import config_dict
from scipy import ndimage

hd = pytest.importorskip('highdicom')

import medjax  # noqa: E402
from tests import cli  # noqa: E402
from tests.clinic import scans  # noqa: E402
from tests.conftest import without_reports  # noqa: E402

pytestmark = pytest.mark.slow
SHAPE = (16, 14, 8)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MR = dict(SOPClassUID=scans.MR, Modality='MR', KVP=None, RescaleIntercept=None, RescaleSlope=None, RescaleType=None,
          ScanningSequence='SE', SequenceVariant='NONE', ScanOptions='', MRAcquisitionType='2D', EchoTime=10,
          RepetitionTime=500, EchoTrainLength=1, ImageType=['ORIGINAL', 'PRIMARY', 'OTHER'])
ADAM = dict(name='adam', lr=1e-3)


def smooth(seed):
    """An image of soft blobs, with values from 0 to about 800."""
    image = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2)
    return np.rint(400 + 120 * image / image.std()).clip(0, 2000).astype(np.int16)


def nifti(path, array, affine):
    """Writes voxels whose affine is to LPS mm, as DICOM has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, LPS @ affine), path)


def train(folder, config):
    defaults = dict(seed=0, steps=1, batch=8, optim=ADAM)
    with without_reports():
        medjax.train(config_dict.ConfigDict({**defaults, **config}), folder / 'run')


def predict(folder, name, *arguments):
    """The files that `medjax predict` writes for an input, by name."""
    out = folder / f'out{len(list(folder.glob("out*")))}'
    ended = cli.run('predict', f'--workdir={folder}/run', f'--input={folder / name}', f'--output={out}', *arguments)
    assert ended.code == 0, ended.err
    return {path.name: path for path in sorted(out.iterdir())}


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def check(paths, *scanned):
    """Valid files of the study of the first of some folders, which refer to images of these folders alone."""
    known = {one.SOPInstanceUID: one for folder in scanned for one in map(pydicom.dcmread, folder.iterdir())}
    study = pydicom.dcmread(next(scanned[0].iterdir()))
    found, made = set(), {}
    for path in paths:
        scans.check(path)
        data = pydicom.dcmread(path)
        made[data.SOPInstanceUID] = data
        assert (data.PatientID, data.StudyInstanceUID) == (study.PatientID, study.StudyInstanceUID)
        found |= {element.value for element in data.iterall() if element.keyword == 'ReferencedSOPInstanceUID'}
    assert found and found <= {*known, *made}
    return list(made.values()), found & set(known), known


def world(data, corners):
    """Corners `[N, 2]` of a region in columns and rows, in LPS mm; (0, 0) is the corner of the first pixel."""
    along = np.reshape(np.array(data.ImageOrientationPatient, float), (2, 3))
    steps = np.array(data.PixelSpacing, float)[::-1]
    return np.array(data.ImagePositionPatient, float) + ((corners - 0.5) * steps) @ along


def test_classification_gives_a_report_with_the_probabilities(tmp_path):
    train(tmp_path, dict(
        model=dict(name='cnn', variant='cancer', classes=1, features=(4, 4), dense=8),
        task=dict(name='classification'), data=dict(
            name='images', size=(16, 14), channels=1, intensity=dict(name='zscore'),
            source=dict(name='simulated_images', classes=('small', 'large'), cases=(16, 6, 6), shape=(16, 14))),
        evaluate=dict(name='classification', saliency=(), batch=8)))
    image = smooth(1)[:, :, :1]
    nifti(tmp_path / 'image.nii.gz', image, scans.series(tmp_path / 'scan', image))
    expected, = rows(predict(tmp_path, 'image.nii.gz')['predictions.csv'])
    files = predict(tmp_path, 'scan', '--dicom')
    assert list(files) == ['0000_sr.dcm'] or list(files) == ['scan_sr.dcm']
    _, used, known = check(files.values(), tmp_path / 'scan')
    assert used == set(known)
    _, *groups = hd.sr.srread(next(iter(files.values()))).content.get_image_measurement_groups()
    found = {group.finding_type.meaning: group.get_measurements()[0].value for group in groups}
    assert found == {name: pytest.approx(float(expected[f'prob_{name}']), rel=1e-6) for name in ('small', 'large')}
    assert found['small'] not in (0.5, found['large'])


def test_detection_gives_a_report_with_the_boxes_in_the_patient(tmp_path):
    train(tmp_path, dict(
        model=dict(name='retinanet', norm='instance', classes=2, depth=1, dims=3, features=4, extra_levels=0,
                   levels=(0, 1), octaves=1, ratios=(1.0,), scale=2.0,
                   encoder=dict(name='resnet', variant='18', base=4, blocks=(1, 1))),
        task=dict(name='detection', max_detections=5, nms_threshold=0.1, score_threshold=1e-6),
        data=dict(name='detection', size=(16, 16, 16), max_objects=8, intensity=dict(name='zscore'),
                  source=dict(name='simulated_detection', cases=(2, 1, 1), shape=(16, 16, 16))),
        evaluate=dict(name='detection', batch=2, score_threshold=1e-6)))
    affine = scans.series(tmp_path / 'scan', smooth(2))
    nifti(tmp_path / 'image.nii.gz', smooth(2), affine)
    expected = rows(predict(tmp_path, 'image.nii.gz')['predictions.csv'])
    files = predict(tmp_path, 'scan', '--dicom')
    assert list(files) == ['scan_sr.dcm']
    _, _, known = check(files.values(), tmp_path / 'scan')
    groups = hd.sr.srread(files['scan_sr.dcm']).content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(expected) > 1
    for group, row in zip(groups, expected):
        score, = group.get_measurements()
        assert score.value == pytest.approx(float(row['score']), rel=1e-5)
        assert group.finding_type.meaning == row['label']
        low, high = (np.array([float(row[f'{end}_{axis}']) for axis in range(3)]) for end in ('low', 'high'))
        sizes = np.array(SHAPE[:2])
        ends = np.clip([low[:2], high[:2]], 0, sizes)
        heights = []
        for region in group.roi:
            of = known[region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID]
            place = np.linalg.inv(affine) @ [*np.array(of.ImagePositionPatient, float), 1]
            heights.append(round(place[2]))
            corners = world(of, region.value)
            expected_ends = [(affine @ [*(end - 0.5), place[2], 1])[:3] for end in ends]
            for end in expected_ends:  # two corners that are opposite to each other
                assert np.abs(corners - end).max(1).min() < 1e-2
        inside = [z for z in range(SHAPE[2]) if low[2] <= z + 0.5 < high[2]]
        assert sorted(heights) == (inside or [min(max(int((low[2] + high[2]) / 2), 0), SHAPE[2] - 1)])


def test_translation_gives_a_series_on_the_grid_of_its_source(tmp_path):
    train(tmp_path, dict(
        model=dict(name='translation', variant='regression', base=4, levels=2, norm='none', max_channels=8),
        task=dict(name='translation', l1=100.0), data=dict(
            name='translation', patch=(16, 16, 1), spacing=(1.0, 1.0, 4.0),
            source=dict(name='simulated_contrast', spacing=4.0)),
        evaluate=dict(name='translation', batch=4)))
    affine = scans.series(tmp_path / 'scan', smooth(3), **MR)
    nifti(tmp_path / 'image.nii.gz', smooth(3) + 1024, affine)
    expected = nib.load(predict(tmp_path, 'image.nii.gz')['image.nii.gz']).get_fdata()
    files = predict(tmp_path, 'scan', '--dicom')
    assert len(files) == SHAPE[2]
    made, used, known = check(files.values(), tmp_path / 'scan')
    assert used == set(known)
    places = set()
    for data in made:
        of = known[data.SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert data.FrameOfReferenceUID == of.FrameOfReferenceUID and data.PixelSpacing == of.PixelSpacing
        assert data.ImagePositionPatient == of.ImagePositionPatient and data.SOPClassUID == scans.MR
        assert data.ImageOrientationPatient == of.ImageOrientationPatient
        assert float(data.SpacingBetweenSlices) == pytest.approx(scans.STEP)  # the source's own says 2
        place = round((np.linalg.inv(affine) @ [*np.array(data.ImagePositionPatient, float), 1])[2])
        values = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        np.testing.assert_allclose(values.T, expected[:, :, place], atol=2e-4 * np.ptp(expected))
        places.add(place)
    assert len(places) == SHAPE[2] and np.ptp(expected) > 0


@pytest.fixture(scope='module')
def registration(tmp_path_factory):
    """A run that optimises each pair, and a fixed CT and a moving MR series of a later study of the same patient."""
    folder = tmp_path_factory.mktemp('registration')
    fixed = smooth(4)
    moving = np.rint(ndimage.shift(fixed.astype(float), (1.5, -1, 0), order=1, mode='nearest')).astype(np.int16)
    affine = scans.series(folder / 'ct', fixed)
    frame = {'FrameOfReferenceUID': f'{scans.UIDS}.2.98'}
    scans.series(folder / 'mr', moving - 1024, study='2', **MR, **frame)
    scans.series(folder / 'other', moving - 1024, study='3', patient='P8', **MR, **frame)
    for name, array in (('ct', fixed), ('mr', moving)):
        nifti(folder / 'nifti' / f'{name}.nii.gz', array, affine)
    (folder / 'nifti' / 'pairs.csv').write_text('fixed,moving\nct.nii.gz,mr.nii.gz\n')
    (folder / 'pairs.csv').write_text('fixed,moving\nct,mr\n')
    train(folder, dict(
        model=dict(name='registration', variant='instance', dims=3),
        task=dict(name='registration', similarity=dict(name='ncc', window=5), smoothness=0.05,
                  refine=dict(downsampling=(1,), steps=(20,), affine_steps=(0,), lr=0.2)),
        data=dict(name='registration', size=(14, 14, 8), spacing=None, source=dict(
            name='image_pairs_csv', dir=str(folder / 'nifti'), pairs=(
                ('ct.nii.gz', 'mr.nii.gz', 'train'), ('mr.nii.gz', 'ct.nii.gz', 'test')))),
        evaluate=dict(name='registration', affine_baseline=False, ncc_window=5, every=0),
        checkpoint=dict(keep=1)))
    return folder, affine, moving


def test_registration_gives_the_moving_image_on_the_grid_of_the_fixed_one(registration):
    folder, affine, moving = registration
    field = nib.load(predict(folder, 'nifti/pairs.csv')['mr_to_ct_field.nii.gz'])
    # The displacement in mm along the axes of the network's grid, which is in RAS+ and two voxels narrower in x.
    network = np.linalg.inv(LPS @ affine) @ field.affine  # from voxels of that grid to stored ones
    steps = np.linalg.norm(field.affine[:3, :3], axis=0)
    voxels = field.get_fdata() / steps @ network[:3, :3].T
    assert np.abs(voxels).max() > 0.5
    at = np.indices(SHAPE).reshape(3, -1)
    on_network = np.linalg.inv(network)[:3, :3] @ at + np.linalg.inv(network)[:3, 3:]
    shift = np.stack([ndimage.map_coordinates(voxels[..., axis], on_network, order=1, mode='nearest')
                      for axis in range(3)])
    expected = ndimage.map_coordinates(moving.astype(float), at + shift, order=1, mode='nearest').reshape(SHAPE)
    files = predict(folder, 'pairs.csv', '--dicom')
    assert list(files) == [f'mr_to_ct_derived_{number:04}.dcm' for number in range(1, 9)]
    made, used, known = check(files.values(), folder / 'ct', folder / 'mr')
    assert used == set(known)
    slices = {tuple(one.ImagePositionPatient): one for one in known.values() if one.Modality == 'CT'}
    for data in made:
        of = slices.pop(tuple(data.ImagePositionPatient))
        assert data.Modality == 'MR' and data.SOPClassUID == scans.MR and data.EchoTime == 10
        assert data.FrameOfReferenceUID == of.FrameOfReferenceUID == f'{scans.UIDS}.1.99'
        assert data.ImageOrientationPatient == of.ImageOrientationPatient and data.PixelSpacing == of.PixelSpacing
        assert data.ReferencedImageSequence[0].ReferencedSOPInstanceUID == of.SOPInstanceUID
        assert {item.ReferencedSOPInstanceUID for item in data.SourceImageSequence} == {
            uid for uid, one in known.items() if one.Modality == 'MR'}
        other, = data.StudiesContainingOtherReferencedInstancesSequence
        assert other.StudyInstanceUID == f'{scans.UIDS}.2'
        place = round((np.linalg.inv(affine) @ [*np.array(data.ImagePositionPatient, float), 1])[2])
        values = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        np.testing.assert_allclose(values.T, expected[:, :, place], atol=1e-3 * np.ptp(expected))
    assert not slices


@pytest.mark.parametrize('table, message', [
    ('fixed,moving\nct,other\n', r'other: another PatientID \(0010,0020\) than .*ct, or none; expected images of one'),
    ('fixed,moving\nct,nifti/mr.nii.gz\n', r'bad.csv: .*mr.nii.gz: no DICOM image, which --dicom takes its'),
    (None, 'ct: cannot be read: Is a directory; expected a CSV table')])
def test_pairs_that_cannot_be_dicom_are_refused(registration, tmp_path, table, message):
    folder, *_ = registration
    name = 'ct'
    if table:
        name = 'bad.csv'
        (folder / name).write_text(table)
    ended = cli.run('predict', f'--workdir={folder}/run', f'--input={folder / name}', f'--output={tmp_path}/out',
                    '--dicom')
    assert ended.code == 2 and ended.err.count('\n') == 1
    assert re.search(message, ended.err), ended.err
    assert not list(tmp_path.rglob('*.dcm')) and 'P8' not in ended.err
