"""Bad input from the command line: one clear line, exit code 2, no traceback, nothing half-written."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pytest

from medjax.core import lock
from tests import cli
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures('no_report')
rng = np.random.default_rng(0)
BRAIN = f'--config={ROOT}/configs/segment_brain_unet2d.py:smoke'
CONFIG = '''
from ml_collections import config_dict

def get_config():
    c = config_dict.ConfigDict()
    c.seed, c.steps, c.batch = 0, 2, 8
    c.model = dict(name='unet', variant='nnunet', dims=2, classes=2, base=4, levels=2)
    c.task = dict(name='segmentation', loss=dict(cross_entropy=1.0))
    c.data = dict(name='volumes', patch=(16, 16, 1), cache={cache!r},
                  source=dict(name='segmentation_folder', dir={dir!r}, classes=('background', 'lesion')))
    c.optim = dict(name='adam', lr=1e-3)
    c.evaluate = dict(name='segmentation')
    return c
'''


def fails(ended, *words):
    """The command ended as a user's mistake must, with a line that holds the words."""
    lines = ended.err.strip().splitlines()
    assert ended.code == 2, ended.err
    assert 'Traceback' not in ended.err and len(lines) == 1 and lines[0].startswith('medjax: '), ended.err
    for word in words:
        assert word in lines[0], (word, lines[0])


def write_folder(folder):
    """Five small volumes with labels, and a config that reads them."""
    for kind in ('images', 'labels'):
        (folder / 'data' / kind).mkdir(parents=True)
    for number in range(5):
        image = rng.normal(100, 20, (24, 24, 6)).astype(np.float32)
        label = (image > 110).astype(np.uint8)
        for kind, array in (('images', image), ('labels', label)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / 'data' / kind / f'case{number}.nii.gz')
    (folder / 'config.py').write_text(CONFIG.format(cache=str(folder / 'cache'), dir=str(folder / 'data')))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path)


@pytest.fixture(scope='module')
def first_training(no_report, tmp_path_factory):
    """A folder with a run of two steps, and a copy of it beside it."""
    folder = write_folder(tmp_path_factory.mktemp('trained') / 'folder')
    assert train(folder).code == 0
    shutil.copytree(folder, folder.with_name('copy'))
    return folder


@pytest.fixture
def trained(first_training):
    """The folder as it was after the training, whatever other tests did to it."""
    shutil.rmtree(first_training)
    return pathlib.Path(shutil.copytree(first_training.with_name('copy'), first_training))


def train(folder, *more):
    return cli.run('train', f'--config={folder}/config.py', f'--workdir={folder}/run', *more)


def change(folder, kind, change_array=lambda a: a, affine=None):
    path = folder / 'data' / kind / 'case1.nii.gz'
    image = nib.load(path)
    array = change_array(np.asarray(image.dataobj).copy())
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return str(path)


def test_a_truncated_image(folder):
    path = folder / 'data' / 'images' / 'case1.nii.gz'
    path.write_bytes(path.read_bytes()[:4000])
    fails(train(folder), str(path), 'cut short')
    assert not (folder / 'run').exists()


def test_voxels_that_are_not_numbers(folder):
    def spoil(array):
        array[3, 4, 5] = np.nan
        return array
    path = change(folder, 'images', spoil)
    fails(train(folder), path, '(3, 4, 5)', 'NaN')


def test_labels_outside_the_classes(folder):
    path = change(folder, 'labels', lambda a: a * 3)
    fails(train(folder), path, 'label value 3', '0 to 1')


def test_image_and_label_on_two_grids(folder):
    path = change(folder, 'labels', affine=np.diag([1, 1, 2.5, 1]))
    fails(train(folder), path, '1×1×2.5 mm', '1×1×1 mm')
    path = change(folder, 'labels', lambda a: a[:-1])
    fails(train(folder), path, '23×24×6', '24×24×6')


def test_an_empty_folder(folder):
    shutil.rmtree(folder / 'data' / 'images')
    (folder / 'data' / 'images').mkdir()
    fails(train(folder), str(folder / 'data' / 'images'), 'no image')
    fails(train(folder, f'--config.data.source.dir={folder}/nowhere'), 'nowhere', 'no such folder')


def test_an_empty_label_is_accepted(folder):
    change(folder, 'labels', np.zeros_like)
    ended = train(folder)
    assert ended.code == 0, ended.err
    results = json.loads((folder / 'run' / 'results.json').read_text())
    assert results['test']['dice_lesion']['n'] >= 0 and 'spurious' in results['test']['dice_lesion']


