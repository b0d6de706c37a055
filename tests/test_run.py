"""Training, loading and predicting from Python: results as objects, arrays and files in, arrays and tables out."""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest
from ml_collections import config_dict
from PIL import Image

import medjax
from medjax import restore
from medjax.data.io import data_paths
from medjax.errors import InputError
from medjax.run import _label
from tests.conftest import ROOT

CONFIG = dict(
    seed=0, steps=2, batch=8, model=dict(name='cnn', variant='cancer', classes=1, features=(4, 4), dense=8),
    task=dict(name='classification'), optim=dict(name='adam', lr=1e-3),
    data=dict(name='images', size=(16, 16), channels=1, intensity=dict(name='unit'),
              source=dict(name='simulated_images', classes=('small', 'large'), cases=(16, 6, 6), shape=(16, 16))),
    evaluate=dict(name='classification', saliency=()))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('face')
    config = config_dict.ConfigDict({**CONFIG, 'data': {**CONFIG['data'], 'cache': str(folder / 'cache')}})
    return medjax.train(config, folder / 'run')


def test_a_trained_run_has_its_results_and_predictions(run):
    file = json.loads((run.path / 'results.json').read_text())
    assert run.results['test']['auroc'] == file['test']['auroc'] and run.config['steps'] == 2
    table = pd.read_csv(run.path / 'predictions.csv')
    pd.testing.assert_frame_equal(run.predictions[['prob_large']], table[['prob_large']])
    assert len(run.predictions) == len(table) and set(run.predictions['split']) == {'val', 'test'}
    assert run.history['step'].tolist()[-1] == 2 and run.report() == run.path / 'report.html'


def test_names_are_text_and_empty_cells_are_missing(tmp_path):
    (tmp_path / 'predictions.csv').write_text('id,patient,site,dice\n007,NA,None,0.5\nb,p,,\n')
    table = medjax.Run(tmp_path).predictions
    assert table['id'].tolist() == ['007', 'b'] and table['patient'].tolist() == ['NA', 'p']
    assert table['site'].fillna('').tolist() == ['None', ''] and table['dice'].isna().tolist() == [False, True]


def test_a_file_and_its_array_are_predicted_alike(run, tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (16, 16), np.uint8)
    Image.fromarray(picture).save(tmp_path / 'a.png')
    loaded = medjax.load(run.path)
    of_file, of_array = loaded.predict(tmp_path / 'a.png'), loaded.predict(picture)
    columns = ['prob_small', 'prob_large']
    np.testing.assert_array_equal(of_file.table[columns].to_numpy(), of_array.table[columns].to_numpy())
    assert of_file.table[columns].to_numpy().sum() == pytest.approx(1)
    assert len(of_file.messages) == 3 and 'outside the training range' in of_file.messages[2]
    assert not list(tmp_path.glob('*.csv')) and not of_array.arrays


def test_several_predictions_restore_the_weights_once(run, monkeypatch):
    calls, restored = [], restore.restore

    def counted(path, **options):
        calls.append(options)
        return restored(path, **options)
    monkeypatch.setattr(restore, 'restore', counted)
    loaded, picture = medjax.load(run.path), np.zeros((16, 16), np.uint8)
    first, second = loaded.predict(picture), loaded.predict(picture)
    pd.testing.assert_frame_equal(first.table[['prob_large']], second.table[['prob_large']])
    assert calls == [{}]
    loaded.predict(picture, dropout_samples=0)
    assert calls == [{}, {'dropout_samples': 0}]  # options make another predictor


@pytest.mark.parametrize('array, spacing, message', [
    (np.zeros((4, 4)), None, 'float64; expected a picture'), (np.zeros((4, 4, 5), np.uint8), None, 'or a volume'),
    (np.zeros((4, 4)), (1, 1, 1), 'expected .X, Y, Z. and three numbers'),
    (np.zeros((4, 4, 4)), (1, 1, 0), 'three numbers of mm above 0')])
def test_an_array_whose_meaning_is_not_known_is_refused(run, array, spacing, message):
    with pytest.raises(InputError, match=message):
        run.predict(array, spacing=spacing)


def test_an_invalid_run_or_config_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'no config\.json there'):
        medjax.load(tmp_path)
    with pytest.raises(InputError, match='no such file; expected a config'):
        medjax.train(tmp_path / 'c.py', tmp_path / 'run')
    (tmp_path / 'c.py').write_text('a = 1\n')
    with pytest.raises(InputError, match='no function get_config'):
        medjax.load_config(tmp_path / 'c.py')


def test_a_config_file_is_loaded_with_its_variant():
    config = medjax.load_config(f'{ROOT}/configs/classify_cancer_cnn.py:smoke')
    assert config.steps == 2 and medjax.load_config(ROOT / 'configs' / 'classify_cancer_cnn.py').epochs == 20


def test_a_predicted_picture_has_rows_first(tmp_path):
    for array in (np.arange(12, dtype=np.uint8).reshape(3, 4), np.arange(36, dtype=np.uint8).reshape(3, 4, 3)):
        Image.fromarray(array).save(tmp_path / 'a.png')
        np.testing.assert_array_equal(_label(tmp_path / 'a.png'), array)


def test_a_table_that_is_an_object_names_files_anywhere(run, tmp_path, monkeypatch):
    """It lies in no folder of the user's; a table in a file names files of its own folder alone."""
    def named(workdir, inputs, output, *_):
        output.mkdir()
        data_paths.inside(pathlib.Path(inputs[0]).parent, '/somewhere/a.nii', 'row 2')
    monkeypatch.setattr('medjax.run.predict', named)
    loaded = medjax.load(run.path)
    loaded.predict(pd.DataFrame({'fixed': ['/somewhere/a.nii']}))
    (tmp_path / 't.csv').touch()
    with pytest.raises(InputError, match='row 2 .* is outside of the folder'):
        loaded.predict(tmp_path / 't.csv')
