"""The channel that the report shows: the one with most contrast in the labels, or the one that the config names."""

import numpy as np
import pytest

from medjax.core.task import Task
from medjax.data.datasets.volumes import dataset
from medjax.data.io.geometry import Image
from medjax.data.source import Case, Source
from medjax.errors import InputError
from medjax.tasks.segmentation import contrast
from medjax.tasks.segmentation.evaluator import evaluator

LABEL = np.zeros((6, 6, 3), np.uint8)
LABEL[1:4, 1:4] = 1
LABEL[5, 5] = 255


def image():
    """A channel of large numbers without contrast, and one of small numbers with; ignored voxels have the most."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(1000, 50, LABEL.shape), rng.normal(5, 0.5, LABEL.shape) - (LABEL == 1)
    first[LABEL == 255] = 9000
    return np.stack([first, second], -1).astype(np.float32)


def test_contrast_by_hand():
    array, expected = image().astype(np.float64), []
    for channel in np.moveaxis(array, -1, 0):
        counted = (LABEL != 255) & (channel > channel.min())
        inside, outside = channel[counted & (LABEL == 1)], channel[counted & (LABEL == 0)]
        expected.append(abs(inside.mean() - outside.mean()) / channel[counted].std())
    np.testing.assert_allclose(contrast.contrasts(array, LABEL), expected, rtol=1e-6)
    assert expected[1] > 2 * expected[0] and contrast.highest_contrast([(array, LABEL)]) == 1
    assert contrast.highest_contrast([(array, LABEL * 0)]) == 0


def test_the_report_shows_that_channel(tmp_path):
    cases = tuple(Case(id=split, patient=split, split=split,
                       read=lambda: (Image(image(), np.eye(4), 'i'), Image(LABEL, np.eye(4), 'l')))
                  for split in ('train', 'test'))
    data = dataset(Source(cases=cases, classes=('background', 'organ'), channels=('T1', 'FLAIR')), patch=(4, 4, 1),
                   cache=str(tmp_path / 'cache'))
    made = evaluator(data=data, task=Task(None, None, None, None))
    assert made.shown_channel == 'FLAIR' and made.show_channel('T1').shown_channel == 'T1'
    with pytest.raises(InputError, match="config.report.channel: 'T2'; expected one of: T1, FLAIR"):
        made.show_channel('T2')
    for name, evaluated in ((1, made), (0, made.show_channel('T1'))):
        evaluated.measured(data.prepared[1], 'test', cases[1].read()[0], LABEL, LABEL * 0, LABEL * 0.5, tmp_path)
        with np.load(tmp_path / 'test.npz') as kept:
            np.testing.assert_array_equal(kept['image'], image()[..., name])
            assert str(kept['channel']) == ('T1', 'FLAIR')[name]