@pytest.mark.parametrize('argument, words', [
    ('--config.optim.lrate=1', ['config.optim.lrate: unknown key', "did you mean 'lr'?"]),
    ('--config.log.evry=1', ['config.log.evry: unknown key', "did you mean 'every'?"]),
    ('--config.epoch=1', ['config.epoch: unknown key', "did you mean 'epochs'?"]),
    ('--config.steps=two', ['steps']),
    ('--config.steps=0', ['config.steps: 0']),
    ('--config.model.name=vnet', ["config.model.name: 'vnet'", 'unet']),
    ('--config.model.variant=huge', ["config.model.variant: 'huge'", 'nnunet']),
    ('--config.data.name=nifti', ["config.data.name: 'nifti'", 'volumes']),
    ('--config.data.patch=(24, 21, 1)', ['config.data.patch: 21', 'multiple of']),
    ('--config.model.classes=5', ['config.model.classes: 5', '2']),
    ('--config.optim.name=lion', ["config.optim.name: 'lion'", 'adamw']),
    ('--config.batch=9', ['config.batch: 9', '8 devices']),
    ('--steps=3', ['steps']),
    ('more', ['more', 'unknown argument']),
])
def test_wrong_keys_and_values_are_named(folder, argument, words):
    fails(train(folder, argument), *words)


@pytest.mark.parametrize('line, words', [
    ("c.optim.warmup = 10", ['config.optim.warmup: unknown key']),
    ("c.learning_rate = 10", ['config.learning_rate: unknown key']),
    ("del c.optim", ['config.optim: this key is missing']),
    ("c.data.source.folds_ = 5", ['config.data.source.folds_: unknown key']),
    ("c.model.norm = 'group'", ["config.model.norm: 'group'", 'instance']),
    ("c.model.activation = 'gelu'", ["config.model.activation: 'gelu'", 'relu']),
    ("del c.model.classes", ['config.model.classes: this key is missing']),
    ("c.task.loss = {}", ['config.task.loss: no term']),
    ("c.data.source.val = 0.0; c.checkpoint = dict(best='dice_mean')", ["config.checkpoint.best", 'train']),
    ("c.model.depth = 5", ['config.model.depth: unknown key']),
    ("c.task.loss = dict(dicee=1.0)", ["config.task.loss: 'dicee' is not known"]),
    ("c.evaluate.tolerance = 2", ['config.evaluate.tolerance: unknown key']),
    ("c.checkpoint = dict(best='dise')", ["config.checkpoint.best: 'dise' is no metric of segmentation", 'dice']),
    ("c.augment = dict(name='nnunet', rot=1)", ['config.augment.rot: unknown key']),
])
def test_keys_of_a_config_are_read_or_refused(folder, line, words):
    text = (folder / 'config.py').read_text().replace('    return c\n', f'    {line}\n    return c\n')
    if 'dise' in line:
        text = text.replace("evaluate = dict(", "evaluate = dict(every=2, ")
    (folder / 'config.py').write_text(text)
    fails(train(folder), *words)


def test_a_workdir_that_cannot_be_written(folder):
    (folder / 'file').write_text('')
    fails(cli.run('train', f'--config={folder}/config.py', f'--workdir={folder}/file/run'), f'{folder}/file/run')
    fails(cli.run('train', f'--config={folder}/nothing.py', f'--workdir={folder}/run'), 'nothing.py')
    fails(cli.run('train', f'--config={folder}/config.py'), 'workdir')


def test_another_runs_folder_is_left_alone(trained):
    before = {p: p.read_bytes() for p in (trained / 'run').rglob('*') if p.is_file()}
    fails(train(trained, '--config.model.base=8'), 'config.model', 'choose another --workdir')
    (trained / 'run' / 'config.json').write_text(
        (trained / 'run' / 'config.json').read_text().replace('"base": 4', '"base": 8'))
    fails(cli.run('evaluate', f'--workdir={trained}/run'), 'checkpoint of another model', 'shape')
    image = trained / 'data' / 'images' / 'case0.nii.gz'
    fails(cli.run('predict', f'--workdir={trained}/run', f'--input={image}', f'--output={trained}/out'),
          'checkpoint of another model')
    assert not (trained / 'out').exists()
    for path, content in before.items():
        assert path.name == 'config.json' or path.read_bytes() == content
    shutil.rmtree(trained / 'run' / 'checkpoints')  # as users do to save space; the results are still there
    fails(train(trained), 'config.model', 'choose another --workdir')
    assert (trained / 'run' / 'results.json').read_bytes() == before[trained / 'run' / 'results.json']


def test_damaged_files_of_a_run_are_named(trained):
    run = trained / 'run'
    for name, damage in (('environment.json', lambda content: b'[]'), ('config.json', lambda content: content[:90]),
                         ('splits.json', lambda content: content.replace(b'"train"', b'"test"', 1))):
        content = (run / name).read_bytes()
        (run / name).write_bytes(damage(content))
        fails(train(trained), str(run / name), 'expected')
        if name == 'config.json':
            fails(cli.run('evaluate', f'--workdir={run}'), str(run / name), 'damaged')
        (run / name).write_bytes(content)
    before = (run / 'config.json').read_text()
    (run / 'config.json').write_text(before.replace('"seed": 0', '"seed": 1'))
    assert f'warning: {run}/config.json: changed since the training' in cli.run('evaluate', f'--workdir={run}').out
    (run / 'config.json').write_text(before)
    image = trained / 'data' / 'images' / 'case0.nii.gz'
    arrays = max((run / 'checkpoints' / '2' / 'state' / 'd').iterdir(), key=lambda path: path.stat().st_size)
    arrays.write_bytes(arrays.read_bytes()[:-100])
    for command, *more in (('evaluate',), ('predict', f'--input={image}', f'--output={trained}/out'), ('train',)):
        ended = cli.run(command, f'--workdir={run}', *more) if command != 'train' else train(trained)
        fails(ended, 'damaged checkpoint', str(run / 'checkpoints' / '2'), 'expected')


