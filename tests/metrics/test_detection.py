"""Average precision and FROC by hand, and their invariants."""

import itertools

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from medjax.metrics import box_matching, detection
from medjax.metrics.box_matching import IgnoredRegions, ImageBoxes


def image(truth=(), found=(), labels=None, found_labels=None):
    """Objects from 0 to 10 along rows, each at a place along columns; predicted boxes `(place, score)`, 10 wide."""
    box = lambda place: [0, place, 10, place + 10]
    truth, found = list(truth), list(found)
    return ImageBoxes(np.array([box(p) for p in truth], float).reshape(-1, 4),
                      np.array(labels if labels is not None else [0] * len(truth), int),
                      np.array([box(p) for p, _ in found], float).reshape(-1, 4),
                      np.array(found_labels if found_labels is not None else [0] * len(found), int),
                      np.array([s for _, s in found], float))


def scores(images, classes=1, dims=2, weight=None):
    each = box_matching.match_classes(images, classes, detection.iou_thresholds(dims))
    return detection.compute_metrics(each, dims, np.ones((1, len(images))) if weight is None else weight)


def test_average_precision_by_hand():
    """Hit, false, hit, of three objects: precision 1 up to a recall of 1/3, then 2/3 up to 2/3."""
    found = scores([image((0, 100, 200), ((0, 0.9), (50, 0.8), (100, 0.7)))])
    assert found['ap50'].item() == pytest.approx((34 + 33 * 2 / 3) / 101)  # recalls 0 to .33, .34 to .66
    assert found['ap'].item() == pytest.approx(found['ap50'].item()) and found['ar'].item() == pytest.approx(2 / 3)


def test_a_shifted_box_is_a_hit_up_to_its_overlap():
    found = scores([image((0,), ((2, 0.9),))])  # IoU 8 / 12
    assert found['ap50'] == 1 and found['ap'] == pytest.approx(4 / 10) and found['ar'] == pytest.approx(4 / 10)


def test_froc_by_hand():
    """Two images, four objects. Scores .9 hit, .8 false, .7 hit and false at once, .2 three false."""
    images = [image((0, 100), ((0, 0.9), (50, 0.8), (100, 0.7))),
              image((0, 100), ((50, 0.7), (200, 0.2), (250, 0.2), (300, 0.2)))]
    of = box_matching.pool_classes(box_matching.match_classes(images, 1, np.array([0.5])))
    (rate,), (sensitivity,), thresholds = detection.froc_curve(of, np.ones((1, 2)))
    assert rate.tolist() == [0, 0, 0.5, 1, 2.5] and sensitivity.tolist() == [0, 0.25, 0.25, 0.5, 0.5]
    assert thresholds.tolist() == [0.9, 0.8, 0.7, 0.2]
    found = scores(images)
    want = [0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5]
    assert [found[f'froc_{r}'].item() for r in ('0.125', '0.25', '0.5', '1', '2', '4', '8')] == want
    assert found['cpm'].item() == pytest.approx(np.mean(want))


def test_a_second_box_on_an_object_and_one_of_another_class_are_false():
    found = scores([image((0,), ((0, 0.9), (0, 0.8)))])
    assert found['ap50'] == 1 and found['froc_1'] == 1
    of = box_matching.pool_classes(box_matching.match_classes([image((0,), ((0, 0.9), (0, 0.8)))], 1, np.array([0.5])))
    assert detection.froc_curve(of, np.ones((1, 1)))[0].tolist() == [[0, 0, 1]]
    other = scores([image((0,), ((0, 0.9),), found_labels=[1])], classes=2)
    assert other[('ap50', 0)] == 0 and np.isnan(other[('ap50', 1)]) and other['ap50'] == 0 and other['cpm'] == 0


@pytest.mark.parametrize('images, ap, cpm', [
    ([image()], np.nan, np.nan), ([image(), image(found=((0, 0.5),))], np.nan, np.nan),
    ([image((0,)), image()], 0, 0), ([image((0,), ((0, 0.5),)), image()], 1, 1)])
def test_without_objects_or_boxes(images, ap, cpm):
    found = scores(images)
    np.testing.assert_equal([found['ap50'].item(), found['ar'].item(), found['cpm'].item()], [ap, ap, cpm])


def test_only_the_hundred_best_boxes_of_a_class_count():
    false = [(1000 + 20 * number, 0.9) for number in range(box_matching.LIMIT)]
    assert scores([image((0,), [*false[:-1], (0, 0.5)])])['ap50'].item() == pytest.approx(1 / box_matching.LIMIT)
    assert scores([image((0,), [*false, (0, 0.5)])])['ap50'] == 0
    split = scores([image((0,), [*false, (0, 0.5)], found_labels=[1] * len(false) + [0])], classes=2)
    assert split['ap50'] == 1


