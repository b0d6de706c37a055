"""Folders of two contrasts: pairs by name, missing partners, and what is refused."""

import shutil

import numpy as np
import pytest
from PIL import Image as Picture

from medjax.data.datasets.translation import PAIR, dataset
from medjax.data.io import image_files
from medjax.data.sources import translation_folder
from medjax.data.splits import Splitting
from medjax.errors import InputError


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for name in ('p1/a', 'p1/b', 'p2/a', 'p3/a', 'c'):
        for side in ('input', 'target'):
            path = tmp_path / side / f'{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Picture.fromarray(rng.integers(0, 255, (9, 7), np.uint8)).save(path)
    return tmp_path


def test_own_folders_are_paired_by_name(folders):
    found = translation_folder.source(dir=str(folders), names=('CT', 'MR'),
                                      splitting=Splitting(splits={'p1': 'test'}, val=0.4, test=0.0))
    by = {case.id: case for case in found.cases}
    assert list(by) == ['c', 'p1_a', 'p1_b', 'p2_a', 'p3_a'] and found.classes == ('CT', 'MR')
    assert {by[name].patient for name in ('p1_a', 'p1_b')} == {'p1'} and by['p1_a'].split == by['p1_b'].split == 'test'
    read = by['p2_a'].read()
    np.testing.assert_array_equal(read.target.array[:, :, 0].T, Picture.open(folders / 'target/p2/a.png'))
    assert found.analysis_unit == 'patient' and by['c'].target == PAIR and read.image.array.shape == (7, 9, 1)


def test_without_folders_of_patients_images_are_counted(folders):
    for side in ('input', 'target'):
        for name in ('p1', 'p2', 'p3'):
            shutil.rmtree(folders / side / name)
    found = translation_folder.source(dir=str(folders))
    assert found.analysis_unit == 'image' and 'each image counts as a patient of its own' in found.notice


def test_a_missing_partner_is_named_unless_none_is_wanted(folders, tmp_path):
    (folders / 'target' / 'c.png').unlink()
    found = translation_folder.source(dir=str(folders), splitting=Splitting(
        splits={'p1': 'test', 'p2': 'val', 'p3': 'train', 'c': 'train'}))
    assert next(case for case in found.cases if case.id == 'c').target == (1, 0)
    with pytest.raises(InputError, match='c: no target image; expected a partner for every training case'):
        dataset(found, patch=(4, 4, 1), cache=str(tmp_path / 'cache'))
    data = dataset(found, patch=(4, 4, 1), cache=str(tmp_path / 'cache'), paired=False, all_voxels=True)
    assert len(data.image.training) == 2 and len(data.target.training) == 1


def test_bad_folders_are_refused_in_a_line(folders, tmp_path):
    Picture.fromarray(np.zeros((9, 8), np.uint8)).save(folders / 'target' / 'c.png')
    case = next(case for case in translation_folder.source(dir=str(folders)).cases if case.id == 'c')
    with pytest.raises(InputError, match=r'c\.png: not on the grid of its image .*8×9×1 voxels.*expected 7×9×1'):
        case.read()
    image_files.write(folders / 'input' / 'c.nii.gz', np.zeros((2, 2, 2), np.uint8), np.eye(4))
    with pytest.raises(InputError, match=r'c\.png: has the same name as c\.nii\.gz'):
        translation_folder.source(dir=str(folders))
    with pytest.raises(InputError, match=r'nothing: no such folder; expected images in it'):
        translation_folder.source(dir=str(folders), inputs='nothing')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match=r'empty: no image; expected some'):
        translation_folder.source(dir=str(folders), inputs='empty')
    with pytest.raises(InputError, match=r"config\.data\.source\.names: \('a',\); expected the names of two"):
        translation_folder.source(dir=str(folders), names=('a',))


def test_what_is_left_out_is_counted(folders):
    (folders / 'input' / 'p1' / 'notes.txt').write_text('')
    (folders / 'target' / 'p1' / 'old').mkdir()
    assert translation_folder.source(dir=str(folders)).warnings == (
        'Left out of input, not images: 1 (p1/notes.txt).',
        'Left out of target, not images: 1 (p1/old/).')
    for side in ('input', 'target'):
        (folders / side / 'p4.png').symlink_to('gone')
    with pytest.raises(InputError, match=r'input: 1 link to a file that does not exist \(p4\.png\)'):
        translation_folder.source(dir=str(folders))
