"""The lung recipe on PNG slices cut from real volumes, with a table that keeps each patient's slices together."""

import csv
import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image as Picture

from medjax.data.io import image_files
from tests import cli
from tests.conftest import ROOT

SMALL = f'''
import runpy

def get_config():
    c = runpy.run_path({str(ROOT / 'configs' / 'segment_lung_unet2d.py')!r})['get_config']()
    c.model.update(base=4, levels=3)
    return c
'''
SPLITS = {'lung1': 'train', 'brain2': 'val', 'breast1': 'test'}


@pytest.mark.slow
@pytest.mark.public_data('tumours')
def test_slices_of_real_volumes_go_from_pictures_to_report(tmp_path):
    rows, tumours = [], pathlib.Path(os.environ['MEDJAX_DATA_DIR']) / 'tumours'
    for kind in ('images', 'masks'):
        (tmp_path / kind).mkdir()
    for patient, split in SPLITS.items():
        image, label = (image_files.read(tumours / f'{patient}_{kind}.nrrd').array for kind in ('image', 'label'))
        low, high = np.percentile(image, (1, 99))
        grey = (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        for z in np.argsort(-label.sum((0, 1)), kind='stable')[:3]:
            name = f'{patient}_{z}.png'
            Picture.fromarray(grey[:, :, z].T).save(tmp_path / 'images' / name)
            Picture.fromarray((label[:, :, z].T > 0).astype(np.uint8) * 255).save(tmp_path / 'masks' / name)
            rows.append(dict(id=f'{patient}_{z}', image=f'images/{name}', label=f'masks/{name}', patient=patient,
                             split=split, modality='CT' if patient == 'lung1' else 'MR'))
    with (tmp_path / 'cases.csv').open('w', newline='') as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    (tmp_path / 'small.py').write_text(SMALL)
    ended = cli.run('train', f'--config={tmp_path}/small.py', f'--workdir={tmp_path}/run',
                    f'--config.data.source.dir={tmp_path}', '--config.data.source.table=cases.csv', '--config.epochs=1',
                    '--config.batch=8', '--config.evaluate.every=1', '--config.data.patch=(64, 64, 1)',
                    '--config.data.spacing=(8.0, 8.0, 1.0)')
    assert ended.code == 0, ended.err
    assert 'cases: train 3  val 3  test 3   1 steps of 8' in ended.out
    results = json.loads((tmp_path / 'run' / 'results.json').read_text())
    assert results['test']['dice_lung']['n'] == 1 and results['test']['dice_lung']['cases'] == 3  # one patient
    predicted = list(csv.DictReader((tmp_path / 'run' / 'predictions.csv').read_text().splitlines()))
    assert {row['modality'] for row in predicted if row['split'] == 'test'} == {'MR'}
