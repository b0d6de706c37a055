"""No command overwrites its inputs, an earlier result of the same call or a run: refused before the first case."""

import os
import pathlib

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medjax import compare, response, restore
from medjax.data.io import image_files
from medjax.data.source import data_dir
from medjax.errors import InputError
from medjax.outputs import check_outputs, input_files
from medjax.predict import find, predict
from medjax.restore import Trained
from medjax.synthesise import synthesise
from medjax.tasks.anomaly.evaluator import AnomalyPredictor
from medjax.tasks.classification.predictor import ClassificationPredictor
from medjax.tasks.detection.predictor import DetectionPredictor
from medjax.tasks.forecasting.evaluator import ForecastPredictor
from medjax.tasks.growth.evaluator import GrowthPredictor
from medjax.tasks.registration.predictor import RegistrationPredictor
from medjax.tasks.regression.evaluator import RegressionPredictor
from medjax.tasks.segmentation.predictor import SegmentationPredictor
from medjax.tasks.signals.predictor import SignalPredictor
from medjax.tasks.survival.evaluator import SurvivalPredictor
from medjax.tasks.translation.evaluator import TranslationPredictor
from medjax.training import train_and_evaluate
from tests.data.sources.test_lesion_visits_csv import boxes, write

TABLES = [ForecastPredictor, GrowthPredictor, RegistrationPredictor, RegressionPredictor, SurvivalPredictor]
IMAGES = [SegmentationPredictor, TranslationPredictor, DetectionPredictor]


@pytest.fixture
def run(tmp_path):
    """A run's folder, as far as a prediction with restored weights reads it."""
    folder = tmp_path / 'run'
    (folder / 'cases').mkdir(parents=True)
    (folder / 'checkpoints').mkdir()
    (folder / 'config.json').write_text('{}')
    for name in ('predictions.csv', 'cases/a.png', 'results.json'):
        (folder / name).write_text('of the run')
    return folder


def stub(kind):
    """A predictor of a family that predicts nothing but says what it would write."""
    def call(self, variables, path, folder):
        raise AssertionError(f'{path} was predicted')

    class Size:
        size = (8, 8)

    made = object.__new__(type(kind.__name__, (kind,), {'__call__': call}))
    if kind is DetectionPredictor:
        object.__setattr__(made, 'preprocess', Size)
    if kind is SegmentationPredictor:
        object.__setattr__(made, 'output_name', image_files.output_name)
    return Trained(made, {}, 1, None, {})


def refused(run, kind, inputs, output, message):
    before = {path: path.read_bytes() for path in output.rglob('*') if path.is_file()} if output.exists() else {}
    with pytest.raises(InputError, match=message):
        predict(run, list(map(str, inputs)), output, lambda line: None, stub(kind))
    assert {path: path.read_bytes() for path in output.rglob('*') if path.is_file()} == before


def picture(path):
    path.parent.mkdir(exist_ok=True)
    Picture.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    return path


@pytest.mark.parametrize('kind', IMAGES)
def test_the_folder_of_the_images_is_no_output(run, tmp_path, kind):
    image = picture(tmp_path / 'in' / 'a.png')
    (tmp_path / 'link').symlink_to(tmp_path / 'in')
    for output in (tmp_path / 'in', tmp_path / 'link', tmp_path / 'in' / '..' / 'in'):
        refused(run, kind, [image], output, 'a.png would be overwritten')
        refused(run, kind, [tmp_path / 'in'], output, 'a.png would be overwritten')


def test_a_video_is_not_replaced_nor_the_table_of_images(run, tmp_path):
    (tmp_path / 'a.mp4').touch()
    refused(run, DetectionPredictor, [tmp_path / 'a.mp4'], tmp_path, 'a.mp4 would be overwritten')
    (tmp_path / 'predictions.mp4').touch()
    refused(run, DetectionPredictor, [tmp_path / 'predictions.mp4'], tmp_path / 'out',
            'same name as that of all inputs, .*predictions.csv')


