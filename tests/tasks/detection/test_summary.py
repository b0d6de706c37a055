"""Results of detection by hand: intervals, operating point, sizes and empty cases."""

import json

import numpy as np
import pytest
from scipy import stats

from medjax.tasks.detection import summary
from tests.tasks.detection.detections import row, square

ROWS = [
    row(0, [('a', square(0)), ('b', square(50))], [('a', 0.9, square(0)), ('b', 0.6, square(0))], 'val'),
    row(1, [('a', square(0))], [('a', 0.6, square(0)), ('a', 0.3, square(90))], 'val'),
    row(0, [('a', square(0)), ('a', square(100, 40))], [('a', 0.95, square(0)), ('b', 0.6, square(100, 40))]),
    row(1, [('b', square(0, 120))], [('b', 0.7, square(0, 120)), ('a', 0.59, square(0))]),
    row(2)]


def test_the_operating_point_and_its_counts_by_hand():
    """F1 on validation is 2·1/4 at .9, and at .6, where a hit and a false positive come at once, 2·2/6."""
    rows = summary.add_counts(ROWS, 'ab')
    counted = [[row[name] for name in ('objects', 'found_operating', 'hits', 'false_positives')] for row in rows]
    assert counted == [[2, 2, 1, 1], [1, 1, 1, 0], [2, 2, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]
    assert all(new.items() >= old.items() for new, old in zip(rows, ROWS))
    found = summary.summarise(rows, 'ab')
    assert found['operating'] == {'score': 0.6, 'rule': 'largest F1', 'split': 'val'}
    # Cases that are set apart choose it in place of validation cases.
    apart = [*ROWS, row(7, [('a', square(0))], [('a', 0.31, square(0))], 'calibrate')]
    assert summary.summarise(apart, 'ab')['operating'] == {
        'score': 0.31, 'rule': 'largest F1', 'split': 'calibrate'}
    got = {name: entry['value'] for name, entry in found['metrics']['test'].items()}
    want = {'sensitivity': 2 / 3, 'precision': 2 / 3, 'f1': 2 / 3, 'false_positives': 1 / 3, 'sensitivity_small': 1,
            'sensitivity_medium': 0, 'sensitivity_large': 1}
    assert {name: got[name] for name in want} == pytest.approx(want)
    assert found['counts']['test'] == {
        'a': {'objects': 2, 'found_operating': 1, 'hits': 1, 'false_positives': 0, 'missed': 1, 'merged': 0,
              'split': 0},
        'b': {'objects': 1, 'found_operating': 2, 'hits': 1, 'false_positives': 1, 'missed': 0, 'merged': 0,
              'split': 0}}
    assert found['sizes'] == {'limits': {'val': [1024, 9216], 'test': [1024, 9216]}, 'unit': 'pixels'}
    assert {name: found['metrics']['test'][name]['objects'] for name in (
        'ap50', 'ap_a', 'ap50_b', 'cpm', 'sensitivity_small')} == {
        'ap50': 3, 'ap_a': 2, 'ap50_b': 1, 'cpm': 3, 'sensitivity_small': 1}
    assert json.dumps(json.loads(json.dumps(found))) == json.dumps(found)  # plain numbers


def test_without_validation_the_operating_point_is_a_half():
    at = summary.summarise([one for one in ROWS if one['split'] == 'test'], 'ab')['operating']
    assert at == {'score': 0.5, 'rule': 'no validation case with a hit', 'split': None}
    assert summary.summarise([*ROWS[2:], row(0, [('a', square(0))], split='val')], 'ab')['operating'] == at


def test_sizes_of_volumes_are_thirds_by_mm():
    sides = [(2, 2, 2), (3, 3, 2), (2, 2, 8), (4, 4, 4), (5, 5, 5), (6, 6, 6)]
    boxes_of = [('a', [0, 20 * k, 0, side[0], 20 * k + side[1], side[2]]) for k, side in enumerate(sides)]
    rows = [row(0, boxes_of, [('a', 0.9, box) for _, box in boxes_of[:5]], size=(50, 200, 40),
                spacing='[1, 1, 0.5]')]
    found = summary.summarise(rows, 'ab')
    volumes = [np.prod(side) / 2 for side in sides]
    assert found['sizes'] == {'unit': 'mm³', 'limits': {'test': np.quantile(volumes, [1 / 3, 2 / 3]).tolist()}}
    entries = found['metrics']['test']
    assert [entries[f'sensitivity_{size}']['value'] for size in summary.SIZES] == [1, 1, 0.5]
    assert [entries[f'sensitivity_{size}']['objects'] for size in summary.SIZES] == [2, 2, 2]
    assert {'ap10', 'ap20', 'ap30', 'ap40', 'ap50', 'ap10_a'} <= set(entries) and 'ap50_a' in entries


def test_intervals_draw_whole_patients():
    """Each patient's second image is empty of findings: drawn by images the sensitivity would vary, so it does not."""
    truth = [('a', square(0))]
    rows = [row(2 * k + half, truth, [('a', 0.9, square(0))] * (1 - half), patient=f'p{k}') for k in range(6)
            for half in (0, 1)]
    entries = summary.summarise(rows, 'ab')['metrics']['test']
    assert entries['f1']['ci95'] is entries['ap50']['ci95'] is None and 'equal' in entries['ap50']['why']
    low, high = stats.beta.ppf([0.025, 0.975], [6, 7], [7, 6])  # no patient differs from the others: 6 of 12
    assert entries['sensitivity']['ci95'] == pytest.approx([low, high])
    assert entries['ap50']['n'] == 6 and entries['ap50']['cases'] == 12
    alone = summary.summarise([{**one, 'patient': ''} for one in rows], 'ab')['metrics']['test']
    assert alone['sensitivity']['n'] == 12 and alone['sensitivity']['ci95'][0] < 0.5 < alone['sensitivity']['ci95'][1]
    again = summary.summarise(rows, 'ab')['metrics']['test']
    assert json.dumps(again) == json.dumps(entries)


def test_metrics_do_not_depend_on_cell_types_or_the_order_of_classes():
    rows = [{key: str(value) for key, value in one.items()} for one in ROWS]
    first, second = (summary.summarise(rows, names)['metrics']['test'] for names in ('ab', 'ba'))
    assert {name: entry['value'] for name, entry in first.items()} == pytest.approx(
        {name: entry['value'] for name, entry in second.items()}, nan_ok=True)


@pytest.mark.parametrize('rows, want, why', [
    ([row(0), row(1)], dict(ap50=None, ap=None, ap_a=None, ar=None, cpm=None, sensitivity=None, precision=None, f1=None,
                            false_positives=0), {'ap': 'no object', 'precision': 'nothing found',
                                                 'ap_a': 'no object of a'}),
    ([row(0, found=[('a', 0.9, square(0))]), row(1)], dict(ap50=None, cpm=None, sensitivity=None, precision=0, f1=0,
                                                           false_positives=0.5), {'sensitivity': 'no object'}),
    ([row(0, [('a', square(0))]), row(1)], dict(ap50=0, ap_a=0, ap_b=None, ar=0, cpm=0, sensitivity=0, precision=None,
                                                f1=0, false_positives=0), {'ap_b': 'no object of b'}),
    ([row(0, [('a', square(0))], [('a', 0.9, square(0)), ('b', 0.8, square(0))]), row(1)],
     dict(ap50=1, ap_a=1, ap_b=None, cpm=1, sensitivity=1, precision=0.5, false_positives=0.5), {})])
@pytest.mark.parametrize('dims', [2, 3])
def test_empty_cases(rows, want, why, dims):
    if dims == 3:
        def deep(cell, first):
            return json.dumps([[*one[:first], *one[first:first + 2], 0, *one[first + 2:], 10]
                               for one in json.loads(cell)])
        rows = [{**one, 'size': '[200, 300, 20]', 'spacing': '[1, 1, 1]', 'truth': deep(one['truth'], 1),
                 'found': deep(one['found'], 2)} for one in rows]
    entries = summary.summarise(rows, 'ab')['metrics']['test']
    got = {name: entries[name]['value'] for name in want}
    assert got == pytest.approx({name: np.nan if value is None else value for name, value in want.items()}, nan_ok=True)
    assert {name: entries[name]['why'] for name in why} == why


def test_missing_boxes_of_a_split_have_a_warning():
    assert summary.summarise(ROWS[2:4] + [row(0, [('a', square(0))], split='val')], 'ab')['warnings'] == [
        'val: no object of b: AP is not defined']
