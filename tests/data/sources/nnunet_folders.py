"""Small data sets in nnU-Net's raw format, written by nibabel."""

import json
import pathlib
from collections.abc import Sequence

import nibabel as nib
import numpy as np

AFFINE = np.array([[-1.0, 0, 0, 10], [0, 1.5, 0, -5], [0, 0, 3.0, 2], [0, 0, 0, 1]])
SHAPE = (12, 10, 8)
LABELS = {'background': 0, 'organ': 1, 'tumour': 2}


def save(path: pathlib.Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> pathlib.Path:
    """Writes NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def describe(root: pathlib.Path, **fields: object) -> None:
    """Writes `dataset.json`; None leaves a field out."""
    content = {'channel_names': {'0': 'T1', '1': 'T2'}, 'labels': LABELS, 'numTraining': 3, 'file_ending': '.nii.gz',
               **fields}
    content = {name: value for name, value in content.items() if value is not None}
    (root / 'dataset.json').write_text(json.dumps(content))


def cube(number: int, shape: Sequence[int] = SHAPE) -> np.ndarray:
    """A label: an organ, with a tumour within."""
    label = np.zeros(shape, np.uint8)
    label[2:9, 2:8, 1:7] = 1
    label[3 + number % 3:6, 4:6, 2:4] = 2
    return label


def raw(root: pathlib.Path, cases: Sequence[str] = ('a', 'b', 'c_1'), channels: int = 2,
        shape: Sequence[int] = SHAPE, **fields: object) -> pathlib.Path:
    """Writes a data set: channel c of a case is its label times (c + 1), with noise."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(cases):
        label = cube(number, shape)
        save(root / 'labelsTr' / f'{name}.nii.gz', label)
        for channel in range(channels):
            image = (100 * label * (channel + 1) + rng.normal(50, 5, shape)).astype(np.float32)
            save(root / 'imagesTr' / f'{name}_{channel:04d}.nii.gz', image)
    describe(root, **{'numTraining': len(cases),
                      'channel_names': {str(number): f'T{number + 1}' for number in range(channels)}, **fields})
    return root
