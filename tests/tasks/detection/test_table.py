"""Predictions tables of detection: ignored regions, and damaged tables."""

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.metrics.box_matching import IgnoredRegions, ImageBoxes
from medjax.tasks.detection import pictures, summary
from medjax.tasks.detection import table as detection_table
from tests.tasks.detection.detections import row


def test_ignored_regions_are_in_the_table_and_do_not_count():
    """On a difficult object two found boxes, on the object one: a hit, and no false positive."""
    found = np.array([[0, 0, 4, 4], [5, 5, 9, 9], [5, 5, 9, 9.0]])
    boxes = ImageBoxes(np.array([[0, 0, 4, 4.0]]), np.array([0]), found, np.zeros(3, int), np.array([0.7, 0.9, 0.8]),
                       IgnoredRegions(np.array([[5, 5, 9, 9.0]]), np.array([0]), np.array([False])))
    rows = [{'split': 'test', 'id': 'x', **detection_table.image_columns('ab', (12, 12), None, boxes)}]
    table = detection_table.read(rows, 'ab')
    for got, want in zip(table.images[0].ignored, boxes.ignored):
        np.testing.assert_array_equal(got, want)
    assert detection_table.image_counts(table, 0.5) == [
        {'objects': 1, 'found_operating': 1, 'hits': 1, 'false_positives': 0}]
    assert detection_table.class_counts(table, 0.5)['a']['false_positives'] == 0
    found = summary.summarise(rows, 'ab')['metrics']['test']
    assert found['ap50']['value'] == found['precision']['value'] == found['cpm']['value'] == 1
    assert found['ap50']['objects'] == 1 and found['false_positives']['value'] == 0
    left = pictures.boxes_above(boxes, 0.5)
    assert left.scores.tolist() == [0.7] and summary.add_counts(rows, 'ab')[0]['false_positives'] == 0


@pytest.mark.parametrize('change, message', [
    ({'truth': ''}, r'case test0: truth: ; expected \[\[class, 4 corners\], …\], as JSON'),
    ({'found': '[["a", 0.5, 1, 2]]'}, r'found: .*; expected \[\[class, score, 4 corners\], …\], with the classes a, b'),
    ({'truth': '[["c", 1, 2, 3, 4]]'}, r'truth: \[\["c", 1, 2, 3, 4\]\]; expected .* with the classes a, b'),
    ({'size': '[3]'}, r'size: \[3\]; expected two extents or three'), ({'size': None}, 'size: None; expected'),
    ({'size': '[9, 9, 9]', 'truth': '[]', 'found': '[]'}, 'spacing: None; expected mm for each axis')])
def test_invalid_rows_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        detection_table.read([{**row(0), **change}], 'ab')
    with pytest.raises(InputError, match='two extents or three, the same number for all'):
        detection_table.read([row(0), row(1, size=(4, 4, 4), spacing='[1, 1, 1]')], 'ab')
    with pytest.raises(InputError, match='no case'):
        summary.summarise([], 'ab')