@pytest.mark.parametrize('linked', [os.link, os.symlink])
def test_a_link_to_an_input_is_not_replaced(run, tmp_path, linked):
    image = picture(tmp_path / 'in' / 'a.png')
    (tmp_path / 'out').mkdir()
    linked(image, tmp_path / 'out' / 'a.png')
    refused(run, SegmentationPredictor, [image], tmp_path / 'out', 'in/a.png would be overwritten by .*out/a.png')
    (tmp_path / 'dicom').mkdir()
    linked(tmp_path / 'run' / 'predictions.csv', tmp_path / 'out' / 'predictions.csv')
    refused(run, ClassificationPredictor, [picture(tmp_path / 'in' / 'b.png')], tmp_path / 'out',
            'run/predictions.csv would be overwritten|among the files of the run')


def test_a_volume_and_its_file_of_voxels_are_inputs(run, tmp_path):
    (tmp_path / 'in').mkdir()
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), tmp_path / 'in' / 'a.nii.gz')
    refused(run, SegmentationPredictor, [tmp_path / 'in'], tmp_path / 'in', 'a.nii.gz would be overwritten')
    header = tmp_path / 'in' / 'b.mhd'
    header.write_text('NDims = 3\nDimSize = 1 1 1\nElementType = MET_UCHAR\nElementDataFile = b.nii.gz\n')
    (tmp_path / 'in' / 'b.nii.gz').write_bytes(b'0')
    refused(run, SegmentationPredictor, [header], tmp_path / 'in', 'b.nii.gz would be overwritten')


@pytest.mark.parametrize('kind', TABLES)
def test_two_tables_need_two_outputs(run, tmp_path, kind):
    (tmp_path / 'i.nii').touch()
    for name in 'ab':
        (tmp_path / f'{name}.csv').write_text('fixed,moving,patient,visit,mask\n'
                                              f'{name}.nii,m{name}.nii,p{name},0,i.nii\n')
    refused(run, kind, [tmp_path / 'a.csv', tmp_path / 'b.csv'], tmp_path / 'out',
            r'b.csv: its result has the same name as that of .*a.csv, .*out/predictions.csv')


@pytest.mark.parametrize('kind', [*TABLES, SignalPredictor])
def test_the_table_itself_is_an_input(run, tmp_path, kind):
    (tmp_path / 'i.nii').touch()
    table = tmp_path / 'predictions.csv'
    table.write_text('fixed,moving,patient,visit,mask\na.nii,m.nii,p,0,i.nii\n')
    refused(run, kind, [table], tmp_path, 'predictions.csv would be overwritten')


def test_the_files_that_a_table_names_are_inputs(run, tmp_path):
    table = tmp_path / 'visits.csv'
    table.write_text('patient,visit,mask\np1,0,p2.nii.gz\np2,0,p2.nii.gz\n')
    (tmp_path / 'p2.nii.gz').touch()
    refused(run, GrowthPredictor, [table], tmp_path, 'p2.nii.gz would be overwritten')
    pairs = tmp_path / 'pairs.csv'
    pairs.write_text('fixed,moving\na.nii,b.nii\nb_to_a_field.nii.gz,b.nii\n')
    (tmp_path / 'b_to_a_field.nii.gz').touch()
    refused(run, RegistrationPredictor, [pairs], tmp_path, 'b_to_a_field.nii.gz would be overwritten')


def test_names_from_a_table_stay_in_the_output_folder(run, tmp_path):
    (tmp_path / 'i.nii').touch()
    (tmp_path / 'visits.csv').write_text('patient,visit,mask\n../p,0,i.nii\n')
    refused(run, GrowthPredictor, [tmp_path / 'visits.csv'], tmp_path / 'out', r"its result would be '../p.nii.gz'")


