"""Images of one size with targets: moments, the cache, duplicates, and equal batches from host and device."""

import functools

import jax
import numpy as np
import pytest

from medjax.data import pipeline
from medjax.data.datasets.images import dataset
from medjax.data.io.geometry import Image
from medjax.data.simulated import images
from medjax.data.source import Case, Source
from medjax.data.transforms.images import ImagePreprocess
from medjax.errors import InputError


def case(number, array, split='train', target=0, **more):
    return Case(id=f'c{number}', patient=f'p{number}', split=split, target=target,
                read=functools.partial(lambda a: (Image(a, np.eye(4), f'c{number}'), None), np.asarray(array)), **more)


def picture(rows):
    """A picture as readers give it, columns first, of a list of rows."""
    return np.array(rows, np.uint8).T[:, :, None]


def source(*cases, classes=('no', 'yes'), problem='binary'):
    return Source(cases=cases, classes=classes, problem=problem)


def test_sixteen_bits_and_eight_are_the_same_share(tmp_path):
    grey = picture([[0, 51], [102, 255]])
    data = dataset(source(case(0, grey), case(1, grey.astype(np.uint16) * 257, target=1)), size=(2, 2),
                   intensity={'name': 'unit'}, cache=str(tmp_path))
    assert data.arrays.dtype == np.float32
    np.testing.assert_allclose(data.images([0]), data.images([1]), rtol=1e-6)
    np.testing.assert_allclose(data.images([0])[0, :, :, 0], [[0, 0.2], [0.4, 1]], rtol=1e-6)


def test_training_moments_are_of_the_training_images_alone(tmp_path):
    dark, bright = picture([[0, 51]]), picture([[255, 255]])
    data = dataset(source(case(0, dark), case(1, dark + 51, target=1), case(2, bright, 'test')), size=(1, 2),
                   cache=str(tmp_path))
    np.testing.assert_allclose(data.intensities['mean'], [0.2])
    np.testing.assert_allclose(data.intensities['std'], [np.std([0, 0.2, 0.2, 0.4])])
    assert data.counts == {'train': 2, 'test': 1} and data.statistics['positive'] == [1, 1]


def test_colours_become_grey_and_grey_three(tmp_path):
    colour = np.stack([picture([[30]]), picture([[60]]), picture([[90]])], -1)
    for channels, want in ((1, [60]), (3, [30, 60, 90]), (None, [30, 60, 90])):
        assert ImagePreprocess((1, 1), channels=channels).fit_to_size(Image(colour, np.eye(4))).ravel().tolist() == want
    grey = ImagePreprocess((1, 1), channels=3).fit_to_size(Image(picture([[5]]), np.eye(4)))
    assert grey.ravel().tolist() == [5, 5, 5]
    with pytest.raises(InputError, match='c1: 3 channels, c0 has 1; expected the same'):
        dataset(source(case(0, picture([[5]])), case(1, colour)), size=(1, 1), cache=str(tmp_path))


def test_duplicates_between_splits_and_untrained_classes_have_warnings(tmp_path):
    a, b, c = (picture([[value, 9]]) for value in (1, 2, 3))
    data = dataset(source(case(0, a), case(1, b, target=0), case(2, a, 'test', 1), case(3, c, 'val')), size=(1, 2),
                   cache=str(tmp_path))
    assert data.warnings == [
        'Images of the split train that are in test as well, equal in every pixel: 1 (c0 = c2).',
        'Images of different classes, equal in every pixel: 1 (c0 = c2).',
        'yes: in none of the 2 training cases; in other splits: test 1.']
    assert all(line in data.notice for line in data.warnings)


def test_host_and_device_give_the_same_batches(tmp_path):
    data = dataset(images.source(cases=(10, 2, 2), shape=(6, 5)), size=(6, 5), cache=str(tmp_path))
    options = dict(seed=3, batch=4)
    streamed, placed = pipeline.Streamed(data, **options), pipeline.Placed(data.resident(), len(data), **options)
    arrays = data.resident().load()
    assert sum(array.nbytes for array in arrays.values()) == data.resident().size
    take = jax.jit(placed.taking(None))
    for step in (0, 2, 5):
        want, got = streamed[step], take({**placed[step], 'arrays': arrays}, jax.random.key(0))
        assert sorted(got) == sorted(set(want) - {'id'})
        for name, value in got.items():
            np.testing.assert_array_equal(value, want[name])


