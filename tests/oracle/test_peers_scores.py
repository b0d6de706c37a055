"""The numeric test cases of MONAI, torchmetrics and pycocotools for scores, images and boxes: inputs, and their values.

Sources: MONAI tests/metrics/test_compute_roc_auc.py, test_compute_average_precision.py, test_compute_froc.py and
test_compute_fid_metric.py; the examples of torchmetrics' functions in src/torchmetrics/functional, and its
tests/unittests/detection/test_map.py, whose values are those of faster-coco-eval, which is computed here.
"""

import numpy as np
import pytest
from scipy import special

from medjax.metrics import box_matching, classification, detection, generative, image_fidelity, regression
from medjax.metrics.box_matching import ImageBoxes, Matches
from medjax.statistics import calibration
from medjax.tasks.detection import coco_ap

FOUR = special.softmax([[0.1, 0.9], [0.3, 1.4], [0.2, 0.1], [0.1, 0.5]], 1)
FIVE = special.softmax([[0.1, 0.9], [0.3, 1.4], [0.2, 0.1], [0.1, 0.5], [0.1, 0.5]], 1)
LABELS = np.array([[1, 0], [0, 1], [0, 0], [1, 1], [0, 1]])
SCORES = np.array([0.5, 0.5, 0.2, 8.3])


def areas(positive, score):
    found = classification.auroc_and_auprc(np.asarray(positive, bool), np.asarray(score, float))
    return [float(value) for value in found]


@pytest.mark.parametrize('targets, auroc, auprc', [
    ([0, 1, 0, 1], 0.75, 0.83333), ([0, 0, 1, 1], None, 0.41667), ([1, 1, 0, 0], None, 0.85417)])
def test_monai_areas_of_two_classes(targets, auroc, auprc):
    targets = np.array(targets)
    by_class = [areas(targets == k, FOUR[:, k]) for k in (0, 1)]
    if targets.tolist() == [1, 1, 0, 0]:  # MONAI's micro average: both columns as one ranking
        onehot = np.eye(2, dtype=int)[targets]
        assert areas(onehot.ravel(), FOUR.ravel())[1] == pytest.approx(auprc, abs=1e-5)
    else:
        assert np.mean([pair[1] for pair in by_class]) == pytest.approx(auprc, abs=1e-5)
    assert auroc is None or [pair[0] for pair in by_class] == pytest.approx([auroc, auroc])


def test_monai_areas_with_ties_and_averages():
    assert areas([0, 1, 0, 1], SCORES) == pytest.approx([0.875, 0.83333], abs=1e-5)
    by_label = np.array([areas(LABELS[:, k], FIVE[:, k]) for k in (0, 1)])
    weighted = np.average(by_label, axis=0, weights=LABELS.sum(0))
    assert weighted == pytest.approx([0.56667, 0.66667], abs=1e-5)
    assert areas(LABELS.ravel(), FIVE.ravel()) == pytest.approx([0.62, 0.71111], abs=1e-5)


@pytest.mark.parametrize('targets', [[0] * 4, [1] * 4])
def test_convention_one_class_only(targets):
    """MONAI's AUROC is NaN and so is medjax's; its average precision with positives alone is 1, here NaN as well."""
    assert np.isnan(areas(targets, FOUR[:, 1])).all()


FIVE_CLASSES = np.full((4, 5), 0.05) + 0.7 * np.eye(4, 5)
THREE_LABELS = np.array([[0.75, 0.05, 0.35], [0.45, 0.75, 0.05], [0.05, 0.55, 0.75], [0.05, 0.65, 0.05]])
THREE_TARGETS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 1, 1]])


