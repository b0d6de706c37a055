"""nnU-Net's raw data sets: what is read, compared with nibabel, and in which line a wrong one is refused."""

import json

import nibabel as nib
import numpy as np
import pytest

from medjax import build
from medjax.data import nnunet_splits
from medjax.data.io import nnunet_dataset
from medjax.data.sources.nnunet import image_reader, input_files, label_encoder, output_name, source
from medjax.data.split_files import write_split
from medjax.data.splits import Splitting
from medjax.predict import find
from tests.data.sources.labelled_folders import refused
from tests.data.sources.nnunet_folders import AFFINE, LABELS, SHAPE, cube, describe, raw, save

BRATS = {'background': 0, 'whole': [1, 2, 3], 'core': [2, 3], 'enhancing': [3]}


def test_channels_and_labels_are_read_as_nibabel_reads_them(tmp_path):
    found = source(dir=str(raw(tmp_path)))
    assert [case.id for case in found.cases] == ['a', 'b', 'c_1']
    assert found.channels == ('T1', 'T2') and found.classes == tuple(LABELS) and not found.regions
    for case in found.cases:
        image, label = case.read()
        for channel in range(2):
            stored = nib.load(tmp_path / 'imagesTr' / f'{case.id}_{channel:04d}.nii.gz')
            np.testing.assert_array_equal(image.array[..., channel], np.asarray(stored.dataobj))
        np.testing.assert_allclose(image.affine, AFFINE)
        mask = nib.load(tmp_path / 'labelsTr' / f'{case.id}.nii.gz')
        np.testing.assert_array_equal(label.array, np.asarray(mask.dataobj))
        assert len(case.files) == 3


def test_test_cases_have_labels_or_are_counted_as_left_out(tmp_path):
    raw(tmp_path)
    for channel in range(2):
        save(tmp_path / 'imagesTs' / f'd_{channel:04d}.nii.gz', np.ones(SHAPE, np.float32))
    assert 'Left out of imagesTs, without labelsTs: 1 cases (d).' in source(dir=str(tmp_path)).warnings
    save(tmp_path / 'labelsTs' / 'd.nii.gz', cube(0))
    found = source(dir=str(tmp_path))
    assert {case.id: case.split for case in found.cases}['d'] == 'test' and len(found.cases) == 4


def test_files_that_dataset_json_lists_may_be_anywhere_within(tmp_path):
    raw(tmp_path)
    rows = {name: {'images': [f'./imagesTr/{name}_{channel:04d}.nii.gz' for channel in range(2)],
                   'label': f'labelsTr/{name}.nii.gz'} for name in ('a', 'b')}
    describe(tmp_path, numTraining=2, dataset=rows)
    assert [case.id for case in source(dir=str(tmp_path)).cases] == ['a', 'b']
    rows['b']['label'] = '../b.nii.gz'
    describe(tmp_path, numTraining=2, dataset=rows)
    refused(lambda: source(dir=str(tmp_path)), 'dataset: b', 'outside')


def test_the_ignore_label_becomes_medjaxs(tmp_path):
    raw(tmp_path, labels={'background': 0, 'organ': 1, 'ignore': 2})
    case = source(dir=str(tmp_path)).cases[0]
    stored = np.asarray(nib.load(tmp_path / 'labelsTr' / 'a.nii.gz').dataobj)
    np.testing.assert_array_equal(case.read()[1].array, np.where(stored == 2, 255, stored))


def test_regions_are_classes_in_the_order_of_dataset_json(tmp_path):
    raw(tmp_path, labels={**BRATS, 'ignore': 4}, regions_class_order=[1, 2, 3])
    label = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint8) % 5
    save(tmp_path / 'labelsTr' / 'a.nii.gz', label)
    found = source(dir=str(tmp_path))
    assert found.classes == ('background', 'whole', 'core', 'enhancing')
    assert found.regions == {'whole': (1, 2, 3), 'core': (2, 3), 'enhancing': (3,)}
    np.testing.assert_array_equal(found.cases[0].read()[1].array, np.where(label == 4, 255, label))


