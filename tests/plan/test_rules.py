"""Rules of planning, by hand-computed cases; tests/oracle/test_nnunet_planner.py compares whole plans with nnunetv2."""

import dataclasses

import numpy as np
import pytest

from medjax.data.sources.nnunet import source
from medjax.errors import InputError
from medjax.plan.fingerprint import Fingerprint, fingerprint
from medjax.plan.memory import CompiledStep, FeatureMaps
from medjax.plan.rules import candidate_levels, order_of_axes, plan, plans, target_spacing
from medjax.plan.topology import topology
from tests.data.sources.nnunet_folders import SHAPE, cube, raw

HEART = Fingerprint(((10.0, 1.5, 1.5),) * 9 + ((5.0, 1.4, 1.4),) * 3, ((9, 237, 208),) * 12, ('MR',), 4)


def test_levels_of_thick_slices():
    found = topology((10.0, 1.5, 1.5), (9, 237, 208))
    assert found.patch == (10, 256, 224) and found.divisors == (2, 32, 32)
    assert found.strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
    # Across the slices kernels begin with the level whose spacing in the plane is above half of 10 mm.
    assert found.kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    assert topology((1.0, 1.0), (8, 8)).strides == ((1, 1), (2, 2))
    assert topology((1.0, 1.0), (11, 7)).strides == ((1, 1),)  # one axis alone needs 12 voxels


def test_the_spacing_across_thick_slices_is_the_tenth_percentile():
    assert target_spacing(HEART) == pytest.approx((5.0, 1.5, 1.5))
    thin = dataclasses.replace(HEART, spacings=((10.0, 1.5, 1.5),) * 9 + ((1.0, 1.5, 1.5),) * 3)
    assert target_spacing(thin) == pytest.approx((1.50001, 1.5, 1.5))  # not below the other axes
    many = dataclasses.replace(HEART, shapes=((90, 237, 208),) * 12)
    assert target_spacing(many) == pytest.approx((10.0, 1.5, 1.5))
    assert order_of_axes((0.5, 0.7, 4.0)) == (2, 0, 1)


def test_the_largest_patch_that_fits_is_found_by_few_compilations():
    candidates, asked = list(candidate_levels((1.0, 1.0, 1.0), (300, 280, 310))), []

    def needed(levels, outputs, channels, batch):
        asked.append((levels.patch, batch))
        return 100 * int(np.prod(levels.patch)) * batch + 1000

    limit = (100 * int(np.prod(candidates[7].patch)) * 2 + 1000) / 2**30
    memory = CompiledStep(limit, needed, lambda _: None)
    found = plan('3d_fullres', np.ones(3), np.array([300.0, 280, 310]), 1e12, HEART, memory)
    assert found.levels == candidates[7] and found.batch == 2
    assert len(asked) <= np.ceil(np.log2(len(candidates))) + 3 and len(set(asked)) == len(asked)
    double = CompiledStep(limit * 2.2, needed, lambda _: None)
    assert double.batch(candidates[7], 2, 1) == 4
    nothing = CompiledStep(1e-9, needed, lambda _: None)
    smallest = plan('x', np.ones(3), np.array([64.0, 64, 64]), 1e9, HEART, nothing).levels
    assert len(smallest.strides) == 2 and max(smallest.patch) < 16
    with pytest.raises(InputError, match='images of 5 × 7 voxels'):
        list(candidate_levels((1.0, 1.0), (5, 7)))


def test_a_batch_covers_a_twentieth_of_the_data_at_most():
    few = plans(dataclasses.replace(HEART, spacings=HEART.spacings[-1:], shapes=HEART.shapes[:1]), FeatureMaps(80))
    assert [one.batch for one in few] == [2, 2]
    many = plans(dataclasses.replace(HEART, spacings=HEART.spacings * 9, shapes=HEART.shapes * 9), FeatureMaps(80))
    for one in many:
        assert one.batch == min(one.largest_batch, round(0.05 * 108 * np.prod(
            [18 if len(one.spacing) == 3 or one.name == '2d' else 1, *one.median[-2:]]) / np.prod(one.levels.patch)))


def test_the_fingerprint_of_a_folder(tmp_path):
    lines = []
    found = fingerprint(source(dir=str(raw(tmp_path))), lines.append)
    assert found.spacings == ((1.0, 1.5, 3.0),) * 3 and found.shapes == (SHAPE,) * 3
    assert found.channels == ('T1', 'T2') and found.cases == {'organ': 3, 'tumour': 3}
    assert found.volumes['organ'] == pytest.approx(np.median([(cube(n) == 1).sum() for n in range(3)]) * 4.5 / 1000)
    assert found.intensities[0]['median'] == pytest.approx(152, abs=4) and found.intensities[0]['high'] > 240
    assert lines == ['fingerprint: 3 of 3 cases, 0 s left']
    assert found.reversed().spacings[0] == (3.0, 1.5, 1.0)
