"""The simulated contrast: the spin echo by hand, slabs without mirror images, and Rician noise."""

import numpy as np
import pytest

from medjax.data.simulated import contrast
from medjax.errors import InputError


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


@pytest.mark.parametrize('options', [dict(validation=(30, 50)), dict(validation=(64,)), dict(test=()),
                                     dict(test=((36, 140), (100, 110))), dict(spacing=0.1), dict(te=0.0),
                                     dict(noise=2.0)])
def test_slabs_and_echoes_that_make_no_sense_are_refused(options):
    with pytest.raises(InputError, match=r'config\.data\.source: '):
        contrast.source(**options)
