"""MedMNIST's files: their own splits, folds, and what is refused; the real file where it lies."""

import os
import pathlib
import urllib.error

import numpy as np
import pytest

from medjax.data.datasets.images import dataset
from medjax.data.sources import medmnist
from medjax.data.splits import CrossValidation
from medjax.errors import InputError


def write(path, problem, classes, shape=(28, 28), counts=(20, 6, 8), most=None):
    rng, arrays = np.random.default_rng(0), {}
    for split, count in zip(('train', 'val', 'test'), counts):
        arrays[f'{split}_images'] = rng.integers(0, 256, (count, *shape), np.uint8)
        wide = classes if problem == 'multilabel' else 1
        arrays[f'{split}_labels'] = rng.integers(0, 2 if problem == 'multilabel' else most or classes, (count, wide))
    np.savez(path, **arrays)
    return arrays


@pytest.mark.parametrize('name, shape, size', [
    ('pneumoniamnist', (28, 28), (28, 28)), ('pathmnist', (28, 28, 3), (28, 28)),
    ('chestmnist', (28, 28), (28, 28)), ('retinamnist', (28, 28, 3), (28, 28)),
    ('organmnist3d', (28, 28, 28), (28,) * 3)])
def test_sets_of_each_kind(name, shape, size, tmp_path):
    known = medmnist.SETS[name]
    arrays = write(tmp_path / f'{name}.npz', known.problem, len(known.classes), shape)
    found = medmnist.source(set=name, dir=str(tmp_path))
    data = dataset(found, size=size, cache=str(tmp_path / 'cache'))
    assert data.counts == {'train': 20, 'val': 6, 'test': 8} and found.problem == known.problem
    channels = shape[-1:] if shape[-1] == 3 else (1,)
    np.testing.assert_array_equal(data.arrays[20:26], arrays['val_images'].reshape(6, *size, *channels))
    truth = arrays['test_labels'] if known.problem == 'multilabel' else arrays['test_labels'][:, 0]
    np.testing.assert_array_equal(data.targets[26:], truth)


def test_the_positive_class_of_breastmnist_is_malignant(tmp_path):
    arrays = write(tmp_path / 'breastmnist.npz', 'binary', 2)
    found = medmnist.source(set='breastmnist', dir=str(tmp_path))
    assert found.classes[1] == 'malignant'
    assert [c.target for c in found.cases][:20] == (1 - arrays['train_labels'][:, 0]).tolist()


def test_every_set_has_the_sizes_and_classes_of_the_paper():
    assert len(medmnist.SETS) == 18
    for name, known in medmnist.SETS.items():
        assert tuple(known.md5) == ((28, 64) if name.endswith('3d') else (28, 64, 128, 224))
        assert all(len(digest) == 32 and int(digest, 16) >= 0 for digest in known.md5.values())
        assert len(set(known.classes)) == len(known.classes)
    digests = [digest for known in medmnist.SETS.values() for digest in known.md5.values()]
    assert len(set(digests)) == len(digests)


def test_folds_deal_train_and_validation_anew_and_nested_ones_the_test_too(tmp_path):
    write(tmp_path / 'pneumoniamnist.npz', 'binary', 2)
    plain = medmnist.source(set='pneumoniamnist', dir=str(tmp_path))
    fold = [medmnist.source(set='pneumoniamnist', dir=str(tmp_path),
                            cross_validation=CrossValidation(fold=k, folds=2)) for k in range(2)]
    held = [{c.id for c in one.cases if c.split == 'val'} for one in fold]
    assert not held[0] & held[1] and len(held[0] | held[1]) == 26
    assert all({c.id for c in one.cases if c.split == 'test'} == {c.id for c in plain.cases if c.split == 'test'}
               for one in fold)
    ill = [sum(c.target for c in one.cases if c.split == 'val') for one in fold]
    assert abs(ill[0] - ill[1]) <= 1
    outer = [medmnist.source(set='pneumoniamnist', dir=str(tmp_path),
                             cross_validation=CrossValidation(fold=(k, 0), folds=(4, 3))) for k in range(4)]
    tested = [c.id for one in outer for c in one.cases if c.split == 'test']
    assert sorted(tested) == sorted(c.id for c in plain.cases)


@pytest.mark.parametrize('change, message', [
    (dict(set='lungmnist'), 'config.data.source.set'),
    (dict(size=32), r'config.data.source.size: 32; expected one of \(28'),
    (dict(set='octmnist'), 'missing, and cannot be downloaded from https://')])
def test_what_is_not_there(change, message, tmp_path, monkeypatch):
    def no_network(*args, **options):
        raise urllib.error.URLError('no route')
    monkeypatch.setattr('urllib.request.urlopen', no_network)
    monkeypatch.setenv('HOME', str(tmp_path))
    with pytest.raises(InputError, match=message):
        medmnist.source(**{'set': 'pneumoniamnist', 'dir': str(tmp_path), **change})
    assert not list((tmp_path / '.cache').rglob('*.npz*'))


def test_a_download_is_checked_and_kept_whole_or_not_at_all(tmp_path, monkeypatch):
    import io
    write(tmp_path / 'true.npz', 'binary', 2)
    content = (tmp_path / 'true.npz').read_bytes()

    class Answer(io.BytesIO):
        headers = {'Content-Length': str(len(content))}

    monkeypatch.setattr('urllib.request.urlopen', lambda *a, **k: Answer(content))
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('MEDJAX_DATA_DIR', raising=False)
    with pytest.raises(InputError, match="MD5 is [0-9a-f]{32}; expected 28209eda"):
        medmnist.source(set='pneumoniamnist')
    assert not list((tmp_path / '.cache').rglob('*.npz*'))
    import hashlib
    digest = hashlib.md5(content).hexdigest()
    monkeypatch.setitem(medmnist.SETS, 'pneumoniamnist', medmnist.SETS['pneumoniamnist']._replace(md5={28: digest}))
    assert len(medmnist.source(set='pneumoniamnist').cases) == 34