def test_torchmetrics_areas():
    assert areas([0, 1, 1, 0], [0, 0.5, 0.7, 0.8]) == pytest.approx([0.5, 0.5833], abs=1e-4)
    assert areas([0, 0, 1, 1, 1], [0.13, 0.26, 0.08, 0.19, 0.34])[0] == pytest.approx(0.5)
    assert areas([0, 1, 1, 1], [0, 1, 2, 3])[1] == 1
    target = np.array([0, 1, 3, 2])
    by_class = np.array([areas(target == k, FIVE_CLASSES[:, k]) for k in range(4)])
    np.testing.assert_allclose(by_class, [[1, 1], [1, 1], [0.3333, 0.25], [0.3333, 0.25]], atol=1e-4)
    by_label = np.array([areas(THREE_TARGETS[:, k], THREE_LABELS[:, k]) for k in range(3)])
    np.testing.assert_allclose(by_label, [[0.625, 0.75], [0.5, 0.5833], [0.8333, 0.9167]], atol=1e-4)
    probs = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9], [0.85, 0.05, 0.1], [0.1, 0.1, 0.8]])
    found = classification.compute_metrics(np.array([0, 1, 1, 2, 2]), probs)
    assert float(found['auroc']) == pytest.approx(0.7778, abs=1e-4)
    labels = classification.compute_metrics(THREE_TARGETS, THREE_LABELS)
    assert (float(labels['auroc']), float(labels['auprc'])) == (pytest.approx(0.6528, abs=1e-4), pytest.approx(0.75))


def test_convention_mean_over_classes_without_a_case():
    """torchmetrics' mean AUROC counts a class without a case as 0 (0.5333); medjax leaves it out (0.6667)."""
    found = classification.compute_metrics(np.array([0, 1, 3, 2]), FIVE_CLASSES)
    by_class = [1, 1, 1 / 3, 1 / 3]
    assert np.mean([*by_class, 0]) == pytest.approx(0.5333, abs=1e-4)
    assert float(found['auroc']) == pytest.approx(np.mean(by_class)) and np.isnan(found['auroc', 4])
    assert float(found['auprc']) == pytest.approx(0.625)  # of average precision torchmetrics leaves it out too


def test_torchmetrics_decisions():
    target, probability = np.array([0, 1, 0, 1, 0, 1]), np.array([0.11, 0.22, 0.84, 0.73, 0.33, 0.92])
    found = classification.compute_metrics(target, np.stack([1 - probability, probability], 1))
    for name in ('precision', 'sensitivity', 'specificity', 'f1', 'accuracy'):
        assert float(found[name]) == pytest.approx(2 / 3), name
    probability = np.array([0.35, 0.85, 0.48, 0.01])
    two = classification.compute_metrics(np.array([1, 1, 0, 0]), np.stack([1 - probability, probability], 1))
    assert (float(two['kappa']), float(two['mcc'])) == (pytest.approx(0.5), pytest.approx(0.5774, abs=1e-4))
    probs = np.array([[0.16, 0.26, 0.58], [0.22, 0.61, 0.17], [0.71, 0.09, 0.20], [0.05, 0.82, 0.13]])
    three = classification.compute_metrics(np.array([2, 1, 0, 0]), probs)
    assert [float(three[name]) for name in ('kappa', 'mcc', 'f1')] == pytest.approx([0.6364, 0.7, 0.7778], abs=1e-4)
    assert [float(three['f1', k]) for k in range(3)] == pytest.approx([0.6667, 0.6667, 1], abs=1e-4)


@pytest.mark.parametrize('bins, target, probs, want', [
    (2, [0, 0, 1, 1, 1], [[0.75, 0.25], [0.75, 0.25], [0.45, 0.55], [0.25, 0.75], [0.25, 0.75]], 0.29),
    (3, [0, 1, 2, 0], [[0.25, 0.2, 0.55], [0.55, 0.05, 0.4], [0.1, 0.3, 0.6], [0.9, 0.05, 0.05]], 0.2)])
def test_torchmetrics_calibration_error(bins, target, probs, want, monkeypatch):
    monkeypatch.setattr(calibration, 'BINS', bins)
    got = calibration.expected_calibration_error(np.array(target), np.array(probs))
    assert float(got) == pytest.approx(want, abs=1e-4)


def test_torchmetrics_regression_and_fidelity():
    found = regression.compute_metrics(np.array([3, -0.5, 2, 7]), np.array([2.5, 0.0, 2, 8]))
    got = [float(found[name]) for name in ('r2', 'spearman', 'pearson')]
    assert got == pytest.approx([0.9486, 1, 0.9849], abs=1e-4)
    truth, predicted = np.array([[0.5, 1], [-1, 1], [7, -6]]), np.array([[0, 2], [-1, 2], [8, -5.0]])
    by_column = [float(regression.compute_metrics(truth[:, k], predicted[:, k])['r2']) for k in (0, 1)]
    assert by_column == pytest.approx([0.9654, 0.9082], abs=1e-4)
    image, truth = np.array([[0.0, 1], [2, 3]])[..., None], np.array([[3.0, 2], [1, 0]])[..., None]
    assert image_fidelity.psnr(image, truth, np.ones((2, 2), bool), peak=3.0) == pytest.approx(2.5527, abs=1e-4)


