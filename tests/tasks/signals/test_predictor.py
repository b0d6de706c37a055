"""Beats of a new recording."""

import csv
import importlib.resources
import pathlib
import shutil

import pytest

from medjax.predict import find
from medjax.tasks.signals import evaluator
from tests.tasks.signals.recordings import KNOWS


def test_beats_of_a_new_recording(tmp_path):
    """The network says beat where the first of pydicom's twelve leads is high, which an R peak is."""
    path = pathlib.Path(str(importlib.resources.files('pydicom'))) / 'data/test_files/waveform_ecg.dcm'
    predict = evaluator.predictor(task=KNOWS, statistics={'rate': 125.0, 'leads': 12}, data={'window': 256})
    assert predict.example()['image'].shape == (1, 256, 12)
    line = predict(0.7, path, tmp_path)
    with (tmp_path / 'waveform_ecg.csv').open() as file:
        rows = list(csv.DictReader(file))
    times = [float(row['seconds']) for row in rows]
    assert 5 < len(rows) < 20 and f'{len(rows)} beats' in line and 'per minute' in line
    assert rows[0]['interval_ms'] == ''
    assert float(rows[1]['interval_ms']) == pytest.approx(1000 * (times[1] - times[0]))
    assert all(float(row['probability']) == 1 for row in rows)
    (tmp_path / 'new').mkdir()
    shutil.copy(path, tmp_path / 'new' / 'ecg.DCM')
    assert find([str(tmp_path / 'new')], predict.suffixes) == [tmp_path / 'new' / 'ecg.DCM']
    predict(99.0, path, tmp_path)
    assert [row['beat'] for row in csv.DictReader((tmp_path / 'waveform_ecg.csv').read_text().splitlines())] == ['']
