"""Trainings on the labels of a data store: by hand with another program, and real ones through the service."""

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest

from medjax.data.io import image_files
from medjax.errors import InputError
from medjax.serve.datastore import Datastore
from medjax.serve.training import BusyError, Training
from tests.serve.conftest import served, volume
from tests.serve.test_monai_label import client, save

CONFIG = {'steps': 7, 'seed': 0, 'model': {'name': 'unet'}, 'data': {'name': 'volumes', 'patch': [8, 8, 1], 'source': {
    'name': 'segmentation_folder', 'dir': 'elsewhere', 'classes': ['background', 'lesion'], 'table': 'cases.csv',
    'label_values': [0, 255], 'splitting': {'val': 0.3, 'test': 0.3}}}}


def labelled(folder, count):
    """A data store of four images, some of which have a final label."""
    (folder / 'images').mkdir(parents=True)
    store = Datastore(folder, image_files.read)
    for number in range(4):
        save(folder / 'images' / f'case{number}.nii.gz', volume(number))
    for number in range(count):
        save(folder.parent / 'label.nii.gz', (volume(number) > 100).astype(np.uint8))
        store.save_label(f'case{number}', '', folder.parent / 'label.nii.gz', (0, 1))
    return store


@pytest.fixture
def training(tmp_path, monkeypatch):
    """Trainings whose program sleeps until it is stopped, or ends with an error at once where there are 3 steps."""
    original = subprocess.Popen

    def sleeping(command, **more):
        assert command[1:3] == ['-m', 'medjax.train']
        steps = json.loads(Path(command[3].removeprefix('--config=')).with_suffix('.json').read_text())['steps']
        code = (f'import sys, time; print("reads {tmp_path}/trained/0001/data", flush=True)\n'
                f'sys.exit(2) if {steps} == 3 else time.sleep(60)')
        return original([sys.executable, '-c', code], **more)
    monkeypatch.setattr(subprocess, 'Popen', sleeping)
    lines = []
    made = Training(tmp_path / 'run', CONFIG, {'background': 0, 'lesion': 255}, labelled(tmp_path / 'store', 2),
                    tmp_path / 'trained', lines.append)
    made.lines = lines
    yield made
    made.stop()


def ended(task, ask, seconds=200):
    """A task after its end."""
    end = time.monotonic() + seconds
    while task['status'] == 'RUNNING':
        assert time.monotonic() < end, task
        time.sleep(.1)
        task = ask()
    return task


def test_one_training_at_a_time_on_the_labels_that_are_there(training, tmp_path):
    task = training.start(steps=5)
    assert task['status'] == 'RUNNING' and task['id'] == '0001' and training.running()['id'] == '0001'
    other = Training(tmp_path / 'run', CONFIG, {'background': 0}, Datastore(tmp_path / 'store', None),
                     tmp_path / 'trained', print)  # a service that was started again after a kill
    for one in (training, other):
        with pytest.raises(BusyError, match='a training is running; expected its end'):
            one.start()
    config = json.loads((tmp_path / 'trained' / '0001' / 'config.json').read_text())
    assert config['init'] == {'name': 'run', 'path': str(tmp_path / 'run')} and config['steps'] == 5
    assert config['data'] == {**CONFIG['data'], 'source': {
        'name': 'segmentation_folder', 'dir': str(tmp_path / 'trained' / '0001' / 'data'), 'label_values': [0, 255],
        'classes': ['background', 'lesion'], 'splitting': {'val': 0.3, 'test': 0.3}}}
    found = sorted(str(path.relative_to(tmp_path / 'trained' / '0001')) for path in (
        tmp_path / 'trained' / '0001' / 'data').rglob('*.gz'))
    assert found == [f'data/{kind}/case{number}.nii.gz' for kind in ('images', 'labels') for number in (0, 1)]
    before = np.asarray(nib.load(tmp_path / 'trained/0001/data/labels/case0.nii.gz').dataobj)
    save(tmp_path / 'label.nii.gz', np.ones((20, 18, 3), np.uint8))
    Datastore(tmp_path / 'store', image_files.read).save_label('case0', '', tmp_path / 'label.nii.gz', (0, 1))
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / 'trained/0001/data/labels/case0.nii.gz').dataobj),
                                  before)  # the data of a training stays as it was
    while not training.running()['details']:
        time.sleep(.02)
    assert training.stats() == {'epoch': 0, 'total_epochs': 5}
    stopped = training.stop()
    assert stopped['status'] == 'STOPPED' and stopped['end_ts'] and stopped['details'] == ['reads data']
    assert training.stop() is None and training.running() is None
    failed = ended(training.start('scratch', 3), lambda: training.tasks()[-1])
    assert failed['status'] == 'ERROR' and failed['id'] == '0002' and len(training.tasks()) == 2
    assert 'init' not in json.loads((tmp_path / 'trained' / '0002' / 'config.json').read_text())
    assert 'exit code 2' in training.lines[-1] and (tmp_path / 'trained').stat().st_mode & 0o777 == 0o700