def test_monai_frechet_distance():
    """MONAI's 0.4444 is that of three points with the covariance over n - 1."""
    x, y = np.array([[1.0, 2]] * 3), np.array([[2.0, 2], [1, 2], [1, 2]])
    assert generative.fid(x, y) == pytest.approx(0.4444, abs=1e-4)


def test_monai_froc():
    """Two images with four objects: two found at 1, two at 0.8, and false positives at 0.8 and 0.6."""
    score = np.array([1, 1, 0.8, 0.8, 0.8, 0.6])
    taken = np.array([0, 1, 2, 3, -1, -1])[None].repeat(10, 0)
    of = Matches(score, np.array([0, 0, 1, 1, 0, 1]), taken, np.array([0, 0, 1, 1]), np.arange(6),
                 np.array([0, 1, 0, 1]), np.zeros((10, 6), bool))
    (rates,), (sensitivity,), _ = detection.froc_curve(of, np.ones((1, 2)))
    at = np.interp((0.25, 0.5, 1, 2, 4, 8), rates, sensitivity)
    assert at.mean() == pytest.approx(0.95833333) and at[0] == pytest.approx(0.75)


def boxes(true, labels, found=(), scores=(), found_labels=()):
    def shaped(part):
        return np.array(part, float).reshape(-1, 4)
    return ImageBoxes(shaped(true), np.array(labels, int), shaped(found), np.array(found_labels, int),
                      np.array(scores, float))


LARGE, MOVED = [258.0, 41, 606, 285], [214.0, 41, 562, 285]
COCO = {
    'four images': [
        boxes([[214.15, 41.29, 562.41, 285.07]], [4], [[258.15, 41.29, 606.41, 285.07]], [0.236], [4]),
        boxes([[13, 22.75, 548.98, 632.42], [1.66, 3.32, 270.26, 275.23]], [2, 2],
              [[61, 22.75, 565, 632.42], [12.66, 3.32, 281.26, 275.23]], [0.318, 0.726], [3, 2]),
        boxes([[61.87, 276.25, 358.29, 379.43], [2.75, 3.66, 162.15, 316.06], [295.55, 93.96, 313.97, 152.79],
               [326.94, 97.05, 340.49, 122.98], [356.62, 95.47, 372.33, 147.55], [462.08, 105.09, 493.74, 146.99],
               [277.11, 103.84, 292.44, 150.72]], [4, 1, 0, 0, 0, 0, 0],
              [[87.87, 276.25, 384.29, 379.43], [0, 3.66, 142.15, 316.06], [296.55, 93.96, 314.97, 152.79],
               [328.94, 97.05, 342.49, 122.98], [356.62, 95.47, 372.33, 147.55], [464.08, 105.09, 495.74, 146.99],
               [276.11, 103.84, 291.44, 150.72]], [0.546, 0.3, 0.407, 0.611, 0.335, 0.805, 0.953],
              [4, 1, 0, 0, 0, 0, 0]),
        boxes([[72.92, 45.96, 91.23, 80.57], [50.17, 45.34, 71.28, 79.83], [81.28, 47.04, 98.66, 78.5],
               [63.96, 46.17, 84.35, 80.48], [75.29, 23.01, 91.85, 50.85], [56.39, 21.65, 75.66, 45.54],
               [73.14, 1.1, 98.96, 28.33], [62.34, 55.23, 78.14, 79.57], [44.17, 45.78, 63.99, 78.48],
               [58.18, 44.8, 66.42, 56.25]], [5] * 10,
              [[72.92, 45.96, 91.23, 80.57], [45.17, 45.34, 66.28, 79.83], [82.28, 47.04, 99.66, 78.5],
               [59.96, 46.17, 80.35, 80.48], [75.29, 23.01, 91.85, 50.85], [71.14, 1.1, 96.96, 28.33],
               [61.34, 55.23, 77.14, 79.57], [41.17, 45.78, 60.99, 78.48], [56.18, 44.8, 64.42, 56.25]],
              [0.532, 0.204, 0.782, 0.202, 0.883, 0.271, 0.561, 0.204, 0.349], [5] * 9)],
    'a false box of equal score': [boxes([MOVED], [0], [LARGE], [0.536], [0]), boxes([], [], [LARGE], [0.536], [0])],
    'nothing found': [boxes([MOVED], [0], [LARGE], [0.536], [0]), boxes([[1, 2, 3, 4]], [1])],
    'one missed': [boxes([[10, 20, 15, 25]], [0], [[10, 20, 15, 25]], [0.9], [0]), boxes([[10, 20, 15, 25]], [0])],
    'one false': [boxes([[10, 20, 15, 25]], [0], [[10, 20, 15, 25]], [0.9], [0]),
                  boxes([], [], [[10, 20, 15, 25]], [0.95], [0])]}


