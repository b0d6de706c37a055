"""Patches are cut by index maths from mapped files, where and as often as they should."""

import dataclasses
import functools
import os
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.data import pipeline
from medjax.data.datasets import prepared_volumes
from medjax.data.datasets.volumes import dataset
from medjax.data.io.geometry import Image
from medjax.data.source import Case, Source
from medjax.errors import InputError
from medjax.ops.sliding_windows import SlidingWindowInference

SPACING = (1.0, 1.5, 2.0)


def read(shape, seed, channels):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(*shape, channels)).astype(np.float32)
    label = np.zeros(shape, np.uint8)
    label[2:4, 3:6, 1:3] = 1
    label[-3, 5, 3] = 2
    image[..., 0] += 10 * label
    image[0, 0, 0] = -9  # the minimum, so that the crop keeps all other voxels
    affine = np.diag([*SPACING, 1.0])
    return Image(image if channels > 1 else image[..., 0], affine, 'image'), Image(label, affine, 'label')


def source(shapes=((10, 12, 6), (14, 8, 6), (9, 9, 5)), splits=('train', 'train', 'val'), channels=1):
    cases = tuple(Case(id=f'c{n}', patient=f'p{n}', split=split, read=functools.partial(read, shape, n, channels))
                  for n, (shape, split) in enumerate(zip(shapes, splits)))
    return Source(cases=cases, classes=('background', 'organ', 'lesion'))


@pytest.fixture
def make(tmp_path):
    return functools.partial(dataset, cache=str(tmp_path), crop=False)


def test_items_are_the_volumes_voxels(make):
    data = make(source(), patch=(4, 4, 2), intensity={'name': 'none'}, foreground=0.0)
    volumes = {p.case.id: (p.image, p.label) for p in data.cases('train')}
    for number in range(0, len(data), 5):
        item = data.item(number, np.random.default_rng(number))
        image, label = volumes[item['id']]
        windows = np.lib.stride_tricks.sliding_window_view(image[..., 0], (4, 4, 2))
        here = np.argwhere((windows == item['image'][..., 0]).all((-1, -2, -3)))
        assert len(here) == 1
        x, y, z = here[0]
        np.testing.assert_array_equal(item['label'], label[x:x + 4, y:y + 4, z:z + 2])
    assert item['image'].dtype == np.float32 and item['label'].dtype == np.int32
    np.testing.assert_allclose(item['spacing'], SPACING)
    assert isinstance(data.prepared[0].image, np.memmap)


def test_an_item_is_its_number_and_its_generator(make):
    data = make(source(), patch=(4, 4, 2))
    first, again = (data.item(3, np.random.default_rng(8)) for _ in range(2))
    np.testing.assert_array_equal(first['image'], again['image'])
    assert not np.array_equal(first['image'], data.item(3, np.random.default_rng(9))['image'])


@pytest.mark.parametrize('patch, context', [((4, 4, 2), 0), ((6, 6, 1), 1), ((1, 5, 4), 0), ((16, 11, 8), 0),
                                            ((16, 1, 8), 2)])
def test_patches_cut_on_the_device_are_those_cut_on_the_host(make, patch, context):
    """Voxel for voxel, cases that are too small and context slices included."""
    data = make(source(channels=2), patch=patch, context=context)
    options = dict(seed=5, batch=4)
    placed, streamed = pipeline.Placed(data.resident(), len(data), **options), pipeline.Streamed(data, **options)
    arrays = data.resident().load()
    assert sum(a.nbytes for name, a in arrays.items() if name in ('image', 'label')) == data.resident().size
    take = jax.jit(placed.taking(None))
    for step, batch in enumerate(placed.stream(0, 6)):
        expected = streamed[step]
        expected.pop('id')
        got = take({**batch, 'arrays': arrays}, jax.random.key(0))
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            assert got[name].dtype == value.dtype
            np.testing.assert_array_equal(got[name], value, err_msg=name)


def test_more_cases_than_files_may_be_open(make, monkeypatch):
    """Prepared cases are mapped a few at a time."""
    opened = functools.lru_cache(4)(lambda path: np.load(path, mmap_mode='r'))
    monkeypatch.setattr(prepared_volumes, '_mapped', opened)
    data = make(source(shapes=((6, 6, 6),) * 12, splits=('train',) * 12), patch=(4, 4, 2))
    before = len(os.listdir('/proc/self/fd'))
    items = [data.item(number, np.random.default_rng(number)) for number in range(len(data))]
    assert len({item['id'] for item in items}) == 12 and len(os.listdir('/proc/self/fd')) <= before + 4
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > prepared_volumes.OPEN


