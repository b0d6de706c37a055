import math

import numpy as np
import pytest

from medjax.metrics import box_matching, detection
from medjax.metrics.box_matching import ImageBoxes

pytest.importorskip('torch')
monai_coco = pytest.importorskip('monai.apps.detection.metrics.coco')
matching = pytest.importorskip('monai.apps.detection.metrics.matching')
froc = pytest.importorskip('monai.metrics.froc')
box_utils = pytest.importorskip('monai.data.box_utils')

CLASSES = ('a', 'b', 'c')


def drawn(seed, count=12, lost=0.25, dims=3):
    """Boxes of about 10 voxels, found with more or less overlap, some twice, some as another class, some nowhere."""
    rng, images = np.random.default_rng(seed), []
    for _ in range(count):
        corner = rng.uniform(0, 60, (rng.integers(0, 7), dims))
        truth = np.concatenate([corner, corner + rng.uniform(6, 14, corner.shape)], 1)
        labels = rng.integers(0, 3, len(truth))
        again = np.repeat(np.arange(len(truth)), np.where(rng.random(len(truth)) < lost, 0, rng.integers(
            1, 3, len(truth))))
        extra = rng.uniform(0, 60, (rng.integers(0, 6), dims))
        found = np.concatenate([truth[again] + rng.normal(0, 1.5, (len(again), 2 * dims)),
                                np.concatenate([extra, extra + 9], 1)])
        found_labels = np.concatenate([np.where(rng.random(len(again)) < 0.9, labels[again], 0),
                                       rng.integers(0, 3, len(extra))])
        images.append(ImageBoxes(truth.round(2), labels, found.round(2), found_labels,
                                 rng.random(len(found)).round(6)))
    return images


def odd(images):
    """Without an object here and there: then no share of a class's objects is a whole number of hundredths.

    Monai holds recalls in single precision: at one that is exactly a hundredth it may take the next one's precision.
    """
    images = list(images)
    for label in range(3):
        while math.gcd(sum(int((seen.true_labels == label).sum()) for seen in images), 100) > 1:
            at = next(number for number, seen in enumerate(images) if (seen.true_labels == label).any())
            kept = np.arange(len(images[at].true_boxes)) != np.flatnonzero(images[at].true_labels == label)[0]
            images[at] = images[at]._replace(true_boxes=images[at].true_boxes[kept],
                                             true_labels=images[at].true_labels[kept])
    return images


@pytest.mark.parametrize('seed', range(12))
def test_average_precision_and_recall_of_volumes_equal_monai(seed):
    images = odd(drawn(seed))
    metric = monai_coco.COCOMetric(classes=CLASSES, iou_list=detection.iou_thresholds(3)[::2],
                                   iou_range=[0.1, 0.5, 0.05], max_detection=[box_matching.LIMIT])
    found = matching.matching_batch(
        iou_fn=box_utils.box_iou, iou_thresholds=metric.iou_thresholds,
        pred_boxes=[seen.pred_boxes for seen in images], pred_classes=[seen.pred_labels for seen in images],
        pred_scores=[seen.scores for seen in images], gt_boxes=[seen.true_boxes for seen in images],
        gt_classes=[seen.true_labels for seen in images], max_detections=box_matching.LIMIT)
    want, _ = metric(found)
    each = box_matching.match_classes(images, 3, detection.iou_thresholds(3))
    got = detection.compute_metrics(each, 3, np.ones((1, len(images))))
    names = {'ap': 'mAP_IoU_0.10_0.50_0.05_MaxDet_100',
             **{f'ap{10 * n}': f'AP_IoU_{n / 10:.2f}_MaxDet_100' for n in range(1, 6)}}
    for name, theirs in names.items():
        assert 0 < want[theirs] < 1
        assert got[name].item() == pytest.approx(want[theirs], abs=1e-6), name
        for label, known in enumerate(CLASSES):
            assert got[(name, label)].item() == pytest.approx(want[f'{known}_{theirs}'], abs=1e-6), (name, known)
    assert got['ar'].item() == pytest.approx(want['mAR_IoU_0.10_0.50_0.05_MaxDet_100'], abs=1e-6)


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('lost', [0.25, 0.0])
@pytest.mark.parametrize('digits', [6, 1])
def test_froc_equals_monai(seed, lost, digits):
    images = [seen._replace(scores=np.maximum(seen.scores.round(digits), 0.1)) for seen in drawn(seed, lost=lost)]
    of = box_matching.pool_classes(box_matching.match_classes(images, 3, detection.iou_thresholds(3)))
    hit = of.matched_object[0] >= 0
    # The lowest probability of all is no threshold of monai's; that is the zero of what is missed, here one more.
    lacking = np.zeros(len(of.object_image) - hit.sum() + 1)
    rates, sensitivity = froc.compute_froc_curve_data(of.score[~hit], np.concatenate([of.score[hit], lacking]),
                                                      len(of.object_image), len(images))
    (mine,), (found,), _ = detection.froc_curve(of, np.ones((1, len(images))))
    np.testing.assert_allclose(mine, rates[::-1], atol=1e-6)
    np.testing.assert_allclose(found, sensitivity[::-1], atol=1e-6)
    score = froc.compute_froc_score(rates, sensitivity, detection.RATES)
    assert 0 < score < 1
    assert detection.froc(of, np.ones((1, len(images)))).mean() == pytest.approx(score, abs=1e-6)
