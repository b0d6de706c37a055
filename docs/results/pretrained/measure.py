"""Measures `predict --pretrained=meshnet_gwm`: time, class counts on the published T1 volume, Dice on MNI152's T1.

    MEDJAX_DATA_DIR=DIR python docs/results/pretrained/measure.py

The reference of MNI152 is its own maps of grey and white matter, where they are above one half.
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import nibabel as nib
import numpy as np
from nilearn import datasets

from medjax.machine import processor

HERE = pathlib.Path(__file__).parent


def labels(image: pathlib.Path, folder: pathlib.Path) -> tuple[np.ndarray, float]:
    """The labels of an image, and the seconds of the whole command."""
    began = time.monotonic()
    subprocess.run([sys.executable, '-m', 'medjax.predict', '--pretrained=meshnet_gwm', f'--input={image}',
                    f'--output={folder}'], check=True)
    return np.asarray(nib.load(folder / image.name).dataobj), time.monotonic() - began


def main() -> None:
    """Writes meshnet_gwm.json."""
    source = pathlib.Path(os.environ['MEDJAX_DATA_DIR']) / 'brainchop' / 't1_crop.nii.gz'
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        found, seconds = labels(source, folder / 'out')
        template = folder / 'mni152.nii.gz'
        nib.save(datasets.load_mni152_template(resolution=1), template)
        brain, _ = labels(template, folder / 'out')
    dice = {}
    for number, (tissue, load) in enumerate((('white', datasets.load_mni152_wm_template),
                                             ('grey', datasets.load_mni152_gm_template)), 1):
        truth, predicted = np.asarray(load(resolution=1).dataobj) > 0.5, brain == number
        dice[tissue] = round(2 * float((truth & predicted).sum()) / float(truth.sum() + predicted.sum()), 4)
    commit = subprocess.run(['git', 'rev-parse', 'HEAD'], capture_output=True, text=True, check=True, cwd=HERE).stdout
    content = {'date': datetime.date.today().isoformat(), 'commit': commit.strip(), 'hardware': processor(),
               'seconds': round(seconds, 1), 'counts': np.bincount(found.ravel()).tolist(), 'dice_mni152': dice}
    (HERE / 'meshnet_gwm.json').write_text(json.dumps(content, indent=1) + '\n')
    print(json.dumps(content))


if __name__ == '__main__':
    main()
