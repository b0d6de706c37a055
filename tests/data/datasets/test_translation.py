"""Two contrasts: what a spin echo gives, slabs without mirror images, pairs and draws of their own, own folders."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image as Picture

from medjax.data.datasets import translation
from medjax.data.datasets.translation import PAIR, Views, dataset
from medjax.data.io import image_files
from medjax.data.io.geometry import Image
from medjax.data.simulated import contrast
from medjax.data.source import Case, Source
from medjax.data.sources import translation_folder
from medjax.errors import InputError

OPTIONS = dict(patch=(6, 8, 1))


def views(number, sides=PAIR):
    """A volume whose target is 3 - 2 times itself, in a cleared box; each voxel has a value of its own."""
    box = np.zeros((8, 10, 4), np.uint8)
    box[1:7, 1:9] = 1
    image = (number + np.arange(box.size, dtype=np.float32).reshape(box.shape) / box.size) * box
    both = Image(image, np.eye(4), f'{number}'), Image((3 - 2 * image) * box, np.eye(4), f'{number}t')
    return Views(*(part if there else None for part, there in zip(both, sides)), Image(box, np.eye(4)))


def source(*given):
    """Cases as (split, what is there), and two that validate and test."""
    given = given or (('train', PAIR),) * 3
    cases = [*given, ('val', PAIR), ('test', PAIR)]
    return Source(tuple(Case(f'c{k}', f'p{k}', split, lambda k=k, sides=sides: views(k + 1, sides), target=sides,
                             how=str((k, sides))) for k, (split, sides) in enumerate(cases)), ('T1', 'T2'),
                  problem='translation')


def test_the_spin_echo_by_hand():
    grey = 0.82 * (1 - np.exp(-5000 / 1820)) * np.exp(-100 / 99)
    assert contrast.signal('grey', 5000, 100) == pytest.approx(grey)
    assert contrast.signal('grey', 1e9, 1e-9) == pytest.approx(0.82)
    dark, middle, bright = (contrast.signal(name, 5000, 100) for name in ('white', 'grey', 'csf'))
    assert dark < middle < bright / 2


@pytest.fixture(scope='module')
def brain():
    return contrast.source(spacing=4.0)


def test_no_test_plane_nor_its_mirror_image_trains(brain):
    heights = {}
    for case in brain.cases:
        part = case.read()
        low = part.image.affine[2, 3]
        heights.setdefault(case.split, set()).update(range(round(low), round(low + 4 * part.image.array.shape[2])))
        # Both halves, so that what mirrors a plane is in that plane.
        ends = [(part.image.affine @ [x, 0, 0, 1])[0] for x in (0, part.image.array.shape[0] - 1)]
        assert ends[0] < -76 and ends[1] > 76
        assert part.image.array.shape == part.target.array.shape == part.head.array.shape
        assert not part.target.array[part.head.array == 0].any() and part.target.array[part.head.array > 0].min() > 0
    for one, other in (('train', 'val'), ('train', 'test'), ('val', 'test')):
        assert min(abs(a - b) for a in heights[one] for b in heights[other]) >= 4
    assert 'Real anatomy, simulated contrast' in brain.notice and {c.patient for c in brain.cases} == {'mni152'}


def test_noise_is_rician_and_the_same_each_time():
    def voxels(**options):
        read = [case.read() for case in contrast.source(spacing=4.0, **options).cases]
        return np.concatenate([part.target.array[part.head.array > 0] for part in read]).astype(np.float64)

    clean, noisy, other = voxels(noise=0.0), voxels(noise=0.05), voxels(noise=0.05, seed=1)
    apart = noisy - clean
    assert apart.std() == pytest.approx(50, rel=0.05)
    # Of the size of a number with two noisy parts, the mean is about sigma² / 2S too large.
    assert apart.mean() == pytest.approx((50**2 / (2 * clean)).mean(), rel=0.3)
    assert (other != noisy).all()
    contrast._brain.cache_clear()
    np.testing.assert_array_equal(voxels(noise=0.05), noisy)


def test_pairs_are_cut_from_one_place(tmp_path):
    data = dataset(source(), cache=str(tmp_path), **OPTIONS)
    assert data.counts == {'train': 3, 'val': 1, 'test': 1} and data.statistics['channels'] == [1, 1]
    np.testing.assert_allclose(data.limits['image']['low'], 0)
    for number in range(len(data)):
        item = data.item(number, np.random.default_rng(number))
        image, target = (translation.unscaled(item[side], data.limits[side]) for side in translation.SIDES)
        np.testing.assert_allclose(target, np.where(image > 0, 3 - 2 * image, 0), atol=1e-4)
        assert item['image'].shape == (6, 8, 1) and item['image'].dtype == np.float32 and item['image'].max() <= 1.01


def test_without_pairs_each_contrast_is_drawn_by_itself(tmp_path):
    data = dataset(source(('train', (1, 0)), ('train', (0, 1)), ('train', (0, 1))), paired=False, cache=str(tmp_path),
                   **OPTIONS)
    # Of the first case there is an image, of the others a target: nothing they could share.
    drawn = [data.place(number % len(data), np.random.default_rng(number)) for number in range(40)]
    assert {place[0] for place in drawn} == {0} and {place[4] for place in drawn} == {0, 1}
    assert len({place[1:4] == place[5:] for place in drawn}) == 2
    assert data.place(0, np.random.default_rng(5)) == data.place(0, np.random.default_rng(5))
    assert any('no pair is ever shown' in line for line in data.warnings)


@pytest.mark.parametrize('paired', [True, False])
def test_on_the_device_lie_the_same_items(paired, tmp_path):
    data = dataset(source(), paired=paired, cache=str(tmp_path), **OPTIONS)
    resident = data.resident()
    arrays, pick = jax.tree.map(jnp.asarray, resident.load()), jax.jit(resident.pick)
    for number in (0, 5):
        want = data.item(number, np.random.default_rng(3))
        found = pick(arrays, jnp.array(resident.place(number, lambda: np.random.default_rng(3))))
        assert set(found) == set(want) - {'id'}
        for name, value in found.items():
            np.testing.assert_allclose(value, want[name], atol=1e-6)


def test_ranges_may_be_given(tmp_path):
    data = dataset(source(), ranges={'target': (-5, 3)}, cache=str(tmp_path), **OPTIONS)
    assert data.limits['target'] == {'low': [-5.0], 'high': [3.0]}
    np.testing.assert_allclose(translation.scaled(np.array([[-5.0], [3.0]]), data.limits['target']).ravel(), [-1, 1])


@pytest.mark.parametrize('given, options, message', [
    ((('train', (1, 0)), ('train', PAIR)), {}, r'c0: no T2 image; expected a partner for every training case'),
    ((('train', (0, 1)), ('train', PAIR)), {}, r'c0: no T1 image; expected a partner'),
    ((('train', (1, 0)),), dict(paired=False), r'config\.data\.source: no T2 image in training'),
    ((), dict(ranges={'image': (3, 3)}), r'config\.data\.ranges\.image: \[3\.0\] to \[3\.0\]; expected a range'),
    ((), dict(ranges={'out': (0, 1)}), r'config\.data\.ranges\.out: no side; expected some of: image, target'),
])
def test_what_is_refused(given, options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        dataset(source(*given), cache=str(tmp_path), **OPTIONS, **options)


def test_other_sources_are_refused(tmp_path):
    with pytest.raises(InputError, match=r'config\.data: translated needs a source of two contrasts'):
        dataset(dataclasses.replace(source(), problem=''), cache=str(tmp_path), **OPTIONS)


@pytest.mark.parametrize('options', [dict(validation=(30, 50)), dict(validation=(64,)), dict(test=()),
                                     dict(test=((36, 140), (100, 110))), dict(spacing=0.1), dict(te=0.0),
                                     dict(noise=2.0)])
def test_slabs_and_echoes_that_make_no_sense_are_refused(options):
    with pytest.raises(InputError, match=r'config\.data\.source: '):
        contrast.source(**options)


def test_the_head_is_what_was_not_cleared_or_is_bright():
    box = np.zeros((12, 12, 3), np.float32)
    box[2:9, 3:10] = 1
    np.testing.assert_array_equal(translation.head(Image(box * 7, np.eye(4))).array, box)
    rng, shown = np.random.default_rng(0), box.copy()
    shown[4:6, 5:7, 1], shown[0, 0] = 0.1, 1  # a hole in a plane, and a speck outside
    noisy = shown + 0.05 * rng.random(box.shape).astype(np.float32)
    np.testing.assert_array_equal(translation.head(Image(noisy, np.eye(4))).array, box)


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
    found = translation_folder.source(dir=str(folders), names=('CT', 'MR'), splits={'p1': 'test'}, val=0.4, test=0.0)
    by = {case.id: case for case in found.cases}
    assert list(by) == ['c', 'p1_a', 'p1_b', 'p2_a', 'p3_a'] and found.classes == ('CT', 'MR')
    assert {by[name].patient for name in ('p1_a', 'p1_b')} == {'p1'} and by['p1_a'].split == by['p1_b'].split == 'test'
    read = by['p2_a'].read()
    np.testing.assert_array_equal(read.target.array[:, :, 0].T, Picture.open(folders / 'target/p2/a.png'))
    assert by['c'].target == PAIR and read.image.array.shape == (7, 9, 1)


def test_a_missing_partner_is_named_unless_none_is_wanted(folders, tmp_path):
    (folders / 'target' / 'c.png').unlink()
    found = translation_folder.source(dir=str(folders), splits={'p1': 'test', 'p2': 'val', 'p3': 'train', 'c': 'train'})
    assert next(case for case in found.cases if case.id == 'c').target == (1, 0)
    with pytest.raises(InputError, match='c: no target image; expected a partner for every training case'):
        dataset(found, patch=(4, 4, 1), cache=str(tmp_path / 'cache'))
    data = dataset(found, patch=(4, 4, 1), cache=str(tmp_path / 'cache'), paired=False, whole=True)
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