@pytest.mark.parametrize('damage, message', [
    (lambda a: a.pop('val_labels'), 'not readable as a MedMNIST file'),
    (lambda a: a.update(val_labels=a['val_labels'] + 5), r'val_labels \(6, 1\), 5 to 6; expected \[6, 1\], 0 to 1'),
    (lambda a: a.update(test_images=a['test_images'][:3]), '3 test_images; expected as many as test_labels')])
def test_damaged_files(damage, message, tmp_path):
    arrays = write(tmp_path / 'pneumoniamnist.npz', 'binary', 2)
    damage(arrays)
    np.savez(tmp_path / 'pneumoniamnist.npz', **arrays)
    medmnist._load.cache_clear()
    with pytest.raises(InputError, match=message):
        dataset(medmnist.source(set='pneumoniamnist', dir=str(tmp_path)), size=(28, 28), cache=str(tmp_path / 'cache'))


def test_the_real_file_has_the_published_counts_and_intensities(tmp_path):
    folder = pathlib.Path(os.environ.get('MEDJAX_DATA_DIR', '/nowhere'))
    if not (folder / 'pneumoniamnist.npz').is_file():
        pytest.skip('MEDJAX_DATA_DIR has no pneumoniamnist.npz')
    data = dataset(medmnist.source(set='pneumoniamnist'), size=(28, 28), cache=str(tmp_path))
    assert data.counts == {'train': 4708, 'val': 524, 'test': 624}
    np.testing.assert_allclose((*data.training['mean'], *data.training['std']), (0.5719, 0.1684), atol=5e-5)
    assert data.warnings and 'val' in data.warnings[0] and not [line for line in data.warnings if 'test' in line]


def synthetic(path, classes=('normal', 'pneumonia'), labels=(0, 1, 1), shape=(28, 28), kind=np.uint8, **more):
    rng = np.random.default_rng(3)
    arrays = {'train_images': rng.integers(0, 256, (len(labels), *shape)).astype(kind),
              'train_labels': np.array(labels, np.uint8)[:, None], 'classes': np.array(classes, str), **more}
    np.savez(path, **arrays)
    return arrays


def test_synthetic_images_train_beside_a_share_of_the_real_ones_and_never_test(tmp_path):
    write(tmp_path / 'pneumoniamnist.npz', 'binary', 2)
    made = synthetic(tmp_path / 'made.npz', ('pneumonia', 'normal'))  # labels by names, in whatever order
    real = medmnist.source(set='pneumoniamnist', dir=str(tmp_path))
    data = dataset(real, size=(28, 28), cache=str(tmp_path / 'cache'), label_fraction=0.5,
                   extra_npz=str(tmp_path / 'made.npz'))
    assert data.counts == {'train': 10 + 3, 'val': 6, 'test': 8}
    last = data.numbers('train')[-3:]
    assert data.targets[last].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(data.arrays[last][..., 0], made['train_images'])
    assert [data.source.cases[k].patient for k in last] == [f'synthetic{k:06d}' for k in range(3)]
    assert '3 synthetic images of a trained generator (made.npz) beside 10 real ones' in data.notice
    assert len({data.fingerprint, dataset(real, size=(28, 28), cache=str(tmp_path / 'cache')).fingerprint}) == 2


@pytest.mark.parametrize('options, message', [
    (dict(classes=('normal', 'cat')), r'classes normal, cat; expected some of: normal, pneumonia'),
    (dict(labels=(0, 2)), r'expected bytes, and for each image a label from 0 to 1'),
    (dict(labels=()), r'train_images \(0, 28, 28\) uint8'),
    (dict(kind=np.float32), r'float32.*expected bytes'),
    (dict(train_labels=np.zeros(3, np.uint8)), r'train_labels \(3,\) uint8; expected bytes'),
    (dict(train_labels=np.zeros((3, 1))), r'train_labels \(3, 1\) float64; expected bytes'),
])
def test_other_files_are_no_synthetic_images(options, message, tmp_path):
    write(tmp_path / 'pneumoniamnist.npz', 'binary', 2)
    real = medmnist.source(set='pneumoniamnist', dir=str(tmp_path))
    synthetic(tmp_path / 'made.npz', **options)
    with pytest.raises(InputError, match=message):
        medmnist.with_synthetic(real, tmp_path / 'made.npz')
    with pytest.raises(InputError, match=r'config\.data\.extra_npz: .*nothing\.npz: no such file'):
        medmnist.with_synthetic(real, tmp_path / 'nothing.npz')
    with pytest.raises(InputError, match=r'config\.data\.extra_npz: .*train_images, train_labels and classes'):
        medmnist.with_synthetic(real, tmp_path / 'pneumoniamnist.npz')


def test_synthetic_images_drawn_anew_under_the_same_name_are_read_anew(tmp_path):
    write(tmp_path / 'pneumoniamnist.npz', 'binary', 2)
    real = medmnist.source(set='pneumoniamnist', dir=str(tmp_path))
    for image in (np.zeros((3, 28, 28), np.uint8), np.full((3, 28, 28), 9, np.uint8)):
        synthetic(tmp_path / 'made.npz', train_images=image)
        found, _ = medmnist.with_synthetic(real, tmp_path / 'made.npz').cases[-1].read()
        assert (found.array == image[0, 0, 0]).all()
