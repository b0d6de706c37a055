"""Simulated videos: the same at every call, with boxes around the polyps."""

import pathlib

import numpy as np
import pytest

from medjax.data.simulated import video

pytest.importorskip('av')


def test_videos_are_reproducible_and_boxes_hold_the_red_polyps(tmp_path):
    options = dict(cases=(1, 1, 1), frames=10, shape=(64, 64), frame_step=3)
    one = video.source(**options, cache=str(tmp_path / 'a'))
    other = video.source(**options, cache=str(tmp_path / 'b'))
    assert one.classes == ('polyp',) and 'simulated' in one.notice.lower()
    assert [case.split for case in one.cases] == [case.id[:-9] for case in one.cases]
    inside, outside = [], []
    for case, twin in zip(one.cases, other.cases):
        image, _ = case.read()
        np.testing.assert_array_equal(image.array, twin.read()[0].array)
        np.testing.assert_array_equal(case.target.boxes, twin.target.boxes)
        array = image.array[:, :, 0].swapaxes(0, 1).astype(float)
        red, mask = array[..., 0] / array[..., 1].clip(1), np.zeros((64, 64), bool)
        for low_0, low_1, high_0, high_1 in case.target.boxes.astype(int):
            mask[low_0:high_0, low_1:high_1] = True
        inside += red[mask].tolist()
        outside += red[~mask].tolist()
    assert len(inside) > 100 and np.mean(inside) > np.mean(outside) + 0.1
    assert list(pathlib.Path(tmp_path / 'a').glob('*/*.txt'))
