"""The quality of a registration that is reported with its time."""

import numpy as np

from medjax.bench import registration


def test_quality_in_words():
    image = np.random.default_rng(0).random((12, 10)).astype(np.float32)
    given = {'fixed': image[None, ..., None], 'moving': np.roll(image, 2, 0)[None, ..., None],
             'points': np.array([[[4.0, 4], [6, 5]]]), 'targets': np.array([[[6.0, 4], [8, 5]]])}
    there = np.zeros((2, 12, 10), np.float32)
    there[0] = 2
    summary = registration.quality_summary(given, there, 3.0)
    assert summary.startswith('TRE 6.00 → 0.00 mm, correlation in windows 0.') and summary.endswith(', 0.000 % folded')
    there[0] = -2 * np.arange(12)[:, None]  # the image is mirrored
    assert registration.quality_summary(given, there, 3.0).endswith(', 100.000 % folded')