def test_an_image_counted_twice_equals_two_images():
    rng = np.random.default_rng(0)
    images = [image(50.0 * np.flatnonzero(rng.random(6) < 0.6), [
        (50.0 * k + rng.integers(0, 6), rng.random()) for k in range(6) if rng.random() < 0.8])
        for _ in range(5)]
    weights = np.array([[1, 1, 1, 1, 1], [2, 0, 1, 0, 2], [0, 0, 3, 1, 1], [5, 0, 0, 0, 0]])
    got = scores(images, weight=weights)
    for row, weight in enumerate(weights):
        drawn = list(itertools.chain.from_iterable([one] * count for one, count in zip(images, weight)))
        want = scores(drawn)
        for name in ('ap50', 'ap', 'ar', 'cpm', 'froc_0.5'):
            assert got[name][row] == pytest.approx(want[name].item(), abs=1e-12), name


def test_blocks_of_resamples_change_nothing(monkeypatch):
    images = [image((0, 100), ((0, 0.9), (50, 0.8), (100, 0.7))), image((0,), ((3, 0.5),))]
    weights = np.random.default_rng(0).integers(0, 3, (20, 2)) + [1, 0]
    whole = scores(images, weight=weights)
    monkeypatch.setattr(detection, 'BLOCK', 12)
    for name, values in scores(images, weight=weights).items():
        np.testing.assert_array_equal(values, whole[name])


def test_images_are_ranked_by_their_own_precision_and_then_by_their_objects():
    images = [image((0,), ()), image(), image((0, 100), ((0, 0.9), (100, 0.8))), image((0,), ((0, 0.9),)),
              image((0, 100), ((0, 0.9),))]
    got = detection.rank_images(images, 1, 2)
    assert got['best'].tolist() == [2, 3, 4, 0] and got['worst'].tolist() == [0, 4, 2, 3]
    assert set(got['median'][:2]) == {3, 4} and detection.rank_images([image()], 1, 2)['best'].tolist() == []
    assert np.isnan(detection.image_average_precision(image(), 1, 2))


def luna16_froc(images):
    """Sensitivity at the seven rates as the challenge's evaluation describes it, from a list of nodules and marks."""
    truth, scores, missed = [], [], 0
    for seen in images:
        marks = [(tuple((box[:3] + box[3:]) / 2), score) for box, score in zip(seen.pred_boxes, seen.scores)]
        used = set()
        for excluded, boxes in ((False, seen.true_boxes), (True, seen.ignored.boxes)):
            for box in boxes:
                centre, radius = (box[:3] + box[3:]) / 2, (box[3] - box[0]) / 2
                on = [n for n, (at, _) in enumerate(marks) if sum((a - b)**2 for a, b in zip(at, centre)) < radius**2]
                used |= set(on)
                if on and not excluded:
                    truth, scores = [*truth, 1], [*scores, max(marks[n][1] for n in on)]
                missed += not on and not excluded
        for number in set(range(len(marks))) - used:
            truth, scores = [*truth, 0], [*scores, marks[number][1]]
    fpr, tpr, _ = sklearn_metrics.roc_curve(truth, scores)
    hits = sum(truth)
    return np.interp(detection.RATES, fpr * (len(truth) - hits) / len(images), tpr * hits / (hits + missed))


@pytest.mark.parametrize('seed', range(6))
def test_froc_by_centres_is_that_of_luna16(seed):
    rng, images = np.random.default_rng(seed), []
    for _ in range(9):
        ball = lambda centre, radius: np.concatenate([centre - radius, centre + radius], -1)
        nodules, others = rng.uniform(0, 60, (rng.integers(0, 4), 3)), rng.uniform(0, 60, (rng.integers(0, 3), 3))
        near = np.repeat(np.concatenate([nodules, others]), 2, 0)
        marks = np.concatenate([near + rng.normal(0, 2.5, near.shape), rng.uniform(0, 60, (12, 3))])
        images.append(ImageBoxes(
            ball(nodules, rng.uniform(2, 9, (len(nodules), 1))), np.zeros(len(nodules), int), ball(marks, 3.0),
            np.zeros(len(marks), int), rng.random(len(marks)).round(2),
            IgnoredRegions(ball(others, rng.uniform(2, 9, (len(others), 1))), np.zeros(len(others), int),
                           np.zeros(len(others), bool))))
    of = box_matching.match_centres(images, 1)
    want = luna16_froc(images)
    np.testing.assert_allclose(detection.froc(of, np.ones((1, 9)))[0], want, atol=1e-12)
    assert 0 < want[-1] < 1


def test_precision_without_what_is_ignored():
    """Of two boxes on a region and one on the object, the object's alone counts: VOC's AP is 1, and there are none."""
    square = image((0,), ((100, 0.9), (100, 0.8), (0, 0.7)))
    assert scores([square])['ap50'] == pytest.approx(1 / 3) and scores([square])['froc_1'] == 0
    regions = IgnoredRegions(np.array([[0, 100, 10, 110]], float), np.zeros(1, int), np.zeros(1, bool))
    found = scores([square._replace(ignored=regions)])
    assert found['ap50'] == 1 and found['froc_0.125'] == 1 and found['ar'] == 1