def test_two_results_of_one_table_have_two_names(run, tmp_path):
    (tmp_path / 'pairs.csv').write_text('fixed,moving\na,b\na_field,b\n')
    refused(run, RegistrationPredictor, [tmp_path / 'pairs.csv'], tmp_path / 'out',
            'same name as that of .*, .*b_to_a_field.nii.gz')


@pytest.mark.parametrize('kind', [SegmentationPredictor, TranslationPredictor, SignalPredictor, DetectionPredictor])
def test_images_of_one_name_need_two_outputs(run, tmp_path, kind):
    images = [picture(tmp_path / folder / 'a.png') for folder in ('one', 'two')]
    refused(run, kind, images, tmp_path / 'out',
            r'two/a.png: its result has the same name as that of .*one/a.png, .*out/a\.\w+')


@pytest.mark.parametrize('kind', [*TABLES, *IMAGES, SignalPredictor, ClassificationPredictor, AnomalyPredictor])
@pytest.mark.parametrize('inner', ['', 'cases', 'checkpoints/12', 'link'])
def test_a_run_is_no_output(run, tmp_path, kind, inner):
    (tmp_path / 'i.nii').touch()
    (run / 'link').symlink_to(run / 'cases')
    image, table = picture(tmp_path / 'in' / 'a.png'), tmp_path / 'a.csv'
    table.write_text('fixed,moving,patient,visit,mask\na.nii,m.nii,p,0,i.nii\n')
    refused(run, kind, [table if kind in TABLES else image], run / inner, 'among the files of the run .*/run;')


def test_the_result_of_several_runs_is_no_output(run, tmp_path):
    """It has no checkpoints, but its own table of predictions."""
    (run / 'checkpoints').rmdir()
    refused(run, ClassificationPredictor, [picture(tmp_path / 'in' / 'a.png')], run, 'among the files of the run')


def test_a_folder_of_its_own_in_the_runs_is_an_output(run, tmp_path):
    image = picture(tmp_path / 'in' / 'a.png')
    with pytest.raises(AssertionError, match='was predicted'):
        predict(run, [str(image)], run / 'new', lambda line: None, stub(SegmentationPredictor))
    (run / 'new').mkdir()
    (run / 'new' / 'a.png').touch()  # an earlier result is replaced
    with pytest.raises(AssertionError, match='was predicted'):
        predict(run, [str(image)], run / 'new', lambda line: None, stub(SegmentationPredictor))


def test_a_run_does_not_replace_its_own_data(tmp_path):
    """A table of patients in the run's folder that has the name of the table of predictions."""
    table = tmp_path / 'predictions.csv'
    table.write_text('time,event,age\n' + ''.join(f'{n + 1},{n % 2},{40 + n}\n' for n in range(20)))
    before = table.read_text()
    config = dict(seed=0, steps=1, batch=8, model=dict(name='mlp', features=(4,), outputs=1),
                  task=dict(name='survival', loss='cox'), optim=dict(name='adam', lr=1e-3),
                  data=dict(name='tabular', source=dict(name='survival_csv', dir=str(tmp_path), table=table.name,
                                                        time='time', event='event', events=('death',))),
                  evaluate=dict(name='survival'))
    with pytest.raises(InputError, match='predictions.csv would be overwritten'):
        train_and_evaluate(config, tmp_path)
    assert table.read_text() == before and list(tmp_path.iterdir()) == [table]


def test_synthesised_images_replace_no_file_of_the_run(run, tmp_path):
    for path in (run / 'augmented.npz', run / 'cases' / 'a.npz'):
        with pytest.raises(InputError, match='among the files of the run'):
            synthesise(run, path, 1)


def test_results_of_several_runs_replace_no_run(run, tmp_path):
    with pytest.raises(InputError, match='the folder of a run'):
        compare.merge([str(run), str(run)], run)
    with pytest.raises(InputError, match='among the files of the run'):
        compare.compare([str(run), str(run)], run / 'cases')
    (tmp_path / 'out').mkdir()
    os.link(run / 'results.json', tmp_path / 'out' / 'results.json')
    with pytest.raises(InputError, match='run/results.json would be overwritten'):
        compare.ensemble([str(run), str(run)], tmp_path / 'out')


