"""Calibration of detection scores by hand."""

import pytest

from medjax.tasks.detection import summary
from tests.tasks.detection.detections import row, square


def test_scores_are_calibrated_on_validation_boxes_and_evaluated_on_others():
    """Of boxes with a score of .9 every second one is a hit, of those with .3 one in ten: the network is too sure."""
    def some(split, count):
        rows = []
        for number in range(count):
            truth, found = [], []
            for score, place, every in ((0.9, 0, 2), (0.3, 40, 10)):
                found.append(('a', score, square(place)))
                if number % every == 0:
                    truth.append(('a', square(place)))
            rows.append(row(number, truth, found, split))
        return rows
    known = summary.summarise(some('val', 60) + some('test', 40), 'ab')['calibration']
    for split in ('val', 'test'):
        assert known[split]['error'] == pytest.approx((0.4 + 0.2) / 2)
        assert [(one['predicted'], one['observed']) for one in known[split]['bins']] == [
            (pytest.approx(0.3), pytest.approx(0.1)), (pytest.approx(0.9), pytest.approx(0.5))]
    assert 'calibrated' not in known['val'] and known['test']['calibrated']['error'] < 0.02
    assert set(known['parameters']) == {'a', 'b'}
    assert known['fitted_on'] == 'val'
    sure = [row(0, [], [('a', 0.9, square(0))], 'calibrate'), row(1, [('a', square(0))], [('a', 0.3, square(0))],
                                                                  'calibrate')]
    apart = summary.summarise([*some('val', 60), *sure, *some('test', 40)], 'ab')['calibration']
    assert apart['fitted_on'] == 'calibrate' and apart['parameters'] != known['parameters']
    assert 'calibrated' in apart['val'] and 'calibrated' not in apart['calibrate']
    alone = summary.summarise(some('test', 20), 'ab')['calibration']
    assert alone['test']['error'] == pytest.approx(0.3) and set(alone) == {'test'} and 'calibrated' not in alone['test']
