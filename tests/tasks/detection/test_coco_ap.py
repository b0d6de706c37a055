"""Average precision of `metrics.detection` against COCO's library."""

import numpy as np
import pytest

from medjax.metrics import box_matching, detection
from medjax.tasks.detection import coco_ap
from tests.tasks.detection import detections

LEAST = detection.iou_thresholds(2)


def drawn(seed, dims=2, count=12, whole=False, crowds=False):
    """Images of made-up scenes; with `whole` in coarse boxes and scores, of which many are equal.

    With `crowds` some of the objects, and some boxes anywhere, are crowds.
    """
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        truth, labels, found, found_labels, scores = detections.scene(rng, dims)
        step = 8 if whole else 0.01
        made.append(box_matching.ImageBoxes(np.rint(truth / step) * step, labels, np.rint(found / step) * step,
                                            found_labels, scores.round(1 if whole else 6)))
        if crowds:
            corner, moved = rng.uniform(0, 80, (3, 2)), rng.random(len(truth)) < 0.3
            areas = np.concatenate([made[-1].true_boxes[moved], np.rint(np.concatenate([corner, corner + 40], 1))])
            regions = box_matching.IgnoredRegions(
                areas, np.concatenate([labels[moved], rng.integers(0, 3, 3)]), np.ones(len(areas), bool))
            made[-1] = made[-1]._replace(true_boxes=made[-1].true_boxes[~moved], true_labels=labels[~moved],
                                         ignored=regions)
    return made


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('crowds', [False, True])
@pytest.mark.parametrize('whole', [False, True])
def test_average_precision_equals_pycocotools(seed, whole, crowds):
    images = drawn(seed, whole=whole, crowds=crowds)
    precision, recall = coco_ap.average_precision(images, 4, LEAST)  # there is no fourth class
    for label, of in enumerate(box_matching.match_classes(images, 4, LEAST)):
        mine = detection.average_precision(of, np.ones((1, len(images))))
        np.testing.assert_allclose(mine[0][0], precision[:, label], atol=1e-9, rtol=0)
        np.testing.assert_allclose(mine[1][0], recall[:, label], atol=1e-9, rtol=0)
    assert np.isnan(precision[:, 3]).all() and 0 < precision[0, 0] < 1


def test_average_precision_of_a_resample_equals_pycocotools():
    images, weights = drawn(3), np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), 5)
    for weight in weights:
        precision, recall = coco_ap.average_precision(
            [one for one, times in zip(images, weight) for _ in range(times)], 3, LEAST)
        for label, of in enumerate(box_matching.match_classes(images, 3, LEAST)):
            mine = detection.average_precision(of, weight[None])
            np.testing.assert_allclose(mine[0][0], precision[:, label], atol=1e-9, rtol=0)
            np.testing.assert_allclose(mine[1][0], recall[:, label], atol=1e-9, rtol=0)


@pytest.mark.parametrize('images', [
    [], [box_matching.ImageBoxes(*[np.zeros((0, 4)), np.zeros(0, int)] * 2, np.zeros(0))]])
def test_images_without_boxes_have_no_average_precision(images):
    assert np.isnan(coco_ap.average_precision(images, 2, LEAST)).all()