@pytest.mark.parametrize('name', COCO)
def test_coco_average_precision(name):
    """The bootstrap's AP equals that of faster-coco-eval, on the cases of torchmetrics."""
    images, classes = COCO[name], 6
    each = box_matching.match_classes(images, classes, detection.iou_thresholds(2))
    got = detection.compute_metrics(each, 2, np.ones((1, len(images))))
    want = coco_ap.coco_metrics(images, [str(k) for k in range(classes)])
    for metric in ('ap', 'ap50'):
        assert got[metric].item() == pytest.approx(float(np.ravel(want[metric])[0]), abs=1e-6)
    known = {'one missed': 0.5, 'one false': 0.5}  # up to the hundredths of recall at which COCO reads precision
    assert name not in known or got['ap'].item() == pytest.approx(known[name], abs=0.005)


def test_box_format_and_overlap():
    a, b = np.array([[0.5, 0.5, 1, 1]]), np.array([[0.0, 0, 1, 1]])
    assert box_matching.box_iou(a, b).item() == pytest.approx(0.25)
    sides = np.concatenate([np.array([[0.5, 0.5]]), np.array([[1.5, 1.5]])], 1)  # of xywh
    assert box_matching.box_iou(sides, b).item() == pytest.approx(0.143, abs=1e-3)


def test_torchmetrics_panoptic_quality():
    """By class 0.5185, 0, 0.6667 and 1: of boxes and masks alike, a match is the free object of the largest overlap."""
    predicted, true = (np.array(image) for image in (
        [[[6, 0], [0, 0], [6, 0], [6, 0]], [[0, 0], [0, 0], [6, 0], [0, 1]], [[0, 0], [0, 0], [6, 0], [0, 1]],
         [[0, 0], [7, 0], [6, 0], [1, 0]], [[0, 0], [7, 0], [7, 0], [7, 0]]],
        [[[6, 0], [0, 1], [6, 0], [0, 1]], [[0, 1], [0, 1], [6, 0], [0, 1]], [[0, 1], [0, 1], [6, 0], [1, 0]],
         [[0, 1], [7, 0], [1, 0], [1, 0]], [[0, 1], [7, 0], [7, 0], [7, 0]]]))
    found = []
    for label in (0, 1, 6, 7):
        parts = [[mask for number in range(2) if (mask := (image == (label, number)).all(-1)).any()]
                 for image in (predicted, true)]
        iou = np.array([[(a & b).sum() / (a | b).sum() for b in parts[1]] for a in parts[0]])
        (taken,) = box_matching.match_boxes(iou, np.array([0.5]))
        hits = np.flatnonzero(taken >= 0)
        found.append((iou[hits, taken[hits]].sum(), len(hits), len(parts[0]) + len(parts[1])))
    overlap, hits, segments = np.array(found).T
    segmentation, recognition = overlap / np.maximum(hits, 1), 2 * hits / segments
    np.testing.assert_allclose(segmentation * recognition, [0.5185, 0, 0.6667, 1], atol=5e-5)
    means = [part.mean() for part in (segmentation * recognition, segmentation, recognition)]
    np.testing.assert_allclose(means, [0.5463, 0.6111, 0.6667], atol=5e-5)