def test_regions_whose_order_is_not_that_of_their_values():
    """KiTS: the kidney's region is written as 1, that of masses as 3 (cysts), that of tumours as 2."""
    labels = {'background': 0, 'kidney': [1, 2, 3], 'masses': [2, 3], 'tumour': [2]}
    code, regions = nnunet_dataset.labels({'labels': labels, 'regions_class_order': [1, 3, 2]}, 'x')
    assert code.label_values == (0, 1, 3, 2) and regions == {'kidney': (1, 2, 3), 'masses': (2, 3), 'tumour': (3,)}
    np.testing.assert_array_equal(code.encode(np.arange(4)), [0, 1, 3, 2])


@pytest.mark.parametrize('fields, parts', [
    (dict(modality={'0': 'MR'}, channel_names=None), ['modality', 'version 1', 'channel_names', 'file_ending']),
    (dict(labels={'0': 'background', '1': 'organ'}), ['labels keyed by number', 'version 1']),
    (dict(labels=None), ['labels: None', 'numTraining']),
    (dict(channel_names={'0': 'T1', '2': 'T2'}), ['channel_names', '0 to 1']),
    (dict(labels={'background': 0, 'organ': 2}), ['consecutive from 0']),
    (dict(labels={'organ': 1, 'background': 0}), ["'background' with the value 0 first"]),
    (dict(labels={'background': 0, 'organ': 1, 'ignore': 1}), ['ignore', 'alone']),
    (dict(labels={'background': 0, 'a': 1, 'b': 1, 'c': 2}), ['of its own']),
    (dict(numTraining=7), ['numTraining: 7', 'expected 3']),
    (dict(file_ending='.nrrd'), ["no file that ends in '.nrrd'"]),
    (dict(labels=BRATS), ['regions_class_order: None', '3 different label values']),
    (dict(labels=BRATS, regions_class_order=[1, 2]), ['regions_class_order: [1, 2]']),
    (dict(labels=BRATS, regions_class_order=[3, 2, 1]), ["3 for 'whole'", "later region 'enhancing'"]),
    (dict(labels=BRATS, regions_class_order=[1, 2, 9]), ["9 for 'enhancing'", 'the region has [3]']),
    (dict(labels={'background': 0, 'a': [1, 3], 'b': [2, 3, 4], 'c': [3, 4]}, regions_class_order=[1, 2, 3]),
     ["only one of them is in 'a'"]),
])
def test_fields_of_dataset_json_that_do_not_fit_are_refused(tmp_path, fields, parts):
    raw(tmp_path, **fields)
    refused(lambda: source(dir=str(tmp_path)), tmp_path, *parts)


def test_files_that_do_not_fit_are_refused(tmp_path):
    raw(tmp_path)
    images, labels = tmp_path / 'imagesTr', tmp_path / 'labelsTr'
    moved = (images / 'b_0001.nii.gz').rename(tmp_path / 'x')
    refused(lambda: source(dir=str(tmp_path)), "'b' has no channel 1 (T2), b_0001", '1 in 1 (b); 2 in 2 (a, c_1)')
    moved.rename(images / 'b_0001.nii.gz')
    save(images / 'b_0002.nii.gz', np.zeros(SHAPE))
    refused(lambda: source(dir=str(tmp_path)), "case 'b' has channel 2", '3 in 1 (b)')
    (images / 'b_0002.nii.gz').rename(images / 'b.nii.gz')
    refused(lambda: source(dir=str(tmp_path)), 'b.nii.gz', 'has no channel')
    (images / 'b.nii.gz').unlink()
    moved = (labels / 'a.nii.gz').rename(tmp_path / 'x')
    refused(lambda: source(dir=str(tmp_path)), "case 'a' has no label", labels / 'a.nii.gz')
    moved.rename(labels / 'z.nii.gz')
    for channel in range(2):
        (images / f'a_{channel:04d}.nii.gz').unlink()
    refused(lambda: source(dir=str(tmp_path)), 'z.nii.gz: a label without images')