def test_treatment_response_replaces_neither_its_table_nor_a_run(run, tmp_path):
    text = 'patient,visit,mask\np1,0,a.nii.gz\np1,8,a.nii.gz\n'
    table = write(tmp_path, text, a=boxes(((4, 4, 2), (24, 6, 3))))
    table = table.rename(tmp_path / 'response.csv')
    with pytest.raises(InputError, match='response.csv would be overwritten'):
        response.evaluate_response(table, tmp_path, log=lambda line: None)
    assert table.read_text() == text
    with pytest.raises(InputError, match='among the files of the run'):
        response.evaluate_response(table, run, log=lambda line: None)


def test_files_of_inputs(tmp_path):
    (tmp_path / 't.csv').write_text('a,b\nx.png, y.png \nmissing.png,3\n' + 'z' * 300 + ',\n')
    for name in 'xy':
        (tmp_path / f'{name}.png').touch()
    assert input_files(tmp_path / 't.csv') == [tmp_path / name for name in ('t.csv', 'x.png', 'y.png')]
    check_outputs([tmp_path / 'new.png'], [tmp_path / 'x.png', tmp_path / 'missing'], '--output')


def test_found_inputs_and_what_is_left_out(tmp_path):
    image, lines = picture(tmp_path / 'in' / 'a.png'), []
    assert find([str(tmp_path / 'in')], say=lines.append) == [image] and not lines
    (tmp_path / 'in' / 'notes.txt').touch()
    (tmp_path / 'in' / 'sub').mkdir()
    (tmp_path / 'in' / 'v.npy').touch()
    assert find([str(tmp_path / 'in')], say=lines.append) == [image]
    assert lines == ['Left out of in, no inputs: 3 (notes.txt, sub/, v.npy).']
    assert find([str(tmp_path / 'in')], ('.npy',), lines.append) == [tmp_path / 'in' / 'v.npy']
    (tmp_path / 'in' / 'IM0').write_bytes(bytes(128) + b'DICM')
    with pytest.raises(InputError, match=r'1 DICOM files \(IM0\) beside other images \(a.png\)'):
        find([str(tmp_path / 'in')])
    (tmp_path / 'in' / 'IM0').unlink()
    (tmp_path / 'in' / 'gone.png').symlink_to('../.git/annex/x')
    with pytest.raises(InputError, match=r'in: 1 link to a file that does not exist \(gone.png\)'):
        find([str(tmp_path / 'in')])


def test_the_file_of_voxels_beside_a_header_is_not_left_out(tmp_path):
    nib.save(nib.Nifti1Pair(np.zeros((3, 3, 3), np.uint8), np.eye(4)), tmp_path / 'a.hdr')
    (tmp_path / 'b.mhd').write_text('NDims = 3\nElementDataFile = other.raw\n')
    (tmp_path / 'other.raw').touch()
    lines = []
    assert find([str(tmp_path)], say=lines.append) == [tmp_path / 'a.hdr', tmp_path / 'b.mhd'] and not lines


@pytest.mark.parametrize('place', ['gs://bucket/run', 's3://bucket/run', 'GS://bucket', 'https://host/folder'])
def test_object_storage_is_no_folder(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    given = pathlib.Path(place)
    for path in (given, given.resolve()):
        with pytest.raises(InputError, match=f"--output={given}: an address that begins with {given.parts[0]}//; "
                                             'expected a local path: mount the bucket'):
            check_outputs([path / 'predictions.csv'], [], f'--output={given}')
    for read in (lambda: restore.load(given), lambda: data_dir(place), lambda: find([place])):
        with pytest.raises(InputError, match=f': an address that begins with {given.parts[0]}//; expected a'):
            read()
    assert not list(tmp_path.iterdir())