def test_a_prepared_set_is_found_again_and_a_changed_one_is_not(tmp_path):
    many = images.source(cases=(4, 2, 2), shape=(6, 6))
    first = dataset(many, size=(6, 6), cache=str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    again = dataset(many, size=(6, 6), cache=str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1 and again.fingerprint == first.fingerprint
    other = dataset(images.source(cases=(4, 2, 2), shape=(6, 6), seed=1), size=(6, 6), cache=str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2 and other.fingerprint != first.fingerprint


@pytest.mark.parametrize('name', ['images.npy', 'shapes.npy', 'affines.npy', 'hashes.txt'])
def test_damaged_prepared_files_are_prepared_again(tmp_path, capsys, name):
    make = functools.partial(dataset, images.source(cases=(4, 2, 2), shape=(6, 6)), size=(6, 6), cache=str(tmp_path))
    first = make()
    pixels = np.array(first.arrays)
    path, = tmp_path.glob(f'*/{name}')
    path.write_bytes(path.read_bytes()[:-1])
    again = make()
    assert f'{name} was changed after it was written; the prepared images' in capsys.readouterr().err
    np.testing.assert_array_equal(again.arrays, pixels)
    assert again.hashes == first.hashes and again.fingerprint == first.fingerprint


@pytest.mark.parametrize('array, options, message', [
    (np.zeros((4, 4, 3), np.uint8), dict(size=(4, 4)), 'c0: 3 slices; expected a 2D image'),
    (np.zeros((4, 4, 1), np.uint8), dict(size=(4, 4, 4)), 'c0: one slice; expected a volume'),
    (np.zeros((4, 4, 1), np.int16), dict(size=(4, 4)), "c0: int16 values; expected 8 or 16 bits"),
    (np.full((4, 4, 1), np.nan, np.float32), dict(size=(4, 4), intensity={'name': 'zscore'}), 'c0: 16 voxels are NaN'),
    (np.zeros((4, 4, 1, 2), np.uint8), dict(size=(4, 4), channels=3), 'c0: 2 channels; expected 1 or 3'),
    (np.zeros((4, 4, 1), np.uint8), dict(size=(4,)), 'config.data.size'),
    (np.zeros((4, 4, 1), np.uint8), dict(size=(4, 4), resize_mode='crop'), 'config.data.resize_mode'),
    (np.zeros((4, 4, 1), np.uint8), dict(size=(4, 4), intensity={'name': 'window'}), 'config.data.intensity')])
def test_mismatches_are_refused(array, options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        dataset(source(case(0, array)), **options, cache=str(tmp_path))
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith('tmp-')]


def test_renamed_files_are_prepared_again(tmp_path):
    dark, bright = picture([[1, 2]]), picture([[8, 9]])
    for number, files in enumerate((('a.png', 'b.png'), ('b.png', 'a.png'))):
        for name in files:
            (tmp_path / name).touch()
        arrays = [dark, bright][::-1 if number else 1]
        pair = [case(i, array, files=(str(tmp_path / name),), target=i) for i, (array, name) in enumerate(
            zip(arrays, files))]
        data = dataset(source(*pair), size=(1, 2), cache=str(tmp_path / 'cache'))
        assert data.arrays[0, 0, :, 0].tolist() == arrays[0][:, 0, 0].tolist()


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr('shutil.disk_usage', lambda folder: type('Usage', (), {'free': 100})())
    with pytest.raises(InputError, match='cannot keep prepared images: .*free some space'):
        dataset(images.source(cases=(4, 2, 2)), size=(28, 28), cache=str(tmp_path))


def test_a_share_of_the_training_patients_of_each_class(tmp_path):
    source = images.source(classes=('well', 'ill'), cases=(40, 4, 4), shape=(4, 4))
    whole, some, again, other = (dataset(source, size=(4, 4), cache=str(tmp_path), **options) for options in (
        {}, dict(label_fraction=0.1), dict(label_fraction=0.1), dict(label_fraction=0.1, subset_seed=1)))
    ids = [{data.source.cases[n].id for n in data.numbers('train')} for data in (whole, some, again, other)]
    assert some.counts == {'train': 4, 'val': 4, 'test': 4}
    assert ids[1] == ids[2] < ids[0] and ids[1] != ids[3]
    assert np.bincount(some.targets[some.numbers('train')]).tolist() == [2, 2]
    with pytest.raises(InputError, match=r'config\.data\.label_fraction: 0; expected a fraction in \(0, 1\]'):
        dataset(source, size=(4, 4), cache=str(tmp_path), label_fraction=0)
    with pytest.raises(InputError, match=r'config\.data\.subset_seed: -1; expected at least 0'):
        dataset(source, size=(4, 4), cache=str(tmp_path), label_fraction=0.5, subset_seed=-1)
