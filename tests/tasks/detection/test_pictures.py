"""Example images of detection: their choice, their slices and their boxes."""

import numpy as np
import pytest

from medjax.metrics import box_matching, detection
from medjax.report import run_files
from medjax.tasks.detection import pictures, snapshot
from medjax.tasks.detection.split import read_split
from tests.tasks.detection.detections import square


def test_images_that_are_drawn_are_the_best_the_median_and_the_worst(flat, monkeypatch):
    of = read_split(run_files.read(flat), 'test')
    monkeypatch.setattr(pictures, 'tiles', lambda *case: [])  # what they show the page has
    chosen = pictures.choose_examples(of)
    assert [kind for kind, *_ in chosen] == ['best'] * 2 + ['median'] * 2 + ['worst'] * 2
    quality = [detection.image_average_precision(of.table.images[number], 3, 2) for _, number, _ in chosen]
    every = [detection.image_average_precision(seen, 3, 2) for seen in of.table.images if len(seen.true_boxes)]
    assert quality[0] == max(every) and quality[4] == min(every)
    assert len({number for _, number, _ in chosen}) == 6
    groups = pictures.example_images(of).groups
    assert [group.heading.split(':')[0] for group in groups] == ['Best'] * 2 + ['Median'] * 2 + ['Worst'] * 2
    kind, number, case = chosen[-1]
    row = of.rows[number]
    assert (f'hits {row["hits"]}, false positives {row["false_positives"]}, missed '
            f'{int(row["objects"]) - int(row["hits"])}. AP of this image {quality[-1]:.3f}.') in groups[-1].text


def test_hits_of_a_snapshot_by_hand():
    seen = box_matching.ImageBoxes(np.array([square(0), square(50), square(100)], float), np.array([0, 1, 0]),
                                   np.array([square(50), square(0), square(1)], float), np.array([1, 0, 0]),
                                   np.array([0.9, 0.5, 0.8]))
    met, hit = pictures.find_hits(seen)
    assert met.tolist() == [True, True, False] and hit.tolist() == [True, False, True]  # the surer one of two
    assert [len(part) for part in pictures.boxes_above(seen, 0.8)[:5]] == [3, 3, 2, 2, 2]


@pytest.mark.parametrize('index, corners, drawn', [
    (None, [square(20)], [square(20)]), (3, [[2, 15, 3, 5, 20, 4], [2, 15, 8, 5, 20, 9]], [[0, 25, 5, 28]])])
def test_ignored_regions_are_dashed_beside_truth_and_errors(index, corners, drawn):
    ignored = box_matching.IgnoredRegions(np.array(corners, float), np.zeros(len(corners), int),
                                          np.zeros(len(corners), bool))
    size = len(corners[0])
    boxes = box_matching.ImageBoxes(np.zeros((0, size)), np.zeros(0, int), np.zeros((0, size)), np.zeros(0, int),
                                    np.zeros(0), ignored)
    case = snapshot.Snapshot('x', np.zeros((30, 20, 12, 1) if index else (40, 40, 1), np.float32), boxes,
                             (1,) * (size // 2), (0, 1))
    outlines = pictures._outlines(case, boxes, index)
    for title in ('Truth', 'Errors'):
        assert [outline.box.tolist() for outline in outlines[title]] == drawn
        assert all(outline.dashed for outline in outlines[title])
    assert outlines['Found'] == []
    shown, without = (pictures.tiles(case, part, index)[1].png for part in (boxes, boxes._replace(ignored=None)))
    assert shown != without


def test_planes_of_a_volume_cut_the_most_boxes_and_are_turned_as_radiologists_read_them(deep):
    def case(truth):
        seen = box_matching.ImageBoxes(np.array(truth, float).reshape(-1, 6), np.zeros(len(truth), int),
                                       np.zeros((0, 6)), np.zeros(0, int), np.zeros(0))
        return snapshot.Snapshot('x', np.zeros((30, 20, 12, 1), np.float32), seen, (1, 1, 2), (0, 1)), seen
    assert pictures.slices(*case([[0, 0, 1, 4, 4, 5], [9, 9, 2, 12, 12, 4], [9, 9, 8, 12, 12, 11]])) == [3, 9]
    assert pictures.slices(*case([])) == [6]
    # x from 2 to 5 of 30 is column 25 to 28, y from 15 to 20 of 20 row 0 to 5.
    turned = pictures._axial_boxes(np.array([[2, 15, 3, 5, 20, 4.0]]), (30, 20, 12))
    assert turned.tolist() == [[0, 25, 5, 28]]
    _, _, example = pictures.choose_examples(read_split(run_files.read(deep), 'test'))[0]
    tiles = pictures.tiles(example, example.boxes, 3)
    assert len(tiles) == 4 and tiles[1].alt == f'Axial slice 4 of case {example.name}: truth'


def test_training_samples_show_the_boxes_that_were_moved_with_the_image(flat, tmp_path):
    run = run_files.read(flat)
    assert pictures.training_samples(run) == []
    image, placed = np.random.default_rng(0).random((2, 20, 30)), np.array([[[2, 3, 9, 12], [0, 0, 0, 0]]] * 2)
    run.augmented.update(original=image, image=image[:, ::-1], original_boxes=placed, boxes=placed[..., [2, 1, 0, 3]],
                         box_mask=np.array([[1, 0]] * 2))
    pairs = pictures.training_samples(run)
    assert [(one.title, other.title) for one, other in pairs] == [('As read', 'As trained on')] * 2
    run.augmented['box_mask'] = np.zeros((2, 2))
    assert all(one.png != bare.png for pair, without in zip(pairs, pictures.training_samples(run))
               for one, bare in zip(pair, without))