def test_foreground_is_centred_on_each_class_alike(make):
    data = make(source(), patch=(3, 3, 1), foreground=0.5)
    rng = np.random.default_rng(0)
    centres = np.array([data.item(int(rng.integers(len(data))), rng)['label'][1, 1] for _ in range(3000)])
    # A third class of one voxel is drawn as often as one of twelve; by chance alone it would be in 1 of 600.
    shares = [(centres == value).mean() for value in (1, 2)]
    assert abs(shares[0] - 0.27) < 0.05 and abs(shares[1] - 0.25) < 0.04
    assert (make(source(), patch=(3, 3, 1), foreground=1.0).item(0, rng)['label'] > 0).any()


def test_every_voxel_of_the_training_set_is_as_likely(make):
    data = make(source(shapes=((8, 8, 8), (16, 8, 8), (6, 6, 6))), patch=(4, 4, 4))
    ids = [data.item(n, np.random.default_rng(n))['id'] for n in range(len(data))]
    assert ids.count('c1') == 2 * ids.count('c0') and 'c2' not in ids


def test_a_patch_larger_than_the_case_is_filled_with_air(make):
    data = make(source(), patch=(16, 16, 8), intensity={'name': 'none'}, foreground=0.0)
    item = data.item(0, np.random.default_rng(0))
    image = data.prepared[0].image
    np.testing.assert_array_equal(item['image'][3:13, 2:14, 1:7], image)
    assert (item['image'][:3] == image.min()).all() and (item['label'][:3] == 0).all()


def test_slices_with_context(make):
    data = make(source(channels=2), patch=(6, 6, 1), context=1, intensity={'name': 'none'}, foreground=0.0)
    item = data.item(0, np.random.default_rng(1))
    assert item['image'].shape == (6, 6, 6) and item['label'].shape == (6, 6) and item['spacing'].shape == (2,)
    prepared = data.prepared[0]
    image, _ = data.patch_at(prepared, np.array([1, 2, 0]))
    for plane, channels in zip((0, 0, 1), np.split(image, 3, -1)):  # below the lowest slice there is itself again
        np.testing.assert_array_equal(channels, prepared.image[1:7, 2:8, plane])
    whole = data.network_input(prepared)
    np.testing.assert_array_equal(whole[1:7, 2:8, 0], image)


def test_training_patches_and_whole_volumes_are_normalised_alike(make):
    for intensity in ({'name': 'zscore'}, {'name': 'percentile', 'low': 1, 'high': 99}):
        data = make(source(), patch=(4, 4, 2), intensity=intensity)
        image, _ = data.patch_at(data.prepared[1], np.array([3, 2, 1]))
        np.testing.assert_allclose(image, data.network_input(data.prepared[1])[3:7, 2:6, 1:3], rtol=1e-6)


def test_statistics_are_of_training_cases_only(make):
    options = dict(patch=(4, 4, 2), intensity={'name': 'percentile', 'low': 0, 'high': 100})
    both, one = make(source(), **options), make(source(splits=('train', 'val', 'val')), **options)
    # Every voxel of a class counts alike, however many classes there are.
    voxels = [p.image[..., 0][p.label > 0] for p in both.prepared]
    assert one.statistics['intensities']['mean'] == pytest.approx([voxels[0].mean()], rel=1e-5)
    assert both.statistics['intensities']['mean'] == pytest.approx([np.concatenate(voxels[:2]).mean()], rel=1e-5)
    assert one.statistics['channels'] == 1 and one.statistics['classes'] == ['background', 'organ', 'lesion']


def test_the_fingerprint_is_of_voxels_and_splits(make):
    plain = make(source(), patch=(4, 4, 2))
    assert make(source(), patch=(2, 2, 2)).fingerprint == plain.fingerprint
    assert make(source(splits=('train', 'val', 'train')), patch=(4, 4, 2)).fingerprint != plain.fingerprint
    other = source(shapes=((10, 12, 7), (14, 8, 6), (9, 9, 5)))
    other = dataclasses.replace(other, cases=tuple(dataclasses.replace(c, how='other') for c in other.cases))
    assert make(other, patch=(4, 4, 2)).fingerprint != plain.fingerprint


def test_cases_are_prepared_once(make):
    reads = []

    def counted(*arguments):
        reads.append(arguments)
        return read((10, 12, 6), 0, 1)
    cases = (dataclasses.replace(source().cases[0], read=counted),)
    for _ in range(2):
        make(Source(cases=cases, classes=('background', 'organ', 'lesion')), patch=(4, 4, 2))
    assert len(reads) == 1


@pytest.mark.parametrize('options, message', [
    (dict(patch=(4, 4)), 'config.data.patch'), (dict(patch=(1, 1, 4)), 'at most one of them 1'),
    (dict(patch=(4, 4, 2), spacing=(1.0, 1.0)), 'config.data.spacing'),
    (dict(patch=(4, 4, 2), context=1), 'config.data.context')])
def test_wrong_options_are_named(make, options, message):
    with pytest.raises(InputError, match=message):
        make(source(), **options)


def test_a_data_set_without_training_cases_is_refused(make):
    with pytest.raises(InputError, match='no training case'):
        make(source(splits=('val', 'test', 'test')), patch=(4, 4, 2))


