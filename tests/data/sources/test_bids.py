"""BIDS trees: images by suffix and entities, labels of a derivative, and what is refused."""

import json
import sys

import nibabel as nib
import numpy as np
import pytest

from medjax.data.sources import bids
from tests.data.sources.labelled_folders import refused
from tests.data.sources.nnunet_folders import AFFINE, SHAPE, cube, save

OPTIONS = dict(classes=('background', 'organ', 'tumour'), derivative='derivatives/manual')


def tree(root):
    """Two subjects, one with two sessions, T1w and FLAIR, with a label of a derivative each."""
    derived = root / 'derivatives' / 'manual'
    for folder, more in ((root, {}), (derived, {'DatasetType': 'derivative', 'GeneratedBy': [{'Name': 'manual'}]})):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'dataset_description.json').write_text(json.dumps({'Name': 'x', 'BIDSVersion': '1.8.0', **more}))
    (root / 'participants.tsv').write_text('participant_id\tage\tsex\nsub-01\t34\tF\nsub-02\t51\tM\n')
    for number, (subject, session) in enumerate((('01', 'a'), ('01', 'b'), ('02', 'a'))):
        stem = f'sub-{subject}_ses-{session}'
        for channel, suffix in enumerate(('T1w', 'FLAIR')):
            save(root / f'sub-{subject}' / f'ses-{session}' / 'anat' / f'{stem}_{suffix}.nii.gz',
                 np.full(SHAPE, 10 * number + channel, np.float32))
        save(derived / f'sub-{subject}' / f'ses-{session}' / 'anat' / f'{stem}_dseg.nii.gz', cube(number))
    return root


def test_sessions_are_cases_of_their_subject(tmp_path):
    pytest.importorskip('bids', reason='pybids is not installed')
    found = bids.source(dir=str(tree(tmp_path)), suffixes=('T1w', 'FLAIR'), **OPTIONS)
    assert [case.id for case in found.cases] == ['sub-01_ses-a', 'sub-01_ses-b', 'sub-02_ses-a']
    assert [case.patient for case in found.cases] == ['sub-01', 'sub-01', 'sub-02']
    assert dict(found.cases[2].columns) == {'age': '51', 'sex': 'M'} and found.channels == ('T1w', 'FLAIR')
    for number, case in enumerate(found.cases):
        image, label = case.read()
        np.testing.assert_array_equal(image.array[0, 0, 0], [10 * number, 10 * number + 1])
        np.testing.assert_array_equal(label.array, np.asarray(nib.load(case.files[-1]).dataobj))
        np.testing.assert_allclose(image.affine, AFFINE)


def test_what_does_not_fit_is_refused(tmp_path):
    pytest.importorskip('bids', reason='pybids is not installed')
    root = tree(tmp_path)
    refused(lambda: bids.source(dir=str(root), suffixes=('T2w',), **OPTIONS), 'no image with the suffixes T2w')
    refused(lambda: bids.source(dir=str(root), label_suffix='mask', **OPTIONS), "no label 'mask'", '3 of 3')
    refused(lambda: bids.source(dir=str(root), **{**OPTIONS, 'derivative': '..'}), 'derivative', 'outside')
    label = root / 'derivatives' / 'manual' / 'sub-02' / 'ses-a' / 'anat' / 'sub-02_ses-a_dseg.nii.gz'
    content = label.read_bytes()
    label.unlink()
    refused(lambda: bids.source(dir=str(root), **OPTIONS), 'for sub-02 ses-a (1 of 3)')
    label.write_bytes(content)
    second = root / 'sub-01' / 'ses-a' / 'anat' / 'sub-01_ses-a_acq-fast_T1w.nii.gz'
    save(second, np.zeros(SHAPE))
    refused(lambda: bids.source(dir=str(root), **OPTIONS), 'a second file beside', 'config.data.source.entities')
    (root / 'dataset_description.json').unlink()
    refused(lambda: bids.source(dir=str(root), **OPTIONS), 'no dataset_description.json')


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'bids', None)
    monkeypatch.setattr(bids.importlib.util, 'find_spec', lambda name: None)
    refused(lambda: bids.source(dir=str(tree(tmp_path)), **OPTIONS), 'pip install pybids', '[bids]')
