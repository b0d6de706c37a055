"""Damaged snapshots of detection."""

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.report import run_files
from medjax.tasks.detection import snapshot
from medjax.tasks.detection.split import read_split


def test_a_damaged_snapshot_and_a_damaged_table_are_named(tmp_path, deep):
    path = tmp_path / 'a.npz'
    path.write_bytes(b'no')
    with pytest.raises(InputError, match='a.npz: not readable as a snapshot'):
        snapshot.load(path)
    np.savez(path, image=np.zeros((4, 4, 1)), truth=np.zeros((1, 6)), truth_labels=[0], found=np.zeros((0, 4)),
             found_labels=[], scores=[], spacing=[1, 1])
    with pytest.raises(InputError, match=r'a.npz: image \(4, 4, 1\), boxes \(1, 6\) and \(0, 4\)'):
        snapshot.load(path)
    run = run_files.read(deep)
    run.predictions[-1]['found'] = '[[1'
    with pytest.raises(InputError, match=r'predictions.csv: predictions, case test011: found: \[\[1;'):
        read_split(run, 'test')
