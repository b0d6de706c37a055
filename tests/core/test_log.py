"""The log of a run: TensorBoard events, progress and the description of the machine."""

import json
import math
import os
import shutil
import subprocess

import pytest
from tensorboardX.proto import event_pb2

from medjax.core import log, loop
from medjax.errors import InputError
from tests.core import toy


def test_tensorboard_hides_only_repeated_steps(tmp_path):
    # A reader drops events at and after the step at which a session starts.
    loop.train(toy.experiment(steps=4), tmp_path, say=lambda line: None)
    loop.train(toy.experiment(steps=6), tmp_path, say=lambda line: None)
    starts = []
    for path in sorted((tmp_path / 'tensorboard').iterdir()):
        data, place = path.read_bytes(), 0
        while place < len(data):  # TFRecords: length, its checksum, the event, its checksum
            size = int.from_bytes(data[place:place + 8], 'little')
            event = event_pb2.Event.FromString(data[place + 12:place + 12 + size])
            if event.HasField('session_log'):
                starts.append(event.step)
            place += size + 16
    assert sorted(starts) == [1, 5]


def test_lines_of_later_steps_are_removed_on_resume(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text('{"step": 2, "lr": 1.0}\n{"step": 4, "lr": 1.0}\n{"step": 5, "l')
    said = []
    writer = log.Writer(tmp_path, 2, said.append)
    writer.write(3, {'lr': 0.123456789, 'loss': math.inf})
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert lines == [{'step': 2, 'lr': 1.0}, {'step': 3, 'lr': 0.123457, 'loss': None}]
    assert said == [f'warning: {tmp_path}/metrics.jsonl: 1 damaged or incomplete lines, the first is line 3; '
                    'they are left out']


@pytest.mark.parametrize('damage, message', [
    (lambda b: b.replace(b'"step": 2', b'"step"  2'), '1 damaged or incomplete lines, the first is line 1'),
    (lambda b: b.replace(b'{', b'\xff'), '2 damaged or incomplete lines, the first is line 1'),
    (lambda b: b'', 'no steps up to 4')])
def test_damaged_lines_are_counted(tmp_path, damage, message):
    path, said = tmp_path / 'metrics.jsonl', []
    path.write_bytes(damage(b'{"step": 2, "lr": 1.0}\n{"step": 4, "lr": 1.0}\n'))
    log.Writer(tmp_path, 4, said.append).close()
    assert message in ' '.join(said) and str(path) in said[0]


def test_a_folder_that_vanishes_is_named(tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    writer = log.Writer(folder, 0)
    writer.write(1, {'lr': 0.1})
    folder.rename(tmp_path / 'elsewhere')
    with pytest.raises(InputError, match=r'run/metrics\.jsonl: removed while training'):
        writer.write(2, {'lr': 0.1})
    writer.close()
    assert not folder.exists()


def test_a_line_of_progress():
    values = {'train/loss': 0.5, 'train/grad_norm': 2.0, 'train/error': 0.25, 'lr': 0.1, 'images_per_s': 12.34}
    assert log.progress_line(3, 10, values, 65.9) == (
        'step 3/10  loss 0.5000  error 0.250  12.3 images/s  ETA 1:05')
    assert log.progress_line(3, 10, values | {'skipped_steps': 2}, 0).endswith('ETA 0:00  skipped 2')


def test_the_environment_names_versions_and_command():
    found = log.environment()
    assert set(log.PACKAGES) | {'medjax', 'python'} == set(found['versions']) and all(found['versions'].values())
    assert len(found['devices']) == 8 and found['command'].startswith('python -m ')


def test_the_environment_names_the_processor_and_the_cores_that_the_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        found = log.environment()
    finally:
        os.sched_setaffinity(0, allowed)
    assert found['cores'] == 1 and log.environment()['cores'] == len(allowed)
    names = subprocess.run(['lscpu'], capture_output=True, text=True).stdout if shutil.which('lscpu') else ''
    assert found['processor'] and (not names or found['processor'] in names)
