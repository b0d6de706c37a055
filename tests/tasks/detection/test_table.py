"""Reading of damaged predictions tables of detection."""

import pytest

from medjax.errors import InputError
from medjax.tasks.detection import summary
from medjax.tasks.detection import table as detection_table
from tests.tasks.detection.detections import row


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