def test_what_only_reading_shows_is_refused(tmp_path):
    raw(tmp_path)
    read = {case.id: case.read for case in source(dir=str(tmp_path)).cases}
    moved = AFFINE.copy()
    moved[0, 3] += 1
    save(tmp_path / 'imagesTr' / 'a_0001.nii.gz', np.zeros(SHAPE), moved)
    refused(read['a'], 'a_0001.nii.gz: not on the grid of')
    save(tmp_path / 'labelsTr' / 'b.nii.gz', cube(0) * 3)
    refused(read['b'], 'b.nii.gz: label value 3; expected one of (0, 1, 2)')
    save(tmp_path / 'labelsTr' / 'b.nii.gz', cube(0)[1:])
    refused(read['b'], 'not on the grid of its image')
    image = np.zeros(SHAPE, np.float32)
    image[0, 0, 0] = np.nan
    save(tmp_path / 'imagesTr' / 'c_1_0000.nii.gz', image)
    refused(read['c_1'], '1 voxels are NaN')


def test_splits_final_in_and_out(tmp_path):
    raw(tmp_path / 'data')
    folds = [{'train': ['a', 'b'], 'val': ['c_1']}, {'train': ['b', 'c_1'], 'val': ['a']}]
    path = tmp_path / 'data' / 'splits_final.json'
    path.write_text(json.dumps(folds))
    runs = []
    for fold in range(2):
        found = source(dir=str(tmp_path / 'data'), splits_final=path.name, splitting=Splitting(fold=fold))
        assert {case.id for case in found.cases if case.split == 'val'} == set(folds[fold]['val'])
        runs.append(tmp_path / f'fold{fold}')
        runs[-1].mkdir()
        write_split(runs[-1] / 'splits.json', found.cases)
    assert nnunet_splits.write(tmp_path / 'out.json', runs) == 3
    assert json.loads((tmp_path / 'out.json').read_text()) == folds
    options = dict(dir=str(tmp_path / 'data'), splits_final=path.name)
    refused(lambda: source(**options, splitting=Splitting(fold=2)), 'config.data.fold: 2; expected 0 to 1')
    refused(lambda: source(**options, splitting=Splitting(folds=5)), 'splits_final', 'with folds')
    for text, part in ((json.dumps([{'train': ['a'], 'val': ['b']}]), 'the data set also has c_1'),
                       (json.dumps([{'train': ['a', 'b', 'c_1'], 'val': ['zz']}]), 'zz not in the data set'),
                       (json.dumps([{'train': ['a', 'b', 'c_1'], 'val': ['a']}]), 'a in train and in val'),
                       ('[{"train": 3}]', 'not a file of splits'), ('[', 'damaged')):
        path.write_text(text)
        refused(lambda: source(**options), path, part)


def test_new_cases_are_found_read_and_named_by_their_first_channel(tmp_path):
    raw(tmp_path, labels={**BRATS}, regions_class_order=[1, 2, 3])
    folder = tmp_path / 'imagesTr'
    lines = []
    inputs = build.inputs({'source': {'name': 'nnunet'}})
    found = find([str(folder)], inputs.suffixes, lines.append, inputs.files)
    assert [path.name for path in found] == ['a_0000.nii.gz', 'b_0000.nii.gz', 'c_1_0000.nii.gz'] and not lines
    assert output_name(found[2]) == 'c_1.nii.gz' and len(input_files(found[2])) == 2
    image = image_reader(dir=str(tmp_path))(found[2])
    np.testing.assert_array_equal(image.array[..., 1], nib.load(folder / 'c_1_0001.nii.gz').get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(label_encoder(dir=str(tmp_path))(np.arange(4)), [0, 1, 2, 3])
    (folder / 'a_0001.nii.gz').unlink()
    refused(lambda: image_reader(dir=str(tmp_path))(found[0]), "case 'a' has no channel 1 (T2)")