def test_ignored_voxels_have_no_class(make):
    def ignoring():
        image, label = read((10, 12, 6), 0, 1)
        label.array[6:9] = 255
        return image, label
    cases = (dataclasses.replace(source().cases[0], read=ignoring, how='ignoring'),)
    data = make(Source(cases=cases, classes=('background', 'organ', 'lesion')), patch=(4, 4, 2), foreground=1.0)
    assert set(data.prepared[0].voxels) == {1} and (data.prepared[0].label == 255).sum() == 3 * 12 * 6


def test_what_is_beyond_a_case_is_the_same_in_training_and_inference(make):
    """A window larger than the case: the network sees what it saw in training."""
    data = make(source(channels=2), patch=(16, 16, 8), foreground=0.0)
    seen, _ = data.patch_at(data.prepared[0], np.zeros(3, int))
    windows = []

    def forward(variables, image):
        jax.debug.callback(lambda x: windows.append(np.asarray(x)), image)
        return jnp.concatenate([image, image], -1)
    first = data.prepared[0]
    SlidingWindowInference(forward, window=(16, 16, 8))({}, data.network_input(first), data.background(first))
    jax.effects_barrier()
    np.testing.assert_allclose(windows[0][0], seen, rtol=1e-6)


def without(classes, splits):
    """The source with some classes taken out of the labels of some splits."""
    def relabelled(case):
        image, label = case.read()
        array = np.where(np.isin(label.array, classes), 0, label.array) if case.split in splits else label.array
        return image, dataclasses.replace(label, array=array.astype(np.uint8))
    cases = source().cases
    return dataclasses.replace(source(), cases=tuple(
        dataclasses.replace(case, read=functools.partial(relabelled, case), how=f'{classes} {splits}')
        for case in cases))


def test_classes_of_no_training_case_are_reported_with_their_number(make):
    assert make(source(), patch=(4, 4, 2)).warnings == []
    data = make(without([2], ['train']), patch=(4, 4, 2))
    assert data.warnings == ['lesion: in none of the 2 training cases; in other splits: val 1.']
    assert data.warnings[0] in data.notice
    everywhere = make(without([1, 2], ['train', 'val']), patch=(4, 4, 2))
    assert everywhere.warnings == ['organ: in none of the 2 training cases; in other splits: none.',
                                   'lesion: in none of the 2 training cases; in other splits: none.']
    item = everywhere.item(0, np.random.default_rng(0))
    assert not item['label'].any()


def test_percentiles_without_any_labelled_voxel_are_refused(make):
    with pytest.raises(InputError, match="'percentile' takes its scale from .*; the training cases have 0 of them"):
        make(without([1, 2], ['train']), patch=(4, 4, 2), intensity={'name': 'percentile', 'low': 1, 'high': 99})


def test_labels_that_are_whole_but_for_rounding(make):
    """Cast to bytes, 0.9999999 would be 0."""
    def stored(factor):
        image, label = read((10, 12, 6), 0, 1)
        return image, dataclasses.replace(label, array=label.array * np.float32(factor))
    made = [make(dataclasses.replace(source(), cases=(dataclasses.replace(
        source().cases[0], read=functools.partial(stored, factor), how=str(factor)),)), patch=(4, 4, 2))
        for factor in (1.0, 0.9999999, 1.0004)]
    wanted = read((10, 12, 6), 0, 1)[1].array
    for data in made:
        np.testing.assert_array_equal(data.prepared[0].label, wanted)
    with pytest.raises(InputError, match=r'label: label value 0\.98, in 13 of 720 voxels; expected whole numbers'):
        make(dataclasses.replace(source(), cases=(dataclasses.replace(
            source().cases[0], read=functools.partial(stored, 0.98), how='0.98'),)), patch=(4, 4, 2))


@pytest.mark.parametrize('name', ['image.npy', 'label.npy', 'voxels.npz', 'meta.json'])
@pytest.mark.parametrize('cut', [False, True])
def test_damaged_prepared_files_are_prepared_again(make, tmp_path, capsys, name, cut):
    before = make(source(), patch=(4, 4, 2))
    path = before.prepared[1].folder / name
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content[:len(content) // 2] if cut else content)
    after = make(source(), patch=(4, 4, 2))
    assert f'{name} was changed after it was written; the prepared cases are prepared again' in capsys.readouterr().err
    assert after.fingerprint == before.fingerprint
    for volume, number in zip(after.prepared, range(3)):
        image, label = read(((10, 12, 6), (14, 8, 6), (9, 9, 5))[number], number, 1)
        np.testing.assert_array_equal(volume.image[..., 0], image.array)
        np.testing.assert_array_equal(volume.label, label.array)
        assert set(volume.voxels) == {1, 2}
    make(source(), patch=(4, 4, 2))
    assert not capsys.readouterr().err