def test_options_that_are_refused(training, tmp_path):
    for options, message in ((dict(start='x'), "start: 'x'; expected one of: run, scratch"),
                             (dict(steps=0), 'steps: 0; expected a whole number above 0'),
                             (dict(steps='9'), "steps: '9'; expected a whole"), (dict(steps=True), 'steps: True')):
        with pytest.raises(InputError, match=message):
            training.start(**options)
    empty = Training(tmp_path / 'run', CONFIG, {}, labelled(tmp_path / 'empty', 0), tmp_path / 'other', print)
    with pytest.raises(InputError, match='no image of the data store has a final label'):
        empty.start()
    with pytest.raises(InputError, match='--train_folder=.*/store/in: within .*/store; expected another place'):
        Training(tmp_path / 'run', CONFIG, {}, Datastore(tmp_path / 'store', None), tmp_path / 'store' / 'in', print)
    assert not [path for path in tmp_path.glob('*/00*')]


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')  # of MONAI Label's client: the module cgi, files that stay open
def test_the_client_of_the_slicer_plugin_trains_and_the_service_stays_as_it_is(segmenter, tmp_path):
    labelled(tmp_path / 'store', 4)
    with served('serve', f'--workdir={segmenter}', f'--tmp={tmp_path / "own"}', f'--datastore={tmp_path / "store"}',
                f'--train_folder={tmp_path / "trained"}') as service:
        module = client()
        plugin = module.MONAILabelClient(service.url, str(tmp_path), 'an id')
        card, image = httpx.get(f'{service.url}/model').json(), tmp_path / 'store' / 'images' / 'case0.nii.gz'
        labels = [httpx.post(f'{service.url}/predict', files={'f': image.open('rb')}, timeout=60).content]
        assert plugin.info()['trainers']['unet']['config'] == {'start': ['run', 'scratch'], 'steps': 8}
        task = plugin.train_start('unet', {'start': 'run', 'steps': 3})
        assert task['status'] == 'RUNNING' and plugin.train_status(check_if_running=True)
        with pytest.raises(module.MONAILabelClientException, match='429'):
            plugin.train_start('unet', {})
        task = ended(task, plugin.train_status)
        assert task['status'] == 'DONE', task
        assert 'start it with --workdir=0001/run in the folder' in task['details'][-1]
        assert str(tmp_path) not in json.dumps(task) and not plugin.train_status(check_if_running=True)
        run = tmp_path / 'trained' / '0001' / 'run'
        results, config = (json.loads((run / name).read_text()) for name in ('results.json', 'config.json'))
        assert 'dice_lesion' in results['test'] and config['init']['path'] == str(segmenter) and config['steps'] == 3
        assert plugin.info()['train_stats']['unet']['epoch'] == 3
        assert httpx.get(f'{service.url}/model').json() == card
        labels.append(httpx.post(f'{service.url}/predict', files={'f': image.open('rb')}, timeout=60).content)
        assert labels[0] == labels[1]
        task = httpx.post(f'{service.url}/train/', json={'unet': {'steps': 10**8}}).json()['unet']['result']
        stopped = plugin.train_stop()
        assert stopped['id'] == task['id'] == '0002' and stopped['status'] == 'STOPPED'
        assert httpx.post(f'{service.url}/train/other', json={}).status_code == 404
        assert httpx.post(f'{service.url}/train/unet', json={'steps': -1}).status_code == 422
        assert not [line for line in service.lines if 'case' in line]
        assert f'python -m medjax.serve --workdir={run}' in ''.join(service.lines)
    with served('serve', f'--workdir={run}', f'--tmp={tmp_path / "own"}') as service:
        assert httpx.get(f'{service.url}/model').json()['step'] == 3
