"""Inspection: geometry and values as the files were written, and one row for what cannot be read."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image as Picture

from medjax.errors import InputError
from medjax.inspect import inspect
from tests import cli
from tests.data import samples


@pytest.fixture
def folder(tmp_path):
    nib.save(nib.Nifti1Image(samples.VOXELS, np.diag([-2.0, 3, 4, 1])), tmp_path / 'a.nii.gz')
    nib.save(nib.Nifti1Image(samples.VOXELS, np.diag([-2.0, 3, 4, 1])), tmp_path / 'b.nii.gz')
    mask = np.zeros(samples.VOXELS.shape, np.uint8)
    mask[1, 1] = 2
    nib.save(nib.Nifti1Image(mask, np.diag([2.0, 3, 4, 1])), tmp_path / 'mask.nii')
    Picture.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / 'c.png')
    (tmp_path / 'bad.nii').write_bytes(b'no image')
    (tmp_path / 'notes.txt').write_text('x')
    (tmp_path / 'cohort.csv').write_text('age,sex\n' + '\n'.join(f'{40 + n},{"fm"[n % 2]}' for n in range(8)))
    (tmp_path / 'scans').mkdir()
    samples.slices(tmp_path / 'scans')
    samples.slices(tmp_path / 'scans', names=[f'x{n}' for n in range(4)], series='2')
    return tmp_path


def test_what_a_folder_holds(folder):
    said = []
    table = inspect([str(folder)], said.append).set_index('path')
    table.index = [str(name).removeprefix(f'{folder}/') for name in table.index]
    row = table.loc['a.nii.gz']
    assert (row['voxels'], row['channels'], row['axes'], row['spacing']) == ('6×5×4', 1, 'LAS', '2 × 3 × 4')
    assert (row['low'], row['high']) == (str(samples.VOXELS.min()), str(samples.VOXELS.max()))
    assert table.loc['b.nii.gz', 'note'] == f'the same voxels as {folder}/a.nii.gz'
    assert table.loc['mask.nii', 'note'] == 'values 0, 2'
    assert list(table.loc['c.png', ['voxels', 'channels', 'spacing']]) == ['4×4', 3, '']
    assert table.loc['bad.nii', 'note'].startswith('cannot be read: ') and 'expected' in table.loc['bad.nii', 'note']
    series = [name for name in table.index if name.startswith('scans/series=')]
    assert len(series) == 2 and all('CT' in table.loc[name, 'kind'] and '4 files' in table.loc[name, 'kind']
                                    for name in series)
    text = '\n'.join(said)
    assert 'notes.txt' in text and '8 rows; numbers: age; categories: sex (f 4, m 4)' in text
    assert '7 images, 1 of them cannot be read' in text and '2 of them have the same voxels as another' in text
    assert '2 different channels: 1 (5), 3 (1)' in text


def test_the_command_writes_a_table(folder):
    ended = cli.run('inspect', str(folder / 'a.nii.gz'), f'--table={folder}/table.csv')
    assert ended.code == 0 and '6×5×4' in ended.out
    assert pd.read_csv(folder / 'table.csv').loc[0, 'axes'] == 'LAS'
    missing = cli.run('inspect', str(folder / 'none'))
    assert missing.code == 2 and 'no such file or folder; expected' in missing.err


def test_a_damaged_file_does_not_hide_the_others(folder):
    (folder / 'scans' / 'cut.dcm').write_bytes((folder / 'scans' / 'x0').read_bytes()[:300])
    table = inspect([str(folder / 'scans')], lambda line: None)
    assert len(table) == 9 and sum(note.startswith('cannot be read') for note in table['note']) == 1


def test_no_path():
    with pytest.raises(InputError, match='no such file or folder'):
        inspect(['/nowhere/a'])
