import pytest

from medjax.report import tables
from medjax.tasks.classification.family import FAMILY as CLASSIFICATION
from medjax.tasks.segmentation.family import FAMILY as SEGMENTATION

CLASSES = ('organ', 'lesion')
METRICS = SEGMENTATION.metrics


def entry(value, low=None, high=None, n=8, **more):
    limits = {} if low is None else {'ci95': [low, high], 'sd': (high - low) / 2}
    return {'value': value, 'ci95': None, 'sd': None, 'n': n, 'cases': n, 'unit': 'patient', **limits, **more}


@pytest.mark.parametrize('value, unit, want', [
    (0.87654, '', '0.877'), (1.0, '', '1.000'), (-0.0001, '', '0.000'), (-0.25, '', '−0.250'),
    (1.23456, 'mm', '1.23'), (12.3456, 'mm', '12.3'), (123.456, 'mm', '123'), (-15.941, 'ml', '−15.9'),
    (None, 'mm', '–'), (float('nan'), '', '–')])
def test_rounding(value, unit, want):
    assert tables.format_number(value, unit) == want


@pytest.mark.parametrize('value, want', [
    (1060.0, '1060'), (1064.9, '1060'), (0.00012345, '0.000123'), (-2.5, '−2.5'), (0.0, '0'), (-0.0, '0'),
    (100.0, '100'), (9.999, '10'), (float('nan'), '–'), (float('inf'), '–')])
def test_significant_digits_have_no_exponent(value, want):
    assert tables.format_significant(value) == want


def test_an_interval_below_zero_has_no_dash_between():
    assert tables.format_interval(entry(0.5, 0.4, 0.6)) == '0.400–0.600'
    assert tables.format_interval(entry(0, -1.5, 2), 'ml') == '−1.50 to 2.00'
    assert tables.format_interval(entry(0.5)) == ''


def test_headline_with_interval():
    text, sure = tables.headline(METRICS, 'test', {
        'dice_mean': entry(0.7, 0.6, 0.8, cases=11, missed=2, spurious=1), 'dice_organ': entry(0.9),
        'dice_lesion': entry(0.5)}, CLASSES)
    assert text == 'Mean Dice on the test cases: 0.700 (organ 0.900, lesion 0.500).'
    assert sure == ('95 % CI 0.600–0.800, n = 8 patients, 11 cases. '
                    'Structures missed: 2; found where there is none: 1.')


def test_headline_without_interval_says_why():
    alone = entry(0.7, n=1, why='one patient: no confidence interval')
    assert tables.headline(METRICS, 'test', {'dice_mean': alone}, CLASSES)[1] == 'One patient: no confidence interval.'
    assert tables.headline(METRICS, 'test', {}, CLASSES) == ('No result on the test cases.', '')


def cells(table):
    return {row[0]: [(c.text, c.spread, c.below) for c in row[2]] for row in table.rows}


def test_classes_are_columns_with_interval_spread_and_counts():
    table = tables.class_table(METRICS, {
        'dice_mean': entry(0.7, 0.6, 0.8, missed=1, spurious=3),
        'dice_organ': entry(0.9, 0.8, 1.0, missed=0, spurious=3),
        'dice_lesion': entry(0.5, 0.3, 0.7, missed=1, spurious=0),
        'hd95_organ': entry(12.34, 10, 14, n=5), 'hd95_lesion': entry(3.0, n=1, why='one patient'),
        'lesion_f1_organ': entry(None, n=0), 'lesion_f1_lesion': entry(None, n=0)}, CLASSES, 'Test', tolerance='2 mm')
    got = cells(table)
    assert [head for head, _ in table.headers] == ['organ', 'lesion', 'mean']
    assert got['Dice\N{NO-BREAK SPACE}↑'] == [('0.900', '± 0.100', '0.800–1.000'), ('0.500', '± 0.200', '0.300–0.700'),
                                              ('0.700', '± 0.100', '0.600–0.800')]
    # Fewer patients count for a distance than for Dice: the cell says how many.
    assert got['HD95 (mm)\N{NO-BREAK SPACE}↓'] == [('12.3', '± 2.00', '10.0–14.0, n = 5'), ('3.00', '', 'n = 1'),
                                                   ('', '', '')]
    assert [text for text, _, _ in got['n (patients)']] == ['8', '8', '8']
    assert [text for text, _, _ in got['Missed']] == ['0', '1', '1']
    assert [text for text, _, _ in got['Spurious']] == ['3', '0', '3']
    assert not any('F1' in name for name in got)  # no case has a value


def test_many_classes_become_rows():
    names = [f'rib_{number}' for number in range(tables.MAX_COLUMNS + 1)]
    table = tables.class_table(METRICS, {f'dice_{name}': entry(0.5) for name in names}, names, 'Test')
    assert [row[0] for row in table.rows] == names
    assert [head for head, _ in table.headers] == ['Dice\N{NO-BREAK SPACE}↑', 'n (patients)']


def test_metrics_of_no_class_are_rows_of_their_own():
    entries = {'auroc': entry(0.8, 0.7, 0.9), 'dice_organ': entry(0.5), 'f1': entry(0.6, why='one patient', n=1)}
    table = tables.overall_table(CLASSIFICATION.metrics, entries, CLASSES, 'Test')
    assert {name: [text for text, _, _ in row] for name, row in cells(table).items()} == {
        'AUROC\N{NO-BREAK SPACE}↑': ['0.800', '0.700–0.900', '0.100', '8'],
        'F1\N{NO-BREAK SPACE}↑': ['0.600', 'one patient', '–', '1']}
    assert tables.overall_table(CLASSIFICATION.metrics, {'dice_organ': entry(0.5)}, CLASSES, 'Test') is None