def test_two_trainings_in_one_folder(folder):
    (folder / 'run').mkdir()
    with lock.locked(folder / 'run', print):
        fails(train(folder), f'process {os.getpid()} on', 'is training there')
    assert [path.name for path in (folder / 'run').iterdir()] == [lock.NAME]


def test_a_run_is_not_resumed_with_other_data(trained):
    assert train(trained).code == 0  # the same data: it is evaluated again
    for number in range(5):
        path = trained / 'data' / 'images' / f'case{number}.nii.gz'
        nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj) + 1, np.eye(4)), path)
    fails(train(trained), 'config.data', 'have changed', 'data_hash')


def test_results_of_other_splits_and_earlier_parts_stay(trained):
    first = json.loads((trained / 'run' / 'results.json').read_text())
    assert cli.run('evaluate', f'--workdir={trained}/run', '--split=train').code == 0
    both = json.loads((trained / 'run' / 'results.json').read_text())
    assert both['test'] == first['test'] and both['train']['dice_lesion']['n'] == 3
    rows = (trained / 'run' / 'predictions.csv').read_text().splitlines()
    assert len(rows) == 1 + 5 and sum(',case' in row or row.startswith('case') for row in rows) == 5
    assert train(trained).code == 0
    environment = json.loads((trained / 'run' / 'environment.json').read_text())
    assert len(environment['earlier_parts']) == 1 and environment['earlier_parts'][0]['wall_time_s'] > 0


def test_predict_and_evaluate_name_what_is_missing(trained):
    folder = trained
    fails(cli.run('evaluate', f'--workdir={folder}'), 'config.json')
    run, data = f'--workdir={folder}/run', folder / 'data'
    fails(cli.run('evaluate', run, '--split=tests'), '--split=tests', 'test')
    fails(cli.run('predict', run, '--input=/nowhere', f'--output={folder}/out'), '--input=/nowhere')
    (folder / 'empty').mkdir()
    fails(cli.run('predict', run, f'--input={folder}/empty', f'--output={folder}/out'), 'empty folder')
    (folder / 'text.nii.gz').write_text('no image')
    fails(cli.run('predict', run, f'--input={folder}/text.nii.gz', f'--output={folder}/out'), 'text.nii.gz')
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 4, 2), np.float32), np.eye(4)), folder / 'two.nii')
    fails(cli.run('predict', run, f'--input={folder}/two.nii', f'--output={folder}/out'), 'two.nii', 'expected 1')
    same = data / 'images' / 'case0.nii.gz'
    fails(cli.run('predict', run, f'--input={same}', f'--input={same}', f'--output={folder}/out'), 'different names')
    (folder / 'file').write_text('')
    fails(cli.run('predict', run, f'--input={same}', f'--output={folder}/file/out'), 'cannot be written')
    assert not (folder / 'out').exists()


@pytest.fixture
def tiny(tmp_path):
    """A file system of 300 kB."""
    place = tmp_path / 'tiny'
    place.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', str(place)], capture_output=True).returncode:
        pytest.skip('may not mount a tmpfs')
    yield place
    subprocess.run(['umount', str(place)], check=True)


@pytest.mark.parametrize('filled', [0, pytest.param(280_000, marks=pytest.mark.slow)])
def test_a_full_disk_is_reported(folder, tiny, filled):
    """With the folder all but full at once, and with a checkpoint that does not fit."""
    if filled:
        (tiny / 'filling').write_bytes(b'1' * filled)
    base = 4 if filled else 32
    ended = cli.process('train', f'--config={folder}/config.py', f'--workdir={tiny}/run', f'--config.model.base={base}')
    fails(ended, 'no space left', str(tiny))
    whole = [p for p in (tiny / 'run').rglob('*.json') if 'checkpoints' not in p.parts]
    assert all(json.loads(p.read_text()) for p in whole)
    assert not [p for p in (tiny / 'run').rglob('*.part*')]
    assert not [p for p in (tiny / 'run' / 'checkpoints').glob('*') if re.fullmatch(r'\d+', p.name)]


def test_the_cache_of_prepared_cases_may_be_full(folder, tiny):
    (tiny / 'filling').write_bytes(b'1' * 290_000)
    fails(train(folder, f'--config.data.cache={tiny}/cache'), str(tiny), 'No space left')
    assert not list(pathlib.Path(tiny).rglob('image.npy')) and os.listdir(folder / 'data' / 'images')
