"""Tables that medjax writes hold no text that a spreadsheet runs, and medjax reads back what it wrote."""

import csv

import numpy as np
import pytest

from medjax import atomic_files
from medjax.report import run_files
from medjax.run import _table
from medjax.tasks.detection import output

FORMULAS = ['=1+2', '=HYPERLINK("http://x","y")', '+1+2', '-2+3', '-', '+', '@SUM(A1)', '\t=1', '\r=1', '-1-2', '=',
            '-x', '+49 30 1', '--1', '-1e', '-1,5', '-0x10', '-1_000', '-١']
PLAIN = ['', 'a', 'a=1', ' =1', '-1', '+1.5', '-.5', '-5.', '-1e-05', '-1E+3', '-inf', '+NaN', '12', "'quoted'", 'x@y',
         "'"]


def first_characters(path):
    with path.open(newline='') as file:
        return [cell[:1] for row in csv.reader(file) for cell in row if cell]


@pytest.mark.parametrize('text', FORMULAS)
def test_a_formula_begins_with_an_apostrophe(tmp_path, text):
    atomic_files.write_table(tmp_path / 't.csv', [{'id': text, text: 'value'}])
    with (tmp_path / 't.csv').open(newline='') as file:
        assert list(csv.reader(file)) == [['id', f"'{text}"], [f"'{text}", 'value']]


def test_other_text_and_numbers_stay(tmp_path):
    rows = [{'text': text, 'number': number} for text, number in zip(PLAIN, [-1, -1.5, np.float32(-2), True, None, -0.0,
                                                                             float('-inf')] * 3)]
    atomic_files.write_table(tmp_path / 't.csv', rows)
    with (tmp_path / 't.csv').open(newline='') as file:
        found = list(csv.DictReader(file))
    assert [row['text'] for row in found] == PLAIN
    assert [row['number'] for row in found[:7]] == ['-1', '-1.5', '-2.0', 'True', '', '-0.0', '-inf']


def test_what_was_written_is_read_back(tmp_path):
    texts = [*FORMULAS, *PLAIN, 'a\rb', 'a\nb', 'a,b', 'a"b']
    texts += [*(f"'{text}" for text in texts), *(f"''{text}" for text in FORMULAS)]
    atomic_files.write_table(tmp_path / 't.csv', [{'id': text, '=column': text} for text in texts])
    rows, columns = atomic_files.read_table(tmp_path / 't.csv')
    assert columns == ['id', '=column'] and [row['id'] for row in rows] == texts
    assert [row['=column'] for row in rows] == texts
    assert not {'=', '@', '\t'} & set(first_characters(tmp_path / 't.csv'))


def test_every_reader_of_the_predictions_sees_the_names_of_the_cases(tmp_path):
    rows = [{'split': 'test', 'id': '-a', 'patient': '=p', '=site': '@b', 'dice': -0.5},
            {'split': 'test', 'id': '2', 'patient': '+p', '=site': '-7', 'dice': 0.5}]
    atomic_files.write_table(tmp_path / 'predictions.csv', rows)
    assert run_files._table(tmp_path / 'predictions.csv') == [{key: str(value) for key, value in row.items()}
                                                              for row in rows]
    table = _table(tmp_path / 'predictions.csv', 'a table')
    assert table['id'].tolist() == ['-a', '2'] and table['=site'].tolist() == ['@b', '-7']
    assert table['dice'].tolist() == [-0.5, 0.5]


def test_rows_are_added_to_a_table_with_such_names(tmp_path):
    for value in ('1', '2'):
        for name in ('=a.png', '-b.png'):
            atomic_files.add_row(tmp_path / 't.csv', {'image': name, '+class': value})
    rows, _ = atomic_files.read_table(tmp_path / 't.csv')
    assert rows == [{'image': '=a.png', '+class': '2'}, {'image': '-b.png', '+class': '2'}]
    for _ in range(2):
        output.write_boxes(tmp_path / 'b.csv', '=a.png', np.eye(4), np.ones((1, 4)), ['+'], np.ones(1))
    rows, _ = atomic_files.read_table(tmp_path / 'b.csv')
    assert [(row['image'], row['label']) for row in rows] == [('=a.png', '+')]
