"""MedMNIST's files: their own splits, folds, and what is refused; the real file where it lies."""

import urllib.error

import numpy as np
import pytest

from medjax.data.datasets.images import dataset
from medjax.data.io import medmnist_files
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
    found = medmnist.source(dataset=name, dir=str(tmp_path))
    data = dataset(found, size=size, cache=str(tmp_path / 'cache'))
    assert data.counts == {'train': 20, 'val': 6, 'test': 8} and found.problem == known.problem
    channels = shape[-1:] if shape[-1] == 3 else (1,)
    np.testing.assert_array_equal(data.arrays[20:26], arrays['val_images'].reshape(6, *size, *channels))
    truth = arrays['test_labels'] if known.problem == 'multilabel' else arrays['test_labels'][:, 0]
    np.testing.assert_array_equal(data.targets[26:], truth)


def test_the_positive_class_of_breastmnist_is_malignant(tmp_path):
    arrays = write(tmp_path / 'breastmnist.npz', 'binary', 2)
    found = medmnist.source(dataset='breastmnist', dir=str(tmp_path))
    assert found.analysis_unit == 'image' and 'each image counts as a patient of its own' in found.notice
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


def test_folds_reassign_train_and_validation_and_nested_folds_also_test(tmp_path):
    write(tmp_path / 'pneumoniamnist.npz', 'binary', 2)
    plain = medmnist.source(dataset='pneumoniamnist', dir=str(tmp_path))
    fold = [medmnist.source(dataset='pneumoniamnist', dir=str(tmp_path),
                            cross_validation=CrossValidation(fold=k, folds=2)) for k in range(2)]
    held = [{c.id for c in one.cases if c.split == 'val'} for one in fold]
    assert not held[0] & held[1] and len(held[0] | held[1]) == 26
    assert all({c.id for c in one.cases if c.split == 'test'} == {c.id for c in plain.cases if c.split == 'test'}
               for one in fold)
    ill = [sum(c.target for c in one.cases if c.split == 'val') for one in fold]
    assert abs(ill[0] - ill[1]) <= 1
    outer = [medmnist.source(dataset='pneumoniamnist', dir=str(tmp_path),
                             cross_validation=CrossValidation(fold=(k, 0), folds=(4, 3))) for k in range(4)]
    tested = [c.id for one in outer for c in one.cases if c.split == 'test']
    assert sorted(tested) == sorted(c.id for c in plain.cases)


@pytest.mark.parametrize('change, message', [
    (dict(dataset='lungmnist'), 'config.data.source.dataset'),
    (dict(size=32), r'config.data.source.size: 32; expected one of \(28'),
    (dict(dataset='octmnist'), 'missing, and cannot be downloaded from https://')])
def test_missing_data_is_refused(change, message, tmp_path, monkeypatch):
    def no_network(*args, **options):
        raise urllib.error.URLError('no route')
    monkeypatch.setattr('urllib.request.urlopen', no_network)
    monkeypatch.setenv('HOME', str(tmp_path))
    with pytest.raises(InputError, match=message):
        medmnist.source(**{'dataset': 'pneumoniamnist', 'dir': str(tmp_path), **change})
    assert not list((tmp_path / '.cache').rglob('*.npz*'))


def test_a_download_is_checked_and_stored_atomically(tmp_path, monkeypatch):
    import io
    write(tmp_path / 'true.npz', 'binary', 2)
    content = (tmp_path / 'true.npz').read_bytes()

    class Answer(io.BytesIO):
        headers = {'Content-Length': str(len(content))}

    monkeypatch.setattr('urllib.request.urlopen', lambda *a, **k: Answer(content))
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('MEDJAX_DATA_DIR', raising=False)
    with pytest.raises(InputError, match="MD5 is [0-9a-f]{32}; expected 28209eda"):
        medmnist.source(dataset='pneumoniamnist')
    assert not list((tmp_path / '.cache').rglob('*.npz*'))
    import hashlib
    digest = hashlib.md5(content).hexdigest()
    monkeypatch.setitem(medmnist.SETS, 'pneumoniamnist', medmnist.SETS['pneumoniamnist']._replace(md5={28: digest}))
    assert len(medmnist.source(dataset='pneumoniamnist').cases) == 34


@pytest.mark.parametrize('damage, message', [
    (lambda a: a.pop('val_labels'), 'not readable as a MedMNIST file'),
    (lambda a: a.update(val_labels=a['val_labels'] + 5), r'val_labels \(6, 1\), 5 to 6; expected \[6, 1\], 0 to 1'),
    (lambda a: a.update(test_images=a['test_images'][:3]), '3 test_images; expected as many as test_labels'),
    (lambda a: a.update(train_labels=a['train_labels'].astype(complex)), r'train_labels \(20, 1\) of type complex128'),
    (lambda a: a.update(train_labels=a['train_labels'] * np.nan), r'train_labels \(20, 1\): nan; expected')])
def test_damaged_files(damage, message, tmp_path):
    arrays = write(tmp_path / 'pneumoniamnist.npz', 'binary', 2)
    damage(arrays)
    np.savez(tmp_path / 'pneumoniamnist.npz', **arrays)
    medmnist_files.read_array.cache_clear()
    with pytest.raises(InputError, match=message):
        source = medmnist.source(dataset='pneumoniamnist', dir=str(tmp_path))
        dataset(source, size=(28, 28), cache=str(tmp_path / 'cache'))


@pytest.mark.public_data('pneumoniamnist.npz')
def test_the_real_file_has_the_published_counts_and_intensities(tmp_path):
    data = dataset(medmnist.source(dataset='pneumoniamnist'), size=(28, 28), cache=str(tmp_path))
    assert data.counts == {'train': 4708, 'val': 524, 'test': 624}
    np.testing.assert_allclose((*data.intensities['mean'], *data.intensities['std']), (0.5719, 0.1684), atol=5e-5)
    assert data.warnings and 'val' in data.warnings[0] and not [line for line in data.warnings if 'test' in line]
