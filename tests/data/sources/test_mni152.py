"""What the main job's splits promise: nothing of the test slab `unseen` was met in training, mirrored or not."""

import numpy as np
import pytest

from medjax.data.sources import mni152
from medjax.data.splits import CrossValidation
from medjax.errors import InputError


def test_the_template_is_symmetric_as_the_notice_says():
    t1, label, affine, _ = mni152.template()
    left, right = t1[:98], t1[99:197][::-1]
    np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(label[:98], label[99:197][::-1])
    assert (affine @ [98, 0, 0, 1])[0] == 0  # the plane between them is that of x = 0


def test_slabs_are_separate_and_mirrored_slabs_are_not_trained_on():
    source = mni152.source(validation=(60, 76), unseen=(92, 108))
    planes = {}
    for case in source.cases:
        image, label = case.read()
        world = [image.affine @ [*corner, 1] for corner in ((0, 0, 0), np.array(image.array.shape) - 1)]
        planes[case.id] = {int(z) for z in np.arange(world[0][2], world[1][2] + 1)}
        assert (world[1][0] < 0) == case.id.startswith('left') and image.array.shape == label.array.shape
        assert set(np.unique(label.array)) <= {0, 1, 2, 3}
    train = planes['left_inferior'] | planes['left_middle'] | planes['left_superior']
    assert not train & planes['left_validation'] and not train & planes['right_unseen']
    assert not planes['left_validation'] & planes['right_unseen'] and planes['right_unseen'] < planes['right']
    assert len(train) + len(planes['left_validation']) + len(planes['right_unseen']) == 189
    assert {case.split for case in source.cases} == {'train', 'val', 'test', 'unseen'}


@pytest.mark.parametrize('slabs', [dict(validation=(60, 95)), dict(validation=(0, 20)), dict(unseen=(100, 400))])
def test_slabs_that_touch_are_refused(slabs):
    with pytest.raises(InputError, match='config.data.source'):
        mni152.source(**slabs)


@pytest.mark.parametrize('folds, fold, count', [((5, 4), (1, 0), 5), ((2, 4), (0, 0), 8), (4, 1, 5)])
def test_folds_are_of_slabs_with_both_halves_and_gaps(folds, fold, count):
    source = mni152.source(cross_validation=CrossValidation(folds=folds, fold=fold))
    assert len(source.cases) == count and {case.split for case in source.cases} == {'train', 'val', 'test'}
    ends = []
    for case in source.cases:
        image, label = case.read()
        assert image.array.shape == label.array.shape and image.array.shape[:2] == (197, 233)
        ends.append((image.affine[2, 3], image.affine[2, 3] + image.array.shape[2]))  # of 1 mm planes
    assert [b - a for (_, a), (b, _) in zip(ends, ends[1:])] == (count - 1) * [mni152.GAP]
    assert ends[-1][1] - ends[0][0] == 189
