"""Planning a config from a data set, and training and predicting with it."""

import nibabel as nib
import numpy as np
import pytest

from medjax import assemble, build, compare, restore, training
from medjax.plan.__main__ import plan
from medjax.run import load_config
from tests.cli import process, run
from tests.data.sources.labelled_folders import refused
from tests.data.sources.nnunet_folders import AFFINE, SHAPE, raw

REGIONS = {'background': 0, 'whole': [1, 2], 'core': [2]}


def test_a_planned_config_is_whole_for_each_variant(tmp_path):
    folder = raw(tmp_path / 'data', cases='abcdef', channel_names={'0': 'CT', '1': 'MR'}, labels=REGIONS,
                 regions_class_order=[1, 2])
    output = tmp_path / 'mine.py'
    plans = plan(folder, output, 8.0, 'resenc_m', 'feature_maps', 'the command', lambda _: None)
    assert [one.name for one in plans] == ['3d_fullres', '2d']
    text = output.read_text()
    assert 'the command' in text and text.count('        # ') >= 6 and max(map(len, text.splitlines())) <= 120
    for variant, patch, batch in (('3d_fullres', (12, 10, 8), 6), ('2d', (12, 10, 1), 48)):  # all voxels of 6 cases
        config = load_config(f'{output}:{variant}').to_dict()
        assemble.check_keys(config)
        assert config['data']['patch'] == patch and config['data']['spacing'] == (1.0, 1.5, 3.0)
        assert config['model']['classes'] == 2 and config['batch'] == batch and config['data']['folds'] == 5
        assert [scheme['name'] for scheme in config['data']['intensity']['schemes']] == ['percentile', 'zscore']
        assert build.network(config['model'], 'float32').residual
    data = build.dataset({**config['data'], 'cache': str(tmp_path / 'cache')})
    assert data.statistics['regions'] == {'whole': [1, 2], 'core': [2]}
    volume = data.training[0]
    label = np.asarray(volume.label)
    found = [data.case_values[f'Volume of {name} (ml)'][data.prepared.index(volume)] for name in ('whole', 'core')]
    np.testing.assert_allclose(found, [(label > 0).sum() * 4.5e-3, (label > 1).sum() * 4.5e-3])
    image = np.asarray(volume.image, np.float64)
    ours, known = data.normalise(volume, np.asarray(volume.image)), data.intensities
    expected = (np.clip(image[..., 0], known['low'][0], known['high'][0]) - known['mean'][0]) / known['std'][0]
    np.testing.assert_allclose(ours[..., 0], expected, rtol=1e-4, atol=1e-4)
    inside = image[..., 1][image[..., 1] > image[..., 1].min()]
    np.testing.assert_allclose(ours[..., 1], (image[..., 1] - inside.mean()) / inside.std(), rtol=1e-3, atol=1e-3)


def planned_cascade(tmp_path):
    """A config with a cascade: large images, and memory for small patches alone."""
    folder, output = raw(tmp_path / 'data', cases='abcde', shape=(64, 56, 48)), tmp_path / 'mine.py'
    plans = plan(folder, output, 0.05, 'plain', 'feature_maps', 'the command', lambda _: None)
    assert [one.name for one in plans] == ['3d_fullres', '3d_lowres', '2d']
    return folder, output


def test_a_cascade_is_planned_where_patches_are_small(tmp_path):
    _, output = planned_cascade(tmp_path)
    full, second = (load_config(f'{output}:{name}').to_dict() for name in ('3d_fullres', '3d_cascade_fullres'))
    assemble.check_keys(second)
    assert second['data'].pop('previous') == 'runs/first_stage' and second['augment'].pop('label_channels') == 2
    assert second == full and 'evaluate --ensemble --labels' in output.read_text()


@pytest.mark.slow
def test_both_stages_are_planned_trained_and_predicted(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)
    folder, config = planned_cascade(tmp_path)
    runs = [tmp_path / name for name in ('low0', 'low1', 'second')]
    for variant, fold, folder_of_run in zip(('3d_lowres', '3d_lowres', '3d_cascade_fullres'), (0, 1, 0), runs):
        if folder_of_run.name == 'second':
            compare.ensemble(list(map(str, runs[:2])), tmp_path / 'runs' / 'first_stage', labels=True)
        made = load_config(f'{config}:{variant}')
        made.update(steps=2, batch=8)
        made.model.features = (4,) * len(made.model.features)
        made.data.update(folds=2, fold=fold, cache=str(tmp_path / 'cache'))
        made.data.source.test = 0.2
        made.evaluate.flips = ()
        training.train_and_evaluate(made.to_dict(), folder_of_run)
    image = next((folder / 'imagesTr').glob('*_0000.nii.gz'))
    ended = run('predict', f'--workdir={runs[2]}', f'--input={image}', f'--output={tmp_path / "out"}')
    assert ended.code == 0, ended.err
    label, = (tmp_path / 'out').iterdir()
    assert nib.load(label).shape == nib.load(image).shape and set(np.unique(nib.load(label).dataobj)) <= {0, 1, 2}
    second = restore.restore(runs[2])
    assert second.predictor.example()['image'].shape[-1] == 2 + 2  # two channels, and two classes of the first stage


def test_what_cannot_be_planned_is_refused(tmp_path):
    refused(lambda: plan(tmp_path, tmp_path / 'x.py'), 'no dataset.json')
    folder = raw(tmp_path / 'data')
    (tmp_path / 'old.py').write_text('')
    refused(lambda: plan(folder, tmp_path / 'old.py'), 'old.py: exists')
    refused(lambda: plan(folder, tmp_path / 'x.txt'), 'no .py file')
    refused(lambda: plan(folder, tmp_path / 'x.py', -1.0), '--memory_gb=-1.0')


@pytest.mark.slow
def test_a_raw_folder_is_planned_trained_and_predicted_without_a_config_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    folder, config = raw(tmp_path / 'data'), tmp_path / 'mine.py'
    ended = process('plan', f'--data={folder}', f'--output={config}', '--memory_gb=2')
    assert ended.code == 0, ended.err
    assert 'a step of 2 patches of 8×10×12 takes' in ended.out and str(config) in ended.out
    ended = process('train', f'--config={config}', f'--workdir={tmp_path / "run"}', '--config.steps=2')
    assert ended.code == 0, ended.err
    ended = process('predict', f'--workdir={tmp_path / "run"}', f'--input={folder / "imagesTr"}',
                f'--output={tmp_path / "out"}')
    assert ended.code == 0, ended.err
    label = nib.load(tmp_path / 'out' / 'c_1.nii.gz')
    assert label.shape == SHAPE and set(np.unique(label.dataobj)) <= {0, 1, 2}
    np.testing.assert_allclose(label.affine, AFFINE)
    assert assemble.experiment(load_config(str(config)).to_dict()).data.counts
